//! What is left to us by a card that does checksums and cuts segments.

use super::frames::{Segment, arp_reply, fragments, ipv4, ping, udp};
use super::world::{Chance, PEER_IP, SERVER_IP};
use crate::phy::{is_acceptable, is_tcp};
use smoltcp::wire::{IpProtocol, TcpControl};
use std::vec::Vec;

fn segment(control: TcpControl, len: usize) -> Vec<u8> {
    Segment {
        peer: (PEER_IP, 5000),
        port: 80,
        control,
        seq: u32::MAX - 1000,
        ack: Some(77),
        data: Chance(1).octets(len),
    }
    .frame()
}

#[test]
fn only_whole_tcp_segments_have_a_tcp_checksum() {
    assert!(is_tcp(&segment(TcpControl::Psh, 10)));
    assert!(!is_tcp(&udp((PEER_IP, 5000), 7, b"hello")));
    assert!(!is_tcp(&arp_reply(PEER_IP)));
    let tcp = segment(TcpControl::Psh, 1000);
    for fragment in fragments(IpProtocol::Tcp, &tcp[34..], 400) {
        assert!(!is_tcp(&fragment));
        // Nobody can tell before all have come.
        assert!(is_acceptable(&fragment));
        let mut bad = fragment.clone();
        bad[22] ^= 1;
        assert!(!is_acceptable(&bad));
    }
}

#[test]
fn what_the_card_did_not_verify_is_verified() {
    let good = segment(TcpControl::Psh, 100);
    assert!(is_acceptable(&good));
    for at in 14..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(!is_acceptable(&bad), "byte {at}");
    }
    // These smoltcp verifies itself, but for the IPv4 header.
    let echo = ipv4(PEER_IP, SERVER_IP, IpProtocol::Icmp, &ping(b"hello"));
    for other in [udp((PEER_IP, 5000), 7, b"hello"), echo] {
        let mut bad = other.clone();
        *bad.last_mut().expect("data") ^= 1;
        assert!(is_acceptable(&other) && is_acceptable(&bad));
        bad[22] ^= 1;
        assert!(!is_acceptable(&bad));
    }
    assert!(is_acceptable(&arp_reply(PEER_IP)));
}

#[test]
fn damaged_frames_are_looked_at_without_harm() {
    let mut chance = Chance(7);
    for _ in 0..20_000 {
        let mut frame = segment(TcpControl::Fin, chance.below(64) as usize);
        for _ in 0..chance.below(4) {
            let at = chance.below(frame.len() as u64) as usize;
            frame[at] = chance.next() as u8;
        }
        frame.truncate(chance.below(frame.len() as u64 + 1) as usize);
        is_tcp(&frame);
        is_acceptable(&frame);
    }
}
