//! Functions that are reset, by themselves, by others, or with the whole card.

use super::*;
use crate::FrameBuffers;
use crate::model::igb::Defects;

#[test]
fn a_function_level_reset_in_a_burst_ends_the_burst_and_nothing_else() {
    everywhere(2, |place| {
        let mut lab = Lab::new(place, 3);
        let mut rng = Rng::new(place.seed);
        for lap in 0..3 {
            for number in 0..rng.below(30) as u64 {
                let sent = frame(vf_address(MAC, 1), vf_address(MAC, 0), number, 700);
                let _ = lab.vfs[0].send(&sent, &PLAIN, rng.one_in(3));
                lab.model.idle(rng.below(20) as u64);
            }
            lab.model.vf_flr(0);
            lab.model.set_vf_master(0, true);
            // Whoever has it goes on, and is told within a tick.
            let _ = lab.vfs[0].send(&frame(PEER, vf_address(MAC, 0), 1, 60), &PLAIN, false);
            lab.settle();
            lab.drain(1);
            lab.prove(1, 2, lap * 1000);
            lab.vfs[0].tick();
            assert_eq!(lab.vfs[0].fault(), Some(Error::HostReset));
            assert_eq!(lab.vfs[0].flush(), Err(Error::HostReset));
            let events = lab.vfs[0].tick();
            assert_eq!((lab.vfs[0].fault(), events), (None, Events::all()));
            lab.settle();
            lab.drain(0);
            lab.wire();
            lab.prove(0, 1, lap * 1000 + 100);
            lab.prove(2, 0, lap * 1000 + 200);
        }
        assert!(lab.counters()["vf_0_resets"] >= 4);
    });
}

#[test]
fn a_reset_of_the_pf_under_traffic_is_noticed_and_survived() {
    everywhere(2, |place| {
        let mut lab = Lab::new(place, 2);
        let filters = Filters {
            vlans: Some(&[7]),
            multicast: &[[1, 0, 0x5e, 0, 0, 1]],
            ..Filters::default()
        };
        lab.vfs[1].set_filters(&filters).unwrap();
        for lap in 0..2 {
            lab.prove(0, 1, lap * 1000);
            lab.settle();
            counters(&mut lab.vfs[1]);
            for number in 0..10 {
                let sent = frame(vf_address(MAC, 1), vf_address(MAC, 0), number, 700);
                let _ = lab.vfs[0].send(&sent, &PLAIN, false);
            }
            // The PF's card breaks, and is reset.
            lab.model.set_defects(Defects {
                head: Some((0xffff, true)),
                ..Defects::default()
            });
            lab.pf.borrow_mut().tick();
            lab.model.set_defects(Defects::default());
            assert!(matches!(
                lab.pf.borrow().fault(),
                Some(Error::BadHead { .. })
            ));
            lab.pf.borrow_mut().tick();
            assert_eq!(lab.pf.borrow().fault(), None);
            for vf in 0..2 {
                lab.vfs[vf].tick();
                assert_eq!(lab.vfs[vf].fault(), Some(Error::HostReset));
            }
            lab.tick();
            for vf in 0..2 {
                assert_eq!(lab.vfs[vf].fault(), None);
            }
            lab.connect();
            lab.settle();
            (0..2).for_each(|vf| drop(lab.drain(vf)));
            lab.wire();
            // What it had asked for, it has again.
            lab.model
                .arrive(&frame([1, 0, 0x5e, 0, 0, 1], PEER, 3, 100));
            let mut tagged = frame(vf_address(MAC, 1), PEER, 4, 100);
            tagged.splice(12..12, [0x81, 0, 0, 7]);
            lab.model.arrive(&tagged);
            lab.settle();
            assert_eq!(lab.drain(1).len(), 2);
        }
        // The card's counters began anew, and the sums went on.
        let counters = counters(&mut lab.vfs[1]);
        assert!(
            (84..200).contains(&counters["rx_good_frames"]),
            "{counters:?}"
        );
    });
}

