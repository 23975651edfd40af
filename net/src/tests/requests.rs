//! Requests as such: handles, addresses, limits, deaths.

use super::world::*;
use crate::tests::frames::{Segment, arp_reply, udp};
use crate::{Config, ConfigError, Limits, Server};
use abi::socket::{
    Answer, Direction, Handle, Kind, POLL_FOREVER, POLL_MAX, PollEntry, Request, poll,
};
use abi::{Error, Pid};
use core::net::SocketAddr;
use smoltcp::socket::tcp::State;
use std::vec;
use std::vec::Vec;

const A: Pid = Pid(0x102);
const B: Pid = Pid(0x103);
const DONE: abi::Result<Answer> = Ok(Answer::Done);

/// One request of every kind that names a socket.
pub fn every(socket: Handle) -> Vec<Request> {
    let address = SocketAddr::from((PEER_IP, 9));
    let here = SocketAddr::from(([0; 4], 900));
    let mut requests = vec![
        Request::Bind {
            socket,
            address: here,
        },
        Request::Listen { socket, backlog: 5 },
        Request::Accept { socket },
        Request::Connect { socket, address },
        Request::Send { socket },
        Request::Recv { socket },
        Request::SendTo { socket, address },
        Request::RecvFrom { socket },
        Request::LocalAddress { socket },
        Request::PeerAddress { socket },
        Request::SetNonBlocking { socket, on: false },
        Request::SetNonBlocking { socket, on: true },
        Request::Close { socket },
    ];
    for direction in [Direction::Receive, Direction::Send, Direction::Both] {
        requests.push(Request::Shutdown { socket, direction });
    }
    requests
}

#[test]
fn a_handle_of_another_process_or_time_is_no_handle() {
    let mut world = World::new(1);
    let socket = world.listener(A, 80, 4);
    let old = world.socket(A, Kind::Stream);
    assert_eq!(world.ask(A, Request::Close { socket: old }), DONE);
    let newer = world.socket(B, Kind::Stream);
    assert_ne!(old, newer);
    let mut wrong = vec![(B, socket), (A, old), (B, old), (A, newer)];
    for _ in 0..200 {
        wrong.push((A, Handle(world.chance.next() as u32)));
    }
    wrong.retain(|&(client, handle)| (client, handle) != (A, socket));
    for (client, handle) in wrong {
        for request in every(handle) {
            assert_eq!(
                world.ask(client, request),
                Err(Error::BadHandle),
                "{request:?}"
            );
        }
        assert_eq!(world.ready(client, handle, 0), poll::INVALID);
    }
    assert_eq!(world.ask(B, Request::Close { socket: newer }), DONE);
    assert_eq!(world.ask(A, Request::Close { socket }), DONE);
    world.assert_empty();
}

#[test]
fn addresses_are_bound_once_and_must_be_ours() {
    let mut world = World::new(2);
    let socket = world.socket(A, Kind::Stream);
    let bind = |socket, ip, port| Request::Bind {
        socket,
        address: SocketAddr::from((ip, port)),
    };
    for ip in [PEER_IP, [127, 0, 0, 1], [255; 4], [1, 2, 3, 4]] {
        assert_eq!(
            world.ask(A, bind(socket, ip, 80)),
            Err(Error::AddressNotAvailable)
        );
    }
    assert_eq!(world.ask(A, bind(socket, SERVER_IP, 80)), DONE);
    assert_eq!(
        world.ask(A, bind(socket, SERVER_IP, 81)),
        Err(Error::InvalidArgument)
    );
    let other = world.socket(B, Kind::Stream);
    for ip in [[0; 4], SERVER_IP] {
        assert_eq!(world.ask(B, bind(other, ip, 80)), Err(Error::AddressInUse));
    }
    // The same number of the other protocol is another port.
    let datagrams = world.socket(B, Kind::Datagram);
    assert_eq!(world.ask(B, bind(datagrams, [0; 4], 80)), DONE);
    assert_eq!(world.ask(A, Request::Close { socket }), DONE);
    assert_eq!(world.ask(B, bind(other, [0; 4], 80)), DONE);
}

