//! The table of sockets: who owns which, and numbers that never mean another one.

use crate::batch::Armed;
use crate::config::Limits;
use crate::stack::{Change, ConnectionId, DatagramId};
use abi::socket::Handle;
use abi::{Error, Pid, Result};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddrV4;

/// The other bits of a handle are the slot's generation.
const SLOT_BITS: u32 = Handle::SLOT_BITS;
const GENERATION_MAX: u32 = u32::MAX >> SLOT_BITS;

/// A program's socket.
pub(crate) struct Socket {
    pub owner: Pid,
    /// Requests that would wait answer instead.
    pub non_blocking: bool,
    /// Given by `bind`, or chosen for it: see [`Handles::bind`].
    pub local: Option<SocketAddrV4>,
    /// Changed by [`Handles::set_state`] only.
    pub state: State,
    /// What batches want of it.
    pub armed: Armed,
}

impl Socket {
    /// What the stack calls it when it announces a change.
    fn subject(&self) -> Option<Change> {
        match self.state {
            State::Idle | State::Datagram { port: None, .. } => None,
            State::Listening => self.local.map(|local| Change::Listener(local.port())),
            State::Stream(id) => Some(Change::Stream(id)),
            State::Datagram { port: Some(id), .. } => Some(Change::Datagrams(id)),
        }
    }
}

/// What a socket has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A stream socket that is neither connected nor listening.
    Idle,
    /// A stream socket that takes connections at its local port.
    Listening,
    /// A stream socket with a connection, perhaps not complete yet.
    Stream(ConnectionId),
    /// A datagram socket; its port is opened when it is bound.
    Datagram {
        port: Option<DatagramId>,
        peer: Option<SocketAddrV4>,
    },
}

