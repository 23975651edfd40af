//! The rings: what the card does with descriptors, one at a time.

use super::frames::{self, be16, put16, view};
use super::interrupts::RXO;
use super::{Behaviour, Card, Lie, Sent};
use crate::igb::QUEUES;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::take;

const SIZE: usize = 16;
/// Pieces of which a frame may consist at most on QEMU.
const PIECES: usize = 64;
const UNIT: usize = 16;

/// Who may touch which part of the arena, in units of 16 bytes.
#[derive(Debug)]
pub(super) struct Owners {
    card: Box<[bool]>,
}

impl Owners {
    pub(super) fn new(arena: usize) -> Self {
        Owners {
            card: vec![false; arena.div_ceil(UNIT)].into_boxed_slice(),
        }
    }

    pub(super) fn release_all(&mut self) {
        self.card.fill(false);
    }

    fn units(offset: usize, len: usize) -> core::ops::Range<usize> {
        offset / UNIT..(offset + len).div_ceil(UNIT)
    }

    fn give(&mut self, offset: usize, len: usize) {
        for unit in Self::units(offset, len) {
            assert!(
                !self.card[unit],
                "{:#x} was given to the card twice",
                unit * UNIT
            );
            self.card[unit] = true;
        }
    }

    fn release(&mut self, offset: usize, len: usize) {
        self.card[Self::units(offset, len)].fill(false);
    }

    pub(super) fn check(&self, offset: usize, len: usize) {
        let touched = Self::units(offset, len).find(|&unit| self.card[unit]);
        assert!(
            touched.is_none(),
            "{offset:#x} is the card's, and was touched"
        );
    }
}

/// A frame on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    damaged: bool,
}

impl Incoming {
    pub(super) fn new(bytes: &[u8], damaged: bool) -> Self {
        let bytes = bytes.to_vec();
        Incoming { bytes, damaged }
    }
}

#[derive(Debug, Default)]
pub(super) struct TxQueue {
    pub head: u32,
    pub tail: u32,
    /// The tail that the driver has written, though it may be on its way.
    told: u32,
    contexts: [Option<[u32; 4]>; 2],
    packet: Vec<u8>,
    pieces: usize,
    /// Command and options of the packet's first piece.
    first: Option<(u32, u32)>,
}

#[derive(Debug, Default)]
pub(super) struct RxQueue {
    pub head: u32,
    pub tail: u32,
    told: u32,
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

pub(super) const fn rx_base(queue: usize) -> u32 {
    0xc000 + 0x40 * queue as u32
}

pub(super) const fn tx_base(queue: usize) -> u32 {
    0xe000 + 0x40 * queue as u32
}

impl Card {
    fn enabled(&self, base: u32) -> bool {
        self.register(base + 0x28) & 1 << 25 != 0
    }

    fn ring_len(&self, base: u32) -> u32 {
        self.register(base + 8) / SIZE as u32
    }

    fn descriptor(&self, base: u32, index: u32) -> usize {
        let start = u64::from(self.register(base)) | u64::from(self.register(base + 4)) << 32;
        self.memory
            .offset(start + u64::from(index) * SIZE as u64, SIZE)
    }

    fn words(&self, descriptor: usize) -> [u32; 4] {
        [0, 4, 8, 12].map(|at| self.memory.load32(descriptor + at))
    }

    /// The offset of the buffer in a descriptor.
    fn buffer(&self, words: [u32; 4], len: usize) -> usize {
        let address = u64::from(words[0]) | u64::from(words[1]) << 32;
        assert_ne!(address, 0, "a descriptor without buffer");
        self.memory.offset(address, len)
    }

