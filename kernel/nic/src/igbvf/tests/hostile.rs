//! VFs whose owner does what it likes with the mailbox.

use super::*;

const V2P: u32 = 0xc40;
const REQ: u32 = 1;
const VFU: u32 = 4;
const MEMORY: u32 = 0x800;
const NACK: u32 = 1 << 30;
const ACK: u32 = 1 << 31;
const CTS: u32 = 1 << 29;

/// Writes a message, as far as the mailbox can be locked.
fn post(bus: &mut IgbBus, words: &[u32], then: u32) {
    bus.write32(V2P, VFU);
    if bus.read32(V2P) & VFU == 0 {
        return;
    }
    for (at, word) in (MEMORY..).step_by(4).zip(words) {
        bus.write32(at, *word);
    }
    bus.write32(V2P, then);
}

/// Asks, has the PF answer, and reads that.
fn ask(lab: &Lab, bus: &mut IgbBus, words: &[u32]) -> u32 {
    post(bus, words, REQ);
    lab.model.settle();
    serve(&lab.model, &lab.pf);
    bus.write32(V2P, VFU);
    bus.read32(V2P);
    let answer = bus.read32(MEMORY);
    bus.write32(V2P, 2);
    answer
}

fn reset(lab: &Lab, bus: &mut IgbBus) -> u32 {
    bus.write32(0, 1 << 26);
    lab.model.settle();
    ask(lab, bus, &[1])
}

/// A card with two honest VFs, and one more.
fn with_stranger(place: Place) -> (Lab, IgbBus) {
    let host = Config { vfs: 3, ..tiny(10) };
    let mut lab = Lab::hosted(place, 3, host, tiny(3).arena_size().unwrap());
    for vf in 0..2 {
        let mut nic = igbvf(lab.bus(vf), tiny(3)).unwrap();
        nic.start().unwrap();
        lab.vfs.push(nic);
    }
    lab.connect();
    let bus = lab.model.vf_bus(2);
    (lab, bus)
}

#[test]
fn each_request_is_granted_or_refused_with_its_reason() {
    for behaviour in Behaviour::ALL {
        let (mut lab, mut bus) = with_stranger(at(behaviour));
        let mac = vf_address(MAC, 2);
        let words = |[a, b, c, d, e, f]: MacAddress| {
            [
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, 0, 0]),
            ]
        };
        let [low, high] = words(mac);
        // Before it was reset, nothing, and without that it is not listened to.
        lab.tick();
        for request in [&[1][..], &[2, low, high], &[3], &[4, 1], &[5, 1522]] {
            assert_eq!(reset_free(&lab, &mut bus, request), request[0] | NACK);
        }
        assert_eq!(lab.model.pools_of(mac), 0);
        assert_eq!(reset(&lab, &mut bus), 1 | ACK);
        assert_eq!([bus_word(&mut bus, 1), bus_word(&mut bus, 2)], [low, high]);
        assert_eq!(lab.model.pools_of(mac), 1 << 2);
        let join = 1 << 16;
        let [pf_low, pf_high] = words(MAC);
        let [other_low, other_high] = words(vf_address(MAC, 0));
        let [peer_low, peer_high] = words(PEER);
        let mut thirty = [0x0fff_0123; 16];
        thirty[0] = 3 | 30 << 16;
        let granted: [&[u32]; 8] = [
            &[2, low, high],
            &[3],
            &thirty,
            &[4 | join, 4094],
            &[4 | join, 0],
            &[4, 4094],
            &[5, 68],
            &[5, 1522],
        ];
        for request in granted {
            assert_eq!(
                ask(&lab, &mut bus, request),
                request[0] | ACK | CTS,
                "{request:x?}"
            );
        }
        let refused: [(&[u32], &str); 17] = [
            (&[1], "before_reset"),
            (&[2, pf_low, pf_high], "mac"),
            (&[2, other_low, other_high], "mac"),
            (&[2, peer_low, peer_high], "mac"),
            (&[2, 0, 0], "mac"),
            (&[2 | 1 << 16, low, high], "mac"),
            (&[3 | 31 << 16], "multicast"),
            (&[3 | 2 << 16, 0x1000_0000], "multicast"),
            (&[4 | join, 4095], "vlan"),
            (&[4 | 2 << 16, 7], "vlan"),
            (&[4, 4094], "vlan"),
            (&[5, 67], "length"),
            (&[5, 1523], "length"),
            (&[5, u32::MAX], "length"),
            (&[6], "promiscuous"),
            (&[0x100], "unknown"),
            (&[0x0101], "unknown"),
        ];
        for (request, reason) in refused {
            let name = std::format!("vf_refused_{reason}");
            let before = lab.counters();
            let answer = ask(&lab, &mut bus, request);
            assert_eq!(answer, request[0] | NACK | CTS, "{request:x?}");
            let after = lab.counters();
            for counter in [name.as_str(), "vf_2_refused", "vf_2_messages"] {
                assert_eq!(after[counter], before[counter] + 1, "{counter}");
            }
        }
        // What is said to be an answer is not answered.
        let before = lab.counters()["vf_2_messages"];
        assert_eq!(ask(&lab, &mut bus, &[1 | ACK]), 1 | ACK);
        assert_eq!(lab.counters()["vf_2_messages"], before + 1);
        lab.prove(0, 1, 0);
    }
}

