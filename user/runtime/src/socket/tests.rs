//! The batches that a program's calls become, seen by a network server that the test plays.
#![allow(unsafe_code)]

use super::stream::DEFAULT_BACKLOG;
use super::*;
use abi::Syscall;
use abi::batch::{AREA, Event as Wire, HERE, NOT_OF_THIS_CALL, OPERATIONS, Operation, Send, Tell};
use abi::ipc::{Call, Lease};
use core::net::Ipv4Addr;
use std::cell::RefCell;
use std::rc::Rc;

const NET: Pid = Pid(3);
const INIT: Pid = Pid(1);

/// A request and its leases, as the server gets them.
pub(super) struct Served {
    pub request: Request,
    /// What is behind the request in the message.
    here: Vec<u8>,
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

    /// The operations of a batch, with the bytes behind each.
    pub fn operations(&self) -> Vec<(Operation, Vec<u8>)> {
        let lent = self.read(OPERATIONS.into());
        assert!(self.here.is_empty() || self.here == lent);
        let mut bytes = &lent[..];
        let mut operations = Vec::new();
        while let Some((head, behind)) = bytes.split_first_chunk() {
            let len = Operation::inline_of(head);
            let operation = Operation::from_bytes(head).unwrap();
            operations.push((operation, behind[..len].to_vec()));
            bytes = &behind[padded(len)..];
        }
        operations
    }
}

/// Installs a kernel with `init` and, if `running`, a network server that answers with
/// `serve`; returns how often it was called.
pub(super) fn network(
    running: bool,
    mut serve: impl FnMut(&Served) -> Result<Answer> + 'static,
) -> Rc<Cell<usize>> {
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
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
                    here: request[HERE..].to_vec(),
                    leases: call.leases[..call.lease_count as usize].to_vec(),
                };
                counted.set(counted.get() + 1);
                serve(&served)?.to_bytes().to_vec()
            };
            assert!(answer.len() as u64 <= call.answer.1);
            // SAFETY: the answer buffer named by the structure.
            unsafe { fake::write(call.answer.0, &answer) };
            Ok(answer.len() as u64)
        }
        Syscall::Clock => {
            let clock = abi::clock::Clock::calibrated(0, 1000, 1000);
            // SAFETY: the structure given to `clock`.
            unsafe { fake::write(a, &clock.to_bytes()) };
            Ok(0)
        }
        _ => panic!("{call:?}"),
    });
    calls
}

/// As events lie in an area.
pub(super) fn area(events: &[(Wire, &[u8])]) -> Vec<u8> {
    let mut area = Vec::new();
    for (event, bytes) in events {
        area.extend(event.to_bytes());
        area.extend(*bytes);
        area.resize(padded(area.len()), 0);
    }
    area
}

/// What is said of one operation.
type Said = Vec<(Wire, &'static [u8])>;

/// What the server was asked for: operations, and how long to wait for what comes of them.
type Log = Rc<RefCell<Vec<(Operation, u32)>>>;

/// A server that knows batches of one operation, or none, and answers them with `say`.
fn server(mut say: impl FnMut(Operation, &[u8]) -> Result<Said> + 'static) -> Log {
    let log = Log::default();
    let asked = log.clone();
    network(true, move |served| {
        let timeout_ms = match served.request {
            Request::Batch {
                operations: 1,
                timeout_ms,
            } => timeout_ms,
            // It waits on, while its time passes.
            Request::Batch { operations: 0, .. } => return Ok(Answer(0)),
            other => panic!("{other:?}"),
        };
        let (operation, bytes) = served.operations().remove(0);
        asked.borrow_mut().push((operation, timeout_ms));
        let events = area(&say(operation, &bytes)?);
        served.write(AREA.into(), &events);
        Ok(Answer(events.len() as u32))
    });
    log
}

pub(super) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2)), 40000);
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), 7000);
/// What is made is this; what is accepted has the next number.
const SOCKET: Handle = Handle(0x8001);
const ACCEPTED: Handle = Handle(0x8002);

fn opened(socket: Handle) -> (Wire, &'static [u8]) {
    let event = Wire::Opened {
        operation: 0,
        socket,
        local: LOCAL.into(),
    };
    (event, b"")
}

