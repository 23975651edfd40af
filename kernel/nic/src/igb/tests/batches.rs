//! Many frames at once, and the short way of the usual ones.

use super::frames::{Flow, frame, payload};
use super::offload::CHECKSUMS;
use super::{Config, Kernel, MODES, everywhere, here, tiny};
use crate::igb::FRAME_JUMBO;
use crate::model::Rng;
use crate::{Bus, BusAddr, Error, Events, FrameBuffers, Nic, Outgoing, Piece, SendOptions, Tail};
use std::vec;
use std::vec::Vec;

/// How sending a frame went, and what of it came by which queue.
type Outcome = (Result<(), Error>, Vec<(usize, Vec<u8>)>);

impl Kernel {
    /// As `build`, in a buffer that is too large for the short way.
    fn build_large(&mut self, bytes: &[u8]) -> u16 {
        let buffer = self.nic.take_buffer(3000).unwrap();
        let (offset, _) = self.nic.frame_area().buffer(buffer).unwrap();
        self.model.bus().copy_in(offset, bytes);
        buffer
    }

    /// Sends what is in a buffer.
    fn outcome(
        &mut self,
        buffer: u16,
        len: usize,
        tail: Option<Tail>,
        options: &SendOptions,
    ) -> Outcome {
        let result = self.nic.send_buffer(buffer, len, tail, options);
        if result.is_err() {
            self.nic.drop_buffer(buffer).unwrap();
        }
        self.nic.flush().unwrap();
        self.model.settle();
        let sent = self.model.take_sent().into_iter();
        let sent = sent.map(|sent| (sent.queue, sent.bytes)).collect();
        (result, sent)
    }
}

/// A frame with headers that are right, or not quite.
fn nearly_right(rng: &mut Rng) -> Vec<u8> {
    let flow = Flow::number(rng.below(500) as u16);
    let flow = if rng.one_in(6) { flow.v6() } else { flow };
    let data = payload(rng.below(80));
    let mut bytes = match rng.below(5) {
        0 => frame(rng.next(), 17 + rng.below(100)),
        1 | 2 => flow.udp(&data),
        _ => flow.tcp(rng.next() as u32, 0x10, &data),
    };
    for _ in 0..rng.below(3) {
        // EtherType, version, length, fragment, protocol, ports, length of TCP's header.
        let places = [12, 13, 14, 16, 17, 20, 21, 23, 30, 34, 37, 46];
        let at = places[rng.below(places.len())];
        let values = [0, 1, 6, 8, 17, 0x45, 0x46, 0x4f, 0x50, 0x81, 0x86, 0xf0];
        let value = values[rng.below(values.len())];
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
    }
    if rng.one_in(6) {
        // Padding may complete what looks like IP.
        let len = 17 + rng.below(bytes.len() + 4);
        bytes.resize(len, 0);
    }
    bytes
}

#[test]
fn the_short_way_sends_what_the_long_way_sends() {
    let config = Config::new(MODES[0]);
    let mut kernel = Kernel::new(here(), config);
    let mut rng = Rng::new(1);
    let mut sent = [0; 3];
    let file = kernel.build(&payload(2000));
    let (offset, _) = kernel.nic.frame_area().buffer(file).unwrap();
    let file = kernel.model.bus().bus_addr(offset);
    for _ in 0..20_000 {
        let bytes = nearly_right(&mut rng);
        let options = SendOptions {
            checksums: rng.one_in(2),
            ..SendOptions::default()
        };
        let tail = rng.one_in(4).then(|| Tail {
            address: BusAddr(file.0 + rng.below(100) as u64),
            len: rng.below(1600),
        });
        let small = kernel.build(&bytes);
        let short = kernel.outcome(small, bytes.len(), tail, &options);
        let large = kernel.build_large(&bytes);
        let long = kernel.outcome(large, bytes.len(), tail, &options);
        assert_eq!(short, long, "{bytes:02x?} {tail:?} {options:?}");
        let kind = match tail {
            Some(_) => 2,
            None => usize::from(options.checksums),
        };
        sent[kind] += short.1.len();
    }
    assert!(sent.iter().all(|&sent| sent > 1000), "{sent:?}");
}

