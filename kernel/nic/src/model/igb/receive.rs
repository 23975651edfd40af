//! Reception: which frames are wanted, by which queue, and how they are stored.

use super::frames::{self, Incoming, be16, view};
use super::functions::{Function, POOLS};
use super::interrupts::RXO;
use super::pools::receive_addresses;
use super::rings::{SIZE, bin, rx_base};
use super::{Behaviour, Card, Lie};
use crate::igb::QUEUES;
use alloc::vec::Vec;
use core::mem::take;

#[derive(Debug, Default)]
pub(super) struct RxQueue {
    pub head: u32,
    pub tail: u32,
    pub told: u32,
    current: Option<Current>,
}

/// A frame that is being stored.
#[derive(Debug)]
struct Current {
    bytes: Vec<u8>,
    done: usize,
    stage: Stage,
    info: u32,
    hash: u32,
    /// Of the last descriptor.
    status: u32,
    tag: u16,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Data,
    Fields,
    Done,
}

impl Card {
    fn linked(&self) -> bool {
        let control = self.register(0);
        // In loopback a link that is forced is one of 1000 Mb/s in full duplex (3.5.6.3).
        let gigabit = 3 << 11 | 2 << 8 | 1 << 6 | 1;
        let forced = control & (gigabit | 3 << 8) == gigabit;
        let loopback = self.register(0x100) >> 6 & 3 == 1;
        self.link_up || loopback && forced && self.behaviour == Behaviour::Silicon
    }

    /// Stores a part of a frame.
    pub(super) fn receive_step(&mut self) -> bool {
        if let Some(queue) = (0..QUEUES).find(|&queue| self.rx[queue].current.is_some()) {
            self.store(queue);
            return true;
        }
        if !self.linked() {
            self.dropped += take(&mut self.incoming).len() as u64;
            return false;
        }
        if self.register(0x100) & 2 == 0 || self.incoming.is_empty() {
            return false;
        }
        if self.moves_by_itself() && self.gap > 0 {
            self.gap -= 1;
            return true;
        }
        let wait = self.behaviour == Behaviour::Qemu
            && (0..QUEUES).all(|queue| self.rx[queue].head == self.rx[queue].tail);
        if wait {
            return false;
        }
        self.gap = if self.rng.one_in(4) {
            self.rng.below(40)
        } else {
            0
        };
        let Some(incoming) = self.incoming.pop_front() else {
            return false;
        };
        self.accept(incoming);
        true
    }

    fn accept(&mut self, incoming: Incoming) {
        let Incoming {
            mut bytes,
            damaged,
            from,
        } = incoming;
        if bytes.len() < 60 {
            self.count(0x40a4, 1);
            if self.behaviour == Behaviour::Silicon {
                self.dropped += 1;
                return;
            }
            bytes.resize(60, 0);
        }
        let pools = match self.has_pools() && self.is_let_in(&bytes) {
            true => self.pools(&bytes, from),
            false => 0,
        };
        for pool in (0..POOLS).filter(|pool| pools >> pool & 1 != 0) {
            self.begin(&bytes, damaged, Some(pool));
        }
        if !self.has_pools() && self.wanted(&bytes) {
            self.begin(&bytes, damaged, None);
        } else if pools == 0 && from.is_none() {
            self.dropped += 1;
        }
    }

