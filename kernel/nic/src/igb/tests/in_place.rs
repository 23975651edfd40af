//! Frames built and parsed where the card has them.

use super::frames::{Flow, frame, payload};
use super::offload::{CHECKSUMS, cut};
use super::{Config, Kernel, everywhere, here, tiny};
use crate::igb::FRAME_JUMBO;
use crate::model::Rng;
use crate::model::igb::Defects;
use crate::{Bus, BusAddr, Error, Events, FrameBuffers, Nic, Piece, SendOptions, Tail};
use std::vec;
use std::vec::Vec;

impl Kernel {
    /// As a process does that has the buffer.
    pub(super) fn build(&mut self, bytes: &[u8]) -> u16 {
        for _ in 0..100 {
            match self.nic.take_buffer(bytes.len()) {
                Ok(buffer) => {
                    let memory = self.nic.frame_area();
                    let (offset, room) = memory.buffer(buffer).unwrap();
                    assert!(bytes.len() <= room);
                    self.model.bus().copy_in(offset, bytes);
                    return buffer;
                }
                Err(Error::WouldBlock) => self.sleep(Events::TRANSMIT_SPACE),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("woken again and again for nothing");
    }

    fn send_built(&mut self, buffer: u16, len: usize, tail: Option<Tail>, options: &SendOptions) {
        for _ in 0..100 {
            match self.nic.send_buffer(buffer, len, tail, options) {
                Ok(()) => return,
                Err(Error::WouldBlock) => self.sleep(Events::TRANSMIT_SPACE),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("woken again and again for nothing");
    }

    /// Takes so many small buffers, or all that there are.
    fn take_all(&mut self, count: usize) -> Vec<u16> {
        let mut numbers = vec![0; count];
        let taken = self.nic.take_buffers(60, &mut numbers).unwrap();
        numbers.truncate(taken);
        numbers
    }

    pub(super) fn read(&mut self, piece: &Piece) -> Vec<u8> {
        let mut bytes = vec![0; piece.len];
        let offset = self.nic.frame_area().receive.start + piece.offset;
        self.model.bus().copy_out(offset, &mut bytes);
        bytes
    }

    /// The pieces of the next frame; `None` if there is none.
    fn lend(&mut self, arm: bool) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        loop {
            match self.nic.receive_piece(arm) {
                Ok(piece) => pieces.push(piece),
                Err(Error::WouldBlock) => {
                    assert!(pieces.is_empty(), "half a frame");
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
            if !pieces[pieces.len() - 1].more {
                return Some(pieces);
            }
        }
    }
}

#[test]
fn segments_are_cut_from_where_the_frame_was_built() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut expected = Vec::new();
        let flow = Flow::number(3);
        for (number, flags) in [0x10, 0x11, 0x19, 0x10, 0x11].into_iter().enumerate() {
            let data = payload(20_000 + number);
            let bytes = flow.tcp(7, flags & !8, &data);
            let buffer = kernel.build(&bytes);
            let options = SendOptions {
                segment_size: 1400,
                ..CHECKSUMS
            };
            kernel.send_built(buffer, bytes.len(), None, &options);
            expected.extend(cut(&flow, 7, flags & !8, &data, 1400));
        }
        kernel.nic.flush().unwrap();
        let mut sent = Vec::new();
        for _ in 0..5 {
            sent.extend(kernel.sent());
        }
        let expected: Vec<_> = expected.iter().map(|frame| kernel.on_wire(frame)).collect();
        assert_eq!(sent.len(), expected.len());
        assert!(sent == expected);
    });
}

#[test]
fn a_tail_is_sent_from_where_it_lies() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        // Somewhere the card can reach: a buffer that nobody sends from.
        let data = payload(40_000);
        let file = kernel.build(&data);
        let (offset, _) = kernel.nic.frame_area().buffer(file).unwrap();
        let address = kernel.model.bus().bus_addr(offset);
        let flow = Flow::number(1);
        let whole = flow.tcp(9, 0x10, &data);
        let head = whole.len() - data.len();
        for len in [1, 1000, 1400, 40_000] {
            let cut_size = if len > 1400 { 1400 } else { 0 };
            let whole = flow.tcp(9, 0x10, &data[..len]);
            let buffer = kernel.build(&whole[..head]);
            let options = SendOptions {
                segment_size: cut_size,
                ..CHECKSUMS
            };
            kernel.send_built(buffer, head, Some(Tail { address, len }), &options);
            kernel.nic.flush().unwrap();
            let expected = match cut_size {
                0 => vec![flow.finished(whole)],
                size => cut(&flow, 9, 0x10, &data[..len], size.into()),
            };
            let expected: Vec<_> = expected.iter().map(|frame| kernel.on_wire(frame)).collect();
            let mut sent = Vec::new();
            for _ in 0..3 {
                sent.extend(kernel.sent());
            }
            assert_eq!(sent, expected, "{len}");
        }
        // FIN cannot be kept out of the cutting here.
        let finished = flow.tcp(9, 0x11, &data);
        let buffer = kernel.build(&finished[..head]);
        let options = SendOptions {
            segment_size: 1400,
            ..CHECKSUMS
        };
        let tail = |address, len| {
            Some(Tail {
                address: BusAddr(address),
                len,
            })
        };
        for (bad, error) in [
            (tail(address.0, 40_000), Error::BadHeaders),
            (tail(address.0, 0), Error::BadLength { len: head }),
            (
                tail(address.0, 70_000),
                Error::BadLength { len: head + 70_000 },
            ),
        ] {
            let refused = kernel.nic.send_buffer(buffer, head, bad, &options);
            assert_eq!(refused, Err(error));
        }
        let (plain, endless) = (SendOptions::default(), tail(address.0, usize::MAX));
        let refused = kernel.nic.send_buffer(buffer, head, endless, &plain);
        assert_eq!(refused, Err(Error::BadLength { len: usize::MAX }));
        kernel.nic.drop_buffer(buffer).unwrap();
    });
}

