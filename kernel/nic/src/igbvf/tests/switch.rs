//! Who gets which frame.

use super::*;

#[test]
fn every_function_reaches_every_other_and_the_wire() {
    for count in [1, 2, 7] {
        everywhere(1, |place| {
            let mut lab = Lab::new(place, count);
            let macs: Vec<MacAddress> = (0..count).map(|vf| vf_address(MAC, vf)).collect();
            for (vf, mac) in macs.iter().enumerate() {
                let facts = lab.vfs[vf].facts();
                assert_eq!((facts.mac, facts.name), (*mac, "igbvf"));
                assert_eq!((mac[0] & 3, lab.model.pools_of(*mac)), (2, 1 << vf));
                assert_ne!(*mac, MAC);
                assert_eq!(macs.iter().filter(|other| *other == mac).count(), 1);
            }
            assert_eq!(lab.model.pools_of(MAC), 1 << count);
            for (vf, &mac) in macs.iter().enumerate() {
                // To another VF, or to itself, which silicon does not send back.
                let to = (vf + 1) % count;
                if to != vf {
                    lab.prove(vf, to, 0);
                }
                let up = frame(MAC, mac, 1, 1514);
                lab.send(vf, &up, &PLAIN);
                let out = frame(PEER, mac, 2, 60);
                lab.send(vf, &out, &PLAIN);
                lab.settle();
                assert_eq!(lab.drain_pf(), [up]);
                // What stays inside is not on the wire.
                assert_eq!(lab.wire(), [out]);
                let down = frame(mac, MAC, 3, 1000);
                lab.pf.borrow_mut().send(&down, &PLAIN, false).unwrap();
                assert_eq!(lab.next(vf).0, down);
                let inward = frame(mac, PEER, 4, 1514);
                lab.model.arrive(&inward);
                assert_eq!(lab.next(vf).0, inward);
            }
            assert_eq!(lab.wire(), Vec::<Vec<u8>>::new());
            // What is for a stranger is nobody's.
            lab.model.arrive(&frame([2, 2, 2, 2, 2, 2], PEER, 5, 100));
            lab.settle();
            assert_eq!(lab.drain_pf().len(), 0);
            assert!((0..count).all(|vf| lab.drain(vf).is_empty()));
        });
    }
}

#[test]
fn a_function_that_works_alone_has_no_switch() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 2);
        let is_on = |lab: &mut Lab| {
            lab.settle();
            lab.model.register(crate::igb::regs::DTXSWC) >> 31 == 1
        };
        lab.pf.borrow_mut().stop();
        assert!(is_on(&mut lab), "for two VFs");
        lab.vfs[0].stop();
        assert!(!is_on(&mut lab), "for one");
        let out = frame(EVERYBODY, vf_address(MAC, 1), 1, 60);
        lab.send(1, &out, &PLAIN);
        assert_eq!(lab.wire(), [out]);
        assert_eq!(lab.drain(1).len(), 0);
        lab.vfs[0].start().unwrap();
        assert!(is_on(&mut lab), "for two VFs again");
    });
}

#[test]
fn a_frame_to_all_reaches_all_once() {
    everywhere(2, |place| {
        let mut lab = Lab::new(place, 3);
        // Only QEMU's card sends it back to its sender.
        let own = usize::from(place.behaviour == Behaviour::Qemu);
        for (sender, mac) in (0..3).map(|vf| (vf, vf_address(MAC, vf))) {
            let all = frame(EVERYBODY, mac, sender as u64, 200);
            lab.send(sender, &all, &PLAIN);
            lab.settle();
            for vf in 0..3 {
                let times = if vf == sender { own } else { 1 };
                assert_eq!(lab.drain(vf), vec![all.clone(); times], "{sender} to {vf}");
            }
            assert_eq!([lab.drain_pf(), lab.wire()], [[all.clone()], [all]]);
        }
        let all = frame(EVERYBODY, PEER, 9, 1514);
        lab.model.arrive(&all);
        lab.settle();
        assert!((0..3).all(|vf| lab.drain(vf) == [all.clone()]));
        assert_eq!(lab.drain_pf(), [all]);
    });
}