#[test]
fn frames_are_sent_in_order_until_one_fails() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut rng = Rng::new(place.seed);
        let mut expected = Vec::new();
        let mut queued: Vec<Outgoing> = Vec::new();
        let mut bad = 0;
        for number in 0..300u16 {
            let mut bytes = Flow::number(1).udp(&payload(20 + rng.below(100)));
            bytes[42..44].copy_from_slice(&number.to_be_bytes());
            let buffer = kernel.build(&bytes);
            // One of them says that it is longer than its buffer.
            let is_bad = rng.one_in(20);
            queued.push(Outgoing {
                buffer,
                len: if is_bad { 5000 } else { bytes.len() },
                options: if rng.one_in(2) {
                    CHECKSUMS
                } else {
                    SendOptions::default()
                },
                tail: None,
            });
            if !is_bad {
                let finished = Flow::number(1).finished(bytes.clone());
                let whole = queued[queued.len() - 1].options.checksums;
                expected.push(kernel.on_wire(if whole { &finished } else { &bytes }));
            }
            if queued.len() < 6 {
                continue;
            }
            let mut rest = &queued[..];
            while !rest.is_empty() {
                let (sent, result) = kernel.nic.send_buffers(rest);
                rest = &rest[sent..];
                match result {
                    Ok(()) => assert!(rest.is_empty()),
                    Err(Error::WouldBlock) => kernel.sleep(Events::TRANSMIT_SPACE),
                    Err(error) => {
                        assert_eq!(error, Error::BadLength { len: 5000 });
                        // It is still the caller's.
                        kernel.nic.drop_buffer(rest[0].buffer).unwrap();
                        rest = &rest[1..];
                        bad += 1;
                    }
                }
            }
            queued.clear();
            kernel.nic.flush().unwrap();
        }
        assert!(bad > 0);
        assert_eq!(kernel.sent(), expected);
    });
}

#[test]
fn pieces_come_many_at_once_and_return_so() {
    everywhere(3, |place| {
        let config = Config {
            frame_max: FRAME_JUMBO,
            ..tiny(place.mode)
        };
        let mut kernel = Kernel::new(place, config);
        let mut rng = Rng::new(place.seed);
        let mut held: Vec<(Piece, Vec<u8>)> = Vec::new();
        let (mut number, mut taken, mut wrong) = (0, 0, 0);
        for _ in 0..3000 {
            if taken >= 250 {
                break;
            }
            for _ in 0..rng.below(3) {
                let len = if rng.one_in(4) { 8000 } else { 1455 };
                kernel.model.arrive(&frame(number, 60 + rng.below(len)));
                number += 1;
            }
            kernel.model.idle(rng.below(60) as u64);
            let (max, arm) = (1 + rng.below(9), rng.one_in(2));
            let mut pieces = Vec::new();
            let count = kernel
                .nic
                .receive_pieces(arm, max, &mut |piece| pieces.push(*piece));
            assert_eq!(count, Ok(pieces.len()));
            assert!(pieces.len() <= max);
            for piece in pieces {
                let bytes = kernel.read(&piece);
                held.push((piece, bytes));
                taken += 1;
            }
            if held.len() > 5 || rng.one_in(2) {
                let mut back = Vec::new();
                for _ in 0..rng.below(held.len() + 1) {
                    let (piece, bytes) = held.swap_remove(rng.below(held.len()));
                    assert!(kernel.read(&piece) == bytes);
                    back.push(piece.buffer);
                }
                if rng.one_in(4) && !back.is_empty() {
                    // What follows one that is not held stays with who has it.
                    let at = rng.below(back.len());
                    let twice = back[at];
                    back.insert(at, twice);
                    let buffer = twice;
                    let refused = kernel.nic.return_buffers(&back);
                    assert_eq!(refused, Err(Error::BadBuffer { buffer }));
                    back.drain(..at + 2);
                    wrong += 1;
                }
                kernel.nic.return_buffers(&back).unwrap();
            }
        }
        assert!(taken >= 250 && wrong > 0, "only {taken}, {wrong}");
    });
}

#[test]
fn pieces_of_several_rings_return_at_once() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut rng = Rng::new(place.seed);
        for _ in 0..20 {
            for number in 0..12 {
                let flow = Flow::number(number);
                kernel.model.arrive(&flow.finished(flow.udp(&payload(100))));
            }
            kernel.model.settle();
            let mut held: Vec<u16> = Vec::new();
            let mut rings = 0;
            while held.len() < 12 {
                let mut take = |piece: &Piece| {
                    held.push(piece.buffer);
                    rings |= 1 << piece.info.queue;
                };
                kernel.nic.receive_pieces(true, 12, &mut take).unwrap();
                kernel.take();
            }
            assert_eq!(rings, 0b111);
            for at in 1..held.len() {
                held.swap(at, rng.below(at + 1));
            }
            // What follows one that is not held, of whichever ring, stays with who has it.
            let wrong = [&held[..8], &[held[rng.below(8)]], &held[8..]].concat();
            let refused = kernel.nic.return_buffers(&wrong);
            assert_eq!(refused, Err(Error::BadBuffer { buffer: wrong[8] }));
            kernel.nic.return_buffers(&held[8..]).unwrap();
        }
    });
}

