//! What the two SYNs of a handshake say (RFC 9293 §3.5).

use crate::link::ethernet::Station;
use crate::names::Tuple;
use smoltcp::wire::TcpSeqNumber;

/// RFC 9293 §3.7.1, MUST-15: what a peer can take that does not say.
pub(crate) const DEFAULT_MSS: u16 = 536;

/// What a SYN offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// SEG.WND: octets, not scaled.
    pub window: u16,
    /// The MSS (RFC 9293 §3.7.1).
    pub mss: Option<u16>,
    /// How far later windows are shifted (RFC 7323 §2.2).
    pub shift: Option<u8>,
    /// SACK may be sent to this end (RFC 2018 §2).
    pub sack_permitted: bool,
}

/// Two SYNs that passed, the peer's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub tuple: Tuple,
    /// ISS: the number of ours.
    pub iss: TcpSeqNumber,
    /// IRS: the number of the peer's.
    pub irs: TcpSeqNumber,
    /// What the peer offered.
    pub offer: Offer,
}

/// Our answer to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SynAck {
    pub tuple: Tuple,
    /// The station that the SYN came from.
    pub station: Station,
    pub seq: TcpSeqNumber,
    pub ack: TcpSeqNumber,
    /// It is a RST instead: nobody listens any more.
    pub refuses: bool,
    pub offer: Offer,
}