/// A server on which everything works.
fn agreeable(operation: Operation) -> Said {
    let socket = SOCKET;
    match operation {
        Operation::Listen { .. } | Operation::Bind { .. } => vec![opened(socket)],
        Operation::Connect { .. } => vec![opened(socket), (Wire::Connected { socket }, b"")],
        Operation::Accept { .. } => {
            let event = Wire::Accepted {
                listener: SOCKET,
                socket: ACCEPTED,
                peer: PEER.into(),
            };
            vec![(event, b"")]
        }
        _ => vec![],
    }
}

/// One for tests of batches.
pub(super) fn opening(served: &Served) -> Result<Answer> {
    let (operation, _) = served.operations().remove(0);
    let events = area(&agreeable(operation));
    served.write(AREA.into(), &events);
    Ok(Answer(events.len() as u32))
}

#[test]
fn a_listener_is_made_used_and_closed() {
    let log = server(|operation, _| Ok(agreeable(operation)));
    let listener = TcpListener::bind(any(80)).unwrap();
    assert_eq!(listener.local_addr(), LOCAL);
    let (stream, peer) = listener.accept().unwrap();
    assert_eq!((peer, stream.peer_addr()), (PEER, PEER));
    stream.shutdown(Direction::Send).unwrap();
    drop(stream);
    drop(listener);
    let listen = Operation::Listen {
        address: any(80).into(),
        backlog: DEFAULT_BACKLOG,
    };
    let accept = Operation::Accept {
        socket: SOCKET,
        count: 1,
        receive: 0,
    };
    let shutdown = Operation::Shutdown {
        socket: ACCEPTED,
        direction: Direction::Send,
    };
    let close = |socket| (Operation::Close { socket }, 0);
    assert_eq!(
        *log.borrow(),
        [
            (listen, NO_TIMEOUT),
            (accept, NO_TIMEOUT),
            (shutdown, 0),
            close(ACCEPTED),
            close(SOCKET),
        ]
    );
}

#[test]
fn a_server_that_is_not_running_is_asked_of_init() {
    let calls = network(false, opening);
    assert_eq!(TcpListener::bind(any(7)).unwrap().handle(), SOCKET);
    assert_eq!(calls.get(), 2, "it was made and closed");
}

#[test]
fn what_cannot_be_made_is_an_error_and_what_was_made_in_vain_is_given_back() {
    let failed = |socket, error| {
        let event = Wire::Failed {
            socket,
            operation: NOT_OF_THIS_CALL,
            error,
        };
        (event, &b""[..])
    };
    let log = server(move |operation, _| {
        Ok(match operation {
            Operation::Listen { .. } => vec![failed(Handle(0), Error::AddressInUse)],
            Operation::Bind { .. } => vec![failed(Handle(0), Error::QuotaExceeded)],
            Operation::Connect { address } if address.port == 0 => {
                vec![failed(Handle(0), Error::InvalidArgument)]
            }
            Operation::Connect { .. } => {
                vec![opened(SOCKET), failed(SOCKET, Error::ConnectionRefused)]
            }
            _ => vec![],
        })
    });
    assert_eq!(TcpListener::bind(any(7)).unwrap_err(), Error::AddressInUse);
    assert_eq!(UdpSocket::bind(any(7)).unwrap_err(), Error::QuotaExceeded);
    let refused = TcpStream::connect(any(0)).unwrap_err();
    assert_eq!(refused, Error::InvalidArgument);
    assert_eq!(log.borrow().len(), 3, "nothing is to be closed");
    let refused = TcpStream::connect(PEER).unwrap_err();
    assert_eq!(refused, Error::ConnectionRefused);
    let (last, _) = *log.borrow().last().unwrap();
    assert_eq!(last, Operation::Close { socket: SOCKET });
}