#[test]
fn frames_are_written_and_read_where_they_lie() {
    let mut kernel = Kernel::tiny(here());
    let bytes = frame(1, 100);
    let mut numbers = [0; 2];
    assert_eq!(kernel.nic.take_buffers(100, &mut numbers), Ok(2));
    for buffer in numbers {
        // No further than the buffer reaches.
        kernel.nic.fill_buffer(buffer, &[0xee; 3000]);
    }
    for buffer in numbers {
        kernel.nic.fill_buffer(buffer, &bytes);
        kernel.send_built(buffer, 100, None, &SendOptions::default());
    }
    kernel.nic.flush().unwrap();
    assert_eq!(kernel.sent(), [&bytes[..]; 2]);
    for number in 2..6 {
        kernel.model.arrive(&frame(number, 200));
        kernel.take();
        let piece = kernel.nic.receive_piece(true).unwrap();
        let mut read = [0; 200];
        kernel.nic.read_received(piece.offset, &mut read);
        assert_eq!(read[..], frame(number, 200));
    }
}

#[test]
fn lent_pieces_stay_while_others_come_and_return_in_any_order() {
    everywhere(3, |place| {
        let config = Config {
            frame_max: FRAME_JUMBO,
            ..tiny(place.mode)
        };
        let mut kernel = Kernel::new(place, config);
        let mut rng = Rng::new(place.seed);
        let mut held: Vec<(Piece, Vec<u8>)> = Vec::new();
        let (mut number, mut taken) = (0, 0);
        let mut whole: Vec<Vec<u8>> = Vec::new();
        for _ in 0..3000 {
            if taken >= 250 {
                break;
            }
            if rng.one_in(3) {
                let len = if rng.one_in(4) { 8000 } else { 1455 };
                let bytes = frame(number, 60 + rng.below(len));
                kernel.model.arrive(&bytes);
                number += 1;
            }
            kernel.model.idle(rng.below(60) as u64);
            while let Some(pieces) = kernel.lend(rng.one_in(2)) {
                let first = held.len();
                for piece in pieces {
                    let bytes = kernel.read(&piece);
                    held.push((piece, bytes));
                    taken += 1;
                }
                let pieces = held[first..].iter().map(|(_, bytes)| &bytes[..]);
                whole.push(pieces.collect::<Vec<_>>().concat());
            }
            while held.len() > 5 || !held.is_empty() && rng.one_in(2) {
                let (piece, bytes) = held.swap_remove(rng.below(held.len()));
                // Nobody has written to it meanwhile: the model watches, and here it shows.
                assert!(kernel.read(&piece) == bytes);
                let buffer = piece.buffer;
                kernel.nic.return_buffer(buffer).unwrap();
                let again = kernel.nic.return_buffer(buffer);
                assert_eq!(again, Err(Error::BadBuffer { buffer }));
            }
        }
        assert!(taken >= 250, "only {taken}");
        assert!(kernel.model.take_delivered().starts_with(&whole));
    });
}

