//! Answers to ARP requests (RFC 826), ICMP echo (RFC 792) and UDP echo (RFC 768, RFC 862),
//! made in place of what was received. A checksum does not depend on the order of what it is
//! of: where only addresses and ports change places, it stays right.

use crate::frame::{IP, MAC};
use crate::sum::sum;

const ICMP: u8 = 1;
const UDP: u8 = 17;
const ECHO_PORT: [u8; 2] = [0, 7];

/// Turns `frame` into its answer, which is as long. `false` if there is none to it, because
/// it asks for nothing, or is for another, or is wrong: then it is as it was.
pub fn answer(frame: &mut [u8]) -> bool {
    let made = match frame.get(12..14) {
        Some([0x08, 0x06]) => arp(frame),
        Some([0x08, 0x00]) => ipv4(frame),
        _ => None,
    };
    if made.is_some() {
        frame.copy_within(6..12, 0);
        frame[6..12].copy_from_slice(&MAC);
    }
    made.is_some()
}

/// A reply to a request for our address.
fn arp(frame: &mut [u8]) -> Option<()> {
    let packet = frame.get_mut(14..42)?;
    // For Ethernet and IPv4, with the lengths of their addresses; a request.
    if packet[..8] != [0, 1, 8, 0, 6, 4, 0, 1] || packet[24..28] != IP {
        return None;
    }
    packet[7] = 2; // a reply
    packet.copy_within(8..18, 18);
    packet[8..14].copy_from_slice(&MAC);
    packet[14..18].copy_from_slice(&IP);
    Some(())
}

/// An answer to a packet without options that is not a fragment.
fn ipv4(frame: &mut [u8]) -> Option<()> {
    let packet = frame.get_mut(14..)?;
    let len = usize::from(u16_at(packet, 2)?);
    let packet = packet.get_mut(..len)?; // without padding
    let (header, message) = packet.split_first_chunk_mut::<20>()?;
    let fragment = u16_at(header, 6)? & 0x3fff; // more of them, or an offset
    if header[0] != 0x45 || fragment != 0 || header[16..20] != IP || sum(header, 0) != 0xffff {
        return None;
    }
    match header[9] {
        ICMP => icmp(message)?,
        UDP => udp(&header[12..20], message)?,
        _ => return None,
    }
    swap(&mut header[12..20]);
    Some(())
}

/// A reply to an echo request.
fn icmp(message: &mut [u8]) -> Option<()> {
    if message.get(..2)? != [8, 0] || message.len() < 8 || sum(message, 0) != 0xffff {
        return None;
    }
    message[..4].fill(0); // the reply's type, code, and no checksum yet
    let check = !sum(message, 0);
    message[2..4].copy_from_slice(&check.to_le_bytes());
    Some(())
}

/// A datagram for the echo port, sent back.
fn udp(addresses: &[u8], message: &mut [u8]) -> Option<()> {
    let ports = message.get(..4)?;
    // An answer to port 0 is not wanted, and two echo ports would never end.
    let is_echo = ports[2..] == ECHO_PORT && ports[..2] != [0, 0] && ports[..2] != ECHO_PORT;
    if !is_echo || usize::from(u16_at(message, 4)?) != message.len() {
        return None;
    }
    if *message.get(6..8)? != [0, 0] {
        // The pseudo header: addresses, protocol, length.
        let numbers = (u16::from(UDP) + message.len() as u16).to_be();
        let start = u64::from(sum(addresses, 0)) + u64::from(numbers);
        if sum(message, start) != 0xffff {
            return None;
        }
    }
    swap(&mut message[..4]);
    Some(())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|two| u16::from_be_bytes(*two))
}

