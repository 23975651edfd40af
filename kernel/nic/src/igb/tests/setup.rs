//! Set-up: order, bounds, what is refused, the link.

use super::frames::{Flow, payload};
use super::*;
use crate::BusAddr;
use crate::FrameBuffers;
use crate::igb::rss::KEY;

#[test]
fn a_card_is_set_up_and_stopped() {
    everywhere(3, |place| {
        let config = tiny(place.mode);
        let model = place.model(&config);
        let mut nic = Igb::new(model.bus(), config).unwrap();
        assert!(model.is_quiet());
        assert!(!model.line());
        assert_eq!((nic.facts().name, nic.facts().mac), ("igb", MAC));
        assert_eq!(
            (nic.facts().transmit_ring, nic.facts().receive_ring),
            (15, 3 * 13)
        );
        assert_eq!((nic.link(), model.negotiations()), (Link::default(), 1));
        nic.start().unwrap();
        assert!(!model.is_quiet());
        // The card was reset once: negotiation is not started anew.
        assert_eq!(model.negotiations(), 1);
        nic.stop();
        assert!(model.is_quiet());
        assert!(!model.line());
        // Nor was it reset then: the next owner has the link at once.
        assert_eq!(model.negotiations(), 1);
        // A sound card needs little of what it may take; QEMU's never says that it has loaded itself.
        let most = match place.behaviour {
            Behaviour::Silicon => 10_000,
            Behaviour::Qemu => 15_000,
        };
        assert!(model.now_us() < most, "{}", model.now_us());
    });
}

#[test]
fn arenas_are_as_large_as_is_said() {
    for (config, kib) in [
        (Config::new(MODES[0]), 9830),
        (Config::medium(MODES[0]), 5 * 1024),
        (Config::small(MODES[0]), 1024),
        (Config::least(MODES[0]), 512),
    ] {
        let size = config.arena_size().unwrap() / 1024;
        assert!(size.abs_diff(kib) < kib / 10, "{size} of {kib}");
    }
}

#[test]
fn every_queue_has_its_place_and_its_vector() {
    let config = Config {
        moderation_us: 20,
        ..Config::new(MODES[0])
    };
    let kernel = Kernel::new(here(), config);
    let model = &kernel.model;
    for queue in 0..16 {
        for base in [0xc000, 0xe000].map(|base| base + 0x40 * queue) {
            assert_eq!(model.register(base + 8), 4096);
            // Enabled, with write-backs at once (WTHRESH), and fetches of eight (PTHRESH).
            let host = if base < 0xe000 { 8 } else { 1 };
            assert_eq!(model.register(base + 0x28), 0x0201_0008 | host << 8);
        }
        let entry = model.register(0x5c00 + queue / 4 * 4) >> (queue % 4 * 8) & 0xff;
        assert_eq!(entry, queue);
    }
    for word in 0..10 {
        let bytes: [u8; 4] = KEY[4 * word..4 * word + 4].try_into().unwrap();
        assert_eq!(
            model.register(0x5c80 + 4 * word as u32),
            u32::from_le_bytes(bytes)
        );
    }
    assert_eq!(
        [0, 1, 2, 9].map(|vector| model.moderation(vector)),
        [0, 0, 80, 80]
    );
    let features = kernel.nic.facts().features;
    assert_eq!(
        (features.receive_queues, features.transmit_queues),
        (16, 16)
    );
    assert_eq!(features.vectors, 10);
}

#[test]
fn the_link_is_reported_as_it_comes_and_goes() {
    everywhere(5, |place| {
        let mut kernel = Kernel::tiny(place);
        for lap in 1..5 {
            kernel.model.set_link(false);
            kernel.sleep(Events::LINK);
            assert_eq!(kernel.nic.link(), Link::default());
            kernel.model.set_link(true);
            kernel.model.elapse(499_000);
            assert!(!kernel.take().contains(Events::LINK));
            kernel.connect();
            assert_eq!(kernel.counters()["link_changes"], 1 + 2 * lap);
        }
        // A flap between two looks, and an interrupt that is lost.
        kernel.model.set_defects(Defects {
            line_cut: true,
            ..Defects::default()
        });
        kernel.model.set_link(false);
        assert_eq!(kernel.nic.tick(), Events::LINK);
        assert_eq!(kernel.nic.tick(), Events::empty());
        assert!(!kernel.nic.link().up);
    });
}

