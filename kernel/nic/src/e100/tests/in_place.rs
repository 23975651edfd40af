//! Frames built and parsed where the card has them.

use super::{Kernel, everywhere, frame};
use crate::Bus;
use crate::e100::layout::{FRAMES, RFDS, SHORT};
use crate::model::e100::{Behaviour, Defects};
use crate::model::{Pace, Rng};
use crate::{BusAddr, Error, Events, FrameBuffers, Nic, Outgoing, Piece, SendOptions, Tail};
use std::vec;
use std::vec::Vec;

const PLAIN: SendOptions = SendOptions {
    checksums: false,
    segment_size: 0,
    vlan: None,
};

impl Kernel {
    /// As a process does that has the buffer.
    fn build(&mut self, bytes: &[u8]) -> u16 {
        loop {
            match self.nic.take_buffer(bytes.len()) {
                Ok(buffer) => {
                    let (offset, _) = FRAMES.buffer(buffer).unwrap();
                    self.model.bus().copy_in(offset, bytes);
                    return buffer;
                }
                Err(Error::WouldBlock) => self.sleep(Events::TRANSMIT_SPACE),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn send_built(&mut self, buffer: u16, len: usize, tail: Option<Tail>) {
        while let Err(error) = self.nic.send_buffer(buffer, len, tail, &PLAIN) {
            assert_eq!(error, Error::WouldBlock);
            self.sleep(Events::TRANSMIT_SPACE);
        }
    }

    fn read(&mut self, piece: &Piece) -> Vec<u8> {
        let mut bytes = vec![0; piece.len];
        let offset = FRAMES.receive.start + piece.offset;
        self.model.bus().copy_out(offset, &mut bytes);
        bytes
    }
}

#[test]
fn frames_are_sent_from_where_they_were_built() {
    everywhere(10, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        let mut rng = Rng::new(seed);
        let frames: Vec<_> = (0..150)
            .map(|number| frame(number, 1 + rng.below(1514)))
            .collect();
        for bytes in &frames {
            let buffer = kernel.build(bytes);
            kernel.send_built(buffer, bytes.len(), None);
            if rng.one_in(3) {
                kernel.nic.flush().unwrap();
            }
        }
        kernel.nic.flush().unwrap();
        kernel.model.settle();
        let sent = kernel.model.take_sent();
        let padded = |bytes: &Vec<u8>| {
            let mut bytes = bytes.clone();
            let least = sent.iter().map(Vec::len).min().unwrap().min(60);
            bytes.resize(bytes.len().max(least), 0);
            bytes
        };
        assert_eq!(sent.len(), frames.len());
        for (sent, built) in sent.iter().zip(frames.iter().map(padded)) {
            assert!(sent.starts_with(&built) || *sent == built);
        }
    });
}

#[test]
fn a_short_frame_is_copied_and_its_buffer_free_at_once() {
    everywhere(10, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        let mut rng = Rng::new(seed);
        let mut frames = Vec::new();
        for number in 0..100 {
            let bytes = frame(number, SHORT - 2 + rng.below(4));
            let buffer = kernel.build(&bytes);
            kernel.send_built(buffer, bytes.len(), None);
            if bytes.len() <= SHORT {
                // Whoever gets it next does not change the frame.
                let mut free = [0; FRAMES.memory.small.0 as usize];
                let count = kernel.nic.take_buffers(SHORT, &mut free).unwrap();
                let taken = &free[..count];
                assert!(taken.contains(&buffer), "{buffer} is not free");
                for &buffer in taken {
                    let (offset, _) = FRAMES.buffer(buffer).unwrap();
                    kernel.model.bus().copy_in(offset, &frame(99, SHORT));
                    kernel.nic.drop_buffer(buffer).unwrap();
                }
            }
            let again = kernel.nic.send_buffer(buffer, bytes.len(), None, &PLAIN);
            assert_eq!(again, Err(Error::BadBuffer { buffer }));
            frames.push(bytes);
        }
        kernel.nic.flush().unwrap();
        kernel.model.settle();
        assert_eq!(kernel.model.take_sent(), frames);
        let buffer = kernel.build(&[0; SHORT]);
        let offload = SendOptions {
            checksums: true,
            ..PLAIN
        };
        let refused = kernel.nic.send_buffer(buffer, SHORT, None, &offload);
        assert_eq!(refused, Err(Error::Unsupported));
        let refused = kernel.nic.send_buffer(buffer, 0, None, &PLAIN);
        assert_eq!(refused, Err(Error::BadLength { len: 0 }));
        kernel.nic.drop_buffer(buffer).unwrap();
    });
}

#[test]
fn a_tail_is_sent_from_where_it_lies() {
    everywhere(4, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        // Somewhere the card can reach: a buffer that nobody sends from.
        let file = frame(99, 1400);
        let place = kernel.build(&file);
        let (offset, _) = FRAMES.buffer(place).unwrap();
        for number in 0..60 {
            let head = frame(number, 42);
            let buffer = kernel.build(&head);
            let (skip, len) = (number as usize * 3, 1000 - number as usize);
            let tail = Tail {
                address: BusAddr(kernel.model.bus().bus_addr(offset).0 + skip as u64),
                len,
            };
            kernel.send_built(buffer, head.len(), Some(tail));
            kernel.nic.flush().unwrap();
            kernel.model.settle();
            let expected = [&head[..], &file[skip..skip + len]].concat();
            assert_eq!(kernel.model.take_sent(), [expected]);
        }
        let buffer = kernel.build(&[0; 20]);
        let tail = |address, len| {
            Some(Tail {
                address: BusAddr(address),
                len,
            })
        };
        let high = kernel
            .nic
            .send_buffer(buffer, 20, tail((1 << 32) - 5, 6), &PLAIN);
        assert!(matches!(high, Err(Error::ArenaUnreachable { .. })));
        for bad in [
            tail(0x1000, 1495),
            tail(0x1000, 0),
            tail(0x1000, usize::MAX),
        ] {
            let refused = kernel.nic.send_buffer(buffer, 20, bad, &PLAIN);
            assert!(matches!(refused, Err(Error::BadLength { .. })), "{bad:?}");
        }
        kernel.nic.drop_buffer(buffer).unwrap();
    });
}

