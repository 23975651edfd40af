//! Datagrams put together from fragments.

use super::frames::{fragments, ipv4};
use super::world::{Chance, PEER_IP, SECOND, SERVER_IP};
use crate::stack::Fragments;
use crate::stack::verdict::DropReason;
use smoltcp::wire::{IpProtocol, Ipv4Packet};
use std::vec::Vec;

const PROTOCOL: IpProtocol = IpProtocol::Udp;

/// The fragments of a datagram with this identification.
fn cut(payload: &[u8], size: usize, identification: u16) -> Vec<Vec<u8>> {
    let mut frames = fragments(PROTOCOL, payload, size);
    for frame in &mut frames {
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
        packet.set_ident(identification);
        packet.fill_checksum();
    }
    frames
}

/// The payload of a whole frame, checked.
fn payload(frame: &[u8]) -> &[u8] {
    let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
    assert!(packet.verify_checksum() && !packet.more_frags());
    assert_eq!((packet.frag_offset(), packet.next_header()), (0, PROTOCOL));
    assert_eq!(frame.len(), 14 + usize::from(packet.total_len()));
    &frame[34..]
}

#[test]
fn any_order_gives_the_datagram_once() {
    let mut chance = Chance(3);
    for round in 0..300 {
        let mut fragments = Fragments::default();
        let data: Vec<Vec<u8>> = (0..4)
            .map(|_| {
                let len = 9 + chance.below(5000) as usize;
                chance.octets(len)
            })
            .collect();
        let mut frames = Vec::new();
        for (number, data) in data.iter().enumerate() {
            let size = 8 * (1 + chance.below(180) as usize);
            frames.extend(cut(data, size.min((data.len() - 1) / 8 * 8), number as u16));
        }
        for _ in 0..chance.below(10) {
            let twice = chance.below(frames.len() as u64) as usize;
            frames.push(frames[twice].clone());
        }
        for index in (1..frames.len()).rev() {
            frames.swap(index, chance.below(index as u64 + 1) as usize);
        }
        let mut whole: Vec<Vec<u8>> = Vec::new();
        for frame in &frames {
            whole.extend(fragments.add(frame, SECOND).unwrap());
        }
        for data in &data {
            let came = whole.iter().any(|frame| payload(frame) == data);
            assert!(came, "round {round}");
        }
        let known = |frame: &Vec<u8>| data.iter().any(|data| payload(frame) == data);
        assert!(whole.iter().all(known) && fragments.failed == 0);
    }
}

#[test]
fn what_overlaps_or_contradicts_ends_the_datagram() {
    let data = Chance(1).octets(3000);
    let frames = cut(&data, 1480, 1);
    let shifted = cut(&data, 1000, 1);
    let longer = cut(&Chance(1).octets(4000), 1480, 1);
    for (first, bad) in [
        (&frames[0], &shifted[1]),
        (&frames[1], &shifted[2]),
        (&shifted[1], &frames[0]),
        (&frames[2], &longer[2]),
    ] {
        let mut fragments = Fragments::default();
        assert_eq!(fragments.add(first, SECOND), Ok(None));
        let overlap = Err(DropReason::FragmentOverlap);
        assert_eq!(fragments.add(bad, SECOND), overlap);
        assert_eq!(fragments.failed, 1, "{bad:?}");
    }
}

#[test]
fn a_header_of_another_length_or_a_datagram_too_long_is_no_datagram() {
    let mut fragments = Fragments::default();
    let invalid = Err(DropReason::FragmentInvalid);
    let mut frames = cut(&Chance(2).octets(40), 16, 1);
    // Cut short: not a block of 8 octets.
    Ipv4Packet::new_unchecked(&mut frames[0][14..]).set_total_len(20 + 15);
    assert_eq!(fragments.add(&frames[0], SECOND), invalid);
    let mut far = cut(&Chance(2).octets(1480 * 2), 1480, 2);
    Ipv4Packet::new_unchecked(&mut far[1][14..]).set_frag_offset(65_528);
    assert_eq!(fragments.add(&far[1], SECOND), invalid);
    assert_eq!(fragments.add(&far[0][..30], SECOND), invalid);
    let whole = ipv4(PEER_IP, SERVER_IP, PROTOCOL, b"whole");
    // Not a fragment, yet it does no harm.
    assert_eq!(fragments.add(&whole, SECOND), Ok(Some(whole.clone())));
    assert_eq!(fragments.failed, 0);
}

#[test]
fn the_oldest_give_way_to_the_newest() {
    let mut fragments = Fragments::default();
    for number in 0..1000 {
        let data = Chance(number).octets(5000);
        let frames = cut(&data, 1480, number as u16);
        for frame in &frames[1..] {
            assert_eq!(fragments.add(frame, number), Ok(None));
        }
        // However many are never completed, this one is.
        let whole = fragments.add(&frames[0], number);
        assert_eq!(payload(&whole.unwrap().unwrap()), data);
        assert_eq!(fragments.add(&frames[0], number), Ok(None));
    }
    assert!(fragments.failed > 900);
}

#[test]
fn what_is_not_completed_in_a_minute_is_given_up() {
    let mut fragments = Fragments::default();
    let data = Chance(5).octets(2000);
    let frames = cut(&data, 1480, 1);
    assert_eq!(fragments.add(&frames[0], SECOND), Ok(None));
    assert_eq!(fragments.add(&frames[1], 61 * SECOND), Ok(None));
    assert_eq!(fragments.failed, 1);
    let whole = fragments.add(&frames[0], 62 * SECOND);
    assert_eq!(payload(&whole.unwrap().unwrap()), data);
    assert_eq!(fragments.add(&frames[0], 63 * SECOND), Ok(None));
    fragments.expire(200 * SECOND);
    assert_eq!(fragments.failed, 2);
}
