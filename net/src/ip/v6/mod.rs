//! IPv6's control plane: our addresses, the networks on our link, and the routers (RFC 4861, RFC 4862).
//!
//! **Addresses.** The link-local address is made from the station (RFC 4291, appendix A), or at random if
//! others share the station. Each autonomous prefix that a router advertises gives another one with the
//! same identifier (SLAAC). Each address is probed once for duplicates, and used meanwhile (optimistic
//! DAD, RFC 4429), so that nobody waits at the start. If somebody else has it, it is given up: an address
//! of the station's cannot be replaced (RFC 4862 §5.4.5).
//!
//! **Routers.** They are asked for three times, and each that answers is remembered for as long as it
//! says. The first one of the list is used.
//!
//! **Groups.** Each address has a group in which neighbours ask for it, and joining it is reported, so
//! that switches pass its frames on (MLDv2, RFC 3810).
//!
//! Everything that a router can make grow is bounded: addresses, networks, routers. What finds no room is
//! counted. Stations of neighbours are kept by [`crate::ip::neighbors`].

pub(crate) mod ndp;

use crate::counters::counters;
use crate::ip::interface::{
    ADDRESSES, ALL_NODES, ALL_ROUTERS, Interface, Local, NETWORKS, Prefix, is_link_local,
    solicited_node,
};
use crate::ip::neighbors::Neighbors;
use crate::link::ethernet::{ETHERNET, Station, group};
use crate::packet::{IpPacket, Packet};
use crate::secret::{Purpose, Secret};
use crate::verdict::DropReason;
use abi::socket::Ip;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ndp::{Ends, Message, PrefixInformation, RouterAdvertisement};

const SECOND_NS: u64 = 1_000_000_000;
/// How often routers are asked for, and the time between (RFC 4861 §10).
const SOLICITATIONS: u8 = 3;
const SOLICIT_NS: u64 = 4 * SECOND_NS;
/// The time after a probe in which somebody may object (RFC 4861 §10, `RETRANS_TIMER`).
const PROBE_NS: u64 = SECOND_NS;
/// The most routers.
const ROUTERS: usize = 4;
/// What an advertisement without authentication cannot take from an address's valid lifetime (RFC 4862
/// §5.5.3 (e)).
const TWO_HOURS_NS: u64 = 7200 * SECOND_NS;
/// The most answers that wait to be sent.
const ANSWERS_MAX: usize = 64;
/// The beginning of a record of a report that excludes no source, after a change and as an answer (RFC 3810
/// §5.2.12).
const CHANGE_TO_EXCLUDE: [u8; 4] = [4, 0, 0, 0];
const MODE_IS_EXCLUDE: [u8; 4] = [2, 0, 0, 0];
/// All routers that speak MLDv2 (RFC 3810 §5.2.14).
const MLD_ROUTERS: Ip = Ip([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16]);
/// A hop-by-hop header with a router alert (RFC 2711), and padding.
const ROUTER_ALERT: [u8; 8] = [58, 0, 5, 2, 0, 0, 1, 0];
const HOP_BY_HOP: u8 = 0;

counters! {
    /// Events, counted since the start.
    V6Counters {
        /// Addresses that somebody else has.
        duplicates = "ipv6_duplicates",
        /// Router advertisements that were heeded.
        advertisements = "ipv6_router_advertisements",
        /// Prefixes and routers that found no room, or say nothing that a host may believe.
        refused = "ipv6_prefixes_refused",
        /// Advertisements of a neighbour that contradict what is known, and do not override it.
        contradicted = "ipv6_advertisements_ignored",
    }
}

/// An address: its times are those of the clock; `u64::MAX` is never.
struct Owned {
    address: Ip,
    /// When it is no longer preferred, and no longer valid.
    preferred_until: u64,
    valid_until: u64,
    is_deprecated: bool,
    /// The probe is still to be sent.
    is_to_be_probed: bool,
    /// Until when somebody may object.
    probed_until: u64,
}

