//! The frame that is sent: as Wharf's `rawsend` and Linux's pktgen send it, a UDP datagram
//! for nobody's Ethernet address.

/// Ethernet, IPv4 and UDP.
pub const HEADERS: usize = 14 + 20 + 8;

/// Longest frame.
pub const MAX: usize = 1514;

/// Fills `frame`, which is at least [`HEADERS`] long.
pub fn fill(frame: &mut [u8]) {
    let ip_len = (frame.len() - 14) as u16;
    frame.fill(0);
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[6..12].copy_from_slice(&[0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0]); // IPv4 without options
    frame[16..18].copy_from_slice(&ip_len.to_be_bytes());
    frame[20..24].copy_from_slice(&[0x40, 0, 64, 17]); // don't fragment, 64 hops, UDP
    frame[26..34].copy_from_slice(&[10, 0, 2, 15, 10, 0, 2, 2]);
    let (words, _) = frame[14..34].as_chunks::<2>();
    let mut sum: u32 = words
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame[34..38].copy_from_slice(&[0, 9, 0, 9]); // the discard port
    frame[38..40].copy_from_slice(&(ip_len - 20).to_be_bytes());
}
