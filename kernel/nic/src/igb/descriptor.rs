//! Advanced descriptors (82576 datasheet §7.1.5 and §7.2.2): two quadwords each, written whole by the
//! driver.

/// Bytes of a descriptor.
pub const SIZE: usize = 16;

/// A receive descriptor.
pub mod rx {
    /// As given to the card: the bus address of its buffer, and of another for headers, which is
    /// zero and overlays the status. The card overwrites both.
    pub const fn empty(address: u64) -> [u64; 2] {
        [address, 0]
    }

    /// Written back, the first quadword: which headers the card has found (15:4); bits of IPv4, without
    /// options or with them, and of IPv6, without extension headers or with them.
    pub const IPV4: u64 = 1 << 4 | 1 << 5;
    pub const IPV6: u64 = 1 << 6 | 1 << 7;

    /// Written back, the second quadword: status (19:0) and errors (31:20); length in bytes (47:32), VLAN tag
    /// (63:48).
    pub const LENGTH_SHIFT: u32 = 32;
    pub const TAG_SHIFT: u32 = 48;
    /// Where the status is.
    pub const STATUS: usize = 8;

    /// The card is done with the descriptor.
    pub const DD: u32 = 1;
    /// It is the frame's last.
    pub const EOP: u32 = 1 << 1;
    /// A VLAN tag was taken out.
    pub const VP: u32 = 1 << 3;
    /// The checksum of TCP or UDP was verified.
    pub const L4CS: u32 = 1 << 5;
    /// The checksum of the IPv4 header was verified.
    pub const IPCS: u32 = 1 << 6;
    /// The checksum of TCP or UDP is wrong.
    pub const L4E: u32 = 1 << 29;
    /// The checksum of the IPv4 header is wrong.
    pub const IPE: u32 = 1 << 30;
    /// The frame was received with errors.
    pub const RXE: u32 = 1 << 31;
}

/// A transmit descriptor: a context for frames that follow, or one piece of a frame. A piece is
/// where it is; command, type, and its length (15:0); length of the frame (31:14), checksums to fill
/// in, and number of the context to use.
pub mod tx {
    /// Context: VLAN tag (31:16), lengths of the MAC header (15:9) and the IP header (8:0); protocols;
    /// payload of a segment (31:16), length of the TCP header (15:8), and its number. The second
    /// word is for frames with a launch time.
    pub const fn context(lengths: u32, kind: u32, segment: u32) -> [u32; 4] {
        [lengths, 0, CONTEXT | kind, segment]
    }

    /// Offset of a piece's command.
    pub const COMMAND: usize = 8;
    /// Offset of the status, written back if RS was set.
    pub const STATUS: usize = 12;

    /// Position of the MAC header's length.
    pub const MAC_LENGTH_SHIFT: u32 = 9;
    /// Position of the VLAN tag, and of the segment size.
    pub const HIGH_SHIFT: u32 = 16;
    /// Position of the TCP header's length.
    pub const L4_LENGTH_SHIFT: u32 = 8;
    /// Position of the context's number, in data and context.
    pub const INDEX_SHIFT: u32 = 4;

    /// The type of a context.
    const CONTEXT: u32 = 2 << 20 | 1 << 29;
    /// Context: over IPv4.
    pub const IPV4: u32 = 1 << 10;
    /// Context: TCP; UDP without it.
    pub const TCP: u32 = 1 << 11;

    /// Data, with a checksum of the frame to be appended (IFCS).
    pub const DATA: u32 = 3 << 20 | 1 << 29 | 1 << 25;
    /// Data: the frame's last piece.
    pub const EOP: u32 = 1 << 24;
    /// Data: report when this is done.
    pub const RS: u32 = 1 << 27;
    /// Data: put the context's VLAN tag in.
    pub const VLE: u32 = 1 << 30;
    /// Data: cut into segments.
    pub const TSE: u32 = 1 << 31;

    /// Options: fill in the checksum of the IPv4 header.
    pub const IXSM: u32 = 1 << 8;
    /// Options: fill in the checksum of TCP or UDP.
    pub const TXSM: u32 = 1 << 9;
    /// Options: position of the length.
    pub const LENGTH_SHIFT: u32 = 14;

    /// Status: done.
    pub const DD: u32 = 1;
}
