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
const TCP: u8 = 6;
const TCP_LEAST: usize = 20;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;

/// TCP flags: no more data, and hand over what is there.
pub const FIN: u8 = 1;
pub const PSH: u8 = 8;

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
    /// It is a part of a packet.
    pub fragment: bool,
    /// What it carries, and where the payload of that starts. Not known of a fragment.
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
    Some(Headers {
        network: Network::Ipv4,
        ip,
        body,
        end,
        fragment,
        transport: transport(frame, *frame.get(ip + 9)?, body).filter(|_| !fragment),
    })
}

fn ipv6(frame: &[u8], ip: usize) -> Option<Headers> {
    let body = ip + IPV6;
    if frame.len() < body {
        return None;
    }
    Some(Headers {
        network: Network::Ipv6,
        ip,
        body,
        end: body + usize::from(word(frame, ip + 4)?),
        fragment: false,
        transport: transport(frame, *frame.get(ip + 6)?, body),
    })
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
        let ports = match self.transport {
            Some(_) => self.body..self.body + 4,
            None => self.body..self.body,
        };
        let bytes = frame[self.addresses()].iter().chain(&frame[ports]);
        // FNV-1a, folded.
        let hash = bytes.fold(0x811c_9dc5_u32, |hash, &byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        hash ^ hash >> 16
    }
}

/// Folds carries in until 16 bits are left.
fn fold(mut sum: u32) -> u16 {
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
