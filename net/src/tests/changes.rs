//! Whatever becomes ready is announced: what the stack announces, against a look at
//! everything, over random traffic on a bad wire.

use super::world::*;
use crate::names::{Change, ConnectionId, DatagramId, Tuple};
use crate::stack::Stack;
use crate::tcp::Stage;
use crate::{Config, Limits};
use smoltcp::iface::SocketHandle;
use smoltcp::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::vec;
use std::vec::Vec;

const PORTS: [u16; 2] = [7, 80];
const UDP_PORTS: [u16; 3] = [7, 9, 53];
/// The peer's.
const SERVICE: u16 = 5000;

/// All that readiness is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Stream {
        stage: Stage,
        received: usize,
        at_end: bool,
        room: Option<usize>,
        error: bool,
    },
    Listener(bool),
    Datagrams {
        waits: bool,
        room: bool,
    },
}

impl Seen {
    /// Whether something is so now that was not so `before`.
    fn gained(self, before: Seen) -> bool {
        match (before, self) {
            (Seen::Listener(old), Seen::Listener(new)) => new && !old,
            (
                Seen::Datagrams { waits, room },
                Seen::Datagrams {
                    waits: waits_now,
                    room: room_now,
                },
            ) => (waits_now && !waits) || (room_now && !room),
            (
                Seen::Stream {
                    stage,
                    received,
                    at_end,
                    room,
                    error,
                },
                Seen::Stream {
                    stage: stage_now,
                    received: received_now,
                    at_end: at_end_now,
                    room: room_now,
                    error: error_now,
                },
            ) => {
                stage_now != stage
                    || received_now > received
                    || (at_end_now && !at_end && received == 0)
                    || room_now.unwrap_or(usize::MAX) > room.unwrap_or(usize::MAX)
                    || (error_now && !error)
            }
            _ => true,
        }
    }
}