#[test]
fn a_restart_finds_the_link_that_came_up_meanwhile() {
    let config = tiny(MODES[0]);
    let model = here().model(&config);
    let mut nic = Igb::new(model.bus(), config).unwrap();
    model.elapse(600_000);
    for _ in 0..3 {
        nic.start().unwrap();
        assert_eq!(nic.link(), UP);
        nic.stop();
        assert_eq!(nic.link(), Link::default());
        model.elapse(600_000);
    }
}

#[test]
fn the_eeprom_is_verified_and_compared() {
    let config = tiny(MODES[0]);
    let model = here().model(&config);
    let error = || Igb::new(model.bus(), config).err();
    assert_eq!(error(), None);
    let other = [0x00, 0x1b, 0x21, 0x80, 0xff, 0x01];
    model.replace_eeprom(other);
    let (registers, eeprom) = (MAC, other);
    assert_eq!(error(), Some(Error::MacMismatch { registers, eeprom }));
    model.replace_mac(other);
    assert_eq!(Igb::new(model.bus(), config).unwrap().facts().mac, other);
    model.spoil_eeprom(17, 0x1234);
    let found = 0xbaba_u16.wrapping_add(0x1234);
    assert_eq!(error(), Some(Error::EepromChecksum { found }));
    // Words after the sum do not count.
    model.replace_mac(MAC);
    model.spoil_eeprom(64, 0x1234);
    assert_eq!(error(), None);
    for found in [[0; 6], [0x01, 0, 0x5e, 0, 0, 1]] {
        model.replace_mac(found);
        assert_eq!(error(), Some(Error::BadMacAddress { found }));
    }
}

#[test]
fn the_second_port_of_a_chip_has_the_next_address() {
    for last in [0x10, 0x11] {
        let config = tiny(MODES[0]);
        let model = here().model(&config);
        model.be_second_port();
        let [first, second] = [last, last ^ 1].map(|last| [0x00, 0x1b, 0x21, 0x80, 0xff, last]);
        model.replace_mac(second);
        let error = Igb::new(model.bus(), config).err();
        let (registers, eeprom) = (second, first);
        assert_eq!(error, Some(Error::MacMismatch { registers, eeprom }));
        model.replace_eeprom(first);
        assert_eq!(Igb::new(model.bus(), config).unwrap().facts().mac, second);
    }
}

#[test]
fn a_transceiver_that_is_none_is_a_typed_error() {
    for id in [0, 0xffff] {
        let config = tiny(MODES[0]);
        let model = here().model(&config);
        model.replace_transceiver(id);
        assert_eq!(
            Igb::new(model.bus(), config).err(),
            Some(Error::MdiTimeout),
            "{id:#x}"
        );
    }
}

#[test]
fn the_link_is_what_both_ends_agree_on() {
    everywhere(1, |place| {
        let config = tiny(place.mode);
        for (speed_mbps, full_duplex) in [
            (10, false),
            (10, true),
            (100, false),
            (100, true),
            (1000, false),
            (1000, true),
        ] {
            let model = place.model(&config);
            model.set_partner(speed_mbps, full_duplex);
            let mut nic = Igb::new(model.bus(), config).unwrap();
            nic.start().unwrap();
            assert_eq!(nic.link(), Link::default());
            model.elapse(600_000);
            nic.tick();
            let up = true;
            let expected = Link {
                up,
                speed_mbps,
                full_duplex,
            };
            assert_eq!(nic.link(), expected);
        }
    });
}

#[test]
fn a_card_that_does_not_let_go_of_the_bus_is_reset_all_the_same() {
    everywhere(1, |place| {
        let config = tiny(place.mode);
        let model = place.model(&config);
        model.set_defects(Defects {
            requests_hang: true,
            ..Defects::default()
        });
        let mut nic = Igb::new(model.bus(), config).unwrap();
        nic.start().unwrap();
        assert!(model.now_us() < 150_000, "{}", model.now_us());
    });
}

