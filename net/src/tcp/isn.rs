//! Initial sequence numbers (RFC 6528), and those of them that are SYN cookies (RFC 4987 §3.6).
//!
//! ```text
//!   number = hash(key, both ends) + clock that ticks every 4 us
//!   cookie = hash(key, both ends) + the same clock without its 24 low bits
//!                                 + 24 bits of hash(other key, both ends, IRS, clock) + offer
//! ```
//!
//! An attacker who does not see the segments of a connection cannot compute its numbers from those of
//! his own connections. A new connection between the same ends begins with a higher number than the
//! last one. The upper 8 bits of the clock count periods of 67 s.
//!
//! A SYN cookie is an initial sequence number that replaces an entry in a table. When a segment
//! acknowledges it, the number shows that it was sent to that peer in answer to that SYN, in this
//! period or the last, and what the SYN offered. Two of 256 periods and 16 of 2^24 values are valid at
//! a time, so that one invented number of 2^27 passes for a cookie.

use crate::names::Tuple;
use crate::secret::{Key, Purpose, Secret};
use crate::tcp::handshake::{DEFAULT_MSS, Offer};
use smoltcp::wire::TcpSeqNumber;

/// The time between two ticks of the clock (RFC 9293 §3.4.1).
const STEP_NS: u64 = 4_000;
/// Low bits of the clock, which a cookie lacks.
const LOW: u32 = 24;
const LOW_MASK: u32 = (1 << LOW) - 1;
/// The longest time for which a cookie is valid: the period in which it was made and the next.
pub(crate) const COOKIE_LIFE_NS: u64 = 2 * (STEP_NS << LOW);
/// The MSSs that a cookie can hold: it holds the largest of these that is not greater than the peer's.
/// They are the smallest one possible and those that hosts offer most often.
const MSS: [u16; 8] = [48, 216, 536, 1200, 1360, 1400, 1452, 1460];
/// How many different offers a cookie can hold: each is an MSS and whether SACK is permitted.
const OFFERS: u32 = 2 * MSS.len() as u32;

/// What the check of an acknowledged number as a cookie has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieCheck {
    /// It is a cookie for this connection. The peer's SYN made this offer.
    Valid(Offer),
    /// It is of the right time and perhaps a cookie for these ends, but the segment is not the first
    /// one after the handshake, so that the check cannot tell.
    NotFirst,
    /// It is no cookie.
    Invalid,
}

/// Makes initial sequence numbers, and checks cookies.
pub(crate) struct IsnGenerator {
    ends: Key,
    cookies: Key,
}

impl IsnGenerator {
    #[cold]
    pub fn new(secret: &Secret) -> Self {
        IsnGenerator {
            ends: secret.key(Purpose::SequenceNumbers),
            cookies: secret.key(Purpose::Cookies),
        }
    }

    /// The part that all numbers for these ends have in common.
    fn base(&self, tuple: &Tuple) -> u32 {
        self.ends.hash(&tuple.words()) as u32
    }

    /// The initial sequence number for a connection that begins now.
    pub fn initial(&self, tuple: &Tuple, now: u64) -> TcpSeqNumber {
        let clock = (now / STEP_NS) as u32;
        TcpSeqNumber(self.base(tuple).wrapping_add(clock) as i32)
    }

    /// The cookie that answers a SYN now. `irs`: the sequence number of the SYN.
    pub fn cookie(
        &self,
        tuple: &Tuple,
        irs: TcpSeqNumber,
        offer: &Offer,
        now: u64,
    ) -> TcpSeqNumber {
        let period = period(now);
        let sum = self.proof(tuple, irs, period).wrapping_add(index(offer)) & LOW_MASK;
        let clock = (period << LOW) as u32;
        TcpSeqNumber(self.base(tuple).wrapping_add(clock).wrapping_add(sum) as i32)
    }

    /// Checks whether `iss` is a cookie, which a segment with the sequence number after `irs` has
    /// acknowledged. `window`: the window of that segment in octets.
    pub fn check_cookie(
        &self,
        tuple: &Tuple,
        irs: TcpSeqNumber,
        iss: TcpSeqNumber,
        window: u16,
        now: u64,
    ) -> CookieCheck {
        let cookie = (iss.0 as u32).wrapping_sub(self.base(tuple));
        let now = period(now);
        let age = (now as u32).wrapping_sub(cookie >> LOW) & (u32::MAX >> LOW);
        let Some(period) = now.checked_sub(age.into()).filter(|_| age <= 1) else {
            return CookieCheck::Invalid;
        };
        let index = cookie.wrapping_sub(self.proof(tuple, irs, period)) & LOW_MASK;
        if index >= OFFERS {
            return CookieCheck::NotFirst;
        }
        CookieCheck::Valid(Offer {
            window,
            mss: MSS.get(index as usize / 2).copied(),
            shift: None,
            sack_permitted: index % 2 == 1,
        })
    }

    /// The part of a cookie that nobody without the key can compute.
    fn proof(&self, tuple: &Tuple, irs: TcpSeqNumber, period: u64) -> u32 {
        let irs = u64::from(irs.0 as u32);
        let [ports, high, low] = tuple.words();
        self.cookies.hash(&[ports, high, low, irs, period]) as u32
    }
}

/// The clock without its low bits.
fn period(now: u64) -> u64 {
    (now / STEP_NS) >> LOW
}

