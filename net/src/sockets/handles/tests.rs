//! Handles belong to who made them, and no number means two sockets.

use super::*;

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
    handles.insert(owner, State::Idle)
}

/// The same of a state, with room for all.
fn insert(handles: &mut Handles, owner: Pid, state: State) -> Result<Handle> {
    handles.make_room(owner, &mut Quota::new(usize::MAX))?;
    handles.insert(owner, state)
}

#[test]
fn a_handle_means_one_socket_of_one_owner_for_ever() {
    let mut handles = Handles::new(Limits::default());
    let first = insert(&mut handles, A, State::Idle).unwrap();
    assert!(handles.get(first, A).is_ok());
    assert_eq!(handles.get(first, B).err(), Some(Error::BadHandle));
    handles.remove(first, A).unwrap();
    let second = insert(&mut handles, A, State::Idle).unwrap();
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
        let handle = insert(&mut handles, A, State::Idle).unwrap();
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
    assert_eq!(handles.insert(Pid(3), State::Idle), Err(Error::NoMemory));
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
    let datagrams = State::Datagram {
        port: None,
        peer: None,
    };
    let local = SocketAddrV4::new(core::net::Ipv4Addr::UNSPECIFIED, 80);
    let socket = insert(&mut handles, A, State::Idle).unwrap();
    assert_eq!(handles.bind(socket, B, local), Err(Error::BadHandle));
    assert!(!handles.is_bound(80, State::Idle));
    handles.bind(socket, A, local).unwrap();
    handles.get_mut(socket, A).unwrap().state = State::Listening;
    assert!(handles.is_bound(80, State::Idle) && !handles.is_bound(80, datagrams));
    let other = insert(&mut handles, B, datagrams).unwrap();
    handles.bind(other, B, local).unwrap();
    handles.remove(socket, A).unwrap();
    assert!(!handles.is_bound(80, State::Idle) && handles.is_bound(80, datagrams));
}

#[test]
fn an_announcement_finds_the_socket_as_it_is_now() {
    let mut handles = Handles::new(Limits::default());
    let listener = insert(&mut handles, A, State::Idle).unwrap();
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
