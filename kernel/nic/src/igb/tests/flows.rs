//! Sixteen queues: how flows are spread over them, and that all have their turn.

use super::frames::{Flow, frame, payload};
use super::*;
use crate::FrameBuffers;

#[test]
fn the_hash_is_that_of_the_specification() {
    // Microsoft, "Verifying the RSS Hash Calculation".
    let known = [
        (
            [66, 9, 149, 187],
            [161, 142, 100, 80],
            [2794, 1766],
            0x51cc_c178,
            0x323e_8fc2,
        ),
        (
            [199, 92, 111, 2],
            [65, 69, 140, 83],
            [14230, 4739],
            0xc626_b0ea,
            0xd718_262a,
        ),
        (
            [24, 19, 198, 95],
            [12, 22, 207, 184],
            [12898, 38024],
            0x5c2b_394a,
            0xd2d0_a5de,
        ),
    ];
    let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
    for (source, target, ports, with_ports, without) in known {
        let flow = Flow {
            v6: false,
            source,
            target,
            ports,
        };
        let mut ping = flow.finished(flow.udp(&[0; 40]));
        // Any other protocol: hashed by its addresses.
        ping[23] = 1;
        let mut sum = 0u32;
        ping[24..26].fill(0);
        for word in ping[14..34].as_chunks::<2>().0 {
            sum += u32::from(u16::from_be_bytes(*word));
        }
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        ping[24..26].copy_from_slice(&sum.to_be_bytes());
        let frames = [
            (flow.finished(flow.tcp(1, 0x10, &payload(100))), with_ports),
            (flow.finished(flow.udp(&payload(100))), with_ports),
            (ping, without),
        ];
        for (frame, hash) in frames {
            kernel.model.arrive(&frame);
            let (received, info) = kernel.receive().unwrap();
            assert_eq!(received, frame);
            assert_eq!(u32::from(info.queue), hash & 0x7f & 15);
        }
    }
    kernel.model.arrive(&super::frames::frame(1, 60));
    let (_, info) = kernel.receive().unwrap();
    assert_eq!(info.queue, 0);
}

#[test]
fn sixty_flows_reach_all_sixteen_queues_both_ways_in_order() {
    everywhere(2, |place| {
        let mut kernel = Kernel::new(place, Config::new(place.mode));
        let mut next = [0u8; 60];
        let mut queues = [None; 60];
        for round in 0..10u8 {
            for number in 0..60 {
                let flow = Flow::number(number);
                let bytes = flow.finished(flow.udp(&[round; 60]));
                kernel.model.arrive(&bytes);
                kernel.send(&bytes, true);
            }
            kernel.nic.flush().unwrap();
            kernel.model.settle();
            while let Ok((frame, info)) = kernel.receive() {
                let flow = usize::from(u16::from_be_bytes([frame[34], frame[35]]) - 40_000);
                assert_eq!(frame[42], next[flow], "flow {flow} is out of order");
                next[flow] += 1;
                assert_eq!(*queues[flow].get_or_insert(info.queue), info.queue);
                assert!(info.header_checksum && info.transport_checksum);
            }
        }
        assert_eq!(next, [10; 60]);
        let sent = kernel.model.take_sent();
        assert_eq!(sent.len(), 600);
        let counters = kernel.counters();
        for queue in 0..16 {
            assert!(
                counters[&std::format!("rx_queue_{queue}")] > 0,
                "{counters:?}"
            );
            assert!(
                counters[&std::format!("tx_queue_{queue}")] > 0,
                "{counters:?}"
            );
        }
        let sum = |prefix: &str| -> u64 {
            let of = counters.iter().filter(|(name, _)| name.starts_with(prefix));
            of.map(|(_, &value)| value).sum()
        };
        assert_eq!((sum("rx_queue_"), sum("tx_queue_")), (600, 600));
        if place.mode == MODES[0] {
            assert_eq!(sum("vector_"), counters["interrupts"]);
        }
    });
}

