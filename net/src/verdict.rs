//! What becomes of received frames: one verdict for each, and how often each was given.

/// Declares the reasons, each with the name that it is counted under.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why a received frame went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum DropReason {
            $($(#[$doc])* $reason,)*
        }

        impl DropReason {
            /// All reasons, in the order of their declaration.
            pub const ALL: &[DropReason] = &[$(DropReason::$reason,)*];

            /// The name of its counter in the server's status, behind `drop_`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(DropReason::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// The frame ends before a header, or before the length in its IPv4 header.
    Truncated = "truncated",
    /// Its destination is another station.
    OtherStation = "other_station",
    /// Its source is a group of stations (IEEE 802.3 §3.2.3).
    SourceStation = "source_station",
    /// It carries neither ARP nor IP.
    EtherType = "ethertype",
    /// An ARP packet for another hardware or protocol (RFC 826).
    ArpFormat = "arp_format",
    /// An ARP packet whose sender no host of this network can be.
    ArpSender = "arp_sender",
    /// An ARP packet for another host, from one that is not known (RFC 826).
    ArpOther = "arp_other",
    /// An ARP packet that we have sent ourselves.
    ArpOwn = "arp_own",
    /// An ARP packet of a station that claims our address (RFC 5227 §2.4).
    ArpConflict = "arp_conflict",
    /// A request whose sender asks too often, or as one of too many that never answered us.
    ArpLimited = "arp_limited",
    /// Another version than the frame says, or lengths that contradict each other (RFC 791 §3.1).
    IpHeader = "ip_header",
    /// An IPv6 packet, which is not served yet.
    IpVersion = "ip_version",
    /// IPv4's checksum is wrong.
    IpChecksum = "ip_checksum",
    /// A source that no host can have (RFC 1122 §3.2.1.3).
    IpSource = "ip_source",
    /// Another host, or a group that we are not in.
    IpDestination = "ip_destination",
    /// For our address alone, but sent to a group of stations (RFC 1122 §3.3.6).
    LinkBroadcast = "link_broadcast",
    /// A protocol that is not spoken here.
    IpProtocol = "ip_protocol",
    /// A fragment that is empty, no multiple of 8 octets, or too far behind (RFC 791 §3.2).
    FragmentInvalid = "fragment_invalid",
    /// A fragment that overlaps another, or contradicts the end of the datagram.
    FragmentOverlap = "fragment_overlap",
    /// A fragment of a datagram in too many pieces to be kept.
    FragmentNoRoom = "fragment_no_room",
    /// UDP's length is shorter than its header, or longer than the datagram (RFC 768).
    UdpLength = "udp_length",
    /// UDP's checksum is wrong.
    UdpChecksum = "udp_checksum",
    /// No program has this UDP port.
    UdpNoPort = "udp_no_port",
    /// The UDP port's receive buffer is full.
    UdpNoRoom = "udp_no_room",
    /// An ICMP message shorter than its header.
    IcmpLength = "icmp_length",
    /// ICMP's checksum is wrong.
    IcmpChecksum = "icmp_checksum",
    /// An echo request to everybody (RFC 1122 §3.2.2.6 leaves it to us).
    IcmpBroadcast = "icmp_broadcast",
    /// An ICMP error message that is about no segment that is too big for its path: of others
    /// nobody here is told.
    IcmpError = "icmp_error",
    /// An ICMP message that is neither an error nor an echo request.
    IcmpType = "icmp_type",
    /// A reply is owed, but there is no room for it to wait, nor a way for it.
    NoRoomForReply = "no_room_for_reply",
    /// A TCP segment for everybody (RFC 9293 §3.9.2.3, MUST-57).
    TcpBroadcast = "tcp_broadcast",
    /// A TCP segment shorter than its header.
    TcpHeader = "tcp_header",
    /// A TCP segment from or to port 0 (RFC 9293 §3.1).
    TcpPort = "tcp_port",
    /// TCP options whose lengths cannot be (RFC 9293 §3.1, MUST-7).
    TcpOptions = "tcp_options",
    /// TCP's checksum is wrong.
    TcpChecksum = "tcp_checksum",
    /// A segment for no connection and no listener; it is answered with a reset.
    TcpNoConnection = "tcp_no_connection",
    /// A SYN over the backlog or without memory for the connection; the peer asks again.
    TcpNoRoom = "tcp_no_room",
    /// A segment for a connection in TIME-WAIT that is owed no answer (RFC 9293 §3.10.7.4).
    TcpTimeWait = "tcp_time_wait",
    /// A segment outside of its connection's receive window (RFC 9293 §3.10.7.4, first).
    TcpOutOfWindow = "tcp_out_of_window",
    /// A RST inside the window, but not at its left edge (RFC 5961 §3.2).
    TcpInexactReset = "tcp_inexact_reset",
    /// A SYN on a connection that exists (RFC 5961 §4.2).
    TcpSyn = "tcp_syn",
    /// A segment that acknowledges nothing and opens nothing (RFC 9293 §3.10.7.4, fifth).
    TcpNoAck = "tcp_no_ack",
    /// It acknowledges what was never sent, or what was long ago (RFC 5961 §5.2).
    TcpBadAck = "tcp_bad_ack",
    /// A RST for no connection (RFC 9293 §3.10.7.1).
    TcpStrayReset = "tcp_stray_reset",
    /// A segment that had to be cut, without memory for that.
    NoMemory = "no_memory",
    /// A segment for a connection that was aborted, and whose reset waits to leave.
    TcpAborted = "tcp_aborted",
}

/// What became of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The protocol that it is for has it: ARP, ICMP, a UDP port or a connection.
    Delivered,
    /// It is a fragment, kept until the rest of its datagram has come; or a SYN, kept until
    /// somebody listens.
    Kept,
    /// It went no further.
    Dropped(DropReason),
}

/// How often each verdict was given.
#[derive(Clone, Copy)]
pub(crate) struct Verdicts {
    /// See [`Verdict::Delivered`].
    pub delivered: u64,
    /// See [`Verdict::Kept`].
    pub kept: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl Verdicts {
    /// None was given.
    pub const fn new() -> Self {
        Verdicts {
            delivered: 0,
            kept: 0,
            dropped: [0; DropReason::ALL.len()],
        }
    }

    /// One more was given.
    #[inline]
    pub fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Delivered => self.delivered += 1,
            Verdict::Kept => self.kept += 1,
            Verdict::Dropped(reason) => self.dropped[reason as usize] += 1,
        }
    }

    /// How many frames were dropped for this reason.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many were dropped at all.
    pub fn all_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
