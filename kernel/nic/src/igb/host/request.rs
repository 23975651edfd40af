//! What a VF asks of the PF. Whoever has the VF may write anything: so this believes nothing.

use crate::MacAddress;
use crate::igb::mail::{self, GROUPS, WORDS};

/// A request that makes sense, though it may not be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To work, after a reset.
    Reset,
    /// To have this station address.
    SetMac(MacAddress),
    /// Frames to groups, each by its 12 bits in the multicast table; so many count.
    Multicast([u16; GROUPS], usize),
    /// To join a VLAN, or to leave it.
    Vlan { number: u16, joins: bool },
    /// Frames up to this length, with checksum and tag.
    Long(u32),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It comes before the VF was reset, or the VF was not reset since the last time.
    NotReset,
    /// A station address that is not the VF's.
    Mac,
    /// More groups than there is room for, or one that cannot be.
    Multicast,
    /// A VLAN that another function has, or that cannot be, or one too many.
    Vlan,
    /// A length that the card is not set up for.
    Length,
    /// What is for others.
    Promiscuous,
    /// Nothing that has a meaning.
    Unknown,
}

impl Refusal {
    /// The counters' names, in the order of the reasons.
    pub const NAMES: [&'static str; 7] = [
        "vf_refused_before_reset",
        "vf_refused_mac",
        "vf_refused_multicast",
        "vf_refused_vlan",
        "vf_refused_length",
        "vf_refused_promiscuous",
        "vf_refused_unknown",
    ];
}

/// The highest VLAN number.
const VLAN_MAX: u32 = 4094;
/// Bits of the multicast table have numbers of 12 bits.
const GROUP_BITS: u16 = 12;

/// How many words a message has that begins with this one.
pub fn len(first: u32) -> usize {
    let info = (first >> mail::INFO_SHIFT & 0xff) as usize;
    match first & mail::OPCODE {
        mail::SET_MAC => 3,
        mail::MULTICAST => (1 + info.div_ceil(2)).min(WORDS),
        mail::VLAN | mail::LONG => 2,
        _ => 1,
    }
}

/// What a message asks for.
///
/// # Errors
/// Why it asks for nothing that can be granted.
pub fn parse(words: &[u32; WORDS]) -> Result<Request, Refusal> {
    let [first, second, third, ..] = *words;
    let info = first >> mail::INFO_SHIFT;
    match (first & mail::OPCODE, info) {
        (mail::RESET, 0) => Ok(Request::Reset),
        (mail::SET_MAC, 0) => Ok(Request::SetMac(mail::address([second, third]))),
        // With info, it would be about more addresses.
        (mail::SET_MAC, _) => Err(Refusal::Mac),
        (mail::MULTICAST, count) => groups(words, count as usize),
        (mail::VLAN, 0 | 1) if second <= VLAN_MAX => Ok(Request::Vlan {
            number: second as u16,
            joins: info != 0,
        }),
        (mail::VLAN, _) => Err(Refusal::Vlan),
        (mail::LONG, 0) => Ok(Request::Long(second)),
        (mail::LONG, _) => Err(Refusal::Length),
        (mail::PROMISCUOUS, _) => Err(Refusal::Promiscuous),
        _ => Err(Refusal::Unknown),
    }
}

fn groups(words: &[u32; WORDS], count: usize) -> Result<Request, Refusal> {
    if count > GROUPS {
        return Err(Refusal::Multicast);
    }
    let mut groups = [0; GROUPS];
    let halves = words[1..]
        .iter()
        .flat_map(|word| [*word as u16, (word >> 16) as u16]);
    for (place, group) in groups.iter_mut().zip(halves).take(count) {
        if group >> GROUP_BITS != 0 {
            return Err(Refusal::Multicast);
        }
        *place = group;
    }
    Ok(Request::Multicast(groups, count))
}
