//! What is measured, of whom, and over what.

use std::fmt;

/// What the card is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WireKind {
    /// QEMU's user network, with ports of this machine forwarded.
    User,
    /// A tap device in the benchmark's own network namespace.
    Tap,
    /// Raw frames in UDP datagrams on loopback: no TCP but the guest's in the way.
    Dgram,
}

impl WireKind {
    /// All of them.
    pub const ALL: [WireKind; 3] = [WireKind::User, WireKind::Tap, WireKind::Dgram];

    /// Its name on the command line and in the results.
    pub fn name(self) -> &'static str {
        match self {
            WireKind::User => "user",
            WireKind::Tap => "tap",
            WireKind::Dgram => "dgram",
        }
    }
}

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guest {
    /// Wharf, as it starts.
    Wharf,
    /// Wharf with the service that is asked in the network server's own address space.
    Inside,
    /// Linux started by PVH, with the bare epoll server.
    Epoll,
    /// The same, tuned for latency: its sockets are polled for, and its card interrupts at
    /// once (`crate::peer::tune`).
    Tuned,
    /// The same with nginx.
    Nginx,
    /// As `Epoll`, from the packed kernel that Debian ships.
    EpollBzImage,
    /// As `Nginx`, from the packed kernel.
    NginxBzImage,
    /// No operating system: `tests/floor`. No guest's card can do more.
    Bare,
    /// No guest: the client against the bare epoll server on this machine, or against one
    /// that only turns frames round. No guest can be faster than that.
    Client,
}

impl Guest {
    /// Wharf's two ways.
    pub const WHARF: [Guest; 2] = [Guest::Wharf, Guest::Inside];
    /// Linux as it comes.
    pub const PLAIN: [Guest; 2] = [Guest::Epoll, Guest::Nginx];
    /// Linux in all the ways that Wharf is compared with: the better one counts, in each row
    /// anew, since what makes one figure better makes another worse.
    pub const PEERS: [Guest; 3] = [Guest::Epoll, Guest::Nginx, Guest::Tuned];
    /// Linux started from the packed kernel, as it comes.
    pub const PACKED: [Guest; 2] = [Guest::EpollBzImage, Guest::NginxBzImage];
    /// All of them.
    pub const ALL: [Guest; 9] = [
        Guest::Wharf,
        Guest::Inside,
        Guest::Epoll,
        Guest::Tuned,
        Guest::Nginx,
        Guest::EpollBzImage,
        Guest::NginxBzImage,
        Guest::Bare,
        Guest::Client,
    ];

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Guest::Wharf => "wharf",
            Guest::Inside => "wharf inside",
            Guest::Epoll => "epoll",
            Guest::Tuned => "tuned",
            Guest::Nginx => "nginx",
            Guest::EpollBzImage => "epoll-bzimage",
            Guest::NginxBzImage => "nginx-bzimage",
            Guest::Bare => "bare",
            Guest::Client => "client alone",
        }
    }
}

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The lower.
    Lower,
    /// The higher.
    Higher,
}

/// What is told of a load of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// Answers per second.
    Rate,
    /// Half of the answers came within.
    P50,
    /// All but a hundredth of the answers came within.
    P99,
    /// Connections that failed, and answers that were wrong.
    Errors,
}

/// Data of the datagrams that fit into a frame of 64 bytes.
pub const SMALL: u16 = 18;

/// What is told of datagrams that are echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Datagrams {
    /// With one in flight, half of them were back within.
    P50,
    /// With one in flight, lost per million.
    Lost,
    /// With one in flight, times that nothing came back for 100 ms.
    Stalls,
    /// With 32 in flight, per second.
    Rate,
    /// With 32 in flight, lost per million.
    RateLost,
    /// Answered per second when 100,000 per second are offered.
    Answered,
}

/// What the second virtual function of a card does while the first is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Neighbour {
    /// Nothing.
    Silent,
    /// It echoes datagrams, of which always many are under way.
    Answers,
    /// It sends frames of 60 bytes as fast as it can.
    Sends,
}

impl Neighbour {
    /// What it does, in a word.
    pub fn name(self) -> &'static str {
        match self {
            Neighbour::Silent => "silent",
            Neighbour::Answers => "answers",
            Neighbour::Sends => "sends",
        }
    }
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Power-on to the first HTTP 200.
    Boot,
    /// TCP echo of 64 bytes: half of them were back within.
    EchoP50,
    /// All but a hundredth of them.
    EchoP99,
    /// The slowest.
    EchoWorst,
    /// Those that took longer than 100 ms.
    EchoStalls,
    /// Segments that this machine had to send again meanwhile; on the tap only.
    EchoLost,
    /// UDP echo of as much by an ordinary socket, on the tap only: half of them were back within.
    DatagramP50,
    /// TCP echo of as much as goes, both ways at once.
    Bulk,
    /// GET of 1 KiB.
    Http {
        /// Whether connections are kept, or there is a new one per request.
        keep: bool,
        /// How many at once.
        connections: u16,
        /// What of it.
        what: Load,
    },
    /// QEMU's CPU time per request, 64 connections kept.
    CpuPerRequest,
    /// GET of 10 MiB.
    Download,
    /// UDP echo in frames of this size.
    Udp {
        /// Bytes of data.
        size: u16,
        /// What of it.
        what: Datagrams,
    },
    /// TCP echo of 64 bytes by a virtual function beside another: half of them were back within.
    BesideP50(Neighbour),
    /// All but a hundredth of them.
    BesideP99(Neighbour),
    /// What the other did meanwhile: datagrams echoed, or frames sent, per second.
    NeighbourRate(Neighbour),
    /// Raw frames of this many bytes, sent.
    Send(u16),
    /// Raw frames of this many bytes, received.
    Receive(u16),
    /// CPU time per second of a guest with nothing to do.
    Idle,
    /// The least memory with which it serves.
    Memory,
    /// Kernel and module.
    Image,
}