#[test]
fn ipv6_addresses_are_not_ours_and_not_to_be_reached_as_yet() {
    let mut world = World::new(3);
    for ip in ["::1", "fe80::1", "2001:db8::2", "ff02::1", "::10.0.2.15"] {
        let address = SocketAddr::new(ip.parse().unwrap(), 80);
        for kind in [Kind::Stream, Kind::Datagram] {
            let socket = world.socket(A, kind);
            let bound = world.ask(A, Request::Bind { socket, address });
            assert_eq!(bound, Err(Error::AddressNotAvailable), "{address}");
            let connected = world.ask(A, Request::Connect { socket, address });
            assert_eq!(connected, Err(Error::Unreachable), "{address}");
            // It is as it was.
            let unbound = Ok(Answer::Address(SocketAddr::from(([0; 4], 0))));
            assert_eq!(world.ask(A, Request::LocalAddress { socket }), unbound);
            assert_eq!(world.ask(A, Request::Close { socket }), DONE);
        }
        let socket = world.bound(A, Kind::Datagram, 7);
        let sent = world.now(A, Request::SendTo { socket, address }, b"x").0;
        assert_eq!(sent, Err(Error::Unreachable), "{address}");
        assert_eq!(world.ask(A, Request::Close { socket }), DONE);
    }
    assert!(world.frames().is_empty());
}

#[test]
fn any_address_of_ipv6_is_any_of_ipv4_too() {
    let mut world = World::new(4);
    let address = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
    let any = address("::", 80);
    let bound = |world: &mut World, kind| {
        let (socket, other) = (world.socket(A, kind), world.socket(A, kind));
        let bind = |socket, address| Request::Bind { socket, address };
        assert_eq!(world.ask(A, bind(socket, any)), DONE);
        let second = world.ask(A, bind(other, address("0.0.0.0", 80)));
        assert_eq!(second, Err(Error::AddressInUse));
        socket
    };
    let listener = bound(&mut world, Kind::Stream);
    let listen = Request::Listen {
        socket: listener,
        backlog: 1,
    };
    assert_eq!(world.ask(A, listen), DONE);
    world.peer.connect(5000, 80);
    let socket = world.accept(A, listener);
    let peer = Ok(Answer::Address(address("10.0.2.2", 5000)));
    assert_eq!(world.ask(A, Request::PeerAddress { socket }), peer);

    let socket = bound(&mut world, Kind::Datagram);
    world.inject(&udp((PEER_IP, 5000), 80, b"x"));
    world.frames();
    let received = world.now(A, Request::RecvFrom { socket }, &[0; 9]).0;
    assert_eq!(received, Ok(Answer::Datagram(1, address("10.0.2.2", 5000))));
    // It is nobody to talk to, and as a peer it takes the peer back.
    let to = |address| Request::SendTo { socket, address };
    let refused = Err(Error::InvalidArgument);
    assert_eq!(world.now(A, to(any), b"x").0, refused);
    let connect = |address| Request::Connect { socket, address };
    assert_eq!(world.ask(A, connect(address("10.0.2.2", 9))), DONE);
    assert_eq!(world.ask(A, connect(address("::", 0))), DONE);
    let none = Err(Error::NotConnected);
    assert_eq!(world.ask(A, Request::PeerAddress { socket }), none);
    let socket = world.socket(A, Kind::Stream);
    let connect = Request::Connect {
        socket,
        address: any,
    };
    assert_eq!(world.ask(A, connect), refused);
}

#[test]
fn an_ipv6_address_that_maps_one_of_ipv4_is_that_one() {
    let mut world = World::new(5);
    let mapped = |ip: [u8; 4], port| {
        let ip = std::net::Ipv4Addr::from(ip).to_ipv6_mapped();
        SocketAddr::new(ip.into(), port)
    };
    let socket = world.socket(A, Kind::Stream);
    let address = mapped(SERVER_IP, 80);
    assert_eq!(world.ask(A, Request::Bind { socket, address }), DONE);
    let here = Ok(Answer::Address(SocketAddr::from((SERVER_IP, 80))));
    assert_eq!(world.ask(A, Request::LocalAddress { socket }), here);
    world.peer.listen(9000);
    let address = mapped(PEER_IP, 9000);
    let connected = world.wait(A, Request::Connect { socket, address }, &[]).0;
    assert_eq!(connected, DONE);
    let peer = Ok(Answer::Address(SocketAddr::from((PEER_IP, 9000))));
    assert_eq!(world.ask(A, Request::PeerAddress { socket }), peer);
    let socket = world.bound(A, Kind::Datagram, 7);
    let sent = world.now(A, Request::SendTo { socket, address }, b"x").0;
    assert_eq!(sent, Ok(Answer::Count(1)));
}