/// The control plane.
pub(crate) struct V6 {
    /// The lower half of all our addresses.
    identifier: [u8; 8],
    addresses: [Option<Owned>; ADDRESSES],
    networks: Vec<(Prefix, u64)>,
    routers: Vec<(Ip, u64)>,
    /// When routers are asked for again, and how often they were.
    solicit_at: Option<u64>,
    solicitations: u8,
    /// Whether our groups are to be reported, and as an answer to a query.
    report: Option<[u8; 4]>,
    /// Frames that answer neighbours.
    answers: VecDeque<Vec<u8>>,
    /// Addresses that have gone: their connections are to be reset.
    gone: Vec<Local>,
    /// The interface must be told of addresses or routes ([`V6::apply`]).
    is_changed: bool,
    /// When something is to be sent, or ends; `u64::MAX`: never.
    due_at: u64,
    pub counters: V6Counters,
}

impl V6 {
    /// The control plane of an interface: it has a link-local address at once.
    #[cold]
    pub fn new(own: &Interface, secret: &Secret, now: u64) -> Self {
        let [a, b, c, d, e, f] = own.station.0;
        // The identifier of a station that others share must be another one.
        let identifier = match own.is_ours_alone(own.station) {
            true => [a ^ 2, b, c, 0xff, 0xfe, d, e, f],
            false => secret.key(Purpose::Ipv6Identifier).hash(&[]).to_be_bytes(),
        };
        let mut v6 = V6 {
            identifier,
            addresses: Default::default(),
            networks: Vec::new(),
            routers: Vec::new(),
            solicit_at: Some(now),
            solicitations: 0,
            report: None,
            answers: VecDeque::new(),
            gone: Vec::new(),
            is_changed: true,
            due_at: now,
            counters: V6Counters::default(),
        };
        let link = [0xfe, 0x80, 0, 0, 0, 0, 0, 0];
        v6.add(link, (u64::MAX, u64::MAX));
        v6
    }