#[test]
fn lent_frames_stay_while_others_come_and_return_in_any_order() {
    everywhere(6, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        let mut rng = Rng::new(seed);
        let mut held: Vec<(Piece, Vec<u8>)> = Vec::new();
        let mut number = 0;
        let mut taken = 0;
        while taken < 900 {
            for _ in 0..rng.below(20) {
                kernel.model.arrive(&frame(number, 60 + rng.below(1455)));
                number += 1;
            }
            kernel.model.idle(rng.below(200) as u64);
            loop {
                match kernel.nic.receive_piece(rng.one_in(2)) {
                    Ok(piece) => {
                        let bytes = kernel.read(&piece);
                        held.push((piece, bytes));
                        taken += 1;
                    }
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            while held.len() > 100 || !held.is_empty() && rng.one_in(2) {
                let (piece, bytes) = held.swap_remove(rng.below(held.len()));
                // Nobody has written to it meanwhile.
                assert!(kernel.read(&piece) == bytes);
                kernel.nic.return_buffer(piece.buffer).unwrap();
                let again = kernel.nic.return_buffer(piece.buffer);
                assert_eq!(
                    again,
                    Err(Error::BadBuffer {
                        buffer: piece.buffer
                    })
                );
            }
        }
        for (piece, _) in held {
            kernel.nic.return_buffer(piece.buffer).unwrap();
        }
        while kernel.model.arriving() > 0 || !kernel.drain().is_empty() {
            kernel.model.settle();
        }
        kernel.take();
        kernel.drain();
        kernel.model.arrive(&frame(7, 100));
        assert_eq!(kernel.next(), frame(7, 100));
    });
}

#[test]
fn a_ring_that_is_lent_out_goes_on_when_frames_return() {
    everywhere(3, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        let mut held = Vec::new();
        for number in 0..RFDS as u64 {
            kernel.model.arrive(&frame(number, 60));
            kernel.model.settle();
            held.push(kernel.nic.receive_piece(true).unwrap());
        }
        kernel.model.arrive(&frame(1000, 60));
        kernel.model.settle();
        assert_eq!(kernel.nic.receive_piece(true), Err(Error::WouldBlock));
        // That it dropped one may have woken us.
        kernel.take();
        assert_eq!(kernel.nic.receive_piece(true), Err(Error::WouldBlock));
        // One is enough, as long as it is the oldest.
        kernel.nic.return_buffer(held[5].buffer).unwrap();
        kernel.nic.return_buffer(held[0].buffer).unwrap();
        kernel.model.settle();
        kernel.model.arrive(&frame(2000, 60));
        kernel.sleep(Events::RECEIVE);
        let mut piece = kernel.nic.receive_piece(true).unwrap();
        if kernel.read(&piece) == frame(1000, 60) {
            // A card may have kept it until there was room.
            kernel.nic.return_buffer(held[1].buffer).unwrap();
            kernel.sleep(Events::RECEIVE);
            piece = kernel.nic.receive_piece(true).unwrap();
        }
        assert_eq!(kernel.read(&piece), frame(2000, 60));
    });
}

