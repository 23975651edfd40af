//! The seam to the card: smoltcp's device trait and the types it speaks in.
//!
//! `receive` must return `None` when there is no room to transmit one frame, and
//! `transmit` when there is none; the server is then polled again when there is.
//!
//! Below `tcp/`, which is a state machine of smoltcp's with much around it, no other file names
//! smoltcp: what the stack takes of its wire formats comes by way of here, too.

pub use crate::link::lookahead::LookAhead;
pub use crate::link::offload::{announce, is_acceptable, is_of_vlan, is_tcp};
pub use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, PacketMeta, RxToken, TxToken,
};
pub use smoltcp::time::Instant;

pub(crate) use smoltcp::phy::Medium;
pub(crate) use smoltcp::wire::{Ipv4Packet, TcpOption, TcpPacket, TcpSeqNumber, UdpPacket};

/// Nanoseconds as smoltcp takes the time.
pub(crate) fn instant(now: u64) -> Instant {
    Instant::from_micros_const((now / 1000) as i64)
}
