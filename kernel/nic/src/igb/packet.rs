//! Where the headers of a frame are, as far as the card must be told, and what of it is a flow.

use crate::Error;

/// Both addresses and the EtherType.
const ETHERNET: usize = 14;
/// A VLAN tag (IEEE 802.1Q).
const TAG: usize = 4;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const IPV4_LEAST: usize = 20;
const IPV6: usize = 40;
/// Extension headers of IPv6 (RFC 8200 §4, RFC 4302, RFC 4303, RFC 6275, RFC 7401, RFC 5533): hop-by-hop
/// options, routing, fragment, ESP, authentication, destination options, mobility, HIP, Shim6.
const EXTENSIONS: [u8; 9] = [0, 43, 44, 50, 51, 60, 135, 139, 140];
pub const TCP: u8 = 6;
const TCP_LEAST: usize = 20;
pub const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
/// Both ports, with which TCP and UDP begin.
const PORTS: usize = 4;

/// TCP flags: no more data, and hand over what is there.
pub const FIN: u16 = 1;
pub const PSH: u16 = 8;

/// What carries a packet over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Ipv4,
    Ipv6,
}

/// What it carries to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// The headers of an IP packet, as offsets into its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub network: Network,
    /// Where the IP header starts.
    pub ip: usize,
    /// Where what it carries starts.
    pub body: usize,
    /// Where the packet ends; the frame may be longer, padded.
    pub end: usize,
    /// It is a part of a packet, or has extension headers, so that it is not known what it carries.
    pub is_hidden: bool,
    /// It is TCP or UDP, not a part of it, and has ports where that begins.
    pub has_ports: bool,
    /// What it carries, and where the payload of that starts, if that is not hidden.
    pub transport: Option<(Transport, usize)>,
}

/// Finds the headers; `None` if the frame is no IP packet.
///
/// # Errors
/// [`Error::BadHeaders`] if it says it is one but the IP header is not whole: QEMU's card drops such
/// a frame and says it was sent.
pub fn parse(frame: &[u8]) -> Result<Option<Headers>, Error> {
    let (ethertype, ip) = match word(frame, 12) {
        Some(ETHERTYPE_VLAN) => (word(frame, 16), ETHERNET + TAG),
        ethertype => (ethertype, ETHERNET),
    };
    let headers = match ethertype {
        Some(ETHERTYPE_IPV4) => ipv4(frame, ip),
        Some(ETHERTYPE_IPV6) => ipv6(frame, ip),
        _ => return Ok(None),
    };
    headers.map(Some).ok_or(Error::BadHeaders)
}

fn ipv4(frame: &[u8], ip: usize) -> Option<Headers> {
    let header = usize::from(frame.get(ip)? & 0xf) * 4;
    let body = ip + header;
    if header < IPV4_LEAST || frame.len() < body {
        return None;
    }
    let end = ip + usize::from(word(frame, ip + 2)?);
    let fragment = word(frame, ip + 6)? & 0x3fff != 0;
    let protocol = *frame.get(ip + 9)?;
    Some(Headers {
        network: Network::Ipv4,
        ip,
        body,
        end,
        is_hidden: fragment,
        has_ports: !fragment && has_ports(frame, protocol, body),
        transport: transport(frame, protocol, body).filter(|_| !fragment),
    })
}

fn ipv6(frame: &[u8], ip: usize) -> Option<Headers> {
    let body = ip + IPV6;
    if frame.len() < body {
        return None;
    }
    let protocol = *frame.get(ip + 6)?;
    Some(Headers {
        network: Network::Ipv6,
        ip,
        body,
        end: body + usize::from(word(frame, ip + 4)?),
        is_hidden: EXTENSIONS.contains(&protocol),
        has_ports: has_ports(frame, protocol, body),
        transport: transport(frame, protocol, body),
    })
}

fn has_ports(frame: &[u8], protocol: u8, body: usize) -> bool {
    (protocol == TCP || protocol == UDP) && frame.len() >= body + PORTS
}

fn transport(frame: &[u8], protocol: u8, body: usize) -> Option<(Transport, usize)> {
    match protocol {
        TCP => {
            let header = usize::from(frame.get(body + 12)? >> 4) * 4;
            let payload = body + header;
            (header >= TCP_LEAST && payload <= frame.len()).then_some((Transport::Tcp, payload))
        }
        UDP => {
            let payload = body + UDP_HEADER;
            (payload <= frame.len()).then_some((Transport::Udp, payload))
        }
        _ => None,
    }
}

impl Headers {
    fn addresses(&self) -> core::ops::Range<usize> {
        match self.network {
            Network::Ipv4 => self.ip + 12..self.ip + 20,
            Network::Ipv6 => self.ip + 8..self.ip + 40,
        }
    }

    /// Sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1), folded, with this length: where the
    /// card starts its own sum.
    pub fn pseudo_sum(&self, frame: &[u8], len: usize) -> u16 {
        let protocol = match self.transport {
            Some((Transport::Udp, _)) => UDP,
            _ => TCP,
        };
        let (pairs, _) = frame[self.addresses()].as_chunks::<2>();
        let addresses = pairs
            .iter()
            .map(|&pair| u32::from(u16::from_be_bytes(pair)));
        fold(addresses.sum::<u32>() + u32::from(protocol) + len as u32)
    }

    /// A number that all packets of a flow share, fragments by their addresses alone.
    pub fn flow(&self, frame: &[u8]) -> u32 {
        let (addresses, _) = frame[self.addresses()].as_chunks::<8>();
        let ports = match self.has_ports {
            true => core::array::from_fn(|index| frame[self.body + index]),
            false => [0; PORTS],
        };
        let addresses = addresses.iter().map(|&pair| u64::from_le_bytes(pair));
        flow(addresses, u32::from_le_bytes(ports))
    }
}

/// A number for addresses and ports (multiplicative hashing, Knuth, TAOCP 3 §6.4), whose high bits
/// are as good as any.
#[inline]
pub fn flow(addresses: impl Iterator<Item = u64>, ports: u32) -> u32 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let of_addresses = addresses.fold(0, |hash: u64, pair| (hash ^ pair).wrapping_mul(GOLDEN));
    ((of_addresses ^ u64::from(ports)).wrapping_mul(GOLDEN) >> 32) as u32
}

/// Folds carries in until 16 bits are left.
pub fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// 16 bits in network order.
pub fn word(frame: &[u8], offset: usize) -> Option<u16> {
    let bytes = frame.get(offset..offset + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}
