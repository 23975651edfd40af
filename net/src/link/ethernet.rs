//! Ethernet's header: IEEE 802.3 §3.1.1, with an EtherType (§3.2.6). It is put on and taken off
//! here: smoltcp sees IPv4 packets.

use abi::nic::MacAddress;

/// Octets of a header.
pub(crate) const ETHERNET: usize = 14;
/// EtherTypes (RFC 826, RFC 894, RFC 2464), as they stand in the header.
pub(crate) const ARP: [u8; 2] = [0x08, 0x06];
pub(crate) const IPV4: [u8; 2] = [0x08, 0x00];
pub(crate) const IPV6: [u8; 2] = [0x86, 0xdd];

/// The octets of a header.
pub(crate) type Header = [u8; ETHERNET];

/// The address of a station, or of a group of stations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Station(pub MacAddress);

impl Station {
    /// All stations.
    pub const BROADCAST: Station = Station([0xff; 6]);

    /// Whether it is that of a group, or of all (IEEE 802.3 §3.2.3: the first bit on the wire).
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether one station can have it.
    pub fn is_single(self) -> bool {
        !self.is_group() && self.0 != [0; 6]
    }

    /// The header of a frame that this station sends to another.
    #[inline]
    pub fn header(self, to: Station, kind: [u8; 2]) -> Header {
        let mut header = [0; ETHERNET];
        header[..6].copy_from_slice(&to.0);
        header[6..12].copy_from_slice(&self.0);
        header[12..].copy_from_slice(&kind);
        header
    }
}

/// What the header of a frame says: where it goes, who has sent it, and what it carries; and
/// what is behind. `None`: it ends before that.
#[inline]
pub(crate) fn parse(frame: &[u8]) -> Option<(Station, Station, [u8; 2], &[u8])> {
    let (header, packet) = frame.split_first_chunk::<ETHERNET>()?;
    let (to, rest) = header.split_first_chunk()?;
    let (from, rest) = rest.split_first_chunk()?;
    let kind = rest.first_chunk()?;
    Some((Station(*to), Station(*from), *kind, packet))
}
