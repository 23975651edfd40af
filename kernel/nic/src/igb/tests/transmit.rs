//! Transmission without offload: order, batches, full rings.

use super::frames::{Flow, frame, payload};
use super::*;
use crate::igb::InterruptMode;
use crate::{FrameBuffers, SendOptions};

#[test]
fn lengths_are_kept_and_bad_ones_refused() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        for len in [0, 1515, 1536, 65_536] {
            let error = kernel.nic.send(&vec![0; len], &PLAIN, false);
            assert_eq!(error, Err(Error::BadLength { len }));
        }
        let sent: Vec<_> = (1..=64)
            .chain([1513, 1514])
            .map(|len| frame(len as u64, len))
            .collect();
        for frame in &sent {
            kernel.send(frame, false);
        }
        let expected: Vec<_> = sent.iter().map(|frame| kernel.on_wire(frame)).collect();
        assert_eq!(kernel.sent(), expected);
        assert_eq!(kernel.counters()["tx_bad_length"], 4);
    });
}

#[test]
fn ip_without_a_whole_header_is_refused() {
    let mut kernel = Kernel::tiny(here());
    let good = Flow::number(1).udp(&[1]);
    kernel.nic.send(&good, &PLAIN, false).unwrap();
    let mut short_ihl = good.clone();
    short_ihl[14] = 0x44;
    let mut long_ihl = good.clone();
    long_ihl[14] = 0x4f;
    let v6 = Flow::number(1).v6().udp(&[1]);
    for frame in [
        &short_ihl[..],
        &long_ihl,
        &good[..14],
        &good[..33],
        &v6[..53],
    ] {
        let error = kernel.nic.send(frame, &PLAIN, false);
        assert_eq!(error, Err(Error::BadHeaders));
    }
    assert_eq!(kernel.sent(), [good]);
}

#[test]
fn frames_of_a_flow_are_sent_in_order_at_every_pace() {
    everywhere(12, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut rng = Rng::new(place.seed);
        let mut sent = Vec::new();
        let mut expected: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 6];
        for number in 0..200u16 {
            let flow = rng.below(6) as u16;
            let mut body = payload(rng.below(1400) + 4);
            body[..2].copy_from_slice(&number.to_be_bytes());
            let frame = Flow::number(flow).udp(&body);
            kernel.send(&frame, !rng.one_in(6));
            expected[usize::from(flow)].push(kernel.on_wire(&frame));
            if rng.one_in(8) {
                kernel.model.idle(rng.below(100) as u64);
            }
            if rng.one_in(20) {
                sent.extend(kernel.model.take_sent());
            }
        }
        kernel.nic.flush().unwrap();
        kernel.model.settle();
        sent.extend(kernel.model.take_sent());
        for (number, expected) in expected.iter().enumerate() {
            let port = Flow::number(number as u16).ports[0].to_be_bytes();
            let of_flow = sent.iter().filter(|sent| sent.bytes[34..36] == port);
            let queues: Vec<_> = of_flow.clone().map(|sent| sent.queue).collect();
            assert!(queues.windows(2).all(|pair| pair[0] == pair[1]));
            assert!(of_flow.map(|sent| &sent.bytes).eq(expected));
        }
        let counters = kernel.counters();
        assert_eq!(counters["tx_frames"], 200);
        assert_eq!(counters["tx_good_frames"], 200);
    });
}

#[test]
fn a_full_ring_is_would_block_and_then_space() {
    everywhere(4, |place| {
        let mut kernel = Kernel::tiny(place);
        let ring = kernel.nic.facts().transmit_ring;
        assert_eq!(ring, 15);
        for _ in 0..20 {
            let mut queued = 0;
            while queued < 10_000 && kernel.nic.send(&frame(queued, 100), &PLAIN, true).is_ok() {
                queued += 1;
            }
            // The card knows of none of them before the ring is full.
            assert!((ring as u64..10_000).contains(&queued), "{queued}");
            kernel.sleep(Events::TRANSMIT_SPACE);
            for number in 0..4 {
                kernel.nic.send(&frame(number, 60), &PLAIN, true).unwrap();
            }
            kernel.nic.flush().unwrap();
            kernel.model.settle();
            kernel.take();
            // Nobody waits any more: the ring falls silent.
            for _ in 0..3 {
                kernel.nic.send(&frame(1, 60), &PLAIN, false).unwrap();
                kernel.model.settle();
                assert_eq!(kernel.take(), Events::empty());
            }
            assert!(!kernel.model.line());
            assert_eq!(kernel.model.take_message(), None);
            assert_eq!(kernel.nic.tick(), Events::empty());
        }
    });
}

#[test]
fn buffers_that_are_used_up_are_would_block_too() {
    everywhere(3, |place| {
        let config = Config {
            transmit_buffers: 6,
            ..tiny(place.mode)
        };
        let mut kernel = Kernel::new(place, config);
        let mut expected = 0;
        for number in 0..200 {
            kernel.send(&Flow::number(number % 5).udp(&payload(100)), true);
            expected += 1;
        }
        kernel.nic.flush().unwrap();
        assert_eq!(kernel.sent().len(), expected);
        assert!(kernel.counters()["tx_ring_full"] > 0);
    });
}

