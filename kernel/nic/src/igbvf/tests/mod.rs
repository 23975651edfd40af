//! Virtual functions and their host against one modelled card, at each pace, as silicon and as QEMU.

mod hostile;
mod recovery;
mod switch;

use super::{Config, InterruptMode, driver as igbvf};
use crate::igb::{Host, Igb, vf_address};
use crate::model::igb::{Behaviour, IgbBus, IgbModel};
use crate::model::{Model, Pace, Rng};
use crate::{
    Bus, BusAddr, Error, Events, Filters, FrameBuffers, Link, MacAddress, Nic, Outgoing,
    ReceiveInfo, SendOptions, Tail,
};
use spin::Mutex;
use std::boxed::Box;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const MAC: MacAddress = [0x52, 0x54, 0x00, 0xab, 0xcd, 0xef];
const PEER: MacAddress = [0x52, 0x55, 10, 0, 2, 2];
const EVERYBODY: MacAddress = [0xff; 6];
const PLAIN: SendOptions = SendOptions {
    checksums: false,
    segment_size: 0,
    vlan: None,
};

/// Rings so small that a test goes round them often.
fn tiny(vectors: u16) -> Config {
    Config {
        queues: 1,
        receive_ring: 32,
        receive_buffers: 29,
        transmit_ring: 16,
        transmit_buffers: 20,
        large_buffers: 2,
        ..Config::new(InterruptMode::MsiX { vectors })
    }
}

/// Where and how a test runs.
#[derive(Clone, Copy, Debug)]
struct Place {
    behaviour: Behaviour,
    pace: Pace,
    seed: u64,
}

/// The simplest place of a behaviour.
fn at(behaviour: Behaviour) -> Place {
    Place {
        behaviour,
        pace: Pace::Doorbell,
        seed: 0,
    }
}

/// Runs a test for each behaviour and pace, and so many seeds.
fn everywhere(seeds: u64, test: impl Fn(Place)) {
    for behaviour in Behaviour::ALL {
        for pace in Pace::ALL {
            for seed in 0..seeds {
                let place = Place {
                    behaviour,
                    pace,
                    seed,
                };
                // Shown if the test fails.
                std::println!("{place:?}");
                test(place);
            }
        }
    }
}

type Pf = Rc<RefCell<Igb<IgbBus>>>;

/// The driver of a card's PF, with its host.
fn pf(model: &IgbModel, config: Config) -> Igb<IgbBus> {
    let host = Host::new(model.bus(), &config).unwrap();
    let host = Box::leak(Box::new(Mutex::new(host)));
    Igb::hosting(model.bus(), config, host).unwrap()
}

/// How a function is.
trait Health: Nic {
    fn fault(&self) -> Option<Error> {
        self.state().err()
    }
    fn link(&self) -> Link {
        self.state().unwrap_or_default()
    }
}

impl<N: Nic> Health for N {}

/// A VF of a card whose PF is stopped but hosts, and what both are on: for tests about all kinds of cards. Its
/// station address is [`MAC`], and it is in the VLANs of these tests.
pub(crate) fn guest(
    behaviour: Behaviour,
    pace: Pace,
    seed: u64,
    vlans: &[u16],
) -> (Box<dyn Nic>, Box<dyn Model>) {
    const VF: usize = 4;
    let pf_mac = [0x02, 0x54, 0x00, 0xab, 0xcd, 0xef];
    assert_eq!(vf_address(pf_mac, VF), MAC);
    let (host, guest) = (
        Config { vfs: 5, ..tiny(10) },
        Config::small(tiny(3).interrupts),
    );
    let arena = host.arena_size().unwrap();
    let model = IgbModel::new(behaviour, pace, seed, pf_mac, arena, host.interrupts);
    model.set_vfs(5, guest.arena_size().unwrap());
    model.set_vf_master(VF, true);
    let pf = pf(&model, host);
    let world = Guest {
        model: model.clone(),
        pf: Rc::new(RefCell::new(pf)),
    };
    let mut nic = igbvf(bus(&model, &world.pf, VF), guest).unwrap();
    let filters = Filters {
        vlans: Some(vlans),
        ..Filters::default()
    };
    nic.set_filters(&filters).unwrap();
    (Box::new(nic), Box::new(world))
}