#[test]
fn virtual_functions_work_while_the_pf_is_stopped() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 2);
        lab.pf.borrow_mut().stop();
        // Only the mailboxes interrupt it.
        assert_eq!(lab.model.unmasked(), 1);
        lab.prove(0, 1, 0);
        let inward = frame(vf_address(MAC, 1), PEER, 4, 1514);
        lab.model.arrive(&inward);
        assert_eq!(lab.next(1).0, inward);
        // What is for the PF is nobody's.
        lab.model.arrive(&frame(MAC, PEER, 4, 100));
        lab.settle();
        assert!(lab.drain(0).is_empty() && lab.drain(1).is_empty());
        // They may be reset, and are answered.
        lab.vfs[1].start().unwrap();
        lab.prove(0, 1, 100);
        let before = lab.model.negotiations();
        lab.pf.borrow_mut().start().unwrap();
        assert_eq!(lab.model.negotiations(), before);
        lab.settle();
        assert_eq!(lab.drain_pf(), Vec::<Vec<u8>>::new());
        lab.prove(1, 0, 200);
        lab.model.arrive(&frame(MAC, PEER, 5, 100));
        lab.settle();
        assert_eq!(lab.drain_pf().len(), 1);
        // Stopped while broken, it is reset: the VFs notice, and work again.
        lab.model.set_defects(Defects {
            head: Some((0xffff, true)),
            ..Defects::default()
        });
        lab.pf.borrow_mut().tick();
        lab.model.set_defects(Defects::default());
        lab.pf.borrow_mut().stop();
        for _ in 0..2 {
            lab.tick();
        }
        lab.model.elapse(500_000);
        lab.settle();
        lab.tick();
        lab.prove(0, 1, 300);
    });
}

#[test]
fn the_link_is_reported_to_every_function() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 2);
        for up in [false, true, false, true] {
            lab.model.set_link(up);
            lab.model.elapse(500_000);
            lab.settle();
            // On silicon the host's notice wakes the VF; on QEMU its tick looks.
            if place.behaviour == Behaviour::Silicon {
                lab.sleep(0, Events::LINK);
                assert_eq!(lab.vfs[0].link().up, up);
            }
            lab.tick();
            for vf in 0..2 {
                assert_eq!(lab.vfs[vf].link().up, up);
            }
        }
        let notices = |lab: &mut Lab| counters(&mut lab.vfs[0])["mailbox_notices"];
        let before = notices(&mut lab);
        assert!(before > 2);
        // If no interrupt comes, the PF's tick looks.
        lab.settle();
        lab.model.set_defects(Defects {
            line_cut: true,
            ..Defects::default()
        });
        lab.model.set_link(false);
        lab.tick();
        assert_eq!(notices(&mut lab), before + 1);
        lab.model.set_defects(Defects::default());
        lab.model.set_link(true);
        lab.connect();
        lab.prove(0, 1, 0);
    });
}

