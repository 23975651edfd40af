//! Datagrams put together from fragments.

use crate::Config;
use crate::ip::fragments::Fragments;
use crate::ip::interface::Interface;
use crate::packet::{self, Content, Packet, Payload};

use crate::tests::frames::{fragments, ipv4};
use crate::tests::world::{Chance, PEER_IP, SECOND, SERVER_IP};
use crate::verdict::DropReason;
use smoltcp::phy::ChecksumCapabilities;
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

/// One fragment, of these octets of a datagram.
fn piece(identification: u16, start: usize, data: &[u8], more: bool) -> Vec<u8> {
    let mut frame = ipv4(PEER_IP, SERVER_IP, PROTOCOL, data);
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    packet.set_ident(identification);
    packet.set_dont_frag(false);
    packet.set_more_frags(more);
    packet.set_frag_offset(start as u16);
    packet.fill_checksum();
    frame
}

impl Fragments {
    /// Adds the fragment in a frame, as the host that has the frame's destination address does.
    pub fn add_frame(&mut self, frame: &[u8], now: u64) -> Result<Option<Vec<u8>>, DropReason> {
        let mut host = Config::new(*frame.first_chunk().unwrap(), 1);
        host.address = (*frame[30..].first_chunk::<4>().unwrap()).into();
        let own = Interface::new(&host);
        let headers = &packet::parse(frame, &own, &ChecksumCapabilities::ignored())?;
        let packet = Packet { frame, headers };
        match &headers.content {
            Content::Ip(ip) => match &ip.payload {
                Payload::Fragment(fragment) => self.add(&packet, ip, fragment, now),
                _ => Ok(Some(frame.to_vec())),
            },
            Content::Arp(_) => panic!("it is no datagram"),
        }
    }
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
            whole.extend(fragments.add_frame(frame, SECOND).unwrap());
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
        assert_eq!(fragments.add_frame(first, SECOND), Ok(None));
        let overlap = Err(DropReason::FragmentOverlap);
        assert_eq!(fragments.add_frame(bad, SECOND), overlap);
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
    assert_eq!(fragments.add_frame(&frames[0], SECOND), invalid);
    let mut far = cut(&Chance(2).octets(1480 * 2), 1480, 2);
    Ipv4Packet::new_unchecked(&mut far[1][14..]).set_frag_offset(65_528);
    assert_eq!(fragments.add_frame(&far[1], SECOND), invalid);
    assert_eq!(fragments.failed, 0);
}

#[test]
fn the_oldest_give_way_to_the_newest() {
    let mut fragments = Fragments::default();
    for number in 0..1000 {
        let data = Chance(number).octets(5000);
        let frames = cut(&data, 1480, number as u16);
        for frame in &frames[1..] {
            assert_eq!(fragments.add_frame(frame, number), Ok(None));
        }
        // However many are never completed, this one is.
        let whole = fragments.add_frame(&frames[0], number);
        assert_eq!(payload(&whole.unwrap().unwrap()), data);
        assert_eq!(fragments.add_frame(&frames[0], number), Ok(None));
    }
    assert!(fragments.failed > 900);
}

#[test]
fn what_is_not_completed_in_a_minute_is_given_up() {
    let mut fragments = Fragments::default();
    let data = Chance(5).octets(2000);
    let frames = cut(&data, 1480, 1);
    assert_eq!(fragments.add_frame(&frames[0], SECOND), Ok(None));
    assert_eq!(fragments.add_frame(&frames[1], 61 * SECOND), Ok(None));
    assert_eq!(fragments.failed, 1);
    let whole = fragments.add_frame(&frames[0], 62 * SECOND);
    assert_eq!(payload(&whole.unwrap().unwrap()), data);
    assert_eq!(fragments.add_frame(&frames[0], 63 * SECOND), Ok(None));
    fragments.expire(200 * SECOND);
    assert_eq!(fragments.failed, 2);
}

