//! For the tests: whether the tables agree with the connections, by looking at all of these.

use crate::memory::Memory;
use crate::names::ConnectionId;
use crate::tcp::engine::{Engines, RETRY_NEIGHBOR_NS};
use crate::tcp::schedule::WaitsFor;
use crate::tcp::{Connection, Holder, Role, Tcp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use smoltcp::socket::tcp::State;

impl Tcp {
    pub fn make_all_dormant(&mut self, now: u64, memory: &mut Memory) -> usize {
        let slots: Vec<usize> = self.slots.iter().map(|(slot, _)| slot).collect();
        let dormant = slots.into_iter().filter(|&slot| {
            let id = ConnectionId(slot);
            let group = self.get(id).map_or(0, |connection| connection.group);
            let dormant = self.make_dormant(id, now, memory);
            if dormant {
                self.unrank(id, group);
            }
            dormant
        });
        dormant.count()
    }

    pub fn audit(&mut self, engines: &mut Engines, now: u64) {
        let mut ports: BTreeMap<u16, usize> = BTreeMap::new();
        let (mut orphans, mut dying, mut waiting) = (0, 0, 0);
        let mut used: BTreeMap<u16, usize> = BTreeMap::new();
        for (slot, connection) in &mut self.slots {
            if let Some(socket) = &connection.socket {
                let octets = socket.buffer_octets();
                if octets > Connection::BARE {
                    *used.entry(connection.group).or_default() += octets;
                }
            }
            let (id, port) = (ConnectionId(slot), connection.tuple.port);
            let listener = self.listeners.get(&port);
            match connection.role {
                Role::Opening => panic!("{id:?} is not complete"),
                Role::Waiting => {
                    waiting += 1;
                    assert!(listener.unwrap().ready.contains(&id));
                }
                Role::Held => {}
                Role::Orphan(..) => {
                    orphans += 1;
                    assert!(self.orphans.get(slot).is_some());
                }
                Role::Dying => {
                    dying += 1;
                    assert!(self.dying.get(slot).is_some());
                }
            }
            if connection.detached {
                continue;
            }
            let holder = Holder::Connection(id);
            assert_eq!(self.by_tuple.get(&connection.tuple), Some(&holder));
            *ports.entry(port).or_default() += 1;
            let looks_at = self.schedule.looks_at(slot).unwrap_or(u64::MAX);
            let Some(sole) = &mut connection.socket else {
                assert!(
                    looks_at < u64::MAX,
                    "{id:?} is dormant, and never looked at"
                );
                continue;
            };
            match engines
                .of(&connection.tuple.peer.ip)
                .waits_for(sole.set(), now)
            {
                WaitsFor::Time(at) => assert!(looks_at <= at, "{id:?}: {looks_at}, not {at}"),
                WaitsFor::Turn if self.schedule.waits(slot) => {
                    assert!(looks_at <= now + RETRY_NEIGHBOR_NS, "{id:?}: {looks_at}");
                }
                WaitsFor::Turn => assert!(looks_at <= now, "{id:?}: {looks_at}, not now {now}"),
                _ => {}
            }
            let socket = sole.get();
            let over = socket.state() == State::Closed;
            let unnoticed = match connection.role {
                Role::Dying => socket.remote_endpoint().is_none(),
                Role::Orphan(queued, state) => {
                    (queued, state) != (socket.send_queue(), socket.state())
                }
                _ => over,
            };
            assert!(!unnoticed || looks_at == 0, "{id:?} is over");
        }
        let mut half_open = 0;
        for (slot, tuple, listened) in self.half_open.audit() {
            assert_eq!(self.by_tuple.get(&tuple), Some(&Holder::HalfOpen(slot)));
            *ports.entry(tuple.port).or_default() += 1;
            half_open += usize::from(listened);
        }
        let served = |slot| self.slots.get(slot).is_some_and(|c| !c.detached);
        assert!(self.schedule.waiting().all(served), "somebody who is gone");
        assert_eq!(self.ports, ports);
        assert_eq!(self.by_tuple.len(), ports.values().sum::<usize>());
        if let Some((tuple, id)) = &self.latest {
            let holder = Holder::Connection(*id);
            assert_eq!(self.by_tuple.get(tuple), Some(&holder));
        }
        for (group, held) in &self.groups {
            assert_eq!(held.used, used.get(group).copied().unwrap_or(0));
        }
        let counts = (self.orphans.len(), self.dying.len());
        assert_eq!(counts, (orphans, dying));
        let listeners = self.listeners.values();
        let listed = listeners.map(|l| (l.half_open, l.ready.len()));
        let listed = listed.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        assert_eq!(listed, (half_open, waiting));
    }
}