#[test]
fn a_vf_without_host_is_an_error_within_a_bound() {
    for behaviour in Behaviour::ALL {
        let arena = tiny(3).arena_size().unwrap();
        let mode = InterruptMode::MsiX { vectors: 10 };
        let model = IgbModel::new(behaviour, Pace::Doorbell, 0, MAC, arena, mode);
        model.set_vfs(1, arena);
        model.set_vf_master(0, true);
        let before = model.now_us();
        let error = igbvf(model.vf_bus(0), tiny(3)).err();
        assert_eq!(error, Some(Error::HostSilent));
        assert!(model.now_us() - before < 100_000);
        // A host that is there, but never looks.
        let mut lab = Lab::hosted(at(behaviour), 1, Config { vfs: 1, ..tiny(10) }, arena);
        let before = lab.model.now_us();
        let error = igbvf(lab.model.vf_bus(0), tiny(3)).err();
        assert_eq!(error, Some(Error::HostSilent));
        assert!(lab.model.now_us() - before < 100_000);
        // The next one succeeds, whatever was left in the mailbox.
        lab.pf.borrow_mut().tick();
        let mut vf = igbvf(lab.bus(0), tiny(3)).unwrap();
        vf.start().unwrap();
        lab.vfs.push(vf);
        lab.connect();
        // The card leaves.
        lab.model.set_vfs(0, arena);
        lab.vfs[0].tick();
        assert_eq!(lab.vfs[0].fault(), Some(Error::DeviceGone));
        lab.vfs[0].tick();
        assert_eq!(lab.vfs[0].fault(), Some(Error::DeviceGone));
    }
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    let lab = Lab::hosted(
        at(Behaviour::Qemu),
        1,
        Config { vfs: 1, ..tiny(10) },
        1 << 20,
    );
    for (config, what) in [
        (
            Config {
                queues: 2,
                ..tiny(3)
            },
            "queues",
        ),
        (tiny(10), "interrupts"),
        (Config::small(InterruptMode::Msi), "interrupts"),
        (
            Config {
                vfs: 1,
                queues: 1,
                ..tiny(3)
            },
            "vfs",
        ),
    ] {
        let error = igbvf(lab.bus(0), config).err();
        assert_eq!(error, Some(Error::BadConfig { what }));
    }
    let (found, needed) = (1 << 20, Config::new(tiny(3).interrupts));
    let needed = Config {
        queues: 1,
        ..needed
    }
    .arena_size()
    .unwrap();
    let config = Config {
        queues: 1,
        ..Config::new(tiny(3).interrupts)
    };
    let error = igbvf(lab.bus(0), config).err();
    assert_eq!(error, Some(Error::ArenaTooSmall { needed, found }));
    for (config, what) in [
        (Config { vfs: 8, ..tiny(10) }, "vfs"),
        (
            Config {
                vfs: 1,
                queues: 3,
                ..tiny(10)
            },
            "queues",
        ),
        (Config { vfs: 1, ..tiny(2) }, "interrupts"),
    ] {
        assert_eq!(config.arena_size(), Err(Error::BadConfig { what }));
    }
    // The vectors of the VFs are the last of the card's.
    for (vfs, vectors) in [(1, 10), (5, 10), (6, 7), (7, 4)] {
        assert_eq!(Config { vfs, ..tiny(10) }.vectors(), vectors);
    }
}

#[test]
fn a_driver_that_stops_and_starts_leaves_nothing_to_the_next() {
    everywhere(1, |place| {
        let mut lab = Lab::new(place, 2);
        for lap in 0..3 {
            lab.prove(0, 1, lap * 100);
            lab.wire();
            // What it was given to send is sent before it stops.
            let out: Vec<_> = (0..5)
                .map(|number| frame(PEER, vf_address(MAC, 1), number, 300))
                .collect();
            for frame in &out {
                lab.send(1, frame, &PLAIN);
            }
            lab.vfs[1].stop();
            assert_eq!(lab.wire(), out);
            assert_eq!(receive(&mut lab.vfs[1]), Err(Error::Stopped));
            let sent = frame(vf_address(MAC, 1), vf_address(MAC, 0), 5, 700);
            lab.send(0, &sent, &PLAIN);
            lab.settle();
            lab.vfs[1].start().unwrap();
            lab.settle();
            assert!(lab.drain(1).is_empty());
            let counters = counters(&mut lab.vfs[1]);
            assert_eq!(counters["rx_lost_in_reset"], 0);
        }
    });
}

/// Has the PF's card break, and its driver reset it.
fn reset_pf(lab: &Lab) {
    lab.model.set_defects(Defects {
        head: Some((0xffff, true)),
        ..Defects::default()
    });
    lab.pf.borrow_mut().tick();
    lab.model.set_defects(Defects::default());
    lab.pf.borrow_mut().tick();
    assert_eq!(lab.pf.borrow().fault(), None);
}

