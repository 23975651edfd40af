//! Checksums, segmentation, tags: what is on the wire is what software would have made.

use super::frames::{Flow, frame, payload, tagged};
use super::*;
use crate::FrameBuffers;
use crate::SendOptions;

const FIN: u8 = 1;
const PSH: u8 = 8;
const ACK: u8 = 0x10;
pub const CHECKSUMS: SendOptions = SendOptions {
    checksums: true,
    segment_size: 0,
    vlan: None,
};

impl Kernel {
    pub fn send_with(&mut self, frame: &[u8], options: &SendOptions, more: bool) {
        for _ in 0..100 {
            match self.nic.send(frame, options, more) {
                Ok(()) => return,
                Err(Error::WouldBlock) => self.sleep(Events::TRANSMIT_SPACE),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("woken again and again for nothing");
    }
}

/// The segments that software would have cut.
pub fn cut(flow: &Flow, sequence: u32, flags: u8, data: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = data.chunks(size).count();
    let segment = |(number, chunk): (usize, &[u8])| {
        let last = number + 1 == count;
        let flags = if last { flags } else { flags & !(FIN | PSH) };
        let mut frame = flow.tcp(sequence.wrapping_add((number * size) as u32), flags, chunk);
        if !flow.v6 {
            let id = 0x1234_u16.wrapping_add(number as u16);
            frame[18..20].copy_from_slice(&id.to_be_bytes());
        }
        flow.finished(frame)
    };
    data.chunks(size).enumerate().map(segment).collect()
}

#[test]
fn checksums_are_filled_in() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        for flow in [Flow::number(1), Flow::number(2).v6()] {
            for len in [0, 1, 2, 45, 46, 1000, 1411] {
                for unfinished in [
                    flow.udp(&payload(len)),
                    flow.tcp(7, ACK, &payload(len)),
                    flow.tcp(9, ACK | FIN | PSH, &payload(len)),
                ] {
                    let expected = flow.finished(unfinished.clone());
                    // Whatever is in those fields.
                    let mut noisy = unfinished.clone();
                    if !flow.v6 {
                        noisy[24..26].fill(0xa5);
                        let at = if noisy[23] == 6 { 50 } else { 40 };
                        noisy[at..at + 2].fill(0x5a);
                    }
                    for frame in [unfinished, noisy] {
                        kernel.send_with(&frame, &CHECKSUMS, false);
                        let expected = kernel.on_wire(&expected);
                        assert_eq!(kernel.sent(), [expected]);
                    }
                }
            }
        }
    });
}

#[test]
fn other_frames_and_padding_are_left_alone() {
    let mut kernel = Kernel::tiny(here());
    let other = frame(1, 100);
    kernel.nic.send(&other, &CHECKSUMS, false).unwrap();
    assert_eq!(kernel.sent(), [other]);
    // What follows the packet is no part of its sum, and is not sent.
    let flow = Flow::number(1);
    let expected = flow.finished(flow.udp(&[1, 2]));
    let mut padded = flow.udp(&[1, 2]);
    padded.resize(60, 0xee);
    kernel.nic.send(&padded, &CHECKSUMS, false).unwrap();
    assert_eq!(kernel.sent(), [expected]);
}

