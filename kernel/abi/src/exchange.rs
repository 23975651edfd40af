//! Frames in place: how a card's owner and the kernel hand each other buffers.
//!
//! [`crate::Syscall::NicMap`] shows the owner three ranges of memory per card, at
//! [`crate::layout::nic_window`]: the exchange area of one page, the buffers to send from, and
//! what the card receives into, which is read-only. A buffer is the owner's from when the kernel
//! has given it, by number, until the owner gives it back, by sending or returning it. No address
//! crosses the boundary.
//!
//! The area is an array of 32-bit words. [`crate::Syscall::NicExchange`] reads what the owner
//! has written there and writes what it did, in this order: buffers returned, frames sent,
//! buffers given to send from, frames received.
//!
//! ```text
//! word    0  head: what the owner asks        8  head: what was done
//!        16  frames to send, 6 words each   400  buffers returned, a word each
//!       656  buffers given, a word each     736  frames received, 4 words each
//! ```
//!
//! A [`crate::Syscall::Wait`] that names a card exchanges first. When it then sleeps, and the
//! card wakes it, the pieces received are given with the wake-up, as the head asks.
//!
//! Of a frame to send, the first two words say whether the others say anything: the frame that
//! is sent as it is, or with its checksums filled in, is written and read as these two.

use crate::nic::SendOptions;

/// Words of the area.
pub const WORDS: usize = 1024;
/// Frames that one exchange sends.
pub const SENDS_MAX: usize = 64;
/// Buffers that one exchange returns.
pub const RETURNS_MAX: usize = 256;
/// Buffers, of both sizes together, that one exchange gives.
pub const TAKEN_MAX: usize = 80;
/// Pieces of frames that one exchange receives.
pub const RECEIVED_MAX: usize = 64;

/// Head: frames to send.
pub const SEND_COUNT: usize = 0;
/// Head: buffers returned.
pub const RETURN_COUNT: usize = 1;
/// Head: small buffers wanted to send from.
pub const SMALL_WANTED: usize = 2;
/// Head: large ones.
pub const LARGE_WANTED: usize = 3;
/// Head: received pieces wanted.
pub const RECEIVE_WANTED: usize = 4;
/// Head: not 0 if a wake-up is wanted when there are fewer than that.
pub const ARM: usize = 5;
/// Head: received pieces wanted of the wake-up, by a [`crate::Syscall::Wait`] that exchanges.
pub const WAKE_WANTED: usize = 6;
/// Head: frames sent, of those asked for. The rest found no room; a wake-up follows.
pub const SENT: usize = 8;
/// Head: buffers given, small ones first.
pub const TAKEN: usize = 9;
/// Head: pieces received. If fewer than wanted, there are no more.
pub const RECEIVED: usize = 10;

/// Head: not 0 if these came with the wake-up.
pub const WOKEN: usize = 11;

/// Words of a frame to send, and where the first one is.
pub const SEND_WORDS: usize = 6;
const SENDS: usize = 16;
const RETURNS: usize = SENDS + SENDS_MAX * SEND_WORDS;
const TAKENS: usize = RETURNS + RETURNS_MAX;
/// Words of a received piece.
pub const RECEIVED_WORDS: usize = 4;
const RECEIVEDS: usize = TAKENS + TAKEN_MAX;
const _: () = assert!(RECEIVEDS + RECEIVED_MAX * RECEIVED_WORDS <= WORDS);

/// First word of frame `index` to send.
pub const fn send_at(index: usize) -> usize {
    SENDS + index * SEND_WORDS
}

/// Word of returned buffer `index`.
pub const fn return_at(index: usize) -> usize {
    RETURNS + index
}

/// Word of given buffer `index`.
pub const fn taken_at(index: usize) -> usize {
    TAKENS + index
}

/// First word of received piece `index`.
pub const fn received_at(index: usize) -> usize {
    RECEIVEDS + index * RECEIVED_WORDS
}

/// A frame to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Send {
    /// The buffer that it was built in, from the start.
    pub buffer: u16,
    /// Bytes in the buffer.
    pub len: u32,
    /// What the card is asked to do.
    pub options: SendOptions,
    /// Bytes of the ramdisk that follow those in the buffer: where, from its start, and how
    /// many; `None` for none. The card takes them from where they are.
    pub tail: Option<(u32, u32)>,
}

/// Flags in the first word of a frame to send: what is asked for.
const CHECKSUMS: u32 = 1 << 16;
const SEGMENTS: u32 = 1 << 17;
const VLAN: u32 = 1 << 18;
const TAIL: u32 = 1 << 19;

impl Send {
    /// Words of a frame that says nothing in the others.
    pub const BRIEF: usize = 2;

    /// Whether these are all its words, by the first one.
    pub const fn is_brief(first: u32) -> bool {
        first & (SEGMENTS | VLAN | TAIL) == 0
    }

