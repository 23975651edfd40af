//! Reception: order, wake-ups, overruns, long frames, filters.

use super::frames::{Flow, frame, payload, tagged};
use super::*;
use crate::{Filters, FrameBuffers};

#[test]
fn frames_are_received_whole_in_order_and_no_wake_up_is_lost() {
    everywhere(12, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut rng = Rng::new(place.seed);
        let mut received = Vec::new();
        let mut arrived = 0;
        while arrived < 400 {
            // Few enough for the ring, or more.
            for _ in 0..rng.below(20) {
                kernel.model.arrive(&frame(arrived, 60 + rng.below(1455)));
                arrived += 1;
                if rng.one_in(10) {
                    kernel.model.idle(rng.below(50) as u64);
                }
            }
            while kernel.model.arriving() > 0 {
                if rng.one_in(3) {
                    received.extend(kernel.drain());
                } else {
                    kernel.model.idle(1);
                }
                if rng.one_in(20) {
                    kernel.model.settle();
                    received.extend(kernel.drain());
                }
            }
            // Asleep and woken.
            received.extend(kernel.drain());
            while kernel.take().contains(Events::RECEIVE) {
                received.extend(kernel.drain());
            }
            // A tail on its way would leave the ring full, and the frame lost.
            kernel.model.settle();
            kernel.model.arrive(&frame(arrived, 100));
            arrived += 1;
            let before = received.len();
            for _ in 0..100 {
                kernel.sleep(Events::RECEIVE);
                received.extend(kernel.drain());
                if received.len() > before {
                    break;
                }
            }
            assert!(received.len() > before, "woken again and again for nothing");
            kernel.model.settle();
            received.extend(kernel.drain());
        }
        let delivered = kernel.model.take_delivered();
        assert_eq!(delivered.len() as u64 + kernel.model.dropped(), arrived);
        assert!(received == delivered);
        let counters = kernel.counters();
        assert_eq!(counters["rx_frames"], received.len() as u64);
        assert_eq!(counters["rx_good_frames"], received.len() as u64);
    });
}

#[test]
fn a_busy_card_interrupts_once() {
    everywhere(3, |place| {
        let mut kernel = Kernel::tiny(place);
        assert_eq!(kernel.drain(), Vec::<Vec<u8>>::new());
        let before = kernel.counters()["interrupts"];
        for number in 0..10 {
            kernel.model.arrive(&frame(number, 60));
            kernel.model.settle();
            kernel.interrupts();
        }
        assert_eq!(kernel.counters()["interrupts"], before + 1);
        assert_eq!(kernel.take(), Events::RECEIVE);
        assert_eq!(kernel.drain().len(), 10);
        // What came before the rings were found empty wakes nobody after, though a message may say
        // that it did.
        kernel.model.settle();
        assert_eq!(kernel.take(), Events::empty());
        let counters = kernel.counters();
        let for_nothing = counters["rx_wakes_for_nothing"];
        assert_eq!(counters["interrupts"], before + 1 + for_nothing);
        assert!(for_nothing <= 1);
    });
}

#[test]
fn an_interrupt_for_nothing_does_no_harm() {
    everywhere(3, |place| {
        let mut kernel = Kernel::tiny(place);
        for number in 0..50 {
            while kernel.take().contains(Events::RECEIVE) {
                kernel.drain();
            }
            match place.mode {
                InterruptMode::Intx => assert_eq!(kernel.nic.on_interrupt(None), None),
                _ => {
                    for vector in 0..12 {
                        let events = kernel.nic.on_interrupt(Some(vector));
                        assert!(events.is_none_or(|events| !events.contains(Events::LINK)));
                    }
                }
            }
            kernel.model.arrive(&frame(number, 60));
            // The interrupt that came for nothing may have been taken for the one to come.
            let (received, _) = kernel.next();
            assert_eq!(received, frame(number, 60));
        }
    });
}

#[test]
fn messages_may_all_come_the_same_way() {
    // A kernel that has but one vector for all messages.
    for behaviour in Behaviour::ALL {
        let mut kernel = Kernel::tiny(Place {
            behaviour,
            ..here()
        });
        for number in 0..50 {
            kernel.model.arrive(&frame(number, 60));
            let mut messages = kernel.counters()["interrupts"];
            while kernel.model.take_message().is_some() {
                kernel.events |= kernel.nic.on_interrupt(None).unwrap();
                messages += 1;
            }
            assert_eq!(kernel.counters()["interrupts"], messages);
            assert!(core::mem::take(&mut kernel.events).contains(Events::RECEIVE));
            assert_eq!(kernel.drain(), [frame(number, 60)]);
        }
    }
}