#[test]
fn sixteen_datagrams_are_put_together_at_a_time() {
    let mut fragments = Fragments::default();
    let data = Chance(6).octets(24);
    for number in 0..16 {
        let first = piece(number, 0, &data[..16], true);
        assert_eq!(fragments.add_frame(&first, number.into()), Ok(None));
    }
    assert_eq!(fragments.failed, 0);
    // One more of a datagram that is known costs nobody his place.
    let more = piece(15, 48, &data[..8], true);
    assert_eq!(fragments.add_frame(&more, 16), Ok(None));
    assert_eq!(fragments.failed, 0);
    // The seventeenth costs the first its place, and only that.
    assert_eq!(
        fragments.add_frame(&piece(16, 0, &data[..16], true), 17),
        Ok(None)
    );
    assert_eq!(fragments.failed, 1);
    for number in [1, 14, 16] {
        let whole = fragments.add_frame(&piece(number, 16, &data[16..], false), 18);
        assert_eq!(payload(&whole.unwrap().unwrap()), data, "{number}");
    }
    assert_eq!(
        fragments.add_frame(&piece(0, 16, &data[16..], false), 18),
        Ok(None)
    );
    assert_eq!(fragments.failed, 1);
}

#[test]
fn what_is_kept_is_bounded_by_its_octets() {
    // Each fragment is counted with 64 octets more than it has, and 192 KiB are kept.
    let mut fragments = Fragments::default();
    let most = 192 << 10;
    let long = Chance(7).octets(1472);
    let mut kept = 0;
    for number in 0..4 {
        for at in 0..40 {
            if kept + 1472 + 64 > most - 200 {
                break;
            }
            let frame = piece(number, 1472 * (at + 1), &long, true);
            assert_eq!(fragments.add_frame(&frame, u64::from(number)), Ok(None));
            kept += 1472 + 64;
        }
    }
    // What is left, to the octet, and then one octet more.
    let rest = most - kept - 64;
    let frame = |len: usize| piece(9, 0, &Chance(8).octets(len), len.is_multiple_of(8));
    assert_eq!(rest % 8, 0);
    assert_eq!(fragments.add_frame(&frame(rest), 5), Ok(None));
    assert_eq!(fragments.failed, 0);
    assert_eq!(
        fragments.add_frame(&piece(10, 8, &[1; 8], true), 6),
        Ok(None)
    );
    assert_eq!(fragments.failed, 1, "the oldest");
    // As many of the oldest go as it takes.
    let mut fragments = Fragments::default();
    for number in 0..2 {
        let small = piece(number, 8, &long, true);
        assert_eq!(fragments.add_frame(&small, number.into()), Ok(None));
    }
    for at in 0..3 {
        let rest = most - 2 * (1472 + 64);
        let large = piece(2 + at, 8, &Chance(8).octets(rest / 24 * 8 - 64), true);
        assert_eq!(fragments.add_frame(&large, 2), Ok(None));
    }
    assert_eq!(fragments.failed, 0);
    let larger = piece(5, 8, &Chance(8).octets(2000), true);
    assert_eq!(fragments.add_frame(&larger, 3), Ok(None));
    assert_eq!(fragments.failed, 2);
    // A datagram of crumbs is given up before it has as many octets as it may.
    let mut fragments = Fragments::default();
    let crumbs = most / (8 + 64);
    for at in 0..crumbs {
        let crumb = piece(1, 8 * (at + 1), &[0; 8], true);
        assert_eq!(fragments.add_frame(&crumb, 0), Ok(None), "{at}");
    }
    let one_more = piece(1, 8 * (crumbs + 1), &[0; 8], true);
    let no_room = Err(DropReason::FragmentNoRoom);
    assert_eq!(fragments.add_frame(&one_more, 0), no_room);
    assert_eq!((fragments.failed, fragments.deadline()), (1, None));
}

