//! Starting programs, and the memory that they get later.
//!
//! Each function here is the body of one system call. The kernel keeps nothing on its heap for a
//! program: a process has its place in the table, and the rest of it is frames. A call for which
//! there is no memory has changed nothing.

use crate::elf::Program;
use crate::limits::Rights;
use crate::process::{Machine, Registers, Start, Table};
use crate::ramdisk::Ramdisk;
use crate::space::Region;
use abi::ipc::Pid;
use abi::layout::{self, PAGE_SIZE, STACK_SIZE};
use abi::limits::{Grant, Resource, spawn};
use abi::syscall::GROW_MAX;
use abi::{Error, Result};
use placement::Places;

/// Frames that no program is given, for the kernel's heap and tables (256 KiB).
pub const RESERVE_FRAMES: u64 = 64;

impl<M: Machine> Table<M> {
    /// `Syscall::Spawn`: starts the program at `path` of the ramdisk, at these places;
    /// without a parent it is the first, which may do everything.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotExecutable`], [`Error::NoMemory`], [`Error::TooLong`] for
    /// arguments that do not fit on the stack; [`Error::QuotaExceeded`] if the parent has not so
    /// much left, or the program needs more memory than it is given,
    /// [`Error::NotPermitted`] if the parent has not such rights.
    pub fn spawn(
        &mut self,
        ramdisk: &Ramdisk<'static>,
        (path, arguments): (&str, &str),
        parent: Option<Pid>,
        (grant, places): (&Grant<'_>, Places),
    ) -> Result<Pid> {
        let rights = match parent {
            None => Rights::all(),
            Some(parent) => self.rights_of_child(parent, grant)?,
        };
        let file = ramdisk.find(path).ok_or(Error::NotFound)?;
        let program = Program::parse(file.data).map_err(|error| {
            log::warn!("{path} is no program: {error}");
            Error::NotExecutable
        })?;
        let mut space = self.machine.new_space()?;
        self.machine
            .set_limit(&mut space, grant.limits.get(Resource::Memory));
        for segment in program.segments() {
            let placed = Region {
                address: places.image + segment.address,
                ..*segment
            };
            self.machine.add_memory(&mut space, &placed)?;
        }
        for at in program.relocations() {
            self.relocate(&space, places.image + at, places.image)?;
        }
        let stack = memory(places.stack_end - STACK_SIZE, STACK_SIZE);
        self.machine.add_memory(&mut space, &stack)?;
        // The arguments lie at the end of the stack; below them it is aligned as the
        // psABI wants it before a call.
        let text = places.stack_end - arguments.len() as u64;
        let written = self.machine.write(&space, text, arguments.as_bytes());
        written.map_err(|_| Error::TooLong)?;
        let bytes = ramdisk.bytes();
        let page_offset = bytes.as_ptr() as u64 % PAGE_SIZE;
        let registers = Registers {
            rdi: text,
            rsi: arguments.len() as u64,
            rdx: layout::RAMDISK_START + page_offset,
            rcx: bytes.len() as u64,
            ..self
                .machine
                .entry_registers(places.image + program.entry(), text & !15)
        };
        self.add(Start {
            name: file.file_name(),
            space,
            registers,
            places,
            parent,
            limits: grant.limits,
            rights,
            is_mute: grant.flags & spawn::MUTE != 0,
        })
    }

    /// Adds to the word at an address of a program's data.
    fn relocate(&self, space: &M::Space, at: u64, added: u64) -> Result<()> {
        let mut word = [0; 8];
        self.machine.read(space, at, &mut word)?;
        let moved = u64::from_le_bytes(word).wrapping_add(added);
        self.machine.write(space, at, &moved.to_le_bytes())
    }

    /// `Syscall::GrowHeap`: by `bytes`, rounded up to pages. Returns the heap's old end.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] over its limit, [`Error::TooLong`] for more than [`GROW_MAX`] at
    /// once, [`Error::NoMemory`].
    pub fn grow_heap(&mut self, pid: Pid, bytes: u64) -> Result<u64> {
        if bytes > GROW_MAX {
            return Err(Error::TooLong);
        }
        let bytes = bytes.next_multiple_of(PAGE_SIZE);
        let process = self.get(pid).ok_or(Error::NotFound)?;
        let end = process.heap_end;
        if bytes == 0 {
            return Ok(end);
        }
        if bytes > process.places.heap_max - end {
            return Err(Error::NoMemory);
        }
        let (machine, space) = self.space_mut(pid)?;
        machine.add_memory(space, &memory(end, bytes))?;
        if let Some(process) = self.get_mut(pid) {
            process.heap_end = end + bytes;
        }
        Ok(end)
    }
}

/// Zeroed memory to read and write.
fn memory(address: u64, len: u64) -> Region<'static> {
    Region {
        address,
        len,
        data: &[],
        writable: true,
        executable: false,
    }
}

#[cfg(test)]
mod tests;
