//! The send and receive sequence variables of a connection (RFC 9293 §3.3.1).
//!
//! smoltcp keeps these variables in its socket and shows none of them, so they are kept a second
//! time here. They are updated from the segments that are received and sent.
//!
//! ```text
//!   what we send      ──────SND.UNA═══════SND.MAX─ ─ ─ ─SND.UNA+SND.WND──────▶
//!                            not acknowledged   may be sent
//!   what the peer sends ────RCV.NXT═══════════════════RCV.NXT+RCV.WND────────▶
//!                            what the peer was told there is room for
//! ```
//!
//! Segments that smoltcp sends are corrected here in two ways:
//!
//! - A segment without data must carry SND.NXT, or the peer takes it for an old one. smoltcp sends
//!   SND.UNA in it after a retransmission time-out.
//! - The window must be offered only when it has grown by a worthwhile step (§3.8.6.2.2), and its
//!   right edge must never move left (§3.8.6).

use crate::link::ethernet::{self, ETHERNET, IPV4_HEADER, IPV6_HEADER};
use crate::pace::Pace;
use crate::packet::{ACK, FIN, RST, SYN, Segment};
use crate::tcp::handshake::{DEFAULT_MSS, Handshake, Offer};
use core::ops::Range;
use smoltcp::wire::TcpSeqNumber;

/// Where the fields are in a frame of IPv4 that smoltcp made. Its IP headers have no options.
const ETHERTYPE: Range<usize> = 12..14;
const TCP: usize = ETHERNET + 20;
const SEQUENCE: Range<usize> = TCP + 4..TCP + 8;
const ACKNOWLEDGMENT: Range<usize> = TCP + 8..TCP + 12;
const DATA_OFFSET: usize = TCP + 12;
const FLAGS: usize = TCP + 13;
const WINDOW: Range<usize> = TCP + 14..TCP + 16;

/// The shortest MSS that is honoured, in octets; Linux has the same bound. A peer that asks for
/// segments of a single octet would cost 40 octets of headers for each.
const MSS_MIN: u16 = 48;
/// How many challenge ACKs may be sent at once, and the time until one more may be: RFC 5961 §7
/// gives ten in five seconds as an example.
const CHALLENGES_BURST: u64 = 10;
const CHALLENGE_NS: u64 = 500_000_000;
/// The sender waits so long for a window that is worth a segment: RFC 9293 §3.8.6.2.1 (4) wants
/// 0.1 to 1 s.
const OVERRIDE_NS: u64 = 200_000_000;

/// The sequence variables. All are 0 until the SYNs have passed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SequenceVariables {
    /// SND.UNA: the first octet that the peer has not acknowledged.
    pub snd_una: TcpSeqNumber,
    /// The highest value that SND.NXT ever had.
    pub snd_max: TcpSeqNumber,
    /// Whether our SYN was sent.
    pub syn_sent: bool,
    /// SND.WND in octets, and the largest window that the peer has offered.
    snd_wnd: u32,
    pub max_snd_wnd: u32,
    /// SND.WL1 and SND.WL2: SEG.SEQ and SEG.ACK of the segment that SND.WND was taken from.
    snd_wl1: TcpSeqNumber,
    snd_wl2: TcpSeqNumber,
    /// Snd.Wind.Shift (RFC 7323 §2.3).
    snd_wind_shift: u8,
    /// Whether the peer takes selective acknowledgements (RFC 2018 §2).
    pub sack_permitted: bool,
    /// SendMSS: octets of data in the longest segment that the peer and the path to it take (RFC
    /// 9293 §3.7.1).
    pub mss: u16,
    /// The same for the path alone.
    path_mss: u16,
    /// RCV.NXT: the next octet that the peer will send.
    pub rcv_nxt: TcpSeqNumber,
    /// RCV.NXT + RCV.WND: the right edge of the window that the peer was told.
    pub rcv_edge: TcpSeqNumber,
    /// Last.ACK.sent: the last acknowledgment number that was sent (RFC 7323 §4.3).
    pub last_ack_sent: TcpSeqNumber,
    /// The window is offered again only when it has grown by so many octets.
    window_step: u16,
    /// Set while the peer's window is too small to be worth a segment; a small segment is sent all
    /// the same when this time has come.
    hold_until: Option<u64>,
    /// Whether smoltcp was told a smaller window than the peer's, so that it sends nothing.
    window_is_hidden: bool,
    pub challenges: Challenges,
}