    /// Begins to store a frame in a queue: of this pool, if there are pools.
    fn begin(&mut self, bytes: &[u8], damaged: bool, pool: Option<usize>) {
        let mut bytes = bytes.to_vec();
        let mut current = Current {
            bytes: Vec::new(),
            done: 0,
            stage: Stage::Data,
            info: 0,
            hash: 0,
            status: 0x03,
            tag: 0,
        };
        let mut queue = pool.unwrap_or(0);
        if let Some(view) = view(&bytes) {
            let verifies = self.register(0x5000);
            if verifies & 1 << 8 != 0 {
                current.status |= verdict(view.ipv4_good(&bytes), 1 << 6, 1 << 30);
            }
            if verifies & 1 << 9 != 0 {
                current.status |= verdict(view.transport_good(&bytes), 1 << 5, 1 << 29);
            }
            current.info = view.kind();
            let (kind, input) = view.hash_input(&bytes);
            let spreads = self.register(0x5818);
            let can = match pool {
                None => spreads & 7 == 2,
                // QEMU does not hash for pools.
                Some(_) => spreads & 7 == 5 && self.behaviour == Behaviour::Silicon,
            };
            let is_hashed = can && spreads >> self.field(kind) & 1 != 0;
            if is_hashed && verifies & 1 << 13 != 0 {
                current.info |= kind;
                current.hash = frames::toeplitz(&self.hash_key(), &input);
                let entry = current.hash & 0x7f;
                let word = self.register(0x5c00 + (entry & !3));
                let entry = (word >> (8 * (entry & 3)) & 0xf) as usize;
                queue = pool.map_or(entry, |pool| self.queue_in_pool(pool, entry));
            }
        }
        if damaged {
            current.status |= 1 << 31;
        }
        let counted = bytes.len();
        let strips = match pool {
            None => self.register(0) & 1 << 30 != 0,
            Some(pool) => self.strips(pool, &bytes),
        };
        let whole = bytes.clone();
        if strips && be16(&bytes, 12) == 0x8100 {
            current.tag = be16(&bytes, 14);
            current.status |= 1 << 3;
            bytes.drain(12..16);
        }
        if self.register(0x100) & 1 << 26 == 0 {
            bytes.extend([0; 4]);
        }
        let base = rx_base(queue);
        // Queue 0 is enabled by every reset of the card, though it has no ring then.
        let works = self.enabled(base) && self.ring_len(base) > 0 && self.is_master(queue);
        if pool.is_some() && !works {
            let is_vf = self.owner(queue) != Function::Physical;
            assert!(
                is_vf,
                "the PF's pool receives (VFRE), but its queue does not"
            );
            self.dropped += 1;
            return;
        }
        assert!(
            self.enabled(base),
            "a frame for queue {queue}, which is not enabled"
        );
        if (0..QUEUES)
            .filter(|&queue| self.enabled(rx_base(queue)))
            .count()
            > 1
        {
            let drops = self.register(base + 0xc) & 1 << 31 != 0 || self.drops_by_pf(queue);
            assert!(drops, "a full queue would hold up the others (DROP_EN)");
        }
        let len = self.ring_len(base);
        let state = &self.rx[queue];
        let room = (state.tail + len - state.head) % len;
        if (room as usize) < bytes.len().div_ceil(2048) {
            self.dropped += 1;
            if self.behaviour == Behaviour::Silicon {
                self.count(0x4010, 1);
            }
            self.raise(RXO);
            return;
        }
        if let Some(pool) = pool {
            self.pool_counters[pool].received(&whole);
        }
        self.count(0x4074, 1);
        self.count(0x40d0, 1);
        for sum in [0, 2] {
            self.octets[sum] += counted as u64 + 4;
        }
        self.count(0x405c + bin(counted), 1);
        if bytes[..6] == [0xff; 6] {
            self.count(0x4078, 1);
        } else if bytes[0] & 1 != 0 {
            self.count(0x407c, 1);
        }
        current.bytes = bytes;
        self.rx[queue].current = Some(current);
    }

    /// The bit of MRQC that has packets of this type hashed (§8.10.8).
    fn field(&self, kind: u32) -> u32 {
        match kind {
            1 => 16,
            2 => 17,
            // QEMU asks for the bit of TCP behind extension headers.
            3 if self.behaviour == Behaviour::Qemu => 18,
            3 => 21,
            5 => 20,
            7 => 22,
            _ => 23,
        }
    }

    fn hash_key(&self) -> [u8; 40] {
        let mut key = [0; 40];
        for (word, register) in key
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip((0x5c80..).step_by(4))
        {
            *word = self.register(register).to_le_bytes();
        }
        key
    }

    /// Whether the card takes a frame of this length, and with this tag.
    fn is_let_in(&self, bytes: &[u8]) -> bool {
        let control = self.register(0x100);
        let tagged = be16(bytes, 12) == 0x8100;
        let longest = match control & 1 << 5 {
            0 if tagged => 1518,
            0 => 1514,
            _ => self.register(0x5004) as usize - 4,
        };
        if bytes.len() > longest {
            return false;
        }
        if tagged && control & 1 << 18 != 0 {
            let vlan = u32::from(be16(bytes, 14) & 0xfff);
            if self.register(0x5600 + vlan / 32 * 4) >> (vlan % 32) & 1 == 0 {
                return false;
            }
        }
        true
    }

