//! The sequence variables of a connection (RFC 9293 §3.3.1), read off the segments that
//! pass, since smoltcp keeps its own to itself.
//!
//! ```text
//!   what we send      ──────SND.UNA═══════SND.MAX─ ─ ─ ─SND.UNA+SND.WND──────▶
//!                            not acknowledged   may be sent
//!   what the peer sends ────RCV.NXT═══════════════════════════════edge───────▶
//!                            what the peer was told there is room for
//! ```
//!
//! Two things are mended in segments on their way out. A segment without data must carry
//! SND.NXT, or the peer takes it for an old one; after a time-out smoltcp counts from
//! SND.UNA again and says that. And the window is told only when it has grown by a
//! worthwhile step (§3.8.6.2.2), and never so that its right edge moves left (§3.8.6).

use crate::link::ethernet::ETHERNET;
use crate::pace::Pace;
use crate::tcp::handshake::{DEFAULT_MSS, Handshake, Offer};
use core::ops::Range;
use smoltcp::wire::TcpSeqNumber;

/// Where the fields are in a frame of smoltcp's, whose IPv4 header has no options.
const TCP: usize = ETHERNET + 20;
const SEQUENCE: Range<usize> = TCP + 4..TCP + 8;
const ACKNOWLEDGMENT: Range<usize> = TCP + 8..TCP + 12;
const DATA_OFFSET: usize = TCP + 12;
const FLAGS: usize = TCP + 13;
const WINDOW: Range<usize> = TCP + 14..TCP + 16;
/// Bits of the octet of flags.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// smoltcp's segments are this long to a peer that wants shorter ones, as Linux's: to one that
/// wants a single octet, each would travel behind 40 of headers.
const MSS_MIN: u16 = 48;
/// Challenge ACKs at once, and how soon one more may follow: ten in five seconds are the example of
/// RFC 5961 §7.
const CHALLENGES_BURST: u64 = 10;
const CHALLENGE_NS: u64 = 500_000_000;
/// How long the sender waits for a window that is worth a segment: RFC 9293 §3.8.6.2.1 (4) wants
/// 0.1 to 1 s.
const OVERRIDE_NS: u64 = 200_000_000;

/// What a segment from the peer says of these variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// SEG.SEQ.
    pub seq: TcpSeqNumber,
    /// SEG.ACK.
    pub ack: Option<TcpSeqNumber>,
    /// SEG.WND, as it stands in the segment.
    pub window: u16,
}

/// The variables. All are 0 before the SYNs have passed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tcb {
    /// SND.UNA: what the peer has acknowledged.
    pub una: TcpSeqNumber,
    /// The highest SND.NXT there was.
    pub max: TcpSeqNumber,
    /// Our SYN has left.
    pub has_sent: bool,
    /// SND.WND in octets, and the largest one that the peer offered.
    wnd: u32,
    pub max_wnd: u32,
    /// SND.WL1 and SND.WL2: SEG.SEQ and SEG.ACK of the segment that told the window.
    wl1: TcpSeqNumber,
    wl2: TcpSeqNumber,
    /// Snd.Wind.Shift (RFC 7323 §2.3).
    shift: u8,
    /// The peer takes selective acknowledgements.
    pub takes_sack: bool,
    /// SendMSS: what the peer and the path to it can take (RFC 9293 §3.7.1).
    pub mss: u16,
    /// What the path can.
    path_mss: u16,
    /// RCV.NXT: what the peer sends next.
    pub next: TcpSeqNumber,
    /// The right edge of the window that the peer was told: RCV.NXT + RCV.WND.
    pub edge: TcpSeqNumber,
    /// The highest acknowledgement that has left.
    pub acked: TcpSeqNumber,
    /// By how much the window must have grown to be told.
    step: u16,
    /// The window has been too small to be worth a segment: one may leave all the same then.
    hold_until: Option<u64>,
    /// smoltcp was told of a smaller window.
    is_hidden: bool,
    pub challenges: Challenges,
}

impl Tcb {
    /// Of a connection with a receive buffer of that many octets, and a path of that MSS.
    pub fn new(receive_buffer: usize, path_mss: usize) -> Self {
        Tcb {
            step: (receive_buffer / 2).min(path_mss) as u16,
            mss: DEFAULT_MSS,
            path_mss: path_mss as u16,
            ..Tcb::default()
        }
    }

    // --- without a socket -------------------------------------------------------------

    /// Whether all is acknowledged, both ways, and the peer knows of a window that is good enough
    /// for a receive buffer of that many octets.
    pub fn is_at_rest(&self, receive_buffer: usize) -> bool {
        let is_held = self.is_hidden || self.hold_until.is_some();
        let is_answered = self.acked == self.next && 2 * self.promised() >= receive_buffer;
        self.una == self.max && is_answered && !is_held
    }

    /// Octets that the peer was told there is room for.
    pub fn promised(&self) -> usize {
        (distance(self.next, self.edge) as i32).max(0) as usize
    }

