//! What the system calls do with an endpoint. All take its number among those of the caller.

use super::card::{Attached, Card, Holder};
use super::cards::Cards;
use super::filters::Refusal;
use super::groups::groups_alone;
use super::memory::Shared;
use super::switch::Switch;
use super::tenant::{AtWork, RECEIVED, Tenant};
use super::{Driver, Endpoint, Others, exchange, to_abi};
use crate::account::{Accounts, Counter as Clock};
use crate::process::{Machine, Table};
use crate::space::Shown;
use abi::endpoint::Filter;
use abi::ipc::Pid;
use abi::layout::{NIC_RANGE_MAX, PAGE_SIZE, nic_window};
use abi::nic::{Counter, Filters, NicInfo, ReceivedFrame, SendOptions};
use abi::{Error, Result};
use nic::FrameBuffers;

/// An endpoint with its card.
struct Found<'a, M> {
    attached: &'a mut Attached<M>,
    endpoint: &'a mut Endpoint<M>,
    /// Where that is among all, and the others.
    place: u8,
    others: Others<'a, M>,
    /// What the card needs if several have it.
    switch: Option<&'a mut Switch>,
}

/// A whole card, or a tenant at work.
enum Part<'a, M> {
    Whole(&'a mut Driver),
    Tenant(AtWork<'a, M>),
}

/// The endpoint at a place, with its card.
#[inline]
fn at<'a, M>(
    cards: &'a mut [Card<M>],
    endpoints: &'a mut [Option<Endpoint<M>>],
    place: u8,
) -> Result<Found<'a, M>> {
    let found = Others::than(place.into(), endpoints);
    let (endpoint, others) = found.ok_or(Error::BadHandle)?;
    let card = cards.get_mut(usize::from(endpoint.card));
    let Card {
        attached, holder, ..
    } = card.ok_or(Error::BadHandle)?;
    Ok(Found {
        attached,
        endpoint,
        place,
        others,
        switch: match holder {
            Holder::Tenants(switch) => Some(switch),
            _ => None,
        },
    })
}

