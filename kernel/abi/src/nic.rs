//! What a program learns of a card it has attached to.

use crate::Result;
use crate::wire::{Name, Reader, Writer};

/// An Ethernet (MAC-48) address, in transmission order.
pub type MacAddress = [u8; 6];

crate::record! {
    /// State of the link.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Link {
        /// Whether frames can pass.
        pub up: bool,
        /// Speed in Mb/s; 0 when unknown.
        pub speed_mbps: u16,
        /// Whether both directions work at the same time.
        pub full_duplex: bool,
    }
}

crate::record! {
    /// A card, as [`crate::Syscall::NicInfo`] describes it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NicInfo {
        /// The driver's name ("e100").
        pub driver: Name<8>,
        /// The chip's name ("Intel 82559ER").
        pub chip: Name<24>,
        /// Position on PCI: bus << 8 | device << 3 | function.
        pub pci_address: u16,
        /// The station address.
        pub mac: MacAddress,
        /// The link now.
        pub link: Link,
        /// Longest frame, in bytes, header included and checksum not.
        pub frame_max: u16,
        /// Frames that fit into the transmit ring.
        pub transmit_ring: u16,
        /// Frames that fit into the receive ring.
        pub receive_ring: u16,
        /// What it does by itself.
        pub features: Features,
    }
}

crate::record! {
    /// What a card does by itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Features {
        /// It verifies the checksums of IPv4 headers, TCP and UDP, and fills them in
        /// ([`SendOptions::checksums`]).
        pub checksums: bool,
        /// What it cuts into TCP segments ([`SendOptions::segment_size`]).
        pub segmentation: Segmentation,
        /// It puts VLAN tags into frames ([`SendOptions::vlan`]). Those of received frames are taken out
        /// with every card.
        pub vlan: bool,
        /// It has [`Filters`].
        pub filters: bool,
        /// Receive queues in use.
        pub receive_queues: u16,
        /// Transmit queues in use.
        pub transmit_queues: u16,
        /// Interrupt vectors in use.
        pub vectors: u16,
        /// It is a virtual function of a card (SR-IOV).
        pub is_virtual: bool,
    }
}

crate::record! {
    /// Which long frames a card cuts into TCP segments; by default none. Driver and network server ask the
    /// same [`Segmentation::takes`], so that neither hands the other what it would refuse: what a card does
    /// not take, software cuts.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Segmentation {
        /// Longest frame that is cut, in bytes; 0 if none is.
        pub frame_max: u32,
        /// Longest frame that comes of it, in bytes.
        pub segment_max: u16,
        /// Fewest bytes of payload that may be asked for in each of those but the last.
        pub payload_min: u16,
        /// Longest headers of a frame, Ethernet's to TCP's, in bytes.
        pub headers_max: u16,
    }
}

impl Segmentation {
    /// Whether the card cuts a frame with headers of so many bytes, which is no longer than
    /// `frame_max`, into ones with `payload` bytes of payload each.
    #[inline]
    pub const fn takes(&self, headers: usize, payload: usize) -> bool {
        self.frame_max > 0
            && payload >= self.payload_min as usize
            && headers <= self.headers_max as usize
            && headers + payload <= self.segment_max as usize
    }
}

/// What a card shall do to a frame before it is sent. A caller says what is to be done, not where the
/// headers are: the driver finds them itself, since what it tells its card must not depend on the
/// honesty of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// Fill in the checksums of the IPv4 header and of TCP or UDP, whatever is in those fields; of
    /// any other frame, nothing. A fragment is refused, since its checksum covers more than itself, and
    /// so is IPv6 with extension headers, which no stack here sends with TCP or UDP.
    pub checksums: bool,
    /// Cut this TCP segment into ones of at most that many bytes of payload, with all checksums; 0
    /// sends it whole. [`Features::segmentation`] says which frames, and of what size.
    pub segment_size: u16,
    /// Put a VLAN tag into the frame, which must not have one: priority and number (IEEE 802.1Q TCI).
    pub vlan: Option<u16>,
}