#[test]
fn ports_nobody_asked_for_are_random_high_and_distinct() {
    let mut ports = Vec::new();
    for seed in 0..2 {
        let mut world = World::new(seed);
        for kind in [Kind::Stream, Kind::Datagram] {
            for _ in 0..20 {
                let socket = world.bound(A, kind, 0);
                let Ok(Answer::Address(local)) = world.ask(A, Request::LocalAddress { socket })
                else {
                    panic!()
                };
                assert!(local.port() >= 49152);
                ports.push(local.port());
            }
        }
    }
    let count = ports.len();
    ports.sort();
    ports.dedup();
    assert!(count - ports.len() < 3, "80 of 16384 seldom meet");
}

#[test]
fn requests_on_the_wrong_kind_of_socket_say_so() {
    let mut world = World::new(3);
    let direction = Direction::Both;
    let datagrams = world.bound(A, Kind::Datagram, 7);
    let socket = datagrams;
    for request in [
        Request::Listen { socket, backlog: 1 },
        Request::Accept { socket },
        Request::Shutdown { socket, direction },
    ] {
        assert_eq!(world.ask(A, request), Err(Error::NotSupported));
    }
    let address = SocketAddr::from((PEER_IP, 9));
    for socket in [world.socket(A, Kind::Stream), world.listener(A, 80, 1)] {
        assert_eq!(
            world.ask(A, Request::SendTo { socket, address }),
            Err(Error::NotSupported)
        );
        assert_eq!(
            world.ask(A, Request::RecvFrom { socket }),
            Err(Error::NotSupported)
        );
        assert_eq!(
            world.ask(A, Request::Send { socket }),
            Err(Error::NotConnected)
        );
        assert_eq!(
            world.ask(A, Request::Recv { socket }),
            Err(Error::NotConnected)
        );
        let shutdown = Request::Shutdown { socket, direction };
        assert_eq!(world.ask(A, shutdown), Err(Error::NotConnected));
    }
    let socket = world.socket(A, Kind::Stream);
    assert_eq!(
        world.ask(A, Request::Accept { socket }),
        Err(Error::InvalidArgument)
    );
}

#[test]
fn sockets_and_buffers_are_bounded() {
    let config = Config {
        limits: Limits {
            sockets: 7,
            // Ports may have half of it.
            memory: 600 << 10,
            ..Limits::default()
        },
        ..Config::new(SERVER_MAC, 4)
    };
    let mut world = World::with(config);
    let kind = Kind::Datagram;
    world.kernel.quota = Some(4);
    let sockets: Vec<Handle> = (0..4).map(|_| world.socket(A, kind)).collect();
    let refused = world.ask(A, Request::Socket { kind });
    assert_eq!(refused, Err(Error::QuotaExceeded));
    for _ in 0..3 {
        world.socket(B, kind);
    }
    assert_eq!(world.ask(B, Request::Socket { kind }), Err(Error::NoMemory));
    let address = SocketAddr::from(([0; 4], 0));
    let bound: Vec<_> = sockets
        .iter()
        .map(|&socket| world.ask(A, Request::Bind { socket, address }))
        .collect();
    assert_eq!(
        bound,
        [DONE, DONE, Err(Error::NoMemory), Err(Error::NoMemory)]
    );
    let socket = sockets[0];
    assert_eq!(world.ask(A, Request::Close { socket }), DONE);
    world.frames();
    let socket = sockets[2];
    assert_eq!(world.ask(A, Request::Bind { socket, address }), DONE);
}

#[test]
fn connections_take_turns_where_there_is_memory_for_two() {
    let config = Config {
        limits: Limits {
            memory: 5 * (8 << 10),
            ..Limits::default()
        },
        ..Config::new(SERVER_MAC, 5)
    };
    let mut world = World::with(config);
    let listener = world.listener(A, 80, 64);
    let peers: Vec<_> = (0..8).map(|n| world.peer.connect(40000 + n, 80)).collect();
    let accepted: Vec<Handle> = (0..8).map(|_| world.accept(A, listener)).collect();
    assert!(world.figure("dormant") >= 6);
    for &peer in &peers {
        world.peer.tcp(peer).send_slice(b"words").unwrap();
    }
    world.pass(SECOND / 2);
    // What one does not read needs memory, and the peers of the others speak again.
    assert!(world.figure("tcp_wakes_refused") > 0);
    for &socket in &accepted {
        let (answer, words) = world.wait(A, Request::Recv { socket }, &[0; 10]);
        assert_eq!((answer, &words[..5]), (Ok(Answer::Count(5)), &b"words"[..]));
    }
    for &socket in &accepted {
        let answer = world.wait(A, Request::Send { socket }, b"answer").0;
        assert_eq!(answer, Ok(Answer::Count(6)));
        world.pass(SECOND);
    }
    for &peer in &peers {
        assert_eq!(world.peer.tcp(peer).recv_slice(&mut [0; 10]), Ok(6));
    }
    assert_eq!(world.figure("tcp_gave_way"), 0);
}