    /// Whether a queue may be enabled like this.
    pub(super) fn check_ring(&self, base: u32) {
        assert_eq!(
            self.register(base) % 128,
            0,
            "a ring must start on 128 bytes (8.10.5)"
        );
        let len = self.register(base + 8);
        assert!(
            len > 0 && len.is_multiple_of(128),
            "a ring has a multiple of 128 bytes (8.10.7)"
        );
        self.descriptor(base, self.ring_len(base) - 1);
        if base < 0xe000 {
            let control = self.register(base + 0xc);
            assert_eq!(
                control >> 25 & 7,
                1,
                "only advanced descriptors with one buffer"
            );
            assert_eq!(control & 0x7f, 2, "only buffers of 2 KiB are modelled");
        }
    }

    /// The driver has written a tail, which may be on its way: what is before it is the card's.
    pub(super) fn tail_written(&mut self, base: u32, tail: u32) {
        let transmit = base >= 0xe000;
        let queue = (base as usize & 0xfff) / 0x40;
        let len = self.ring_len(base);
        assert!(self.enabled(base), "a tail for a queue that is not enabled");
        assert!(tail < len, "tail {tail} is outside a ring of {len}");
        let told = if transmit {
            &mut self.tx[queue].told
        } else {
            &mut self.rx[queue].told
        };
        let mut index = core::mem::replace(told, tail);
        while index != tail {
            let descriptor = self.descriptor(base, index);
            let words = self.words(descriptor);
            self.owners.give(descriptor, SIZE);
            if !transmit {
                assert_eq!(
                    words[2] | words[3],
                    0,
                    "a descriptor that was not rewritten"
                );
                let buffer = self.buffer(words, 2048);
                self.owners.give(buffer, 2048);
            } else if words[2] >> 20 & 15 == 3 {
                let len = words[2] as usize & 0xffff;
                let buffer = self.buffer(words, len);
                self.owners.give(buffer, len);
            }
            index = (index + 1) % len;
        }
        let (head, full) = if transmit {
            (
                self.tx[queue].head,
                "a full ring looks empty: the tail met the head",
            )
        } else {
            (self.rx[queue].head, "a full ring looks empty: RDT met RDH")
        };
        let given = (0..len).any(|index| {
            let descriptor = self.descriptor(base, index);
            self.owners.card[descriptor / UNIT]
        });
        assert!(!given || head != tail, "{full}");
    }

    // ------------------------------------------------------------------ transmit

    /// Executes one transmit descriptor of some queue.
    pub(super) fn transmit_step(&mut self) -> bool {
        if self.defects.transmit_dead || self.register(0x400) & 2 == 0 {
            return false;
        }
        let first = self.rng.below(QUEUES);
        let queue = (0..QUEUES)
            .map(|ahead| (first + ahead) % QUEUES)
            .find(|&queue| self.tx[queue].head != self.tx[queue].tail);
        let Some(queue) = queue else {
            return false;
        };
        let base = tx_base(queue);
        let descriptor = self.descriptor(base, self.tx[queue].head);
        let words = self.words(descriptor);
        let command = words[2];
        assert_ne!(command & 1 << 29, 0, "a legacy descriptor");
        match command >> 20 & 15 {
            2 => {
                let index = words[3] >> 4 & 7;
                assert!(index < 2, "a queue has two contexts");
                self.tx[queue].contexts[index as usize] = Some(words);
            }
            3 => self.piece(queue, words),
            other => panic!("transmit descriptor of type {other}"),
        }
        self.owners.release(descriptor, SIZE);
        self.tx[queue].head = (self.tx[queue].head + 1) % self.ring_len(base);
        if command & 1 << 27 != 0 {
            self.memory.store32(descriptor + 12, 1);
            self.written_back(queue, true);
        }
        true
    }