/// Asks without a reset before.
fn reset_free(lab: &Lab, bus: &mut IgbBus, words: &[u32]) -> u32 {
    lab.pf.borrow_mut().tick();
    ask(lab, bus, words)
}

fn bus_word(bus: &mut IgbBus, number: u32) -> u32 {
    bus.write32(V2P, VFU);
    let word = bus.read32(MEMORY + 4 * number);
    bus.write32(V2P, 0);
    word
}

#[test]
fn a_lock_that_is_never_released_is_taken_within_two_ticks() {
    for behaviour in Behaviour::ALL {
        let (mut lab, mut bus) = with_stranger(at(behaviour));
        assert_eq!(reset(&lab, &mut bus), 1 | ACK);
        for lap in 1..6 {
            if lap == 4 {
                // Nor while the PF is stopped.
                lab.pf.borrow_mut().stop();
            }
            // It asks, and keeps the lock.
            post(&mut bus, &[4 | 1 << 16, 9], REQ | VFU);
            lab.settle();
            assert_eq!(bus.read32(V2P) & VFU, VFU);
            let before = lab.model.now_us();
            lab.tick();
            assert!(lab.model.now_us() - before < 1000);
            assert_eq!(bus.read32(V2P) & VFU, 0);
            let taken = lab.counters()["vf_locks_taken"];
            assert!((lap..=2 * lap).contains(&taken), "{taken}");
            lab.prove(0, 1, lap * 100);
        }
        bus.write32(V2P, 0);
        assert_eq!(ask(&lab, &mut bus, &[3]), 3 | ACK | CTS);
    }
}

#[test]
fn a_flood_of_requests_or_resets_is_bounded_and_costs_others_nothing() {
    for behaviour in Behaviour::ALL {
        for resets in [false, true] {
            let (mut lab, mut bus) = with_stranger(at(behaviour));
            assert_eq!(reset(&lab, &mut bus), 1 | ACK);
            lab.tick();
            let before = (lab.model.register_accesses(), lab.counters());
            for number in 0..2000 {
                match resets {
                    true => bus.write32(0, 1 << 26),
                    false => post(&mut bus, &[5, 1522], REQ),
                }
                serve(&lab.model, &lab.pf);
                if number % 50 == 0 {
                    let sent = frame(vf_address(MAC, 1), vf_address(MAC, 0), number, 300);
                    lab.send(0, &sent, &PLAIN);
                    assert_eq!(lab.next(1).0, sent);
                }
            }
            if behaviour == Behaviour::Silicon && !resets {
                // That card can be told whose mailbox shall not interrupt: others' are served.
                lab.vfs[0].start().unwrap();
            }
            let after = (lab.model.register_accesses(), lab.counters());
            let cost = after.0.0 + after.0.1 - before.0.0 - before.0.1;
            assert!(cost < 3000, "{cost}");
            let served = after.1["vf_2_messages"] - before.1["vf_2_messages"];
            assert!(served <= 64, "{served}");
            // The next tick listens again, to all.
            lab.tick();
            assert_eq!(reset(&lab, &mut bus), 1 | ACK);
            lab.vfs[0].start().unwrap();
            lab.settle();
            lab.prove(0, 1, 0);
        }
    }
}

