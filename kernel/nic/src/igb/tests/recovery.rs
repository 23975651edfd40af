//! Cards that hang, lie, or leave; counters; the self-test.

use super::frames::{Flow, frame, payload};
use super::*;
use crate::FrameBuffers;
use crate::model::igb::Lie;

impl Kernel {
    /// Ticks until the card is well again, then has it prove that.
    fn recover(&mut self) {
        let resets = self.counters()["resets"];
        for _ in 0..5 {
            let events = self.nic.tick();
            if self.nic.flush().is_ok() && self.counters()["resets"] > resets {
                assert!(events.contains(Events::RECEIVE | Events::TRANSMIT_SPACE));
                assert_eq!(self.nic.fault(), None);
                self.connect();
                self.model.take_sent();
                self.model.take_delivered();
                while self.take().contains(Events::RECEIVE) {
                    self.drain();
                }
                self.prove();
                return;
            }
        }
        panic!("no recovery");
    }

    fn prove(&mut self) {
        self.drain();
        for number in 0..40 {
            self.model.arrive(&frame(number, 300));
            assert_eq!(self.next().0, frame(number, 300));
            self.send(&frame(number, 400), false);
        }
        let expected: Vec<_> = (0..40).map(|number| frame(number, 400)).collect();
        assert_eq!(self.sent(), expected);
    }
}

#[test]
fn a_descriptor_that_lies_is_an_error_and_a_reset() {
    everywhere(2, |place| {
        for (lie, lent) in Lie::ALL
            .into_iter()
            .flat_map(|lie| [(lie, false), (lie, true)])
        {
            let mut kernel = Kernel::tiny(place);
            kernel.prove();
            kernel.model.set_defects(Defects {
                lie: Some(lie),
                ..Defects::default()
            });
            kernel.model.arrive(&frame(1, 100));
            kernel.model.settle();
            let received = match lent {
                false => kernel.receive().map(drop),
                // Rings that would interrupt are not looked at.
                true => {
                    kernel.take();
                    kernel.nic.receive_piece(true).map(drop)
                }
            };
            let Err(error) = received else {
                panic!("{lie:?} was believed");
            };
            let len = match lie {
                Lie::Long => 2049,
                Lie::Empty => 0,
                Lie::Gap => 100,
                // The second piece is one too many.
                Lie::Endless => 2 * 2048,
                Lie::Ones => 0xffff,
            };
            assert_eq!(error, Error::BadDescriptor { queue: 0, len }, "{lie:?}");
            // All else fails too until the card is reset, and whoever waits is woken.
            assert_eq!(kernel.nic.send(&frame(1, 60), &PLAIN, false), Err(error));
            assert_eq!(kernel.receive(), Err(error));
            assert_eq!(kernel.nic.take_events(), Events::all());
            kernel.recover();
            assert_eq!(kernel.counters()["bad_descriptors"], 1);
        }
    });
}

#[test]
fn a_head_outside_its_ring_is_an_error_and_a_reset() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        for (head, transmit) in [16, 0x8000_0000, u32::MAX]
            .into_iter()
            .flat_map(|head| [(head, false), (head, true)])
        {
            kernel.model.set_defects(Defects {
                head: Some((head, transmit)),
                ..Defects::default()
            });
            assert_eq!(kernel.nic.tick(), Events::all());
            let error = match head {
                u32::MAX => Error::DeviceGone,
                head => Error::BadHead { queue: 0, head },
            };
            assert_eq!(kernel.nic.flush(), Err(error));
            kernel.model.set_defects(Defects::default());
            kernel.recover();
        }
        assert_eq!(kernel.counters()["bad_descriptors"], 4);
    });
}

#[test]
fn a_hung_transmitter_is_reset_and_goes_on() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.model.set_defects(Defects {
            transmit_dead: true,
            ..Defects::default()
        });
        while kernel.nic.send(&frame(1, 100), &PLAIN, false).is_ok() {}
        assert_eq!(kernel.take(), Events::empty());
        assert_eq!(kernel.nic.tick(), Events::empty());
        assert_eq!(kernel.nic.tick(), Events::empty());
        let events = kernel.nic.tick();
        assert_eq!(events, Events::all());
        kernel.model.set_defects(Defects::default());
        kernel.connect();
        kernel.prove();
        assert_eq!(kernel.counters()["tx_hangs"], 1);
    });
}