#[test]
fn a_batch_is_one_doorbell_and_one_report() {
    let config = Config {
        transmit_buffers: 255,
        ..Config::small(MODES[0])
    };
    let mut kernel = Kernel::new(here(), config);
    let before = kernel.model.register_accesses();
    for number in 0..24 {
        kernel
            .nic
            .send(&frame(number, 60), &PLAIN, number < 23)
            .unwrap();
    }
    let (reads, writes) = kernel.model.register_accesses();
    assert_eq!((reads - before.0, writes - before.1), (0, 1));
    assert_eq!(kernel.sent().len(), 24);
    assert_eq!(kernel.counters()["tx_doorbells"], 1);
    assert_eq!(kernel.model.reports(), 1);
    // A long batch is reported in eighths of the ring, so that space comes back in parts.
    for number in 0..200 {
        kernel.nic.send(&frame(number, 60), &PLAIN, true).unwrap();
    }
    kernel.nic.flush().unwrap();
    assert_eq!(kernel.model.reports(), 1 + 200 / 32 + 1);
    // No sender waits, so nothing has interrupted.
    assert_eq!(kernel.take(), Events::empty());
}

#[test]
fn a_flush_without_new_frames_rings_no_doorbell() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.nic.flush().unwrap();
        kernel.nic.send(&frame(1, 60), &PLAIN, false).unwrap();
        kernel.model.settle();
        let before = kernel.model.register_accesses();
        for _ in 0..10 {
            kernel.nic.flush().unwrap();
        }
        assert_eq!(kernel.model.register_accesses(), before);
        assert_eq!(kernel.sent().len(), 1);
    });
}

#[test]
fn steady_sending_reads_no_register() {
    let config = Config::new(InterruptMode::MsiX { vectors: 10 });
    let mut kernel = Kernel::new(here(), config);
    let (before, _) = kernel.model.register_accesses();
    for number in 0..5000u16 {
        let frame = Flow::number(number % 60).udp(&payload(900));
        kernel.nic.send(&frame, &PLAIN, number % 16 != 0).unwrap();
    }
    kernel.nic.flush().unwrap();
    assert_eq!(kernel.model.register_accesses().0, before);
    assert_eq!(kernel.sent().len(), 5000);
}

#[test]
fn the_card_reports_at_each_eighth_of_the_ring_and_at_the_end_of_a_batch() {
    for (frames, reports) in [
        (1, 1),
        (31, 1),
        (32, 1),
        (33, 2),
        (64, 2),
        (65, 3),
        (200, 7),
    ] {
        let config = Config {
            transmit_buffers: 255,
            ..Config::small(MODES[0])
        };
        let mut kernel = Kernel::new(here(), config);
        for number in 0..frames {
            kernel.nic.send(&frame(number, 60), &PLAIN, true).unwrap();
        }
        kernel.nic.flush().unwrap();
        assert_eq!(kernel.model.reports(), reports, "{frames}");
        // All that was sent is reported, so that all buffers come back.
        assert_eq!(kernel.sent().len() as u64, frames);
        assert_eq!(kernel.nic.take_buffers(60, &mut [0; 300]), Ok(255));
        assert_eq!(kernel.counters()["tx_completed"], frames);
    }
}

#[test]
fn a_lost_interrupt_about_space_is_found_by_the_tick() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.model.set_defects(Defects {
            line_cut: true,
            ..Defects::default()
        });
        while kernel.nic.send(&frame(1, 100), &PLAIN, true).is_ok() {}
        let at_once = kernel.take();
        kernel.model.settle();
        let space = at_once | kernel.nic.tick();
        assert_eq!(space, Events::TRANSMIT_SPACE);
        assert_eq!(kernel.nic.tick(), Events::empty());
    });
}

#[test]
fn space_that_is_found_again_is_announced_though_the_first_was_not_heard_of() {
    for mode in MODES {
        let mut kernel = Kernel::tiny(Place { mode, ..here() });
        // The ring is full, and the card sends it empty at once.
        while kernel.nic.send(&frame(1, 100), &PLAIN, true).is_ok() {}
        let transmit_dead = true;
        kernel.model.set_defects(Defects {
            transmit_dead,
            ..Defects::default()
        });
        while kernel.nic.send(&frame(2, 100), &PLAIN, true).is_ok() {}
        kernel.model.set_defects(Defects::default());
        kernel.model.settle();
        kernel.interrupts();
        assert!(kernel.events.contains(Events::TRANSMIT_SPACE), "{mode:?}");
    }
}

#[test]
fn short_frames_are_filled_up_with_zeros_and_not_with_what_was_there() {
    everywhere(1, |place| {
        let config = Config {
            transmit_buffers: 2,
            ..tiny(place.mode)
        };
        let mut kernel = Kernel::new(place, config);
        for len in 1..17 {
            for _ in 0..2 {
                kernel.send(&frame(1, 1000), false);
            }
            kernel.sent();
            let short = frame(2, len);
            kernel.send(&short, false);
            let expected = kernel.on_wire(&short);
            assert_eq!(kernel.sent(), [expected]);
        }
    });
}