    fn piece(&mut self, queue: usize, words: [u32; 4]) {
        let [_, _, command, options] = words;
        let len = command as usize & 0xffff;
        assert!(len > 0, "a piece of nothing");
        assert_ne!(command & 1 << 25, 0, "a frame without its checksum (IFCS)");
        let buffer = self.buffer(words, len);
        let bytes = self.memory.bytes(buffer, len).to_vec();
        self.owners.release(buffer, len);
        let state = &mut self.tx[queue];
        state.packet.extend(bytes);
        state.pieces += 1;
        assert!(
            state.pieces <= PIECES,
            "more than 64 pieces: QEMU drops the frame"
        );
        let (command_first, options_first) = *state.first.get_or_insert((command, options));
        if command & 1 << 24 != 0 {
            let packet = take(&mut state.packet);
            (state.pieces, state.first) = (0, None);
            self.transmit(queue, packet, command_first, options_first);
        }
    }

    fn transmit(&mut self, queue: usize, mut packet: Vec<u8>, command: u32, options: u32) {
        assert!(packet.len() >= 17, "a frame of {} bytes", packet.len());
        let ethertype = be16(&packet, 12);
        let parsed = view(&packet);
        let is_ip = matches!(ethertype, 0x0800 | 0x86dd);
        assert!(
            !is_ip || parsed.is_some(),
            "QEMU drops IP without a whole header"
        );
        let (cut, vlan) = (command & 1 << 31 != 0, command & 1 << 30 != 0);
        let (ipv4_sum, transport_sum) = (options & 1 << 8 != 0, options & 1 << 9 != 0);
        let context = (cut || vlan || ipv4_sum || transport_sum).then(|| {
            let index = options >> 4 & 7;
            self.tx[queue].contexts[index as usize].expect("a frame that needs a context has none")
        });
        let mut ready = Vec::new();
        let paylen = (options >> 14) as usize;
        if let (Some(view), Some(context)) = (parsed, context)
            && (cut || ipv4_sum || transport_sum)
        {
            assert_eq!((context[0] >> 9 & 0x7f) as usize, view.ip, "MACLEN");
            assert_eq!((context[0] & 0x1ff) as usize, view.l4 - view.ip, "IPLEN");
            assert_eq!(context[2] & 1 << 10 != 0, view.version == 4, "IPV4");
            assert_eq!(ipv4_sum, view.version == 4, "IXSM");
            if transport_sum {
                assert_eq!(context[2] & 1 << 11 != 0, view.protocol == 6, "L4T");
            }
        }
        if cut {
            let (context, view) = (
                context.expect("checked"),
                parsed.expect("segments of no IP"),
            );
            assert!(transport_sum && view.protocol == 6, "segments of no TCP");
            ready = self.segments(&packet, view, context, paylen);
            self.count(0x40f8, 1);
            if self.behaviour == Behaviour::Qemu {
                let tag = if vlan { 4 } else { 0 };
                self.count_sent(&packet, packet.len() + tag);
            }
        } else {
            assert_eq!(paylen, packet.len(), "PAYLEN");
            assert!(packet.len() <= 9728, "a frame no card sends");
            if let Some(view) = parsed {
                let mut filled = packet.clone();
                view.fill_in(&mut filled);
                if ipv4_sum {
                    assert_eq!(
                        be16(&packet, view.ip + 10),
                        0,
                        "a sum starts from something"
                    );
                    packet[view.ip + 10..view.ip + 12]
                        .copy_from_slice(&filled[view.ip + 10..view.ip + 12]);
                }
                if transport_sum {
                    let at = view.checksum_at().expect("no checksum to fill in");
                    assert_eq!(packet.len(), view.end, "padding would be summed up");
                    let seed = be16(&packet, at);
                    assert_eq!(
                        seed,
                        view.pseudo(&packet, view.end - view.l4),
                        "pseudo header"
                    );
                    packet[at..at + 2].copy_from_slice(&filled[at..at + 2]);
                }
            }
            ready.push(packet);
        }
        for mut frame in ready {
            if vlan {
                let tag = (context.expect("checked")[0] >> 16) as u16;
                assert_ne!(be16(&frame, 12), 0x8100, "two tags");
                let [high, low] = tag.to_be_bytes();
                frame.splice(12..12, [0x81, 0x00, high, low]);
            }
            if !(cut && self.behaviour == Behaviour::Qemu) {
                let len = self.padded(frame.len());
                self.count_sent(&frame, len);
            }
            self.out(queue, frame);
        }
    }

