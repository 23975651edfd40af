//! The addresses, and the frame that is sent: as Wharf's `rawsend` and Linux's pktgen send
//! it, a UDP datagram for nobody's Ethernet address.

use crate::sum::sum;

/// Ethernet, IPv4 and UDP.
pub const HEADERS: usize = 14 + 20 + 8;

/// Longest frame.
pub const MAX: usize = 1514;

/// The Ethernet address that QEMU gives its first card.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// The guest's IPv4 address.
pub const IP: [u8; 4] = [10, 0, 2, 15];

/// Fills `frame`, which is at least [`HEADERS`] long.
pub fn fill(frame: &mut [u8]) {
    let ip_len = (frame.len() - 14) as u16;
    frame.fill(0);
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[6..12].copy_from_slice(&MAC);
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0]); // IPv4 without options
    frame[16..18].copy_from_slice(&ip_len.to_be_bytes());
    frame[20..24].copy_from_slice(&[0x40, 0, 64, 17]); // don't fragment, 64 hops, UDP
    frame[26..30].copy_from_slice(&IP);
    frame[30..34].copy_from_slice(&[10, 0, 2, 2]);
    let check = !sum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&check.to_le_bytes());
    frame[34..38].copy_from_slice(&[0, 9, 0, 9]); // the discard port
    frame[38..40].copy_from_slice(&(ip_len - 20).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sum::sum;

    #[test]
    fn what_is_sent_is_a_datagram_for_the_discard_port() {
        let mut frame = [0xaa; MAX];
        for size in [HEADERS, 60, MAX] {
            let frame = &mut frame[..size];
            fill(frame);
            assert_eq!(sum(&frame[14..34], 0), 0xffff);
            assert_eq!(
                usize::from(frame[16]) * 256 + usize::from(frame[17]),
                size - 14
            );
            assert_eq!(
                usize::from(frame[38]) * 256 + usize::from(frame[39]),
                size - 34
            );
            assert_eq!(frame[40..42], [0, 0]); // the datagram has no checksum
        }
    }
}