#[test]
fn a_sleeper_is_woken_only_if_he_armed() {
    everywhere(3, |place| {
        let mut kernel = Kernel::tiny(place);
        while kernel.lend(true).is_some() {}
        kernel.take();
        for number in 0..50 {
            kernel.model.arrive(&frame(number, 100));
            kernel.sleep(Events::RECEIVE);
            let pieces = loop {
                if let Some(pieces) = kernel.lend(true) {
                    break pieces;
                }
                kernel.sleep(Events::RECEIVE);
            };
            assert_eq!(kernel.read(&pieces[0]), frame(number, 100));
            kernel.nic.return_buffer(pieces[0].buffer).unwrap();
            // Silent until he says that he will sleep.
            while kernel.lend(true).is_some() {}
        }
    });
}

#[test]
fn what_is_held_stays_held_across_a_reset_and_not_across_owners() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.model.arrive(&frame(1, 500));
        kernel.sleep(Events::RECEIVE);
        let piece = kernel.lend(true).unwrap()[0];
        let buffer = kernel.build(&frame(2, 90));
        // It is in a ring, of which the card has not been told.
        let lost = kernel.build(&frame(3, 90));
        kernel.send_built(lost, 90, None, &SendOptions::default());
        kernel.model.set_defects(Defects {
            gone: true,
            ..Defects::default()
        });
        kernel.nic.tick();
        kernel.model.set_defects(Defects::default());
        kernel.nic.tick();
        kernel.connect();
        let all = usize::from(kernel.nic.frame_area().memory.small.0);
        let free = kernel.take_all(all);
        assert_eq!(free.len(), all - 1, "but the one that is held");
        for number in free {
            kernel.nic.drop_buffer(number).unwrap();
        }
        for number in 10..80 {
            kernel.model.arrive(&frame(number, 300));
            assert_eq!(kernel.next().0, frame(number, 300));
        }
        assert!(kernel.read(&piece) == frame(1, 500));
        kernel.model.take_sent();
        kernel.send_built(buffer, 90, None, &SendOptions::default());
        kernel.nic.flush().unwrap();
        assert_eq!(kernel.sent(), [kernel.on_wire(&frame(2, 90))]);
        kernel.build(&frame(4, 90));
        kernel.nic.stop();
        kernel.nic.start().unwrap();
        assert_eq!(kernel.take_all(all).len(), all);
        let buffer = piece.buffer;
        let stale = kernel.nic.return_buffer(buffer);
        assert_eq!(stale, Err(Error::BadBuffer { buffer }));
    });
}

