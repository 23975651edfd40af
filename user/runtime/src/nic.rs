//! A network card, for the one process that attached to it.

mod mapped;

use crate::{Result, sys};
use alloc::vec::Vec;

pub use self::mapped::{Incoming, Mapped, Receiving, SendBuffer, Sending};
pub use abi::endpoint::{FILTERS_MAX, Filter, GROUPS_MAX};
pub use abi::nic::{
    Counter, Features, Filters, FrameMemory, Link, MacAddress, NicInfo, ReceivedFrame,
    Segmentation, SendOptions,
};

/// A station address as people write it, `52:54:00:12:34:56`; `None` if it is none.
pub fn station(text: &str) -> Option<MacAddress> {
    let mut address = MacAddress::default();
    let mut parts = text.split(':');
    for octet in &mut address {
        let is_pair = |part: &&str| part.len() == 2 && !part.starts_with('+');
        let part = parts.next().filter(is_pair)?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(address)
}

/// The number of the card that is virtual function `number`, counted over all cards.
///
/// # Errors
/// [`crate::Error::NotFound`] if there are not so many; as [`sys::nic_cards`].
pub fn virtual_function(number: u8) -> Result<u8> {
    let cards = sys::nic_cards()?;
    let mut virtuals = (0..)
        .zip(cards)
        .filter(|(_, info)| info.features.is_virtual);
    let (card, _) = virtuals.nth(number.into()).ok_or(crate::Error::NotFound)?;
    Ok(card)
}

/// An endpoint: an attached card, or a part of one. It stays attached until the process ends.
#[derive(Debug)]
pub struct Card {
    /// The endpoint's number.
    number: u8,
}

impl Card {
    /// Takes card `number`, counted from 0 in the order the kernel found them.
    ///
    /// # Errors
    /// As [`sys::nic_attach`].
    pub fn attach(number: u8) -> Result<Card> {
        Self::share(number, &mut [])
    }

    /// Takes a part of card `number`: the frames that the filters describe. If one of them describes
    /// another endpoint's, too, the other's is put in the place of the first.
    ///
    /// # Errors
    /// As [`sys::nic_attach`].
    pub fn share(number: u8, filters: &mut [Filter]) -> Result<Card> {
        let number = sys::nic_attach(number, filters)?;
        Ok(Card { number })
    }

    /// Has these filters instead of its own, as when a stack's addresses change; it must be a part of a
    /// card. If one of them describes another endpoint's frames, the other's is put in the place of the
    /// first.
    ///
    /// # Errors
    /// As [`sys::nic_refilter`]; then nothing has changed.
    pub fn refilter(&self, filters: &mut [Filter]) -> Result<()> {
        sys::nic_refilter(self.number, filters)
    }

    /// Its number among the endpoints of this process.
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
        self.send_with(frame, SendOptions::default(), more)
    }

    /// As [`Card::send`], with work for the card.
    ///
    /// # Errors
    /// As there, and [`crate::Error::NotSupported`] for what [`NicInfo::features`] lacks.
    pub fn send_with(&self, frame: &[u8], options: SendOptions, more: bool) -> Result<()> {
        sys::nic_send(self.number, frame, options, more)
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

    /// Chooses which frames are received, until the next such call. A part of a card chooses groups
    /// alone.
    ///
    /// # Errors
    /// As [`sys::nic_filter`]; [`crate::Error::TooLong`] for more than it has room for.
    pub fn set_filters(&self, filters: &Filters<'_>) -> Result<()> {
        let mut bytes = [0; Filters::ARGUMENT_MAX];
        let size = filters.write(&mut bytes)?;
        sys::nic_filter(self.number, &bytes[..size])
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
        sys::nic_statistics(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_are_six_pairs_of_digits() {
        assert_eq!(station("02:00:5e:00:Fe:07"), Some([2, 0, 0x5e, 0, 0xfe, 7]));
        for wrong in [
            "",
            "02",
            "2:0:0:0:0:7",
            "02:00:00:00:00",
            "02:00:00:00:00:07:08",
            "02:00:00:00:00:+7",
        ] {
            assert_eq!(station(wrong), None, "{wrong}");
        }
    }
}