#[test]
fn a_lost_interrupt_costs_a_second() {
    everywhere(3, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.drain();
        for number in 0..5 {
            kernel.model.set_defects(Defects {
                line_cut: true,
                ..Defects::default()
            });
            kernel.model.arrive(&frame(number, 60));
            kernel.model.settle();
            kernel.model.set_defects(Defects::default());
            if place.mode != InterruptMode::Intx {
                assert_eq!(kernel.take(), Events::empty());
            }
            assert_eq!(kernel.nic.tick() | kernel.take(), Events::RECEIVE);
            assert_eq!(kernel.drain(), [frame(number, 60)]);
            // And the next one is not lost.
            kernel.model.arrive(&frame(100 + number, 60));
            kernel.sleep(Events::RECEIVE);
            assert_eq!(kernel.drain(), [frame(100 + number, 60)]);
        }
    });
}

#[test]
fn a_ring_that_ran_full_goes_on() {
    everywhere(3, |place| {
        let mut kernel = Kernel::tiny(place);
        for lap in 0..10 {
            for number in 0..40 {
                kernel.model.arrive(&frame(number, 200));
            }
            kernel.model.settle();
            let frames = kernel.drain();
            assert!(frames.len() >= 9, "lap {lap}: {}", frames.len());
            kernel.model.settle();
            kernel.drain();
            kernel.model.arrive(&frame(99, 200));
            kernel.model.settle();
            assert_eq!(kernel.drain(), [frame(99, 200)]);
        }
    });
}

#[test]
fn steady_reception_reads_no_register_and_writes_few() {
    let mut kernel = Kernel::new(here(), Config::small(MODES[0]));
    kernel.drain();
    let mut received = 0;
    let doorbells = kernel.counters()["rx_doorbells"];
    let before = kernel.model.register_accesses();
    for _ in 0..100 {
        for number in 0..65 {
            kernel.model.arrive(&frame(number, 60));
        }
        // One more than is taken, so that the ring is not found empty.
        for _ in 0..64 {
            kernel.receive().unwrap();
            received += 1;
        }
        kernel.receive().unwrap();
        received += 1;
    }
    let (reads, writes) = kernel.model.register_accesses();
    assert_eq!(reads, before.0);
    let written = writes - before.1;
    assert!(written * 63 <= received, "{written}");
    assert_eq!(kernel.counters()["rx_doorbells"], doorbells + written);
}

#[test]
fn jumbo_frames_take_several_descriptors() {
    everywhere(4, |place| {
        let config = Config {
            frame_max: 9014,
            receive_ring: 32,
            receive_buffers: 30,
            transmit_ring: 32,
            transmit_buffers: 30,
            ..tiny(place.mode)
        };
        let mut kernel = Kernel::new(place, config);
        let mut rng = Rng::new(place.seed);
        for number in 0..60 {
            let len = match number {
                0 => 9014,
                1..=4 => 2048 * number as usize,
                5..=7 => 2048 * (number as usize - 4) + 1,
                _ => 60 + rng.below(8955),
            };
            let expected = frame(number, len);
            kernel.model.arrive(&expected);
            assert_eq!(kernel.next().0, expected);
            kernel.send(&expected, false);
            assert_eq!(kernel.sent(), [expected]);
        }
        // Longer ones are not for us.
        let dropped = kernel.model.dropped();
        kernel.model.arrive(&frame(1, 9030));
        kernel.model.settle();
        assert_eq!(kernel.drain(), Vec::<Vec<u8>>::new());
        assert_eq!(kernel.model.dropped(), dropped + 1);
        let error = kernel.nic.send(&frame(1, 9015), &PLAIN, false);
        assert_eq!(error, Err(Error::BadLength { len: 9015 }));
    });
}

#[test]
fn a_buffer_that_is_too_small_loses_one_frame() {
    let mut kernel = Kernel::tiny(here());
    kernel.model.arrive(&frame(1, 200));
    kernel.model.arrive(&frame(2, 200));
    let error = kernel.nic.receive(&mut [0; 199]);
    assert_eq!(error, Err(Error::BufferTooSmall { len: 200 }));
    assert_eq!(kernel.drain(), [frame(2, 200)]);
    let counters = kernel.counters();
    assert_eq!(counters["rx_dropped_small_buffer"], 1);
    assert_eq!((counters["rx_frames"], counters["rx_octets"]), (1, 200));
}