#[test]
fn bytes_go_both_ways() {
    let socket = SOCKET;
    server(move |operation, bytes| {
        Ok(match operation {
            Operation::Send(Send {
                tell: Tell::Now, ..
            }) => {
                assert_eq!(bytes, b"ping");
                let waited = false;
                vec![(Wire::Sent { socket, waited }, b"")]
            }
            Operation::Receive { max: 5, .. } => {
                vec![(Wire::Received { socket, len: 4 }, b"pong")]
            }
            Operation::Receive { max: 9, .. } => vec![(Wire::Ended { socket }, b"")],
            other => agreeable(other),
        })
    });
    let stream = TcpStream::connect(PEER).unwrap();
    assert_eq!((stream.local_addr(), stream.peer_addr()), (LOCAL, PEER));
    assert_eq!(stream.write(b"ping"), Ok(4));
    let mut buffer = [0; 5];
    assert_eq!(stream.read(&mut buffer), Ok(4));
    assert_eq!(&buffer, b"pong\0");
    assert_eq!(stream.read(&mut [0; 9]), Ok(0));
    assert_eq!(stream.read(&mut []), Ok(0), "nobody is asked");
}

#[test]
fn a_write_that_was_cut_goes_on() {
    let socket = SOCKET;
    let mut counts = [0, 3, 0, 3, 2].into_iter();
    let log = server(move |operation, _| {
        Ok(match operation {
            Operation::Send(_) => {
                let (operation, count) = (0, counts.next().unwrap());
                let event = Wire::Cut {
                    socket,
                    operation,
                    count,
                };
                vec![(event, b"")]
            }
            other => agreeable(other),
        })
    });
    let stream = TcpStream::connect(PEER).unwrap();
    stream.write_all(b"12345678").unwrap();
    let sends = |(operation, _): &&(Operation, u32)| matches!(operation, Operation::Send(_));
    assert_eq!(log.borrow().iter().filter(sends).count(), 5);
}

#[test]
fn what_does_not_come_in_time_is_taken_back() {
    let socket = SOCKET;
    let log = server(move |operation, _| {
        Ok(match operation {
            Operation::Send(_) => {
                let (operation, count) = (0, 0);
                let event = Wire::Cut {
                    socket,
                    operation,
                    count,
                };
                vec![(event, b"")]
            }
            // Another socket has room again: that is nothing to this call.
            Operation::ReceiveFrom { .. } => vec![(Wire::Room { socket: ACCEPTED }, b"")],
            Operation::Accept { .. } => vec![],
            other => agreeable(other),
        })
    });
    let (listener, datagrams) = (TcpListener::bind(any(80)), UdpSocket::bind(any(7)));
    let (listener, datagrams) = (listener.unwrap(), datagrams.unwrap());
    let stream = TcpStream::connect(PEER).unwrap();
    listener.set_nonblocking(true);
    stream.set_nonblocking(true);
    datagrams.set_nonblocking(true);
    log.borrow_mut().clear();
    let not_yet = Error::WouldBlock;
    assert_eq!(listener.accept().map(|_| ()), Err(not_yet));
    assert_eq!(stream.read(&mut [0; 4]), Err(not_yet));
    assert_eq!(datagrams.recv_from(&mut [0; 4]), Err(not_yet));
    let cancel = (Operation::Cancel { socket }, 0);
    {
        let log = log.borrow();
        assert!(log.iter().all(|(_, timeout)| *timeout == 0));
        assert_eq!([log[1], log[3], log[5]], [cancel; 3]);
        assert_eq!(log.len(), 6);
    }
    assert_eq!(stream.write(b"full"), Err(not_yet));
    assert_eq!(stream.write(b""), Ok(0));
    // The same after a while.
    stream.set_nonblocking(false);
    assert_eq!(
        stream.set_read_timeout(Some(Duration::ZERO)),
        Err(Error::InvalidArgument)
    );
    stream
        .set_read_timeout(Some(Duration::from_millis(3)))
        .unwrap();
    log.borrow_mut().clear();
    assert_eq!(stream.read(&mut [0; 4]), Err(Error::TimedOut));
    let (first, timeout_ms) = log.borrow()[0];
    assert_eq!(first, Operation::Receive { socket, max: 4 });
    assert!((1..=3).contains(&timeout_ms), "{timeout_ms}");
    assert_eq!(log.borrow().last(), Some(&cancel));
}

