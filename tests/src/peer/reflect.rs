//! The least that an echo of raw frames can be: the frame itself, turned round.

use crate::frames::{ARP, IPV4, UDP};

/// The Ethernet address of whoever turns frames round.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

/// The answer to an ARP request (RFC 826) or a UDP datagram, made of it in place; sums that
/// were right stay so, since they do not depend on the order of what is swapped.
pub fn reflected(frame: &mut [u8]) -> Option<&[u8]> {
    let kind = frame.get(12..14)?;
    if kind == ARP.to_be_bytes() {
        let sender: [u8; 10] = *frame.get(22..32)?.first_chunk()?;
        let target: [u8; 4] = *frame.get(38..42)?.first_chunk()?;
        frame[21] = 2; // reply
        frame[22..28].copy_from_slice(&MAC);
        frame[28..32].copy_from_slice(&target);
        frame[32..42].copy_from_slice(&sender);
        frame[..6].copy_from_slice(&sender[..6]);
        frame[6..12].copy_from_slice(&MAC);
        return Some(frame);
    }
    if kind == IPV4.to_be_bytes() && frame.get(23) == Some(&UDP) && frame.len() >= 38 {
        swap(&mut frame[..12]);
        swap(&mut frame[26..34]);
        swap(&mut frame[34..38]);
        return Some(frame);
    }
    None
}

/// Swaps the halves.
fn swap(both: &mut [u8]) {
    let (first, second) = both.split_at_mut(both.len() / 2);
    first.swap_with_slice(second);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{Packet, arp, datagram, ethernet, parse};

    const CLIENT: ([u8; 6], [u8; 4]) = ([2, 0, 0, 0, 0, 9], [10, 0, 2, 2]);
    const HERE: [u8; 4] = [10, 0, 2, 15];

    #[test]
    fn requests_and_datagrams_come_back_and_nothing_else() {
        let request = arp(1, CLIENT, ([0; 6], HERE));
        let mut frame = ethernet([0xff; 6], CLIENT.0, ARP, &request);
        let expected = Packet::Arp {
            operation: 2,
            sender: (MAC, HERE),
            target: CLIENT.1,
        };
        assert_eq!(parse(reflected(&mut frame).unwrap()), Some(expected));
        assert_eq!((&frame[..6], &frame[6..12]), (&CLIENT.0[..], &MAC[..]));

        let packet = datagram((CLIENT.1, HERE), (4000, 7), b"there and back");
        let mut frame = ethernet(MAC, CLIENT.0, IPV4, &packet);
        let expected = Packet::Datagram {
            ips: (HERE, CLIENT.1),
            ports: (7, 4000),
            data: b"there and back".to_vec(),
        };
        assert_eq!(parse(reflected(&mut frame).unwrap()), Some(expected));

        for len in 0..38 {
            assert!(reflected(&mut frame.clone()[..len]).is_none(), "{len}");
        }
    }
}