/// The number of the offer that a cookie holds for this one.
fn index(offer: &Offer) -> u32 {
    let mss = offer.mss.filter(|&mss| mss > 0).unwrap_or(DEFAULT_MSS);
    let kind = MSS.iter().rposition(|&known| known <= mss).unwrap_or(0);
    2 * kind as u32 + u32::from(offer.sack_permitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, SocketAddrV4};
    use std::collections::BTreeSet;
    use std::vec::Vec;

    const SECOND: u64 = 1_000_000_000;
    const PERIOD: u64 = STEP_NS << LOW;

    fn numbers(seed: u64) -> IsnGenerator {
        IsnGenerator::new(&Secret::from(seed))
    }

    fn tuple(n: u32) -> Tuple {
        let ip = Ipv4Addr::from_bits(0x0a00_0000 | n >> 8);
        Tuple::v4(80, SocketAddrV4::new(ip, 1024 + (n & 0xff) as u16))
    }

    fn offer(mss: Option<u16>, sack_permitted: bool) -> Offer {
        Offer {
            window: 1000,
            mss,
            shift: None,
            sack_permitted,
        }
    }

    #[test]
    fn the_same_ends_get_higher_numbers_as_time_goes_on() {
        let numbers = numbers(1);
        for n in 0..1000 {
            let tuple = tuple(n);
            let mut last = numbers.initial(&tuple, 0);
            for now in (1..2000).map(|step| step * SECOND) {
                let next = numbers.initial(&tuple, now);
                assert_eq!(next - last, 250_000, "RFC 9293 §3.4.1: four microseconds");
                last = next;
            }
        }
    }

    #[test]
    fn a_cookie_is_above_the_numbers_of_earlier_periods() {
        let numbers = numbers(1);
        for n in 0..1000 {
            let (tuple, now) = (tuple(n), u64::from(n) * PERIOD + PERIOD / 2);
            let later = now + PERIOD;
            let cookie = numbers.cookie(&tuple, TcpSeqNumber(5), &offer(None, false), later);
            assert!(cookie > numbers.initial(&tuple, now));
            assert!(cookie < numbers.initial(&tuple, later + PERIOD));
        }
    }

    #[test]
    fn numbers_of_different_ends_have_nothing_to_do_with_each_other() {
        let numbers = numbers(3);
        let drawn: Vec<u32> = (0..100_000)
            .map(|n| numbers.initial(&tuple(n), 7 * SECOND).0 as u32)
            .collect();
        // Each bit of a number, and of the step to the next one, is as often 1 as 0.
        let steps = drawn.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        for values in [drawn.clone(), steps.collect()] {
            for bit in 0..32 {
                let ones = values.iter().filter(|&value| value >> bit & 1 == 1).count();
                // Five standard deviations.
                assert!(ones.abs_diff(values.len() / 2) < 800, "bit {bit}: {ones}");
            }
        }
        let distinct: BTreeSet<u32> = drawn.iter().copied().collect();
        assert!(distinct.len() > 99_990);
        let other = super::tests::numbers(4);
        let same = (0..100_000)
            .filter(|&n| other.initial(&tuple(n), 7 * SECOND).0 as u32 == drawn[n as usize]);
        assert!(same.count() < 2);
    }

    #[test]
    fn a_cookie_tells_each_mss_and_sack_within_its_time() {
        let numbers = numbers(5);
        for (mss, told) in [
            (None, 536),
            (Some(0), 536),
            (Some(1), 48),
            (Some(48), 48),
            (Some(215), 48),
            (Some(216), 216),
            (Some(536), 536),
            (Some(1199), 536),
            (Some(1200), 1200),
            (Some(1360), 1360),
            (Some(1400), 1400),
            (Some(1452), 1452),
            (Some(1460), 1460),
            (Some(8960), 1460),
        ] {
            for sack in [false, true] {
                let (tuple, irs) = (tuple(told.into()), TcpSeqNumber(-7));
                let sent = 10 * PERIOD + 3;
                let cookie = numbers.cookie(&tuple, irs, &offer(mss, sack), sent);
                let read = |now| numbers.check_cookie(&tuple, irs, cookie, 77, now);
                let expected = Offer {
                    window: 77,
                    ..offer(Some(told), sack)
                };
                for now in [sent, sent + PERIOD, 12 * PERIOD - 1] {
                    assert_eq!(read(now), CookieCheck::Valid(expected));
                }
                for now in [12 * PERIOD, sent + 3 * PERIOD, sent + 100 * PERIOD] {
                    assert_eq!(read(now), CookieCheck::Invalid);
                }
            }
        }
    }

    #[test]
    fn a_cookie_is_for_one_handshake() {
        let numbers = numbers(6);
        let (offer, now) = (offer(Some(1460), true), SECOND);
        let irs = TcpSeqNumber(1000);
        let cookie = numbers.cookie(&tuple(1), irs, &offer, now);
        let read = |tuple, irs, number| numbers.check_cookie(&tuple, irs, number, 1000, now);
        let is_offer = |told| matches!(told, CookieCheck::Valid(_));
        assert!(is_offer(read(tuple(1), irs, cookie)));
        // Data behind the first: perhaps the peer's, whose first segment was lost.
        assert_eq!(read(tuple(1), irs + 1460, cookie), CookieCheck::NotFirst);
        // Of all others that acknowledge it, and of all other numbers, next to none.
        let others = (2..100_000).filter(|&n| is_offer(read(tuple(n), irs, cookie)));
        assert!(others.count() < 3);
        let random = (0..1_000_000u32).map(|n| TcpSeqNumber(n.wrapping_mul(0x9e37_79b9) as i32));
        let guessed = random.filter(|&number| is_offer(read(tuple(1), irs, number)));
        assert!(guessed.count() < 3);
        // In the first period there is none from before.
        let old = cookie - (1 << LOW);
        assert_eq!(read(tuple(1), irs, old), CookieCheck::Invalid);
    }
}