#[test]
fn a_transmitter_without_link_is_left_alone() {
    let mut kernel = Kernel::tiny(here());
    kernel.model.set_link(false);
    kernel.sleep(Events::LINK);
    kernel.model.set_defects(Defects {
        transmit_dead: true,
        ..Defects::default()
    });
    while kernel.nic.send(&frame(1, 100), &PLAIN, false).is_ok() {}
    for _ in 0..10 {
        assert_eq!(kernel.nic.tick(), Events::empty());
    }
    assert_eq!(kernel.counters()["tx_hangs"], 0);
}

#[test]
fn a_card_that_leaves_and_comes_back() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.prove();
        kernel.model.set_defects(Defects {
            gone: true,
            ..Defects::default()
        });
        // Found out by whoever looks first; what is read then is no count.
        let before = kernel.counters();
        assert!(before.values().all(|&value| value < u32::MAX.into()));
        assert_eq!(kernel.nic.link(), Link::default());
        assert_eq!(kernel.receive(), Err(Error::DeviceGone));
        for _ in 0..3 {
            kernel.nic.tick();
            assert_eq!(kernel.nic.fault(), Some(Error::DeviceGone));
            assert_eq!(
                kernel.nic.send(&frame(1, 60), &PLAIN, false),
                Err(Error::DeviceGone)
            );
        }
        kernel.model.set_defects(Defects::default());
        kernel.recover();
        // Gone for good: stopping it does not hang, starting it fails.
        kernel.model.set_defects(Defects {
            gone: true,
            ..Defects::default()
        });
        kernel.nic.stop();
        assert_eq!(kernel.nic.start(), Err(Error::DeviceGone));
        assert_eq!(kernel.nic.flush(), Err(Error::Stopped));
    });
}

#[test]
fn an_interrupt_from_a_card_that_left_is_an_event() {
    for mode in [MODES[1], MODES[2]] {
        let mut kernel = Kernel::tiny(Place { mode, ..here() });
        kernel.model.set_defects(Defects {
            gone: true,
            ..Defects::default()
        });
        assert_eq!(kernel.nic.on_interrupt(None), Some(Events::all()));
        assert_eq!(kernel.nic.on_interrupt(None), None);
    }
}

#[test]
fn the_card_counts_what_the_driver_counts() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut rng = Rng::new(place.seed);
        let mut octets = [0u64; 2];
        for number in 0..150 {
            let len = 60 + rng.below(1455);
            let mut bytes = frame(number, len);
            match number % 3 {
                0 => bytes[..6].fill(0xff),
                1 => {
                    bytes = {
                        let flow = Flow::number(number as u16);
                        flow.finished(flow.udp(&payload(len - 42)))
                    }
                }
                _ => {}
            }
            octets[0] += len as u64 + 4;
            kernel.model.arrive(&bytes);
            assert_eq!(kernel.next().0, bytes);
            bytes[0] |= 1;
            bytes.truncate(60 + rng.below(len - 59));
            octets[1] += bytes.len() as u64 + 4;
            kernel.send(&bytes, false);
            if rng.one_in(20) {
                // What is counted between the reads of a counter's two halves is lost to the second.
                kernel.model.settle();
                kernel.counters();
            }
            if rng.one_in(40) {
                // These seconds pass in no time: it must have nothing to do in them.
                kernel.model.settle();
                for _ in 0..60 {
                    kernel.nic.tick();
                }
            }
        }
        assert_eq!(kernel.sent().len(), 150);
        // Takes back what is done.
        kernel.nic.tick();
        let counters = kernel.counters();
        let value = |name: &str| counters[name];
        for (card, driver) in [
            ("rx_good_frames", "rx_frames"),
            ("rx_all_frames", "rx_frames"),
            ("tx_good_frames", "tx_frames"),
            ("tx_all_frames", "tx_completed"),
        ] {
            assert_eq!((value(card), value(driver)), (150, 150), "{card}");
        }
        assert_eq!([value("rx_good_octets"), value("tx_good_octets")], octets);
        assert_eq!(value("rx_octets") + 4 * 150, octets[0]);
        assert_eq!(value("rx_broadcasts"), 50);
        assert_eq!(value("tx_broadcasts") + value("tx_multicasts"), 150);
        for (prefix, of) in [("rx", "rx_frames"), ("tx", "tx_frames")] {
            let bins = [
                "64",
                "65_to_127",
                "128_to_255",
                "256_to_511",
                "512_to_1023",
                "1024_and_more",
            ];
            let sum: u64 = bins
                .iter()
                .map(|bin| value(&std::format!("{prefix}_{bin}")))
                .sum();
            assert_eq!(sum, value(of));
        }
        // A restart loses none of them.
        kernel.nic.stop();
        kernel.nic.start().unwrap();
        assert_eq!(kernel.counters()["rx_good_frames"], 150);
    });
}