#[test]
fn datagrams_go_to_and_come_from_anybody_or_a_peer() {
    let stranger = SocketAddr::new(PEER.ip(), 1);
    let socket = SOCKET;
    let from = move |from: SocketAddr, bytes: &'static [u8]| {
        let event = Wire::Datagram {
            socket,
            from: from.into(),
            len: bytes.len() as u32,
        };
        vec![(event, bytes)]
    };
    let mut arriving = vec![
        from(PEER, b"friend"),
        from(stranger, b"no"),
        from(PEER, b"ping"),
    ];
    let log = server(move |operation, _| {
        Ok(match operation {
            Operation::ReceiveFrom { count: 1, .. } => arriving.pop().unwrap(),
            other => agreeable(other),
        })
    });
    let datagrams = UdpSocket::bind(any(7)).unwrap();
    assert_eq!(datagrams.local_addr(), LOCAL);
    let mut buffer = [0; 3];
    assert_eq!(datagrams.recv_from(&mut buffer), Ok((3, PEER)));
    assert_eq!(&buffer, b"pin", "what does not fit is lost");
    assert_eq!(datagrams.send(b"x"), Err(Error::NotConnected));
    datagrams.connect(PEER);
    assert_eq!(datagrams.send(b"pong"), Ok(4));
    let send_to = Operation::SendTo {
        socket,
        address: PEER.into(),
        inline: 4,
    };
    assert_eq!(*log.borrow().last().unwrap(), (send_to, 0));
    assert_eq!(datagrams.recv(&mut [0; 9]), Ok(6), "of the peer");
}

#[test]
fn a_datagram_that_finds_no_room_is_tried_again_for_some_time() {
    let socket = SOCKET;
    let mut full = 3;
    let log = server(move |operation, _| {
        Ok(match operation {
            Operation::SendTo { .. } if full > 0 => {
                full -= 1;
                let (operation, count) = (0, 0);
                let event = Wire::Cut {
                    socket,
                    operation,
                    count,
                };
                vec![(event, b"")]
            }
            other => agreeable(other),
        })
    });
    let datagrams = UdpSocket::bind(any(7)).unwrap();
    datagrams.set_nonblocking(true);
    assert_eq!(datagrams.send_to(b"x", PEER), Err(Error::WouldBlock));
    datagrams.set_nonblocking(false);
    log.borrow_mut().clear();
    assert_eq!(datagrams.send_to(b"x", PEER), Ok(1));
    let waited: Vec<u32> = log.borrow().iter().map(|(_, timeout)| *timeout).collect();
    assert_eq!((waited[0], waited[1]), (0, 10));
}

#[test]
fn status_is_text() {
    network(true, |served| {
        let text: &[u8] = match served.request {
            Request::Status => b"tcp_open 3\n",
            _ => b"driver e100\nrx_frames 4\n",
        };
        served.write(0, text);
        Ok(Answer(text.len() as u32))
    });
    let server = Server::ours().unwrap();
    assert_eq!(server.status().unwrap(), "tcp_open 3\n");
    assert_eq!(server.card().unwrap(), "driver e100\nrx_frames 4\n");
}

#[test]
fn a_server_that_lies_is_not_believed() {
    let socket = SOCKET;
    server(move |operation, _| {
        Ok(match operation {
            Operation::Send(_) => {
                let (operation, count) = (0, 9);
                let event = Wire::Cut {
                    socket,
                    operation,
                    count,
                };
                vec![(event, b"")]
            }
            // More than was asked for.
            Operation::Receive { .. } => vec![(Wire::Received { socket, len: 9 }, b"123456789")],
            other => agreeable(other),
        })
    });
    let stream = TcpStream::connect(PEER).unwrap();
    assert_eq!(stream.read(&mut [0; 8]), Ok(8));
    assert_eq!(stream.write_all(b"abc"), Err(Error::Malformed));
}

#[test]
fn the_death_of_the_server_is_an_error() {
    let mut alive = 1;
    server(move |operation, _| {
        alive -= 1;
        match alive {
            0.. => Ok(agreeable(operation)),
            _ => Err(Error::PeerDied),
        }
    });
    let stream = TcpStream::connect(PEER).unwrap();
    assert_eq!(stream.read(&mut [0; 8]), Err(Error::PeerDied));
    assert_eq!(stream.write(b"x"), Err(Error::PeerDied));
}