struct Play {
    now: u64,
    stack: Stack<Nic>,
    peer: Peer,
    chance: Chance,
    held: BTreeSet<Change>,
    ports: BTreeMap<DatagramId, u16>,
    streams: Vec<SocketHandle>,
    datagrams: SocketHandle,
    next_port: u16,
    /// Connections, listeners, datagram ports.
    announced: [usize; 3],
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut config = Config::new(SERVER_MAC, seed);
        config.limits = Limits {
            tcp_receive: 2048,
            tcp_transmit: 2048,
            udp_receive: 4096,
            udp_transmit: 4096,
            memory: 64 << 10,
            ..config.limits
        };
        let mut peer = Peer::new();
        let mut play = Play {
            now: 5 * SECOND,
            stack: Stack::new(config, nic(8), 5 * SECOND),
            datagrams: peer.open_udp(SERVICE),
            peer,
            chance: Chance(seed),
            held: BTreeSet::new(),
            ports: BTreeMap::new(),
            streams: Vec::new(),
            next_port: 1024,
            announced: [0; 3],
        };
        for port in PORTS {
            play.stack.listen(port, 4);
            play.held.insert(Change::Listener(port));
        }
        play
    }

    fn look(&mut self) -> BTreeMap<Change, Seen> {
        let stack = &mut self.stack;
        let seen = |&thing: &Change| {
            let seen = match thing {
                Change::Stream(id) => Seen::Stream {
                    stage: stack.tcp.stage(id),
                    received: stack.tcp.received(id),
                    at_end: stack.tcp.at_end(id),
                    room: stack.tcp.room(id),
                    error: stack.tcp.has_error(id),
                },
                Change::Listener(port) => Seen::Listener(stack.tcp.can_accept(port)),
                Change::Datagrams(id) => Seen::Datagrams {
                    waits: stack.udp.first(id).is_some(),
                    room: stack.udp.can_send(id),
                },
            };
            (thing, seen)
        };
        self.held.iter().map(seen).collect()
    }

    /// Does something, and looks whether all changes were announced: every one that is
    /// not just the taking away by a call.
    fn check(&mut self, is_call: bool, act: impl FnOnce(&mut Play)) {
        let before = self.look();
        act(self);
        self.stack.audit(self.now);
        let mut announced = BTreeSet::new();
        while let Some(change) = self.stack.next_change() {
            assert!(announced.insert(change), "{change:?} twice");
        }
        for (thing, now) in self.look() {
            let Some(&old) = before.get(&thing) else {
                continue;
            };
            let missed = if is_call { now.gained(old) } else { now != old };
            if missed {
                assert!(
                    announced.contains(&thing),
                    "{thing:?} was {old:?}, is {now:?}"
                );
                let kind = match thing {
                    Change::Stream(_) => 0,
                    Change::Listener(_) => 1,
                    Change::Datagrams(_) => 2,
                };
                self.announced[kind] += 1;
            }
        }
    }

    fn any(&mut self, wanted: fn(&Change) -> bool) -> Option<Change> {
        let all: Vec<Change> = self.held.iter().copied().filter(wanted).collect();
        let count = all.len().max(1) as u64;
        all.get(self.chance.below(count) as usize).copied()
    }

    fn any_stream(&mut self) -> Option<ConnectionId> {
        match self.any(|thing| matches!(thing, Change::Stream(_)))? {
            Change::Stream(id) => Some(id),
            _ => None,
        }
    }

    /// A call of a program.
    fn call(&mut self) -> Option<()> {
        let now = self.now;
        let len = self.chance.below(3000) as usize;
        match self.chance.below(16) {
            0..3 => {
                let port = PORTS[self.chance.below(2) as usize];
                let (id, _) = self.stack.tcp.accept(port)?;
                self.held.insert(Change::Stream(id));
            }
            3..6 => {
                let id = self.any_stream()?;
                let fill = |buffer: &mut [u8]| Ok(buffer.len().min(len));
                let _ = self.stack.send(id, fill);
            }
            6..9 => {
                let id = self.any_stream()?;
                let drain = |octets: &[u8]| Ok(octets.len().min(len));
                let _ = self.stack.tcp.receive(id, drain);
            }
            9 => {
                let id = self.any_stream()?;
                match self.chance.below(6) {
                    0 => self.stack.finish(id),
                    1 => self.stack.tcp.shut_receive(id),
                    2 if self.stack.tcp.stage(id) == Stage::Open => {
                        _ = self.stack.tcp.take_error(id)
                    }
                    3 => {
                        self.held.remove(&Change::Stream(id));
                        self.stack.abort(id, now);
                    }
                    _ => {
                        self.held.remove(&Change::Stream(id));
                        self.stack.close(id, now);
                    }
                }
            }
            10 => {
                self.next_port += 1;
                let port = SERVICE + self.chance.below(2) as u16;
                let peer = SocketAddrV4::new(PEER_IP.into(), port);
                let tuple = Tuple::v4(self.next_port, peer);
                let id = self.stack.connect(tuple, now).ok()?;
                self.held.insert(Change::Stream(id));
            }
            11 => {
                let port = UDP_PORTS[self.chance.below(3) as usize];
                if self.ports.values().any(|&open| open == port) {
                    return None;
                }
                let id = self.stack.open_datagrams(port).ok()?;
                self.ports.insert(id, port);
                self.held.insert(Change::Datagrams(id));
            }
            _ => {
                let thing = self.any(|thing| matches!(thing, Change::Datagrams(_)))?;
                let Change::Datagrams(id) = thing else {
                    return None;
                };
                let silent = [10, 0, 2, 77 + self.chance.below(3) as u8];
                match self.chance.below(12) {
                    0 => {
                        self.held.remove(&thing);
                        self.ports.remove(&id);
                        match len.is_multiple_of(2) {
                            true => self.stack.close_datagrams(id, now),
                            false => self.stack.drop_datagrams(id),
                        }
                    }
                    1..4 => self.stack.udp.take_first(id),
                    choice => {
                        let ip = if choice < 7 { silent } else { PEER_IP };
                        let to = SocketAddrV4::new(ip.into(), SERVICE);
                        let _ = self.stack.send_datagram(id, to.into(), &vec![1; len], now);
                    }
                }
            }
        }
        Some(())
    }

    /// Something the peer does.
    fn peer(&mut self) -> Option<()> {
        let len = self.chance.below(3000) as usize;
        let count = self.streams.len() as u64;
        match self.chance.below(8) {
            0 => {
                self.next_port += 1;
                let port = PORTS[self.chance.below(2) as usize];
                self.streams.push(self.peer.connect(self.next_port, port));
            }
            1 => self.streams.push(self.peer.listen(SERVICE)),
            2 => {
                let port = UDP_PORTS[self.chance.below(3) as usize];
                let to = (smoltcp::wire::Ipv4Address::from(SERVER_IP), port);
                let socket = self.peer.udp(self.datagrams);
                let _ = socket.send_slice(&vec![2; len], to);
            }
            _ if count == 0 => {}
            choice => {
                let index = self.chance.below(count) as usize;
                let socket = self.peer.tcp(self.streams[index]);
                match choice {
                    3 | 4 => drop(socket.send_slice(&vec![3; len])),
                    5 | 6 => drop(socket.recv(|octets| (octets.len(), ()))),
                    _ if len < 300 => {
                        socket.abort();
                        let handle = self.streams.swap_remove(index);
                        self.peer_acts();
                        self.peer.sockets.remove(handle);
                    }
                    _ if len < 1500 => socket.close(),
                    _ => {}
                }
            }
        }
        Some(())
    }

    fn peer_acts(&mut self) {
        let stamp = Instant::from_micros((self.now / 1000) as i64);
        let Peer {
            nic,
            interface,
            sockets,
        } = &mut self.peer;
        interface.poll(stamp, nic, sockets);
    }

    /// Moves what is on the wire; some of it arrives.
    fn carry(&mut self) {
        self.peer_acts();
        let burst = self.chance.below(9) as usize;
        for _ in 0..burst {
            let Some(frame) = self.stack.device_mut().sent.pop_front() else {
                break;
            };
            if !self.chance.percent(4) {
                self.peer.nic.arrived.push_back(frame);
            }
        }
        while let Some(frame) = self.peer.nic.sent.pop_front() {
            let copies = 1 + usize::from(self.chance.percent(3));
            if !self.chance.percent(4) {
                let arrived = &mut self.stack.device_mut().arrived;
                arrived.extend(core::iter::repeat_n(frame, copies));
            }
        }
        if self.chance.percent(5) {
            self.stack.device_mut().arrived.make_contiguous().reverse();
        }
    }

    fn step(&mut self) {
        self.now += match self.chance.below(1000) {
            0 => 30 * SECOND,
            1..20 => self.chance.below(3 * SECOND),
            _ => self.chance.below(5 * MS),
        };
        match self.chance.below(3) {
            0 => self.check(true, |play| _ = play.call()),
            1 => _ = self.peer(),
            _ => self.carry(),
        }
        let now = self.now;
        match self.chance.below(4) {
            0 => {}
            1 => self.check(false, |play| _ = play.stack.transmit(now)),
            _ => self.check(false, |play| {
                play.stack.receive_all(now);
                play.stack.transmit(now);
            }),
        }
    }
}

#[test]
fn whatever_changes_is_announced() {
    let mut announced = [0; 3];
    for seed in 1..30 {
        let mut play = Play::new(seed);
        for _ in 0..3000 {
            play.step();
        }
        for (all, one) in announced.iter_mut().zip(play.announced) {
            *all += one;
        }
    }
    let lively = announced.iter().all(|&count| count > 200);
    assert!(lively, "{announced:?}: too dull a play");
}
