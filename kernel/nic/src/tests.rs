//! All cards beside each other: whatever comes by the wire, a program reads the same from each, and
//! of each frame a counter tells what became of it.

use crate::e100::E100;
use crate::igb::{Config, Igb, InterruptMode};
use crate::igbvf;
use crate::model::traffic::{self, Ends, Seen};
use crate::model::{Model, Pace, e100, igb};
use crate::{BusAddr, Error, Events, MacAddress, Nic, Outgoing, SendOptions, Tail};
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

const MAC: MacAddress = [0x52, 0x54, 0x00, 0xab, 0xcd, 0xef];
const ENDS: Ends = Ends {
    mac: MAC,
    ip: [10, 0, 2, 15],
    peer_mac: [0x52, 0x55, 10, 0, 2, 2],
    peer_ip: [10, 0, 2, 2],
};

/// A card of either kind, from its wire to its driver.
struct Card {
    nic: Box<dyn Nic>,
    model: Box<dyn Model>,
}

impl Card {
    fn e100(behaviour: e100::Behaviour, pace: Pace, seed: u64) -> Card {
        let model = e100::E100Model::new(behaviour, pace, seed, MAC);
        let nic = E100::new(model.bus()).expect("a sound card");
        Card::started(Box::new(nic), Box::new(model))
    }

    fn igb(behaviour: igb::Behaviour, pace: Pace, seed: u64) -> Card {
        let config = Config::small(InterruptMode::Intx);
        let arena = config.arena_size().expect("a sound configuration");
        let mode = config.interrupts;
        let model = igb::IgbModel::new(behaviour, pace, seed, MAC, arena, mode);
        let nic = Igb::new(model.bus(), config).expect("a sound card");
        Card::started(Box::new(nic), Box::new(model))
    }

    fn igbvf(behaviour: igb::Behaviour, pace: Pace, seed: u64) -> Card {
        // Those that samples are tagged with.
        let vlans = [1, 7, 2048, 4094];
        let (nic, model) = igbvf::tests::guest(behaviour, pace, seed, &vlans);
        Card::started(nic, model)
    }

    fn started(mut nic: Box<dyn Nic>, model: Box<dyn Model>) -> Card {
        nic.start().expect("a sound card");
        model.settle();
        Card { nic, model }
    }

    /// What a program reads of this frame.
    fn reads(&mut self, frame: &[u8]) -> Option<Seen> {
        self.model.arrive(frame);
        self.model.settle();
        let mut buffer = vec![0; self.nic.facts().frame_max];
        let read = match self.nic.receive(&mut buffer) {
            Ok((len, info)) => {
                buffer.truncate(len);
                Some((buffer, info.vlan))
            }
            Err(Error::WouldBlock) => None,
            Err(error) => panic!("{error}"),
        };
        if read.is_some() {
            let more = self.nic.receive(&mut vec![0; 2048]);
            assert_eq!(more, Err(Error::WouldBlock), "one frame became two");
        }
        self.model.settle();
        read
    }

    fn count(&mut self, wanted: &str) -> u64 {
        let mut found = 0;
        self.nic.statistics(&mut |name, value| {
            if name == wanted {
                found += value;
            }
        });
        found
    }
}

#[test]
fn a_card_whose_dma_was_stopped_does_no_work_before_it_was_reset() {
    let seed = 1;
    for mut card in [
        Card::e100(e100::Behaviour::Silicon, Pace::Doorbell, seed),
        Card::igb(igb::Behaviour::Silicon, Pace::Doorbell, seed),
        Card::igbvf(igb::Behaviour::Silicon, Pace::Doorbell, seed),
    ] {
        let frame = [&[0xff; 6][..], &card.nic.facts().mac, &[0; 60]].concat();
        card.nic.dma_stopped();
        let stopped = Err(Error::DmaStopped);
        assert_eq!(card.nic.take_events(), Events::all());
        assert_eq!(card.nic.state().map(drop), stopped);
        let sent = card.nic.send(&frame, &SendOptions::default(), false);
        assert_eq!(sent, stopped);
        let resets = card.count("resets");
        card.nic.tick();
        assert!(card.nic.state().is_ok());
        assert_eq!(card.count("resets"), resets + 1);
        card.nic.stop();
        // Whoever has it next knows nothing of that.
        card.nic.dma_stopped();
        card.nic.start().unwrap();
        assert!(card.nic.state().is_ok());
    }
}

