//! The table of sockets: who owns which, and numbers that never mean another one.

use crate::config::Limits;
use crate::ipc::Ipc;
use crate::names::Change;
use crate::sockets::interest::Armed;
use crate::sockets::kinds::Kind;
use abi::socket::Handle;
use abi::{Error, Pid, Result};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// The other bits of a handle are the slot's generation.
const SLOT_BITS: u32 = Handle::SLOT_BITS;
const GENERATION_MAX: u32 = u32::MAX >> SLOT_BITS;

/// A program's socket.
pub(crate) struct Socket {
    pub owner: Pid,
    pub kind: Kind,
    /// The port that it keeps from others of its kind; connections that were accepted keep none.
    port: Option<u16>,
    /// What its owner wants of it.
    pub armed: Armed,
}

impl Socket {
    /// The port that it keeps, those for datagrams apart.
    fn bound(&self) -> Option<(bool, u16)> {
        Some((self.kind.is_datagram(), self.port?))
    }
}

/// How many sockets a process has, and for how many of them the kernel was asked.
#[derive(Clone, Copy, Default)]
struct Owned {
    count: usize,
    charged: usize,
}

impl Owned {
    /// Who has many asks for several at once; so most connections of a busy server need no call.
    fn ahead(self) -> usize {
        self.count / 4
    }

    /// Whether more was asked for than is worth to keep.
    fn has_excess(self) -> bool {
        self.charged > self.count + 8 + self.count / 2
    }
}

struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

/// Handles by what the stack calls their sockets: tables, as the stack counts from 0.
#[derive(Default)]
struct Subjects {
    streams: Vec<Option<Handle>>,
    datagrams: Vec<Option<Handle>>,
    listeners: BTreeMap<u16, Handle>,
}

impl Subjects {
    fn get(&self, subject: Change) -> Option<Handle> {
        match subject {
            Change::Stream(id) => *self.streams.get(id.0)?,
            Change::Datagrams(id) => *self.datagrams.get(id.0)?,
            Change::Listener(port) => self.listeners.get(&port).copied(),
        }
    }

    fn set(&mut self, subject: Change, handle: Option<Handle>) {
        let (table, index) = match (subject, handle) {
            (Change::Stream(id), _) => (&mut self.streams, id.0),
            (Change::Datagrams(id), _) => (&mut self.datagrams, id.0),
            (Change::Listener(port), Some(handle)) => {
                self.listeners.insert(port, handle);
                return;
            }
            (Change::Listener(port), None) => {
                self.listeners.remove(&port);
                return;
            }
        };
        if table.len() <= index {
            table.resize(index + 1, None);
        }
        table[index] = handle;
    }
}

/// All sockets: each has a number, an owner, and a state.
pub(crate) struct Handles {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Only of those that have some, or have had since [`Handles::settle`].
    owned: BTreeMap<Pid, Owned>,
    /// There may be excess: see [`Handles::settle`].
    unsettled: bool,
    /// Ports that sockets are bound to, those for datagrams apart.
    bound: BTreeSet<(bool, u16)>,
    /// The sockets by what the stack calls them.
    subjects: Subjects,
    limits: Limits,
}

impl Handles {
    pub fn new(limits: Limits) -> Self {
        Handles {
            slots: Vec::new(),
            free: Vec::new(),
            owned: BTreeMap::new(),
            unsettled: false,
            bound: BTreeSet::new(),
            subjects: Subjects::default(),
            limits,
        }
    }

    /// Open sockets.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Sees to it that this process may have one more.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] if the kernel says that it may not, [`Error::NoMemory`] if all
    /// together have too many.
    pub fn make_room(&mut self, owner: Pid, ipc: &mut impl Ipc) -> Result<()> {
        if self.len() >= self.limits.sockets.min(1 << SLOT_BITS) {
            return Err(Error::NoMemory);
        }
        let owned = self.owned.get(&owner).copied().unwrap_or_default();
        if owned.count < owned.charged {
            return Ok(());
        }
        let mut ahead = owned.ahead();
        let charged = loop {
            let charged = owned.count + 1 + ahead;
            match ipc.charge(owner, charged) {
                Ok(()) => break charged,
                Err(Error::QuotaExceeded) if ahead > 0 => ahead /= 2,
                Err(error) => return Err(error),
            }
        };
        self.owned.entry(owner).or_default().charged = charged;
        Ok(())
    }

