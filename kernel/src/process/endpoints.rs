//! The endpoints of processes, and the access to their memory that the calls about cards need.

use super::{Machine, Table};
use crate::space::Shown;
use abi::endpoint::ENDPOINTS_MAX;
use abi::ipc::Pid;
use abi::{Error, Result};

impl<M: Machine> Table<M> {
    /// The place among all endpoints of the one with this number among a process's own.
    ///
    /// # Errors
    /// [`Error::BadHandle`]
    #[inline]
    pub fn endpoint(&self, pid: Pid, number: u64) -> Result<u8> {
        let place = self
            .endpoints(pid)
            .get(usize::try_from(number).unwrap_or(usize::MAX));
        place.copied().ok_or(Error::BadHandle)
    }

    /// The places of all endpoints of a process, by number.
    #[inline]
    pub fn endpoints(&self, pid: Pid) -> &[u8] {
        self.get(pid).map_or(&[], |process| &process.endpoints)
    }

    /// The number that the next endpoint of a process has.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] if the process has as many as there can be, [`Error::PeerDied`] and
    /// [`Error::NotFound`] if it has ended.
    pub fn check_endpoint(&self, pid: Pid) -> Result<u8> {
        let number = self.alive(pid)?.endpoints.len();
        match number < ENDPOINTS_MAX {
            true => Ok(number as u8),
            false => Err(Error::QuotaExceeded),
        }
    }

    /// A process has one more endpoint, until its end. There was room for it.
    pub fn add_endpoint(&mut self, pid: Pid, place: u8) {
        if let Some(process) = self.get_mut(pid) {
            let _ = process.endpoints.push(place);
        }
    }

    /// Takes all endpoints of a process away, and says where they are.
    pub fn take_endpoints(&mut self, pid: Pid) -> heapless::Vec<u8, ENDPOINTS_MAX> {
        let process = self.get_mut(pid);
        process.map_or_else(Default::default, |process| {
            core::mem::take(&mut process.endpoints)
        })
    }

    /// Whether a process is in `wait`.
    #[inline]
    pub fn is_waiting(&self, pid: Pid) -> bool {
        self.get(pid).is_some_and(|process| process.is_waiting())
    }

    /// Shows a process memory that is not its own.
    ///
    /// # Errors
    /// Those of [`Machine::show`]; [`Error::NotFound`] if it has ended.
    pub fn show(&mut self, pid: Pid, pieces: [Shown; 3]) -> Result<()> {
        let (machine, space) = self.space_mut(pid)?;
        machine.show(space, pieces)
    }

    /// Counts memory for a process, until its end, that is not in its address space.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] over its limit; [`Error::NotFound`] if it has ended.
    pub fn charge_memory(&mut self, pid: Pid, bytes: usize) -> Result<()> {
        let (machine, space) = self.space_mut(pid)?;
        machine.charge(space, bytes as u64)
    }

    /// Copies out of a process's memory.
    ///
    /// # Errors
    /// [`Error::BadAddress`]; [`Error::PeerDied`] or [`Error::NotFound`] if there is no such process.
    pub fn read(&self, pid: Pid, from: u64, buffer: &mut [u8]) -> Result<()> {
        let space = self.alive(pid)?.space.as_ref().ok_or(Error::NotFound)?;
        self.machine.read(space, from, buffer)
    }

    /// Copies into a process's memory.
    ///
    /// # Errors
    /// [`Error::BadAddress`]; [`Error::PeerDied`] or [`Error::NotFound`] if there is no such process.
    pub fn write(&self, pid: Pid, to: u64, bytes: &[u8]) -> Result<()> {
        let space = self.alive(pid)?.space.as_ref().ok_or(Error::NotFound)?;
        self.machine.write(space, to, bytes)
    }
}