impl SequenceVariables {
    /// Variables for a connection with a receive buffer of `receive_buffer` octets and a path that
    /// takes segments of `path_mss` octets.
    pub fn new(receive_buffer: usize, path_mss: usize) -> Self {
        SequenceVariables {
            window_step: (receive_buffer / 2).min(path_mss) as u16,
            mss: DEFAULT_MSS,
            path_mss: path_mss as u16,
            ..SequenceVariables::default()
        }
    }

    // --- without a socket -------------------------------------------------------------

    /// Whether everything is acknowledged in both directions, and the peer was told a window of at
    /// least half of a receive buffer of `receive_buffer` octets.
    pub fn is_at_rest(&self, receive_buffer: usize) -> bool {
        let is_held = self.window_is_hidden || self.hold_until.is_some();
        let is_answered =
            self.last_ack_sent == self.rcv_nxt && 2 * self.offered_window() >= receive_buffer;
        self.snd_una == self.snd_max && is_answered && !is_held
    }

    /// RCV.WND: octets that the peer was told there is room for.
    pub fn offered_window(&self) -> usize {
        (distance(self.rcv_nxt, self.rcv_edge) as i32).max(0) as usize
    }

    /// Snd.Wind.Shift.
    pub fn snd_wind_shift(&self) -> u8 {
        self.snd_wind_shift
    }

    /// The connection has a receive buffer of `octets` octets from now on.
    pub fn set_receive_buffer(&mut self, octets: usize) {
        self.window_step = (octets / 2).min(self.path_mss.into()) as u16;
    }

    // --- received segments ------------------------------------------------------------

    /// The variables after both SYNs have passed, the peer's first. Our SYN offered `window` octets.
    pub fn after_handshake(mut self, handshake: &Handshake, window: u16) -> Self {
        self.note_syn(handshake.irs, None, &handshake.offer);
        self.note_syn_sent(handshake.iss, Some(handshake.irs + 1), window);
        self
    }

    /// Takes over the values of the peer's SYN: its sequence number `irs`, its acknowledgment
    /// number if it has one, its window and its options.
    #[cold]
    pub fn note_syn(&mut self, irs: TcpSeqNumber, ack: Option<TcpSeqNumber>, offer: &Offer) {
        self.sack_permitted = offer.sack_permitted;
        let mss = offer.mss.filter(|&mss| mss > 0).unwrap_or(DEFAULT_MSS);
        self.mss = mss.max(MSS_MIN).min(self.path_mss);
        if self.syn_sent {
            // Our SYN left first: its window was counted from a number that we learn only now.
            self.rcv_edge = irs + 1 + self.rcv_edge.0 as usize;
        }
        self.rcv_nxt = irs + 1;
        self.snd_wind_shift = offer.shift.unwrap_or(0).min(14);
        self.snd_wnd = offer.window.into();
        self.max_snd_wnd = self.snd_wnd;
        (self.snd_wl1, self.snd_wl2) = (irs, ack.unwrap_or_default());
        self.acknowledge(ack);
    }

    /// Takes over the acknowledgment and window of a segment that smoltcp has processed.
    #[inline]
    pub fn note_received(&mut self, segment: &Segment) {
        if self.updates_window(segment) {
            self.snd_wnd = u32::from(segment.window) << self.snd_wind_shift;
            self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
            (self.snd_wl1, self.snd_wl2) = (segment.seq, segment.ack.unwrap_or(self.snd_wl2));
            self.window_is_hidden = false;
        }
        self.acknowledge(segment.ack);
    }

    #[inline]
    fn acknowledge(&mut self, ack: Option<TcpSeqNumber>) {
        if let Some(ack) = ack.filter(|&ack| self.may_be_acknowledged(ack)) {
            self.snd_una = ack;
        }
    }

