//! Handles belong to who made them, and no number means two sockets.

use super::*;
use crate::names::{ConnectionId, DatagramId};

const A: Pid = Pid(0x101);
const B: Pid = Pid(0x102);

/// A kernel that lets each process have so many sockets.
struct Quota {
    limit: usize,
    charged: BTreeMap<Pid, usize>,
    calls: usize,
}

impl Quota {
    fn new(limit: usize) -> Self {
        Quota {
            limit,
            charged: BTreeMap::new(),
            calls: 0,
        }
    }
}

impl Ipc for Quota {
    fn read(&mut self, _: u64, _: u8, _: usize, _: &mut [u8]) -> Result<usize> {
        Err(Error::NotSupported)
    }

    fn write(&mut self, _: u64, _: usize, _: &[u8]) -> Result<usize> {
        Err(Error::NotSupported)
    }

    fn answer(&mut self, _: u64, _: Result<abi::socket::Answer>) {}

    fn answer_here(&mut self, _: u64, _: abi::socket::Answer, _: &[u8]) {}

    fn watch(&mut self, _: Pid) -> Result<()> {
        Ok(())
    }

    fn charge(&mut self, client: Pid, sockets: usize) -> Result<()> {
        self.calls += 1;
        if sockets > self.limit {
            return Err(Error::QuotaExceeded);
        }
        self.charged.insert(client, sockets);
        Ok(())
    }
}

fn open(handles: &mut Handles, ipc: &mut Quota, owner: Pid) -> Result<Handle> {
    handles.make_room(owner, ipc)?;
    let kind = Kind::Stream(ConnectionId(handles.len()));
    handles.insert(owner, kind, None)
}

/// A socket of this kind at this port, with room for all.
fn at(handles: &mut Handles, owner: Pid, kind: Kind, port: u16) -> Handle {
    let room = handles.make_room(owner, &mut Quota::new(usize::MAX));
    room.unwrap();
    handles.insert(owner, kind, Some(port)).unwrap()
}

fn listener(handles: &mut Handles, owner: Pid) -> Handle {
    at(handles, owner, Kind::Listener(80), 80)
}

#[test]
fn a_handle_means_one_socket_of_one_owner_for_ever() {
    let mut handles = Handles::new(Limits::default());
    let first = listener(&mut handles, A);
    assert!(handles.get(first, A).is_ok());
    assert_eq!(handles.get(first, B).err(), Some(Error::BadHandle));
    handles.remove(first, A).unwrap();
    let second = listener(&mut handles, A);
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
        let handle = listener(&mut handles, A);
        assert_ne!(handle.0 >> SLOT_BITS, 0);
        handles.remove(handle, A).unwrap();
    }
}

#[test]
fn limits_hold_for_one_and_for_all() {
    let limits = Limits {
        sockets: 5,
        ..Limits::default()
    };
    let mut handles = Handles::new(limits);
    let mut ipc = Quota::new(3);
    let mut open = |handles: &mut Handles, owner| open(handles, &mut ipc, owner);
    for _ in 0..3 {
        open(&mut handles, A).unwrap();
    }
    assert_eq!(open(&mut handles, A), Err(Error::QuotaExceeded));
    assert!(open(&mut handles, B).is_ok() && open(&mut handles, B).is_ok());
    assert_eq!(open(&mut handles, B), Err(Error::NoMemory));
    assert_eq!(handles.of(A).count(), 3);
    let all: Vec<Handle> = handles.of(A).collect();
    for handle in all {
        handles.remove(handle, A).unwrap();
    }
    assert!(open(&mut handles, A).is_ok());
    let counts = handles.owned.values().map(|owned| owned.count);
    assert_eq!(counts.sum::<usize>(), handles.len());
    // Without having asked there is no room.
    let unasked = handles.insert(Pid(3), Kind::Listener(80), Some(80));
    assert_eq!(unasked, Err(Error::NoMemory));
    assert!(!handles.is_bound(80, false));
}

#[test]
fn the_kernel_knows_of_all_sockets_and_is_asked_seldom() {
    let mut handles = Handles::new(Limits::default());
    let mut ipc = Quota::new(500);
    let mut all = Vec::new();
    while let Ok(handle) = open(&mut handles, &mut ipc, A) {
        all.push(handle);
        assert!(ipc.charged[&A] >= all.len());
    }
    // To the last one.
    assert_eq!((all.len(), ipc.charged[&A]), (500, 500));
    assert!(ipc.calls < 60, "{} calls", ipc.calls);
    for handle in all.drain(100..) {
        handles.remove(handle, A).unwrap();
    }
    handles.settle(&mut ipc);
    assert_eq!(ipc.charged[&A], 100);
    // Connections that come and go at a level need no call.
    let mut before = None;
    for _ in 0..1000 {
        let handle = open(&mut handles, &mut ipc, A).unwrap();
        handles.remove(handle, A).unwrap();
        handles.settle(&mut ipc);
        assert_eq!(*before.get_or_insert(ipc.calls), ipc.calls);
    }
    for handle in all {
        handles.remove(handle, A).unwrap();
    }
    handles.settle(&mut ipc);
    assert_eq!(ipc.charged[&A], 0);
    assert!(handles.owned.is_empty());
}

#[test]
fn a_port_is_bound_per_kind_until_its_socket_is_gone() {
    let mut handles = Handles::new(Limits::default());
    let socket = listener(&mut handles, A);
    assert!(handles.is_bound(80, false) && !handles.is_bound(80, true));
    at(&mut handles, B, Kind::Datagrams(DatagramId(0)), 80);
    // What was accepted keeps no port.
    let mut ipc = Quota::new(9);
    let accepted = open(&mut handles, &mut ipc, A).unwrap();
    handles.remove(accepted, A).unwrap();
    assert!(handles.is_bound(80, false) && handles.is_bound(80, true));
    handles.remove(socket, A).unwrap();
    assert!(!handles.is_bound(80, false) && handles.is_bound(80, true));
}

#[test]
fn an_announcement_finds_the_socket_that_it_is_about() {
    let mut handles = Handles::new(Limits::default());
    let kinds = [
        Kind::Listener(80),
        Kind::Stream(ConnectionId(3)),
        Kind::Datagrams(DatagramId(3)),
    ];
    let sockets = kinds.map(|kind| at(&mut handles, A, kind, 80));
    let found = |handles: &mut Handles, kind: Kind| {
        let announced = handles.announced(kind.subject());
        announced.map(|(handle, _)| handle)
    };
    for (kind, socket) in kinds.into_iter().zip(sockets) {
        assert_eq!(found(&mut handles, kind), Some(socket));
    }
    assert_eq!(found(&mut handles, Kind::Listener(81)), None);
    for (kind, socket) in kinds.into_iter().zip(sockets) {
        handles.remove(socket, A).unwrap();
        assert_eq!(found(&mut handles, kind), None);
    }
    assert!(handles.subjects.listeners.is_empty());
}