#[test]
fn what_never_ends_is_a_typed_error() {
    everywhere(1, |place| {
        let config = tiny(place.mode);
        let broken: [(Defects, Error); 6] = [
            (
                Defects {
                    reset_hangs: true,
                    ..Defects::default()
                },
                Error::ResetTimeout,
            ),
            (
                Defects {
                    eeprom_sticks: true,
                    ..Defects::default()
                },
                Error::NoEeprom,
            ),
            (
                Defects {
                    mdi_sticks: true,
                    ..Defects::default()
                },
                Error::MdiTimeout,
            ),
            (
                Defects {
                    mdi_error: true,
                    ..Defects::default()
                },
                Error::MdiTimeout,
            ),
            (
                Defects {
                    gone: true,
                    ..Defects::default()
                },
                Error::DeviceGone,
            ),
            (
                Defects {
                    queue_sticks: true,
                    ..Defects::default()
                },
                Error::QueueTimeout { queue: 0 },
            ),
        ];
        for (defects, expected) in broken {
            let model = place.model(&config);
            model.set_defects(defects);
            let result = Igb::new(model.bus(), config).and_then(|mut nic| {
                let result = nic.start();
                assert_eq!(nic.send(&[0; 60], &PLAIN, false), Err(Error::Stopped));
                result
            });
            assert_eq!(result.err(), Some(expected));
            assert!(model.now_us() < 300_000, "{expected}: {}", model.now_us());
        }
    });
}

#[test]
fn an_arena_that_does_not_do_is_refused() {
    let config = tiny(MODES[0]);
    let needed = config.arena_size().unwrap();
    let model = here().model(&config);
    let found = needed - 1;
    model.replace_arena(BusAddr(0x10_0000), found);
    let error = Igb::new(model.bus(), config).err();
    assert_eq!(error, Some(Error::ArenaTooSmall { needed, found }));
    let start = BusAddr(0x10_0400);
    model.replace_arena(start, needed);
    let error = Igb::new(model.bus(), config).err();
    assert_eq!(error, Some(Error::ArenaUnreachable { start }));
    // Above and across 4 GiB are fine.
    model.replace_arena(BusAddr((1 << 32) - 4096), needed);
    Igb::new(model.bus(), config).unwrap().start().unwrap();
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    let good = Config::new(MODES[0]);
    assert_eq!(
        good.arena_size(),
        Ok(16 * 2 * 4096 + (16 * 255 + 256) * 2048 + 16 * 65_536)
    );
    assert_eq!(
        Config::medium(MODES[0]).arena_size(),
        Ok(16 * 2 * 4096 + (16 * 112 + 256) * 2048 + 8 * 65_536)
    );
    let small = Config::small(MODES[0]);
    assert_eq!(
        small.arena_size(),
        Ok(2 * 4096 + (128 + 256) * 2048 + 4 * 65_536)
    );
    assert_eq!(
        Config::least(MODES[0]).arena_size(),
        Ok(2 * 2048 + (64 + 127) * 2048 + 2 * 65_536 + 2048)
    );
    let bad = [
        (Config { queues: 0, ..good }, "queues"),
        (Config { queues: 17, ..good }, "queues"),
        (
            Config {
                receive_ring: 100,
                ..good
            },
            "receive_ring",
        ),
        (
            Config {
                receive_ring: 4,
                ..good
            },
            "receive_ring",
        ),
        (
            Config {
                transmit_ring: 8192,
                ..good
            },
            "transmit_ring",
        ),
        (
            Config {
                receive_buffers: 256,
                ..good
            },
            "receive_buffers",
        ),
        (
            Config {
                receive_buffers: 0,
                ..good
            },
            "receive_buffers",
        ),
        (
            Config {
                transmit_buffers: 0,
                ..good
            },
            "transmit_buffers",
        ),
        (
            Config {
                transmit_buffers: usize::MAX,
                ..good
            },
            "transmit_buffers",
        ),
        (
            Config {
                transmit_buffers: 1,
                ..good
            },
            "transmit_buffers",
        ),
        // Frames must fit into all buffers of a ring, and into one to send from.
        (
            Config {
                receive_buffers: 4,
                frame_max: 9014,
                ..good
            },
            "receive_buffers",
        ),
        (
            Config {
                large_buffers: 0,
                frame_max: 2049,
                ..good
            },
            "large_buffers",
        ),
        (
            Config {
                frame_max: 1513,
                ..good
            },
            "frame_max",
        ),
        (
            Config {
                frame_max: 9015,
                ..good
            },
            "frame_max",
        ),
        (
            Config {
                moderation_us: 8192,
                ..good
            },
            "moderation_us",
        ),
    ];
    let least = Config {
        receive_buffers: 1,
        transmit_buffers: 2,
        large_buffers: 0,
        frame_max: 2048,
        moderation_us: 8191,
        ..good
    };
    for sound in [
        least,
        Config {
            receive_buffers: 5,
            frame_max: 9014,
            ..good
        },
    ] {
        assert!(sound.arena_size().is_ok(), "{sound:?}");
    }
    for (config, what) in bad {
        assert_eq!(config.arena_size(), Err(Error::BadConfig { what }));
        let model = here().model(&good);
        let error = Igb::new(model.bus(), config).err();
        assert_eq!(error, Some(Error::BadConfig { what }));
    }
}