#[test]
fn each_receive_queue_wakes_by_its_own_vector() {
    let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..60 {
        kernel.drain();
        assert_eq!(kernel.model.take_message(), None);
        let flow = Flow::number(number);
        kernel.model.arrive(&flow.finished(flow.udp(&[0; 40])));
        let vector = kernel.model.take_message().expect("a frame interrupts");
        assert_eq!(kernel.model.take_message(), None);
        let before = kernel.model.register_accesses();
        assert_eq!(kernel.nic.on_interrupt(Some(vector)), Some(Events::RECEIVE));
        // The message says it all: only its mask is set.
        let after = kernel.model.register_accesses();
        assert_eq!((after.0 - before.0, after.1 - before.1), (0, 1));
        let (_, info) = kernel.receive().unwrap();
        assert_eq!(vector, 2 + info.queue % 8);
        seen.insert(vector);
    }
    assert!(seen.into_iter().eq(2..10));
}

#[test]
fn a_busy_queue_does_not_starve_the_others() {
    let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
    let busy = Flow::number(0);
    let busy_frame = busy.finished(busy.udp(&[0; 40]));
    kernel.model.arrive(&busy_frame);
    let (_, info) = kernel.receive().unwrap();
    // A flow of another queue.
    let quiet = (1..).map(Flow::number).find(|flow| {
        kernel.model.arrive(&flow.finished(flow.udp(&[1; 40])));
        kernel.receive().unwrap().1.queue != info.queue
    });
    let quiet = quiet.unwrap();
    for lap in 1..20 {
        for _ in 0..60 {
            kernel.model.arrive(&busy_frame);
        }
        // Its turn has begun.
        assert_eq!(kernel.receive().unwrap().1.queue, info.queue);
        kernel.model.arrive(&quiet.finished(quiet.udp(&[lap; 40])));
        let others = (0..60).take_while(|_| kernel.receive().unwrap().0[42] != lap);
        let others = others.count();
        assert!(others < 16, "lap {lap}");
        assert_eq!(kernel.drain().len(), 59 - others);
    }
}

#[test]
fn all_frames_of_a_flow_go_by_one_queue_whatever_is_done_to_them() {
    let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
    let checksums = SendOptions {
        checksums: true,
        ..SendOptions::default()
    };
    let vlan = SendOptions {
        vlan: Some(1),
        ..checksums
    };
    let segments = SendOptions {
        segment_size: 100,
        ..checksums
    };
    let mut queues = [false; 16];
    for number in 0..60 {
        for flow in [Flow::number(number), Flow::number(number).v6()] {
            let (udp, tcp) = (flow.udp(&payload(150)), flow.tcp(1, 0x10, &payload(150)));
            for (frame, options) in [
                (&udp, SendOptions::default()),
                (&tcp, checksums),
                (&udp, vlan),
                (&tcp, segments),
            ] {
                kernel.send_with(frame, &options, false);
            }
            kernel.model.settle();
            let sent = kernel.model.take_sent();
            assert_eq!(sent.len(), 5);
            assert!(sent.iter().all(|frame| frame.queue == sent[0].queue));
            queues[sent[0].queue] = true;
        }
    }
    assert_eq!(queues, [true; 16]);
}

#[test]
fn fragments_stay_with_each_other() {
    let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
    for number in 0..40u8 {
        // Only the first has ports; what is in their place in the others is payload.
        let mut fragment = Flow::number(number.into()).udp(&payload(100));
        fragment[20] = 0x20;
        fragment[21] = number;
        kernel.send(&fragment, false);
    }
    kernel.model.settle();
    let sent = kernel.model.take_sent();
    assert_eq!(sent.len(), 40);
    assert!(sent.iter().all(|frame| frame.queue == sent[0].queue));
}

