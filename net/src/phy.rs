//! The interface to the card: smoltcp's trait `Device` with its types, and [`LookAhead`].
//!
//! `Device::receive` and `Device::transmit` must return `None` when the card has no room for one frame
//! to be sent. When it has room again, the server must be polled.
//!
//! Only this file and `tcp/` name smoltcp: the other files take its wire formats from here, too.

use abi::nic::Segmentation;

pub use crate::link::offload::{announce, is_acceptable, is_of_vlan, is_tcp};
pub use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, PacketMeta, RxToken, TxToken,
};
pub use smoltcp::time::Instant;

pub(crate) use smoltcp::phy::Medium;
pub(crate) use smoltcp::wire::{
    Ipv4Packet, Ipv6Packet, TcpOption, TcpPacket, TcpSeqNumber, UdpPacket,
};

/// A time in nanoseconds as smoltcp takes it.
pub(crate) fn instant(now: u64) -> Instant {
    Instant::from_micros_const((now / 1000) as i64)
}

/// A card that can show several received frames before they are taken, and that may cut segments.
pub trait LookAhead: Device {
    /// The long frames that the card cuts into TCP segments. The stack cuts all others itself.
    fn segmentation(&self) -> Segmentation {
        Segmentation::default()
    }

    /// Whether at least `wanted` frames have been received, which [`LookAhead::frame`] shows. It does
    /// not wait for them.
    fn sees(&mut self, wanted: usize) -> bool;

    /// One of the frames that [`LookAhead::sees`] has found. Number 0 is the one that `receive` gives
    /// next. Empty if there is none with this number.
    fn frame(&self, index: usize) -> &[u8];

    /// Drops frame 0, which `receive` would give next.
    fn skip(&mut self);
}
