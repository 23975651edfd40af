//! Ethernet frames by hand: built as a test wants them, wrong ones included, and taken
//! apart with every checksum verified. ARP (RFC 826), IPv4 (RFC 791), ICMP echo
//! (RFC 792), UDP (RFC 768), TCP (RFC 9293); no options but a SYN's, no fragments.

/// An Ethernet address.
pub type Mac = [u8; 6];
/// An IPv4 address.
pub type Ip = [u8; 4];

/// The address of every station.
pub const BROADCAST: Mac = [0xff; 6];
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// TCP flags.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
}

/// The fields of a TCP segment that the tests set or look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From and to port.
    pub ports: (u16, u16),
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// See [`flag`].
    pub flags: u8,
}

/// A frame taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// An ARP packet for IPv4 over Ethernet.
    Arp {
        /// 1 request, 2 reply.
        operation: u16,
        /// The sender's addresses.
        sender: (Mac, Ip),
        /// The address asked for.
        target: Ip,
    },
    /// An ICMP echo request or reply.
    Echo {
        /// From and to.
        ips: (Ip, Ip),
        /// 8 request, 0 reply.
        kind: u8,
        /// Identifier and sequence number.
        number: (u16, u16),
        /// The data.
        data: Vec<u8>,
    },
    /// A UDP datagram.
    Datagram {
        /// From and to.
        ips: (Ip, Ip),
        /// From and to port.
        ports: (u16, u16),
        /// The data.
        data: Vec<u8>,
    },
    /// A TCP segment.
    Segment {
        /// From and to.
        ips: (Ip, Ip),
        /// The header.
        segment: Segment,
        /// The data.
        data: Vec<u8>,
    },
}

/// The Internet checksum (RFC 1071) of the bytes of `parts`, in sequence; each part but
/// the last must have even length. Over bytes that hold a correct checksum it is 0.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        let (words, odd) = part.as_chunks::<2>();
        sum += words
            .iter()
            .map(|word| u32::from(u16::from_be_bytes(*word)))
            .sum::<u32>();
        sum += odd.first().map_or(0, |byte| u32::from(*byte) << 8);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An Ethernet frame, not padded.
pub fn ethernet(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), payload].concat()
}

/// The payload of an ARP frame.
pub fn arp(operation: u16, sender: (Mac, Ip), target: (Mac, Ip)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4]; // Ethernet, IPv4, and their address lengths
    packet.extend(operation.to_be_bytes());
    for (mac, ip) in [sender, target] {
        packet.extend(mac);
        packet.extend(ip);
    }
    packet
}

/// An IPv4 packet.
pub fn ipv4(from: Ip, to: Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]); // don't fragment, 64 hops
    packet.extend(from);
    packet.extend(to);
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An ICMP echo request in its IPv4 packet.
pub fn echo_request(ips: (Ip, Ip), number: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0];
    message.extend(number.0.to_be_bytes());
    message.extend(number.1.to_be_bytes());
    message.extend(data);
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(ips.0, ips.1, ICMP, &message)
}

/// A UDP datagram in its IPv4 packet.
pub fn datagram(ips: (Ip, Ip), ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(ports.0.to_be_bytes());
    message.extend(ports.1.to_be_bytes());
    message.extend((8 + data.len() as u16).to_be_bytes());
    message.extend([0, 0]);
    message.extend(data);
    let sum = match transport_checksum(ips, UDP, &message) {
        0 => 0xffff, // 0 means that there is none
        sum => sum,
    };
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    ipv4(ips.0, ips.1, UDP, &message)
}

/// Options of a SYN (RFC 9293 §3.7.1, RFC 7323 §2.2): segments of 1460 bytes, and windows
/// in units of 4 bytes, as all segments then have them.
const SYN_OPTIONS: [u8; 8] = [2, 4, 0x05, 0xb4, 1, 3, 3, 2];

/// A TCP segment in its IPv4 packet, with a window of 256 KiB.
pub fn segment(ips: (Ip, Ip), header: Segment, data: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(header.ports.0.to_be_bytes());
    message.extend(header.ports.1.to_be_bytes());
    message.extend(header.seq.to_be_bytes());
    message.extend(header.ack.to_be_bytes());
    let options: &[u8] = match header.flags & flag::SYN {
        0 => &[],
        _ => &SYN_OPTIONS,
    };
    let words = 5 + options.len() as u8 / 4;
    message.extend([words << 4, header.flags, 0xff, 0xff, 0, 0, 0, 0]);
    message.extend(options);
    message.extend(data);
    let sum = transport_checksum(ips, TCP, &message);
    message[16..18].copy_from_slice(&sum.to_be_bytes());
    ipv4(ips.0, ips.1, TCP, &message)
}