#[test]
fn a_group_reaches_who_has_joined_one() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 3);
        let group = [1, 0, 0x5e, 0, 0, 0xfb];
        let sample = frame(group, PEER, 1, 100);
        let gets = |lab: &mut Lab| {
            lab.model.arrive(&sample);
            lab.settle();
            let pf = lab.drain_pf().len();
            [
                pf,
                lab.drain(0).len(),
                lab.drain(1).len(),
                lab.drain(2).len(),
            ]
        };
        assert_eq!(gets(&mut lab), [0; 4]);
        let filters = Filters {
            multicast: &[group],
            ..Filters::default()
        };
        lab.vfs[1].set_filters(&filters).unwrap();
        assert_eq!(gets(&mut lab), [0, 0, 1, 0]);
        lab.pf.borrow_mut().set_filters(&filters).unwrap();
        assert_eq!(gets(&mut lab), [1, 0, 1, 0]);
        // The PF leaves, and the VF that is still in it hears of that nothing.
        lab.pf
            .borrow_mut()
            .set_filters(&Filters::default())
            .unwrap();
        assert_eq!(gets(&mut lab), [0, 0, 1, 0]);
        lab.vfs[1].set_filters(&Filters::default()).unwrap();
        assert_eq!(gets(&mut lab), [0; 4]);
        let many: Vec<MacAddress> = (0..31).map(|last| [1, 0, 0x5e, 0, 0, last]).collect();
        let thirty = Filters {
            multicast: &many[..30],
            ..filters
        };
        lab.vfs[2].set_filters(&thirty).unwrap();
        lab.model.arrive(&frame(many[29], PEER, 1, 100));
        lab.settle();
        assert_eq!(lab.drain(2).len(), 1);
        let more = Filters {
            multicast: &many,
            ..filters
        };
        let (count, max) = (31, 30);
        assert_eq!(
            lab.vfs[2].set_filters(&more),
            Err(Error::TooMany { count, max })
        );
        let others = Filters {
            unicast: &[PEER],
            ..Filters::default()
        };
        let (count, max) = (1, 0);
        assert_eq!(
            lab.vfs[2].set_filters(&others),
            Err(Error::TooMany { count, max })
        );
        for greedy in [
            Filters {
                promiscuous: true,
                ..Filters::default()
            },
            Filters {
                all_multicast: true,
                ..Filters::default()
            },
        ] {
            assert_eq!(lab.vfs[2].set_filters(&greedy), Err(Error::Unsupported));
        }
    });
}

#[test]
fn a_vlan_has_one_function_and_others_neither_see_it_nor_send_into_it() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 2);
        let vlans = |numbers| Filters {
            vlans: Some(numbers),
            ..Filters::default()
        };
        lab.vfs[0].set_filters(&vlans(&[7, 9])).unwrap();
        let refused = Err(Error::BadVlan { vlan: 9 });
        assert_eq!(lab.vfs[1].set_filters(&vlans(&[8, 9])), refused);
        assert_eq!(lab.pf.borrow_mut().set_filters(&vlans(&[9])), refused);
        lab.pf.borrow_mut().set_filters(&vlans(&[5])).unwrap();
        // What was refused has left nothing behind.
        lab.vfs[0].set_filters(&vlans(&[7, 8, 9])).unwrap();
        let tag = |tag: u16| SendOptions {
            vlan: Some(tag),
            ..PLAIN
        };
        let gets = |lab: &mut Lab, to: MacAddress, number: u16| {
            let mut whole = frame(to, PEER, number.into(), 200);
            let [high, low] = number.to_be_bytes();
            whole.splice(12..12, [0x81, 0, high, low]);
            lab.model.arrive(&whole);
            lab.settle();
            let pf = receive(&mut *lab.pf.borrow_mut()).map(|(_, info)| info.vlan);
            [pf, receive(&mut lab.vfs[0]).map(|(_, info)| info.vlan), {
                receive(&mut lab.vfs[1]).map(|(_, info)| info.vlan)
            }]
        };
        let none = Err(Error::WouldBlock);
        assert_eq!(gets(&mut lab, EVERYBODY, 7), [none, Ok(Some(7)), none]);
        assert_eq!(gets(&mut lab, EVERYBODY, 5), [Ok(Some(5)), none, none]);
        assert_eq!(gets(&mut lab, EVERYBODY, 6), [none; 3]);
        assert_eq!(gets(&mut lab, vf_address(MAC, 1), 7), [none; 3]);
        // A tag that says a priority alone is no VLAN's.
        assert_eq!(
            gets(&mut lab, vf_address(MAC, 1), 3 << 13),
            [none, none, Ok(Some(3 << 13))]
        );
        let own = frame(PEER, vf_address(MAC, 0), 3, 100);
        lab.send(0, &own, &tag(7));
        assert_eq!(lab.wire().len(), 1);
        let foreign = frame(PEER, vf_address(MAC, 1), 3, 100);
        lab.send(1, &foreign, &tag(7));
        let silicon = place.behaviour == Behaviour::Silicon;
        assert_eq!(lab.wire().len(), usize::from(!silicon));
        // 31 entries, and as many for each function.
        let ten: Vec<u16> = (100..110).collect();
        lab.vfs[1].set_filters(&vlans(&ten)).unwrap();
        let eleven: Vec<u16> = (100..111).collect();
        let refused = Err(Error::BadVlan { vlan: 110 });
        assert_eq!(lab.vfs[1].set_filters(&vlans(&eleven)), refused);
        let (count, max) = (11, 10);
        let many: Vec<u16> = (200..211).collect();
        let refused = Err(Error::TooMany { count, max });
        assert_eq!(lab.pf.borrow_mut().set_filters(&vlans(&many)), refused);
        // The highest of all pass and are free again when they are left.
        lab.vfs[1].set_filters(&Filters::default()).unwrap();
        lab.pf.borrow_mut().set_filters(&vlans(&[100])).unwrap();
    });
}

