//! An echo server of batches on every kind of wire.

use super::*;
use crate::config::Config;
use crate::tests::world::SERVER_MAC;
use core::time::Duration;
use std::collections::BTreeMap;

/// An echo server as a program.
pub struct Echo {
    listener: Handle,
    /// How many connections it has.
    pub connections: usize,
    ops: Ops,
    /// What was cut, until there is room.
    rests: BTreeMap<Handle, Vec<u8>>,
    waiting: Option<u64>,
    area: usize,
}

impl Echo {
    pub fn start(world: &mut World, area: usize) -> Self {
        let listener = world.listener(PROGRAM, 7, 64);
        Echo {
            listener,
            connections: 0,
            ops: Ops::new().with(Operation::Accept {
                socket: listener,
                count: u16::MAX,
                receive: 3000,
            }),
            rests: BTreeMap::new(),
            waiting: None,
            area,
        }
    }

    fn echo(&mut self, socket: Handle, bytes: &[u8]) {
        let ops = core::mem::take(&mut self.ops);
        self.ops = ops.send(socket, bytes, |send| {
            (send.receive, send.tell) = (3000, Tell::Never);
        });
    }

    /// Runs until it waits again.
    pub fn run(&mut self, world: &mut World) {
        if let Some(token) = self.waiting {
            let Some(events) = world.batch_answer(token) else {
                return;
            };
            let was = core::mem::take(&mut self.ops);
            for (event, bytes) in events {
                self.hear(event, &bytes, &was);
            }
        }
        let area = self.area + area_min(self.ops.count.into());
        let token = world.batch_from(PROGRAM, &self.ops, (area, &[]), NO_TIMEOUT);
        self.waiting = Some(token);
    }

    fn hear(&mut self, event: Event, bytes: &[u8], was: &Ops) {
        match event {
            Event::Accepted { listener, .. } => {
                assert_eq!(listener, self.listener);
                self.connections += 1;
            }
            Event::Received { socket, .. } => self.echo(socket, bytes),
            Event::Ended { socket } | Event::Failed { socket, .. } => {
                self.connections -= 1;
                self.rests.remove(&socket);
                self.ops.push(Operation::Close { socket }, &[]);
            }
            Event::Cut {
                socket,
                operation,
                count,
            } => {
                let inline = inline_of(was, operation);
                self.rests.insert(socket, inline[count as usize..].to_vec());
            }
            Event::Room { socket } => {
                let rest = self.rests.remove(&socket).unwrap();
                self.echo(socket, &rest);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The bytes behind an operation.
fn inline_of(ops: &Ops, operation: u16) -> Vec<u8> {
    let mut at = 0;
    for _ in 0..operation {
        let head = ops.bytes[at..].first_chunk().unwrap();
        at += Operation::SIZE + abi::batch::padded(Operation::inline_of(head));
    }
    let head = ops.bytes[at..].first_chunk().unwrap();
    ops.bytes[at + Operation::SIZE..][..Operation::inline_of(head)].to_vec()
}

/// About two seeds of five on wires as bad as the last ones end in silence: when both ends
/// have lost something at once, smoltcp, which is on both, acknowledges with the sequence
/// number that it retransmits from, which the other has received and so throws away
/// (RFC 9293 §3.10.7.4 has SND.NXT never go back). Other peers do not do that.
#[test]
fn an_echo_server_of_batches_loses_nothing_whatever_the_wire_does() {
    for (seed, area, faults) in [
        (1, 0, Faults::default()),
        (2, 20_000, Faults::default()),
        (
            103,
            0,
            Faults {
                loss: 10,
                duplication: 5,
                reordering: 20,
                corruption: 2,
            },
        ),
        (
            105,
            60_000,
            Faults {
                loss: 5,
                reordering: 50,
                ..Faults::default()
            },
        ),
    ] {
        let mut config = Config::new(SERVER_MAC, seed);
        // Five losses in a row, which a bad wire has, keep smoltcp silent for a minute.
        config.timers.orphan = Duration::from_secs(600);
        config.timers.silence = Duration::from_secs(600);
        let mut world = World::with(config);
        let mut echo = Echo::start(&mut world, area);
        echo.run(&mut world);
        world.faults = faults;
        let total = 60_000;
        let mut clients: Vec<_> = (0..12u16)
            .map(|n| {
                let peer = world.peer.connect(40000 + n, 7);
                let text = Chance(u64::from(n) + seed).octets(total);
                (peer, text, 0, Vec::new())
            })
            .collect();
        world.until(3000 * SECOND, "all of it back", |world| {
            for (peer, text, sent, got) in &mut clients {
                let socket = world.peer.tcp(*peer);
                if socket.may_send() && *sent < total {
                    *sent += socket.send_slice(&text[*sent..]).unwrap();
                    if *sent == total {
                        socket.close();
                    }
                }
                // Some read slowly: what is echoed has to wait. But smoltcp throws away
                // what was not read at the end of TIME-WAIT.
                let ends = world.peer.tcp(*peer).state() == State::TimeWait;
                if ends || world.chance.percent(20) {
                    got.extend(heard(world, *peer));
                }
            }
            echo.run(world);
            clients
                .iter()
                .all(|(_, text, _, got)| text.len() == got.len())
        });
        for (_, text, _, got) in &clients {
            assert!(text == got, "seed {seed}");
        }
        world.faults = Faults::default();
        world.until(100 * SECOND, "all closed", |world| {
            echo.run(world);
            world.figure("sockets") == 1
        });
        world.die(PROGRAM);
        world.pass(60 * SECOND);
        world.assert_empty();
    }
}
