//! Sockets that begin at sequence numbers which are chosen here.
//!
//! smoltcp draws the sequence number of each SYN from its random number generator, and nobody can
//! give it another number. This generator is not secure: three of its numbers tell its state. But an
//! interface is given the generator's seed, and the generator can be run backwards: it is sPCG32, a
//! linear congruence modulo 2^64 whose output is some bits of the state. So for every number there is
//! a seed from which a new interface draws that number, and this interface is used for one SYN. The
//! number of the SYN is compared with the wanted one. Should a later smoltcp have another generator,
//! connections fail, and the tests below say why.
//!
//! In the same way, [`synchronize`] makes a socket for a connection that exists already and of which
//! only the sequence variables were kept.

use crate::ip::interface::Interface;
use crate::phy::instant;
use crate::tcp::arrives::Substitute;
use crate::tcp::device::ReceivedToken;
use crate::tcp::emit::{FROM_PEER, SYN_MAX, from_peer, syn_from_peer};
use crate::tcp::engine::host;
use crate::tcp::handshake::Handshake;
use crate::tcp::sole_socket::SoleSocket;
use abi::socket::Ip;
use smoltcp::iface;
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, TxToken};
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IPV4_HEADER_LEN, IPV6_HEADER_LEN, TcpPacket, TcpSeqNumber};

/// Puts a closed socket into SYN-RECEIVED, as if it had received the peer's SYN and sent its own at
/// `since`; smoltcp measures the round-trip time from there. Nothing is sent. Returns `false` if
/// smoltcp chose another number: then the socket is of no use.
#[must_use]
pub(crate) fn receive_syn(
    socket: &mut SoleSocket,
    own: &Interface,
    handshake: &Handshake,
    since: u64,
) -> bool {
    if socket.get_mut().listen(handshake.tuple.port).is_err() {
        return false;
    }
    let mut place = [0; SYN_MAX];
    let mut wire = Wire::default();
    let mut interface = interface(
        own.address_of(handshake.tuple.local),
        handshake.iss,
        &mut wire,
        since,
    );
    wire.arriving = Some(syn_from_peer(&mut place, own, handshake));
    let now = instant(since);
    interface.poll_ingress_single(now, &mut wire, socket.set());
    interface.poll_egress(now, &mut wire, socket.set());
    wire.sent == Some(handshake.iss)
}

/// Puts a closed socket into ESTABLISHED, where SND.UNA = SND.NXT = ISS + 1 and RCV.NXT = IRS + 1, as
/// if the peer had acknowledged our SYN with the window field `window`. Nothing is sent. Returns
/// `false` if smoltcp did not do so: then the socket is of no use.
#[must_use]
pub(crate) fn synchronize(
    socket: &mut SoleSocket,
    own: &Interface,
    handshake: &Handshake,
    window: u16,
    now: u64,
) -> bool {
    if !receive_syn(socket, own, handshake, now) {
        return false;
    }
    let substitute = Substitute {
        seq: handshake.irs + 1,
        ack: handshake.iss + 1,
        window,
        fin: false,
        rst: false,
        len: 0,
    };
    let mut place = [0; FROM_PEER];
    let mut wire = Wire::default();
    let mut interface = interface(
        own.address_of(handshake.tuple.local),
        handshake.iss,
        &mut wire,
        now,
    );
    wire.arriving = Some(from_peer(
        &mut place,
        own,
        handshake.tuple,
        &substitute,
        &[],
    ));
    interface.poll_ingress_single(instant(now), &mut wire, socket.set());
    socket.get().state() == State::Established
}

/// Lets `open` call a socket's `connect`, with the context from which smoltcp draws the number `iss`
/// for its SYN, and takes the address `from`.
pub(crate) fn send_syn<R>(
    from: Ip,
    iss: TcpSeqNumber,
    now: u64,
    open: impl FnOnce(&mut iface::Context) -> R,
) -> R {
    open(interface(from, iss, &mut Wire::default(), now).context())
}

