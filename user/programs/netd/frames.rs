//! A card's frames as the server's stack wants them.

use alloc::string::String;
use alloc::vec::Vec;
use net::phy;
use runtime::ipc::{Event, Inbox, mask};
use runtime::nic::{Card, Counter, Features, Filters, Incoming, MacAddress, Mapped, NicInfo};
use runtime::nic::{Receiving, Segmentation, SendOptions, Sending};
use runtime::start::Context;
use runtime::{Error, Result};

const EVENTS: u32 =
    mask::MESSAGE | mask::DEATH | mask::NIC_RECEIVE | mask::NIC_TRANSMIT | mask::NIC_LINK;
/// Received frames looked at together.
const AHEAD: usize = 16;

/// The card as smoltcp sees it.
pub struct Frames {
    mapped: Mapped,
    /// How many of the frames that wait were looked at, and are for us: the first ones.
    ahead: usize,
    features: Features,
    frame_max: usize,
    /// The VLAN it is in: all its frames have this tag, and no others are its own.
    vlan: Option<u16>,
    failure: Option<Error>,
    drops: Drops,
}

/// Frames that end here, by reason. What a driver drops it counts itself, and so does the stack.
#[derive(Clone, Copy, Default)]
struct Drops {
    /// Received in a VLAN that is not ours, without the tag of ours, or with a second tag.
    vlan: u64,
    /// Received with a wrong checksum of the IPv4 header or of TCP, which no card vouched for.
    checksum: u64,
    /// To be sent, when there was no buffer to build it in.
    no_buffer: u64,
}

/// Why a received frame is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Vlan,
    Checksum,
}

impl Frames {
    /// Maps the buffers of a card, which receives what is sent to these groups, too. With `vlan`, all
    /// frames have that tag, and no others are ours.
    ///
    /// # Errors
    /// In words: a card without VLANs or room for the groups, no memory.
    pub fn new(
        card: Card,
        info: &NicInfo,
        vlan: Option<u16>,
        groups: &[MacAddress],
    ) -> core::result::Result<Self, String> {
        if vlan.is_some() || !groups.is_empty() {
            join(&card, vlan, groups).context("the card takes no VLAN, or no groups")?;
        }
        Ok(Frames {
            mapped: Mapped::new(card).context("cannot map the card's buffers")?,
            ahead: 0,
            features: info.features,
            frame_max: info.frame_max.into(),
            vlan,
            failure: None,
            drops: Drops::default(),
        })
    }

    /// The card.
    pub fn card(&self) -> &Card {
        self.mapped.card()
    }

    /// The card's and the driver's counters, and those of what ended between the driver and the stack.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::DeviceFailed`].
    pub fn counters(&self) -> Result<Vec<Counter>> {
        let mut counters = self.card().statistics()?;
        let Drops {
            vlan,
            checksum,
            no_buffer,
        } = self.drops;
        counters.extend([
            Counter::new("rx_dropped_vlan", vlan),
            Counter::new("rx_dropped_checksum", checksum),
            Counter::new("rx_dropped_piece", self.mapped.receiving.refused()),
            Counter::new("tx_dropped_no_buffer", no_buffer),
        ]);
        Ok(counters)
    }

    /// Whether frames are at hand.
    pub fn has_frame(&self) -> bool {
        self.mapped.receiving.has_frame()
    }

    /// Has all frames sent and waits for an event; if there is not `more` to do, also for the
    /// next frame, which it then has already.
    ///
    /// # Errors
    /// [`Error::BadHandle`] if the card is not ours any more.
    pub fn wait(
        &mut self,
        more: bool,
        mut deadline: u64,
        inbox: &mut Inbox,
    ) -> Result<(Event, bool)> {
        // Frames that an exchange brought while others were sent: no wake-up is for them. If
        // there is no room for the answer to one, that is what is waited for.
        if !more && self.has_frame() && self.has_room() {
            deadline = 0;
        }
        let Mapped {
            receiving, sending, ..
        } = &self.mapped;
        let arm = !more && !receiving.has_frame();
        if arm || sending.has_queued() || receiving.owes_many() {
            match self.mapped.wait(arm, (EVENTS, deadline), inbox) {
                Ok(told) => return Ok(told),
                // It tells when it works again.
                Err(error @ Error::DeviceFailed) => self.failed(error),
                Err(error) => {
                    self.failed(error);
                    deadline = 0; // it has not waited, and asked for no wake-up
                }
            }
        }
        match self.failure {
            Some(error) => Err(error),
            None => self.look(deadline, inbox),
        }
    }