/// Nobody has told the PF's driver: it looks.
#[test]
fn a_reset_of_the_card_by_somebody_else_is_mended_whether_or_not_the_pf_runs() {
    everywhere(1, |place| {
        for runs in [true, false] {
            let mut lab = Lab::new(place, 2);
            if !runs {
                lab.pf.borrow_mut().stop();
            }
            for lap in 0..2 {
                lab.prove(0, 1, lap * 1000);
                // Another driver resets the card, and leaves it so.
                drop(Igb::new(lab.model.bus(), tiny(10)).unwrap());
                lab.pf.borrow_mut().tick();
                let fault = lab.pf.borrow().fault();
                assert_eq!(fault, runs.then_some(Error::HostReset));
                for _ in 0..3 {
                    lab.tick();
                }
                lab.model.elapse(500_000);
                lab.settle();
                lab.tick();
                let faults = [0, 1].map(|vf| lab.vfs[vf].fault());
                assert_eq!((lab.pf.borrow().fault(), faults), (None, [None; 2]));
                (0..2).for_each(|vf| drop(lab.drain(vf)));
                lab.prove(1, 0, lap * 1000 + 500);
            }
        }
    });
}

#[test]
fn a_card_that_was_reset_by_no_host_is_an_error_until_there_is_one() {
    for behaviour in Behaviour::ALL {
        let mut lab = Lab::new(at(behaviour), 1);
        let other = Igb::new(lab.model.bus(), tiny(10)).unwrap();
        lab.vfs[0].tick();
        assert_eq!(lab.vfs[0].fault(), Some(Error::HostReset));
        lab.vfs[0].tick();
        assert_eq!(lab.vfs[0].fault(), Some(Error::HostSilent));
        drop(other);
        lab.pf.borrow_mut().start().unwrap();
        reset_pf(&lab);
        lab.vfs[0].tick();
        assert_eq!(lab.vfs[0].fault(), None);
        lab.connect();
    }
}

#[test]
fn what_is_asked_after_a_reset_of_the_pf_is_asked_again() {
    for behaviour in Behaviour::ALL {
        let mut lab = Lab::new(at(behaviour), 2);
        let filters = Filters {
            vlans: Some(&[7]),
            ..Filters::default()
        };
        lab.vfs[0].set_filters(&filters).unwrap();
        reset_pf(&lab);
        // VF 0 has not noticed yet, and VF 1 notices as it asks.
        lab.vfs[1].set_filters(&filters).unwrap();
        assert_eq!(lab.vfs[1].fault(), None);
        lab.tick();
        lab.tick();
        // Somebody else has its VLAN now, and all else works.
        assert_eq!(counters(&mut lab.vfs[0])["vlans_lost"], 1);
        lab.connect();
        lab.prove(0, 1, 0);
    }
}

#[test]
fn a_host_that_does_not_listen_any_more_is_asked_again() {
    let mut lab = Lab::new(at(Behaviour::Qemu), 1);
    let mut bus = lab.model.bus();
    for (clear, fault) in [(1 << 29, None), (0, Some(Error::HostReset))] {
        bus.write32(0xc00, 8);
        bus.write32(0x800, 0x100 | clear);
        bus.write32(0xc00, 1);
        lab.vfs[0].tick();
        assert_eq!(lab.vfs[0].fault(), fault);
    }
    lab.vfs[0].tick();
    assert_eq!(lab.vfs[0].fault(), None);
}

/// The bus of a VF whose host does as a script says, each time the VF waits.
struct Scripted {
    vf: IgbBus,
    pf: IgbBus,
    script: Vec<[u32; 3]>,
}