    /// Adds the address with this upper half, if there is room.
    fn add(&mut self, upper: [u8; 8], (preferred_until, valid_until): (u64, u64)) {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&upper);
        octets[8..].copy_from_slice(&self.identifier);
        let Some(place) = self.addresses.iter().position(Option::is_none) else {
            self.counters.refused += 1;
            return;
        };
        let address = Ip(octets);
        self.addresses[place] = Some(Owned {
            address,
            preferred_until,
            valid_until,
            is_deprecated: false,
            is_to_be_probed: true,
            probed_until: u64::MAX,
        });
        self.report = Some(CHANGE_TO_EXCLUDE);
        self.is_changed = true;
    }

    /// Processes a message of neighbour discovery or MLD, whose checksum is right. Returns the neighbour
    /// whose station is known now.
    ///
    /// # Errors
    /// The reason why it is dropped.
    #[cold]
    pub fn receive(
        &mut self,
        packet: &Packet<'_>,
        ip: &IpPacket,
        (own, neighbors): (&Interface, &mut Neighbors),
        now: u64,
    ) -> Result<Option<Ip>, DropReason> {
        let result = self.process(packet, ip, (own, neighbors), now);
        self.set_due();
        result
    }

    fn process(
        &mut self,
        packet: &Packet<'_>,
        ip: &IpPacket,
        (own, neighbors): (&Interface, &mut Neighbors),
        now: u64,
    ) -> Result<Option<Ip>, DropReason> {
        let message = packet.payload(ip);
        if message.first() == Some(&ndp::MLD_QUERY) {
            // Whoever asks is on the link (RFC 3810 §6.2). The delay that it allows is not used: there are
            // few groups, and they are told in one frame.
            let may_ask = is_link_local(ip.source);
            self.report = self.report.or(may_ask.then_some(MODE_IS_EXCLUDE));
            return match may_ask {
                true => Ok(None),
                false => Err(DropReason::NdpInvalid),
            };
        }
        let hop_limit = packet.frame.get(ETHERNET + 7);
        let hop_limit = hop_limit.copied().unwrap_or(0);
        let from = packet.headers.station;
        match ndp::parse(message, ip, hop_limit)? {
            Message::Solicitation { target, station } => {
                let place = self.place_of(target).ok_or(DropReason::NdpOther)?;
                if ip.source == Ip::UNSPECIFIED {
                    self.probed_by_other(place, (from, target), own, now);
                    return Ok(None);
                }
                let station = station.unwrap_or(from);
                if own.is_ours_alone(station) || !station.is_single() {
                    return Err(DropReason::NdpInvalid);
                }
                let resolved = own.can_be_neighbor(ip.source).then(|| {
                    neighbors.learn(ip.source, station, true, false, now);
                    ip.source
                });
                self.answer(own, target, (ip.source, station), true)?;
                Ok(resolved)
            }
            Message::Advertisement {
                target,
                station,
                is_solicited,
                overrides,
            } => {
                if let Some(place) = self.place_of(target) {
                    self.claimed_by_other(place, now);
                    return Err(DropReason::NdpConflict);
                }
                let station = station.unwrap_or(from);
                if own.is_ours_alone(station) || !own.can_be_neighbor(target) {
                    return Err(DropReason::NdpInvalid);
                }
                // RFC 4861 §7.2.5: without the override flag a known station stays.
                let known = neighbors.station(target, now);
                if !overrides && known.is_some_and(|known| known != station) {
                    self.counters.contradicted += 1;
                    return Err(DropReason::NdpOther);
                }
                neighbors.learn(target, station, false, is_solicited, now);
                Ok(Some(target))
            }
            Message::Router(advertisement) => {
                let station = advertisement.station.unwrap_or(from);
                if !own.is_ours_alone(station) && station.is_single() {
                    neighbors.learn(ip.source, station, true, false, now);
                }
                self.advertised(&advertisement, ip.source, now);
                Ok(Some(ip.source))
            }
            Message::Ignored => Err(DropReason::NdpOther),
        }
    }

    /// Has an advertisement of one of our addresses sent to this host by way of a station.
    fn answer(
        &mut self,
        own: &Interface,
        target: Ip,
        (to, station): (Ip, Station),
        is_solicited: bool,
    ) -> Result<(), DropReason> {
        if self.answers.len() >= ANSWERS_MAX {
            return Err(DropReason::NoRoomForReply);
        }
        let ends = Ends {
            station: (own.station, station),
            from: target,
            to,
        };
        let frame = ndp::advertisement(&ends, target, is_solicited);
        self.answers.push_back(frame);
        Ok(())
    }

    // --- our addresses ------------------------------------------------------------------

    fn place_of(&self, address: Ip) -> Option<usize> {
        let mut owned = self.addresses.iter();
        owned.position(|owned| owned.as_ref().is_some_and(|owned| owned.address == address))
    }

    /// Somebody probes one of our addresses. Who is probing it at the same time has it no more than we
    /// (RFC 4862 §5.4.3); otherwise it is ours, and everybody is told.
    fn probed_by_other(
        &mut self,
        place: usize,
        (from, target): (Station, Ip),
        own: &Interface,
        now: u64,
    ) {
        let is_tentative = self.addresses[place].as_ref();
        let is_tentative = is_tentative.is_some_and(|owned| now < owned.probed_until);
        if from == own.station && own.is_ours_alone(from) {
            return;
        }
        match is_tentative {
            true => self.claimed_by_other(place, now),
            false => {
                // There is room, or the other one asks again.
                let _ = self.answer(own, target, (ALL_NODES, group(ALL_NODES)), false);
            }
        }
    }

    /// Somebody else has one of our addresses. While it is probed, it is given up. Later it is defended
    /// by answers to solicitations alone.
    fn claimed_by_other(&mut self, place: usize, now: u64) {
        self.counters.duplicates += 1;
        let owned = self.addresses[place].as_ref();
        if owned.is_some_and(|owned| now < owned.probed_until) {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: usize) {
        self.addresses[place] = None;
        self.gone.push(local(place));
        self.is_changed = true;
    }

    /// Takes the place of an address that has gone: its connections are over.
    pub fn take_gone(&mut self) -> Option<Local> {
        self.gone.pop()
    }

    // --- routers ------------------------------------------------------------------------

    /// Heeds a router's advertisement (RFC 4861 §6.3.4).
    fn advertised(&mut self, advertisement: &RouterAdvertisement, router: Ip, now: u64) {
        self.counters.advertisements += 1;
        self.solicit_at = None;
        let until = now.saturating_add(u64::from(advertisement.lifetime_s) * SECOND_NS);
        self.routers.retain_mut(|(known, time)| {
            if *known == router {
                *time = until;
            }
            *time > now
        });
        let is_known = self.routers.iter().any(|&(known, _)| known == router);
        if !is_known && advertisement.lifetime_s > 0 {
            match self.routers.len() < ROUTERS {
                true => self.routers.push((router, until)),
                false => self.counters.refused += 1,
            }
        }
        for prefix in &advertisement.prefixes {
            if prefix.is_on_link {
                self.on_link(prefix, now);
            }
            if prefix.is_autonomous {
                self.autonomous(prefix, now);
            }
        }
        self.is_changed = true;
    }

    fn on_link(&mut self, told: &PrefixInformation, now: u64) {
        let until = after(now, told.valid_s);
        self.networks.retain_mut(|(prefix, time)| {
            if *prefix == told.prefix {
                *time = until;
            }
            *time > now
        });
        let is_known = self
            .networks
            .iter()
            .any(|(prefix, _)| *prefix == told.prefix);
        // A prefix of no bits would be the whole world.
        if !is_known && told.valid_s > 0 {
            match self.networks.len() < NETWORKS && told.prefix.len > 0 {
                true => self.networks.push((told.prefix, until)),
                false => self.counters.refused += 1,
            }
        }
    }

    /// Makes an address of a prefix, or renews it (RFC 4862 §5.5.3).
    fn autonomous(&mut self, told: &PrefixInformation, now: u64) {
        // An identifier has 64 bits (RFC 4291 §2.5.1, RFC 2464 §4).
        if told.prefix.len != 64 || told.preferred_s > told.valid_s {
            self.counters.refused += 1;
            return;
        }
        let (preferred, valid) = (after(now, told.preferred_s), after(now, told.valid_s));
        let upper: [u8; 8] = *told.prefix.ip.0.first_chunk().unwrap_or(&[0; 8]);
        let mut known = self.addresses.iter_mut().flatten();
        let Some(owned) = known.find(|owned| owned.address.0.starts_with(&upper)) else {
            if told.valid_s > 0 {
                self.add(upper, (preferred, valid));
            }
            return;
        };
        owned.preferred_until = preferred;
        let left = owned.valid_until.saturating_sub(now);
        owned.valid_until = match u64::from(told.valid_s) * SECOND_NS {
            told if told > TWO_HOURS_NS || told > left => valid,
            _ if left <= TWO_HOURS_NS => owned.valid_until,
            _ => now.saturating_add(TWO_HOURS_NS),
        };
        owned.is_deprecated = preferred <= now;
        self.is_changed = true;
    }

    /// Tells the interface our addresses and routes, if they have changed. Returns whether they have.
    pub fn apply(&mut self, own: &mut Interface) -> bool {
        if !core::mem::take(&mut self.is_changed) {
            return false;
        }
        for (place, owned) in self.addresses.iter().enumerate() {
            let owned = owned.as_ref();
            let is_deprecated = owned.is_some_and(|owned| owned.is_deprecated);
            own.set_v6(
                local(place),
                owned.map(|owned| owned.address),
                is_deprecated,
            );
        }
        let mut networks = [None; NETWORKS];
        for (place, &(prefix, _)) in networks.iter_mut().zip(&self.networks) {
            *place = Some(prefix);
        }
        own.set_routes(networks, self.routers.first().map(|&(router, _)| router));
        true
    }

    // --- time -----------------------------------------------------------------------------

    /// When something is to be sent, or ends; `u64::MAX`: never.
    #[inline]
    pub fn due_at(&self) -> u64 {
        self.due_at
    }

    fn set_due(&mut self) {
        let is_now = self.report.is_some() || !self.answers.is_empty() || self.is_changed;
        let lists = self.routers.iter().map(|&(_, until)| until);
        let lists = lists.chain(self.networks.iter().map(|&(_, until)| until));
        let addresses = self.addresses.iter().flatten().map(|owned| {
            let probe = if owned.is_to_be_probed { 0 } else { u64::MAX };
            probe.min(owned.valid_until).min(owned.preferred_until)
        });
        let first = lists.chain(addresses).chain(self.solicit_at).min();
        self.due_at = if is_now { 0 } else { first.unwrap_or(u64::MAX) };
    }

    /// The next frame to be sent. [`V6::expire`] and [`V6::apply`] come before.
    #[cold]
    pub fn next(&mut self, own: &Interface, now: u64) -> Option<Vec<u8>> {
        let frame = self.next_frame(own, now);
        self.set_due();
        frame
    }

    fn next_frame(&mut self, own: &Interface, now: u64) -> Option<Vec<u8>> {
        if let Some(frame) = self.answers.pop_front() {
            return Some(frame);
        }
        let ends = |from, to| Ends {
            station: (own.station, group(to)),
            from,
            to,
        };
        if let Some(kind) = self.report.take() {
            let groups: Vec<Ip> = own.v6().map(|(_, own)| solicited_node(own)).collect();
            let records = groups.iter().map(|group| [&kind[..], &group.0].concat());
            let records: Vec<u8> = records.flatten().collect();
            let [high, low] = (groups.len() as u16).to_be_bytes();
            let head = [ndp::MLD_REPORT, 0, 0, 0, 0, 0, high, low];
            // An address that is still probed may not be a source, and `::` may (RFC 3810 §5.2.13).
            let ends = ends(Ip::UNSPECIFIED, MLD_ROUTERS);
            let pieces = [&head[..], &records];
            return Some(ndp::headed(&ends, (HOP_BY_HOP, 1), &ROUTER_ALERT, &pieces));
        }
        for owned in self.addresses.iter_mut().flatten() {
            if core::mem::take(&mut owned.is_to_be_probed) {
                owned.probed_until = now.saturating_add(PROBE_NS);
                let to = solicited_node(owned.address);
                return Some(ndp::solicitation(&ends(Ip::UNSPECIFIED, to), owned.address));
            }
        }
        if self.solicit_at.is_some_and(|at| at <= now) {
            self.solicitations += 1;
            let again = self.solicitations < SOLICITATIONS;
            self.solicit_at = again.then(|| now.saturating_add(SOLICIT_NS));
            let from = own.address_of(Local::LINK);
            let is_ours = from != Ip::UNSPECIFIED;
            return is_ours.then(|| ndp::router_solicitation(&ends(from, ALL_ROUTERS)));
        }
        None
    }

    /// The frame that asks for a neighbour's station: in its group, or at the station that it had.
    #[cold]
    pub fn solicitation(own: &Interface, target: Ip, station: Station) -> Option<Vec<u8>> {
        let from = own.address_of(own.source_for(target)?);
        let (to, station) = match station == Station::BROADCAST {
            true => (solicited_node(target), group(solicited_node(target))),
            false => (target, station),
        };
        let station = (own.station, station);
        Some(ndp::solicitation(&Ends { station, from, to }, target))
    }

    /// Ends what is over.
    pub fn expire(&mut self, now: u64) {
        let before = (self.routers.len(), self.networks.len());
        self.routers.retain(|&(_, until)| until > now);
        self.networks.retain(|&(_, until)| until > now);
        self.is_changed |= before != (self.routers.len(), self.networks.len());
        for place in 0..ADDRESSES {
            let Some(owned) = &mut self.addresses[place] else {
                continue;
            };
            if owned.valid_until <= now {
                self.remove(place);
            } else if owned.preferred_until <= now {
                (owned.preferred_until, owned.is_deprecated) = (u64::MAX, true);
                self.is_changed = true;
            }
        }
    }
}

/// The place of an address in the interface's list.
fn local(place: usize) -> Local {
    Local(Local::LINK.0 + place as u8)
}

/// So many seconds from now; all ones is for ever.
fn after(now: u64, seconds: u32) -> u64 {
    match seconds {
        u32::MAX => u64::MAX,
        seconds => now.saturating_add(u64::from(seconds) * SECOND_NS),
    }
}
