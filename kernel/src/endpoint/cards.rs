//! All cards and endpoints: how a card is added, taken and given back, and how it tells of something.

use super::card::{Attached, Card, Holder, longest_frame};
use super::filters::Refusal;
use super::interrupts::{Interrupts, Lines};
use super::memory::Shared;
use super::switch::{Switch, Switching};
use super::tenant::Tenant;
use super::wake::{Given, Ring, Wake};
use super::{Driver, Endpoint, bits, exchange};
use crate::pci::Address;
use crate::process::{Machine, Table};
use crate::runs::Runs;
use abi::endpoint::Filter;
use abi::ipc::Pid;
use abi::layout::PAGE_SIZE;
use abi::{Error, Result};
use alloc::vec::Vec;
use nic::{Events, Filters};

/// The most endpoints of all cards together: a bit mask of them fits a word.
pub const ENDPOINTS_MAX: usize = 64;

/// All cards, numbered in the order they were found, and all endpoints.
pub struct Cards<M> {
    pub(super) cards: Vec<Card<M>>,
    pub(super) endpoints: Vec<Option<Endpoint<M>>>,
    lines: Lines,
    /// A frame on its way between a program and the ring of a whole card.
    pub(super) frame: Vec<u8>,
    /// Where the ramdisk is, for cards.
    pub(super) ramdisk: Runs,
}

impl<M: Shared> Cards<M> {
    /// No cards yet.
    pub fn new(ramdisk: Runs) -> Self {
        Cards {
            cards: Vec::new(),
            endpoints: Vec::new(),
            lines: Lines::default(),
            frame: Vec::new(),
            ramdisk,
        }
    }