#[test]
fn what_cannot_be_offloaded_is_refused() {
    let mut kernel = Kernel::tiny(here());
    let flow = Flow::number(1);
    let mut refused = |frame: &[u8], options: &SendOptions, expected: Error| {
        assert_eq!(kernel.nic.send(frame, options, false), Err(expected));
        assert_eq!(kernel.sent(), Vec::<Vec<u8>>::new());
    };
    let segments = |segment_size| SendOptions {
        segment_size,
        ..CHECKSUMS
    };
    let mut fragment = flow.udp(&payload(100));
    fragment[20] = 0x20;
    refused(&fragment, &CHECKSUMS, Error::BadHeaders);
    // Of IPv6 fragments are an extension header, and no other is looked behind.
    for extension in [0, 43, 44, 60, 51, 135] {
        let mut frame = flow.v6().tcp(1, ACK, &payload(2000));
        frame[20] = extension;
        refused(&frame, &segments(1000), Error::BadHeaders);
        let mut frame = flow.v6().udp(&payload(100));
        frame[20] = extension;
        refused(&frame, &CHECKSUMS, Error::BadHeaders);
    }
    let mut too_long = flow.udp(&payload(100));
    too_long[17] += 1;
    refused(&too_long, &CHECKSUMS, Error::BadHeaders);
    let mut too_short = flow.udp(&payload(100));
    too_short[16..18].copy_from_slice(&[0, 19]);
    refused(&too_short, &CHECKSUMS, Error::BadHeaders);
    let mut no_body = flow.udp(&payload(100));
    no_body[16..18].copy_from_slice(&[0, 19]);
    no_body[23] = 1;
    refused(&no_body, &CHECKSUMS, Error::BadHeaders);
    let mut cut_off = flow.tcp(1, ACK, &[]);
    cut_off[16..18].copy_from_slice(&[0, 40]);
    refused(&cut_off, &CHECKSUMS, Error::BadHeaders);
    let len = 66 + 1000;
    refused(&cut_off, &segments(1000), Error::BadLength { len });
    refused(
        &flow.udp(&payload(3000)),
        &segments(1000),
        Error::BadHeaders,
    );
    refused(&frame(1, 3000), &segments(1000), Error::BadHeaders);
    let long = flow.tcp(1, ACK, &payload(3000));
    refused(&long, &CHECKSUMS, Error::BadLength { len: 3066 });
    refused(&long, &segments(63), Error::BadLength { len: 66 + 63 });
    refused(&long, &segments(1449), Error::BadLength { len: 66 + 1449 });
    refused(
        &frame(1, 100),
        &SendOptions {
            // Priority and DEI are not part of the number.
            vlan: Some(0xefff),
            ..CHECKSUMS
        },
        Error::BadVlan { vlan: 4095 },
    );
    let tagged = tagged(&frame(1, 100), 1);
    refused(
        &tagged,
        &SendOptions {
            vlan: Some(1),
            ..CHECKSUMS
        },
        Error::BadHeaders,
    );
    let longest = kernel.nic.facts().features.segmentation.frame_max as usize;
    assert_eq!(longest, 65_536);
    let longer = flow.tcp(1, ACK, &payload(longest + 1 - 66));
    let error = kernel.nic.send(&longer, &segments(1000), false);
    assert_eq!(error, Err(Error::BadLength { len: longest + 1 }));
    let counters = kernel.counters();
    let refused = ["tx_bad_length", "tx_bad_headers", "tx_bad_vlan"].map(|name| counters[name]);
    assert_eq!(refused, [5, 20, 1]);
}

#[test]
fn the_driver_cuts_what_it_says_and_nothing_else() {
    let mut kernel = Kernel::tiny(here());
    let segmentation = kernel.nic.facts().features.segmentation;
    let long = Flow::number(1).tcp(1, ACK, &payload(3000));
    let mut cut = 0;
    for size in 1..1600 {
        let options = SendOptions {
            segment_size: size,
            ..CHECKSUMS
        };
        let taken = kernel.nic.send(&long, &options, false).is_ok();
        assert_eq!(taken, segmentation.takes(66, size.into()), "{size}");
        cut += u32::from(taken);
        kernel.sent();
        kernel.nic.flush().unwrap();
    }
    assert_eq!(cut, 1514 - 66 - 64 + 1);
}

