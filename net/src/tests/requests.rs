//! Requests as such: handles, addresses, limits, deaths.

use super::calls::any;
use super::world::*;
use crate::tests::batch::{Ops, bare};
use crate::tests::frames::{Segment, arp_reply, udp};
use crate::{Config, ConfigError, Limits, Server};
use abi::batch::{Event, NO_TIMEOUT, Operation, area_min};
use abi::socket::{Address, Answer, Handle, Request};
use abi::{Error, Pid};
use core::net::SocketAddr;
use smoltcp::socket::tcp::State;
use std::vec;
use std::vec::Vec;

const A: Pid = Pid(0x102);
const B: Pid = Pid(0x103);

fn bind(ip: [u8; 4], port: u16) -> Operation {
    let address = SocketAddr::from((ip, port)).into();
    Operation::Bind { address }
}

fn listen(ip: [u8; 4], port: u16) -> Operation {
    let address = SocketAddr::from((ip, port)).into();
    Operation::Listen {
        address,
        backlog: 4,
    }
}

#[test]
fn addresses_are_bound_once_and_must_be_ours() {
    let mut world = World::new(2);
    for (first, second) in [
        (listen as fn(_, _) -> _, bind as fn(_, _) -> _),
        (bind, listen),
    ] {
        for ip in [PEER_IP, [127, 0, 0, 1], [255; 4], [1, 2, 3, 4]] {
            let refused = world.open(A, first(ip, 80)).err();
            assert_eq!(refused, Some(Error::AddressNotAvailable));
        }
        let (socket, local) = world.open(A, first(SERVER_IP, 80)).unwrap();
        assert_eq!(local, SocketAddr::from((SERVER_IP, 80)));
        for ip in [[0; 4], SERVER_IP] {
            let refused = world.open(B, first(ip, 80)).err();
            assert_eq!(refused, Some(Error::AddressInUse));
        }
        // The same number of the other protocol is another port.
        let (other, _) = world.open(B, second([0; 4], 80)).unwrap();
        assert_eq!(world.close(A, socket), Ok(()));
        let (again, local) = world.open(B, first([0; 4], 80)).unwrap();
        assert_eq!(local, SocketAddr::from(([0; 4], 80)));
        assert_eq!(
            (world.close(B, other), world.close(B, again)),
            (Ok(()), Ok(()))
        );
    }
    world.assert_empty();
}

#[test]
fn ipv6_addresses_are_not_ours_and_not_to_be_reached_as_yet() {
    let mut world = World::new(3);
    let datagrams = world.datagrams(A, 7);
    for ip in ["::1", "fe80::1", "2001:db8::2", "ff02::1", "::10.0.2.15"] {
        let remote = SocketAddr::new(ip.parse().unwrap(), 80);
        let address = Address::from(remote);
        for (operation, error) in [
            (
                Operation::Listen {
                    address,
                    backlog: 4,
                },
                Error::AddressNotAvailable,
            ),
            (Operation::Bind { address }, Error::AddressNotAvailable),
            (Operation::Connect { address }, Error::Unreachable),
        ] {
            assert_eq!(world.open(A, operation), Err(error), "{operation:?}");
        }
        let sent = world.send_to(A, datagrams, remote, b"x");
        assert_eq!(sent, Err(Error::Unreachable), "{address}");
    }
    assert!(world.frames().is_empty());
    assert_eq!(world.close(A, datagrams), Ok(()));
    world.assert_empty();
}

#[test]
fn any_address_of_ipv6_is_any_of_ipv4_too() {
    let mut world = World::new(4);
    let address = Address::any(80);
    let peer = SocketAddr::from((PEER_IP, 5000));
    let backlog = 1;
    let (listener, local) = world
        .open(A, Operation::Listen { address, backlog })
        .unwrap();
    assert_eq!(local, address.to_socket_addr());
    assert_eq!(world.open(A, listen([0; 4], 80)), Err(Error::AddressInUse));
    world.peer.connect(5000, 80);
    world.pass(10 * MS);
    assert_eq!(world.try_accept(A, listener).unwrap().1, peer);

    let (socket, local) = world.open(A, Operation::Bind { address }).unwrap();
    assert_eq!(local, address.to_socket_addr());
    assert_eq!(world.open(A, bind([0; 4], 80)), Err(Error::AddressInUse));
    world.inject(&udp((PEER_IP, 5000), 80, b"x"));
    world.frames();
    assert_eq!(world.recv_from(A, socket, 9), Ok((b"x".to_vec(), peer)));
    // It is nobody to talk to.
    let refused = Err(Error::InvalidArgument);
    let nobody = address.to_socket_addr();
    assert_eq!(world.send_to(A, socket, nobody, b"x"), refused);
    assert_eq!(world.connect(A, nobody).map(|_| ()), refused);
}