    /// Whether SND.UNA =< SEG.ACK =< SND.NXT.
    #[inline]
    fn may_be_acknowledged(&self, ack: TcpSeqNumber) -> bool {
        distance(self.snd_una, ack) <= distance(self.snd_una, self.snd_max)
    }

    /// Whether SND.WND is to be taken from this segment: the segment must not be older than the one
    /// that SND.WND was taken from last (RFC 9293 §3.10.7.4, fifth: ESTABLISHED).
    pub fn updates_window(&self, segment: &Segment) -> bool {
        segment.seq > self.snd_wl1
            || (segment.seq == self.snd_wl1 && segment.ack.is_none_or(|ack| ack >= self.snd_wl2))
    }

    /// Whether a segment begins at RCV.NXT, acknowledges what was sent and no less than earlier
    /// segments, and offers no window that a later segment has changed.
    #[inline]
    pub fn expects(&self, segment: &Segment) -> bool {
        segment.seq == self.rcv_nxt
            && segment.ack.is_some_and(|ack| self.may_be_acknowledged(ack))
            && (distance(self.snd_wl1, segment.seq) as i32 >= 0
                || segment.window == self.smoltcp_window())
    }

    /// SND.WND in the unit of the window field: shifted and rounded down.
    pub fn window_field(&self) -> u16 {
        (self.snd_wnd >> self.snd_wind_shift) as u16
    }

    /// The path takes no segments of more than `mss` octets (RFC 1191 §3).
    pub fn limit_mss(&mut self, mss: u16) {
        self.path_mss = self.path_mss.min(mss);
        self.mss = self.mss.min(mss);
    }

    /// Whether the octet with this number was sent and is not acknowledged.
    pub fn is_in_flight(&self, seq: TcpSeqNumber) -> bool {
        self.snd_una <= seq && seq < self.snd_max
    }

    // --- segments that leave ----------------------------------------------------------

