//! What cards do for frames besides carrying them, in terms that no chip owns.
//!
//! A caller says what is to be done, not where the headers are: the driver finds them itself, since
//! what it tells its card must not depend on the honesty of a process.

use crate::{MacAddress, Segmentation};

/// What a card does by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// It verifies the checksums of IPv4 headers, TCP and UDP ([`ReceiveInfo`]), and fills them in
    /// ([`SendOptions::checksums`]).
    pub checksums: bool,
    /// What it cuts into TCP segments ([`SendOptions::segment_size`]).
    pub segmentation: Segmentation,
    /// It puts VLAN tags into frames ([`SendOptions::vlan`]).
    pub vlan: bool,
    /// It has [`crate::Nic::set_filters`].
    pub filters: bool,
    /// Receive queues in use.
    pub receive_queues: u16,
    /// Transmit queues in use.
    pub transmit_queues: u16,
    /// Interrupt vectors in use.
    pub vectors: u16,
}

/// What a card shall do to a frame before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// Fill in the checksums of the IPv4 header and of TCP or UDP, whatever is in those fields; of
    /// any other frame, nothing. A fragment is refused: its checksum covers more than itself.
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
    pub fn is_none(&self) -> bool {
        let asked = u16::from(self.checksums) | self.segment_size | u16::from(self.vlan.is_some());
        asked == 0
    }
}

/// What a card found out about a frame that it received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveInfo {
    /// The card verified the checksum of the IPv4 header, and it is right. Otherwise it is wrong, or
    /// nobody looked.
    pub ipv4_checksum: bool,
    /// The same for the checksum of TCP or UDP.
    pub transport_checksum: bool,
    /// The VLAN tag (TCI, IEEE 802.1Q §9.6) that was taken out of the frame, by the card or by its
    /// driver; of several, the first.
    pub vlan: Option<u16>,
    /// The receive queue it came by.
    pub queue: u16,
    /// Hash of its flow (Toeplitz, over addresses and ports), if the card computed one.
    pub hash: Option<u32>,
}

/// Which frames a card receives besides those to its station address and to all stations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filters<'a> {
    /// Everything on the wire.
    pub promiscuous: bool,
    /// All frames to groups.
    pub all_multicast: bool,
    /// Frames to these groups; the card may let others through.
    pub multicast: &'a [MacAddress],
    /// Frames to these stations.
    pub unicast: &'a [MacAddress],
    /// Of frames with a VLAN tag, only those of these numbers; `None`: all.
    pub vlans: Option<&'a [u16]>,
}
