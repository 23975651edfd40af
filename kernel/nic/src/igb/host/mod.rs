//! The physical function as the host of virtual ones (82576 datasheet §7.8.2, §7.10).
//!
//! ```text
//!   VF 0 .. VF n-1   each: a mailbox of 16 words, two queues (n and n + 8), one address, some VLANs
//!      | mailbox, VFLRE             ^
//!      v                            | pools, filters, switch
//!   the host: answers requests, one at a time, and only so many a tick
//! ```
//!
//! A VF that was reset works once the host has answered its request, which gives it its station address.
//! It may ask for no other: whoever took the gateway's would be sent, by the card's own switch, what the
//! others send to the gateway. It may ask for groups, for VLANs that nobody else has, and for long frames
//! if the card receives such.
//!
//! Whoever has a VF may write anything into its mailbox, at any time. So each request is checked, a refusal
//! is answered (NACK) and counted by its reason; no answer waits for a lock that a VF has; and a VF that
//! asks more often than [`BUDGET`] times a tick is not listened to before the next one.

mod mailbox;
mod pools;
mod request;

use self::pools::Pools;
use self::request::{Refusal, Request};
use super::bits::bits;
use super::config::VFS_MAX;
use super::csr::Csr;
use super::filters::FilterState;
use super::mail;
use super::regs;
use crate::reserve;
use crate::{Bus, Error, Link, MacAddress};
use alloc::vec::Vec;

/// Requests of a VF that are answered in a tick.
const BUDGET: u32 = 64;
/// Interrupts in a tick that are about nothing the host would do. After so many, mailboxes do not interrupt
/// before the next tick.
const VAIN: u32 = 64;

/// The station address of a VF: the PF's, but for the first byte, which says that it is locally administered
/// (IEEE 802 §8.2.2), and is no other's of this card.
pub fn vf_address(station: MacAddress, vf: usize) -> MacAddress {
    let first = (1..)
        .map(|number| number << 4 | 2)
        .filter(|&first| first != station[0]);
    let mut address = station;
    address[0] = first.take(vf + 1).last().unwrap_or(2);
    address
}

/// A VF, as the host knows it.
#[derive(Clone, Copy, Default)]
struct Guest {
    mac: MacAddress,
    /// It was reset since it last asked to work.
    is_reset: bool,
    /// It works, and is listened to.
    is_clear: bool,
    /// Requests that are answered yet in this tick.
    budget: u32,
    /// A request waits for the lock, or for the next tick.
    asks: bool,
    /// The last answer was not read, as far as is known: nothing is written over it in this tick.
    is_answered: bool,
    /// It is to hear that something has changed.
    is_owed_notice: bool,
    messages: u64,
    refused: u64,
    resets: u64,
    muted: u64,
}

/// The host.
pub struct Host {
    guests: Vec<Guest>,
    pools: Pools,
    /// The link that the VFs know of.
    link: Link,
    vain: u32,
    refusals: [u64; Refusal::NAMES.len()],
    locks_taken: u64,
    silenced: u64,
}