impl State {
    /// Whether the socket's port is one for datagrams.
    pub fn is_datagram(&self) -> bool {
        matches!(self, State::Datagram { .. })
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
            Change::Stream(id) => *self.streams.get(id.index())?,
            Change::Datagrams(id) => *self.datagrams.get(id.index())?,
            Change::Listener(port) => self.listeners.get(&port).copied(),
        }
    }

    fn set(&mut self, subject: Change, handle: Option<Handle>) {
        let (table, index) = match (subject, handle) {
            (Change::Stream(id), _) => (&mut self.streams, id.index()),
            (Change::Datagrams(id), _) => (&mut self.datagrams, id.index()),
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

/// See the module.
pub(crate) struct Handles {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How many sockets each process has; only those that have some.
    owned: BTreeMap<Pid, usize>,
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
            bound: BTreeSet::new(),
            subjects: Subjects::default(),
            limits,
        }
    }

    /// Open sockets.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether this process may have one more.
    pub fn has_room(&self, owner: Pid) -> bool {
        let own = self.owned.get(&owner).copied().unwrap_or(0);
        self.len() < self.limits.sockets.min(1 << SLOT_BITS)
            && own < self.limits.sockets_per_process
    }

    /// # Errors
    /// [`Error::NoMemory`] if the owner or all together have too many.
    pub fn insert(&mut self, owner: Pid, state: State) -> Result<Handle> {
        if !self.has_room(owner) {
            return Err(Error::NoMemory);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 1,
                socket: None,
            });
            self.slots.len() as u32 - 1
        });
        *self.owned.entry(owner).or_default() += 1;
        let slot = &mut self.slots[index as usize];
        let socket = slot.socket.insert(Socket {
            owner,
            non_blocking: false,
            local: None,
            state,
            armed: Armed::default(),
        });
        let handle = Handle(slot.generation << SLOT_BITS | index);
        if let Some(subject) = socket.subject() {
            self.subjects.set(subject, Some(handle));
        }
        Ok(handle)
    }

    /// Makes something else of a socket.
    ///
    /// # Errors
    /// As [`Handles::get`].
    pub fn set_state(&mut self, handle: Handle, owner: Pid, state: State) -> Result<()> {
        let socket = self.get_mut(handle, owner)?;
        let old = socket.subject();
        socket.state = state;
        let new = socket.subject();
        self.forget_subject(old, handle);
        if let Some(subject) = new {
            self.subjects.set(subject, Some(handle));
        }
        Ok(())
    }

    fn forget_subject(&mut self, subject: Option<Change>, handle: Handle) {
        if let Some(subject) = subject
            && self.subjects.get(subject) == Some(handle)
        {
            self.subjects.set(subject, None);
        }
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

    /// As [`Handles::get`].
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
        self.forget_subject(socket.subject(), handle);
        if let Some(count) = self.owned.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(&owner);
            }
        }
        if let Some(local) = socket.local {
            let port = (socket.state.is_datagram(), local.port());
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

    /// Whether a socket of the same kind is bound to the port. There is one address, so
    /// "any" and it overlap.
    pub fn is_bound(&self, port: u16, state: State) -> bool {
        self.bound.contains(&(state.is_datagram(), port))
    }

    /// Gives a socket its local address, once; nobody of the same kind may have the port.
    pub fn bind(&mut self, handle: Handle, owner: Pid, local: SocketAddrV4) -> Result<()> {
        let socket = self.get_mut(handle, owner)?;
        socket.local = Some(local);
        let port = (socket.state.is_datagram(), local.port());
        self.bound.insert(port);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Pid = Pid(0x101);
    const B: Pid = Pid(0x102);

    #[test]
    fn a_handle_means_one_socket_of_one_owner_for_ever() {
        let mut handles = Handles::new(Limits::default());
        let first = handles.insert(A, State::Idle).unwrap();
        assert!(handles.get(first, A).is_ok());
        assert_eq!(handles.get(first, B).err(), Some(Error::BadHandle));
        handles.remove(first, A).unwrap();
        let second = handles.insert(A, State::Idle).unwrap();
        assert_ne!(first, second);
        assert_eq!(handles.get(first, A).err(), Some(Error::BadHandle));
        assert_eq!(handles.remove(first, A).err(), Some(Error::BadHandle));
        assert!(handles.remove(second, B).is_err() && handles.remove(second, A).is_ok());
        assert_eq!(handles.len(), 0);
    }

    #[test]
    fn generations_wrap_without_a_zero() {
        let mut handles = Handles::new(Limits::default());
        for _ in 0..GENERATION_MAX + 5 {
            let handle = handles.insert(A, State::Idle).unwrap();
            assert_ne!(handle.0 >> SLOT_BITS, 0);
            handles.remove(handle, A).unwrap();
        }
    }

    #[test]
    fn limits_hold_for_one_and_for_all() {
        let limits = Limits {
            sockets: 5,
            sockets_per_process: 3,
            ..Limits::default()
        };
        let mut handles = Handles::new(limits);
        for _ in 0..3 {
            handles.insert(A, State::Idle).unwrap();
        }
        assert_eq!(handles.insert(A, State::Idle), Err(Error::NoMemory));
        assert!(handles.insert(B, State::Idle).is_ok() && handles.insert(B, State::Idle).is_ok());
        assert_eq!(handles.insert(B, State::Idle), Err(Error::NoMemory));
        assert_eq!(handles.of(A).count(), 3);
        let all: Vec<Handle> = handles.of(A).collect();
        for handle in all {
            handles.remove(handle, A).unwrap();
        }
        assert!(handles.has_room(A) && handles.insert(A, State::Idle).is_ok());
        assert_eq!(handles.owned.values().sum::<usize>(), handles.len());
    }

    #[test]
    fn a_port_is_bound_per_kind_until_its_socket_is_gone() {
        let mut handles = Handles::new(Limits::default());
        let datagrams = State::Datagram {
            port: None,
            peer: None,
        };
        let local = SocketAddrV4::new(core::net::Ipv4Addr::UNSPECIFIED, 80);
        let socket = handles.insert(A, State::Idle).unwrap();
        assert_eq!(handles.bind(socket, B, local), Err(Error::BadHandle));
        assert!(!handles.is_bound(80, State::Idle));
        handles.bind(socket, A, local).unwrap();
        handles.get_mut(socket, A).unwrap().state = State::Listening;
        assert!(handles.is_bound(80, State::Idle) && !handles.is_bound(80, datagrams));
        let other = handles.insert(B, datagrams).unwrap();
        handles.bind(other, B, local).unwrap();
        handles.remove(socket, A).unwrap();
        assert!(!handles.is_bound(80, State::Idle) && handles.is_bound(80, datagrams));
    }

    #[test]
    fn an_announcement_finds_the_socket_as_it_is_now() {
        let mut handles = Handles::new(Limits::default());
        let listener = handles.insert(A, State::Idle).unwrap();
        let port = SocketAddrV4::new(core::net::Ipv4Addr::UNSPECIFIED, 80);
        handles.get_mut(listener, A).unwrap().local = Some(port);
        let found = |handles: &mut Handles, port| {
            let announced = handles.announced(Change::Listener(port));
            announced.map(|(handle, _)| handle)
        };
        assert_eq!(found(&mut handles, 80), None);
        handles.set_state(listener, A, State::Listening).unwrap();
        assert_eq!(found(&mut handles, 80), Some(listener));
        assert_eq!(found(&mut handles, 81), None);
        let stolen = handles.set_state(listener, B, State::Idle);
        assert_eq!(stolen, Err(Error::BadHandle));
        handles.remove(listener, A).unwrap();
        assert!(found(&mut handles, 80).is_none() && handles.subjects.listeners.is_empty());
    }
}