/// Swaps the halves.
fn swap(both: &mut [u8]) {
    let (first, second) = both.split_at_mut(both.len() / 2);
    first.swap_with_slice(second);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::frames::{self, ARP, BROADCAST, IPV4, Mac, Packet, ethernet, parse};
    use std::vec::Vec;

    const CLIENT: (Mac, [u8; 4]) = ([2, 0, 0, 0, 0, 9], [10, 0, 2, 2]);
    const IPS: ([u8; 4], [u8; 4]) = (CLIENT.1, IP);

    /// As it comes from a wire: with padding.
    fn framed(packet: &[u8]) -> Vec<u8> {
        let mut frame = ethernet(MAC, CLIENT.0, IPV4, packet);
        frame.resize(frame.len().max(60), 0);
        frame
    }

    /// The answer to a frame, taken apart by the tests' own functions.
    fn answered(mut frame: Vec<u8>) -> Option<Packet> {
        let before = frame.clone();
        if !answer(&mut frame) {
            assert_eq!(frame, before);
            return None;
        }
        assert_eq!((&frame[..6], &frame[6..12]), (&CLIENT.0[..], &MAC[..]));
        Some(parse(&frame).expect("an answer that is right"))
    }

    #[test]
    fn who_asks_for_our_address_is_told() {
        let ask = |ip| {
            let request = frames::arp(1, CLIENT, ([0; 6], ip));
            answered(ethernet(BROADCAST, CLIENT.0, ARP, &request))
        };
        let told = Packet::Arp {
            operation: 2,
            sender: (MAC, IP),
            target: CLIENT.1,
        };
        assert_eq!(ask(IP), Some(told));
        assert_eq!(ask([10, 0, 2, 16]), None);
    }

    #[test]
    fn echoes_come_back_with_the_same_data() {
        for len in [0, 1, 18, 19, 64, 1400] {
            let data = ::tests::pattern(len as u64, len);
            let echoed = answered(framed(&frames::echo_request(IPS, (3, 4), &data)));
            let reply = Packet::Echo {
                ips: (IP, CLIENT.1),
                kind: 0,
                number: (3, 4),
                data: data.clone(),
            };
            assert_eq!(echoed, Some(reply));
            let echoed = answered(framed(&frames::datagram(IPS, (4000, 7), &data)));
            let reply = Packet::Datagram {
                ips: (IP, CLIENT.1),
                ports: (7, 4000),
                data,
            };
            assert_eq!(echoed, Some(reply));
        }
    }

    #[test]
    fn a_datagram_may_have_no_checksum() {
        let mut frame = framed(&frames::datagram(IPS, (4000, 7), b"without"));
        frame[40..42].fill(0);
        assert!(answer(&mut frame));
        assert_eq!(
            &frame[34..42],
            [0, 7, 4000_u16.to_be_bytes()[0], 0xa0, 0, 15, 0, 0]
        );
        assert_eq!(&frame[42..49], b"without");
    }

    #[test]
    fn what_is_for_others_gets_no_answer() {
        let other = (CLIENT.1, [10, 0, 2, 16]);
        for packet in [
            frames::datagram(other, (4000, 7), b"x"),
            frames::echo_request(other, (3, 4), b"x"),
            frames::datagram(IPS, (4000, 8), b"x"),
            frames::datagram(IPS, (0, 7), b"x"),
            frames::datagram(IPS, (7, 7), b"x"),
            frames::ipv4(CLIENT.1, IP, 6, b"12345678901234567890"),
        ] {
            assert_eq!(answered(framed(&packet)), None);
        }
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        for packet in [
            frames::datagram(IPS, (4000, 7), &[b'x'; 41]),
            frames::echo_request(IPS, (3, 4), &[b'x'; 41]),
        ] {
            let frame = framed(&packet);
            for at in 12..frame.len() {
                let mut wrong = frame.clone();
                wrong[at] ^= 0x10;
                assert_eq!(answered(wrong), None, "byte {at}");
            }
            for len in 0..frame.len() {
                assert_eq!(answered(frame[..len].to_vec()), None, "cut at {len}");
            }
        }
    }
}