impl Bus for Scripted {
    fn read8(&mut self, _: u32) -> u8 {
        unreachable!()
    }
    fn read16(&mut self, _: u32) -> u16 {
        unreachable!()
    }
    fn read32(&mut self, register: u32) -> u32 {
        self.vf.read32(register)
    }
    fn write8(&mut self, _: u32, _: u8) {}
    fn write16(&mut self, _: u32, _: u16) {}
    fn write32(&mut self, register: u32, value: u32) {
        self.vf.write32(register, value);
    }
    fn arena_len(&self) -> usize {
        self.vf.arena_len()
    }
    fn bus_addr(&self, offset: usize) -> BusAddr {
        self.vf.bus_addr(offset)
    }
    fn load16(&mut self, _: usize) -> u16 {
        unreachable!()
    }
    fn load32(&mut self, _: usize) -> u32 {
        unreachable!()
    }
    fn store16(&mut self, _: usize, _: u16) {}
    fn store32(&mut self, _: usize, _: u32) {}
    fn copy_in(&mut self, _: usize, _: &[u8]) {}
    fn copy_out(&mut self, _: usize, _: &mut [u8]) {}
    fn fence(&mut self) {}
    fn delay_us(&mut self, us: u32) {
        self.vf.delay_us(us);
        let asked = self.pf.read32(0xc80) & 1 != 0;
        if let (true, Some(words)) = (asked, self.script.first()) {
            self.pf.write32(0xc00, 8);
            if self.pf.read32(0xc00) & 8 == 0 {
                return;
            }
            for (at, word) in (0x800..).step_by(4).zip(words) {
                self.pf.write32(at, *word);
            }
            self.pf.write32(0xc00, 1);
            self.script.remove(0);
        }
    }
}

#[test]
fn an_answer_is_told_from_a_notice_and_from_a_refusal() {
    let mac = [0x02, 0, 0, 0, 0, 1];
    let granted = [1 | 1 << 31, 2, 0x100];
    let notice = [0x100 | 1 << 29, 0, 0];
    let group = [1 | 1 << 31, 1, 0];
    let nobody = [1 | 1 << 31, 0, 0];
    let bad = |found| Some(Error::BadMacAddress { found });
    let other = [1 | 1 << 31, 2, 0x200];
    let silent = Some(Error::HostSilent);
    let refused = Some(Error::HostRefused { request: 1 });
    for (script, error, then) in [
        (vec![granted], None, silent),
        (vec![notice, notice, granted], None, silent),
        (vec![granted, other], None, bad([2, 0, 0, 0, 0, 2])),
        (vec![notice], silent, None),
        (vec![[1 | 1 << 30, 0, 0]], refused, None),
        (vec![group], bad([1, 0, 0, 0, 0, 0]), None),
        (vec![nobody], bad([0; 6]), None),
    ] {
        let lab = Lab::hosted(
            at(Behaviour::Qemu),
            1,
            Config { vfs: 1, ..tiny(10) },
            1 << 20,
        );
        let bus = Scripted {
            vf: lab.model.vf_bus(0),
            pf: lab.model.bus(),
            script,
        };
        match igbvf(bus, tiny(3)) {
            Ok(mut nic) => {
                assert_eq!((nic.facts().mac, error), (mac, None));
                // What it was is what it stays.
                lab.model.bus().write32(0xc80, 1);
                assert_eq!(nic.start().err(), then);
            }
            Err(found) => assert_eq!(Some(found), error),
        }
    }
}

#[test]
fn a_request_that_comes_as_the_pf_starts_is_answered() {
    for behaviour in Behaviour::ALL {
        let lab = Lab::hosted(at(behaviour), 1, Config { vfs: 1, ..tiny(10) }, 1 << 20);
        lab.pf.borrow_mut().stop();
        let mut bus = lab.model.vf_bus(0);
        bus.write32(0, 1 << 26);
        bus.write32(0xc40, 4);
        bus.write32(0x800, 1);
        bus.write32(0xc40, 1);
        lab.pf.borrow_mut().start().unwrap();
        assert_eq!(bus.read32(0xc40) & 0x30, 0x30);
    }
}