#[test]
fn a_frame_that_came_damaged_is_dropped_and_one_with_a_wrong_checksum_told_so() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let flow = Flow::number(1);
        let good = flow.finished(flow.udp(&payload(100)));
        let mut bad_udp = good.clone();
        bad_udp[60] ^= 1;
        let mut bad_ip = good.clone();
        bad_ip[22] ^= 1;
        for frame in [&bad_udp, &bad_ip, &good] {
            kernel.model.arrive(frame);
        }
        kernel.model.arrive_damaged(&good);
        kernel.model.settle();
        for (frame, ip, udp) in [
            (bad_udp, true, false),
            (bad_ip, false, true),
            (good, true, true),
        ] {
            let (received, info) = kernel.receive().unwrap();
            let right = (info.header_checksum, info.transport_checksum);
            assert_eq!((received, right), (frame, (ip, udp)));
        }
        assert_eq!(kernel.receive(), Err(Error::WouldBlock));
        let counters = kernel.counters();
        assert_eq!(counters["rx_checksum_errors"], 2);
        assert_eq!(counters["rx_dropped_errors"], 1);
        assert_eq!(counters["rx_frames"], 3);
    });
}

#[test]
fn filters_let_through_what_was_asked_for() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        let to = |mac: MacAddress| {
            let mut bytes = frame(u64::from(mac[5]), 100);
            bytes[..6].copy_from_slice(&mac);
            bytes
        };
        let group = [0x01, 0x00, 0x5e, 0x12, 0x34, 0x56];
        let other_group = [0x01, 0x00, 0x5e, 0x12, 0x35, 0x57];
        let neighbour = [0x02, 0, 0, 0, 0, 7];
        let stranger = [0x02, 0, 0, 0, 0, 8];
        let all = [MAC, [0xff; 6], group, other_group, neighbour, stranger].map(to);
        let mut passes = |filters: &Filters<'_>, expected: &[usize]| {
            kernel.nic.set_filters(filters).unwrap();
            for restarted in [false, true] {
                for frame in &all {
                    kernel.model.arrive(frame);
                }
                kernel.model.settle();
                let expected: Vec<_> = expected.iter().map(|&at| all[at].clone()).collect();
                assert_eq!(kernel.drain(), expected, "{filters:?}");
                if !restarted {
                    // A new start does not forget them.
                    kernel.nic.start().unwrap();
                    assert_eq!(kernel.nic.state(), Ok(UP));
                }
            }
        };
        let none = Filters::default();
        passes(&none, &[0, 1]);
        passes(
            &Filters {
                multicast: &[group],
                ..none
            },
            &[0, 1, 2],
        );
        passes(
            &Filters {
                unicast: &[stranger; 22],
                ..none
            },
            &[0, 1, 5],
        );
        let mut many = vec![stranger; 23];
        many[22] = neighbour;
        passes(
            &Filters {
                unicast: &many,
                ..none
            },
            &[0, 1, 4, 5],
        );
        passes(
            &Filters {
                all_multicast: true,
                ..none
            },
            &[0, 1, 2, 3],
        );
        passes(
            &Filters {
                promiscuous: true,
                ..none
            },
            &[0, 1, 2, 3, 4, 5],
        );
        let error = kernel.nic.set_filters(&Filters {
            unicast: &[stranger; 24],
            ..none
        });
        assert_eq!(error, Err(Error::TooMany { count: 24, max: 23 }));
    });
}

#[test]
fn tags_are_taken_out_and_filtered() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.model.arrive(&tagged(&frame(1, 1514), 0x6abc));
        kernel.model.settle();
        let (received, info) = kernel.receive().unwrap();
        assert_eq!((received, info.vlan), (frame(1, 1514), Some(0x6abc)));
        kernel.model.arrive(&frame(2, 100));
        kernel.model.settle();
        assert_eq!(kernel.receive().unwrap().1.vlan, None);
        let filters = Filters {
            vlans: Some(&[5, 0xabc]),
            ..Filters::default()
        };
        kernel.nic.set_filters(&filters).unwrap();
        for tag in [5, 6, 0xabc, 0xabd] {
            kernel.model.arrive(&tagged(&frame(tag.into(), 100), tag));
        }
        kernel.model.arrive(&frame(3, 100));
        kernel.model.settle();
        assert_eq!(kernel.drain().len(), 3);
        let bad = Filters {
            vlans: Some(&[4095]),
            ..Filters::default()
        };
        let error = kernel.nic.set_filters(&bad);
        assert_eq!(error, Err(Error::BadVlan { vlan: 4095 }));
    });
}

