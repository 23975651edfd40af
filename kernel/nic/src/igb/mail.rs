//! What the physical function and a virtual one write to each other (82576 datasheet §7.10.2.9): the words
//! of their mailbox, as the drivers of this card have agreed on them.

/// Words of a mailbox.
pub const WORDS: usize = 16;

/// A VF was reset, and wants to work. The answer holds its station address.
pub const RESET: u32 = 1;
/// A VF wants this station address.
pub const SET_MAC: u32 = 2;
/// A VF wants frames for groups: so many (info), 16 bits of each, two to a word.
pub const MULTICAST: u32 = 3;
/// A VF joins a VLAN, or leaves it if info is 0.
pub const VLAN: u32 = 4;
/// A VF wants frames up to this length, with checksum and tag.
pub const LONG: u32 = 5;
/// A VF wants what is not for it.
pub const PROMISCUOUS: u32 = 6;
/// The PF says that something has changed: the link, or whom it listens to.
pub const NOTICE: u32 = 0x100;

/// The request was granted, or was refused.
pub const ACK: u32 = 1 << 31;
pub const NACK: u32 = 1 << 30;
/// The PF listens to requests of this VF: it has answered its [`RESET`].
pub const CLEAR_TO_SEND: u32 = 1 << 29;
/// Where info is: 8 bits.
pub const INFO_SHIFT: u32 = 16;

/// What is asked for, of a message's first word.
pub const OPCODE: u32 = 0xffff;

/// The most groups in a message.
pub const GROUPS: usize = 30;

/// Bytes by which a length in [`LONG`] exceeds the frame: checksum and tag.
pub const LONG_EXTRA: usize = 8;

/// The two words of a station address.
pub fn address_words([a, b, c, d, e, f]: [u8; 6]) -> [u32; 2] {
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, 0, 0]),
    ]
}

/// The station address in two words.
pub fn address([low, high]: [u32; 2]) -> [u8; 6] {
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    [a, b, c, d, e, f]
}
