//! A network card, for the one process that attached to it.

mod mapped;

use crate::{Result, sys};
use alloc::vec::Vec;

pub use self::mapped::{Incoming, Mapped, Receiving, SendBuffer, Sending};
pub use abi::nic::{
    Counter, Features, Link, MacAddress, NicInfo, ReceivedFrame, Segmentation, SendOptions,
};

use abi::nic::FilterHead;

/// Which frames a card receives besides those to its station address and to all stations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Everything on the wire.
    pub promiscuous: bool,
    /// All frames to groups.
    pub all_multicast: bool,
    /// Frames to these stations.
    pub unicast: Vec<MacAddress>,
    /// Frames to these groups; the card may let others through.
    pub multicast: Vec<MacAddress>,
    /// Of frames with a VLAN tag, only those of these numbers; `None`: all.
    pub vlans: Option<Vec<u16>>,
}

impl Filters {
    /// The filters as the kernel takes them; `None` if a list is longer than it can say.
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let vlans = self.vlans.as_deref().unwrap_or_default();
        let head = FilterHead {
            promiscuous: self.promiscuous,
            all_multicast: self.all_multicast,
            vlan_filter: self.vlans.is_some(),
            unicast: self.unicast.len().try_into().ok()?,
            multicast: self.multicast.len().try_into().ok()?,
            vlans: vlans.len().try_into().ok()?,
        };
        let mut bytes = head.to_bytes().to_vec();
        bytes.extend(self.unicast.iter().chain(&self.multicast).flatten());
        bytes.extend(vlans.iter().flat_map(|vlan| vlan.to_le_bytes()));
        Some(bytes)
    }
}

/// An attached card. It stays attached until the process ends.
#[derive(Debug)]
pub struct Card {
    number: u8,
}

impl Card {
    /// Takes card `number`, counted from 0 in the order the kernel found them.
    ///
    /// # Errors
    /// As [`sys::nic_attach`].
    pub fn attach(number: u8) -> Result<Card> {
        sys::nic_attach(number)?;
        Ok(Card { number })
    }

    /// A card that a test plays.
    #[cfg(test)]
    pub(crate) fn played(number: u8) -> Card {
        Card { number }
    }

    /// Its number.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Name, MAC address, link and limits.
    ///
    /// # Errors
    /// As [`sys::nic_info`].
    pub fn info(&self) -> Result<NicInfo> {
        sys::nic_info(self.number)
    }

    /// Queues one frame; see [`sys::nic_send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, frame: &[u8], more: bool) -> Result<()> {
        let options = SendOptions {
            more,
            ..SendOptions::default()
        };
        self.send_with(frame, options)
    }

    /// As [`Card::send`], with work for the card.
    ///
    /// # Errors
    /// As there, and [`crate::Error::NotSupported`] for what [`NicInfo::features`] lacks.
    pub fn send_with(&self, frame: &[u8], options: SendOptions) -> Result<()> {
        sys::nic_send(self.number, frame, options)
    }

    /// Takes the next received frame; see [`sys::nic_receive`].
    ///
    /// # Errors
    /// As there.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        self.receive_with(buffer).map(|frame| frame.len as usize)
    }

    /// As [`Card::receive`], with what the card found out.
    ///
    /// # Errors
    /// As there.
    pub fn receive_with(&self, buffer: &mut [u8]) -> Result<ReceivedFrame> {
        sys::nic_receive(self.number, buffer)
    }

    /// Chooses which frames are received, until the next such call.
    ///
    /// # Errors
    /// As [`sys::nic_filter`]; [`crate::Error::TooLong`] for more than it has room for.
    pub fn set_filters(&self, filters: &Filters) -> Result<()> {
        let bytes = filters.to_bytes().ok_or(crate::Error::TooLong)?;
        sys::nic_filter(self.number, &bytes)
    }

    /// Tells the card about all queued frames.
    ///
    /// # Errors
    /// As [`sys::nic_flush`].
    pub fn flush(&self) -> Result<()> {
        sys::nic_flush(self.number)
    }

    /// The card's and the driver's counters.
    ///
    /// # Errors
    /// As [`sys::nic_statistics`].
    pub fn statistics(&self) -> Result<Vec<Counter>> {
        let mut bytes = alloc::vec![0; Counter::COUNT_MAX * Counter::SIZE];
        let count = sys::nic_statistics(self.number, &mut bytes)?;
        bytes
            .chunks_exact(Counter::SIZE)
            .take(count)
            .map(Counter::from_bytes)
            .collect()
    }
}