    /// Snd.Wind.Shift.
    pub fn shift(&self) -> u8 {
        self.shift
    }

    /// The connection has another receive buffer from now on.
    pub fn set_receive_buffer(&mut self, octets: usize) {
        self.step = (octets / 2).min(self.path_mss.into()) as u16;
    }

    // --- segments from the peer -------------------------------------------------------

    /// Both SYNs have passed, the peer's first; ours offered this window.
    pub fn opened(mut self, handshake: &Handshake, window: u16) -> Self {
        let said = Said {
            seq: handshake.irs,
            ack: None,
            window: handshake.offer.window,
        };
        self.begin(said, &handshake.offer);
        self.syn_leaves(handshake.iss, Some(handshake.irs + 1), window);
        self
    }

    /// The peer's SYN: its sequence number, window, and options.
    #[cold]
    pub fn begin(&mut self, said: Said, offer: &Offer) {
        let Offer {
            mss,
            shift,
            sack_permitted,
            ..
        } = *offer;
        self.takes_sack = sack_permitted;
        let mss = mss.filter(|&mss| mss > 0).unwrap_or(DEFAULT_MSS);
        self.mss = mss.max(MSS_MIN).min(self.path_mss);
        if self.has_sent {
            // We opened: our SYN told how much may follow the peer's.
            self.edge = said.seq + 1 + self.edge.0 as usize;
        }
        self.next = said.seq + 1;
        self.shift = shift.unwrap_or(0).min(14);
        self.wnd = said.window.into();
        self.max_wnd = self.wnd;
        (self.wl1, self.wl2) = (said.seq, said.ack.unwrap_or_default());
        self.acknowledge(said.ack);
    }

    /// A segment that was processed.
    #[inline]
    pub fn note(&mut self, said: &Said) {
        if self.tells_window(said) {
            self.wnd = u32::from(said.window) << self.shift;
            self.max_wnd = self.max_wnd.max(self.wnd);
            (self.wl1, self.wl2) = (said.seq, said.ack.unwrap_or(self.wl2));
            self.is_hidden = false;
        }
        self.acknowledge(said.ack);
    }

    #[inline]
    fn acknowledge(&mut self, ack: Option<TcpSeqNumber>) {
        if let Some(ack) = ack.filter(|&ack| self.may_be_acknowledged(ack)) {
            self.una = ack;
        }
    }

    /// Whether SND.UNA =< SEG.ACK =< SND.NXT.
    #[inline]
    fn may_be_acknowledged(&self, ack: TcpSeqNumber) -> bool {
        distance(self.una, ack) <= distance(self.una, self.max)
    }

    /// Whether SND.WND follows from this segment: it is not older than the one that told it
    /// last (RFC 9293 §3.10.7.4, fifth: ESTABLISHED).
    pub fn tells_window(&self, said: &Said) -> bool {
        said.seq > self.wl1 || (said.seq == self.wl1 && said.ack.is_none_or(|ack| ack >= self.wl2))
    }

    /// Whether a segment begins at RCV.NXT, acknowledges what was sent, and not less than others
    /// did, and does not say another window than one that was sent later.
    #[inline]
    pub fn expects(&self, said: &Said) -> bool {
        said.seq == self.next
            && said.ack.is_some_and(|ack| self.may_be_acknowledged(ack))
            && (distance(self.wl1, said.seq) as i32 >= 0 || said.window == self.shown())
    }

    /// SND.WND as a segment would say it; not more than it is.
    pub fn window(&self) -> u16 {
        (self.wnd >> self.shift) as u16
    }

    /// The path cannot take longer segments than these (RFC 1191 §3).
    pub fn narrow(&mut self, mss: u16) {
        self.path_mss = self.path_mss.min(mss);
        self.mss = self.mss.min(mss);
    }

    /// Whether this number is of an octet that was sent and not acknowledged.
    pub fn is_in_flight(&self, seq: TcpSeqNumber) -> bool {
        self.una <= seq && seq < self.max
    }

    // --- segments to the peer ---------------------------------------------------------

    /// Takes note of a frame that smoltcp made and mends it. It has no checksums yet.
    pub fn leaves(&mut self, frame: &mut [u8]) {
        let Some(fixed) = frame.first_chunk_mut::<{ TCP + 20 }>() else {
            return;
        };
        let long = |at: Range<usize>| {
            TcpSeqNumber(i32::from_be_bytes([
                fixed[at.start],
                fixed[at.start + 1],
                fixed[at.start + 2],
                fixed[at.start + 3],
            ]))
        };
        let (seq, ack) = (long(SEQUENCE), long(ACKNOWLEDGMENT));
        let window = u16::from_be_bytes([fixed[WINDOW.start], fixed[WINDOW.start + 1]]);
        let flags = fixed[FLAGS];
        if flags & SYN != 0 {
            return self.syn_leaves(seq, (flags & ACK != 0).then_some(ack), window);
        }
        // A long segment is longer than an IPv4 header can say, and not cut yet.
        let header = TCP + usize::from(frame[DATA_OFFSET] >> 4) * 4;
        let len = frame.len().saturating_sub(header);
        let end = seq + len + usize::from(flags & FIN);
        if flags & RST != 0 || end == seq {
            let next = self.acceptable();
            if seq < next {
                frame[SEQUENCE].copy_from_slice(&next.0.to_be_bytes());
            }
        } else if end > self.max {
            self.max = end;
        }
        if flags & RST == 0 {
            let window = self.offer(ack, window);
            frame[WINDOW].copy_from_slice(&window.to_be_bytes());
        }
    }