#[test]
fn segments_are_those_that_software_would_cut() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let longest = kernel.nic.facts().features.segmentation.frame_max as usize;
        for flow in [Flow::number(1), Flow::number(2).v6()] {
            let header = if flow.v6 { 86 } else { 66 };
            for (size, len) in [
                (1400, 1),
                (1400, 1400),
                (1400, 1401),
                (536, 10_000),
                (1000, 10_000),
                (64, 700),
                (1400, longest - header),
            ] {
                for flags in [ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN] {
                    let options = SendOptions {
                        segment_size: size as u16,
                        ..CHECKSUMS
                    };
                    let sequence = 0xffff_ff00;
                    let data = payload(len);
                    kernel.send_with(&flow.tcp(sequence, flags, &data), &options, false);
                    // QEMU loses the advice to push, where there is no end to be sent by itself.
                    let lost = place.behaviour == Behaviour::Qemu && flags & FIN == 0 && len > size;
                    let flags = if lost { flags & !PSH } else { flags };
                    let expected = cut(&flow, sequence, flags, &data, size);
                    let expected: Vec<_> =
                        expected.iter().map(|frame| kernel.on_wire(frame)).collect();
                    let mut sent = Vec::new();
                    for _ in 0..3 {
                        sent.extend(kernel.sent());
                    }
                    assert_eq!(sent.len(), expected.len(), "{size} {len} {flags}");
                    assert!(sent == expected, "{size} {len} {flags}");
                }
            }
        }
    });
}

#[test]
fn a_large_card_takes_a_whole_packet() {
    let mut kernel = Kernel::new(here(), Config::small(MODES[0]));
    assert_eq!(kernel.nic.facts().features.segmentation.frame_max, 65_536);
    let flow = Flow::number(1);
    let data = payload(65_536 - 66);
    let options = SendOptions {
        segment_size: 1448,
        ..CHECKSUMS
    };
    for _ in 0..20 {
        kernel.send_with(&flow.tcp(1, ACK, &data), &options, true);
    }
    kernel.nic.flush().unwrap();
    let expected = cut(&flow, 1, ACK, &data, 1448);
    assert!(kernel.sent() == vec![expected; 20].concat());
    let counters = kernel.counters();
    assert_eq!(
        (counters["tx_segmented"], counters["tx_segmented_by_card"]),
        (20, 20)
    );
    // QEMU counts what it cuts as one frame.
    assert_eq!(counters["tx_good_frames"], 20);
    assert_eq!(counters["tx_good_octets"], counters["tx_octets"] + 4 * 20);
    // Two pieces each, and one context for all.
    assert_eq!(
        (counters["tx_descriptors"], counters["tx_contexts"]),
        (20 * 2 + 1, 1)
    );
}

#[test]
fn contexts_are_told_once_and_two_are_remembered() {
    let mut kernel = Kernel::new(here(), Config::small(MODES[0]));
    let flow = Flow::number(1);
    for _ in 0..30 {
        kernel.send_with(&flow.tcp(1, ACK, &payload(100)), &CHECKSUMS, false);
        kernel.send_with(&flow.udp(&payload(100)), &CHECKSUMS, false);
    }
    assert_eq!(kernel.counters()["tx_contexts"], 2);
    // A third drives the older one out, so that the fourth stays.
    kernel.send_with(&flow.v6().udp(&payload(100)), &CHECKSUMS, false);
    kernel.send_with(&flow.udp(&payload(100)), &CHECKSUMS, false);
    assert_eq!(kernel.counters()["tx_contexts"], 3);
    kernel.send_with(&flow.tcp(1, ACK, &payload(100)), &CHECKSUMS, false);
    assert_eq!(kernel.counters()["tx_contexts"], 4);
    // A reset forgets them.
    kernel.nic.start().unwrap();
    assert_eq!(kernel.nic.state(), Ok(UP));
    kernel.send_with(&flow.udp(&payload(100)), &CHECKSUMS, false);
    assert_eq!(kernel.counters()["tx_contexts"], 5);
    assert_eq!(kernel.sent().len(), 64);
}