/// An interface with this one address, whose generator draws this number next.
fn interface(own: Ip, number: TcpSeqNumber, wire: &mut Wire<'_>, now: u64) -> iface::Interface {
    let mut settings = iface::Config::new(HardwareAddress::Ip);
    settings.random_seed = seed(number.0 as u32);
    let mut interface = iface::Interface::new(settings, wire, instant(now));
    interface.update_ip_addrs(|addresses| {
        // There is room for one.
        let _ = addresses.push(host(own));
    });
    interface
}

/// The multiplier and increment of smoltcp's generator, and the multiplier's inverse modulo 2^64.
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
const INVERSE: u64 = inverse(MULTIPLIER);

/// The seed of a generator whose second number is this one. An interface uses the first number for
/// IPv4's identification, so that must be one that it accepts.
fn seed(number: u32) -> u64 {
    const fn before(state: u64) -> u64 {
        state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE)
    }
    let mut free = 0;
    loop {
        // If the three highest bits are 0, the output is bits 29 to 60.
        let first = before(u64::from(number) << 29 | free);
        let drawn = (first >> (29 - (first >> 61))) as u32;
        // The interface draws again for 0, which is one of 65,536.
        if (drawn ^ drawn >> 16) as u16 != 0 {
            return before(first);
        }
        free += 1;
    }
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the number of
/// correct bits, of which there are three at the start.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut right = 3;
    while right < u64::BITS {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        right *= 2;
    }
    inverse
}

/// A device on which one datagram arrives. What smoltcp sends there is lost.
#[derive(Default)]
struct Wire<'f> {
    arriving: Option<&'f [u8]>,
    /// The sequence number of the last segment that smoltcp sent.
    sent: Option<TcpSeqNumber>,
}