#[test]
fn sleeping_and_waking_reads_no_register_with_messages() {
    for behaviour in Behaviour::ALL {
        let config = Config::new(MODES[0]);
        let mut kernel = Kernel::new(
            Place {
                behaviour,
                ..here()
            },
            config,
        );
        kernel.drain();
        let arms_before = kernel.counters()["rx_arms"];
        let (before, _) = kernel.model.register_accesses();
        for number in 0..200 {
            kernel.model.arrive(&frame(number, 60));
            kernel.sleep(Events::RECEIVE);
            assert_eq!(kernel.drain(), [frame(number, 60)]);
        }
        assert_eq!(kernel.model.register_accesses().0, before);
        assert_eq!(kernel.counters()["rx_arms"], arms_before + 200);
    }
}

#[test]
fn the_tick_does_not_announce_again_what_was_announced() {
    everywhere(3, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.drain();
        // In whichever ring it is.
        let flows = (0..9).map(Flow::number);
        for bytes in flows.map(|flow| flow.finished(flow.udp(&payload(30)))) {
            kernel.model.arrive(&bytes);
            kernel.sleep(Events::RECEIVE);
            kernel.model.settle();
            kernel.take();
            assert_eq!(kernel.nic.tick() | kernel.take(), Events::empty());
            assert_eq!(kernel.drain(), [bytes]);
            assert_eq!(kernel.nic.tick() | kernel.take(), Events::empty());
        }
    });
}

#[test]
fn frames_that_are_too_long_cost_no_buffer() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        kernel.model.arrive(&frame(1, 1515));
        kernel.model.arrive(&frame(2, 1514));
        assert_eq!(kernel.next().0, frame(2, 1514));
        assert_eq!(kernel.model.dropped(), 1);
        assert_eq!(kernel.counters()["rx_descriptors"], 1);
    });
}

#[test]
fn a_queue_drops_frames_only_if_it_would_hold_up_others() {
    for (queues, drops) in [(1, false), (2, true)] {
        let config = Config {
            queues,
            ..tiny(MODES[0])
        };
        let kernel = Kernel::new(here(), config);
        // SRRCTL.Drop_En
        let found = kernel.model.register(0xc00c) >> 31 != 0;
        assert_eq!(found, drops, "{queues}");
    }
}

#[test]
fn nobody_vouches_for_checksums_that_are_not_there() {
    let mut kernel = Kernel::tiny(here());
    let without = |kernel: &mut Kernel, bytes: &[u8]| {
        kernel.model.arrive(bytes);
        let (_, info) = kernel.next();
        (info.header_checksum, info.transport_checksum)
    };
    assert_eq!(without(&mut kernel, &frame(1, 60)), (false, false));
    // A datagram may come without one.
    let flow = Flow::number(1);
    let mut datagram = flow.finished(flow.udp(&payload(100)));
    datagram[40..42].fill(0);
    assert_eq!(without(&mut kernel, &datagram), (true, false));
}

#[test]
fn frames_that_nobody_has_read_are_counted_in_all_rings() {
    let mut kernel = Kernel::tiny(here());
    for number in 0..10 {
        let flow = Flow::number(number);
        kernel.model.arrive(&flow.finished(flow.udp(&[1])));
        assert_eq!(kernel.counters()["rx_waiting"], u64::from(number) + 1);
    }
    assert_eq!(kernel.drain().len(), 10);
    assert_eq!(kernel.counters()["rx_waiting"], 0);
}

#[test]
fn the_filter_has_room_for_as_many_stations_as_it_says() {
    let mut kernel = Kernel::tiny(here());
    let station = |number: u8| [0x02, 0, 0, 0, 0, number];
    let stations: Vec<MacAddress> = (0..23).map(station).collect();
    let filters = Filters {
        unicast: &stations,
        ..Filters::default()
    };
    kernel.nic.set_filters(&filters).unwrap();
    for number in 0..24 {
        let mut bytes = frame(number.into(), 100);
        bytes[..6].copy_from_slice(&station(number));
        kernel.model.arrive(&bytes);
    }
    kernel.model.settle();
    let received = kernel.drain();
    let stations_of: Vec<_> = received.iter().map(|frame| frame[5]).collect();
    assert_eq!(stations_of, (0..13).collect::<Vec<u8>>());
    for number in 13..24 {
        let mut bytes = frame(number.into(), 100);
        bytes[..6].copy_from_slice(&station(number));
        kernel.model.arrive(&bytes);
        assert_eq!(kernel.drain().len(), usize::from(number < 23));
    }
}