impl<M: Shared> Cards<M> {
    /// The endpoint with this number among those of a process.
    fn find<T: Machine>(
        &mut self,
        number: u64,
        pid: Pid,
        table: &Table<T>,
    ) -> Result<Found<'_, M>> {
        let place = table.endpoint(pid, number)?;
        at(&mut self.cards, &mut self.endpoints, place)
    }

    /// [`abi::Syscall::Cards`].
    pub fn infos(&self) -> impl Iterator<Item = NicInfo> {
        self.cards.iter().map(|card| card.attached.info())
    }

    /// [`abi::Syscall::NicInfo`].
    pub fn info<T: Machine>(
        &mut self,
        number: u64,
        pid: Pid,
        table: &Table<T>,
        to: u64,
    ) -> Result<u64> {
        let Found {
            attached, endpoint, ..
        } = self.find(number, pid, table)?;
        let whole = attached.info();
        let info = match &endpoint.tenant {
            None => whole,
            Some(tenant) => NicInfo {
                mac: tenant.station(),
                transmit_ring: tenant.area().memory.small.0,
                receive_ring: RECEIVED,
                features: Tenant::<M>::features(whole.features),
                ..whole
            },
        };
        table.write(pid, to, &info.to_bytes())?;
        Ok(0)
    }

    /// [`abi::Syscall::NicSend`].
    pub fn send<T: Machine>(
        &mut self,
        number: u64,
        pid: Pid,
        table: &mut Table<T>,
        (from, len): (u64, u64),
        (options, more): (SendOptions, bool),
    ) -> Result<u64> {
        let Cards {
            cards,
            endpoints,
            frame,
            ..
        } = self;
        let place = table.endpoint(pid, number)?;
        let sent =
            at(cards, endpoints, place)?.send(pid, table, frame, (from, len), (options, more));
        self.tell_of_call(place, table);
        sent.map(|()| 0)
    }

    /// [`abi::Syscall::NicReceive`].
    pub fn receive<T: Machine>(
        &mut self,
        number: u64,
        pid: Pid,
        table: &mut Table<T>,
        (to, capacity): (u64, u64),
    ) -> Result<u64> {
        let place = table.endpoint(pid, number)?;
        self.look(place, table);
        let Cards {
            cards,
            endpoints,
            frame,
            ..
        } = self;
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let result = at(cards, endpoints, place).and_then(|found| {
            // A frame that is too long for the caller's buffer is lost, and counted.
            let room = frame.len().min(capacity);
            let received = match found.part() {
                (_, Part::Whole(nic)) => nic.receive(&mut frame[..room]),
                (_, Part::Tenant(mut tenant)) => tenant.receive_alone(&mut frame[..room]),
            };
            let (len, info) = received.map_err(to_abi)?;
            table.write(pid, to, &frame[..len])?;
            let frame = ReceivedFrame {
                len: len as u32,
                checksums_right: info.header_checksum && info.transport_checksum,
                vlan: info.vlan,
            };
            Ok(frame.to_register())
        });
        self.tell_of_call(place, table);
        result
    }

    /// [`abi::Syscall::NicFlush`].
    pub fn flush<T: Machine>(
        &mut self,
        number: u64,
        pid: Pid,
        table: &mut Table<T>,
    ) -> Result<u64> {
        let place = table.endpoint(pid, number)?;
        let found = at(&mut self.cards, &mut self.endpoints, place)?;
        let flushed = found.attached.nic.flush();
        self.tell_of_call(place, table);
        flushed.map(|()| 0).map_err(to_abi)
    }

    /// [`abi::Syscall::NicFilter`].
    ///
    /// # Errors
    /// [`Error::NotSupported`] for more than groups, of a part of a card: what that receives concerns
    /// others, too. [`Error::Busy`] if the groups of one were changed too often: a second later they may be.
    pub fn filter<T: Machine>(
        &mut self,
        number: u64,
        pid: Pid,
        table: &Table<T>,
        (from, len): (u64, u64),
    ) -> Result<u64> {
        let place = table.endpoint(pid, number)?;
        if len > Filters::ARGUMENT_MAX as u64 {
            return Err(Error::TooLong);
        }
        let mut bytes = [0; Filters::ARGUMENT_MAX];
        let bytes = &mut bytes[..len as usize];
        table.read(pid, from, bytes)?;
        let mut numbers = [0; Filters::VLANS_MAX];
        let filters = Filters::parse(bytes, &mut numbers)?;
        let found = at(&mut self.cards, &mut self.endpoints, place)?;
        let card = usize::from(found.endpoint.card);
        let Some(tenant) = &mut found.endpoint.tenant else {
            let set = found.attached.nic.set_filters(&filters);
            return set.map_err(to_abi).map(|()| 0);
        };
        let groups = groups_alone(&filters)?;
        if found.switch.is_some_and(|switch| !switch.takes_others) {
            tenant.changes = tenant.changes.checked_sub(1).ok_or(Error::Busy)?;
        }
        let before = core::mem::replace(&mut tenant.groups, groups);
        let told = self.tell_groups(card);
        if told.is_err()
            && let Some(Some(endpoint)) = self.endpoints.get_mut(usize::from(place))
            && let Some(tenant) = &mut endpoint.tenant
        {
            tenant.groups = before;
        }
        told.map(|()| 0)
    }

    /// [`abi::Syscall::NicRefilter`].
    ///
    /// # Errors
    /// [`Refusal`], as for [`Cards::attach`]; [`Error::NotSupported`] for a whole card.
    pub fn refilter<T: Machine>(
        &mut self,
        number: u64,
        pid: Pid,
        table: &Table<T>,
        filters: &[Filter],
    ) -> core::result::Result<(), Refusal> {
        let wrong = Refusal::Wrong;
        let found = self.find(number, pid, table).map_err(wrong)?;
        let (Some(tenant), Some(switch)) = (&mut found.endpoint.tenant, found.switch) else {
            return Err(wrong(Error::NotSupported));
        };
        if filters.is_empty() {
            return Err(wrong(Error::InvalidArgument));
        }
        let mac = found.attached.nic.facts().mac;
        let own = switch.replace_filters(found.place, filters, mac)?;
        tenant.set_filters(own);
        Ok(())
    }

    /// [`abi::Syscall::NicStatistics`]: those of the endpoint, then those of its card.
    pub fn statistics<T: Machine>(
        &mut self,
        number: u64,
        pid: Pid,
        table: &Table<T>,
        (to, capacity): (u64, u64),
    ) -> Result<u64> {
        let found = self.find(number, pid, table)?;
        let mut count = 0;
        let mut result = Ok(());
        let mut visit = |name: &str, value| {
            let fits = count < capacity && count < Counter::COUNT_MAX as u64;
            if fits && result.is_ok() {
                let bytes = Counter::new(name, value).to_bytes();
                let offset = count * Counter::SIZE as u64;
                result = to
                    .checked_add(offset)
                    .ok_or(Error::BadAddress)
                    .and_then(|to| table.write(pid, to, &bytes));
                count += 1;
            }
        };
        if let (Some(tenant), Some(switch)) = (&found.endpoint.tenant, found.switch) {
            tenant.statistics(&mut visit);
            switch.statistics(&mut visit);
        }
        found.attached.nic.statistics(&mut visit);
        let card = usize::from(found.endpoint.card);
        if let Some(card) = self.cards.get(card) {
            visit("dma_faults", card.dma_faults);
        }
        result.map(|()| count)
    }

    /// [`abi::Syscall::NicMap`].
    pub fn map<T: Machine>(
        &mut self,
        number: u64,
        pid: Pid,
        table: &mut Table<T>,
        to: u64,
    ) -> Result<u64> {
        let Found {
            attached, endpoint, ..
        } = self.find(number, pid, table)?;
        let (start, frames) = match &endpoint.tenant {
            None => (attached.memory.address(), attached.nic.frame_area()),
            Some(tenant) => (tenant.address(), tenant.area().clone()),
        };
        let place = table.alive(pid)?.places.nic(endpoint.number);
        if !endpoint.is_shown {
            let longest = frames.transmit.len().max(frames.receive.len());
            if longest as u64 > NIC_RANGE_MAX {
                return Err(Error::NotSupported);
            }
            // Of the last owner's frames it has numbers and lengths.
            endpoint.area.put(0, &[0; PAGE_SIZE as usize]);
            let [area_at, transmit_at, receive_at] = nic_window(place);
            let shown = |address, memory, len: usize, writable| Shown {
                address,
                memory,
                len: len as u64,
                writable,
            };
            let area = endpoint.area.address();
            let (transmit, receive) = (frames.transmit, frames.receive);
            let at = |offset: usize| start + offset as u64;
            table.show(
                pid,
                [
                    shown(area_at, area, endpoint.area.size(), true),
                    shown(transmit_at, at(transmit.start), transmit.len(), true),
                    shown(receive_at, at(receive.start), receive.len(), false),
                ],
            )?;
            endpoint.is_shown = true;
        }
        table.write(pid, to, &frames.memory.to_bytes())?;
        Ok(place)
    }

    /// [`abi::Syscall::NicExchange`]; with `sleeps`, what comes before such a wait: an interrupt that
    /// the area asks for is asked for when the caller sleeps.
    pub fn exchange<T: Machine, C: Clock>(
        &mut self,
        number: u64,
        (pid, sleeps): (Pid, bool),
        table: &mut Table<T>,
        accounts: &mut Accounts<C>,
    ) -> Result<u64> {
        let place = table.endpoint(pid, number)?;
        self.look(place, table);
        let Cards {
            cards,
            endpoints,
            ramdisk,
            ..
        } = self;
        let result = at(cards, endpoints, place).and_then(|found| {
            if !found.endpoint.is_shown {
                return Err(Error::InvalidArgument);
            }
            let arm = !sleeps;
            match found.part() {
                (area, Part::Whole(nic)) => exchange::hand_over(area, nic, arm, ramdisk, accounts),
                (area, Part::Tenant(tenant)) => tenant.exchange(area, arm, ramdisk, accounts),
            }
        });
        self.tell_of_call(place, table);
        result.map(|received| received as u64)
    }

    /// `pid` goes to sleep: with an endpoint's number, if it has just exchanged with it, and so expects
    /// frames with the wake-up.
    pub fn sleeps<T: Machine>(&mut self, pid: Pid, exchanged: Option<u64>, table: &Table<T>) {
        for (number, place) in (0..).zip(table.endpoints(pid)) {
            let Some(Some(endpoint)) = self.endpoints.get_mut(usize::from(*place)) else {
                continue;
            };
            let expects = exchanged == Some(number) && exchange::expects_frames(&endpoint.area);
            endpoint.expects = expects;
            let Some(card) = self.cards.get_mut(usize::from(endpoint.card)) else {
                continue;
            };
            match (&endpoint.tenant, &mut card.holder) {
                (None, _) => card.wake.sleeps(expects),
                (Some(tenant), Holder::Tenants(switch)) if expects && tenant.has_received() => {
                    // It did not want what it has before it slept.
                    switch.owed |= 1 << *place;
                    card.wake.sleeps(true);
                }
                _ => {}
            }
        }
    }

    /// A tenant looks for frames: what the card has is passed on, to others too.
    #[inline]
    fn look<T: Machine>(&mut self, place: u8, table: &mut Table<T>) {
        let endpoint = self.endpoints.get(usize::from(place));
        if let Some(Some(endpoint)) = endpoint
            && endpoint.tenant.is_some()
        {
            let card = endpoint.card.into();
            self.wake(card, table, |wake, ring| wake.poll(ring));
        }
    }

    /// Tells of what a call has found out, which no interrupt will announce.
    #[inline]
    fn tell_of_call<T: Machine>(&mut self, place: u8, table: &mut Table<T>) {
        let endpoint = self.endpoints.get_mut(usize::from(place));
        let Some(endpoint) = endpoint.and_then(Option::as_mut) else {
            return;
        };
        if let Some(tenant) = &mut endpoint.tenant {
            let bits = super::bits(tenant.take_events(), endpoint.number);
            if bits != 0 {
                // The caller is awake: it finds them when it waits.
                let _ = table.notify(endpoint.owner, bits, true);
            }
        }
        let card = endpoint.card.into();
        self.tell_own_events(card, table);
    }
}