#[test]
fn what_is_held_stays_held_across_a_reset_and_not_across_owners() {
    everywhere(3, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        for number in 0..10 {
            kernel.model.arrive(&frame(number, 80));
        }
        kernel.model.settle();
        let pieces: Vec<_> = (0..5)
            .map(|_| kernel.nic.receive_piece(true).unwrap())
            .collect();
        let built = kernel.build(&frame(50, 90));
        kernel.model.set_defects(Defects {
            gone: true,
            ..Defects::default()
        });
        kernel.nic.tick();
        kernel.model.set_defects(Defects::default());
        // They may come back while it is broken, too.
        kernel.nic.return_buffer(pieces[1].buffer).unwrap();
        kernel.nic.tick();
        kernel.model.settle();
        for (number, piece) in pieces.iter().enumerate() {
            if number != 1 {
                assert!(kernel.read(piece) == frame(number as u64, 80));
            }
        }
        // As long as the oldest is held, no more than a ring of them can come.
        for number in 100..100 + RFDS as u64 - 5 {
            kernel.model.arrive(&frame(number, 60));
            kernel.model.settle();
            assert_eq!(kernel.drain().last(), Some(&frame(number, 60)));
        }
        kernel.model.take_sent();
        kernel.send_built(built, 90, None);
        kernel.nic.flush().unwrap();
        kernel.model.settle();
        assert_eq!(kernel.model.take_sent(), [frame(50, 90)]);
        for piece in [&pieces[4], &pieces[0], &pieces[3]] {
            kernel.nic.return_buffer(piece.buffer).unwrap();
        }
        kernel.nic.stop();
        kernel.nic.start().unwrap();
        kernel.model.settle();
        let buffer = pieces[2].buffer;
        assert_eq!(
            kernel.nic.return_buffer(buffer),
            Err(Error::BadBuffer { buffer })
        );
    });
}

#[test]
fn numbers_that_are_not_held_are_refused() {
    everywhere(1, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        let held = kernel.build(&frame(1, 60));
        for buffer in (0..70).chain([u16::MAX]).filter(|&buffer| buffer != held) {
            let refused = Err(Error::BadBuffer { buffer });
            assert_eq!(kernel.nic.send_buffer(buffer, 60, None, &PLAIN), refused);
            assert_eq!(kernel.nic.drop_buffer(buffer), refused);
            assert_eq!(kernel.nic.return_buffer(buffer), refused);
        }
        for len in [0, 1515, 2048, usize::MAX] {
            let refused = kernel.nic.send_buffer(held, len, None, &PLAIN);
            assert_eq!(refused, Err(Error::BadLength { len }));
        }
        let work = SendOptions {
            checksums: true,
            ..PLAIN
        };
        let refused = kernel.nic.send_buffer(held, 60, None, &work);
        assert_eq!(refused, Err(Error::Unsupported));
        kernel.send_built(held, 60, None);
        let twice = kernel.nic.send_buffer(held, 60, None, &PLAIN);
        assert_eq!(twice, Err(Error::BadBuffer { buffer: held }));
        kernel.nic.flush().unwrap();
        kernel.model.settle();
        assert_eq!(kernel.model.take_sent().len(), 1);
    });
}