impl<'f> Device for Wire<'f> {
    type RxToken<'a>
        = ReceivedToken<'f>
    where
        Self: 'a;
    type TxToken<'a>
        = LostToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(ReceivedToken<'f>, LostToken<'_>)> {
        let received = ReceivedToken(self.arriving.take()?);
        Some((received, LostToken(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<LostToken<'_>> {
        Some(LostToken(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        // No segment with data is sent here.
        capabilities.max_transmission_unit = usize::from(u16::MAX);
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

/// The token of a segment that is lost, and where its sequence number is put.
struct LostToken<'a>(&'a mut Option<TcpSeqNumber>);

impl TxToken for LostToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // No segment without data is longer.
        let mut place = [0; SYN_MAX];
        let datagram = &mut place[..len];
        let result = f(datagram);
        let header = match datagram.first().map(|first| first >> 4) {
            Some(6) => IPV6_HEADER_LEN,
            _ => IPV4_HEADER_LEN,
        };
        let segment = datagram.get(header..).map(TcpPacket::new_checked);
        *self.0 = segment.and_then(|segment| Some(segment.ok()?.seq_number()));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::names::Tuple;
    use crate::tcp::handshake::Offer;
    use alloc::vec;
    use core::net::{Ipv4Addr, SocketAddrV4};

    const WHY: &str = "smoltcp's generator is not the one that `seed` runs backwards: read \
        rand.rs and Interface::new of the new version, and mend `seed`";

    fn socket() -> SoleSocket {
        let mut socket = SoleSocket::new(vec![0; 4096], vec![0; 4096]);
        socket.get_mut().set_nagle_enabled(false);
        socket
    }

    fn handshake(iss: u32, irs: u32) -> Handshake {
        Handshake {
            tuple: Tuple::v4(80, SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), 40_000)),
            iss: TcpSeqNumber(iss as i32),
            irs: TcpSeqNumber(irs as i32),
            offer: Offer {
                window: 1000,
                mss: Some(1460),
                shift: Some(7),
                sack_permitted: true,
            },
        }
    }

    fn numbers() -> impl Iterator<Item = u32> {
        let edges = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];
        let spread = (0..4000u32).map(|n| n.wrapping_mul(0x9e37_79b9));
        edges.into_iter().chain(spread)
    }

    #[test]
    fn a_connection_begins_at_any_number_that_is_asked_for() {
        let own = Interface::new(&Config::new([2, 0, 0, 0, 0, 1], 1));
        for number in numbers() {
            let mut socket = socket();
            let handshake = handshake(number, !number);
            assert!(
                receive_syn(&mut socket, &own, &handshake, 1_000_000),
                "{WHY}"
            );
        }
    }

    #[test]
    fn a_connection_is_opened_with_any_number_that_is_asked_for() {
        let own = Interface::new(&Config::new([2, 0, 0, 0, 0, 1], 1));
        for number in numbers() {
            let mut socket = socket();
            let number = TcpSeqNumber(number as i32);
            let peer = (Ipv4Addr::new(10, 0, 2, 2), 80);
            let connect = |cx: &mut _| socket.get_mut().connect(cx, peer, 40_000);
            send_syn(own.ipv4().into(), number, 0, connect).unwrap();
            assert_eq!(sends(&mut socket, &own), Some(number), "{WHY}");
        }
    }

    /// The number of what a socket sends.
    fn sends(socket: &mut SoleSocket, own: &Interface) -> Option<TcpSeqNumber> {
        let mut wire = Wire::default();
        let mut interface = interface(own.ipv4().into(), TcpSeqNumber(0), &mut wire, 0);
        interface.poll_egress(instant(0), &mut wire, socket.set());
        wire.sent
    }

    #[test]
    fn a_socket_is_put_where_a_connection_is() {
        let own = Interface::new(&Config::new([2, 0, 0, 0, 0, 1], 1));
        for number in numbers() {
            let mut socket = socket();
            let handshake = handshake(number, !number);
            assert!(synchronize(&mut socket, &own, &handshake, 50, 0), "{WHY}");
            assert_eq!(sends(&mut socket, &own), None);
            let first = TcpSeqNumber(number.wrapping_add(1) as i32);
            for count in [0, 10] {
                assert_eq!(socket.get_mut().send_slice(&[0; 10]), Ok(10));
                assert_eq!(sends(&mut socket, &own), Some(first + count));
            }
            let substitute = Substitute {
                seq: handshake.irs + 1,
                ack: first + 20,
                window: 50,
                fin: true,
                rst: false,
                len: 5,
            };
            let mut place = [0; FROM_PEER + 5];
            let mut wire = Wire::default();
            let mut interface = interface(own.ipv4().into(), handshake.iss, &mut wire, 0);
            let datagram = from_peer(&mut place, &own, handshake.tuple, &substitute, b"hello");
            wire.arriving = Some(datagram);
            interface.poll_ingress_single(instant(0), &mut wire, socket.set());
            let socket = socket.get_mut();
            assert_eq!((socket.send_queue(), socket.state()), (0, State::CloseWait));
            assert_eq!(socket.peek(9), Ok(&b"hello"[..]));
        }
    }

    /// smoltcp's generator.
    fn draw(state: &mut u64) -> u32 {
        *state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        (*state >> (29 - (*state >> 61))) as u32
    }

    #[test]
    fn a_first_number_that_smoltcp_draws_again_is_avoided() {
        // One of 65,536 would be without a second try.
        let mut again = None;
        for number in 0..1_000_000 {
            let mut state = seed(number);
            let first = draw(&mut state);
            assert_ne!((first ^ first >> 16) as u16, 0, "{number}");
            assert_eq!(draw(&mut state), number);
            if state != u64::from(number) << 29 {
                again = Some(number);
            }
        }
        let own = Interface::new(&Config::new([2, 0, 0, 0, 0, 1], 1));
        let handshake = handshake(again.unwrap(), 1);
        assert!(receive_syn(&mut socket(), &own, &handshake, 0), "{WHY}");
    }
}