impl Metric {
    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Metric::Boot => "s",
            Metric::EchoP50
            | Metric::EchoP99
            | Metric::BesideP50(_)
            | Metric::BesideP99(_)
            | Metric::DatagramP50 => "us",
            Metric::EchoWorst => "ms",
            Metric::EchoStalls | Metric::EchoLost => "",
            Metric::Bulk | Metric::Download => "MB/s",
            Metric::Http { what, .. } => match what {
                Load::Rate => "/s",
                Load::P50 | Load::P99 => "ms",
                Load::Errors => "",
            },
            Metric::CpuPerRequest => "ms",
            Metric::Udp { what, .. } => match what {
                Datagrams::P50 => "us",
                Datagrams::Lost | Datagrams::RateLost => "ppm",
                Datagrams::Stalls => "",
                Datagrams::Rate | Datagrams::Answered => "/s",
            },
            Metric::NeighbourRate(_) | Metric::Send(_) | Metric::Receive(_) => "/s",
            Metric::Idle => "core",
            Metric::Memory | Metric::Image => "MiB",
        }
    }

    /// Which way it is better.
    pub fn better(self) -> Better {
        match self {
            Metric::Bulk
            | Metric::Download
            | Metric::NeighbourRate(_)
            | Metric::Send(_)
            | Metric::Receive(_)
            | Metric::Http {
                what: Load::Rate, ..
            }
            | Metric::Udp {
                what: Datagrams::Rate | Datagrams::Answered,
                ..
            } => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// Whether it counts what must not happen at all, so that the worst of all rounds
    /// counts instead of the median.
    pub fn is_count_of_failures(self) -> bool {
        matches!(
            self,
            Metric::EchoStalls
                | Metric::EchoLost
                | Metric::Http {
                    what: Load::Errors,
                    ..
                }
                | Metric::Udp {
                    what: Datagrams::Lost | Datagrams::Stalls | Datagrams::RateLost,
                    ..
                }
        )
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Metric::Boot => f.write_str("power-on to HTTP 200"),
            Metric::EchoP50 => f.write_str("TCP echo 64 B, p50"),
            Metric::EchoP99 => f.write_str("TCP echo 64 B, p99"),
            Metric::EchoWorst => f.write_str("TCP echo 64 B, worst"),
            Metric::EchoStalls => f.write_str("TCP echo, stalls > 100 ms"),
            Metric::EchoLost => f.write_str("TCP echo, segments lost"),
            Metric::DatagramP50 => f.write_str("UDP echo 64 B by socket, p50"),
            Metric::Bulk => f.write_str("TCP echo bulk, both ways"),
            Metric::Http {
                keep,
                connections,
                what,
            } => {
                let kind = if keep { "kept" } else { "new" };
                let what = match what {
                    Load::Rate => "rate",
                    Load::P50 => "p50",
                    Load::P99 => "p99",
                    Load::Errors => "errors",
                };
                write!(f, "HTTP {kind} x{connections}, {what}")
            }
            Metric::CpuPerRequest => f.write_str("QEMU CPU per request"),
            Metric::Download => f.write_str("10 MiB download"),
            Metric::Udp { size, what } => {
                let what = match what {
                    Datagrams::P50 => "p50",
                    Datagrams::Lost => "lost",
                    Datagrams::Stalls => "stalls > 100 ms",
                    Datagrams::Rate => "32 in flight",
                    Datagrams::RateLost => "lost of 32",
                    Datagrams::Answered => "of 100,000/s",
                };
                match size {
                    // With headers and the card's checksum these are the smallest frames.
                    SMALL => write!(f, "UDP echo 64 B frames, {what}"),
                    _ => write!(f, "UDP echo {size} B, {what}"),
                }
            }
            Metric::BesideP50(neighbour) => {
                write!(f, "TCP echo, neighbour {}, p50", neighbour.name())
            }
            Metric::BesideP99(neighbour) => {
                write!(f, "TCP echo, neighbour {}, p99", neighbour.name())
            }
            Metric::NeighbourRate(neighbour) => {
                write!(f, "neighbour that {}, rate", neighbour.name())
            }
            Metric::Send(size) => write!(f, "raw transmit {size} B"),
            Metric::Receive(size) => write!(f, "raw receive {size} B"),
            Metric::Idle => f.write_str("idle CPU"),
            Metric::Memory => f.write_str("least memory"),
            Metric::Image => f.write_str("kernel and module"),
        }
    }
}
