//! What a program learns of a card it has attached to.

use crate::Result;
use crate::wire::{Reader, Writer, text};

/// An Ethernet (MAC-48) address, in transmission order.
pub type MacAddress = [u8; 6];

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

/// A card, as [`crate::Syscall::NicInfo`] describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicInfo {
    /// The driver's name ("e100"), padded with zeros.
    pub driver: [u8; 8],
    /// The chip's name ("Intel 82559ER"), padded with zeros; a longer one is cut.
    pub chip: [u8; 24],
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

/// What a card does for frames besides carrying them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// It verifies and fills in the checksums of IPv4, TCP and UDP.
    pub checksums: bool,
    /// What it cuts into TCP segments.
    pub segmentation: Segmentation,
    /// Receive queues in use.
    pub receive_queues: u8,
    /// Transmit queues in use.
    pub transmit_queues: u8,
    /// It puts VLAN tags into frames. Those of received frames are taken out with every card.
    pub vlan: bool,
    /// It has filters: [`crate::Syscall::NicFilter`].
    pub filters: bool,
}

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

/// How a frame is to be sent: the last argument of [`crate::Syscall::NicSend`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// More frames, or a [`crate::Syscall::NicFlush`], follow at once.
    pub more: bool,
    /// Fill in the checksums of the IPv4 header and of TCP or UDP.
    pub checksums: bool,
    /// Cut this TCP segment into ones of at most that many bytes of payload; 0: send it whole.
    pub segment_size: u16,
    /// Put a VLAN tag into the frame: priority and number (IEEE 802.1Q TCI).
    pub vlan: Option<u16>,
}

impl SendOptions {
    /// The options in a register.
    pub const fn to_register(self) -> u64 {
        let vlan = match self.vlan {
            Some(tag) => 4 | (tag as u64) << 32,
            None => 0,
        };
        self.more as u64 | (self.checksums as u64) << 1 | (self.segment_size as u64) << 16 | vlan
    }

    /// The options from a register. Bits that mean nothing are ignored.
    pub const fn from_register(register: u64) -> Self {
        SendOptions {
            more: register & 1 != 0,
            checksums: register & 2 != 0,
            segment_size: (register >> 16) as u16,
            vlan: match register & 4 {
                0 => None,
                _ => Some((register >> 32) as u16),
            },
        }
    }
}

/// A received frame: the result of [`crate::Syscall::NicReceive`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// Its length in bytes.
    pub len: u32,
    /// The card found the checksums of its IPv4 header and of TCP or UDP right.
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

/// Which frames a card receives besides those to its station address and to all stations:
/// the fixed part of [`crate::Syscall::NicFilter`]'s argument. Behind it are the addresses of
/// `unicast` stations and `multicast` groups, 6 bytes each, and `vlans` numbers, 2 bytes each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterHead {
    /// Everything on the wire.
    pub promiscuous: bool,
    /// All frames to groups.
    pub all_multicast: bool,
    /// Of frames with a VLAN tag, only those of the numbers listed; otherwise all.
    pub vlan_filter: bool,
    /// How many stations, groups and VLANs follow.
    pub unicast: u16,
    /// See there.
    pub multicast: u16,
    /// See there.
    pub vlans: u16,
}

impl FilterHead {
    /// Bytes on the wire.
    pub const SIZE: usize = 8;
    /// The longest argument: more addresses and numbers than any card has places for.
    pub const ARGUMENT_MAX: usize = Self::SIZE + 6 * (64 + 512) + 2 * 4095;