#[test]
fn what_the_last_owner_has_told_the_queues_is_gone() {
    for behaviour in Behaviour::ALL {
        let (lab, mut bus) = with_stranger(at(behaviour));
        assert_eq!(reset(&lab, &mut bus), 1 | ACK);
        // Head write-back to its own memory, for both queues: the model refuses to let the next owner
        // work with that.
        for queue in [0, 0x100] {
            bus.write32(0x380c + queue + 0x2c, 0x1001);
            bus.write32(0x380c + queue + 0x30, 0x12);
            bus.write32(0x3814 + queue, 0x20);
            bus.write32(0x280c + queue, 2 | 1 << 25);
        }
        assert_eq!(reset(&lab, &mut bus), 1 | ACK);
        for queue in [2, 10] {
            let (rx, tx) = (0xc000 + 0x40 * queue, 0xe000 + 0x40 * queue);
            for register in [rx + 0xc, tx + 0x14, tx + 0x38, tx + 0x3c] {
                assert_eq!(lab.model.register(register), 0);
            }
        }
    }
}

#[test]
fn a_hundred_thousand_messages_of_a_hostile_vf_do_no_harm() {
    for behaviour in Behaviour::ALL {
        let pace = if behaviour == Behaviour::Qemu {
            Pace::Doorbell
        } else {
            Pace::Anytime
        };
        let (mut lab, mut bus) = with_stranger(Place {
            behaviour,
            pace,
            seed: 7,
        });
        let mut rng = Rng::new(42);
        for number in 0..50_000u64 {
            let mut words = [0u32; 16];
            for word in &mut words {
                *word = rng.next() as u32;
                if rng.one_in(2) {
                    *word &= 0xfff;
                }
            }
            let info = [0, 1, 2, 29, 30, 31, 255][rng.below(7)];
            let opcode = rng.below(9) as u32;
            words[0] = match rng.below(8) {
                0 => rng.next() as u32,
                _ => opcode | info << 16,
            };
            let then = [REQ, REQ, REQ, REQ, 2, REQ | VFU, REQ | 2, VFU, 0][rng.below(9)];
            let len = rng.below(17);
            post(&mut bus, &words[..len], then);
            match rng.below(40) {
                0 => bus.write32(0, 1 << 26),
                1 => {
                    bus.write32(0, 1 << 26);
                    post(&mut bus, &[1], REQ);
                }
                2 => bus.write32(V2P, 0),
                3 => drop(bus.read32(V2P)),
                4 => bus.write32(0x1700, words[1] & 0x8383),
                5 => bus.write32(0x1740, words[1] & 0x83),
                6 => bus.write32(0x1524, words[1]),
                _ => {}
            }
            serve(&lab.model, &lab.pf);
            if number % 20 == 0 {
                lab.pf.borrow_mut().tick();
            }
            if number % 100 == 0 {
                let sent = frame(vf_address(MAC, 1), vf_address(MAC, 0), number, 300);
                lab.send(0, &sent, &PLAIN);
                assert_eq!(lab.next(1).0, sent);
                let inward = frame(vf_address(MAC, 0), PEER, number, 100);
                lab.model.arrive(&inward);
                assert_eq!(lab.next(0).0, inward);
            }
            if number % 10_000 == 0 {
                lab.tick();
            }
        }
        for (vf, pool) in [(0, 1), (1, 2)] {
            assert_eq!(lab.model.pools_of(vf_address(MAC, vf)), pool);
            assert_eq!(lab.vfs[vf].fault(), None);
        }
        assert_eq!(lab.model.pools_of(MAC), 1 << 3);
        let counters = lab.counters();
        for reason in [
            "mac",
            "multicast",
            "vlan",
            "length",
            "promiscuous",
            "unknown",
        ] {
            let name = std::format!("vf_refused_{reason}");
            assert!(counters[&name] > 0, "{name}");
        }
        assert!(counters["vf_2_messages"] > 1000 && counters["vf_locks_taken"] > 0);
        // And then it is answered as ever.
        bus.write32(V2P, 0);
        lab.tick();
        lab.tick();
        assert_eq!(reset(&lab, &mut bus), 1 | ACK);
    }
}