#[test]
fn nobody_sends_in_anothers_name() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 2);
        let truth = frame(EVERYBODY, vf_address(MAC, 0), 1, 100);
        for pretended in [MAC, vf_address(MAC, 1), PEER, [0; 6]] {
            let lie = frame(EVERYBODY, pretended, 1, 100);
            let vf = &mut lab.vfs[0];
            assert_eq!(vf.send(&lie, &PLAIN, false), Err(Error::BadSource));
            // What is before the lie is sent.
            let mut buffers = [0; 3];
            assert_eq!(vf.take_buffers(100, &mut buffers), Ok(3));
            let frames = buffers.map(|buffer| Outgoing {
                buffer,
                len: 100,
                ..Outgoing::default()
            });
            for (buffer, bytes) in buffers.into_iter().zip([&truth, &lie, &truth]) {
                vf.fill_buffer(buffer, bytes);
            }
            assert_eq!(vf.send_buffers(&frames), (1, Err(Error::BadSource)));
            buffers[1..]
                .iter()
                .for_each(|&buffer| vf.drop_buffer(buffer).unwrap());
            vf.flush().unwrap();
            lab.settle();
            assert_eq!(lab.wire(), std::slice::from_ref(&truth));
            lab.drain_pf();
            lab.drain(0);
            assert_eq!(lab.drain(1), std::slice::from_ref(&truth));
        }
        let mut refused = 0;
        lab.vfs[0].statistics(&mut |name, value| {
            if name == "tx_bad_source" {
                refused = value;
            }
        });
        assert_eq!((refused, lab.model.spoofed()), (8, 0));
        // What ends in the ramdisk has its source in its buffer, or is refused.
        let vf = &mut lab.vfs[0];
        let mut buffer = [0];
        vf.take_buffers(100, &mut buffer).unwrap();
        let address = BusAddr(1 << 20);
        let split = Outgoing {
            buffer: buffer[0],
            len: 8,
            tail: Some(Tail { address, len: 92 }),
            ..Outgoing::default()
        };
        assert_eq!(vf.send_buffers(&[split]), (0, Err(Error::BadSource)));
        vf.drop_buffer(buffer[0]).unwrap();
        // A frame without any is lengthened with zeros, which only a card that looks drops.
        vf.send(&[0xff; 9], &PLAIN, false).unwrap();
        lab.settle();
        let looks = place.behaviour == Behaviour::Silicon;
        assert_eq!(lab.model.spoofed(), u64::from(looks));
        assert_eq!(lab.wire().len(), usize::from(!looks));
    });
}

#[test]
fn checksums_are_filled_in_and_segments_cut_between_functions() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 2);
        let options = SendOptions {
            checksums: true,
            segment_size: 1000,
            vlan: None,
        };
        let payload: Vec<u8> = (0..5500).map(|at| (at * 31 + at / 251) as u8).collect();
        let targets = [vf_address(MAC, 1), MAC, PEER];
        for to in targets {
            let mut packet = [&to[..], &vf_address(MAC, 0), &[8, 0, 0x45, 0]].concat();
            packet.extend((40 + payload.len() as u16).to_be_bytes());
            packet.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            packet.extend([
                0,
                7,
                0,
                8,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                5 << 4,
                0x10,
                4,
                0,
                0,
                0,
                0,
                0,
            ]);
            packet.extend(&payload);
            lab.send(0, &packet, &options);
            let mut pieces = Vec::new();
            lab.settle();
            if to == PEER {
                pieces.extend(lab.wire());
            } else {
                let mut nic = lab.pf.borrow_mut();
                let nic: &mut dyn Nic = if to == MAC {
                    &mut *nic
                } else {
                    &mut lab.vfs[1]
                };
                while let Ok((piece, info)) = receive(nic) {
                    assert!(info.header_checksum && info.transport_checksum);
                    pieces.push(piece);
                }
            }
            assert_eq!(pieces.len(), 6);
            let joined: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| piece[54..].to_vec())
                .collect();
            assert_eq!(joined, payload);
        }
    });
}