    fn segments(
        &self,
        packet: &[u8],
        view: frames::View,
        context: [u32; 4],
        paylen: usize,
    ) -> Vec<Vec<u8>> {
        let mss = (context[3] >> 16) as usize;
        let payload = view.l4 + usize::from(packet[view.l4 + 12] >> 4) * 4;
        assert!(mss > 0, "segments of nothing");
        assert_eq!(
            (context[3] >> 8 & 0xff) as usize,
            payload - view.l4,
            "L4LEN"
        );
        assert_eq!(paylen, packet.len() - payload, "PAYLEN without headers");
        assert_eq!(packet[view.l4 + 13] & 1, 0, "FIN would be lost on QEMU");
        let length_at = view.ip + if view.version == 4 { 2 } else { 4 };
        assert_eq!(
            be16(packet, length_at),
            0,
            "lengths are the card's to fill in"
        );
        if view.version == 4 {
            assert_eq!(be16(packet, view.ip + 10), 0, "a sum starts from something");
        }
        let seed = be16(packet, view.l4 + 16);
        assert_eq!(seed, view.pseudo(packet, 0), "pseudo header without length");
        let identity = be16(packet, view.ip + 4);
        let sequence =
            u32::from(be16(packet, view.l4 + 4)) << 16 | u32::from(be16(packet, view.l4 + 6));
        let chunks = packet[payload..].chunks(mss);
        let count = chunks.len();
        let mut made = Vec::new();
        for (number, chunk) in chunks.enumerate() {
            let mut frame = packet[..payload].to_vec();
            frame.extend(chunk);
            if view.version == 4 {
                let len = frame.len() - view.ip;
                put16(&mut frame, view.ip + 2, len as u16);
                put16(
                    &mut frame,
                    view.ip + 4,
                    identity.wrapping_add(number as u16),
                );
            } else {
                let len = frame.len() - view.l4;
                put16(&mut frame, view.ip + 4, len as u16);
            }
            let sequence = sequence.wrapping_add((number * mss) as u32);
            frame[view.l4 + 4..view.l4 + 8].copy_from_slice(&sequence.to_be_bytes());
            if self.behaviour == Behaviour::Qemu || number + 1 < count {
                frame[view.l4 + 13] &= !9;
            }
            let whole = frames::view(&frame).expect("it was one before");
            whole.fill_in(&mut frame);
            made.push(frame);
        }
        made
    }

    /// How long a frame of this length is on the wire.
    fn padded(&self, len: usize) -> usize {
        if self.behaviour == Behaviour::Qemu {
            return len;
        }
        let pads = self.register(0x400) & 8 != 0;
        assert!(pads || len >= 60, "short frames that nobody pads (PSP)");
        len.max(60)
    }

    /// Counts a frame as sent: with what is on the wire, or, where QEMU cuts it, once as a whole.
    fn count_sent(&mut self, bytes: &[u8], len: usize) {
        self.count(0x4080, 1);
        self.count(0x40d4, 1);
        for sum in [1, 3] {
            self.octets[sum] += len as u64 + 4;
        }
        self.count(0x40d8 + bin(len), 1);
        if bytes[..6] == [0xff; 6] {
            self.count(0x40f4, 1);
        } else if bytes[0] & 1 != 0 {
            self.count(0x40f0, 1);
        }
    }

    fn out(&mut self, queue: usize, mut bytes: Vec<u8>) {
        let len = self.padded(bytes.len());
        bytes.resize(len, 0);
        if self.register(0x100) >> 6 & 3 == 1 {
            if self.defects.loopback_spoils {
                bytes[20] ^= 1;
            }
            self.incoming.push_back(Incoming::new(&bytes, false));
        } else {
            self.sent.push(Sent { queue, bytes });
        }
    }