struct Guest {
    model: IgbModel,
    pf: Pf,
}

impl Guest {
    fn bus(&self) -> IgbBus {
        self.model.vf_bus(4)
    }
}

impl Model for Guest {
    fn arrive(&self, frame: &[u8]) {
        self.model.arrive(frame);
    }
    fn settle(&self) {
        Model::settle(&self.model);
        serve(&self.model, &self.pf);
        Model::settle(&self.model);
    }
    fn take_sent(&self) -> Vec<Vec<u8>> {
        Model::take_sent(&self.model)
    }
    fn dropped(&self) -> u64 {
        self.model.dropped()
    }
    fn copy_in(&self, offset: usize, bytes: &[u8]) {
        self.bus().copy_in(offset, bytes);
    }
    fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        self.bus().copy_out(offset, bytes);
    }
}

/// The bus of a VF. While its driver waits, the PF's driver serves its interrupts, as in a kernel.
fn bus(model: &IgbModel, pf: &Pf, vf: usize) -> IgbBus {
    let (card, pf) = (model.clone(), pf.clone());
    model.vf_bus(vf).meanwhile(move || {
        serve(&card, &pf);
    })
}

/// Serves the PF's messages until there are none; what they brought.
fn serve(model: &IgbModel, pf: &Pf) -> Events {
    let mut events = Events::empty();
    for _ in 0..1000 {
        let Some(vector) = model.take_message() else {
            return events;
        };
        events |= pf
            .borrow_mut()
            .on_interrupt(Some(vector))
            .unwrap_or_default();
    }
    panic!("interrupt storm");
}

/// A card, its PF's driver, and those of its VFs.
struct Lab {
    model: IgbModel,
    pf: Pf,
    vfs: Vec<Igb<IgbBus>>,
}

impl Lab {
    fn new(place: Place, vfs: usize) -> Lab {
        Lab::with(place, vfs, Config { vfs, ..tiny(10) }, tiny(3))
    }

    /// The PF runs, and so do all VFs; there is a link.
    fn with(place: Place, count: usize, host: Config, guest: Config) -> Lab {
        let mut lab = Lab::hosted(place, count, host, guest.arena_size().unwrap());
        for vf in 0..count {
            let bus = lab.bus(vf);
            let nic = igbvf(bus, guest).unwrap();
            lab.vfs.push(nic);
            lab.vfs[vf].start().unwrap();
        }
        lab.connect();
        lab
    }

    /// The PF runs, and no VF has a driver yet.
    fn hosted(place: Place, vfs: usize, host: Config, guest_arena: usize) -> Lab {
        let arena = host.arena_size().unwrap();
        let mode = host.interrupts;
        let model = IgbModel::new(place.behaviour, place.pace, place.seed, MAC, arena, mode);
        model.set_vfs(vfs, guest_arena);
        (0..vfs).for_each(|vf| model.set_vf_master(vf, true));
        let mut pf = pf(&model, host);
        pf.start().unwrap();
        let pf = Rc::new(RefCell::new(pf));
        let vfs = Vec::new();
        Lab { model, pf, vfs }
    }

    fn bus(&self, vf: usize) -> IgbBus {
        bus(&self.model, &self.pf, vf)
    }

    /// Half a second later there is a link, and everybody knows.
    fn connect(&mut self) {
        self.model.elapse(500_000);
        self.tick();
        self.model.settle();
        assert!(self.pf.borrow().link().up);
        for vf in &mut self.vfs {
            assert!(vf.link().up, "{:?}", vf.fault());
        }
    }