    /// Updates the variables from a frame that smoltcp made, and corrects the frame. Its checksums
    /// are not filled in yet.
    pub fn note_sent(&mut self, frame: &mut [u8]) {
        // IPv6's header is longer: all that follows is so much further behind.
        let frame = match frame.get(ETHERTYPE) {
            Some(kind) if *kind == ethernet::IPV6 => &mut frame[IPV6_HEADER - IPV4_HEADER..],
            _ => frame,
        };
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
            // smoltcp was told another MTU for IPv6 ([`crate::tcp::engine::Engines`]).
            if let Some([2, 4, high, low]) = frame.get_mut(TCP + 20..TCP + 24) {
                let mss = u16::from_be_bytes([*high, *low]).min(self.path_mss);
                [*high, *low] = mss.to_be_bytes();
            }
            return self.note_syn_sent(seq, (flags & ACK != 0).then_some(ack), window);
        }
        // The length comes from the frame: a segment that is still to be cut may be longer than an
        // IPv4 header can say.
        let header = TCP + usize::from(frame[DATA_OFFSET] >> 4) * 4;
        let len = frame.len().saturating_sub(header);
        let end = seq + len + usize::from(flags & FIN);
        if flags & RST != 0 || end == seq {
            let next = self.seq_without_data();
            if seq < next {
                frame[SEQUENCE].copy_from_slice(&next.0.to_be_bytes());
            }
        } else if end > self.snd_max {
            self.snd_max = end;
        }
        if flags & RST == 0 {
            let window = self.window_to_offer(ack, window);
            frame[WINDOW].copy_from_slice(&window.to_be_bytes());
        }
    }

    #[cold]
    fn note_syn_sent(&mut self, iss: TcpSeqNumber, ack: Option<TcpSeqNumber>, window: u16) {
        if !self.syn_sent {
            (self.snd_una, self.snd_max, self.syn_sent) = (iss, iss + 1, true);
        }
        self.last_ack_sent = ack.unwrap_or(self.last_ack_sent);
        self.rcv_edge = match ack {
            Some(ack) => ack + usize::from(window),
            // The peer's SYN, which tells where the window begins, has not come yet.
            None => TcpSeqNumber(window.into()),
        };
    }

    /// The sequence number for a segment without data: SND.NXT; or the end of the peer's window, if
    /// the peer has made it smaller, since it drops what lies behind.
    fn seq_without_data(&self) -> TcpSeqNumber {
        self.snd_max.min(self.snd_una + self.snd_wnd as usize)
    }

    /// The window to offer with the acknowledgment number `ack`, while `free` octets of the receive
    /// buffer are free.
    ///
    /// Silly window avoidance of the receiver (RFC 9293 §3.8.6.2.2, MUST-39): the right edge stays
    /// until it can advance by min(Fr*RCV.BUFF, Eff.snd.MSS). Our windows are never scaled, since no
    /// receive buffer is longer than [`crate::memory::RECEIVE_MAX`].
    fn window_to_offer(&mut self, ack: TcpSeqNumber, free: u16) -> u16 {
        self.last_ack_sent = ack;
        let edge = ack + usize::from(free);
        if distance(self.rcv_edge, edge) as i32 >= i32::from(self.window_step) {
            self.rcv_edge = edge;
        }
        // The acknowledged FIN may lie behind the edge, since it needs no room for data.
        (distance(ack, self.rcv_edge) as i32).clamp(0, u16::MAX.into()) as u16
    }

    // --- silly window avoidance of the sender -----------------------------------------

    /// Whether a segment that is sent now would be small only because the peer's window is (RFC 9293
    /// §3.8.6.2.1, MUST-38). `queued` gives the octets that are not acknowledged or not sent.
    #[inline]
    fn is_silly(&self, queued: impl FnOnce() -> usize) -> bool {
        let sent = self.in_flight();
        let usable = self.snd_wnd.saturating_sub(sent);
        // It is worth it if (1) a full segment fits, or (3) half of the largest window is free. In
        // the last line, (2) everything that is queued fits.
        let is_worth_it =
            usable >= self.mss.into() || usable == 0 || usable >= self.max_snd_wnd / 2;
        !is_worth_it && (queued() as u32).saturating_sub(sent) > usable
    }

    /// Decides before smoltcp's turn whether smoltcp must be told another window, and returns it in
    /// the unit of the window field.
    #[inline]
    pub fn new_smoltcp_window(&mut self, queued: impl FnOnce() -> usize, now: u64) -> Option<u16> {
        match self.is_silly(queued) {
            false if self.hold_until.is_none() => None,
            silly => self.hide_or_show_window(silly, now),
        }
    }

    #[cold]
    fn hide_or_show_window(&mut self, silly: bool, now: u64) -> Option<u16> {
        let was_hidden = self.window_is_hidden;
        let until = *self
            .hold_until
            .get_or_insert(now.saturating_add(OVERRIDE_NS));
        self.window_is_hidden = silly && now < until;
        if !self.window_is_hidden {
            self.hold_until = None;
        }
        (was_hidden != self.window_is_hidden).then(|| self.smoltcp_window())
    }

    /// The window that smoltcp was told, in the unit of the window field. While the real one is
    /// hidden it covers only what is in flight, so that smoltcp sends nothing new.
    pub fn smoltcp_window(&self) -> u16 {
        match self.window_is_hidden {
            true => (self.in_flight() >> self.snd_wind_shift) as u16,
            false => self.window_field(),
        }
    }

    /// The time at which a small segment is sent all the same, if one is held back.
    #[inline]
    pub fn hold_until(&self) -> Option<u64> {
        self.hold_until
    }

    /// Octets that were sent and are not acknowledged; SYN and FIN count as one each.
    fn in_flight(&self) -> u32 {
        distance(self.snd_una, self.snd_max)
    }
}

/// The distance from one sequence number up to another, modulo 2^32.
#[inline]
fn distance(from: TcpSeqNumber, to: TcpSeqNumber) -> u32 {
    to.0.wrapping_sub(from.0) as u32
}

/// Limits the rate of challenge ACKs (RFC 5961 §7).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Challenges(Pace);

impl Challenges {
    /// Whether one more challenge ACK may be sent now. It is counted if so.
    #[cold]
    pub fn allow(&mut self, now: u64) -> bool {
        self.0.allows(now, CHALLENGE_NS, CHALLENGES_BURST)
    }
}

#[cfg(test)]
mod tests;
