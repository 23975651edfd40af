//! What the SYNs of a connection say (RFC 9293 §3.5), and how they are acknowledged.

use crate::link::ethernet::Station;
use crate::names::Tuple;
use smoltcp::wire::TcpSeqNumber;

/// The MSS of a peer that does not tell its own (RFC 9293 §3.7.1, MUST-15).
pub(crate) const DEFAULT_MSS: u16 = 536;

/// The window and the options of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// SEG.WND in octets: the window of a SYN is not scaled.
    pub window: u16,
    /// The MSS option (RFC 9293 §3.7.1).
    pub mss: Option<u16>,
    /// The window scale option: by how many bits later windows are shifted (RFC 7323 §2.2).
    pub shift: Option<u8>,
    /// Whether selective acknowledgements may be sent to this end (RFC 2018 §2).
    pub sack_permitted: bool,
}

/// The SYN of the peer, and the sequence number of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub tuple: Tuple,
    /// ISS: the initial sequence number of our side.
    pub iss: TcpSeqNumber,
    /// IRS: the initial sequence number of the peer.
    pub irs: TcpSeqNumber,
    /// The peer's offer.
    pub offer: Offer,
}

/// The answer to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SynAck {
    pub tuple: Tuple,
    /// The station that the SYN came from.
    pub station: Station,
    pub seq: TcpSeqNumber,
    pub ack: TcpSeqNumber,
    /// Whether a RST is sent instead, since the listener is gone.
    pub is_reset: bool,
    pub offer: Offer,
}

/// A segment that only acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgment {
    /// SEG.SEQ: our SND.NXT.
    pub seq: TcpSeqNumber,
    /// SEG.ACK: our RCV.NXT.
    pub ack: TcpSeqNumber,
    /// SEG.WND in octets.
    pub window: u16,
}