    /// As words of the area. Those beyond [`Send::BRIEF`] are zero if it is brief.
    pub const fn to_words(self) -> [u32; SEND_WORDS] {
        let SendOptions {
            checksums,
            segment_size,
            vlan,
        } = self.options;
        let mut first = self.buffer as u32;
        if checksums {
            first |= CHECKSUMS;
        }
        if segment_size > 0 {
            first |= SEGMENTS;
        }
        let tag = match vlan {
            Some(tag) => {
                first |= VLAN;
                tag
            }
            None => 0,
        };
        let (offset, len) = match self.tail {
            Some(tail) => {
                first |= TAIL;
                tail
            }
            None => (0, 0),
        };
        let work = segment_size as u32 | (tag as u32) << 16;
        [first, self.len, work, offset, len, 0]
    }

    /// From the words of a frame that has no others.
    pub const fn from_brief([first, len]: [u32; Self::BRIEF]) -> Self {
        Send {
            buffer: first as u16,
            len,
            options: SendOptions {
                checksums: first & CHECKSUMS != 0,
                segment_size: 0,
                vlan: None,
            },
            tail: None,
        }
    }

    /// From words of the area. What their first one does not announce is ignored.
    pub const fn from_words(words: [u32; SEND_WORDS]) -> Self {
        let [first, len, work, offset, tail_len, _] = words;
        let mut send = Send::from_brief([first, len]);
        if first & SEGMENTS != 0 {
            send.options.segment_size = work as u16;
        }
        if first & VLAN != 0 {
            send.options.vlan = Some((work >> 16) as u16);
        }
        if first & TAIL != 0 {
            send.tail = Some((offset, tail_len));
        }
        send
    }
}

/// A received frame, or a piece of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Number of its buffer.
    pub buffer: u16,
    /// Where it starts in what the card receives into.
    pub offset: u32,
    /// Its length in bytes.
    pub len: u32,
    /// The frame goes on in the next piece.
    pub more: bool,
    /// It began in a piece before. Of a frame that a reset of the card took away, no end comes.
    pub continues: bool,
    /// The card found the checksums of its IPv4 header and of TCP or UDP right.
    pub checksums_right: bool,
    /// The VLAN tag (TCI) that the card took out of it.
    pub vlan: Option<u16>,
}

impl Received {
    /// As words of the area.
    pub const fn to_words(self) -> [u32; RECEIVED_WORDS] {
        let flags = self.more as u32 | (self.checksums_right as u32) << 1;
        let flags = flags | (self.continues as u32) << 3;
        let (flags, tag) = match self.vlan {
            Some(tag) => (flags | 4, tag),
            None => (flags, 0),
        };
        [
            self.buffer as u32 | flags << 16,
            self.offset,
            self.len,
            tag as u32,
        ]
    }

    /// From words of the area.
    pub const fn from_words([first, offset, len, tag]: [u32; RECEIVED_WORDS]) -> Self {
        Received {
            buffer: first as u16,
            offset,
            len,
            more: first >> 16 & 1 != 0,
            continues: first >> 16 & 8 != 0,
            checksums_right: first >> 16 & 2 != 0,
            vlan: match first >> 16 & 4 {
                0 => None,
                _ => Some(tag as u16),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip() {
        let send = Send {
            buffer: 7,
            len: 54,
            options: SendOptions {
                checksums: true,
                segment_size: 1460,
                vlan: Some(0xe001),
            },
            tail: Some((0x0102_0304, 60_000)),
        };
        assert_eq!(Send::from_words(send.to_words()), send);
        let plain = Send {
            buffer: u16::MAX,
            len: 60,
            ..Send::default()
        };
        assert_eq!(Send::from_words(plain.to_words()), plain);
        let checksums = Send {
            options: SendOptions {
                checksums: true,
                ..SendOptions::default()
            },
            ..plain
        };
        for (send, is_brief) in [(plain, true), (checksums, true), (send, false)] {
            let mut words = send.to_words();
            assert_eq!(Send::is_brief(words[0]), is_brief);
            if is_brief {
                // What is there from before means nothing.
                words[Send::BRIEF..].fill(0xdead_beef);
                assert_eq!(Send::from_brief([words[0], words[1]]), send);
            }
            assert_eq!(Send::from_words(words), send);
        }
        for (more, checksums_right, vlan) in [
            (false, false, None),
            (true, false, Some(0)),
            (false, true, Some(0xffff)),
        ] {
            let received = Received {
                buffer: 4079,
                offset: 0x70_0010,
                len: 1514,
                more,
                continues: !more,
                checksums_right,
                vlan,
            };
            assert_eq!(Received::from_words(received.to_words()), received);
        }
    }

    #[test]
    fn the_parts_of_the_area_do_not_overlap() {
        assert!(RECEIVED < send_at(0));
        assert_eq!(send_at(SENDS_MAX), return_at(0));
        assert_eq!(return_at(RETURNS_MAX), taken_at(0));
        assert_eq!(taken_at(TAKEN_MAX), received_at(0));
        assert_eq!((return_at(0), taken_at(0), received_at(0)), (400, 656, 736));
    }
}