#[test]
fn a_reader_who_has_all_buffers_of_a_ring_finds_no_frame_there() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut held = Vec::new();
        for number in 0..13 {
            kernel.model.arrive(&frame(number, 100));
            kernel.model.settle();
            while held.len() <= number as usize {
                let mut take = |piece: &Piece| held.push(piece.buffer);
                kernel.nic.receive_pieces(true, 1, &mut take).unwrap();
                kernel.take();
            }
        }
        assert_eq!(kernel.receive().err(), Some(Error::WouldBlock));
        assert_eq!(kernel.nic.receive_piece(true), Err(Error::WouldBlock));
        assert_eq!(kernel.nic.tick() | kernel.take(), Events::empty());
        if kernel.place.mode == MODES[0] {
            // A message that was on its way is about nothing.
            assert_eq!(kernel.nic.on_interrupt(Some(2)), Some(Events::empty()));
        }
        kernel.nic.return_buffers(&held).unwrap();
        kernel.receive().unwrap_err();
        kernel.model.settle();
        kernel.model.arrive(&frame(99, 100));
        assert_eq!(kernel.next().0, frame(99, 100));
    });
}

#[test]
fn buffers_are_given_as_far_as_there_are_any() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut numbers = [0; 12];
        assert_eq!(kernel.nic.take_buffers(100, &mut numbers), Ok(12));
        let mut more = [0; 12];
        assert_eq!(kernel.nic.take_buffers(100, &mut more), Ok(8));
        assert_eq!(kernel.nic.take_buffers(100, &mut [0; 3]), Ok(0));
        let mut all: Vec<u16> = numbers.into_iter().chain(more[..8].to_vec()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<u16>>());
        // Who asked for more is told when there are some.
        let frames: Vec<Outgoing> = all
            .iter()
            .map(|&buffer| Outgoing {
                buffer,
                len: 60,
                ..Outgoing::default()
            })
            .collect();
        kernel.take();
        let (sent, _) = kernel.nic.send_buffers(&frames[..10]);
        assert_eq!(sent, 10);
        kernel.nic.flush().unwrap();
        let mut back = 0;
        while back < 10 {
            let wanted = 10 - back;
            let taken = kernel.nic.take_buffers(100, &mut vec![0; wanted]).unwrap();
            back += taken;
            if taken < wanted {
                kernel.sleep(Events::TRANSMIT_SPACE);
            }
        }
        for len in [0, 65_537] {
            let refused = kernel.nic.take_buffers(len, &mut [0; 2]);
            assert_eq!(refused, Err(Error::BadLength { len }));
        }
    });
}

#[test]
fn a_card_that_would_interrupt_is_not_looked_at_and_interrupts() {
    everywhere(3, |place| {
        let mut kernel = Kernel::tiny(place);
        let nothing =
            |kernel: &mut Kernel| kernel.nic.receive_pieces(true, 9, &mut |_| ()).unwrap();
        while nothing(&mut kernel) > 0 {}
        kernel.take();
        while nothing(&mut kernel) > 0 {}
        let before = kernel.model.register_accesses();
        for _ in 0..5 {
            assert_eq!(nothing(&mut kernel), 0);
        }
        assert_eq!(kernel.model.register_accesses(), before);
        for number in 0..40 {
            let flow = Flow::number(number);
            let bytes = flow.finished(flow.udp(&payload(100)));
            kernel.model.arrive(&bytes);
            kernel.model.idle(50);
            assert_eq!(nothing(&mut kernel), 0);
            let mut taken = Vec::new();
            while taken.is_empty() {
                kernel.sleep(Events::RECEIVE);
                let mut take = |piece: &Piece| taken.push(*piece);
                kernel.nic.receive_pieces(true, 9, &mut take).unwrap();
            }
            assert_eq!(kernel.read(&taken[0]), bytes);
            kernel.nic.return_buffer(taken[0].buffer).unwrap();
        }
    });
}

#[test]
fn who_looks_all_the_time_sees_frames_and_hears_of_none() {
    everywhere(3, |place| {
        let mut kernel = Kernel::tiny(place);
        for number in 0..60 {
            let mut taken = Vec::new();
            let receive = |kernel: &mut Kernel, arm, taken: &mut Vec<Piece>| {
                let mut take = |piece: &Piece| taken.push(*piece);
                kernel.nic.receive_pieces(arm, 9, &mut take).unwrap()
            };
            while receive(&mut kernel, true, &mut taken) > 0 {}
            kernel.nic.silence_receive();
            // What was on its way when it was silenced.
            kernel.model.settle();
            kernel.take();
            assert!(!kernel.nic.has_received());
            let flow = Flow::number(number);
            let bytes = flow.finished(flow.udp(&payload(100)));
            kernel.model.arrive(&bytes);
            let before = kernel.model.register_accesses();
            for _ in 0..100 {
                if kernel.nic.has_received() {
                    break;
                }
                kernel.model.idle(8);
            }
            assert!(kernel.nic.has_received());
            assert_eq!(kernel.model.register_accesses(), before);
            assert!(!kernel.take().contains(Events::RECEIVE));
            while taken.is_empty() {
                receive(&mut kernel, false, &mut taken);
            }
            assert!(!kernel.nic.has_received());
            assert_eq!(kernel.read(&taken[0]), bytes);
            // It is heard of when that is asked for again.
            kernel.nic.return_buffer(taken[0].buffer).unwrap();
            while receive(&mut kernel, true, &mut taken) > 0 {}
            kernel.model.arrive(&bytes);
            kernel.sleep(Events::RECEIVE);
            while taken.len() < 2 {
                receive(&mut kernel, true, &mut taken);
            }
            kernel.nic.return_buffer(taken[1].buffer).unwrap();
        }
    });
}