#[test]
fn many_frames_come_and_return_at_once() {
    everywhere(6, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        let mut rng = Rng::new(seed);
        let mut held: Vec<(Piece, Vec<u8>)> = Vec::new();
        let (mut number, mut next) = (0, 0);
        let mut wrong = 0;
        while next < 900 {
            for _ in 0..rng.below(20) {
                kernel.model.arrive(&frame(number, 60 + rng.below(1455)));
                number += 1;
            }
            kernel.model.idle(rng.below(200) as u64);
            let (max, arm) = (1 + rng.below(70), rng.one_in(2));
            let mut pieces = Vec::new();
            let count = kernel
                .nic
                .receive_pieces(arm, max, &mut |piece| pieces.push(*piece));
            assert_eq!(count, Ok(pieces.len()));
            assert!(pieces.len() <= max);
            next += pieces.len();
            for piece in pieces {
                let bytes = kernel.read(&piece);
                held.push((piece, bytes));
            }
            if held.len() > 100 || rng.one_in(2) {
                let mut back = Vec::new();
                for _ in 0..rng.below(held.len() + 1) {
                    let (piece, bytes) = held.remove(rng.below(held.len().min(3)));
                    assert!(kernel.read(&piece) == bytes);
                    back.push(piece.buffer);
                }
                if rng.one_in(4) && !back.is_empty() {
                    // What follows one that is not held stays with who has it.
                    let at = rng.below(back.len());
                    let buffer = back[at];
                    back.insert(at, buffer);
                    let refused = kernel.nic.return_buffers(&back);
                    assert_eq!(refused, Err(Error::BadBuffer { buffer }));
                    back.drain(..at + 2);
                    wrong += 1;
                }
                kernel.nic.return_buffers(&back).unwrap();
            }
        }
        assert!(wrong > 0);
    });
}

#[test]
fn a_whole_ring_returns_at_once() {
    everywhere(3, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        for lap in 0..3 {
            let mut held = Vec::new();
            for number in 0..RFDS as u64 {
                kernel.model.arrive(&frame(lap * 1000 + number, 60));
                kernel.model.settle();
                let mut take = |piece: &Piece| held.push(piece.buffer);
                kernel.nic.receive_pieces(true, 10, &mut take).unwrap();
            }
            assert_eq!(held.len(), RFDS);
            assert!(!kernel.nic.has_received());
            // That the ring is full may have woken us.
            kernel.take();
            assert_eq!(kernel.nic.receive_pieces(true, 1, &mut |_| ()), Ok(0));
            kernel.nic.return_buffers(&held).unwrap();
            kernel.model.settle();
            kernel.model.arrive(&frame(7000 + lap, 60));
            kernel.sleep(Events::RECEIVE);
            assert_eq!(kernel.drain().last(), Some(&frame(7000 + lap, 60)));
        }
    });
}

#[test]
fn frames_are_sent_in_order_until_one_fails() {
    everywhere(5, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        let mut rng = Rng::new(seed);
        let mut expected = Vec::new();
        let mut bad = 0;
        for _ in 0..40 {
            let mut queued = Vec::new();
            for _ in 0..rng.below(50) {
                let bytes = frame(rng.next(), 60 + rng.below(200));
                let is_bad = rng.one_in(20);
                queued.push(Outgoing {
                    buffer: kernel.build(&bytes),
                    len: if is_bad { 5000 } else { bytes.len() },
                    ..Outgoing::default()
                });
                if !is_bad {
                    expected.push(bytes);
                }
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
                        kernel.nic.drop_buffer(rest[0].buffer).unwrap();
                        rest = &rest[1..];
                        bad += 1;
                    }
                }
            }
            kernel.nic.flush().unwrap();
        }
        kernel.model.settle();
        assert!(bad > 0);
        assert!(kernel.model.take_sent() == expected);
        let counters = kernel.counters();
        assert_eq!(counters["tx_frames"], expected.len() as u64);
        assert_eq!(counters["tx_octets"], expected.concat().len() as u64);
    });
}