#[test]
fn what_belongs_to_no_flow_comes_first() {
    everywhere(2, |place| {
        let mut kernel = Kernel::new(place, Config::new(place.mode));
        for number in 0..40 {
            kernel.drain();
            let flow = Flow::number(number);
            let datagram = flow.finished(flow.udp(&payload(30)));
            let arp = frame(number.into(), 60);
            kernel.model.arrive(&arp);
            kernel.model.arrive(&datagram);
            kernel.model.settle();
            assert_eq!(kernel.drain(), [arp, datagram]);
        }
    });
}

#[test]
fn packets_of_all_kinds_are_spread() {
    for behaviour in Behaviour::ALL {
        let place = Place {
            behaviour,
            ..here()
        };
        let mut kernel = Kernel::new(place, Config::new(MODES[0]));
        // What is not hashed comes by the first queue.
        let mut spread = [0; 6];
        for number in 0..16 {
            for (v6, spread) in [false, true].into_iter().zip(spread.chunks_exact_mut(3)) {
                let flow = Flow::number(number);
                let flow = if v6 { flow.v6() } else { flow };
                let mut other = flow.udp(&payload(100));
                let (protocol, host) = if v6 { (20, 37) } else { (23, 29) };
                (other[protocol], other[host]) = (1, number as u8);
                let frames = [
                    flow.udp(&payload(100)),
                    flow.tcp(1, 0x10, &payload(100)),
                    other,
                ];
                for (frame, spread) in frames.iter().zip(spread) {
                    kernel.model.arrive(frame);
                    *spread += u32::from(kernel.next().1.queue != 0);
                }
            }
        }
        assert!(spread.iter().all(|&count| count > 0), "{spread:?}");
    }
}

#[test]
fn the_stations_of_a_network_are_spread_over_all_queues() {
    for v6 in [false, true] {
        let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
        for number in 0..=255 {
            let flow = Flow {
                v6,
                target: [10, 0, 2, number],
                ..Flow::number(1)
            };
            let mut other = flow.udp(&payload(10));
            // No ports tell them from each other.
            other[if v6 { 20 } else { 23 }] = 1;
            kernel.send(&other, false);
            kernel.model.settle();
        }
        let mut sent = [0; 16];
        for frame in kernel.model.take_sent() {
            sent[frame.queue] += 1;
        }
        assert!(
            sent.iter().all(|count| (8..=24).contains(count)),
            "{sent:?}"
        );
    }
}

#[test]
fn one_call_takes_all_of_a_busy_queue_among_idle_ones() {
    let mut kernel = Kernel::new(here(), Config::new(MODES[0]));
    for number in 0..20 {
        let flow = Flow::number(number);
        for _ in 0..60 {
            kernel.model.arrive(&flow.finished(flow.udp(&[0; 40])));
        }
        kernel.take();
        let mut buffers = Vec::new();
        let taken = kernel
            .nic
            .receive_pieces(false, 100, &mut |piece| buffers.push(piece.buffer));
        assert_eq!(taken, Ok(60));
        kernel.nic.return_buffers(&buffers).unwrap();
    }
}

#[test]
fn a_frame_that_was_begun_is_ended_before_another_queue_has_its_turn() {
    let config = Config {
        frame_max: 9014,
        receive_ring: 32,
        receive_buffers: 30,
        ..tiny(MODES[0])
    };
    let mut kernel = Kernel::new(here(), config);
    // The last of a turn, and too long for it.
    for number in 0..15 {
        kernel.model.arrive(&frame(number, 100));
    }
    let long = frame(15, 9000);
    kernel.model.arrive(&long);
    // These come by the other queues, too.
    for number in 0..9 {
        let flow = Flow::number(number);
        kernel.model.arrive(&flow.finished(flow.udp(&[0; 40])));
    }
    kernel.take();
    let mut read = Vec::new();
    let mut is_amid = false;
    for _ in 0..9 + 15 + 5 {
        let piece = kernel.nic.receive_piece(false).unwrap();
        assert_eq!(piece.continues, is_amid);
        is_amid = piece.more;
        if piece.more || piece.continues {
            read.extend(kernel.read(&piece));
        }
    }
    assert_eq!(read, long);
}