    /// The structure as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let flags = u16::from(self.promiscuous)
            | u16::from(self.all_multicast) << 1
            | u16::from(self.vlan_filter) << 2;
        let mut bytes = [0; Self::SIZE];
        Writer::new(&mut bytes)
            .u16(flags)
            .u16(self.unicast)
            .u16(self.multicast)
            .u16(self.vlans);
        bytes
    }

    /// The structure from bytes, and the stations, groups and VLANs behind it.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if they are not exactly as many as it says.
    #[expect(clippy::type_complexity, reason = "three lists")]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[[u8; 6]], &[[u8; 6]], &[[u8; 2]])> {
        let mut reader = Reader::new(bytes);
        let flags = reader.u16()?;
        let head = FilterHead {
            promiscuous: flags & 1 != 0,
            all_multicast: flags & 2 != 0,
            vlan_filter: flags & 4 != 0,
            unicast: reader.u16()?,
            multicast: reader.u16()?,
            vlans: reader.u16()?,
        };
        let malformed = crate::Error::Malformed;
        let rest = bytes.get(Self::SIZE..).ok_or(malformed)?;
        let (unicast, rest) = rest
            .split_at_checked(6 * usize::from(head.unicast))
            .ok_or(malformed)?;
        let (multicast, vlans) = rest
            .split_at_checked(6 * usize::from(head.multicast))
            .ok_or(malformed)?;
        if vlans.len() != 2 * usize::from(head.vlans) {
            return Err(malformed);
        }
        Ok((
            head,
            unicast.as_chunks().0,
            multicast.as_chunks().0,
            vlans.as_chunks().0,
        ))
    }
}

impl NicInfo {
    /// Bytes on the wire.
    pub const SIZE: usize = 65;

    /// The structure as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        Writer::new(&mut bytes)
            .bytes(&self.driver)
            .bytes(&self.chip)
            .u16(self.pci_address)
            .bytes(&self.mac)
            .u8(self.link.up.into())
            .u8(self.link.full_duplex.into())
            .u16(self.link.speed_mbps)
            .u16(self.frame_max)
            .u16(self.transmit_ring)
            .u16(self.receive_ring)
            .u8(self.features.checksums.into())
            .u32(self.features.segmentation.frame_max)
            .u16(self.features.segmentation.segment_max)
            .u16(self.features.segmentation.payload_min)
            .u16(self.features.segmentation.headers_max)
            .u8(self.features.receive_queues)
            .u8(self.features.transmit_queues)
            .u8(self.features.vlan.into())
            .u8(self.features.filters.into());
        bytes
    }

    /// The structure from bytes.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if they are too few.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let driver = reader.array()?;
        let chip = reader.array()?;
        let pci_address = reader.u16()?;
        let mac = reader.array()?;
        let up = reader.u8()? != 0;
        let full_duplex = reader.u8()? != 0;
        let speed_mbps = reader.u16()?;
        Ok(NicInfo {
            driver,
            chip,
            pci_address,
            mac,
            link: Link {
                up,
                speed_mbps,
                full_duplex,
            },
            frame_max: reader.u16()?,
            transmit_ring: reader.u16()?,
            receive_ring: reader.u16()?,
            features: Features {
                checksums: reader.u8()? != 0,
                segmentation: Segmentation {
                    frame_max: reader.u32()?,
                    segment_max: reader.u16()?,
                    payload_min: reader.u16()?,
                    headers_max: reader.u16()?,
                },
                receive_queues: reader.u8()?,
                transmit_queues: reader.u8()?,
                vlan: reader.u8()? != 0,
                filters: reader.u8()? != 0,
            },
        })
    }

    /// The driver's name as text.
    pub fn driver_name(&self) -> &str {
        text(&self.driver)
    }

    /// The chip's name as text.
    pub fn chip_name(&self) -> &str {
        text(&self.chip)
    }
}

/// One statistic of a card or driver. Each chip has its own set, so it carries its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Lower case, words joined by underscores, padded with zeros.
    pub name: [u8; 32],
    /// How often, or how many octets.
    pub value: u64,
}

impl Counter {
    /// Bytes on the wire.
    pub const SIZE: usize = 40;
    /// The most counters a card may have.
    pub const COUNT_MAX: usize = 128;

    /// A counter; a name over 32 bytes is cut.
    pub fn new(name: &str, value: u64) -> Self {
        let mut padded = [0; 32];
        let len = name.len().min(padded.len());
        padded[..len].copy_from_slice(&name.as_bytes()[..len]);
        Counter {
            name: padded,
            value,
        }
    }

    /// The name as text.
    pub fn name(&self) -> &str {
        text(&self.name)
    }