    /// Waits for an event, and leaves the card alone.
    pub fn look(&mut self, deadline: u64, inbox: &mut Inbox) -> Result<(Event, bool)> {
        let told = inbox.wait(EVENTS, deadline)?;
        if let (Event::Notification(events), _) = told
            && events & mask::NIC_RECEIVE != 0
        {
            self.mapped.receiving.look_again();
        }
        Ok(told)
    }

    /// Hands over what is to be sent, if there is anything.
    pub fn flush(&mut self) {
        if self.mapped.sending.has_queued() {
            self.exchange();
        }
    }

    fn exchange(&mut self) {
        if let Err(error) = self.mapped.exchange(false) {
            self.failed(error);
        }
    }

    fn failed(&mut self, error: Error) {
        match error {
            // The frames are lost, and counted by the driver; the card is mended and will tell.
            Error::DeviceFailed => {}
            // The stack's mistake, not the card's: as if it were lost. The driver has counted it.
            Error::BadFrame | Error::NotSupported | Error::NotPermitted => {}
            error => self.failure = Some(error),
        }
    }

    /// Whether there are buffers for a frame, taking some if need be.
    fn has_room(&mut self) -> bool {
        let sending = &self.mapped.sending;
        if sending.has_batch() || !sending.has_buffers() {
            self.exchange();
        }
        self.mapped.sending.has_buffers()
    }

    /// The next frame for us.
    fn next(&mut self) -> Option<Incoming> {
        if let Some(ahead) = self.ahead.checked_sub(1) {
            self.ahead = ahead;
            return self.mapped.receiving.take();
        }
        loop {
            let Some(frame) = self.mapped.receiving.take() else {
                if !self.mapped.receiving.may_have_more() {
                    return None;
                }
                self.exchange();
                if !self.mapped.receiving.has_frame() {
                    return None;
                }
                continue;
            };
            let right = frame.checksums_right();
            let receiving = &self.mapped.receiving;
            match self.refusal(frame.vlan(), right, receiving.bytes(&frame)) {
                None => return Some(frame),
                Some(Refusal::Vlan) => self.drops.vlan += 1,
                Some(Refusal::Checksum) => self.drops.checksum += 1,
            }
            self.mapped.receiving.give_back(frame);
        }
    }

    /// Looks at the first frames that wait, as far as they are for us. Returns whether
    /// `wanted` are there.
    #[inline(never)]
    fn look_ahead(&mut self, wanted: usize) -> bool {
        let receiving = &self.mapped.receiving;
        if !receiving.has_frame() && receiving.may_have_more() {
            self.exchange();
        }
        // One alone need not be looked at twice.
        if self.mapped.receiving.count() < wanted {
            return false;
        }
        while self.ahead < AHEAD
            && let Some((frame, bytes)) = self.mapped.receiving.see(self.ahead)
            && self
                .refusal(frame.vlan, frame.checksums_right, bytes)
                .is_none()
        {
            self.ahead += 1;
        }
        self.ahead >= wanted
    }

    /// Why a frame is not for us, or damaged; `None` if it is to be passed on.
    #[inline]
    fn refusal(&self, tag: Option<u16>, checksums_right: bool, bytes: &[u8]) -> Option<Refusal> {
        let concerns_vlans = tag.is_some() || self.vlan.is_some();
        if concerns_vlans && !phy::is_of_vlan(self.vlan, tag, bytes) {
            return Some(Refusal::Vlan);
        }
        // A card without offloads leaves all checksums to the stack.
        let verified = !self.features.checksums || checksums_right;
        (!verified && !phy::is_acceptable(bytes)).then_some(Refusal::Checksum)
    }
}

