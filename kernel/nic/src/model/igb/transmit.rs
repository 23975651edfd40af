//! Transmission: what the card does with descriptors, one at a time.

use super::frames::{self, Incoming, be16, put16, view};
use super::rings::{SIZE, bin, tx_base};
use super::{Behaviour, Card, Sent};
use crate::igb::QUEUES;
use alloc::vec::Vec;
use core::mem::take;

/// Pieces of which a frame may consist at most on QEMU.
const PIECES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct TxQueue {
    pub head: u32,
    pub tail: u32,
    /// The tail that the driver has written, though it may be on its way.
    pub told: u32,
    contexts: [Option<[u32; 4]>; 2],
    packet: Vec<u8>,
    pieces: usize,
    /// Command and options of the packet's first piece.
    first: Option<(u32, u32)>,
}

impl Card {
    /// Executes one transmit descriptor of some queue.
    pub(super) fn transmit_step(&mut self) -> bool {
        if self.defects.transmit_dead || self.register(0x400) & 2 == 0 {
            return false;
        }
        let first = self.rng.below(QUEUES);
        let queue = (0..QUEUES)
            .map(|ahead| (first + ahead) % QUEUES)
            .find(|&queue| self.tx[queue].head != self.tx[queue].tail && self.may_send(queue));
        let Some(queue) = queue else {
            return false;
        };
        let base = tx_base(queue);
        let descriptor = self.descriptor(base, self.tx[queue].head);
        let words = self.words(queue, descriptor);
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
        self.of(queue).owners.release(descriptor, SIZE);
        self.tx[queue].head = (self.tx[queue].head + 1) % self.ring_len(base);
        if command & 1 << 27 != 0 {
            self.of(queue).memory.store32(descriptor + 12, 1);
            self.reports += 1;
            self.written_back(queue, true);
        }
        true
    }

    fn piece(&mut self, queue: usize, words: [u32; 4]) {
        let [_, _, command, options] = words;
        let len = command as usize & 0xffff;
        assert!(len > 0, "a piece of nothing");
        assert_ne!(command & 1 << 25, 0, "a frame without its checksum (IFCS)");
        let buffer = self.buffer(queue, words, len);
        let bytes = self.of(queue).memory.bytes(buffer, len).to_vec();
        self.of(queue).owners.release(buffer, len);
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
        if let Some(context) = context {
            assert!(context[0] >> 9 & 0x7f >= 14, "MACLEN is at least 14");
        }
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
                self.count_sent(queue, &packet, packet.len() + tag);
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
                self.count_sent(queue, &frame, len);
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
    fn count_sent(&mut self, queue: usize, bytes: &[u8], len: usize) {
        self.pool_counters[queue % 8].sent(len + 4);
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
        } else if self.switch(queue, &bytes) {
            self.sent.push(Sent { queue, bytes });
        }
    }
}
