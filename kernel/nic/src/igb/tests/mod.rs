//! The driver against its model, at each pace, as silicon and as QEMU, with each kind of interrupt,
//! from many seeds.

mod batches;
mod flows;
mod frames;
mod in_place;
mod offload;
mod receive;
mod recovery;
mod setup;
mod transmit;

use super::{Config, Igb, InterruptMode};
use crate::model::igb::{Behaviour, Defects, IgbBus, IgbModel};
use crate::model::{Pace, Rng};
use crate::{Error, Events, Link, MacAddress, Nic, ReceiveInfo, SendOptions};
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const MAC: MacAddress = [0x52, 0x54, 0x00, 0xab, 0xcd, 0xef];
/// Frames as they are.
const PLAIN: SendOptions = SendOptions {
    checksums: false,
    segment_size: 0,
    vlan: None,
};
const UP: Link = Link {
    up: true,
    speed_mbps: 1000,
    full_duplex: true,
};
/// The ways a card can interrupt, and one that has but one message.
const MODES: [InterruptMode; 4] = [
    InterruptMode::MsiX { vectors: 10 },
    InterruptMode::Intx,
    InterruptMode::Msi,
    InterruptMode::MsiX { vectors: 1 },
];

/// Rings so small that a test goes round them often.
fn tiny(mode: InterruptMode) -> Config {
    Config {
        queues: 3,
        receive_ring: 16,
        receive_buffers: 13,
        transmit_ring: 16,
        transmit_buffers: 20,
        large_buffers: 2,
        ..Config::new(mode)
    }
}

/// Where and how a test runs.
#[derive(Clone, Copy, Debug)]
struct Place {
    behaviour: Behaviour,
    pace: Pace,
    seed: u64,
    mode: InterruptMode,
}

impl Place {
    fn model(self, config: &Config) -> IgbModel {
        let arena = config.arena_size().expect("a sound configuration");
        IgbModel::new(
            self.behaviour,
            self.pace,
            self.seed,
            MAC,
            arena,
            config.interrupts,
        )
    }
}

/// Runs a test for each behaviour, pace, kind of interrupt, and so many seeds.
fn everywhere(seeds: u64, test: impl Fn(Place)) {
    for behaviour in Behaviour::ALL {
        for pace in Pace::ALL {
            for mode in MODES {
                for seed in 0..seeds {
                    let place = Place {
                        behaviour,
                        pace,
                        seed,
                        mode,
                    };
                    // Shown if the test fails.
                    std::println!("{place:?}");
                    test(place);
                }
            }
        }
    }
}

/// The simplest place.
fn here() -> Place {
    Place {
        behaviour: Behaviour::Qemu,
        pace: Pace::Doorbell,
        seed: 0,
        mode: MODES[0],
    }
}

/// What the kernel is to a driver: line and messages, the events, somebody who sleeps until they
/// come.
struct Kernel {
    place: Place,
    model: IgbModel,
    nic: Igb<IgbBus>,
    events: Events,
}

impl Kernel {
    fn tiny(place: Place) -> Self {
        Kernel::new(place, tiny(place.mode))
    }

    fn new(place: Place, config: Config) -> Self {
        let model = place.model(&config);
        let nic = Igb::new(model.bus(), config).expect("a sound card");
        let mut kernel = Kernel {
            place,
            model,
            nic,
            events: Events::empty(),
        };
        kernel.nic.start().expect("a sound card");
        kernel.connect();
        kernel
    }

    /// Half a second later there is a link.
    fn connect(&mut self) {
        self.model.elapse(500_000);
        self.sleep(Events::LINK);
        assert_eq!(self.nic.link(), UP);
    }

    /// Serves line and messages until there are none.
    fn interrupts(&mut self) {
        for _ in 0..1000 {
            if self.model.line() {
                // A mask that was on its way may have arrived with the look at the causes.
                let asked = self.nic.on_interrupt(None);
                assert!(asked.is_some() || self.place.behaviour == Behaviour::Silicon);
                self.events |= asked.unwrap_or_default();
            } else if let Some(vector) = self.model.take_message() {
                self.events |= self
                    .nic
                    .on_interrupt(Some(vector))
                    .expect("it was its message");
            } else {
                return;
            }
        }
        panic!("interrupt storm");
    }

    /// Takes the events that have come up.
    fn take(&mut self) -> Events {
        self.interrupts();
        self.events |= self.nic.take_events();
        core::mem::take(&mut self.events)
    }

    /// Sleeps until this event comes. There is no tick here: a lost wake-up is a panic.
    fn sleep(&mut self, event: Events) {
        for round in 0..200 {
            if self.take().contains(event) {
                return;
            }
            self.model.idle(8);
            if round > 100 {
                self.model.settle();
            }
        }
        panic!("{event:?} was lost");
    }

    fn receive(&mut self) -> Result<(Vec<u8>, ReceiveInfo), Error> {
        let mut buffer = vec![0; self.nic.facts().frame_max];
        let (len, info) = self.nic.receive(&mut buffer)?;
        buffer.truncate(len);
        Ok((buffer, info))
    }

    /// All frames that are there.
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            match self.receive() {
                Ok((frame, _)) => frames.push(frame),
                Err(Error::WouldBlock) => return frames,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next frame, slept for; a wake-up may come for nothing.
    fn next(&mut self) -> (Vec<u8>, ReceiveInfo) {
        for _ in 0..100 {
            match self.receive() {
                Ok(received) => return received,
                Err(Error::WouldBlock) => self.sleep(Events::RECEIVE),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("woken again and again for nothing");
    }

    /// Sends, sleeping where the ring is full.
    fn send(&mut self, frame: &[u8], more: bool) {
        for _ in 0..100 {
            match self.nic.send(frame, &PLAIN, more) {
                Ok(()) => return,
                Err(Error::WouldBlock) => self.sleep(Events::TRANSMIT_SPACE),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("woken again and again for nothing");
    }

    /// What the card has put on the wire, in order.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.model.settle();
        let sent = self.model.take_sent();
        sent.into_iter().map(|sent| sent.bytes).collect()
    }

    /// A frame as this card puts it on the wire.
    fn on_wire(&self, frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        if self.place.behaviour == Behaviour::Silicon || frame.len() < 17 {
            frame.resize(frame.len().max(60), 0);
        }
        frame
    }

    fn counters(&mut self) -> BTreeMap<String, u64> {
        let mut counters = BTreeMap::new();
        self.nic.statistics(&mut |name, value| {
            assert!(name.len() <= 32, "{name}");
            assert!(
                counters.insert(name.to_string(), value).is_none(),
                "{name} twice"
            );
        });
        assert!(counters.len() <= 128);
        counters
    }
}