#[test]
fn long_frames_pass_where_both_functions_take_them() {
    for behaviour in Behaviour::ALL {
        let long = Config {
            frame_max: 9014,
            ..tiny(3)
        };
        let host = Config {
            frame_max: 9014,
            vfs: 2,
            ..tiny(10)
        };
        let mut lab = Lab::with(at(behaviour), 2, host, long);
        let sent = frame(vf_address(MAC, 1), vf_address(MAC, 0), 1, 9014);
        lab.send(0, &sent, &PLAIN);
        assert_eq!(lab.next(1).0, sent);
        let sent = frame(vf_address(MAC, 1), PEER, 1, 9014);
        lab.model.arrive(&sent);
        assert_eq!(lab.next(1).0, sent);
        // A host that takes none gives none.
        let host = Config { vfs: 1, ..tiny(10) };
        let lab = Lab::hosted(at(behaviour), 1, host, long.arena_size().unwrap());
        let mut vf = igbvf(lab.bus(0), long).unwrap();
        assert_eq!(vf.start(), Err(Error::HostRefused { request: 5 }));
    }
}

#[test]
fn two_queues_of_the_pf_share_its_flows() {
    everywhere(1, |place| {
        let host = Config {
            queues: 2,
            vfs: 2,
            ..tiny(10)
        };
        let mut lab = Lab::with(place, 2, host, tiny(3));
        let mut sent = 0;
        for number in 0..8u8 {
            let mut packet = [&MAC[..], &PEER, &[8, 0, 0x45, 0, 0, 28]].concat();
            packet.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, number]);
            packet.extend([0, number, 0, 8, 0, 8, 0, 0]);
            packet.resize(60, 0);
            lab.model.arrive(&packet);
            lab.settle();
            let got = lab.drain_pf();
            assert_eq!(got, [packet]);
            sent += 1;
        }
        let counters = lab.counters();
        let queues = ["rx_queue_0", "rx_queue_1"].map(|name| counters[name]);
        assert_eq!(queues[0] + queues[1], sent);
        // QEMU's does not hash for pools.
        assert_eq!(queues[1] > 0, place.behaviour == Behaviour::Silicon);
        let sample = frame(PEER, MAC, 1, 100);
        lab.pf.borrow_mut().send(&sample, &PLAIN, false).unwrap();
        assert_eq!(lab.wire(), [sample]);
        lab.prove(0, 1, 5);
    });
}

#[test]
fn a_pf_that_takes_everything_gets_what_is_for_nobody_else() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 2);
        let all = Filters {
            promiscuous: true,
            ..Filters::default()
        };
        lab.pf.borrow_mut().set_filters(&all).unwrap();
        let stranger = frame([2, 2, 2, 2, 2, 2], PEER, 5, 100);
        let group = frame([1, 0, 0x5e, 0, 0, 1], PEER, 6, 100);
        let own = frame(vf_address(MAC, 1), PEER, 7, 100);
        for frame in [&stranger, &group, &own] {
            lab.model.arrive(frame);
        }
        lab.settle();
        assert_eq!(lab.drain_pf(), [stranger, group]);
        assert_eq!((lab.drain(0), lab.drain(1)), (vec![], vec![own]));
    });
}

#[test]
fn a_vf_counts_what_it_sends_and_receives() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 2);
        lab.prove(0, 1, 0);
        lab.prove(1, 0, 100);
        lab.settle();
        for vf in 0..2 {
            let counters = counters(&mut lab.vfs[vf]);
            for name in ["rx_good_frames", "tx_good_frames", "rx_frames", "tx_frames"] {
                assert_eq!(counters[name], 40, "{name}");
            }
            for name in ["rx_good_octets", "tx_good_octets"] {
                assert_eq!(counters[name], 40 * 304, "{name}");
            }
        }
    });
}