#[test]
fn who_looks_all_the_time_sees_frames_and_hears_of_none() {
    everywhere(10, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        for number in 0..300 {
            let mut taken = Vec::new();
            let receive = |kernel: &mut Kernel, arm, taken: &mut Vec<Piece>| {
                let mut take = |piece: &Piece| taken.push(*piece);
                kernel.nic.receive_pieces(arm, 9, &mut take).unwrap()
            };
            while receive(&mut kernel, true, &mut taken) > 0 {}
            kernel.nic.silence_receive();
            // What was on its way when it was silenced.
            kernel.take();
            assert!(!kernel.nic.has_received());
            let bytes = frame(number, 60);
            kernel.model.arrive(&bytes);
            let before = kernel.model.register_accesses();
            for _ in 0..100 {
                if kernel.nic.has_received() {
                    break;
                }
                kernel.model.settle();
            }
            assert!(kernel.nic.has_received());
            assert_eq!(kernel.model.register_accesses(), before);
            assert_eq!(kernel.take(), Events::empty());
            assert_eq!(receive(&mut kernel, false, &mut taken), 1);
            assert!(!kernel.nic.has_received());
            assert_eq!(kernel.read(&taken[0]), bytes);
            // It is heard of when that is asked for again.
            kernel.nic.return_buffer(taken[0].buffer).unwrap();
            assert_eq!(receive(&mut kernel, true, &mut taken), 0);
            kernel.model.arrive(&bytes);
            // A wake-up may come for nothing.
            while taken.len() < 2 {
                kernel.sleep(Events::RECEIVE);
                while receive(&mut kernel, true, &mut taken) > 0 {}
            }
            kernel.nic.return_buffer(taken[1].buffer).unwrap();
        }
    });
}

#[test]
fn tags_are_taken_out_of_frames() {
    everywhere(5, |behaviour, pace, seed| {
        let mut kernel = Kernel::new(behaviour, pace, seed);
        let tagged = |frame: &[u8], tag: u16| {
            let tag = [0x8100, tag].map(u16::to_be_bytes).concat();
            [&frame[..12], &tag, &frame[12..]].concat()
        };
        for (number, tag) in [0, 1, 0x6abc, 0xffff].into_iter().enumerate() {
            for len in [56, 60, 1513, 1514] {
                let whole = frame(number as u64, len);
                // Copied, and where it lies.
                for _ in 0..2 {
                    kernel.model.arrive(&tagged(&whole, tag));
                }
                kernel.model.settle();
                let mut buffer = vec![0; super::FRAME_MAX];
                let (len, info) = kernel.nic.receive(&mut buffer).unwrap();
                assert_eq!((&buffer[..len], info.vlan), (&whole[..], Some(tag)));
                let piece = kernel.nic.receive_piece(true).unwrap();
                assert_eq!(kernel.read(&piece), whole);
                assert_eq!(piece.info.vlan, Some(tag));
                kernel.nic.return_buffer(piece.buffer).unwrap();
            }
            // Without its tag it would be longer than a frame may be.
            kernel.model.arrive(&tagged(&frame(9, 1515), tag));
            // A second tag is none of the driver's business.
            let inner = tagged(&frame(8, 100), 7);
            kernel.model.arrive(&tagged(&inner, tag));
            kernel.model.arrive(&frame(7, 100));
            kernel.model.settle();
            assert_eq!(kernel.drain(), [inner, frame(7, 100)]);
        }
        assert_eq!(kernel.counters()["rx_dropped_long"], 4);
    });
}

/// What is behind a frame in its descriptor is not a part of it.
#[test]
fn a_tag_that_is_not_whole_is_left_where_it_is() {
    for pace in Pace::ALL {
        let mut kernel = Kernel::new(Behaviour::Silicon, pace, 0);
        kernel.model.set_defects(Defects {
            keeps_short: true,
            ..Defects::default()
        });
        let whole = [
            &frame(1, 12)[..],
            &[0x81, 0x00, 0x6a, 0xbc, 0x88, 0xb5, 1, 2],
        ]
        .concat();
        // They leave their bytes behind.
        for _ in 0..RFDS {
            kernel.model.arrive(&whole);
            kernel.next();
        }
        for len in 12..=20 {
            kernel.model.arrive(&whole[..len]);
            kernel.sleep(Events::RECEIVE);
            let mut buffer = vec![0; super::FRAME_MAX];
            let (read, info) = kernel.nic.receive(&mut buffer).unwrap();
            let (expected, tag) = match len {
                0..18 => (whole[..len].to_vec(), None),
                _ => ([&whole[..12], &whole[16..len]].concat(), Some(0x6abc)),
            };
            assert_eq!((&buffer[..read], info.vlan), (&expected[..], tag));
            while kernel.receive().is_ok() {}
        }
    }
}
