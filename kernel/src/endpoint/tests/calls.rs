//! The calls that copy, and those that ask, of a whole card and of a part of one.

use super::frames::{OTHER, STATIONS};
use super::*;
use abi::nic::{NicInfo, ReceivedFrame, SendOptions};

const STATION: MacAddress = [2, 0, 0, 0, 0, 7];

fn filter() -> Filter {
    Filter {
        station: Some(STATION),
        ethertype: Some(OTHER),
        ..Filter::default()
    }
}

fn frame(to: MacAddress, from: MacAddress, len: usize) -> Vec<u8> {
    let mut frame = [to, from].concat();
    frame.extend(OTHER.to_be_bytes());
    frame.resize(len, len as u8);
    frame
}

impl World {
    fn receive(&mut self, pid: Pid, capacity: u64) -> Result<Vec<u8>> {
        let to = (HERE, capacity);
        let received = self.cards.receive(0, pid, &mut self.table, to)?;
        let received = ReceivedFrame::from_register(received);
        let mut bytes = vec![0; received.len as usize];
        self.table.read(pid, HERE, &mut bytes)?;
        Ok(bytes)
    }

    fn send(&mut self, pid: Pid, frame: &[u8], options: SendOptions) -> Result<u64> {
        self.table.write(pid, HERE, frame)?;
        let from = (HERE, frame.len() as u64);
        self.cards
            .send(0, pid, &mut self.table, from, (options, false))
    }
}

#[test]
fn frames_are_copied_in_and_out_whoever_has_the_buffers() {
    let plain = SendOptions::default();
    for (own, filters) in [(MAC, vec![]), (STATION, vec![filter()])] {
        for mut world in [
            World::e100(Pace::Doorbell, 1),
            World::igb(Pace::Doorbell, 1),
        ] {
            let pid = world.owner(&filters);
            // Nothing there: a notification follows.
            assert_eq!(world.receive(pid, 2048), Err(Error::WouldBlock));
            assert_eq!(world.wait(pid, false), None);
            world.idle();
            let frames = [60, 1514, 100].map(|len| frame(own, STATIONS[2], len));
            world.model.arrive(&frames[0]);
            world.settle();
            assert_eq!(world.bits(pid), wait::NIC_RECEIVE);
            world.model.arrive(&frames[1]);
            world.model.arrive(&frames[2]);
            world.settle();
            assert_eq!(world.receive(pid, 2048).as_deref(), Ok(&frames[0][..]));
            // One that does not fit is lost, and the next one is not.
            assert_eq!(world.receive(pid, 1513), Err(Error::TooLong));
            assert_eq!(world.receive(pid, 100).as_deref(), Ok(&frames[2][..]));
            assert_eq!(world.receive(pid, 100), Err(Error::WouldBlock));
            // However many come, each gives its buffer back.
            for _ in 0..300 {
                world.model.arrive(&frames[0]);
                world.settle();
                assert_eq!(world.receive(pid, 60).as_deref(), Ok(&frames[0][..]));
            }

            let sent = [60, 1514].map(|len| frame(STATIONS[2], own, len));
            for frame in &sent {
                assert_eq!(world.send(pid, frame, plain), Ok(0));
            }
            for len in [0, 1515] {
                let frame = vec![0; len];
                assert_eq!(world.send(pid, &frame, plain), Err(Error::BadFrame));
            }
            let table = &mut world.table;
            let nowhere = (BASE + SIZE as u64 - 10, 60);
            let refused = world.cards.send(0, pid, table, nowhere, (plain, false));
            assert_eq!(refused, Err(Error::BadAddress));
            world.settle();
            assert_eq!(world.model.take_sent(), sent);
        }
    }
}

#[test]
fn a_part_of_a_card_is_described_as_one() {
    let mut world = World::igb(Pace::Doorbell, 1);
    let whole = world.owner(&[]);
    let info = |world: &mut World, pid| {
        world
            .cards
            .info(0, pid, &world.table, HERE)
            .expect("attached");
        let mut bytes = [0; NicInfo::SIZE];
        world.table.read(pid, HERE, &mut bytes).expect("its own");
        NicInfo::from_bytes(&bytes).expect("well formed")
    };
    let described = info(&mut world, whole);
    assert_eq!((described.mac, described.features.filters), (MAC, true));
    world.end(whole);
    let part = world.owner(&[filter()]);
    let described_part = info(&mut world, part);
    assert_eq!(described_part.mac, STATION);
    let features = described_part.features;
    assert!(!features.filters && !features.vlan && features.checksums);
    assert_eq!(described_part.frame_max, described.frame_max);
    // What the card receives concerns others, too.
    let promiscuous = Filters {
        promiscuous: true,
        ..Filters::default()
    };
    assert_eq!(world.filter(part, &promiscuous), Err(Error::NotSupported));
    let vlan = SendOptions {
        vlan: Some(1),
        ..SendOptions::default()
    };
    let own = frame(STATIONS[2], STATION, 60);
    assert_eq!(world.send(part, &own, vlan), Err(Error::NotSupported));
    let forged = frame(STATIONS[2], MAC, 60);
    let plain = SendOptions::default();
    assert_eq!(world.send(part, &forged, plain), Err(Error::NotPermitted));
    assert_eq!(world.count(part, "endpoint_tx_bad_source"), 1);
}

#[test]
fn a_number_that_is_no_endpoint_and_an_area_that_was_not_shown_are_refused() {
    let mut world = World::e100(Pace::Doorbell, 1);
    let pid = world.start(PLENTY);
    assert_eq!(world.exchange_as_it_stands(pid), Err(Error::BadHandle));
    world.attach(pid, &[]).expect("nobody has it");
    assert_eq!(
        world.exchange_as_it_stands(pid),
        Err(Error::InvalidArgument)
    );
    for number in [1, 64, u64::MAX] {
        let refused = world.cards.info(number, pid, &world.table, HERE);
        assert_eq!(refused, Err(Error::BadHandle));
        let refused = world.cards.flush(number, pid, &mut world.table);
        assert_eq!(refused, Err(Error::BadHandle));
    }
    let other = world.start(PLENTY);
    let refused = world.cards.flush(0, other, &mut world.table);
    assert_eq!(refused, Err(Error::BadHandle), "another's");
}
