//! The requests a program's calls become, seen by a network server that the test plays.
#![allow(unsafe_code)]

use super::*;
use abi::Syscall;
use abi::ipc::{Call, Lease};
use abi::socket::PollEntry;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::cell::RefCell;
use std::rc::Rc;

const NET: Pid = Pid(3);
const INIT: Pid = Pid(1);

/// A request and its leases, as the server gets them.
pub(super) struct Served {
    pub request: Request,
    leases: Vec<Lease>,
}

impl Served {
    pub fn read(&self, lease: usize) -> Vec<u8> {
        let Lease { address, len, .. } = self.leases[lease];
        // SAFETY: lent by the call that is being answered.
        unsafe { fake::read(address, len) }
    }

    pub fn write(&self, lease: usize, bytes: &[u8]) {
        let lease = self.leases[lease];
        assert!(lease.writable && bytes.len() as u64 <= lease.len);
        // SAFETY: lent writable by the call that is being answered.
        unsafe { fake::write(lease.address, bytes) }
    }
}

/// Installs a kernel with `init` and, if `running`, a network server that answers with
/// `serve`; returns the log of what was asked.
pub(super) fn network(
    running: bool,
    mut serve: impl FnMut(&Served) -> Result<Answer> + 'static,
) -> Rc<RefCell<Vec<Request>>> {
    let log = Rc::new(RefCell::new(Vec::new()));
    let requests = log.clone();
    fake::install(move |call, [a, b, ..]| match call {
        Syscall::Lookup => {
            // SAFETY: the name given to `lookup`.
            match unsafe { fake::read(a, b) }.as_slice() {
                b"net0" if running => Ok(NET.0.into()),
                b"init" => Ok(INIT.0.into()),
                _ => Err(Error::NotFound),
            }
        }
        Syscall::Call => {
            // SAFETY: the structure given to `call`.
            let call = Call::from_bytes(&unsafe { fake::read(a, Call::SIZE as u64) })?;
            // SAFETY: named by that structure.
            let request = unsafe { fake::read(call.request.0, call.request.1) };
            let answer = if call.target == INIT {
                service::Request::from_bytes(&request)?;
                NET.0.to_le_bytes().to_vec()
            } else {
                assert_eq!(call.target, NET);
                let served = Served {
                    request: Request::from_bytes(&request)?,
                    leases: call.leases[..call.lease_count as usize].to_vec(),
                };
                requests.borrow_mut().push(served.request);
                serve(&served)?.to_bytes().to_vec()
            };
            assert!(answer.len() as u64 <= call.answer.1);
            // SAFETY: the answer buffer named by the structure.
            unsafe { fake::write(call.answer.0, &answer) };
            Ok(answer.len() as u64)
        }
        _ => panic!("{call:?}"),
    });
    log
}

/// A server on which everything works; sockets are numbered from 1.
pub(super) fn agreeable() -> impl FnMut(&Served) -> Result<Answer> {
    let mut next = 0;
    move |served| {
        next += 1;
        Ok(match served.request {
            Request::Socket { .. } => Answer::Socket(Handle(next)),
            Request::Accept { .. } => Answer::Accepted(Handle(next), PEER),
            Request::PeerAddress { .. } => Answer::Address(PEER),
            _ => Answer::Done,
        })
    }
}

pub(super) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2)), 40000);