    /// A second is over.
    fn tick(&mut self) {
        serve(&self.model, &self.pf);
        self.pf.borrow_mut().tick();
        serve(&self.model, &self.pf);
        for vf in &mut self.vfs {
            vf.tick();
        }
    }

    /// The card does all that it has to do.
    fn settle(&mut self) {
        self.model.settle();
        serve(&self.model, &self.pf);
        self.model.settle();
    }

    /// What a VF's messages brought.
    fn events(&mut self, vf: usize) -> Events {
        serve(&self.model, &self.pf);
        let mut events = self.vfs[vf].take_events();
        while let Some(vector) = self.model.take_vf_message(vf) {
            events |= self.vfs[vf].on_interrupt(Some(vector)).unwrap();
        }
        events
    }

    /// Sleeps until this event comes to a VF. There is no tick here: a lost wake-up is a panic.
    fn sleep(&mut self, vf: usize, event: Events) {
        for round in 0..200 {
            if self.events(vf).contains(event) {
                return;
            }
            self.model.idle(8);
            if round > 100 {
                self.settle();
            }
        }
        panic!("{event:?} was lost");
    }

    /// The next frame of a VF, slept for.
    fn next(&mut self, vf: usize) -> (Vec<u8>, ReceiveInfo) {
        for _ in 0..100 {
            match receive(&mut self.vfs[vf]) {
                Ok(received) => return received,
                Err(Error::WouldBlock) => self.sleep(vf, Events::RECEIVE),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("woken again and again for nothing");
    }

    /// Has a VF send, sleeping where the ring is full.
    fn send(&mut self, vf: usize, frame: &[u8], options: &SendOptions) {
        for _ in 0..100 {
            match self.vfs[vf].send(frame, options, false) {
                Ok(()) => return,
                Err(Error::WouldBlock) => self.sleep(vf, Events::TRANSMIT_SPACE),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("woken again and again for nothing");
    }

    /// All frames of a VF that are there.
    fn drain(&mut self, vf: usize) -> Vec<Vec<u8>> {
        drain(&mut self.vfs[vf])
    }

    fn drain_pf(&mut self) -> Vec<Vec<u8>> {
        drain(&mut *self.pf.borrow_mut())
    }

    /// What is on the wire by now.
    fn wire(&mut self) -> Vec<Vec<u8>> {
        self.settle();
        let sent = self.model.take_sent();
        sent.into_iter().map(|sent| sent.bytes).collect()
    }

    /// A VF sends to another, and all arrives.
    fn prove(&mut self, from: usize, to: usize, seed: u64) {
        for number in 0..40 {
            let sent = frame(
                vf_address(MAC, to),
                vf_address(MAC, from),
                seed + number,
                300,
            );
            self.send(from, &sent, &PLAIN);
            assert_eq!(self.next(to).0, sent);
        }
    }

    fn counters(&mut self) -> BTreeMap<String, u64> {
        counters(&mut *self.pf.borrow_mut())
    }
}

fn counters(nic: &mut dyn Nic) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    nic.statistics(&mut |name, value| {
        assert!(name.len() <= 32, "{name}");
        let before = counters.insert(name.to_string(), value);
        assert!(before.is_none(), "{name} twice");
    });
    assert!(counters.len() <= 128, "{}", counters.len());
    counters
}

fn receive(nic: &mut dyn Nic) -> Result<(Vec<u8>, ReceiveInfo), Error> {
    let mut buffer = vec![0; nic.facts().frame_max];
    let (len, info) = nic.receive(&mut buffer)?;
    buffer.truncate(len);
    Ok((buffer, info))
}

fn drain(nic: &mut dyn Nic) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        match receive(nic) {
            Ok((frame, _)) => frames.push(frame),
            Err(Error::WouldBlock) => return frames,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A frame of no known protocol, that differs from all others of its test.
fn frame(to: MacAddress, from: MacAddress, number: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(number);
    let mut frame = [&to[..], &from, &[0x88, 0xb5]].concat();
    frame.extend((14..len).map(|_| rng.next() as u8));
    frame
}