    /// Adds a card, tells of it, and with `self_test` tries it. At any time, not only during the boot.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn add(&mut self, attached: Attached<M>, self_test: bool) -> Result<()> {
        let no_memory = |_| Error::NoMemory;
        let longest = longest_frame(&*attached.nic);
        let longer = longest.saturating_sub(self.frame.len());
        self.frame.try_reserve_exact(longer).map_err(no_memory)?;
        self.cards.try_reserve(1).map_err(no_memory)?;
        let area = M::allocate(PAGE_SIZE as usize).ok_or(Error::NoMemory)?;
        self.frame.resize(self.frame.len() + longer, 0);
        let mut card = Card {
            attached,
            holder: Holder::Nobody,
            wake: Wake::whole(),
            area: Some(area),
            broken: false,
            dma_faults: 0,
            unstartable: None,
        };
        card.introduce(self.cards.len(), self_test);
        self.cards.push(card);
        Ok(())
    }

    /// The card with this number, which there is.
    fn card(&mut self, index: usize) -> &mut Card<M> {
        &mut self.cards[index]
    }

    /// The cards' addresses.
    pub fn macs(&self) -> impl Iterator<Item = [u8; 6]> {
        self.cards.iter().map(|card| card.attached.nic.facts().mac)
    }

    /// The interrupt lines in use.
    pub fn irqs(&self) -> impl Iterator<Item = u8> {
        let interrupts = self.cards.iter().map(|card| card.attached.interrupts);
        interrupts.filter_map(|interrupts| match interrupts {
            Interrupts::Line(irq) => Some(irq),
            _ => None,
        })
    }

    /// A message with this vector. Returns whether a process woke.
    pub fn message<T: Machine>(&mut self, vector: u8, table: &mut Table<T>) -> bool {
        (0..self.cards.len()).any(|card| {
            let Attached {
                nic, interrupts, ..
            } = &mut self.card(card).attached;
            let vectors = interrupts.vectors();
            let index = vectors.and_then(|vectors| vectors.index_of(vector));
            let events = index.and_then(|index| nic.on_interrupt(Some(index)));
            events.is_some_and(|events| self.tell(card, events, table))
        })
    }

    /// An interrupt of line `irq`, which any number of cards may share. Returns whether a process woke.
    pub fn interrupt<T: Machine>(&mut self, irq: u8, table: &mut Table<T>) -> bool {
        let mut claimed = false;
        let mut woke = false;
        for card in 0..self.cards.len() {
            let Attached {
                nic, interrupts, ..
            } = &mut self.card(card).attached;
            if *interrupts == Interrupts::Line(irq)
                && let Some(events) = nic.on_interrupt(None)
            {
                claimed = true;
                woke |= self.tell(card, events, table);
            }
        }
        self.lines.interrupted(irq, claimed);
        woke
    }

    /// Whether a line interrupts without end and nobody knows why: it is to be switched off.
    pub fn is_stuck(&mut self, irq: u8) -> bool {
        self.lines.is_stuck(irq)
    }

    /// Once a second: links and watchdogs. A line that `switch_on` is told is to be switched on.
    pub fn tick<T: Machine>(&mut self, table: &mut Table<T>, mut switch_on: impl FnMut(u8)) {
        self.allow_groups();
        for index in 0..self.cards.len() {
            let card = self.card(index);
            let was_broken = card.broken;
            let events = card.attached.nic.tick();
            if matches!(card.holder, Holder::Nobody) {
                // There is nobody to tell: it has worked for its virtual functions, if it has any.
                continue;
            }
            self.tell(index, events, table);
            let card = self.card(index);
            if was_broken && !card.broken {
                let interrupts = card.attached.interrupts;
                self.lines.freed(interrupts).map(&mut switch_on);
            }
        }
    }

    /// The IOMMU has stopped DMA of this function. If it is a card, that is counted, its owners are told, and
    /// its driver resets it at the next tick.
    pub fn dma_stopped<T: Machine>(&mut self, function: Address, table: &mut Table<T>) {
        let mut cards = self.cards.iter_mut().enumerate();
        let card = cards.find(|(_, card)| card.attached.address == function);
        if let Some((index, card)) = card {
            card.dma_faults += 1;
            card.attached.nic.dma_stopped();
            let events = card.attached.nic.take_events();
            self.tell(index, events, table);
        }
    }

    /// [`abi::Syscall::NicAttach`]: gives a process the whole card or, with filters, a part of it.
    /// Returns the endpoint's number among those of the process. A line that `switch_on` is told is to
    /// be switched on.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn attach<T: Machine>(
        &mut self,
        card: u64,
        pid: Pid,
        filters: &[Filter],
        table: &mut Table<T>,
        switch_on: impl FnMut(u8),
    ) -> core::result::Result<u8, Refusal> {
        let wrong = Refusal::Wrong;
        let index = usize::try_from(card).unwrap_or(usize::MAX);
        let taken = self.cards.get(index).ok_or(wrong(Error::NotFound))?;
        let is_whole = filters.is_empty();
        let is_free = match taken.holder {
            Holder::Nobody => true,
            Holder::Tenants(_) if !is_whole => false,
            _ => return Err(wrong(Error::Busy)),
        };
        let place = self.free_endpoint().map_err(wrong)?;
        let number = table.check_endpoint(pid).map_err(wrong)?;
        if is_free {
            self.start(index, is_whole, switch_on).map_err(wrong)?;
        }
        match self.add_endpoint(index, place, (pid, number), filters, table) {
            Ok(()) => Ok(number),
            Err(refusal) => {
                self.stop_if_unused(index);
                Err(refusal)
            }
        }
    }

    /// A place among the endpoints that is free.
    fn free_endpoint(&mut self) -> Result<u8> {
        let free = self.endpoints.iter().position(Option::is_none);
        let place = free.unwrap_or(self.endpoints.len());
        if place == self.endpoints.len() {
            let room = self.endpoints.try_reserve(1);
            room.map_err(|_| Error::NoMemory)?;
            if place < ENDPOINTS_MAX {
                self.endpoints.push(None);
            }
        }
        match place < ENDPOINTS_MAX {
            true => Ok(place as u8),
            false => Err(Error::NoMemory),
        }
    }

    /// Starts a card that nobody has.
    fn start(&mut self, index: usize, is_whole: bool, switch_on: impl FnMut(u8)) -> Result<()> {
        let card = &mut self.cards[index];
        let nic = &mut card.attached.nic;
        let holder = match is_whole {
            true => Holder::Nobody,
            false => {
                // Each tenant may have a station of its own, unless the card cannot receive for others,
                // as a virtual function.
                let filters = Filters {
                    promiscuous: true,
                    ..Filters::default()
                };
                let takes_others = nic.set_filters(&filters).is_ok();
                Holder::Tenants(Switch::new(nic.frame_area(), takes_others))
            }
        };
        if let Err(error) = nic.start() {
            // The next one may want all of it.
            let _ = nic.set_filters(&Filters::default());
            // Its program tries again and again: that is no news.
            if card.unstartable.replace(error) != Some(error) {
                let name = nic.facts().name;
                log::error!("card {index}: {name} cannot start it: {error}");
            }
            return Err(Error::DeviceFailed);
        }
        card.unstartable = None;
        card.wake = match is_whole {
            true => Wake::whole(),
            false => Wake::shared(),
        };
        card.holder = holder;
        self.lines.freed(card.attached.interrupts).map(switch_on);
        Ok(())
    }

    /// Gives a part of a card that runs, or all of it, to a process.
    fn add_endpoint<T: Machine>(
        &mut self,
        index: usize,
        place: u8,
        (owner, number): (Pid, u8),
        filters: &[Filter],
        table: &mut Table<T>,
    ) -> core::result::Result<(), Refusal> {
        let wrong = Refusal::Wrong;
        let card = &mut self.cards[index];
        let no_memory = wrong(Error::NoMemory);
        let (area, tenant) = match &mut card.holder {
            Holder::Tenants(switch) => {
                let nic = &*card.attached.nic;
                let own = switch.add_filters(place, filters, nic.facts().mac)?;
                let made = M::allocate(PAGE_SIZE as usize)
                    .ok_or(no_memory)
                    .and_then(|area| {
                        let tenant = Tenant::<M>::new(nic, own).map_err(|_| no_memory)?;
                        let charged = table.charge_memory(owner, area.size() + tenant.size());
                        charged.map_err(wrong)?;
                        Ok((area, tenant))
                    });
                let (area, tenant) = made.inspect_err(|_| switch.filters.remove(place))?;
                switch.tenants |= 1 << place;
                (area, Some(tenant))
            }
            holder => {
                let area = card.area.take().ok_or(no_memory)?;
                *holder = Holder::One(place);
                (area, None)
            }
        };
        self.endpoints[usize::from(place)] = Some(Endpoint {
            card: index as u8,
            owner,
            number,
            area,
            is_shown: false,
            expects: false,
            tenant,
        });
        table.add_endpoint(owner, place);
        Ok(())
    }

    /// Stops a card that nobody has any more.
    fn stop_if_unused(&mut self, index: usize) {
        let card = &mut self.cards[index];
        if matches!(&card.holder, Holder::Tenants(switch) if switch.tenants != 0) {
            return;
        }
        let nic = &mut card.attached.nic;
        nic.stop();
        // The next owner starts as the first one did. A card without filters has none to take back.
        let _ = nic.set_filters(&Filters::default());
        card.holder = Holder::Nobody;
        card.wake = Wake::whole();
        card.broken = false;
    }

    /// Takes all endpoints of a process away, as when it has ended. Its address space must be no more
    /// before anybody else gets the memory that it was shown.
    pub fn release<T: Machine>(&mut self, pid: Pid, table: &mut Table<T>) {
        for place in table.take_endpoints(pid) {
            let endpoint = self.endpoints.get_mut(usize::from(place));
            let Some(endpoint) = endpoint.and_then(Option::take) else {
                continue;
            };
            let card = &mut self.cards[usize::from(endpoint.card)];
            match &mut card.holder {
                Holder::Tenants(switch) => {
                    switch.filters.remove(place);
                    switch.tenants &= !(1 << place);
                    switch.owed &= !(1 << place);
                }
                _ => card.area = Some(endpoint.area),
            }
            self.stop_if_unused(endpoint.card.into());
            self.leave_groups(endpoint.card, endpoint.tenant.as_ref());
        }
    }

    /// Has the wake-up of a card do something.
    pub(super) fn wake<T: Machine, R>(
        &mut self,
        index: usize,
        table: &mut Table<T>,
        act: impl FnOnce(&mut Wake, &mut dyn Ring) -> R,
    ) -> Option<R> {
        let Card {
            attached,
            holder,
            wake,
            ..
        } = self.cards.get_mut(index)?;
        match holder {
            Holder::Nobody => None,
            Holder::One(place) => {
                let endpoint = self.endpoints.get_mut(usize::from(*place));
                let endpoint = endpoint.and_then(Option::as_mut)?;
                let mut whole = Whole {
                    nic: attached.nic,
                    endpoint,
                    table,
                };
                Some(act(wake, &mut whole))
            }
            Holder::Tenants(switch) => {
                let mut switching = Switching {
                    switch,
                    nic: attached.nic,
                    memory: &mut attached.memory,
                    endpoints: &mut self.endpoints,
                    table,
                    woke: false,
                };
                Some(act(wake, &mut switching))
            }
        }
    }

    /// Whether somebody sleeps who no interrupt would tell of frames.
    #[inline]
    pub fn is_unarmed(&self) -> bool {
        self.cards.iter().any(|card| card.wake.is_kernels())
    }

    /// Has those cards interrupt. Frames that came before wake whom they are for now.
    pub fn arm<T: Machine>(&mut self, table: &mut Table<T>) {
        for card in 0..self.cards.len() {
            self.wake(card, table, |wake, ring| wake.arm(ring));
        }
    }

    /// Prepares for [`Cards::poll`]: interrupts are for those who do not look. False if nobody sleeps
    /// who expects frames.
    pub fn silence<T: Machine>(&mut self, table: &mut Table<T>) -> bool {
        let mut expected = false;
        for card in 0..self.cards.len() {
            expected |= self.wake(card, table, |wake, ring| wake.silence(ring)) == Some(true);
        }
        expected
    }

    /// Looks whether frames have come; returns whether that woke somebody.
    pub fn poll<T: Machine>(&mut self, table: &mut Table<T>) -> bool {
        let mut woke = false;
        for card in 0..self.cards.len() {
            woke |= self.wake(card, table, |wake, ring| wake.poll(ring)) == Some(true);
        }
        woke
    }

    /// Tells the endpoints of a card of events; returns whether somebody woke.
    fn tell<T: Machine>(&mut self, index: usize, events: Events, table: &mut Table<T>) -> bool {
        if events.contains(Events::LINK) {
            self.card(index).log_state(index);
        }
        let mut woke = false;
        if events.contains(Events::RECEIVE) {
            woke |= self.wake(index, table, |wake, ring| wake.interrupt(ring)) == Some(true);
        }
        let others = events - Events::RECEIVE;
        if others.is_empty() {
            return woke;
        }
        let Card {
            attached, holder, ..
        } = &mut self.cards[index];
        match holder {
            Holder::Nobody => woke,
            Holder::One(place) => {
                let Some(Some(endpoint)) = self.endpoints.get(usize::from(*place)) else {
                    return woke;
                };
                let bits = bits(others, endpoint.number);
                woke | table.notify(endpoint.owner, bits, true).unwrap_or(false)
            }
            Holder::Tenants(switch) => {
                let mut switching = Switching {
                    switch,
                    nic: attached.nic,
                    memory: &mut attached.memory,
                    endpoints: &mut self.endpoints,
                    table,
                    woke,
                };
                switching.tell_all(others);
                switching.woke
            }
        }
    }

    /// Tells of what a call has found out, which no interrupt will announce.
    pub(super) fn tell_own_events<T: Machine>(&mut self, index: usize, table: &mut Table<T>) {
        let Card {
            attached, holder, ..
        } = self.card(index);
        let mut events = attached.nic.take_events();
        if matches!(holder, Holder::Tenants(switch) if switch.owed != 0) {
            // A tenant has sent something to another.
            events |= Events::RECEIVE;
        }
        if !events.is_empty() {
            self.tell(index, events, table);
        }
    }
}

/// A whole card and its owner, for the wake-up.
struct Whole<'a, M, T: Machine> {
    nic: &'a mut Driver,
    endpoint: &'a mut Endpoint<M>,
    table: &'a mut Table<T>,
}

impl<M: Shared, T: Machine> Ring for Whole<'_, M, T> {
    #[inline]
    fn is_awaited(&self) -> bool {
        self.endpoint.expects && self.table.is_waiting(self.endpoint.owner)
    }

    fn has_received(&mut self) -> bool {
        self.nic.has_received()
    }

    fn silence(&mut self) {
        self.nic.silence_receive();
    }

    fn give(&mut self, arm: bool) -> Given {
        let is_any = exchange::give_to_sleeper(&mut self.endpoint.area, self.nic, arm);
        Given {
            is_any,
            is_armed: arm && !is_any,
        }
    }

    fn tell(&mut self) -> bool {
        let bits = bits(Events::RECEIVE, self.endpoint.number);
        let woke = self.table.notify(self.endpoint.owner, bits, true);
        woke.unwrap_or(false)
    }
}