    /// Gives back what was asked for and is not needed.
    #[inline]
    pub fn settle(&mut self, ipc: &mut impl Ipc) {
        if core::mem::take(&mut self.unsettled) {
            self.give_back(ipc);
        }
    }

    #[cold]
    fn give_back(&mut self, ipc: &mut impl Ipc) {
        for (owner, owned) in &mut self.owned {
            // A client that has ended meanwhile has nothing any more.
            if (owned.has_excess() || owned.count == 0) && ipc.charge(*owner, owned.count).is_ok() {
                owned.charged = owned.count;
            }
        }
        self.owned.retain(|_, owned| owned.count > 0);
    }

    /// Adds a socket, for which [`Handles::make_room`] has found room, at this port if it keeps one.
    ///
    /// # Errors
    /// [`Error::NoMemory`] without that.
    pub fn insert(&mut self, owner: Pid, kind: Kind, port: Option<u16>) -> Result<Handle> {
        let owned = self.owned.get_mut(&owner);
        let owned = owned.filter(|owned| owned.count < owned.charged);
        owned.ok_or(Error::NoMemory)?.count += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 1,
                socket: None,
            });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        let socket = slot.socket.insert(Socket {
            owner,
            kind,
            port,
            armed: Armed::default(),
        });
        let handle = Handle(slot.generation << SLOT_BITS | index);
        self.bound.extend(socket.bound());
        self.subjects.set(kind.subject(), Some(handle));
        Ok(handle)
    }

    /// The room that was found is not needed.
    pub fn spare_room(&mut self) {
        self.unsettled = true;
    }

    /// The socket that an announcement is about, if anybody holds it.
    pub fn announced(&mut self, change: Change) -> Option<(Handle, &mut Socket)> {
        let handle = self.subjects.get(change)?;
        let socket = self.slots.get_mut(handle.slot())?.socket.as_mut()?;
        Some((handle, socket))
    }

    /// The socket, if it is this process's.
    ///
    /// # Errors
    /// [`Error::BadHandle`] otherwise, whatever the reason.
    pub fn get(&self, handle: Handle, owner: Pid) -> Result<&Socket> {
        self.slots
            .get(handle.slot())
            .filter(|slot| slot.generation == handle.0 >> SLOT_BITS)
            .and_then(|slot| slot.socket.as_ref())
            .filter(|socket| socket.owner == owner)
            .ok_or(Error::BadHandle)
    }

    /// The socket with this number, to be changed.
    ///
    /// # Errors
    /// [`Error::BadHandle`] if the owner has no such socket.
    pub fn get_mut(&mut self, handle: Handle, owner: Pid) -> Result<&mut Socket> {
        self.slots
            .get_mut(handle.slot())
            .filter(|slot| slot.generation == handle.0 >> SLOT_BITS)
            .and_then(|slot| slot.socket.as_mut())
            .filter(|socket| socket.owner == owner)
            .ok_or(Error::BadHandle)
    }

    /// Takes the socket out; its handle is void.
    pub fn remove(&mut self, handle: Handle, owner: Pid) -> Result<Socket> {
        self.get(handle, owner)?;
        let index = handle.slot();
        let slot = &mut self.slots[index];
        let socket = slot.socket.take().ok_or(Error::BadHandle)?;
        slot.generation = match slot.generation {
            GENERATION_MAX => 1,
            generation => generation + 1,
        };
        self.free.push(index as u32);
        self.subjects.set(socket.kind.subject(), None);
        if let Some(owned) = self.owned.get_mut(&owner) {
            owned.count -= 1;
            self.unsettled |= owned.has_excess() || owned.count == 0;
        }
        if let Some(port) = socket.bound() {
            self.bound.remove(&port);
        }
        Ok(socket)
    }

    /// The handles of a process.
    pub fn of(&self, owner: Pid) -> impl Iterator<Item = Handle> {
        let handle = move |(index, slot): (usize, &Slot)| {
            let own = slot.socket.as_ref().is_some_and(|s| s.owner == owner);
            own.then_some(Handle(slot.generation << SLOT_BITS | index as u32))
        };
        self.slots.iter().enumerate().filter_map(handle)
    }

    /// Whether a socket for datagrams, or for streams, keeps the port. There is one address, so
    /// "any" and it overlap.
    pub fn is_bound(&self, port: u16, is_datagram: bool) -> bool {
        self.bound.contains(&(is_datagram, port))
    }
}

#[cfg(test)]
mod tests;