#[test]
fn the_longest_datagram_is_one_and_an_octet_more_is_none() {
    let data = Chance(9).octets(65_515);
    let mut fragments = Fragments::default();
    let (start, rest) = data.split_at(65_512);
    for (at, octets) in start.chunks(1480).enumerate() {
        let frame = piece(1, 1480 * at, octets, true);
        assert_eq!(fragments.add_frame(&frame, 0), Ok(None));
    }
    let too_long = piece(1, 65_512, &[0; 4], false);
    let invalid = Err(DropReason::FragmentInvalid);
    assert_eq!(fragments.add_frame(&too_long, 0), invalid);
    // Nor one that would have to go on behind the longest.
    let endless = piece(1, 65_512, &[0; 8], true);
    assert_eq!(fragments.add_frame(&endless, 0), invalid);
    let whole = fragments.add_frame(&piece(1, 65_512, rest, false), 0);
    let whole = whole.unwrap().unwrap();
    assert_eq!((payload(&whole), fragments.failed), (&data[..], 0));
}

#[test]
fn a_fragment_that_comes_again_is_no_overlap_and_one_of_another_length_is() {
    let data = Chance(10).octets(64);
    let overlap = Err(DropReason::FragmentOverlap);
    let part = |from: usize, to: usize| piece(1, from, &data[from..to], to < 64);
    for (bad, is_bad) in [
        (part(16, 32), false),
        (part(8, 16), false),
        (part(32, 40), false),
        (part(48, 64), false),
        (part(16, 24), true),
        (part(16, 40), true),
        (part(8, 24), true),
        (part(24, 32), true),
        (part(0, 56), true),
        // An end before what is there, and a second end.
        (piece(1, 8, &data[8..16], false), true),
        (piece(1, 56, &data[56..64], true), true),
        // Behind the end.
        (piece(1, 64, &data[..8], true), true),
    ] {
        let mut fragments = Fragments::default();
        assert_eq!(fragments.add_frame(&part(16, 32), 0), Ok(None));
        assert_eq!(fragments.add_frame(&part(48, 64), 0), Ok(None));
        let expected = if is_bad { overlap.clone() } else { Ok(None) };
        assert_eq!(fragments.add_frame(&bad, 0), expected, "{bad:?}");
        assert_eq!(fragments.failed, u64::from(is_bad));
    }
    let mut fragments = Fragments::default();
    assert_eq!(fragments.add_frame(&part(48, 64), 0), Ok(None));
    assert_eq!(
        fragments.add_frame(&piece(1, 32, &data[32..40], false), 0),
        overlap
    );
}

#[test]
fn a_minute_is_a_minute_and_the_latest_sixteen_are_told() {
    let mut fragments = Fragments::default();
    let first = |number: u16| piece(number, 0, &[number as u8; 8], true);
    for number in 0..12 {
        fragments.add_frame(&first(number), SECOND).unwrap();
    }
    assert_eq!(fragments.deadline(), Some(61 * SECOND));
    assert!(!fragments.expire(61 * SECOND - 1));
    assert_eq!((fragments.failed, fragments.timeouts), (0, 0));
    assert!(fragments.expire(61 * SECOND));
    assert_eq!((fragments.failed, fragments.timeouts), (12, 12));
    for number in 12..20 {
        fragments.add_frame(&first(number), 61 * SECOND).unwrap();
    }
    // Without its first fragment nobody can be told.
    fragments
        .add_frame(&piece(20, 8, &[0; 8], true), 61 * SECOND)
        .unwrap();
    assert!(fragments.expire(200 * SECOND));
    assert_eq!(fragments.timeouts, 21);
    let told: Vec<Vec<u8>> = core::iter::from_fn(|| fragments.next_expired()).collect();
    let latest: Vec<Vec<u8>> = (4..20).map(first).collect();
    assert!(told == latest);
    assert!(!fragments.expire(300 * SECOND));
}