impl SendOptions {
    /// Whether that is nothing: one comparison.
    #[inline]
    pub const fn is_none(&self) -> bool {
        let asked = self.checksums as u16 | self.segment_size | self.vlan.is_some() as u16;
        asked == 0
    }

    /// The last argument of [`crate::Syscall::NicSend`]. `more`: more frames, or a
    /// [`crate::Syscall::NicFlush`], follow at once.
    pub const fn to_register(self, more: bool) -> u64 {
        let vlan = match self.vlan {
            Some(tag) => 4 | (tag as u64) << 32,
            None => 0,
        };
        more as u64 | (self.checksums as u64) << 1 | (self.segment_size as u64) << 16 | vlan
    }

    /// What that argument says. Bits that mean nothing are ignored.
    pub const fn from_register(register: u64) -> (Self, bool) {
        let options = SendOptions {
            checksums: register & 2 != 0,
            segment_size: (register >> 16) as u16,
            vlan: match register & 4 {
                0 => None,
                _ => Some((register >> 32) as u16),
            },
        };
        (options, register & 1 != 0)
    }
}

/// A received frame: the result of [`crate::Syscall::NicReceive`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// Its length in bytes.
    pub len: u32,
    /// The card found the checksums of its IPv4 header, which IPv6 has not, and of TCP or UDP right.
    pub checksums_right: bool,
    /// The VLAN tag (TCI) that the card took out of it.
    pub vlan: Option<u16>,
}

impl ReceivedFrame {
    /// The result in a register.
    pub const fn to_register(self) -> u64 {
        let vlan = match self.vlan {
            Some(tag) => 2 | (tag as u64) << 2,
            None => 0,
        };
        self.len as u64 | (self.checksums_right as u64 | vlan) << 32
    }

    /// The result from a register.
    pub const fn from_register(register: u64) -> Self {
        let more = register >> 32;
        ReceivedFrame {
            len: register as u32,
            checksums_right: more & 1 != 0,
            vlan: match more & 2 {
                0 => None,
                _ => Some((more >> 2) as u16),
            },
        }
    }
}

/// Which frames a card receives besides those to its station address and to all stations: the
/// argument of [`crate::Syscall::NicFilter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filters<'a> {
    /// Everything on the wire.
    pub promiscuous: bool,
    /// All frames to groups.
    pub all_multicast: bool,
    /// Frames to these stations.
    pub unicast: &'a [MacAddress],
    /// Frames to these groups; the card may let others through.
    pub multicast: &'a [MacAddress],
    /// Of frames with a VLAN tag, only those of these numbers; `None`: all.
    pub vlans: Option<&'a [u16]>,
}

impl<'a> Filters<'a> {
    /// Bytes of what comes first: flags, and how many stations, groups and VLANs follow, 6, 6 and 2
    /// bytes each.
    const HEAD_SIZE: usize = 8;
    /// More VLANs than there are.
    pub const VLANS_MAX: usize = 4095;
    /// The longest argument: more addresses and numbers than any card has places for.
    pub const ARGUMENT_MAX: usize = Self::HEAD_SIZE + 6 * (64 + 512) + 2 * Self::VLANS_MAX;

