//! The physical function as the host of virtual ones (82576 datasheet §7.10).
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
use super::config::{Config, VFS_MAX};
use super::csr::Csr;
use super::filters::FilterState;
use super::mail;
use super::regs;
use crate::reserve;
use crate::{Bus, Error, Link, MacAddress};
use alloc::vec::Vec;
use spin::Mutex;

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

/// The host of a card, which the driver of its PF and those who wait for it share: the PF's driver works with
/// it whenever the card interrupts, and a VF's driver that waits for an answer has it work at once
/// ([`Host::attend`]), since one processor runs both.
pub type SharedHost<B> = &'static Mutex<Host<B>>;

/// The host.
pub struct Host<B> {
    csr: Csr<B>,
    station: MacAddress,
    guests: Vec<Guest>,
    pools: Pools,
    /// The PF's filters, as the card was told.
    filters: FilterState,
    /// The link that the VFs know of.
    link: Link,
    vain: u32,
    refusals: [u64; Refusal::NAMES.len()],
    locks_taken: u64,
    silenced: u64,
}

impl<B: Bus> Host<B> {
    /// The host of as many VFs as the card's configuration says, which has yet to meet its card
    /// (`Igb::hosting`). `bus` has the card's registers; no memory is needed.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn new(bus: B, config: &Config) -> Result<Self, Error> {
        let guest = |_| {
            Ok(Guest {
                budget: BUDGET,
                ..Guest::default()
            })
        };
        let vfs = config.vfs.min(VFS_MAX);
        Ok(Host {
            csr: Csr {
                bus,
                frames: config.frames(),
            },
            station: [0; 6],
            guests: reserve::each(vfs, guest)?,
            pools: Pools::new(vfs, config.queues, config.frame_max),
            filters: FilterState::default(),
            link: Link::default(),
            vain: 0,
            refusals: [0; Refusal::NAMES.len()],
            locks_taken: 0,
            silenced: 0,
        })
    }

    /// How many VFs it is the host of.
    pub(super) fn vfs(&self) -> usize {
        self.guests.len()
    }

    /// The card has this station address; those of the VFs follow from it.
    pub(super) fn meet(&mut self, station: MacAddress) {
        self.station = station;
        for (vf, guest) in self.guests.iter_mut().enumerate() {
            guest.mac = vf_address(station, vf);
        }
    }

    /// The card was reset: no VF works before it has asked again. Tells the card how its pools work.
    pub(super) fn start(&mut self) {
        for guest in &mut self.guests {
            guest.is_clear = false;
            // The VF resets itself when it notices.
            guest.is_reset = false;
            guest.asks = false;
        }
        self.pools.start(&mut self.csr);
        self.listen();
    }

    /// Tells the card of the PF's filters, and the VFs' along with them.
    ///
    /// The address registers that the VFs have are the last ones.
    pub(super) fn apply(&mut self, filters: &FilterState) {
        self.filters = *filters;
        let own = regs::RECEIVE_ADDRESSES - self.guests.len() as u32;
        let pool = self.pools.own_bit();
        filters.apply_addresses(&mut self.csr, self.station, own, pool);
        self.pools.apply(&mut self.csr, filters);
    }

    /// Whether the card can do what these filters of the PF ask for.
    ///
    /// # Errors
    /// [`Error::TooMany`], and [`Error::BadVlan`] for one that a VF has.
    pub(super) fn check(&self, filters: &FilterState) -> Result<(), Error> {
        filters.check_addresses(self.guests.len())?;
        self.pools.check(filters)
    }

    /// Lets the PF's own pool receive and send, or not.
    pub(super) fn let_pf(&mut self, works: bool) {
        let own = self.pools.own;
        self.pools.let_work(&mut self.csr, own, works);
    }

    /// Serves its VFs for somebody who waits for that. A card that is gone, the PF's driver notices itself.
    pub fn attend(&mut self) {
        let _ = self.work(false);
    }

    /// All mailboxes may interrupt.
    fn listen(&mut self) {
        self.vain = 0;
        self.csr.write(regs::MBVFIMR, (1 << self.guests.len()) - 1);
        self.csr.write(regs::IMS, regs::ICR_VMMB);
    }

    /// Once a second.
    pub(super) fn tick(&mut self) -> Result<(), Error> {
        for guest in &mut self.guests {
            guest.budget = BUDGET;
            guest.is_answered = false;
        }
        self.listen();
        self.see_link()?;
        self.work(true).map(drop)
    }

    /// The link has changed, or may have.
    pub(super) fn see_link(&mut self) -> Result<(), Error> {
        let link = self.csr.link()?;
        if link != self.link {
            self.link = link;
            for guest in &mut self.guests {
                guest.is_owed_notice = true;
            }
        }
        Ok(())
    }

    /// A mailbox, or the reset of a VF, has interrupted.
    pub(super) fn serve(&mut self) -> Result<(), Error> {
        let has_worked = self.work(false)?;
        self.vain += u32::from(!has_worked);
        if self.vain > VAIN {
            self.csr.write(regs::IMC, regs::ICR_VMMB);
            self.silenced += 1;
        }
        Ok(())
    }

    /// Does all that the mailboxes ask for; whether there was something to do. In a tick, a VF that has the
    /// lock of its mailbox loses it.
    fn work(&mut self, is_tick: bool) -> Result<bool, Error> {
        let known = (1 << self.guests.len()) - 1;
        // What comes after these writes interrupts anew.
        let resets = self.csr.read(regs::VFLRE)? & known;
        self.csr.write(regs::VFLRE, resets);
        let mail = self.csr.read(regs::MBVFICR)?;
        self.csr.write(regs::MBVFICR, mail);
        let mut has_worked = false;
        for vf in bits(resets) {
            has_worked |= self.reset(vf);
        }
        for vf in bits(mail >> regs::MBVFICR_ACK_SHIFT & known) {
            self.guests[vf].is_answered = false;
        }
        for vf in 0..self.guests.len() {
            self.guests[vf].asks |= mail >> vf & 1 != 0;
            if self.guests[vf].asks {
                has_worked |= self.hear(vf, is_tick)?;
            }
            if self.guests[vf].is_owed_notice && !self.guests[vf].is_answered {
                self.notify(vf, is_tick)?;
            }
        }
        Ok(has_worked)
    }

    /// A VF was reset. True if that was some work.
    fn reset(&mut self, vf: usize) -> bool {
        let guest = &mut self.guests[vf];
        guest.is_reset = true;
        guest.resets += 1;
        let has_worked = core::mem::take(&mut guest.is_clear);
        if has_worked {
            self.pools.dismiss(&mut self.csr, vf, &self.filters);
        }
        has_worked
    }

    /// Locks a mailbox; in a tick, by force if need be.
    fn lock(&mut self, vf: usize, is_tick: bool) -> Result<Option<mailbox::Locked>, Error> {
        let locked = mailbox::lock(&mut self.csr, vf, false)?;
        if locked.is_some() || !is_tick {
            return Ok(locked);
        }
        self.locks_taken += 1;
        mailbox::lock(&mut self.csr, vf, true)
    }

    /// A VF asks for something. True if it is answered.
    fn hear(&mut self, vf: usize, is_tick: bool) -> Result<bool, Error> {
        if self.guests[vf].budget == 0 {
            self.guests[vf].muted += 1;
            let loud = self.guests.iter().map(|guest| u32::from(guest.budget > 0));
            let loud = loud.rev().fold(0, |all, bit| all << 1 | bit);
            self.csr.write(regs::MBVFIMR, loud);
            return Ok(false);
        }
        let Some(locked) = self.lock(vf, is_tick)? else {
            // It has lost its lock by now, or at the next tick. On QEMU the request is then no more.
            self.guests[vf].asks = !is_tick;
            return Ok(false);
        };
        let guest = &mut self.guests[vf];
        guest.asks = false;
        guest.budget -= 1;
        guest.messages += 1;
        let words = locked.read(&mut self.csr, request::len);
        if words[0] & (mail::ACK | mail::NACK) != 0 {
            // Not a request.
            locked.ignore(&mut self.csr);
            return Ok(true);
        }
        let result = request::parse(&words).and_then(|request| self.grant(vf, request));
        let guest = &mut self.guests[vf];
        let clear = if guest.is_clear {
            mail::CLEAR_TO_SEND
        } else {
            0
        };
        let [low, high] = mail::address_words(guest.mac);
        match result {
            Ok(Request::Reset) => locked.answer(&mut self.csr, &[words[0] | mail::ACK, low, high]),
            Ok(_) => locked.answer(&mut self.csr, &[words[0] | mail::ACK | clear]),
            Err(reason) => {
                guest.refused += 1;
                self.refusals[reason as usize] += 1;
                locked.answer(&mut self.csr, &[words[0] | mail::NACK | clear]);
            }
        }
        self.guests[vf].is_answered = true;
        Ok(true)
    }

    /// Does what a VF asks for.
    fn grant(&mut self, vf: usize, request: Request) -> Result<Request, Refusal> {
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
                self.pools.admit(&mut self.csr, vf, guest.mac);
                (true, Refusal::NotReset)
            }
            Request::SetMac(mac) => (mac == guest.mac, Refusal::Mac),
            Request::Multicast(groups, count) => {
                self.pools
                    .set_groups(&mut self.csr, vf, (groups, count), &self.filters);
                (true, Refusal::Multicast)
            }
            Request::Vlan { number: 0, .. } => (true, Refusal::Vlan),
            Request::Vlan { number, joins } => {
                let granted = match joins {
                    true => self.pools.join(number, vf),
                    false => self.pools.leave(number, vf),
                };
                if granted {
                    self.pools.tell_vlans(&mut self.csr);
                }
                (granted, Refusal::Vlan)
            }
            Request::Long(longest) => (
                self.pools.limit(&mut self.csr, vf, longest),
                Refusal::Length,
            ),
        };
        if granted { Ok(request) } else { Err(refusal) }
    }

    /// Tells a VF that something has changed, unless it has the lock; in a tick, at all events once.
    fn notify(&mut self, vf: usize, is_tick: bool) -> Result<(), Error> {
        let locked = self.lock(vf, is_tick)?;
        let guest = &mut self.guests[vf];
        guest.is_owed_notice = locked.is_none() && !is_tick;
        let clear = if guest.is_clear {
            mail::CLEAR_TO_SEND
        } else {
            0
        };
        if let Some(locked) = locked {
            locked.send(&mut self.csr, &[mail::NOTICE | clear]);
        }
        Ok(())
    }

    /// Visits what is counted.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(&str, u64)) {
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