fn transport_checksum(ips: (Ip, Ip), protocol: u8, message: &[u8]) -> u16 {
    let len = (message.len() as u16).to_be_bytes();
    checksum(&[&ips.0, &ips.1, &[0, protocol], &len, message])
}

/// Takes a frame apart. `None` if it is none of what [`Packet`] tells, or a length or
/// checksum in it is wrong.
pub fn parse(frame: &[u8]) -> Option<Packet> {
    let payload = frame.get(14..)?;
    match u16_at(frame, 12)? {
        ARP => Some(Packet::Arp {
            operation: u16_at(payload, 6)?,
            sender: (array_at(payload, 8)?, array_at(payload, 14)?),
            target: array_at(payload, 24)?,
        }),
        IPV4 => parse_ipv4(payload),
        _ => None,
    }
}

fn parse_ipv4(packet: &[u8]) -> Option<Packet> {
    let (header, _) = packet.split_first_chunk::<20>()?;
    let len = usize::from(u16_at(header, 2)?);
    let message = packet.get(20..len)?;
    if header[0] != 0x45 || checksum(&[header]) != 0 {
        return None;
    }
    let ips: (Ip, Ip) = (array_at(header, 12)?, array_at(header, 16)?);
    let protocol = header[9];
    match protocol {
        ICMP if checksum(&[message]) == 0 => Some(Packet::Echo {
            ips,
            kind: *message.first()?,
            number: (u16_at(message, 4)?, u16_at(message, 6)?),
            data: message.get(8..)?.to_vec(),
        }),
        UDP if transport_checksum(ips, UDP, message) == 0
            && usize::from(u16_at(message, 4)?) == message.len() =>
        {
            Some(Packet::Datagram {
                ips,
                ports: (u16_at(message, 0)?, u16_at(message, 2)?),
                data: message.get(8..)?.to_vec(),
            })
        }
        TCP if transport_checksum(ips, TCP, message) == 0 => Some(Packet::Segment {
            ips,
            segment: Segment {
                ports: (u16_at(message, 0)?, u16_at(message, 2)?),
                seq: u32::from_be_bytes(array_at(message, 4)?),
                ack: u32::from_be_bytes(array_at(message, 8)?),
                flags: *message.get(13)?,
            },
            data: message.get(usize::from(message[12] >> 4) * 4..)?.to_vec(),
        }),
        _ => None,
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: (Mac, Ip) = ([2, 0, 0, 0, 0, 1], [10, 0, 2, 2]);
    const B: (Mac, Ip) = ([2, 0, 0, 0, 0, 2], [10, 0, 2, 15]);
    const IPS: (Ip, Ip) = (A.1, B.1);

    fn framed(packet: &[u8]) -> Vec<u8> {
        let mut frame = ethernet(B.0, A.0, IPV4, packet);
        frame.resize(frame.len().max(60), 0); // padding must not disturb
        frame
    }

    #[test]
    fn checksums_are_those_of_the_rfc() {
        // RFC 1071 section 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&[&bytes]), !0xddf2);
        assert_eq!(
            checksum(&[&bytes[..4], &bytes[4..7]]),
            checksum(&[&bytes[..7]])
        );
    }

    #[test]
    fn what_is_built_can_be_taken_apart() {
        let header = Segment {
            ports: (1234, 80),
            seq: 0xdead_beef,
            ack: 7,
            flags: flag::SYN | flag::ACK,
        };
        for data in [&b""[..], b"x", b"Packet 001"] {
            assert_eq!(
                parse(&framed(&echo_request(IPS, (1, 2), data))),
                Some(Packet::Echo {
                    ips: IPS,
                    kind: 8,
                    number: (1, 2),
                    data: data.to_vec()
                })
            );
            assert_eq!(
                parse(&framed(&datagram(IPS, (9, 7), data))),
                Some(Packet::Datagram {
                    ips: IPS,
                    ports: (9, 7),
                    data: data.to_vec()
                })
            );
            assert_eq!(
                parse(&framed(&segment(IPS, header, data))),
                Some(Packet::Segment {
                    ips: IPS,
                    segment: header,
                    data: data.to_vec()
                })
            );
        }
        let request = ethernet(BROADCAST, A.0, ARP, &arp(1, A, ([0; 6], B.1)));
        assert_eq!(request.len(), 42);
        assert_eq!(
            parse(&request),
            Some(Packet::Arp {
                operation: 1,
                sender: A,
                target: B.1
            })
        );
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let frame = framed(&datagram(IPS, (9, 7), &[b'x'; 40]));
        for at in 14..frame.len() {
            let mut wrong = frame.clone();
            wrong[at] ^= 0x10;
            assert_eq!(parse(&wrong), None, "byte {at}");
        }
        for len in 0..frame.len() {
            assert_eq!(parse(&frame[..len]), None, "cut at {len}");
        }
    }
}