    // ------------------------------------------------------------------- receive

    fn linked(&self) -> bool {
        let control = self.register(0);
        let forced = control & (3 << 11 | 1 << 6) == 3 << 11 | 1 << 6;
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
        let Incoming { mut bytes, damaged } = incoming;
        if bytes.len() < 60 {
            bytes.resize(60, 0);
            self.count(0x40a4, 1);
        }
        if !self.wanted(&bytes) {
            self.dropped += 1;
            return;
        }
        let mut current = Current {
            bytes: Vec::new(),
            done: 0,
            stage: Stage::Data,
            info: 0,
            hash: 0,
            status: 0x03,
            tag: 0,
        };
        let mut queue = 0;
        if let Some(view) = view(&bytes) {
            current.status |= verdict(view.ipv4_good(&bytes), 1 << 6, 1 << 30);
            current.status |= verdict(view.transport_good(&bytes), 1 << 5, 1 << 29);
            if self.register(0x5818) & 7 == 2 && self.register(0x5000) & 1 << 13 != 0 {
                let (kind, input) = view.hash_input(&bytes);
                current.info = kind;
                current.hash = frames::toeplitz(&self.hash_key(), &input);
                let entry = current.hash & 0x7f;
                let word = self.register(0x5c00 + (entry & !3));
                queue = (word >> (8 * (entry & 3)) & 0xf) as usize;
            }
        }
        if damaged {
            current.status |= 1 << 31;
        }
        let counted = bytes.len();
        if self.register(0) & 1 << 30 != 0 && be16(&bytes, 12) == 0x8100 {
            current.tag = be16(&bytes, 14);
            current.status |= 1 << 3;
            bytes.drain(12..16);
        }
        if self.register(0x100) & 1 << 26 == 0 {
            bytes.extend([0; 4]);
        }
        let base = rx_base(queue);
        assert!(
            self.enabled(base),
            "a frame for queue {queue}, which is not enabled"
        );
        if (0..QUEUES)
            .filter(|&queue| self.enabled(rx_base(queue)))
            .count()
            > 1
        {
            let drops = self.register(base + 0xc) & 1 << 31 != 0;
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

    fn wanted(&self, bytes: &[u8]) -> bool {
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
        (0..16)
            .map(|number| 0x5400 + 8 * number)
            .chain((0..8).map(|number| 0x54e0 + 8 * number))
            .any(|at| self.register(at) == low && self.register(at + 4) & 0x8000_ffff == high)
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
                let buffer = self.buffer(self.words(descriptor), 2048);
                let piece = &current.bytes[start..start + len];
                self.memory.bytes_mut(buffer, len).copy_from_slice(piece);
                self.owners.release(buffer, 2048);
                current.stage = Stage::Fields;
            }
            Stage::Fields => {
                for (at, word) in [(0, info), (4, hash), (8, status & !1), (12, length)] {
                    self.memory.store32(descriptor + at, word);
                }
                current.stage = Stage::Done;
            }
            Stage::Done => {
                if let Some(lie) = self.defects.lie.take() {
                    self.lie(queue, lie, descriptor);
                    return;
                }
                self.memory.store32(descriptor + 8, status);
                self.owners.release(descriptor, SIZE);
                let ring = self.ring_len(base);
                self.rx[queue].head = (index + 1) % ring;
                if last {
                    self.delivered.push(current.bytes);
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
                self.memory.store32(descriptor + 8, status);
                self.memory.store32(descriptor + 12, length);
            }
        }
        self.memory.store32(descriptor + 8, status);
        self.memory.store32(descriptor + 12, length);
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

/// The counter of frames of this length, which does not include the checksum; from the first.
fn bin(len: usize) -> u32 {
    let ends = [64, 127, 255, 511, 1023];
    4 * ends.iter().filter(|&&end| len + 4 > end).count() as u32
}