#[test]
fn tags_are_put_in_with_and_without_other_work() {
    everywhere(2, |place| {
        let mut kernel = Kernel::tiny(place);
        let flow = Flow::number(1);
        for tag in [0, 1, 0x6abc, 0xeffe] {
            let options = SendOptions {
                vlan: Some(tag),
                ..CHECKSUMS
            };
            let only = SendOptions {
                checksums: false,
                ..options
            };
            let other = frame(1, 1514);
            kernel.send_with(&other, &only, false);
            assert_eq!(kernel.sent(), [tagged(&other, tag)]);
            let datagram = flow.udp(&payload(100));
            kernel.send_with(&datagram, &options, false);
            let expected = flow.finished(datagram);
            assert_eq!(kernel.sent(), [tagged(&expected, tag)]);
            let cut_up = SendOptions {
                segment_size: 1000,
                ..options
            };
            kernel.send_with(&flow.tcp(5, ACK | FIN, &payload(2500)), &cut_up, false);
            let expected = cut(&flow, 5, ACK | FIN, &payload(2500), 1000);
            let expected: Vec<_> = expected.iter().map(|frame| tagged(frame, tag)).collect();
            assert_eq!(kernel.sent(), expected);
        }
    });
}

#[test]
fn offloaded_frames_keep_their_order_at_every_pace() {
    everywhere(6, |place| {
        let mut kernel = Kernel::tiny(place);
        let mut rng = Rng::new(place.seed);
        let flow = Flow::number(3);
        let mut expected = Vec::new();
        let mut sequence = 0;
        for _ in 0..60 {
            let data = payload(1 + rng.below(12_000));
            let size = [536, 1000, 1400][rng.below(3)];
            let flags = [ACK, ACK | FIN][rng.below(2)];
            let options = SendOptions {
                segment_size: size as u16,
                ..CHECKSUMS
            };
            kernel.send_with(&flow.tcp(sequence, flags, &data), &options, !rng.one_in(4));
            expected.extend(cut(&flow, sequence, flags, &data, size));
            sequence += data.len() as u32;
        }
        kernel.nic.flush().unwrap();
        let expected: Vec<_> = expected.iter().map(|frame| kernel.on_wire(frame)).collect();
        assert!(kernel.sent() == expected);
    });
}

#[test]
fn a_frame_that_has_its_tag_already_is_offloaded_behind_it() {
    everywhere(1, |place| {
        let mut kernel = Kernel::tiny(place);
        for flow in [Flow::number(1), Flow::number(2).v6()] {
            for frame in [flow.udp(&payload(100)), flow.tcp(1, ACK, &payload(100))] {
                kernel.send_with(&tagged(&frame, 5), &CHECKSUMS, false);
                assert_eq!(kernel.sent(), [tagged(&flow.finished(frame), 5)]);
            }
            let options = SendOptions {
                segment_size: 1000,
                ..CHECKSUMS
            };
            let long = tagged(&flow.tcp(1, ACK, &payload(2500)), 5);
            kernel.send_with(&long, &options, false);
            let expected = cut(&flow, 1, ACK, &payload(2500), 1000);
            let expected: Vec<_> = expected.iter().map(|frame| tagged(frame, 5)).collect();
            assert_eq!(kernel.sent(), expected);
        }
    });
}

#[test]
fn a_pseudo_header_may_add_up_to_all_ones() {
    let mut kernel = Kernel::tiny(here());
    let datagram = |flow: Flow| flow.udp(&payload(100));
    let rest = [0x0a00, 0x020f, 17, 108];
    let flow = Flow {
        source: [((0xffff - rest.iter().sum::<u32>()) >> 8) as u8, 0x73, 0, 0],
        ..Flow::number(1)
    };
    kernel.send_with(&datagram(flow), &CHECKSUMS, false);
    let long_way = SendOptions {
        vlan: Some(5),
        ..CHECKSUMS
    };
    kernel.send_with(&datagram(flow), &long_way, false);
    let expected = flow.finished(datagram(flow));
    assert_eq!(kernel.sent(), [expected.clone(), tagged(&expected, 5)]);
}