impl<'a, M: Shared> Found<'a, M> {
    /// The exchange area, and who has the buffers.
    #[inline]
    fn part(self) -> (&'a mut M, Part<'a, M>) {
        let Attached { nic, memory, .. } = self.attached;
        let part = match (&mut self.endpoint.tenant, self.switch) {
            (Some(tenant), Some(switch)) => Part::Tenant(AtWork {
                place: self.place,
                tenant,
                others: self.others,
                nic: *nic,
                memory,
                switch,
            }),
            (_, _) => Part::Whole(*nic),
        };
        (&mut self.endpoint.area, part)
    }

    /// Copies a frame out of the caller's memory and sends it. `frame` is room for one.
    fn send<T: Machine>(
        self,
        pid: Pid,
        table: &Table<T>,
        frame: &mut [u8],
        (from, len): (u64, u64),
        (options, more): (SendOptions, bool),
    ) -> Result<()> {
        let nic = &self.attached.nic;
        let longest = match options.segment_size {
            0 => nic.facts().frame_max,
            _ => nic.facts().features.segmentation.frame_max as usize,
        };
        if len == 0 || len > longest as u64 {
            return Err(Error::BadFrame);
        }
        let frame = frame.get_mut(..len as usize).ok_or(Error::BadFrame)?;
        table.read(pid, from, frame)?;
        let sent = match self.part() {
            (_, Part::Whole(nic)) => nic.send(frame, &options, more),
            (_, Part::Tenant(mut tenant)) => {
                let sent = tenant.send_alone(frame, options);
                let flushed = if more { Ok(()) } else { tenant.flush() };
                sent.and(flushed)
            }
        };
        sent.map_err(to_abi)
    }
}