#[test]
fn numbers_that_are_not_held_are_refused() {
    let mut kernel = Kernel::tiny(here());
    let held = kernel.build(&frame(1, 60));
    let plain = SendOptions::default();
    for buffer in (0..100).chain([u16::MAX]).filter(|&buffer| buffer != held) {
        let refused = Err(Error::BadBuffer { buffer });
        assert_eq!(kernel.nic.send_buffer(buffer, 60, None, &plain), refused);
        assert_eq!(kernel.nic.drop_buffer(buffer), refused);
        assert_eq!(kernel.nic.return_buffer(buffer), refused);
    }
    for len in [0, 2049, 65_536, usize::MAX] {
        let refused = kernel.nic.send_buffer(held, len, None, &plain);
        assert_eq!(refused, Err(Error::BadLength { len }));
    }
    assert!(matches!(
        kernel.nic.take_buffer(0),
        Err(Error::BadLength { .. })
    ));
    assert!(matches!(
        kernel.nic.take_buffer(65_537),
        Err(Error::BadLength { .. })
    ));
    kernel.send_built(held, 60, None, &plain);
    let twice = kernel.nic.send_buffer(held, 60, None, &plain);
    assert_eq!(twice, Err(Error::BadBuffer { buffer: held }));
    kernel.nic.flush().unwrap();
    assert_eq!(kernel.sent().len(), 1);
}

#[test]
fn all_buffers_come_back() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut rng = Rng::new(place.seed);
        for number in 0..300u16 {
            let large = rng.one_in(8);
            let data = payload(if large { 9_000 } else { 200 });
            let bytes = Flow::number(number % 9).tcp(1, 0x10, &data);
            let buffer = kernel.build(&bytes);
            if rng.one_in(10) {
                kernel.nic.drop_buffer(buffer).unwrap();
                continue;
            }
            let options = SendOptions {
                segment_size: if large { 1000 } else { 0 },
                ..CHECKSUMS
            };
            kernel.send_built(buffer, bytes.len(), None, &options);
            if rng.one_in(4) {
                kernel.nic.flush().unwrap();
            }
        }
        kernel.nic.flush().unwrap();
        kernel.model.settle();
        // What can be taken at last is all there is.
        let all = |kernel: &mut Kernel, len| {
            core::iter::from_fn(|| kernel.nic.take_buffer(len).ok()).count()
        };
        assert_eq!(all(&mut kernel, 100), 20);
        assert_eq!(all(&mut kernel, 10_000), 2);
    });
}

#[test]
fn a_long_frame_is_lent_in_pieces_that_say_so() {
    everywhere(1, |place| {
        let config = Config {
            frame_max: 9014,
            receive_ring: 32,
            receive_buffers: 30,
            ..tiny(place.mode)
        };
        let mut kernel = Kernel::new(place, config);
        for (len, expected) in [
            (60, &[(false, false)][..]),
            (2049, &[(true, false), (false, true)]),
            (6000, &[(true, false), (true, true), (false, true)]),
        ] {
            let bytes = frame(len as u64, len);
            kernel.model.arrive(&bytes);
            kernel.model.settle();
            let pieces = kernel.lend(false).unwrap();
            let told: Vec<_> = pieces.iter().map(|it| (it.more, it.continues)).collect();
            assert_eq!(told, expected);
            let read: Vec<_> = pieces.iter().map(|piece| kernel.read(piece)).collect();
            assert_eq!(read.concat(), bytes);
            for piece in pieces {
                kernel.nic.return_buffer(piece.buffer).unwrap();
            }
        }
    });
}