#[test]
fn an_ipv6_address_that_maps_one_of_ipv4_is_that_one() {
    let mut world = World::new(5);
    let mapped = |ip: [u8; 4], port| {
        let ip = std::net::Ipv4Addr::from(ip).to_ipv6_mapped();
        SocketAddr::new(ip.into(), port)
    };
    let address = mapped(SERVER_IP, 80).into();
    let (_, local) = world.open(A, Operation::Bind { address }).unwrap();
    assert_eq!(local, SocketAddr::from((SERVER_IP, 80)));
    world.peer.listen(9000);
    assert!(world.connect(A, mapped(PEER_IP, 9000)).is_ok());
    let socket = world.datagrams(A, 7);
    assert_eq!(
        world.send_to(A, socket, mapped(PEER_IP, 9000), b"x"),
        Ok(())
    );
}

#[test]
fn ports_nobody_asked_for_are_random_high_and_distinct() {
    let mut ports = Vec::new();
    for seed in 0..2 {
        let mut world = World::new(seed);
        for operation in [listen([0; 4], 0), bind([0; 4], 0)] {
            for _ in 0..20 {
                let (_, local) = world.open(A, operation).unwrap();
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
    world.kernel.quota = Some(4);
    let any = |operation: fn(_, _) -> _| operation([0; 4], 0);
    for _ in 0..2 {
        world.open(A, any(listen)).unwrap();
    }
    let first = world.open(A, any(bind)).unwrap().0;
    world.open(A, any(bind)).unwrap();
    let refused = world.open(A, any(bind)).err();
    assert_eq!(refused, Some(Error::QuotaExceeded));
    // Of what could not be had, nothing is left.
    let refused = world.open(B, any(bind)).err();
    assert_eq!(refused, Some(Error::NoMemory));
    world.frames();
    assert_eq!(world.kernel.charged.get(&B), Some(&0));
    for _ in 0..3 {
        world.open(B, any(listen)).unwrap();
    }
    let refused = world.open(B, any(listen)).err();
    assert_eq!(refused, Some(Error::NoMemory));
    assert_eq!(world.close(A, first), Ok(()));
    world.frames();
    world.open(B, any(bind)).unwrap();
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
        assert_eq!(world.recv_wait(A, socket, 10).unwrap(), b"words");
    }
    for &socket in &accepted {
        let token = world.begin_send(A, socket, b"answer");
        world.until(SECOND, "room", |world| world.is_sent(token) == Some(Ok(())));
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
        let datagrams = world.datagrams(client, 7);
        world.send_to(client, datagrams, address, b"x").unwrap();
        let peers = [(); 3].map(|()| {
            let local = 40000 + world.chance.below(20000) as u16;
            world.peer.connect(local, port)
        });
        let socket = world.accept(client, listener);
        let (connecting, _) = world.begin_connect(client, address).unwrap();
        let (count, max) = (2, 100);
        let last = match n % 6 {
            0 => Ops::new().send(socket, &[3; 60_000], |_| {}),
            1 => Ops::new().receive(socket),
            2 => Ops::new().with(Operation::Accept {
                socket: listener,
                count,
                receive: max,
            }),
            3 => Ops::new(),
            4 => Ops::new().with(Operation::ReceiveFrom {
                socket: datagrams,
                count,
                max,
            }),
            _ => Ops::new()
                .with(Operation::Close { socket })
                .with(Operation::Close { socket: connecting }),
        };
        world.batch(client, &last);
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
    let request = Request::Batch {
        operations: 1,
        timeout_ms: NO_TIMEOUT,
    }
    .to_bytes();
    world.kernel.dead.clear();
    world.kernel.watched.clear();
    // It dies between its call and the server's watch.
    world.kernel.dead.insert(B);
    let message = abi::ipc::Message {
        token: 99,
        sender: B,
        lease_count: 1,
        leases: [abi::ipc::LeaseInfo {
            len: area_min(1) as u64,
            writable: true,
        }; 3],
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
            panic!("nothing was done");
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
    // Memory lent for reading only cannot be written to.
    let status = Request::Status.to_bytes();
    let token = world.call_raw(A, &status, Some((&[0; 80], false)));
    assert_eq!(world.answer(token).unwrap().0, Err(Error::BadAddress));
    let token = world.call_raw(A, &status, Some((&[0; 80], true)));
    assert_eq!(world.answer(token).unwrap().0, Ok(Answer(80)));
    // The card is not ours to describe.
    let token = world.call_raw(A, &Request::Card.to_bytes(), Some((&[0; 80], true)));
    assert_eq!(world.answer(token).unwrap().0, Err(Error::NotSupported));
}

#[test]
fn received_octets_are_not_lost_to_memory_that_cannot_take_them() {
    let mut world = World::new(9);
    let listener = world.listener(A, 80, 4);
    let peer = world.peer.connect(40000, 80);
    let socket = world.accept(A, listener);
    world.peer.tcp(peer).send_slice(b"data").unwrap();
    world.pass(10 * MS);
    world.kernel.refuse_writes = true;
    let token = world.batch(A, &Ops::new().receive(socket));
    world.frames();
    world.kernel.refuse_writes = false;
    // Little is written nowhere, but travels with the answer.
    assert_eq!(world.batch_answer(token).unwrap()[0].1, b"data");
    world.peer.tcp(peer).send_slice(&[7; 2000]).unwrap();
    world.pass(10 * MS);
    world.kernel.refuse_writes = true;
    let token = world.batch(A, &Ops::new().receive(socket));
    world.frames();
    assert_eq!(world.answer(token).unwrap().0, Err(Error::BadAddress));
    world.kernel.refuse_writes = false;
    assert_eq!(world.recv(A, socket, 4000), Ok(vec![7; 2000]));
}

#[test]
fn waiting_ends_by_event_or_timeout_and_never_early() {
    let mut world = World::new(10);
    let socket = world.listener(A, 80, 4);
    let accept = Operation::Accept {
        socket,
        count: 1,
        receive: 0,
    };
    let token = world.batch(A, &Ops::new().with(accept));
    world.pass(100_000 * SECOND);
    assert!(world.answer(token).is_none());
    // Others are served meanwhile.
    let status = Request::Status.to_bytes();
    let told = world.call_raw(B, &status, Some((&[0; 4000], true)));
    assert!(matches!(world.answer(told).unwrap().0, Ok(Answer(100..))));
    world.inject(&arp_reply(PEER_IP));
    world.inject(&Segment::syn(5000, 80, 1).frame());
    let answer = super::frames::segments(&world.frames()).remove(0);
    assert!(world.answer(token).is_none(), "half open is not ready");
    let ack = Segment::after(&answer, smoltcp::wire::TcpControl::None);
    world.inject(&ack.frame());
    world.frames();
    assert_eq!(world.batch_answer(token).unwrap().len(), 1);
}

#[test]
fn two_calls_of_one_process_are_one() {
    let mut world = World::new(11);
    let socket = world.listener(A, 80, 4);
    let accept = Ops::new().with(Operation::Accept {
        socket,
        count: 1,
        receive: 0,
    });
    let [first, second] = [(); 2].map(|()| world.batch(A, &accept));
    assert_eq!(world.figure("waiting_calls"), 1);
    world.peer.connect(40000, 80);
    world.pass(10 * MS);
    assert!(world.answer(first).is_none() && world.answer(second).is_some());
}

/// Opening, with outcomes that nobody reads, in batches that are as small as they may be.
#[test]
fn sockets_whose_making_was_not_heard_of_are_their_owner_s_until_it_ends() {
    let mut world = World::new(13);
    let ops = Ops::new()
        .with(listen([0; 4], 80))
        .with(bind([0; 4], 7))
        .with(bind([0; 4], 7))
        .with(Operation::Connect {
            address: SocketAddr::from((PEER_IP, 9)).into(),
        });
    let area = area_min(ops.count.into());
    let token = world.batch_from(A, &ops, (area, &[]), NO_TIMEOUT);
    world.frames();
    assert_eq!(world.figure("sockets"), 3);
    assert_eq!(world.kernel.charged.get(&A), Some(&3));
    assert_eq!(world.open(B, bind([0; 4], 7)), Err(Error::AddressInUse));
    let events = bare(&world.batch_answer(token).unwrap());
    let opened = |event: &Event| match *event {
        Event::Opened { operation, .. } => Ok(operation),
        Event::Failed {
            socket: Handle(0),
            operation,
            error,
        } => Err((operation, error)),
        _ => panic!("{event:?}"),
    };
    let told: Vec<_> = events.iter().map(opened).collect();
    let in_use = Err((2, Error::AddressInUse));
    assert_eq!(told, [Ok(0), Ok(1), in_use, Ok(3)]);
    world.die(A);
    world.pass(5 * SECOND);
    world.assert_empty();
    assert!(world.open(B, bind([0; 4], 7)).is_ok());
}

#[test]
fn an_area_without_room_for_the_outcome_makes_no_socket() {
    let mut world = World::new(14);
    let ops = Ops::new().with(Operation::Bind { address: any(7) });
    let token = world.batch_from(A, &ops, (area_min(1) - 1, &[]), NO_TIMEOUT);
    assert_eq!(world.answer(token).unwrap().0, Err(Error::InvalidArgument));
    assert_eq!(world.figure("sockets"), 0);
}

#[test]
fn nothing_is_sent_until_somebody_wants_it() {
    let mut world = World::new(12);
    world.listener(A, 80, 4);
    world.datagrams(A, 7);
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