#[test]
fn a_program_reads_the_same_from_all_cards_and_each_frame_is_accounted_for() {
    for pace in Pace::ALL {
        for seed in 0..4 {
            for silicon in [true, false] {
                let mut cards = match silicon {
                    true => [
                        Card::e100(e100::Behaviour::Silicon, pace, seed),
                        Card::igb(igb::Behaviour::Silicon, pace, seed),
                        Card::igbvf(igb::Behaviour::Silicon, pace, seed),
                    ],
                    false => [
                        Card::e100(e100::Behaviour::Qemu, pace, seed),
                        Card::igb(igb::Behaviour::Qemu, pace, seed),
                        Card::igbvf(igb::Behaviour::Qemu, pace, seed),
                    ],
                };
                let (mut sent, mut read) = (0, 0);
                for sample in traffic::samples(seed, &ENDS, 800) {
                    for frame in &sample.frames {
                        let expected = traffic::seen(frame, MAC, !silicon);
                        sent += 1;
                        read += u64::from(expected.is_some());
                        for card in &mut cards {
                            let name = card.nic.facts().name;
                            let what = &sample.what;
                            assert_eq!(card.reads(frame), expected, "{name}: {what}");
                        }
                    }
                }
                assert!(read > sent / 2 && sent > read + 100, "{read} of {sent}");
                for card in &mut cards {
                    let name = card.nic.facts().name;
                    let [frames, long, errors] =
                        ["rx_frames", "rx_dropped_long", "rx_dropped_errors"]
                            .map(|counter| card.count(counter));
                    assert_eq!(frames, read, "{name}");
                    let by_card = card.model.dropped();
                    assert_eq!(frames + long + errors + by_card, sent, "{name}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_sent_or_not_read_is_counted_with_its_reason() {
    for mut card in [
        Card::e100(e100::Behaviour::Qemu, Pace::Doorbell, 0),
        Card::igb(igb::Behaviour::Qemu, Pace::Doorbell, 0),
        Card::igbvf(igb::Behaviour::Qemu, Pace::Doorbell, 0),
    ] {
        let name = card.nic.facts().name;
        let plain = SendOptions::default();
        let frame = [&MAC[..], &[2; 6], &[0x88, 0xb5], &[0; 46]].concat();
        let sent = [&[2; 6][..], &MAC, &[0x88, 0xb5], &[0; 46]].concat();
        // Refused to a caller who keeps the frame: told, and not dropped.
        let long = [&sent[..], &[0; 9000]].concat();
        assert!(card.nic.send(&long, &plain, false).is_err());
        let buffer = card.nic.take_buffer(60).expect("they are all free");
        card.nic.fill_buffer(buffer, &sent);
        for (len, options) in [
            (0, plain),
            (9000, plain),
            (
                60,
                SendOptions {
                    segment_size: 100,
                    ..plain
                },
            ),
        ] {
            assert!(card.nic.send_buffer(buffer, len, None, &options).is_err());
        }
        assert!(card.nic.send_buffer(u16::MAX, 60, None, &plain).is_err());
        let far = BusAddr(1 << 32);
        let tail = Some(Tail {
            address: far,
            len: 10,
        });
        let reaches = card.nic.send_buffer(buffer, 60, tail, &plain).is_ok();
        let held = card.nic.take_buffer(60).expect("there are more");
        // Given up.
        let buffer = card.nic.take_buffer(60).expect("there are more");
        card.nic.drop_buffer(buffer).expect("it was taken");
        assert_eq!(card.count("tx_dropped"), 1, "{name}");
        assert_eq!(card.count("tx_bad_buffer"), 1, "{name}");
        assert_eq!(card.count("tx_bad_length"), 3, "{name}");
        let [unsupported, headers] = ["tx_unsupported", "tx_bad_headers"].map(|n| card.count(n));
        assert_eq!(unsupported + headers, 1, "{name}");
        assert_eq!(card.count("tx_unreachable"), u64::from(!reaches), "{name}");
        // What is in the rings when a card is stopped.
        for _ in 0..3 {
            card.nic.send(&sent, &plain, true).expect("there is room");
        }
        for _ in 0..5 {
            card.model.arrive(&frame);
        }
        card.model.settle();
        card.nic.stop();
        assert_eq!(
            card.count("tx_lost_in_reset"),
            3 + u64::from(reaches),
            "{name}"
        );
        assert_eq!(card.count("rx_lost_in_reset"), 5, "{name}");
        card.nic.stop();
        assert_eq!(card.count("rx_lost_in_reset"), 5, "{name}: counted twice");
        let one = Outgoing {
            buffer: held,
            len: 60,
            ..Outgoing::default()
        };
        assert_eq!(card.nic.send_buffers(&[one]), (0, Err(Error::Stopped)));
        assert_eq!(card.count("tx_card_broken"), 1, "{name}");
        card.nic.start().expect("a sound card");
        card.model.settle();
        assert_eq!(
            card.reads(&frame).map(|(bytes, _)| bytes),
            Some(frame),
            "{name}"
        );
        card.nic.stop();
        assert_eq!(card.count("rx_lost_in_reset"), 5, "{name}");
    }
}

/// What an owner leaves in the buffers, by sending, by receiving or by just writing there, is gone
/// when the next one starts.
#[test]
fn the_next_owner_finds_nothing_of_the_last_ones_frames() {
    const SECRET: &[u8] = b"a key of the last owner";
    let found = |card: &Card| {
        let memory = card.nic.frame_area();
        [memory.transmit, memory.receive].map(|range| {
            let mut bytes = vec![0; range.len()];
            card.model.copy_out(range.start, &mut bytes);
            let windows = bytes.windows(SECRET.len());
            windows.filter(|&window| window == SECRET).count()
        })
    };
    for pace in Pace::ALL {
        let cards = [
            Card::e100(e100::Behaviour::Silicon, pace, 1),
            Card::igb(igb::Behaviour::Silicon, pace, 1),
            Card::igbvf(igb::Behaviour::Silicon, pace, 1),
        ];
        for mut card in cards {
            let name = card.nic.facts().name;
            let mut frame = [&MAC[..], &ENDS.peer_mac, &[0x88, 0xb5]].concat();
            frame.extend(SECRET.repeat(60));
            assert!(card.reads(&frame).is_some(), "{name}");
            // Every buffer to send from, and to its last bytes.
            let frames = card.nic.frame_area();
            let count = frames.memory.small.0 + frames.memory.large.0;
            let buffers = (0..count).filter_map(|it| frames.buffer(it));
            let last = buffers.map(|(start, len)| start + len - SECRET.len());
            let mut written = 0;
            for at in last {
                card.model.copy_in(at, SECRET);
                written += 1;
            }
            let (to, from) = frame.split_at_mut(6);
            to.swap_with_slice(&mut from[..6]);
            let sent = card.nic.send(&frame, &SendOptions::default(), false);
            sent.expect("room");
            card.model.settle();
            // While it runs, what it receives into is the card's alone.
            card.nic.stop();
            let [sent, received] = found(&card);
            assert!(sent >= written && received >= 60, "{name}");
            card.nic.start().expect("a sound card");
            card.nic.stop();
            assert_eq!(found(&card), [0, 0], "{name}");
        }
    }
}

#[test]
fn samples_are_repeatable_and_of_all_kinds() {
    let samples = traffic::samples(1, &ENDS, 800);
    let again = traffic::samples(1, &ENDS, 800);
    let frames = |samples: &[traffic::Sample]| -> Vec<Vec<Vec<u8>>> {
        samples.iter().map(|sample| sample.frames.clone()).collect()
    };
    assert_eq!(frames(&samples), frames(&again));
    assert_ne!(frames(&samples), frames(&traffic::samples(2, &ENDS, 800)));
    for answer in [
        traffic::Answer::Yes,
        traffic::Answer::No,
        traffic::Answer::Either,
    ] {
        let count = samples
            .iter()
            .filter(|sample| sample.answer == answer)
            .count();
        assert!(count > 80, "{answer:?}: {count}");
    }
    for words in [
        "wrong IPv4",
        "wrong transport",
        "cut by",
        "total length",
        "begins with",
        "options",
        "from [127",
        "first fragment alone",
        "in 2 fragments",
        "1514 bytes",
        "1518 bytes",
        "1522 bytes",
        "4000 bytes",
        "to [ff",
        "tags [(8100, 6000)]",
        "tags [(88a8",
        "without checksum",
    ] {
        let has = samples.iter().any(|sample| sample.what.contains(words));
        assert!(has, "{words}");
    }
}