#[test]
fn who_has_all_buffers_is_not_left_to_wait_for_another() {
    let mut kernel = Kernel::tiny(here());
    // Some have been sent before, and some have not been told of when the first are done.
    for number in 0..40 {
        kernel.send(
            &Flow::number(number % 9).udp(&payload(100)),
            number % 4 != 0,
        );
    }
    kernel.nic.flush().unwrap();
    kernel.model.settle();
    kernel.take();
    let full = kernel.counters()["tx_ring_full"];
    let mut all = [0; 20];
    assert_eq!(kernel.nic.take_buffers(100, &mut all), Ok(20));
    // Whoever got all that was asked for waits for nothing.
    assert_eq!(kernel.take(), Events::empty());
    assert_eq!(kernel.counters()["tx_ring_full"], full);
    assert_eq!(kernel.nic.take_buffers(100, &mut [0]), Ok(0));
    assert_eq!(kernel.take(), Events::TRANSMIT_SPACE);
    assert_eq!(kernel.counters()["tx_ring_full"], full + 1);
}

#[test]
fn who_waits_for_a_large_buffer_is_told_of_a_large_one() {
    let mut kernel = Kernel::tiny(here());
    let defects = |transmit_dead| Defects {
        transmit_dead,
        ..Defects::default()
    };
    kernel.model.set_defects(defects(true));
    let long = Flow::number(1).tcp(1, 0x10, &payload(9000));
    let options = SendOptions {
        checksums: true,
        segment_size: 1000,
        vlan: None,
    };
    for _ in 0..2 {
        kernel.nic.send(&long, &options, false).unwrap();
    }
    let refused = kernel.nic.send(&long, &options, false);
    assert_eq!(refused, Err(Error::WouldBlock));
    assert_eq!(kernel.nic.tick() | kernel.take(), Events::empty());
    kernel.model.set_defects(defects(false));
    kernel.model.settle();
    assert_eq!(kernel.take(), Events::TRANSMIT_SPACE);
    kernel.nic.send(&long, &options, false).unwrap();
}

#[test]
fn a_sender_is_woken_for_a_quarter_of_the_ring() {
    let sent_when_woken = |mode, seed| {
        let place = Place {
            mode,
            seed,
            pace: Pace::Anytime,
            ..here()
        };
        let config = Config {
            transmit_ring: 64,
            transmit_buffers: 128,
            large_buffers: 4,
            ..tiny(mode)
        };
        let mut kernel = Kernel::new(place, config);
        // The sender keeps the buffers that it does not wait for.
        assert_eq!(kernel.nic.take_buffers(3000, &mut [0; 4]), Ok(4));
        let dead = Defects {
            transmit_dead: true,
            ..Defects::default()
        };
        kernel.model.set_defects(dead);
        while kernel.nic.send(&frame(1, 100), &PLAIN, true).is_ok() {}
        assert_eq!(kernel.take(), Events::empty());
        kernel.model.set_defects(Defects::default());
        for _ in 0..10_000 {
            if kernel.take().contains(Events::TRANSMIT_SPACE) {
                break;
            }
            kernel.model.idle(1);
        }
        kernel.model.set_defects(dead);
        core::iter::from_fn(|| kernel.nic.send(&frame(2, 100), &PLAIN, true).ok()).count()
    };
    for mode in MODES {
        // A card that does much at once may have more room by then.
        let sent = (0..5).map(|seed| sent_when_woken(mode, seed)).min();
        assert!(
            sent.is_some_and(|sent| (16..40).contains(&sent)),
            "{mode:?}: {sent:?}"
        );
    }
}

#[test]
fn a_steady_sender_uses_few_buffers_of_many() {
    for at_once in [1, 3] {
        let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
        let mut used = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let mut buffers = vec![0; at_once];
            assert_eq!(kernel.nic.take_buffers(100, &mut buffers), Ok(at_once));
            for buffer in buffers {
                used.insert(buffer);
                let options = SendOptions::default();
                kernel.nic.send_buffer(buffer, 100, None, &options).unwrap();
            }
            kernel.nic.flush().unwrap();
        }
        // Those are in the processor's caches, and to look for them after each frame would cost
        // more.
        assert!((33..=68).contains(&used.len()), "{}", used.len());
    }
}

#[test]
fn who_looks_for_frames_all_the_time_hears_of_space_all_the_same() {
    for mode in MODES {
        let mut kernel = Kernel::tiny(Place { mode, ..here() });
        let dead = Defects {
            transmit_dead: true,
            ..Defects::default()
        };
        while kernel.nic.receive_pieces(true, 9, &mut |_| ()) != Ok(0) {}
        kernel.model.set_defects(dead);
        while kernel.nic.send(&frame(1, 100), &PLAIN, true).is_ok() {}
        kernel.nic.silence_receive();
        kernel.model.set_defects(Defects::default());
        kernel.model.settle();
        assert_eq!(kernel.take(), Events::TRANSMIT_SPACE, "{mode:?}");
    }
}