#[test]
fn a_death_frees_everything_at_any_time() {
    let mut world = World::new(6);
    let address = SocketAddr::from((PEER_IP, 9000));
    for n in 0..60 {
        let client = Pid::new(5, n);
        let port = 80;
        let listener = world.listener(client, port, 4);
        let datagrams = world.bound(client, Kind::Datagram, 7);
        let send = Request::SendTo {
            socket: datagrams,
            address,
        };
        world.now(client, send, b"x").0.unwrap();
        let peers = [(); 3].map(|()| {
            let local = 40000 + world.chance.below(20000) as u16;
            world.peer.connect(local, port)
        });
        let connection = world.accept(client, listener);
        let connecting = world.socket(client, Kind::Stream);
        world.non_blocking(client, connecting);
        let connect = Request::Connect {
            socket: connecting,
            address,
        };
        assert_eq!(world.ask(client, connect), Err(Error::WouldBlock));
        let socket = connection;
        let last = match n % 6 {
            0 => Request::Send { socket },
            1 => Request::Recv { socket },
            2 => Request::Accept { socket: listener },
            3 => Request::Poll {
                timeout_ms: POLL_FOREVER,
            },
            4 => Request::RecvFrom { socket: datagrams },
            _ => Request::Close { socket },
        };
        let memory = match last {
            Request::Poll { .. } => vec![],
            _ => vec![3; 1 << 20],
        };
        world.call(client, last, &memory);
        let pause = world.chance.below(5 * MS);
        world.pass(pause);
        world.die(client);
        assert_eq!(world.figure("sockets"), 0);
        world.pass(2 * SECOND);
        for peer in peers {
            let state = world.peer.tcp(peer).state();
            let gone = [
                State::Closed,
                State::FinWait2,
                State::TimeWait,
                State::CloseWait,
            ];
            assert!(gone.contains(&state), "{n}: {state}");
            world.peer.sockets.remove(peer);
        }
        // A connection closed before the death may still be an orphan.
        world.pass(40 * SECOND);
        world.assert_empty();
        assert_eq!(world.figure("clients"), 0);
    }
}

#[test]
fn a_process_that_is_dead_already_gets_no_socket() {
    let mut world = World::new(7);
    world.kernel.dead.insert(A);
    let request = Request::Socket { kind: Kind::Stream }.to_bytes();
    world.kernel.dead.clear();
    world.kernel.watched.clear();
    // It dies between its call and the server's watch.
    world.kernel.dead.insert(B);
    let message = abi::ipc::Message {
        token: 99,
        sender: B,
        lease_count: 0,
        leases: Default::default(),
        len: request.len() as u32,
        payload: {
            let mut payload = [0; abi::ipc::MESSAGE_MAX];
            payload[..request.len()].copy_from_slice(&request);
            payload
        },
    };
    struct Gone(Option<abi::Result<Answer>>);
    impl crate::Ipc for Gone {
        fn read(&mut self, _: u64, _: u8, _: usize, _: &mut [u8]) -> abi::Result<usize> {
            Err(Error::PeerDied)
        }
        fn write(&mut self, _: u64, _: usize, _: &[u8]) -> abi::Result<usize> {
            Err(Error::PeerDied)
        }
        fn answer(&mut self, _: u64, answer: abi::Result<Answer>) {
            self.0 = Some(answer);
        }
        fn answer_here(&mut self, _: u64, _: Answer, _: &[u8]) {
            panic!("not a batch");
        }

        fn watch(&mut self, _: Pid) -> abi::Result<()> {
            Err(Error::NotFound)
        }

        fn charge(&mut self, _: Pid, _: usize) -> abi::Result<()> {
            Err(Error::NotFound)
        }
    }
    let mut gone = Gone(None);
    world.server.request(&message, world.now, &mut gone);
    assert_eq!(gone.0, Some(Err(Error::NotFound)));
    assert_eq!((world.figure("sockets"), world.figure("clients")), (0, 0));
}