#[test]
fn who_will_be_interrupted_or_has_stopped_sees_no_frames() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        while kernel.nic.receive_pieces(true, 9, &mut |_| ()) != Ok(0) {}
        kernel.model.arrive(&frame(1, 100));
        kernel.model.settle();
        assert!(!kernel.nic.has_received());
        kernel.sleep(Events::RECEIVE);
        assert!(kernel.nic.has_received());
        kernel.nic.stop();
        assert!(!kernel.nic.has_received());
    });
}

#[test]
fn both_ways_share_their_contexts() {
    let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
    let bytes = Flow::number(1).tcp(1, 0x10, &payload(100));
    for _ in 0..3 {
        let small = kernel.build(&bytes);
        kernel
            .outcome(small, bytes.len(), None, &CHECKSUMS)
            .0
            .unwrap();
        let large = kernel.build_large(&bytes);
        kernel
            .outcome(large, bytes.len(), None, &CHECKSUMS)
            .0
            .unwrap();
    }
    assert_eq!(kernel.counters()["tx_contexts"], 1);
}

#[test]
fn what_only_looks_usual_goes_the_long_way() {
    let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
    // What lies around a frame, from others before it, looks like headers too.
    let all = usize::from(kernel.nic.frame_area().memory.small.0);
    let mut numbers = vec![0; all];
    assert_eq!(kernel.nic.take_buffers(60, &mut numbers), Ok(all));
    let mut around = [0xff; 2048];
    around[2044..2046].copy_from_slice(&[0x08, 0x00]);
    for buffer in numbers {
        kernel.nic.fill_buffer(buffer, &around);
        kernel.nic.drop_buffer(buffer).unwrap();
    }
    let flow = Flow::number(1);
    let with = |mut bytes: Vec<u8>, changes: &[(usize, u8)]| {
        for &(at, value) in changes {
            bytes[at] = value;
        }
        bytes
    };
    let datagram = flow.udp(&payload(98));
    let segment = flow.tcp(1, 0x10, &payload(600));
    for (bytes, what) in [
        (
            with(datagram.clone(), &[(12, 0), (13, 0), (14, 0)]),
            "neither EtherType nor version",
        ),
        (
            with(
                datagram.clone(),
                &[(12, 0xf7), (13, 0xff), (14, 0), (15, 0)],
            ),
            "an EtherType whose bits are opposite",
        ),
        (
            with(datagram.clone(), &[(0, 0), (1, 140 - 14), (7, 17)]),
            "stations whose names look like a header",
        ),
        (
            with(flow.udp(&payload(420 - 42)), &[(16, 0), (17, 30)]),
            "a packet much shorter than its frame",
        ),
        (
            with(segment.clone(), &[(22, 0x50), (46, 4 << 4)]),
            "a TCP header shorter than any",
        ),
    ] {
        for options in [CHECKSUMS, SendOptions::default()] {
            let small = kernel.build(&bytes);
            let short = kernel.outcome(small, bytes.len(), None, &options);
            let large = kernel.build_large(&bytes);
            let long = kernel.outcome(large, bytes.len(), None, &options);
            assert_eq!(short, long, "{what}");
        }
    }
}

#[test]
fn what_comes_while_the_rings_are_armed_is_told_with_what_came_before() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut rng = Rng::new(place.seed);
        for number in 0..400 {
            for _ in 0..rng.below(8) {
                kernel.model.arrive(&frame(number, 60));
            }
            // As after an interrupt.
            kernel.nic.silence_receive();
            let max = 2 + rng.below(4);
            let mut buffers = Vec::new();
            let count = kernel
                .nic
                .receive_pieces(true, max, &mut |piece| buffers.push(piece.buffer));
            assert_eq!(count, Ok(buffers.len()));
            assert!(buffers.len() <= max);
            kernel.nic.return_buffers(&buffers).unwrap();
        }
    });
}