#[test]
fn a_listener_is_made_used_and_closed() {
    let log = network(true, agreeable());
    let listener = TcpListener::bind(any(80)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (stream, peer) = listener.accept().unwrap();
    assert_eq!(peer, PEER);
    drop(stream);
    drop(listener);
    let socket = Handle(1);
    let kind = Kind::Stream;
    assert_eq!(
        *log.borrow(),
        [
            Request::Socket { kind },
            Request::Bind {
                socket,
                address: any(80)
            },
            Request::Listen {
                socket,
                backlog: DEFAULT_BACKLOG
            },
            Request::SetNonBlocking { socket, on: true },
            Request::Accept { socket },
            Request::Close { socket: Handle(5) },
            Request::Close { socket },
        ]
    );
}

#[test]
fn a_server_that_is_not_running_is_asked_of_init() {
    let log = network(false, agreeable());
    TcpStream::connect(PEER).unwrap();
    assert!(matches!(log.borrow()[1], Request::Connect { address, .. } if address == PEER));
}

#[test]
fn a_socket_whose_bind_fails_is_given_back() {
    let mut next = agreeable();
    let log = network(true, move |served| match served.request {
        Request::Bind { .. } => Err(Error::AddressInUse),
        _ => next(served),
    });
    assert_eq!(TcpListener::bind(any(7)).unwrap_err(), Error::AddressInUse);
    assert_eq!(
        log.borrow().last(),
        Some(&Request::Close { socket: Handle(1) })
    );
}

#[test]
fn bytes_are_lent_both_ways() {
    let mut next = agreeable();
    network(true, move |served| match served.request {
        Request::Send { .. } => {
            assert!(!served.leases[0].writable);
            let mut bytes = served.read(0);
            if served.leases.len() > 1 {
                bytes.extend(served.read(1));
            }
            assert!(b"head body".starts_with(&bytes) || bytes == b"body");
            Ok(Answer::Count(bytes.len() as u32))
        }
        Request::Recv { .. } => {
            served.write(0, b"pong");
            Ok(Answer::Count(4))
        }
        Request::RecvFrom { .. } => {
            served.write(0, b"ping");
            // A datagram longer than the buffer reports what was stored, at most.
            Ok(Answer::Datagram(1400, PEER))
        }
        _ => next(served),
    });
    let stream = TcpStream::connect(PEER).unwrap();
    assert_eq!(stream.write_vectored(b"head ", b"body"), Ok(9));
    assert_eq!(stream.write_vectored(b"", b"body"), Ok(4));
    assert_eq!(stream.write_vectored(b"head ", b""), Ok(5));
    let mut buffer = [0; 4];
    assert_eq!(stream.read(&mut buffer), Ok(4));
    assert_eq!(&buffer, b"pong");
    let socket = UdpSocket::bind(any(7)).unwrap();
    assert_eq!(socket.recv_from(&mut buffer), Ok((4, PEER)));
    assert_eq!(&buffer, b"ping");
}

#[test]
fn write_all_goes_on_after_a_short_send() {
    let mut next = agreeable();
    let log = network(true, move |served| match served.request {
        Request::Send { .. } => Ok(Answer::Count(served.leases[0].len.min(3) as u32)),
        _ => next(served),
    });
    TcpStream::connect(PEER)
        .unwrap()
        .write_all(b"12345678")
        .unwrap();
    let sends = |request: &&Request| matches!(request, Request::Send { .. });
    assert_eq!(log.borrow().iter().filter(sends).count(), 3);
}

#[test]
fn a_poll_set_is_lent_and_comes_back_filled() {
    let mut next = agreeable();
    network(true, move |served| match served.request {
        Request::Poll { timeout_ms } => {
            assert_eq!(timeout_ms, 250);
            let mut bytes = served.read(0);
            assert_eq!(bytes.len(), 2 * PollEntry::SIZE);
            assert_eq!(bytes[4], events::READABLE as u8);
            bytes[PollEntry::SIZE + 6] = events::WRITABLE as u8;
            served.write(0, &bytes);
            Ok(Answer::Count(1))
        }
        _ => next(served),
    });
    let a = UdpSocket::bind(any(7)).unwrap();
    let b = TcpStream::connect(PEER).unwrap();
    let mut set = PollSet::new();
    assert_eq!(set.wait(0), Err(Error::InvalidArgument));
    let first = set.push(&a, events::READABLE).unwrap();
    let second = set.push(&b, events::WRITABLE).unwrap();
    assert_eq!(set.wait(250), Ok(1));
    assert_eq!(set.ready(first), 0);
    assert_eq!(set.ready(second), events::WRITABLE);
    assert_eq!(set.ready(2), 0);
}

#[test]
fn status_is_text() {
    network(true, |served| {
        let text: &[u8] = match served.request {
            Request::Status => b"tcp_open 3\n",
            Request::Card => b"driver e100\nrx_frames 4\n",
            _ => b"",
        };
        served.write(0, text);
        Ok(Answer::Count(text.len() as u32))
    });
    let server = Server::ours().unwrap();
    assert_eq!(server.status().unwrap(), "tcp_open 3\n");
    assert_eq!(server.card().unwrap(), "driver e100\nrx_frames 4\n");
}

#[test]
fn a_server_that_lies_is_not_believed() {
    network(true, |served| match served.request {
        Request::Socket { .. } => Ok(Answer::Socket(Handle(1))),
        Request::Recv { .. } | Request::Send { .. } => Ok(Answer::Count(u32::MAX)),
        Request::Close { .. } => Ok(Answer::Done),
        _ => Ok(Answer::Count(1)),
    });
    let stream = TcpStream::connect(PEER).unwrap();
    assert_eq!(stream.read(&mut [0; 8]), Ok(8));
    assert_eq!(stream.write_all(b"abc"), Err(Error::Malformed));
    assert_eq!(stream.peer_addr(), Err(Error::Malformed));
}

#[test]
fn the_death_of_the_server_is_an_error() {
    let mut next = agreeable();
    let mut alive = 3;
    network(true, move |served| {
        alive -= 1;
        if alive < 0 {
            return Err(Error::PeerDied);
        }
        next(served)
    });
    let stream = TcpStream::connect(PEER).unwrap();
    assert_eq!(stream.peer_addr(), Ok(PEER));
    assert_eq!(stream.read(&mut [0; 8]), Err(Error::PeerDied));
}