    /// Puts them down as bytes; returns how many.
    ///
    /// # Errors
    /// [`crate::Error::TooLong`] if there is no room for them, as there is in
    /// [`Filters::ARGUMENT_MAX`] for all that a card takes.
    pub fn write(&self, bytes: &mut [u8]) -> Result<usize> {
        let flags = u16::from(self.promiscuous)
            | u16::from(self.all_multicast) << 1
            | u16::from(self.vlans.is_some()) << 2;
        let vlans = self.vlans.unwrap_or_default();
        let stations = self.unicast.len() + self.multicast.len();
        let size = Self::HEAD_SIZE + 6 * stations + 2 * vlans.len();
        let bytes = bytes.get_mut(..size.min(Self::ARGUMENT_MAX));
        let bytes = bytes.filter(|bytes| bytes.len() == size);
        let mut writer = Writer::new(bytes.ok_or(crate::Error::TooLong)?);
        // So few are numbers of 16 bits.
        writer
            .u16(flags)
            .u16(self.unicast.len() as u16)
            .u16(self.multicast.len() as u16)
            .u16(vlans.len() as u16)
            .bytes(self.unicast.as_flattened())
            .bytes(self.multicast.as_flattened());
        for vlan in vlans {
            writer.u16(*vlan);
        }
        Ok(size)
    }

    /// What the bytes say. The numbers of VLANs are put into `numbers`.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if they are not exactly as many as they say,
    /// [`crate::Error::TooLong`] if there is no room for the numbers.
    pub fn parse(bytes: &'a [u8], numbers: &'a mut [u16]) -> Result<Self> {
        let malformed = crate::Error::Malformed;
        let mut reader = Reader::new(bytes);
        let flags = reader.u16()?;
        let [unicast, multicast, vlans] = [reader.u16()?, reader.u16()?, reader.u16()?];
        let rest = bytes.get(Self::HEAD_SIZE..).ok_or(malformed)?;
        let (unicast, rest) = rest
            .split_at_checked(6 * usize::from(unicast))
            .ok_or(malformed)?;
        let (multicast, rest) = rest
            .split_at_checked(6 * usize::from(multicast))
            .ok_or(malformed)?;
        let vlans = usize::from(vlans);
        if rest.len() != 2 * vlans {
            return Err(malformed);
        }
        let numbers = numbers.get_mut(..vlans).ok_or(crate::Error::TooLong)?;
        for (number, vlan) in numbers.iter_mut().zip(rest.as_chunks().0) {
            *number = u16::from_le_bytes(*vlan);
        }
        Ok(Filters {
            promiscuous: flags & 1 != 0,
            all_multicast: flags & 2 != 0,
            unicast: unicast.as_chunks().0,
            multicast: multicast.as_chunks().0,
            vlans: (flags & 4 != 0).then_some(numbers),
        })
    }
}

crate::record! {
    /// What a card's owner is shown, as [`crate::Syscall::NicMap`] describes it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FrameMemory {
        /// Small buffers to send from, which come first, and bytes of each.
        pub small: (u16, u32),
        /// Large ones, whose numbers follow.
        pub large: (u16, u32),
        /// Bytes that the card receives into.
        pub receive_len: u32,
    }
}

impl FrameMemory {
    /// Where a buffer to send from starts, from the start of all of them, and its bytes; `None`
    /// if there is none of that number.
    pub fn buffer(&self, number: u16) -> Option<(usize, usize)> {
        let ((small, small_len), (large, large_len)) = (self.small, self.large);
        let (small_len, large_len) = (small_len as usize, large_len as usize);
        match number.checked_sub(small) {
            None => Some((usize::from(number) * small_len, small_len)),
            Some(number) if number < large => Some((
                usize::from(small) * small_len + usize::from(number) * large_len,
                large_len,
            )),
            Some(_) => None,
        }
    }
}

crate::record! {
    /// One statistic of a card or driver. Each chip has its own set, so it carries its name.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Counter {
        /// Lower case, words joined by underscores.
        pub name: Name<{ Counter::NAME_MAX }>,
        /// How often, or how many octets.
        pub value: u64,
    }
}

impl Counter {
    /// Bytes of the longest name.
    pub const NAME_MAX: usize = 32;
    /// The most counters a card may have.
    pub const COUNT_MAX: usize = 192;

    /// A counter.
    pub fn new(name: &str, value: u64) -> Self {
        Counter {
            name: Name::new(name),
            value,
        }
    }
}

#[cfg(test)]
mod tests;