#[test]
fn only_the_checksum_of_ip_is_filled_in_where_no_transport_header_is_whole() {
    let mut kernel = Kernel::tiny(here());
    let flow = Flow::number(1);
    let header_only = flow.udp(&[])[..34].to_vec();
    let with = |frame: &[u8], at: usize, value: u8| {
        let mut frame = frame.to_vec();
        frame[at] = value;
        frame
    };
    let tcp = flow.tcp(1, ACK, &[]);
    for (mut frame, why) in [
        (header_only, "a packet that is all header"),
        (flow.udp(&[])[..38].to_vec(), "half of UDP's header"),
        (with(&tcp, 46, 4 << 4), "a TCP header shorter than any"),
        (
            with(&tcp, 46, 15 << 4),
            "a TCP header longer than the packet",
        ),
    ] {
        let length = frame.len() as u16 - 14;
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        kernel.send_with(&frame, &CHECKSUMS, false);
        let mut expected = flow.finished([&frame[..], &[0; 40]].concat());
        expected.truncate(frame.len());
        expected[34..].copy_from_slice(&frame[34..]);
        assert_eq!(kernel.sent(), [expected], "{why}");
    }
    // IPv6 has none.
    let mut header_only = flow.v6().udp(&[])[..54].to_vec();
    header_only[18..20].fill(0);
    kernel.send_with(&header_only, &CHECKSUMS, false);
    assert_eq!(kernel.sent(), [header_only]);
}

#[test]
fn a_frame_that_takes_several_descriptors_waits_until_there_are_so_many() {
    // Two frames, each with a context of its own.
    for (free, fits) in [(1, false), (2, false), (3, false), (4, true)] {
        let mut kernel = Kernel::tiny(here());
        kernel.model.set_defects(Defects {
            transmit_dead: true,
            ..Defects::default()
        });
        let flow = Flow::number(1);
        let plain = SendOptions::default();
        for _ in 0..15 - free {
            kernel.send_with(&flow.tcp(1, ACK, &[]), &plain, true);
        }
        let options = SendOptions {
            segment_size: 1000,
            ..CHECKSUMS
        };
        let long = flow.tcp(1, ACK | FIN, &payload(9000));
        let result = kernel.nic.send(&long, &options, true);
        let expected = if fits { Ok(()) } else { Err(Error::WouldBlock) };
        assert_eq!(result, expected, "{free}");
        if free == 3 {
            // A shorter one goes into what is left, and whoever waits is not told of any room.
            kernel.send_with(&flow.tcp(1, ACK, &[]), &plain, true);
            assert_eq!(kernel.nic.on_interrupt(Some(1)), Some(Events::empty()));
        }
        kernel.nic.flush().unwrap();
    }
}

#[test]
fn a_segment_without_data_is_sent_though_it_might_be_cut() {
    let mut kernel = Kernel::tiny(here());
    let flow = Flow::number(1);
    let options = SendOptions {
        segment_size: 1000,
        ..CHECKSUMS
    };
    let segment = flow.tcp(1, ACK, &[]);
    kernel.send_with(&segment, &options, false);
    assert_eq!(kernel.sent(), [flow.finished(segment)]);
}

#[test]
fn addresses_may_be_high() {
    let mut kernel = Kernel::tiny(here());
    let flow = Flow {
        source: [10, 0, 2, 200],
        target: [10, 0, 2, 201],
        ..Flow::number(1)
    };
    let datagram = flow.udp(&payload(100));
    kernel.send_with(&datagram, &CHECKSUMS, false);
    assert_eq!(kernel.sent(), [flow.finished(datagram)]);
    // None of these was cut.
    kernel.send_with(&flow.v6().udp(&payload(100)), &CHECKSUMS, false);
    assert_eq!(kernel.counters()["tx_segmented"], 0);
}