    /// The structure as bytes.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        Writer::new(&mut bytes).bytes(&self.name).u64(self.value);
        bytes
    }

    /// The structure from bytes.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if they are too few.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        Ok(Counter {
            name: reader.array()?,
            value: reader.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn info_round_trip() {
        let info = NicInfo {
            driver: *b"e100\0\0\0\0",
            chip: *b"Intel 82559ER\0\0\0\0\0\0\0\0\0\0\0",
            pci_address: 3 << 3,
            mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
            link: Link {
                up: true,
                speed_mbps: 100,
                full_duplex: true,
            },
            frame_max: 1514,
            transmit_ring: 32,
            receive_ring: 256,
            features: Features {
                checksums: true,
                segmentation: Segmentation {
                    frame_max: 65_549,
                    segment_max: 1514,
                    payload_min: 64,
                    headers_max: 144,
                },
                receive_queues: 16,
                transmit_queues: 8,
                vlan: true,
                filters: false,
            },
        };
        assert_eq!(NicInfo::from_bytes(&info.to_bytes()), Ok(info));
        assert_eq!(info.driver_name(), "e100");
        assert_eq!(info.chip_name(), "Intel 82559ER");
        assert_eq!(
            NicInfo::from_bytes(&[0; NicInfo::SIZE - 1]),
            Err(Error::Malformed)
        );
    }

    #[test]
    fn each_limit_of_a_card_that_cuts_counts() {
        let segmentation = Segmentation {
            frame_max: 65_536,
            segment_max: 1514,
            payload_min: 64,
            headers_max: 144,
        };
        let takes = |headers, payload| segmentation.takes(headers, payload);
        assert!(takes(54, 64) && takes(54, 1460) && takes(144, 1370));
        assert!(!takes(54, 63) && !takes(54, 1461) && !takes(145, 1000));
        assert!(!Segmentation::default().takes(54, 1460));
    }

    #[test]
    fn options_and_results_fit_registers() {
        let options = SendOptions {
            more: true,
            checksums: true,
            segment_size: 1460,
            vlan: Some(0xefff),
        };
        assert_eq!(SendOptions::from_register(options.to_register()), options);
        assert_eq!(
            SendOptions::from_register(1),
            SendOptions {
                more: true,
                ..SendOptions::default()
            }
        );
        let frame = ReceivedFrame {
            len: 1514,
            checksums_right: true,
            vlan: Some(0xffff),
        };
        assert_eq!(ReceivedFrame::from_register(frame.to_register()), frame);
        // The upper half of the numbers is errors.
        assert!(crate::error::from_register(frame.to_register()).is_ok());
        assert_eq!(ReceivedFrame::from_register(60).len, 60);
    }

    #[test]
    fn filters_round_trip_and_count_exactly() {
        let head = FilterHead {
            promiscuous: false,
            all_multicast: true,
            vlan_filter: true,
            unicast: 1,
            multicast: 2,
            vlans: 1,
        };
        let mut bytes = head.to_bytes().to_vec();
        bytes.extend_from_slice(&[1; 6]);
        bytes.extend_from_slice(&[2; 12]);
        bytes.extend_from_slice(&[7, 0]);
        let (parsed, unicast, multicast, vlans) = FilterHead::parse(&bytes).unwrap();
        assert_eq!(parsed, head);
        assert_eq!(unicast, [[1; 6]]);
        assert_eq!(multicast, [[2; 6]; 2]);
        assert_eq!(vlans, [[7, 0]]);
        bytes.push(0);
        for len in (0..bytes.len() - 1).chain([bytes.len()]) {
            assert_eq!(FilterHead::parse(&bytes[..len]), Err(Error::Malformed));
        }
    }

    #[test]
    fn counter_round_trip() {
        let counter = Counter::new("rx_good_frames", 7);
        assert_eq!(Counter::from_bytes(&counter.to_bytes()), Ok(counter));
        assert_eq!(counter.name(), "rx_good_frames");
        assert_eq!(Counter::new(&"x".repeat(40), 0).name().len(), 32);
    }
}