/// Has the card receive frames to these groups and no others, and those of the VLAN if there is one.
fn join(card: &Card, vlan: Option<u16>, groups: &[MacAddress]) -> Result<()> {
    let numbers = vlan.map(|vlan| [vlan]);
    card.set_filters(&Filters {
        multicast: groups,
        vlans: numbers.as_ref().map(|numbers| &numbers[..]),
        ..Filters::default()
    })
}

impl phy::Device for Frames {
    type RxToken<'a> = RxFrame<'a>;
    type TxToken<'a> = TxFrame<'a>;

    fn receive(&mut self, _: phy::Instant) -> Option<(RxFrame<'_>, TxFrame<'_>)> {
        // smoltcp must not fail to answer what it was given.
        if !self.has_room() {
            return None;
        }
        let frame = self.next()?;
        let Mapped {
            receiving, sending, ..
        } = &mut self.mapped;
        let frame = RxFrame {
            receiving,
            frame: Some(frame),
        };
        let drops = &mut self.drops;
        Some((
            frame,
            TxFrame::new(sending, drops, self.features, self.vlan),
        ))
    }

    fn transmit(&mut self, _: phy::Instant) -> Option<TxFrame<'_>> {
        let has_room = self.has_room();
        let (sending, drops) = (&mut self.mapped.sending, &mut self.drops);
        has_room.then(|| TxFrame::new(sending, drops, self.features, self.vlan))
    }

    fn capabilities(&self) -> phy::DeviceCapabilities {
        let mut capabilities = phy::DeviceCapabilities::default();
        capabilities.max_transmission_unit = self.frame_max;
        if self.features.checksums {
            phy::announce(&mut capabilities);
        }
        capabilities
    }
}

impl phy::LookAhead for Frames {
    fn segmentation(&self) -> Segmentation {
        self.features.segmentation
    }

    #[inline]
    fn sees(&mut self, wanted: usize) -> bool {
        self.ahead >= wanted || self.look_ahead(wanted)
    }

    fn frame(&self, index: usize) -> &[u8] {
        let frame = self.mapped.receiving.see(index);
        frame.map_or(&[], |(_, bytes)| bytes)
    }

    fn skip(&mut self) {
        if let Some(ahead) = self.ahead.checked_sub(1) {
            self.ahead = ahead;
            self.mapped.receiving.skip();
        }
    }
}

/// A received frame, where the card has put it.
pub struct RxFrame<'a> {
    receiving: &'a mut Receiving,
    frame: Option<Incoming>,
}

impl phy::RxToken for RxFrame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(match &self.frame {
            Some(frame) => self.receiving.bytes(frame),
            None => &[],
        })
    }
}

impl Drop for RxFrame<'_> {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            self.receiving.give_back(frame);
        }
    }
}

/// A frame to be sent, built in a buffer that the card sends from.
pub struct TxFrame<'a> {
    sending: &'a mut Sending,
    drops: &'a mut Drops,
    /// The card fills in the checksums of TCP.
    checksums: bool,
    options: SendOptions,
}

impl<'a> TxFrame<'a> {
    fn new(
        sending: &'a mut Sending,
        drops: &'a mut Drops,
        features: Features,
        vlan: Option<u16>,
    ) -> Self {
        TxFrame {
            sending,
            drops,
            checksums: features.checksums,
            options: SendOptions {
                vlan,
                ..SendOptions::default()
            },
        }
    }
}

impl phy::TxToken for TxFrame<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Some(mut buffer) = self.sending.take(len) else {
            // There was one of each size, and smoltcp knows the longest: it is lost.
            self.drops.no_buffer += 1;
            return f(&mut alloc::vec![0; len]);
        };
        let frame = self.sending.bytes_mut(&mut buffer, len);
        let result = f(frame);
        let options = SendOptions {
            checksums: self.checksums && phy::is_tcp(frame),
            ..self.options
        };
        self.sending.queue(buffer, len, options, None);
        result
    }

    fn set_meta(&mut self, meta: phy::PacketMeta) {
        let size = meta.segmentation_offload_size;
        self.options.segment_size = size.map_or(0, |size| size.get());
    }
}

#[cfg(test)]
mod tests;