    #[cold]
    fn syn_leaves(&mut self, seq: TcpSeqNumber, ack: Option<TcpSeqNumber>, window: u16) {
        if !self.has_sent {
            (self.una, self.max, self.has_sent) = (seq, seq + 1, true);
        }
        self.acked = ack.unwrap_or(self.acked);
        self.edge = match ack {
            Some(ack) => ack + usize::from(window),
            // The number that it is counted from is not known yet.
            None => TcpSeqNumber(window.into()),
        };
    }

    /// The number for a segment without data: SND.NXT, or the end of the peer's window if
    /// that has shrunk, since the peer drops what is behind it.
    fn acceptable(&self) -> TcpSeqNumber {
        self.max.min(self.una + self.wnd as usize)
    }

    /// The window to offer with an acknowledgement, where `window` octets are free.
    ///
    /// RFC 9293 §3.8.6.2.2 (receiver's silly-window avoidance, MUST-39): the edge stays
    /// until it can advance by min(Fr*RCV.BUFF, Eff.snd.MSS). smoltcp does not scale its
    /// windows here, since no buffer is longer than a window can say
    /// ([`crate::memory::RECEIVE_MAX`]).
    fn offer(&mut self, ack: TcpSeqNumber, window: u16) -> u16 {
        self.acked = ack;
        let edge = ack + usize::from(window);
        if distance(self.edge, edge) as i32 >= i32::from(self.step) {
            self.edge = edge;
        }
        // A FIN may be acknowledged though there is no room for data.
        (distance(ack, self.edge) as i32).clamp(0, u16::MAX.into()) as u16
    }

    // --- the sender's silly windows ---------------------------------------------------

    /// Whether to send now would make a segment that is small only because the window is
    /// (RFC 9293 §3.8.6.2.1, MUST-38). `queued`: octets not acknowledged or not sent.
    #[inline]
    fn is_silly(&self, queued: impl FnOnce() -> usize) -> bool {
        let sent = self.in_flight();
        let usable = self.wnd.saturating_sub(sent);
        // (1) a full segment fits, (3) half of the largest window is free, (2) all of it fits.
        let is_worth_it = usable >= self.mss.into() || usable == 0 || usable >= self.max_wnd / 2;
        !is_worth_it && (queued() as u32).saturating_sub(sent) > usable
    }

    /// Decides whether smoltcp must be told another window before its turn. Returns it.
    #[inline]
    pub fn window_to_tell(&mut self, queued: impl FnOnce() -> usize, now: u64) -> Option<u16> {
        match self.is_silly(queued) {
            false if self.hold_until.is_none() => None,
            silly => self.hold(silly, now),
        }
    }

    #[cold]
    fn hold(&mut self, silly: bool, now: u64) -> Option<u16> {
        let was_hidden = self.is_hidden;
        let until = *self
            .hold_until
            .get_or_insert(now.saturating_add(OVERRIDE_NS));
        self.is_hidden = silly && now < until;
        if !self.is_hidden {
            self.hold_until = None;
        }
        (was_hidden != self.is_hidden).then(|| self.shown())
    }

    /// The window that smoltcp knows: what is on its way, rounded down, if it is to send nothing.
    pub fn shown(&self) -> u16 {
        match self.is_hidden {
            true => (self.in_flight() >> self.shift) as u16,
            false => self.window(),
        }
    }

    /// When a small segment may leave, if one is held back.
    #[inline]
    pub fn hold_until(&self) -> Option<u64> {
        self.hold_until
    }

    /// Octets that were sent and not acknowledged, FIN and SYN included.
    fn in_flight(&self) -> u32 {
        distance(self.una, self.max)
    }
}

/// How far it is from one number to another, modulo 2^32.
#[inline]
fn distance(from: TcpSeqNumber, to: TcpSeqNumber) -> u32 {
    to.0.wrapping_sub(from.0) as u32
}

/// How many challenge ACKs may be sent (RFC 5961 §7).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Challenges(Pace);

impl Challenges {
    /// Whether one more may be sent now.
    #[cold]
    pub fn allow(&mut self, now: u64) -> bool {
        self.0.allows(now, CHALLENGE_NS, CHALLENGES_BURST)
    }
}

#[cfg(test)]
mod tests;
