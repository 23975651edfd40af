//! What becomes of received frames: each frame gets one verdict, and the verdicts are counted.

/// Declares the reasons, each with its name in the server's status.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why a received frame was dropped.
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
    /// Its source is a multicast or broadcast address (IEEE 802.3 §3.2.3).
    SourceStation = "source_station",
    /// It carries neither ARP nor IP.
    EtherType = "ethertype",
    /// An ARP packet for another hardware or protocol (RFC 826).
    ArpFormat = "arp_format",
    /// An ARP packet whose sender cannot be a host of this network.
    ArpSender = "arp_sender",
    /// An ARP packet for another host, from a host without an entry (RFC 826).
    ArpOther = "arp_other",
    /// An ARP packet that we have sent ourselves.
    ArpOwn = "arp_own",
    /// An ARP packet of a station that claims our address (RFC 5227 §2.4).
    ArpConflict = "arp_conflict",
    /// An ARP request whose sender asks too often, or is one of too many hosts that never answered us.
    ArpLimited = "arp_limited",
    /// The version contradicts the EtherType, or the lengths contradict each other (RFC 791 §3.1).
    IpHeader = "ip_header",
    /// IPv6 extension headers that contradict their lengths, are too many, in a forbidden order, or want
    /// something that this host does not do (RFC 8200 §4).
    IpExtension = "ip_extension",
    /// The checksum of the IPv4 header is wrong.
    IpChecksum = "ip_checksum",
    /// A source address that no host can have (RFC 1122 §3.2.1.3).
    IpSource = "ip_source",
    /// A datagram for another host, or for a multicast group.
    IpDestination = "ip_destination",
    /// A datagram for our address in a multicast or broadcast frame (RFC 1122 §3.3.6).
    LinkBroadcast = "link_broadcast",
    /// A protocol that this host does not have.
    IpProtocol = "ip_protocol",
    /// A fragment that is empty, no multiple of 8 octets, or behind the longest datagram (RFC 791 §3.2).
    FragmentInvalid = "fragment_invalid",
    /// A fragment that overlaps another, or contradicts the end of the datagram.
    FragmentOverlap = "fragment_overlap",
    /// A fragment of a datagram that takes too much memory.
    FragmentNoRoom = "fragment_no_room",
    /// The length in the UDP header is shorter than the header, or longer than the datagram (RFC 768).
    UdpLength = "udp_length",
    /// The UDP checksum is wrong.
    UdpChecksum = "udp_checksum",
    /// No program has this UDP port.
    UdpNoPort = "udp_no_port",
    /// The UDP port's receive buffer is full.
    UdpNoRoom = "udp_no_room",
    /// An ICMP message shorter than its header.
    IcmpLength = "icmp_length",
    /// The ICMP checksum is wrong.
    IcmpChecksum = "icmp_checksum",
    /// An echo request to a broadcast address (RFC 1122 §3.2.2.6 allows to drop it).
    IcmpBroadcast = "icmp_broadcast",
    /// An ICMP error message that tells of no segment of ours that was too big. Other errors are not
    /// passed on to sockets yet.
    IcmpError = "icmp_error",
    /// A message of neighbour discovery or MLD that fails a check of RFC 4861 §6.1 or §7.1.
    NdpInvalid = "ndp_invalid",
    /// One that is about another host, or that a host ignores.
    NdpOther = "ndp_other",
    /// One in which another station claims an address of ours.
    NdpConflict = "ndp_conflict",
    /// An ICMP message that is neither an error nor an echo request.
    IcmpType = "icmp_type",
    /// The reply to it cannot be sent at once, and has no room to wait.
    NoRoomForReply = "no_room_for_reply",
    /// A TCP segment to a broadcast address (RFC 9293 §3.9.2.3, MUST-57).
    TcpBroadcast = "tcp_broadcast",
    /// A TCP segment shorter than its header.
    TcpHeader = "tcp_header",
    /// A TCP segment from or to port 0 (RFC 9293 §3.1).
    TcpPort = "tcp_port",
    /// TCP options with impossible lengths (RFC 9293 §3.1, MUST-7).
    TcpOptions = "tcp_options",
    /// The TCP checksum is wrong.
    TcpChecksum = "tcp_checksum",
    /// A segment for no connection and no listener; it is answered with a reset.
    TcpNoConnection = "tcp_no_connection",
    /// A SYN for which the backlog or the memory has no room. The peer repeats it.
    TcpNoRoom = "tcp_no_room",
    /// A segment for a connection in TIME-WAIT that gets no answer (RFC 9293 §3.10.7.4).
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
    /// A segment of which only a part is acceptable, without memory to copy that part.
    NoMemory = "no_memory",
    /// A segment for a connection that was aborted and whose RST waits to be sent.
    TcpAborted = "tcp_aborted",
}

/// What has become of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was processed by ARP, ICMP, a UDP port or a connection.
    Delivered,
    /// It is a fragment that waits for the others of its datagram, or a SYN that waits for a listener.
    Kept,
    /// It was dropped.
    Dropped(DropReason),
}

/// How many frames got each verdict.
#[derive(Clone, Copy)]
pub(crate) struct Verdicts {
    /// See [`Verdict::Delivered`].
    pub delivered: u64,
    /// See [`Verdict::Kept`].
    pub kept: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl Verdicts {
    /// Counters that are all 0.
    pub const fn new() -> Self {
        Verdicts {
            delivered: 0,
            kept: 0,
            dropped: [0; DropReason::ALL.len()],
        }
    }

    /// Counts one more frame.
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

    /// How many frames were dropped for any reason.
    pub fn all_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