impl Host {
    /// The host of so many VFs.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(
        vfs: usize,
        station: MacAddress,
        (queues, frame_max): (usize, usize),
    ) -> Result<Self, Error> {
        let guest = |vf| {
            Ok(Guest {
                mac: vf_address(station, vf),
                budget: BUDGET,
                ..Guest::default()
            })
        };
        Ok(Host {
            guests: reserve::each(vfs, guest)?,
            pools: Pools::new(vfs, queues, frame_max),
            link: Link::default(),
            vain: 0,
            refusals: [0; Refusal::NAMES.len()],
            locks_taken: 0,
            silenced: 0,
        })
    }

    /// The card was reset: no VF works before it has asked again. Tells the card how its pools work.
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) {
        for guest in &mut self.guests {
            guest.is_clear = false;
            // The VF resets itself when it notices.
            guest.is_reset = false;
            guest.asks = false;
        }
        self.pools.start(csr);
        self.listen(csr);
    }

    /// Tells the card of the PF's filters, and the VFs' along with them.
    ///
    /// The address registers that the VFs have are the last ones.
    pub fn apply<B: Bus>(&mut self, csr: &mut Csr<B>, filters: &FilterState, station: MacAddress) {
        let own = regs::RECEIVE_ADDRESSES - self.guests.len() as u32;
        filters.apply_addresses(csr, station, own, self.pools.own_bit());
        self.pools.apply(csr, filters);
    }

    /// Whether the card can do what these filters of the PF ask for.
    ///
    /// # Errors
    /// [`Error::TooMany`], and [`Error::BadVlan`] for one that a VF has.
    pub fn check(&self, filters: &FilterState) -> Result<(), Error> {
        filters.check_addresses(self.guests.len())?;
        self.pools.check(filters)
    }

    /// Lets the PF's own pool receive and send, or not.
    pub fn let_pf<B: Bus>(&mut self, csr: &mut Csr<B>, works: bool) {
        let own = self.pools.own;
        self.pools.let_work(csr, own, works);
    }

    /// All mailboxes may interrupt.
    fn listen<B: Bus>(&mut self, csr: &mut Csr<B>) {
        self.vain = 0;
        csr.write(regs::MBVFIMR, (1 << self.guests.len()) - 1);
        csr.write(regs::IMS, regs::ICR_VMMB);
    }

    /// Once a second.
    pub fn tick<B: Bus>(&mut self, csr: &mut Csr<B>, filters: &FilterState) -> Result<(), Error> {
        for guest in &mut self.guests {
            guest.budget = BUDGET;
            guest.is_answered = false;
        }
        self.listen(csr);
        self.see_link(csr)?;
        self.work(csr, filters, true)
    }

    /// The link has changed, or may have.
    pub fn see_link<B: Bus>(&mut self, csr: &mut Csr<B>) -> Result<(), Error> {
        let link = csr.link()?;
        if link != self.link {
            self.link = link;
            for guest in &mut self.guests {
                guest.is_owed_notice = true;
            }
        }
        Ok(())
    }

    /// A mailbox, or the reset of a VF, has interrupted.
    pub fn serve<B: Bus>(&mut self, csr: &mut Csr<B>, filters: &FilterState) -> Result<(), Error> {
        self.work(csr, filters, false)
    }

    /// Does all that the mailboxes ask for. In a tick, a VF that has the lock of its mailbox loses it.
    fn work<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        filters: &FilterState,
        is_tick: bool,
    ) -> Result<(), Error> {
        let known = (1 << self.guests.len()) - 1;
        // What comes after these writes interrupts anew.
        let resets = csr.read(regs::VFLRE)? & known;
        csr.write(regs::VFLRE, resets);
        let mail = csr.read(regs::MBVFICR)?;
        csr.write(regs::MBVFICR, mail);
        let mut is_vain = true;
        for vf in bits(resets) {
            is_vain &= !self.reset(csr, vf, filters);
        }
        for vf in bits(mail >> regs::MBVFICR_ACK_SHIFT & known) {
            self.guests[vf].is_answered = false;
        }
        for vf in 0..self.guests.len() {
            self.guests[vf].asks |= mail >> vf & 1 != 0;
            if self.guests[vf].asks {
                is_vain &= !self.hear(csr, vf, filters, is_tick)?;
            }
            if self.guests[vf].is_owed_notice && !self.guests[vf].is_answered {
                self.notify(csr, vf, is_tick)?;
            }
        }
        self.vain += u32::from(is_vain);
        if self.vain > VAIN {
            csr.write(regs::IMC, regs::ICR_VMMB);
            self.silenced += 1;
        }
        Ok(())
    }

    /// A VF was reset. True if that was some work.
    fn reset<B: Bus>(&mut self, csr: &mut Csr<B>, vf: usize, filters: &FilterState) -> bool {
        let guest = &mut self.guests[vf];
        guest.is_reset = true;
        guest.resets += 1;
        let has_worked = core::mem::take(&mut guest.is_clear);
        if has_worked {
            self.pools.dismiss(csr, vf, filters);
        }
        has_worked
    }

    /// Locks a mailbox; in a tick, by force if need be.
    fn lock<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        vf: usize,
        is_tick: bool,
    ) -> Result<Option<mailbox::Locked>, Error> {
        let locked = mailbox::lock(csr, vf, false)?;
        if locked.is_some() || !is_tick {
            return Ok(locked);
        }
        self.locks_taken += 1;
        mailbox::lock(csr, vf, true)
    }

    /// A VF asks for something. True if it is answered.
    fn hear<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        vf: usize,
        filters: &FilterState,
        is_tick: bool,
    ) -> Result<bool, Error> {
        if self.guests[vf].budget == 0 {
            self.guests[vf].muted += 1;
            let loud = self.guests.iter().map(|guest| u32::from(guest.budget > 0));
            let loud = loud.rev().fold(0, |all, bit| all << 1 | bit);
            csr.write(regs::MBVFIMR, loud);
            return Ok(false);
        }
        let Some(locked) = self.lock(csr, vf, is_tick)? else {
            // It has lost its lock by now, or at the next tick. On QEMU the request is then no more.
            self.guests[vf].asks = !is_tick;
            return Ok(false);
        };
        let guest = &mut self.guests[vf];
        guest.asks = false;
        guest.budget -= 1;
        guest.messages += 1;
        let words = locked.read(csr, request::len);
        if words[0] & (mail::ACK | mail::NACK) != 0 {
            // Not a request.
            locked.ignore(csr);
            return Ok(true);
        }
        let result =
            request::parse(&words).and_then(|request| self.grant(csr, vf, request, filters));
        let guest = &mut self.guests[vf];
        let clear = if guest.is_clear {
            mail::CLEAR_TO_SEND
        } else {
            0
        };
        let [low, high] = mail::address_words(guest.mac);
        match result {
            Ok(Request::Reset) => locked.answer(csr, &[words[0] | mail::ACK, low, high]),
            Ok(_) => locked.answer(csr, &[words[0] | mail::ACK | clear]),
            Err(reason) => {
                guest.refused += 1;
                self.refusals[reason as usize] += 1;
                locked.answer(csr, &[words[0] | mail::NACK | clear]);
            }
        }
        self.guests[vf].is_answered = true;
        Ok(true)
    }

    /// Does what a VF asks for.
    fn grant<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        vf: usize,
        request: Request,
        filters: &FilterState,
    ) -> Result<Request, Refusal> {
        let guest = &mut self.guests[vf];
        let may = if request == Request::Reset {
            guest.is_reset
        } else {
            guest.is_clear
        };
        if !may {
            return Err(Refusal::NotReset);
        }
        let (granted, refusal) = match request {
            Request::Reset => {
                guest.is_reset = false;
                guest.is_clear = true;
                self.pools.admit(csr, vf, guest.mac);
                (true, Refusal::NotReset)
            }
            Request::SetMac(mac) => (mac == guest.mac, Refusal::Mac),
            Request::Multicast(groups, count) => {
                self.pools.set_groups(csr, vf, (groups, count), filters);
                (true, Refusal::Multicast)
            }
            Request::Vlan { number: 0, .. } => (true, Refusal::Vlan),
            Request::Vlan { number, joins } => {
                let granted = match joins {
                    true => self.pools.join(number, vf),
                    false => self.pools.leave(number, vf),
                };
                if granted {
                    self.pools.tell_vlans(csr);
                }
                (granted, Refusal::Vlan)
            }
            Request::Long(longest) => (self.pools.limit(csr, vf, longest), Refusal::Length),
        };
        if granted { Ok(request) } else { Err(refusal) }
    }

    /// Tells a VF that something has changed, unless it has the lock; in a tick, at all events once.
    fn notify<B: Bus>(&mut self, csr: &mut Csr<B>, vf: usize, is_tick: bool) -> Result<(), Error> {
        let locked = self.lock(csr, vf, is_tick)?;
        let guest = &mut self.guests[vf];
        guest.is_owed_notice = locked.is_none() && !is_tick;
        let clear = if guest.is_clear {
            mail::CLEAR_TO_SEND
        } else {
            0
        };
        if let Some(locked) = locked {
            locked.send(csr, &[mail::NOTICE | clear]);
        }
        Ok(())
    }

    /// Visits what is counted.
    pub fn visit(&self, visit: &mut dyn FnMut(&str, u64)) {
        for (name, &count) in Refusal::NAMES.iter().zip(&self.refusals) {
            visit(name, count);
        }
        visit("vf_locks_taken", self.locks_taken);
        visit("vf_mail_silenced", self.silenced);
        for (names, guest) in GUEST_NAMES.iter().zip(&self.guests) {
            let counts = [guest.messages, guest.refused, guest.resets, guest.muted];
            for (name, count) in names.iter().zip(counts) {
                visit(name, count);
            }
        }
    }
}

/// Names of the counters of each VF.
macro_rules! guest_names {
    ($($number:literal)*) => {
        [$([
            concat!("vf_", $number, "_messages"),
            concat!("vf_", $number, "_refused"),
            concat!("vf_", $number, "_resets"),
            concat!("vf_", $number, "_muted"),
        ]),*]
    };
}

const GUEST_NAMES: [[&str; 4]; VFS_MAX] = guest_names!(0 1 2 3 4 5 6);