#[test]
fn a_stopped_card_is_silent_and_refuses_work() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.send(&[0; 60], true);
        kernel.nic.stop();
        while kernel.model.take_message().is_some() {}
        assert!(kernel.model.is_quiet());
        let before = kernel.model.register_accesses();
        assert_eq!(
            kernel.nic.send(&[0; 60], &PLAIN, false),
            Err(Error::Stopped)
        );
        assert_eq!(kernel.nic.flush(), Err(Error::Stopped));
        assert_eq!(kernel.nic.receive(&mut [0; 2000]), Err(Error::Stopped));
        assert_eq!(kernel.nic.on_interrupt(None), None);
        assert_eq!(kernel.nic.on_interrupt(Some(2)), None);
        assert_eq!(kernel.nic.tick(), Events::empty());
        kernel.nic.stop();
        assert_eq!(kernel.model.register_accesses(), before);
        assert_eq!(kernel.sent(), Vec::<Vec<u8>>::new());
        kernel.nic.start().unwrap();
        assert_eq!(kernel.nic.link(), UP);
        let frame = super::frames::frame(1, 200);
        kernel.send(&frame, false);
        assert_eq!(kernel.sent(), [frame]);
    });
}

#[test]
fn the_next_owner_has_the_link_at_once_and_nothing_of_the_last() {
    everywhere(6, |place| {
        let mut kernel = Kernel::tiny(place);
        for lap in 0..4 {
            let resets = kernel.counters()["resets"];
            let old = super::frames::frame(2 * lap, 300);
            kernel.send(&old, false);
            kernel.model.arrive(&old);
            kernel.nic.stop();
            assert!(kernel.model.is_quiet());
            // What the card was told of leaves before it is stopped.
            assert_eq!(kernel.sent(), [old]);
            kernel.nic.start().unwrap();
            assert_eq!((kernel.nic.link(), kernel.model.negotiations()), (UP, 1));
            assert_eq!(kernel.counters()["resets"], resets);
            let new = super::frames::frame(2 * lap + 1, 200);
            kernel.model.settle();
            kernel.drain();
            kernel.send(&new, false);
            kernel.model.arrive(&new);
            kernel.model.settle();
            assert_eq!(
                (kernel.sent(), kernel.drain()),
                (vec![new.clone()], vec![new])
            );
        }
        // Frames that never leave: the card is reset.
        kernel.model.set_defects(Defects {
            transmit_dead: true,
            ..Defects::default()
        });
        kernel.send(&[0; 60], false);
        let resets = kernel.counters()["resets"];
        kernel.nic.stop();
        assert!(kernel.model.is_quiet());
        assert_eq!(kernel.counters()["resets"], resets + 1);
    });
}

#[test]
fn a_card_with_fewer_than_three_messages_uses_one_for_all() {
    for (vectors, used) in [(0, 1), (1, 1), (2, 1), (3, 3), (10, 10), (11, 10)] {
        let config = tiny(InterruptMode::MsiX { vectors });
        let model = here().model(&config);
        let nic = Igb::new(model.bus(), config).unwrap();
        assert_eq!(nic.facts().features.vectors, used, "{vectors}");
    }
}

#[test]
fn short_frames_of_the_next_owner_are_padded_too() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.nic.stop();
        kernel.nic.start().unwrap();
        let short = super::frames::frame(1, 20);
        kernel.send(&short, false);
        let expected = kernel.on_wire(&short);
        assert_eq!(kernel.sent(), [expected]);
    });
}

#[test]
fn a_card_without_large_buffers_cuts_nothing() {
    let config = Config {
        large_buffers: 0,
        ..tiny(MODES[0])
    };
    let mut kernel = Kernel::new(here(), config);
    assert_eq!(kernel.nic.facts().features.segmentation.frame_max, 0);
    let refused = kernel.nic.take_buffers(2049, &mut [0]);
    assert_eq!(refused, Err(Error::BadLength { len: 2049 }));
    assert_eq!(kernel.nic.take_buffers(2048, &mut [0]), Ok(1));
    let bytes = Flow::number(1).tcp(1, 0x10, &payload(500));
    let options = crate::SendOptions {
        checksums: true,
        segment_size: 100,
        vlan: None,
    };
    let refused = kernel.nic.send(&bytes, &options, false);
    assert_eq!(refused, Err(Error::BadLength { len: bytes.len() }));
}