#[test]
fn a_vf_that_is_reset_gives_up_what_it_had() {
    for behaviour in Behaviour::ALL {
        let (mut lab, mut bus) = with_stranger(at(behaviour));
        assert_eq!(reset(&lab, &mut bus), 1 | ACK);
        let group = [1, 0, 0x5e, 0, 0, 0xfb];
        let bits = 0xfb0;
        for request in [[4 | 1 << 16, 9], [3 | 1 << 16, bits], [5, 70]] {
            assert_eq!(ask(&lab, &mut bus, &request), request[0] | ACK | CTS);
        }
        let word = |lab: &Lab| lab.model.register(0x5200 + bits / 32 * 4);
        assert_eq!(word(&lab), 1 << (bits % 32));
        let filters = Filters {
            vlans: Some(&[9]),
            multicast: &[group],
            ..Filters::default()
        };
        let refused = Err(Error::BadVlan { vlan: 9 });
        assert_eq!(lab.vfs[0].set_filters(&filters), refused);
        bus.write32(0, 1 << 26);
        lab.settle();
        assert_eq!(lab.model.pools_of(vf_address(MAC, 2)), 0);
        assert_eq!(word(&lab), 0);
        lab.vfs[0].set_filters(&filters).unwrap();
        // The next owner has frames of the usual length.
        assert_eq!(reset(&lab, &mut bus), 1 | ACK);
        assert_eq!(lab.model.register(0x5ad8) & 0x1_3fff, 0);
    }
}

#[test]
fn vectors_of_the_last_owner_do_not_mix_with_those_of_the_next() {
    for behaviour in Behaviour::ALL {
        let (mut lab, mut bus) = with_stranger(at(behaviour));
        assert_eq!(reset(&lab, &mut bus), 1 | ACK);
        bus.write32(0x1700, 0x8081);
        bus.write32(0x1740, 0x82);
        let mut nic = igbvf(lab.bus(2), tiny(3)).unwrap();
        nic.start().unwrap();
        lab.vfs.push(nic);
        lab.connect();
        lab.events(2);
        assert_eq!(receive(&mut lab.vfs[2]), Err(Error::WouldBlock));
        lab.send(
            0,
            &frame(vf_address(MAC, 2), vf_address(MAC, 0), 1, 100),
            &PLAIN,
        );
        lab.sleep(2, Events::RECEIVE);
        lab.prove(2, 1, 100);
    }
}

#[test]
fn a_notice_is_not_written_over_an_answer_that_was_not_read() {
    for behaviour in Behaviour::ALL {
        let (mut lab, mut bus) = with_stranger(at(behaviour));
        assert_eq!(reset(&lab, &mut bus), 1 | ACK);
        lab.tick();
        bus.write32(V2P, 2);
        lab.settle();
        post(&mut bus, &[3], REQ);
        lab.settle();
        lab.model.set_link(false);
        lab.settle();
        bus.write32(V2P, VFU);
        bus.read32(V2P);
        assert_eq!(bus.read32(MEMORY), 3 | ACK | CTS);
        bus.write32(V2P, 2);
        lab.settle();
        bus.write32(V2P, VFU);
        assert_eq!(bus.read32(V2P) & 0x10, 0x10);
        assert_eq!(bus.read32(MEMORY), 0x100 | CTS);
        // One that is never read does not keep the host from speaking for longer than a tick.
        bus.write32(V2P, 0);
        post(&mut bus, &[3], REQ);
        lab.settle();
        lab.model.set_link(true);
        lab.model.elapse(500_000);
        lab.settle();
        lab.tick();
        bus.write32(V2P, VFU);
        bus.read32(V2P);
        assert_eq!(bus.read32(MEMORY), 0x100 | CTS);
    }
}
