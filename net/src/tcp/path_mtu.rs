//! Path MTU discovery (RFC 1191): segments that are too long for a network on the way are sent again
//! in shorter pieces.
//!
//! All our segments have the DF bit, so that no router may fragment them. A router that cannot pass
//! one on drops it and sends an ICMP message with the MTU of the next network. Old routers leave the
//! MTU out: then the next lower one of a list is assumed. The message is believed only if it quotes a
//! segment that is in flight (RFC 5927 §4.1, §7.2), and it can only shorten segments. smoltcp's
//! retransmission timer sends the lost segment again, and [`crate::link`] cuts it.
//!
//! The MTU holds for the connection as long as it lives, and for later connections to the same host
//! for ten minutes (§6.3).

use crate::ip::interface::{Interface, Local};
use crate::ip::outbound::IPV4;
use crate::ip::protocol;
use crate::link::ethernet::{IPV4_HEADER, IPV6_HEADER};
use crate::names::Tuple;
use abi::socket::{Address, Ip};
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use smoltcp::wire::{TCP_HEADER_LEN, TcpSeqNumber};

/// The most hosts whose path MTU is remembered. A new one pushes out the oldest.
const PATHS_MAX: usize = 64;
const LIFETIME_NS: u64 = 600_000_000_000;
/// The MTU that every link must have at least, in octets (RFC 791 §3.2).
const MTU_MIN: u16 = 68;
/// The same of IPv6 (RFC 8200 §5).
const MTU_MIN_V6: u16 = 1280;
/// The MTUs that are common (RFC 1191 §7.1), for routers that do not tell theirs.
const PLATEAUS: [u16; 11] = [
    65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, MTU_MIN,
];

/// An ICMP message that a segment was too big: the segment, and the MTU in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooBig {
    pub tuple: Tuple,
    pub seq: TcpSeqNumber,
    pub mtu: u16,
}

impl TooBig {
    /// Parses the quoted datagram. `mtu`: the MTU in the message, 0 if it has none. Returns `None` if
    /// the message is about no segment of ours, or its MTU is no smaller than the segment.
    #[cold]
    pub fn parse(quoted: &[u8], mtu: u16, own: &Interface) -> Option<Self> {
        let ip = quoted.first_chunk::<IPV4>()?;
        let [total, fragment] = [2, 6].map(|at| u16::from_be_bytes([ip[at], ip[at + 1]]));
        let (source, destination) = (&ip[12..16], *ip.last_chunk::<4>()?);
        let is_ours = ip[0] >> 4 == 4
            && ip[9] == protocol::TCP
            && source == own.ipv4().octets()
            && fragment & 0x1fff == 0;
        let tcp = quoted
            .get(usize::from(ip[0] & 15) * 4..)?
            .first_chunk::<8>()?;
        let [port, peer] = [0, 2].map(|at| u16::from_be_bytes([tcp[at], tcp[at + 1]]));
        let mtu = match mtu {
            0 => *PLATEAUS.iter().find(|&&plateau| plateau < total)?,
            mtu => mtu.max(MTU_MIN),
        };
        (is_ours && mtu < total).then_some(TooBig {
            tuple: Tuple {
                port,
                local: Local::IPV4,
                peer: Address {
                    ip: Ip::v4(Ipv4Addr::from(destination)),
                    port: peer,
                },
            },
            seq: TcpSeqNumber(i32::from_be_bytes(*tcp.last_chunk()?)),
            mtu,
        })
    }
}

impl TooBig {
    /// Parses the packet that an ICMPv6 message quotes (RFC 8201 §4, RFC 4443 §3.2). IPv6's least MTU is
    /// 1280: a smaller one counts as that (§4), so that nobody can make segments tiny.
    #[cold]
    pub fn parse_v6(quoted: &[u8], mtu: u16, own: &Interface) -> Option<Self> {
        let (ip, behind) = quoted.split_first_chunk::<IPV6_HEADER>()?;
        let total = IPV6_HEADER as u16 + u16::from_be_bytes([ip[4], ip[5]]);
        let (source, destination) = (&ip[8..24], *ip.last_chunk::<16>()?);
        let local = own.find(Ip(source.try_into().ok()?))?;
        let tcp = behind.first_chunk::<8>()?;
        let [port, peer] = [0, 2].map(|at| u16::from_be_bytes([tcp[at], tcp[at + 1]]));
        let mtu = mtu.max(MTU_MIN_V6);
        let is_ours = ip[0] >> 4 == 6 && ip[6] == protocol::TCP && local != Local::IPV4;
        (is_ours && mtu < total).then_some(TooBig {
            tuple: Tuple {
                port,
                local,
                peer: Address {
                    ip: Ip(destination),
                    port: peer,
                },
            },
            seq: TcpSeqNumber(i32::from_be_bytes(*tcp.last_chunk()?)),
            mtu,
        })
    }

    /// Octets of data in a segment of this MTU, without TCP options.
    pub fn mss(&self) -> u16 {
        let ip = match self.tuple.peer.ip.is_v4() {
            true => IPV4_HEADER,
            false => IPV6_HEADER,
        };
        self.mtu - (ip + TCP_HEADER_LEN) as u16
    }
}

/// The hosts whose path MTU is smaller than the link's.
#[derive(Default)]
pub(super) struct Paths {
    /// The host, the MSS in octets, and the time until which it holds; the oldest entry first.
    known: Vec<(Ip, u16, u64)>,
}

impl Paths {
    /// The MSS of the path to a host, if it is known.
    pub fn mss(&self, to: Ip, now: u64) -> Option<u16> {
        let entry = self.known.iter().find(|&&(host, _, _)| host == to);
        entry
            .filter(|&&(_, _, until)| until > now)
            .map(|&(_, mss, _)| mss)
    }

    #[cold]
    pub fn learn(&mut self, to: Ip, mss: u16, now: u64) {
        let mss = self.mss(to, now).map_or(mss, |known| known.min(mss));
        self.known.retain(|&(host, _, _)| host != to);
        if self.known.len() == PATHS_MAX {
            self.known.remove(0);
        }
        self.known.push((to, mss, now.saturating_add(LIFETIME_NS)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_ends() {
        let mut paths = Paths::default();
        let host = |n: u8| Ip::v4(Ipv4Addr::new(10, 0, 2, n));
        for n in 0..100 {
            paths.learn(host(n), 1000, u64::from(n));
            assert!(paths.known.len() <= PATHS_MAX);
        }
        assert_eq!(paths.mss(host(0), 100), None);
        assert_eq!(paths.mss(host(99), 100), Some(1000));
        // What was learnt once is not forgotten for a greater one.
        paths.learn(host(99), 500, 100);
        paths.learn(host(99), 800, 101);
        assert_eq!(paths.mss(host(99), 101), Some(500));
        assert_eq!(paths.mss(host(99), 101 + LIFETIME_NS), None);
    }
}
