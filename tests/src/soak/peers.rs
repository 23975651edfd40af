//! Hostile ends of TCP connections: what a client does that wants the server's time, its memory, or
//! somebody else's connection.

use super::Plan;
use super::dice::Dice;
use super::mutated::forget;
use super::packets::{Tcp, URG};
use super::scene::Scene;
use crate::frames::{Packet, Segment, flag};
use crate::suite::Bench;
use crate::wire::Wire;
use crate::{During, Outcome, pattern};
use nic::model::Rng;
use std::time::{Duration, Instant};

/// Our ports of hostile connections.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// Peers of a round, and how many of them are kept open at a time.
const PEERS: usize = 12;
const KEPT: usize = 48;
/// The longest time that a peer listens.
const LISTEN: Duration = Duration::from_millis(30);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: wharf\r\n\r\n";

/// One hostile connection.
struct Peer<'a> {
    wire: &'a Wire,
    ports: (u16, u16),
    /// The next numbers: ours, and what the guest sends next.
    seq: u32,
    ack: u32,
    window: u16,
}

/// A way to misbehave: its name, and what it does with a port that is not used yet.
type Way = (&'static str, fn(&Wire, (u16, u16), &mut Rng) -> Outcome);

const WAYS: &[Way] = &[
    ("a closed window", |wire, ports, dice| {
        let mut peer = Peer::open(wire, ports)?;
        peer.window = 0;
        peer.ask(dice)?;
        // Probes are answered: the connection is to stay, and to cost.
        for _ in 0..3 {
            peer.listen()?;
            peer.say(flag::ACK, 0, 0, b"")?;
        }
        Ok(())
    }),
    ("a window of few octets", |wire, ports, dice| {
        let mut peer = Peer::open(wire, ports)?;
        peer.window = dice.between(1, 100) as u16;
        peer.ask(dice)?;
        for _ in 0..10 {
            peer.listen()?;
            peer.say(flag::ACK, 0, 0, b"")?;
        }
        Ok(())
    }),
    ("a window that comes and goes", |wire, ports, dice| {
        let mut peer = Peer::open(wire, ports)?;
        peer.ask(dice)?;
        for _ in 0..20 {
            peer.window = dice.edge();
            peer.say(flag::ACK, 0, 0, b"")?;
        }
        peer.listen()
    }),
    ("options that make no sense", |wire, ports, dice| {
        for _ in 0..8 {
            let len = dice.between(0, 41);
            let mut options = dice.bytes(len);
            if let [kind, len, ..] = &mut options[..] {
                *kind = dice.one_of(&[0, 1, 2, 3, 4, 5, 8, 30, 34, 254]);
                *len = dice.one_of(&[0, 1, 2, 3, 4, 10, 255]);
            }
            let seq = dice.next() as u32;
            syn(wire, ports, seq, &options)?;
        }
        Ok(())
    }),
    (
        "a maximum segment size of 0, 1 or 65535",
        |wire, ports, dice| {
            let mss = dice.one_of(&[0u16, 1, 8, 47, 48, 65_535]).to_be_bytes();
            let seq = dice.next() as u32;
            syn(wire, ports, seq, &[2, 4, mss[0], mss[1]])?;
            let Some(theirs) = answer(wire, ports)? else {
                return Ok(());
            };
            let mut peer = Peer {
                wire,
                ports,
                seq: seq.wrapping_add(1),
                ack: theirs.seq.wrapping_add(1),
                window: 0xffff,
            };
            peer.say(flag::ACK, 0, 0, b"")?;
            peer.ask(dice)?;
            peer.listen()
        },
    ),
    ("data outside of the window", |wire, ports, dice| {
        let peer = Peer::open(wire, ports)?;
        for _ in 0..20 {
            let far = dice.one_of(&[-100_000, -1000, -1, 65_535, 65_536, 1_000_000, i32::MAX]);
            peer.say(flag::ACK | flag::PSH, far, 0, REQUEST)?;
        }
        peer.listen_as_it_is()
    }),
    (
        "pieces in any order, over each other",
        |wire, ports, dice| {
            let peer = Peer::open(wire, ports)?;
            let data = pattern(dice.next(), 20_000);
            for _ in 0..40 {
                let from = dice.below(data.len() - 1460);
                let to = from + dice.between(1, 1461);
                peer.say(flag::ACK, from as i32, 0, &data[from..to])?;
            }
            peer.listen_as_it_is()
        },
    ),
    ("octets one by one", |wire, ports, _| {
        let mut peer = Peer::open(wire, ports)?;
        for octet in REQUEST {
            peer.say(flag::ACK | flag::PSH, 0, 0, &[*octet])?;
            peer.seq = peer.seq.wrapping_add(1);
        }
        peer.listen()
    }),
    ("half closed and gone", |wire, ports, dice| {
        let mut peer = Peer::open(wire, ports)?;
        peer.ask(dice)?;
        peer.say(flag::ACK | flag::FIN, 0, 0, b"")
    }),
    ("FIN again and again", |wire, ports, _| {
        let mut peer = Peer::open(wire, ports)?;
        for ahead in 0..10 {
            peer.say(flag::ACK | flag::FIN, ahead % 3, 0, b"")?;
        }
        peer.listen()
    }),
    ("gone after the handshake", |wire, ports, _| {
        Peer::open(wire, ports).map(drop)
    }),
    ("SYN again with other numbers", |wire, ports, dice| {
        for _ in 0..10 {
            let seq = dice.next() as u32;
            syn(wire, ports, seq, &[])?;
        }
        let peer = Peer {
            wire,
            ports,
            seq: dice.next() as u32,
            ack: dice.next() as u32,
            window: 9,
        };
        peer.say(flag::ACK, 0, 0, REQUEST)
    }),
    ("SYN on an open connection", |wire, ports, dice| {
        let peer = Peer::open(wire, ports)?;
        for _ in 0..10 {
            let ahead = dice.next() as i32;
            peer.say(flag::SYN, ahead, 0, b"")?;
        }
        peer.listen_as_it_is()
    }),
    ("both open at once", |wire, ports, dice| {
        // The guest has not asked: SYN and ACK of a connection that it does not know.
        let seq = dice.next() as u32;
        let peer = Peer {
            wire,
            ports,
            seq,
            ack: dice.next() as u32,
            window: 9,
        };
        peer.say(flag::SYN, 0, 0, b"")?;
        peer.say(flag::SYN | flag::ACK, 0, 0, b"")?;
        peer.say(flag::ACK, 1, 1, b"")
    }),
    ("resets that guess", |wire, ports, dice| {
        let peer = Peer::open(wire, ports)?;
        for _ in 0..20 {
            let ahead = dice.between(1, 65_536) as i32;
            peer.say(flag::RST, ahead, 0, b"")?;
        }
        peer.listen_as_it_is()
    }),
    (
        "acknowledgements of what was never sent",
        |wire, ports, dice| {
            let mut peer = Peer::open(wire, ports)?;
            peer.ask(dice)?;
            for _ in 0..20 {
                let ahead = dice.next() as i32;
                peer.say(flag::ACK, 0, ahead, b"")?;
            }
            peer.listen()
        },
    ),
    (
        "the same acknowledgement a hundred times",
        |wire, ports, dice| {
            let mut peer = Peer::open(wire, ports)?;
            peer.ask(dice)?;
            for _ in 0..100 {
                peer.say(flag::ACK, 0, 0, b"")?;
            }
            Ok(())
        },
    ),
    ("any flags, urgent pointers", |wire, ports, dice| {
        let peer = Peer::open(wire, ports)?;
        for _ in 0..20 {
            let flags = dice.next() as u8;
            Tcp {
                from: wire.ip,
                header: Segment {
                    ports,
                    seq: peer.seq.wrapping_add(dice.below(4) as u32),
                    ack: peer.ack,
                    flags: flags | URG,
                },
                window: dice.edge(),
                urgent: dice.edge(),
                options: &[],
                data: &[b'u'; 3],
            }
            .send(wire)?;
        }
        Ok(())
    }),
    (
        "data before the handshake has ended",
        |wire, ports, dice| {
            let seq = dice.next() as u32;
            let peer = Peer {
                wire,
                ports,
                seq,
                ack: 0,
                window: 0xffff,
            };
            peer.say(flag::SYN, 0, 0, REQUEST)?;
            peer.say(flag::SYN | flag::FIN, 0, 0, REQUEST)?;
            peer.say(flag::ACK, 1, 1, REQUEST)
        },
    ),
];

/// The attack.
pub fn peers(bench: &Bench, plan: &Plan) -> Outcome {
    plan.lives(bench, || {
        let mut scene = Scene::boot(bench)?;
        let mut port = PORTS.start;
        let mut open = Vec::new();
        while let Some(mut dice) = plan.next(scene.since) {
            let wire = scene.machine.wire()?;
            for _ in 0..PEERS {
                let (name, way) = dice.one_of(WAYS);
                let ports = (port, dice.one_of(&[7, 80]));
                port = if port + 1 == PORTS.end {
                    PORTS.start
                } else {
                    port + 1
                };
                way(wire, ports, &mut dice).during(&format!("a peer with {name}"))?;
                open.push(ports);
            }
            // More than that would take others' places, which is another attack.
            while open.len() > KEPT {
                // Where it would be: its first number is known, and an old one is answered.
                let ports = open.remove(0);
                forget(wire, ports, (0x1000_0000 + u32::from(ports.0), 0))?;
            }
            plan.count(PEERS);
            scene.serves_after()?;
        }
        scene.end(false)
    })?;
    bench.note(format!("{} peers", plan.done()));
    Ok(())
}

impl<'a> Peer<'a> {
    fn open(wire: &'a Wire, ports: (u16, u16)) -> Outcome<Peer<'a>> {
        let (seq, ack) = wire.open(ports)?;
        Ok(Peer {
            wire,
            ports,
            seq,
            ack,
            window: 0xffff,
        })
    }

    /// Sends a segment so far from the next numbers.
    fn say(&self, flags: u8, ahead: i32, ack_ahead: i32, data: &[u8]) -> Outcome {
        Tcp {
            from: self.wire.ip,
            header: Segment {
                ports: self.ports,
                seq: self.seq.wrapping_add_signed(ahead),
                ack: self.ack.wrapping_add_signed(ack_ahead),
                flags,
            },
            window: self.window,
            urgent: 0,
            options: &[],
            data,
        }
        .send(self.wire)
    }

    /// Asks for the page, or sends what is to be echoed.
    fn ask(&mut self, dice: &mut Rng) -> Outcome {
        let data = pattern(dice.next(), 1400);
        let data = match self.ports.1 {
            80 => REQUEST,
            _ => &data,
        };
        self.say(flag::ACK | flag::PSH, 0, 0, data)?;
        self.seq = self.seq.wrapping_add(data.len() as u32);
        Ok(())
    }

    /// Takes what comes for a moment.
    fn listen(&mut self) -> Outcome {
        if let Some((segment, len)) = next(self.wire, self.ports)?
            && segment.seq == self.ack
        {
            self.ack = segment.seq.wrapping_add(len);
        }
        Ok(())
    }

    /// Looks at what comes, and takes nothing.
    fn listen_as_it_is(&self) -> Outcome {
        next(self.wire, self.ports).map(drop)
    }
}

impl Tcp<'_> {
    fn send(&self, wire: &Wire) -> Outcome {
        wire.send(&self.frame(wire))
    }
}

fn syn(wire: &Wire, ports: (u16, u16), seq: u32, options: &[u8]) -> Outcome {
    Tcp {
        from: wire.ip,
        header: Segment {
            ports,
            seq,
            ack: 0,
            flags: flag::SYN,
        },
        window: 0xffff,
        urgent: 0,
        options,
        data: &[],
    }
    .send(wire)
}

/// The guest's SYN and ACK, if it comes.
fn answer(wire: &Wire, ports: (u16, u16)) -> Outcome<Option<Segment>> {
    let told = next(wire, ports)?.map(|(segment, _)| segment);
    Ok(told.filter(|segment| segment.flags == flag::SYN | flag::ACK))
}

/// The next segment of that connection, and how many octets it has.
fn next(wire: &Wire, ports: (u16, u16)) -> Outcome<Option<(Segment, u32)>> {
    wire.receive_where(Instant::now() + LISTEN, |packet| match packet {
        Packet::Segment { segment, data, .. } if segment.ports == (ports.1, ports.0) => {
            Some((segment, data.len() as u32))
        }
        _ => None,
    })
}