    /// Whether the card takes this frame, if it has no pools.
    fn wanted(&self, bytes: &[u8]) -> bool {
        if !self.is_let_in(bytes) {
            return false;
        }
        let control = self.register(0x100);
        let everybody = bytes[..6] == [0xff; 6];
        let group = bytes[0] & 1 != 0;
        if everybody && control & 1 << 15 != 0
            || group && control & 1 << 4 != 0
            || !group && control & 1 << 3 != 0
        {
            return true;
        }
        if group && !everybody {
            let bit = (u32::from(bytes[5]) << 8 | u32::from(bytes[4])) >> 4 & 0xfff;
            return self.register(0x5200 + bit / 32 * 4) >> (bit % 32) & 1 != 0;
        }
        let low = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let high = u32::from_le_bytes([bytes[4], bytes[5], 0, 0x80]);
        receive_addresses()
            .any(|at| self.register(at) == low && self.register(at + 4) & 0x8000_ffff == high)
    }

    /// Stores the rest of the frame that is being stored.
    pub(super) fn finish(&mut self, queue: usize) {
        while self.rx[queue].current.is_some() {
            self.store(queue);
        }
    }

    /// One of the three steps in which a piece of a frame is stored.
    fn store(&mut self, queue: usize) {
        let base = rx_base(queue);
        let index = self.rx[queue].head;
        let descriptor = self.descriptor(base, index);
        let Some(mut current) = self.rx[queue].current.take() else {
            return;
        };
        let start = current.done;
        let len = (current.bytes.len() - start).min(2048);
        let last = start + len == current.bytes.len();
        let status = if last { current.status } else { 1 };
        let (info, hash) = if last {
            (current.info, current.hash)
        } else {
            (0, 0)
        };
        let length = len as u32
            | if last {
                u32::from(current.tag) << 16
            } else {
                0
            };
        match current.stage {
            Stage::Data => {
                let buffer = self.buffer(queue, self.words(queue, descriptor), 2048);
                let piece = &current.bytes[start..start + len];
                self.of(queue)
                    .memory
                    .bytes_mut(buffer, len)
                    .copy_from_slice(piece);
                self.of(queue).owners.release(buffer, 2048);
                current.stage = Stage::Fields;
            }
            Stage::Fields => {
                for (at, word) in [(0, info), (4, hash), (8, status & !1), (12, length)] {
                    self.of(queue).memory.store32(descriptor + at, word);
                }
                current.stage = Stage::Done;
            }
            Stage::Done => {
                if let Some(lie) = self.defects.lie.take() {
                    self.lie(queue, lie, descriptor);
                    return;
                }
                self.of(queue).memory.store32(descriptor + 8, status);
                self.of(queue).owners.release(descriptor, SIZE);
                let ring = self.ring_len(base);
                self.rx[queue].head = (index + 1) % ring;
                if last {
                    if self.owner(queue) == Function::Physical {
                        self.delivered.push(current.bytes);
                    }
                    self.written_back(queue, false);
                    return;
                }
                current.done += len;
                current.stage = Stage::Data;
            }
        }
        self.rx[queue].current = Some(current);
    }

    fn lie(&mut self, queue: usize, lie: Lie, descriptor: usize) {
        let base = rx_base(queue);
        let (status, length) = match lie {
            Lie::Long => (3, 2049),
            Lie::Empty => (3, 0),
            Lie::Gap => (1, 100),
            Lie::Endless => (1, 2048),
            Lie::Ones => (u32::MAX, u32::MAX),
        };
        if lie == Lie::Endless {
            for index in 0..self.ring_len(base) {
                let descriptor = self.descriptor(base, index);
                self.of(queue).memory.store32(descriptor + 8, status);
                self.of(queue).memory.store32(descriptor + 12, length);
            }
        }
        self.of(queue).memory.store32(descriptor + 8, status);
        self.of(queue).memory.store32(descriptor + 12, length);
        self.written_back(queue, false);
    }
}

fn verdict(good: Option<bool>, verified: u32, error: u32) -> u32 {
    match good {
        None => 0,
        Some(true) => verified,
        Some(false) => verified | error,
    }
}