#[test]
fn an_interrupt_tells_what_it_is_about_and_nothing_else() {
    for mode in MODES {
        let mut kernel = Kernel::tiny(Place { mode, ..here() });
        kernel.drain();
        kernel.take();
        kernel.model.set_link(false);
        assert_eq!(kernel.take(), Events::LINK, "{mode:?}");
        kernel.model.set_link(true);
        kernel.connect();
        kernel.drain();
        kernel.take();
        // One about frames is not for the link: it is not looked at.
        let before = kernel.model.register_accesses();
        kernel.model.arrive(&frame(1, 100));
        assert_eq!(kernel.take(), Events::RECEIVE);
        let after = kernel.model.register_accesses();
        let reads = u64::from(mode != MODES[0]);
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            (reads, 1),
            "{mode:?}"
        );
        // Nor is one about something that the driver did not ask for.
        let before = kernel.model.register_accesses();
        kernel.nic.on_interrupt(Some(0));
        assert_eq!(kernel.model.register_accesses().0, before.0 + 1);
    }
}

#[test]
fn a_message_that_was_on_its_way_when_it_was_silenced_wakes_nobody() {
    let mut kernel = Kernel::tiny(here());
    kernel.drain();
    kernel.model.arrive(&frame(1, 100));
    kernel.nic.silence_receive();
    let before = kernel.model.register_accesses();
    for vector in 1..10 {
        assert_eq!(kernel.nic.on_interrupt(Some(vector)), Some(Events::empty()));
    }
    assert_eq!(kernel.model.register_accesses(), before);
    assert_eq!(kernel.drain().len(), 1);
}

#[test]
fn an_interrupt_about_frames_is_not_about_space() {
    for mode in MODES {
        let mut kernel = Kernel::tiny(Place { mode, ..here() });
        kernel.drain();
        kernel.model.set_defects(Defects {
            transmit_dead: true,
            ..Defects::default()
        });
        // Somebody waits for buffers while some are in flight, and then gives some back himself.
        kernel.nic.send(&frame(1, 100), &PLAIN, false).unwrap();
        let mut all = [0; 20];
        assert_eq!(kernel.nic.take_buffers(100, &mut all), Ok(19));
        for &buffer in &all[..10] {
            kernel.nic.drop_buffer(buffer).unwrap();
        }
        kernel.take();
        kernel.model.arrive(&frame(1, 100));
        assert_eq!(kernel.take(), Events::RECEIVE, "{mode:?}");
        assert_eq!(kernel.nic.tick(), Events::TRANSMIT_SPACE, "{mode:?}");
    }
}

#[test]
fn a_message_masks_itself_until_the_driver_has_heard_of_it() {
    let mut kernel = Kernel::tiny(Place {
        behaviour: Behaviour::Silicon,
        ..here()
    });
    kernel.drain();
    for number in 0..3 {
        kernel.model.arrive(&frame(number, 100));
    }
    assert_eq!(kernel.model.take_message(), Some(2));
    assert_eq!(kernel.model.take_message(), None);
}

#[test]
fn whoever_looks_finds_frames_only_where_there_are_some() {
    for mode in MODES {
        let mut kernel = Kernel::tiny(Place { mode, ..here() });
        kernel.drain();
        kernel.nic.silence_receive();
        assert!(!kernel.nic.has_received());
        kernel.model.arrive(&frame(1, 100));
        assert!(kernel.nic.has_received());
        assert_eq!(kernel.nic.receive_pieces(false, 9, &mut |_| ()), Ok(1));
        assert!(!kernel.nic.has_received());
    }
}

#[test]
fn ipv6_has_no_checksum_but_those_of_tcp_and_udp() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut found = |bytes: &[u8]| {
            kernel.model.arrive(bytes);
            let (_, info) = kernel.next();
            (info.header_checksum, info.transport_checksum)
        };
        let flow = Flow::number(1).v6();
        let tcp = flow.finished(flow.tcp(1, 0x10, &payload(100)));
        let udp = flow.finished(flow.udp(&payload(100)));
        for good in [&tcp, &udp] {
            assert_eq!(found(good), (true, true));
            let mut bad = good.clone();
            bad[90] ^= 1;
            assert_eq!(found(&bad), (true, false));
            // A fragment, and something behind destination options.
            for extension in [44, 60] {
                let mut hidden = good.clone();
                hidden[20] = extension;
                assert_eq!(found(&hidden), (true, false));
            }
        }
        // RFC 8200 §8.1 wants one. The stack refuses it: no card tells it from one that was not verified.
        let mut without = udp;
        without[60..62].fill(0);
        assert_eq!(found(&without), (true, false));
    });
}