#[test]
fn malformed_requests_and_leases_are_errors() {
    let mut world = World::new(8);
    let call = |world: &mut World, request: &[u8]| {
        let token = world.call_raw(A, request, None);
        world.answer(token).unwrap().0
    };
    assert_eq!(call(&mut world, &[]), Err(Error::Malformed));
    assert_eq!(call(&mut world, &[99; 12]), Err(Error::NoSuchCall));
    assert_eq!(
        call(&mut world, &[1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Err(Error::InvalidArgument)
    );
    let poll = Request::Poll { timeout_ms: 0 };
    assert_eq!(world.now(A, poll, &[0; 7]).0, Err(Error::InvalidArgument));
    let many = vec![0; (POLL_MAX + 1) * PollEntry::SIZE];
    assert_eq!(world.now(A, poll, &many).0, Err(Error::InvalidArgument));
    let all = vec![0; POLL_MAX * PollEntry::SIZE];
    assert_eq!(
        world.now(A, poll, &all).0,
        Ok(Answer::Count(POLL_MAX as u32))
    );
    assert_eq!(world.ask(A, poll), Ok(Answer::Count(0)));
    // Memory lent for reading only cannot be written to.
    let token = world.call_raw(A, &poll.to_bytes(), Some((&[0; 8], false)));
    assert_eq!(world.answer(token).unwrap().0, Err(Error::BadAddress));
    let token = world.call_raw(A, &Request::Status.to_bytes(), Some((&[0; 80], false)));
    assert_eq!(world.answer(token).unwrap().0, Err(Error::BadAddress));
    // The card is not ours to describe.
    let (answer, _) = world.now(A, Request::Card, &[0; 80]);
    assert_eq!(answer, Err(Error::NotSupported));
}

#[test]
fn received_octets_are_not_lost_to_memory_that_cannot_take_them() {
    let mut world = World::new(9);
    let listener = world.listener(A, 80, 4);
    let peer = world.peer.connect(40000, 80);
    let socket = world.accept(A, listener);
    world.peer.tcp(peer).send_slice(b"data").unwrap();
    world.pass(10 * MS);
    let receive = Request::Recv { socket };
    let token = world.call_raw(A, &receive.to_bytes(), Some((&[0; 8], false)));
    assert_eq!(world.answer(token).unwrap().0, Err(Error::BadAddress));
    assert_eq!(world.now(A, receive, &[0; 8]).0, Ok(Answer::Count(4)));
}

#[test]
fn waiting_ends_by_event_or_timeout_and_never_early() {
    let mut world = World::new(10);
    let socket = world.listener(A, 80, 4);
    let entries = PollEntry {
        socket,
        wanted: poll::READABLE,
        ready: 0,
    }
    .to_bytes();
    let forever = Request::Poll {
        timeout_ms: POLL_FOREVER,
    };
    let token = world.call(A, forever, &entries);
    world.pass(100_000 * SECOND);
    assert!(world.answer(token).is_none());
    let accept = world.call(B, Request::Status, &[0; 4000]);
    assert!(matches!(
        world.answer(accept).unwrap().0,
        Ok(Answer::Count(100..))
    ));
    world.inject(&arp_reply(PEER_IP));
    world.inject(&Segment::syn(5000, 80, 1).frame());
    let answer = super::frames::segments(&world.frames()).remove(0);
    assert!(world.answer(token).is_none(), "half open is not ready");
    let ack = Segment::after(&answer, smoltcp::wire::TcpControl::None);
    world.inject(&ack.frame());
    world.frames();
    assert_eq!(world.answer(token).unwrap().0, Ok(Answer::Count(1)));
}

#[test]
fn two_calls_of_one_process_are_one() {
    let mut world = World::new(11);
    let socket = world.listener(A, 80, 4);
    let first = world.call(A, Request::Accept { socket }, &[]);
    let second = world.call(A, Request::Accept { socket }, &[]);
    assert_eq!(world.figure("waiting_calls"), 1);
    world.peer.connect(40000, 80);
    world.pass(10 * MS);
    assert!(world.answer(first).is_none() && world.answer(second).is_some());
}

#[test]
fn nothing_is_sent_until_somebody_wants_it() {
    let mut world = World::new(12);
    world.listener(A, 80, 4);
    world.bound(A, Kind::Datagram, 7);
    world.pass(10_000 * SECOND);
    assert_eq!(world.frames_sent, 0);
    assert_eq!(world.server.deadline(world.now), u64::MAX);
}

#[test]
fn settings_without_sense_make_no_server() {
    let config = Config {
        prefix_len: 32,
        ..Config::new(SERVER_MAC, 1)
    };
    let error = Server::new(config, nic(1), 0).err();
    assert_eq!(error, Some(ConfigError::AddressSyntax));
}
