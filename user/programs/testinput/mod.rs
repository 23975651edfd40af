//! What the lab's `testinput` sends and prints.

use abi::nic::MacAddress;

/// An Ethernet frame with an ARP request (RFC 826): who has `target`? Tell `sender`.
pub fn arp_request(mac: MacAddress, sender: [u8; 4], target: [u8; 4]) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[0..6].fill(0xff); // to everybody
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x08, 0x06]); // ARP
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, request
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&sender);
    frame[38..42].copy_from_slice(&target);
    frame
}

/// A frame as the lab printed it: lines of 16 bytes behind `input: ` and their offset in
/// hexadecimal, a space after every second byte and one more after eight, none at the
/// end of a line; a line end after each, so that printed with one more it stands apart.
pub struct Hex<'a>(pub &'a [u8]);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (row, bytes) in self.0.chunks(16).enumerate() {
            write!(f, "input: {:04x}   ", row * 16)?;
            for (at, byte) in bytes.iter().enumerate() {
                match at {
                    0 => {}
                    8 => f.write_str("  ")?,
                    _ if at % 2 == 0 => f.write_str(" ")?,
                    _ => {}
                }
                write!(f, "{byte:02x}")?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_labs() {
        let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
        let frame = arp_request(mac, [10, 0, 2, 15], [10, 0, 2, 2]);
        assert_eq!(
            Hex(&frame).to_string(),
            "input: 0000   ffff ffff ffff 5254  0012 3456 0806 0001\n\
             input: 0010   0800 0604 0001 5254  0012 3456 0a00 020f\n\
             input: 0020   0000 0000 0000 0a00  0202\n"
        );
    }

    #[test]
    fn lines_end_where_the_frame_ends() {
        let dump = |len: usize| Hex(&vec![0xab; len]).to_string();
        assert_eq!(dump(0), "");
        assert_eq!(dump(1), "input: 0000   ab\n");
        assert_eq!(dump(8), "input: 0000   abab abab abab abab\n");
        assert_eq!(dump(9), "input: 0000   abab abab abab abab  ab\n");
        assert!(dump(16).lines().all(|line| !line.ends_with(' ')));
        assert_eq!(
            dump(1514).lines().last(),
            Some("input: 05e0   abab abab abab abab  abab")
        );
    }
}
