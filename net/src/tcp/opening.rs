//! Connections that begin at numbers which are chosen here.
//!
//! smoltcp draws the number of each SYN from a generator whose state three of its numbers tell,
//! and takes none from elsewhere. But its interface is given that generator's seed, and the
//! generator (sPCG32, a linear congruence modulo 2^64 whose output is some of its state's bits)
//! can be run backwards. So there is a seed from which a fresh interface draws any wanted number,
//! and that interface is used for one SYN. A number that smoltcp sends all the same is compared
//! with the wanted one, so that another generator in a later smoltcp makes connections fail, and
//! the test below says why.
//!
//! In the same way a socket can be put where a connection is already, of which only its numbers
//! were kept: [`synchronize`].

use crate::ip::interface::Interface;
use crate::phy::instant;
use crate::tcp::arrives::Shape;
use crate::tcp::emit::{FROM_PEER, SYN_MAX, from_peer, syn_from_peer};
use crate::tcp::engine::set_address;
use crate::tcp::handshake::Handshake;
use crate::tcp::solo::Stream;
use smoltcp::iface;
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::State;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IPV4_HEADER_LEN, TcpPacket, TcpSeqNumber};

/// Puts a closed socket into SYN-RECEIVED, as if it had received the peer's SYN at `since` and sent
/// its own then, which smoltcp takes for the round trip's beginning. Nothing is sent. `false`, and
/// the socket is closed or of no use, if smoltcp does not do as it is wanted.
#[must_use]
pub(crate) fn receive_syn(
    solo: &mut Stream,
    own: &Interface,
    handshake: &Handshake,
    since: u64,
) -> bool {
    if solo.get_mut().listen(handshake.tuple.port).is_err() {
        return false;
    }
    let mut place = [0; SYN_MAX];
    let mut wire = Wire::default();
    let mut interface = interface(own, handshake.iss, &mut wire, since);
    wire.arriving = Some(syn_from_peer(&mut place, own, handshake));
    let now = instant(since);
    interface.poll_ingress_single(now, &mut wire, solo.set());
    interface.poll_egress(now, &mut wire, solo.set());
    wire.sent == Some(handshake.iss)
}

/// As [`receive_syn`], and the peer has acknowledged our SYN, and told this window: the socket is
/// in ESTABLISHED, where SND.UNA = SND.NXT = ISS + 1 and RCV.NXT = IRS + 1.
#[must_use]
pub(crate) fn synchronize(
    solo: &mut Stream,
    own: &Interface,
    handshake: &Handshake,
    window: u16,
    now: u64,
) -> bool {
    if !receive_syn(solo, own, handshake, now) {
        return false;
    }
    let shape = Shape {
        seq: handshake.irs + 1,
        ack: handshake.iss + 1,
        window,
        fin: false,
        rst: false,
        len: 0,
    };
    let mut place = [0; FROM_PEER];
    let mut wire = Wire::default();
    let mut interface = interface(own, handshake.iss, &mut wire, now);
    wire.arriving = Some(from_peer(&mut place, own, handshake.tuple, &shape, &[]));
    interface.poll_ingress_single(instant(now), &mut wire, solo.set());
    solo.get().state() == State::Established
}

/// Lets `open` begin a connection with a SYN of this number: it gets what a socket needs for
/// [`Socket::connect`].
pub(crate) fn send_syn<R>(
    own: &Interface,
    iss: TcpSeqNumber,
    now: u64,
    open: impl FnOnce(&mut iface::Context) -> R,
) -> R {
    open(interface(own, iss, &mut Wire::default(), now).context())
}

/// An interface that draws this number next.
fn interface(
    own: &Interface,
    number: TcpSeqNumber,
    wire: &mut Wire<'_>,
    now: u64,
) -> iface::Interface {
    let mut settings = iface::Config::new(HardwareAddress::Ip);
    settings.random_seed = seed(number.0 as u32);
    let mut interface = iface::Interface::new(settings, wire, instant(now));
    set_address(&mut interface, own);
    interface
}

/// The multiplier and increment of smoltcp's generator, and the multiplier's inverse modulo 2^64.
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
const INVERSE: u64 = inverse(MULTIPLIER);

/// The seed of a generator whose second number is this one, and whose first one, of which an
/// interface makes IPv4's identification, is one that it accepts.
fn seed(number: u32) -> u64 {
    const fn before(state: u64) -> u64 {
        state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE)
    }
    let mut free = 0;
    loop {
        // With the three highest bits 0 the output is bits 29 to 60.
        let first = before(u64::from(number) << 29 | free);
        let drawn = (first >> (29 - (first >> 61))) as u32;
        // It draws again for 0, which is one of 65,536.
        if (drawn ^ drawn >> 16) as u16 != 0 {
            return before(first);
        }
        free += 1;
    }
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the bits
/// that are right, and three are from the start.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut right = 3;
    while right < u64::BITS {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        right *= 2;
    }
    inverse
}

/// A device on which one datagram arrives, and from which none leaves.
#[derive(Default)]
struct Wire<'f> {
    arriving: Option<&'f [u8]>,
    /// The number of the segment that was to leave.
    sent: Option<TcpSeqNumber>,
}

impl<'f> Device for Wire<'f> {
    type RxToken<'a>
        = Arrived<'f>
    where
        Self: 'a;
    type TxToken<'a>
        = Leaving<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'f>, Leaving<'_>)> {
        let arrived = Arrived(self.arriving.take()?);
        Some((arrived, Leaving(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        // No segment with data leaves here.
        capabilities.max_transmission_unit = usize::from(u16::MAX);
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

struct Arrived<'f>(&'f [u8]);

impl RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Leaving<'a>(&'a mut Option<TcpSeqNumber>);

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // What has no data is not longer.
        let mut place = [0; SYN_MAX];
        let datagram = &mut place[..len];
        let result = f(datagram);
        let segment = datagram.get(IPV4_HEADER_LEN..).map(TcpPacket::new_checked);
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
    use smoltcp::socket::tcp::{Socket, SocketBuffer};

    const WHY: &str = "smoltcp's generator is not the one that `seed` runs backwards: read \
        rand.rs and Interface::new of the new version, and mend `seed`";

    fn socket() -> Stream {
        let buffer = || SocketBuffer::new(vec![0; 4096]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        crate::tcp::solo::Solo::new(socket)
    }

    fn handshake(iss: u32, irs: u32) -> Handshake {
        Handshake {
            tuple: Tuple {
                port: 80,
                peer: SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), 40_000),
            },
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
            send_syn(&own, number, 0, connect).unwrap();
            assert_eq!(sends(&mut socket, &own), Some(number), "{WHY}");
        }
    }

    /// The number of what a socket sends.
    fn sends(socket: &mut Stream, own: &Interface) -> Option<TcpSeqNumber> {
        let mut wire = Wire::default();
        let mut interface = interface(own, TcpSeqNumber(0), &mut wire, 0);
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
            let shape = Shape {
                seq: handshake.irs + 1,
                ack: first + 20,
                window: 50,
                fin: true,
                rst: false,
                len: 5,
            };
            let mut place = [0; FROM_PEER + 5];
            let mut wire = Wire::default();
            let mut interface = interface(&own, handshake.iss, &mut wire, 0);
            let datagram = from_peer(&mut place, &own, handshake.tuple, &shape, b"hello");
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