#[test]
fn a_self_test_sends_itself_a_frame_and_nobody_else() {
    everywhere(2, |place| {
        for frame_max in [1514, 9014] {
            let config = Config {
                frame_max,
                ..tiny(place.mode)
            };
            let model = place.model(&config);
            let mut nic = Igb::new(model.bus(), config).unwrap();
            assert_eq!(nic.self_test(), Ok(()));
            assert!(model.is_quiet());
            assert!(model.take_sent().is_empty());
            assert!(model.now_us() < 1_500_000);
            let mut counted = [0; 2];
            nic.statistics(&mut |name, value| match name {
                "rx_good_frames" => counted[0] += value,
                "rx_frames" => counted[1] += value,
                _ => {}
            });
            assert_eq!(counted, [2, 2]);
            model.set_defects(Defects {
                loopback_spoils: true,
                ..Defects::default()
            });
            assert_eq!(nic.self_test(), Err(Error::SelfTest));
            model.set_defects(Defects {
                transmit_dead: true,
                ..Defects::default()
            });
            assert_eq!(nic.self_test(), Err(Error::SelfTest));
            model.set_defects(Defects::default());
            // Without a cable, silicon tests itself all the same.
            model.set_link(false);
            let without = nic.self_test();
            assert_eq!(
                without.is_ok(),
                place.behaviour == Behaviour::Silicon,
                "{without:?}"
            );
            assert!(model.now_us() < 10_000_000);
            // And then it works as ever.
            model.set_link(true);
            nic.start().unwrap();
            model.elapse(500_000);
            nic.send(&frame(1, 100), &PLAIN, false).unwrap();
            model.settle();
            assert_eq!(model.take_sent().len(), 1);
        }
    });
}

#[test]
fn a_frame_that_takes_all_buffers_and_has_no_end_is_an_error() {
    let config = Config {
        frame_max: 9014,
        ..tiny(MODES[0])
    };
    let mut kernel = Kernel::new(here(), config);
    for number in 0..10 {
        kernel.model.arrive(&frame(number, 100));
    }
    kernel.take();
    // They are with the reader, who leaves the card three.
    let taken = kernel.nic.receive_pieces(false, 10, &mut |_| ());
    assert_eq!(taken, Ok(10));
    kernel.model.set_defects(Defects {
        lie: Some(Lie::Endless),
        ..Defects::default()
    });
    kernel.model.arrive(&frame(11, 100));
    let (queue, len) = (0, 3 * 2048);
    let error = Error::BadDescriptor { queue, len };
    assert_eq!(kernel.nic.receive_piece(false), Err(error));
}

#[test]
fn the_card_counts_further_than_32_bits_and_from_nothing() {
    for behaviour in Behaviour::ALL {
        let place = Place {
            behaviour,
            ..here()
        };
        let mut kernel = Kernel::tiny(place);
        kernel.model.count_octets(5 << 32 | 7, 9 << 32 | 8);
        let counters = kernel.counters();
        assert_eq!(counters["rx_good_octets"], 5 << 32 | 7);
        assert_eq!(counters["rx_all_octets"], 5 << 32 | 7);
        assert_eq!(counters["tx_good_octets"], 9 << 32 | 8);
        assert_eq!(counters["tx_all_octets"], 9 << 32 | 8);
        // What was on the wire before there was a link is not counted.
        assert_eq!(counters["rx_alignment_errors"], 0);
    }
}

#[test]
fn the_counters_are_read_once_a_minute() {
    let mut kernel = Kernel::tiny(here());
    let mut reads = || {
        let before = kernel.model.register_accesses().0;
        kernel.nic.tick();
        kernel.model.register_accesses().0 - before
    };
    for _ in 0..2 {
        let minute: Vec<_> = (0..60).map(|_| reads()).collect();
        let (last, others) = minute.split_last().unwrap();
        assert!(
            others.iter().all(|&other| other + 44 <= *last),
            "{minute:?}"
        );
    }
}