#[test]
fn what_is_lent_is_judged_as_what_is_copied() {
    everywhere(1, |place| {
        let config = tiny(place.mode);
        let flow = Flow::number(1);
        let good = flow.finished(flow.udp(&payload(100)));
        let mut bad_udp = good.clone();
        bad_udp[60] ^= 1;
        let mut bad_ip = good.clone();
        bad_ip[22] ^= 1;
        let longest = frame(1, 1514);
        // A tag of another kind stays in the frame; silicon drops what is too long then.
        let [too_long, shorter] = [longest.clone(), frame(2, 1510)].map(|frame| {
            let mut tagged = super::frames::tagged(&frame, 5);
            tagged[12..14].copy_from_slice(&[0x88, 0xa8]);
            tagged
        });
        let arrive = |kernel: &mut Kernel| {
            for frame in [&bad_udp, &bad_ip, &good, &longest, &too_long, &shorter] {
                kernel.model.arrive(frame);
            }
            kernel.model.arrive_damaged(&good);
            kernel.model.arrive(&good);
            kernel.model.settle();
        };
        let (mut lends, mut copies) = (Kernel::new(place, config), Kernel::new(place, config));
        arrive(&mut lends);
        arrive(&mut copies);
        let mut lent = Vec::new();
        lends
            .nic
            .receive_pieces(false, 20, &mut |piece| lent.push(*piece))
            .unwrap();
        let lent: Vec<_> = lent
            .iter()
            .map(|piece| {
                assert!(!piece.more && !piece.continues);
                (lends.read(piece), piece.info)
            })
            .collect();
        let copied: Vec<_> = core::iter::from_fn(|| copies.receive().ok()).collect();
        assert!(lent == copied);
        // A wrong sum is told, a frame that is damaged or too long is dropped, each in its counter.
        let frames: Vec<_> = lent.iter().map(|(frame, _)| frame).collect();
        assert!(frames == [&bad_udp, &bad_ip, &good, &longest, &shorter, &good]);
        let dropped = lends.model.dropped();
        let (lends, copies) = (lends.counters(), copies.counters());
        for (name, expected) in [
            ("rx_frames", 6),
            ("rx_descriptors", 8 - dropped),
            ("rx_checksum_errors", 2),
            ("rx_dropped_errors", 1),
            ("rx_dropped_long", 1 - dropped),
            ("rx_octets", 4 * good.len() as u64 + 2 * 1514),
        ] {
            assert_eq!((lends[name], copies[name]), (expected, expected), "{name}");
        }
    });
}

#[test]
fn a_reader_who_keeps_nearly_all_buffers_of_a_ring_hears_of_the_next_frame() {
    everywhere(1, |place| {
        for queue in 0..3 {
            let mut kernel = Kernel::tiny(place);
            let flow = (0..).map(Flow::number).find(|flow| {
                kernel.model.arrive(&flow.finished(flow.udp(&[1; 60])));
                kernel.next().1.queue == queue
            });
            let bytes = flow.map(|flow| flow.finished(flow.udp(&[2; 60]))).unwrap();
            let mut held = Vec::new();
            while held.len() < 13 {
                kernel.model.settle();
                kernel.model.arrive(&bytes);
                kernel.model.settle();
                while kernel.model.arriving() > 0 {
                    kernel.model.idle(8);
                }
                kernel.take();
                while let Ok(piece) = kernel.nic.receive_piece(true) {
                    held.push(piece.buffer);
                }
            }
            let doorbells = kernel.counters()["rx_doorbells"];
            // Fewer than are worth telling the card of, unless it has no others.
            kernel.nic.return_buffers(&held[..2]).unwrap();
            while kernel.lend(true).is_some() {}
            kernel.model.settle();
            kernel.model.arrive(&bytes);
            kernel.sleep(Events::RECEIVE);
            let pieces = kernel.lend(true).expect("it was woken for a frame");
            assert_eq!(kernel.read(&pieces[0]), bytes);
            assert_eq!(kernel.counters()["rx_doorbells"], doorbells + 1);
            // The same for one who copies frames out of the few that are left.
            kernel.nic.return_buffer(pieces[0].buffer).unwrap();
            for _ in 0..9 {
                kernel.drain();
                kernel.model.settle();
                kernel.model.arrive(&bytes);
                assert_eq!(kernel.next().0, bytes);
            }
            // While the card has others, it is told of several at a time.
            kernel.nic.return_buffers(&held[2..]).unwrap();
            kernel.drain();
            let doorbells = kernel.counters()["rx_doorbells"];
            kernel.model.settle();
            kernel.model.arrive(&bytes);
            kernel.next();
            kernel.drain();
            assert_eq!(kernel.counters()["rx_doorbells"], doorbells);
        }
    });
}
