//! What a server is told once: its address, and how much it may use.

use crate::secret::Secret;
use abi::nic::MacAddress;
use abi::socket::Handle;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;

/// The settings of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The card's station address; must be unicast.
    pub mac: MacAddress,
    /// Other stacks have the same station, with other addresses: what is sent to it may be for them.
    pub shares_station: bool,
    /// The server's address.
    pub address: Ipv4Addr,
    /// Bits of the address that name the network, 1 to 30.
    pub prefix_len: u8,
    /// The router for other networks, in the same network.
    pub gateway: Option<Ipv4Addr>,
    /// Whether IPv6 is spoken, too.
    pub ipv6: bool,
    /// Sequence numbers, ports and other numbers that peers see are drawn from it.
    pub secret: Secret,
    /// How much may be used.
    pub limits: Limits,
    /// How long things may take.
    pub timers: Timers,
}

/// An IPv4 network, and this host's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// This host's address.
    pub address: Ipv4Addr,
    /// Bits of the address that name the network, 1 to 30.
    pub prefix_len: u8,
    /// The router for other networks, in the same network.
    pub gateway: Option<Ipv4Addr>,
}

/// Bounds of everything that clients or the network could make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets of all processes. How many of them one may have the kernel says.
    pub sockets: usize,
    /// The largest backlog that `listen` grants.
    pub backlog: usize,
    /// Connections that were offered and not completed, of about 150 octets each; and of one
    /// listener as many as its backlog. Over that, SYNs are answered by cookies.
    pub half_open: usize,
    /// Connections that no program holds any more and that still have data or a FIN to send.
    pub orphans: usize,
    /// Remembered ends of connections (RFC 9293, TIME-WAIT).
    pub time_wait: usize,
    /// Neighbours whose stations are remembered; fewer if there is little memory.
    pub neighbors: usize,
    /// Octets of all buffers.
    pub memory: usize,
    /// Octets of a connection's receive buffer; 65,535 of them are used at the most, so that
    /// its windows are not scaled.
    pub tcp_receive: usize,
    /// Octets of a connection's transmit buffer.
    pub tcp_transmit: usize,
    /// The same for a connection that begins while three quarters of the memory are free: with short
    /// buffers, it would wait for its peer.
    pub tcp_receive_large: usize,
    /// And its transmit buffer.
    pub tcp_transmit_large: usize,
    /// Octets of a datagram socket's receive buffer.
    pub udp_receive: usize,
    /// Octets of a datagram socket's transmit buffer.
    pub udp_transmit: usize,
}

/// Bounds in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Until a connection that was offered but not completed is forgotten.
    pub half_open: Duration,
    /// Until `connect` gives up.
    pub connect: Duration,
    /// Until a peer that says nothing, though asked or owing an acknowledgement, is given up.
    pub silence: Duration,
    /// Until an idle connection is probed. Must be less than half of `silence`.
    pub keep_alive: Duration,
    /// Until a closed connection that makes no progress is reset.
    pub orphan: Duration,
    /// How long the end of a connection is remembered.
    pub time_wait: Duration,
    /// How long an acknowledgement waits for data to travel with.
    pub ack_delay: Duration,
    /// How long after the start a SYN to a port without a listener waits for one, instead of
    /// being refused: for programs that are about to open their sockets.
    pub opening: Duration,
}

/// Octets of data in two of the longest segments, each of 44 full frames. A transmit buffer is a
/// ring, and a segment ends where its ring does.
const TWO_SEGMENTS: usize = 2 * 44 * 1460;

impl Default for Limits {
    /// For a machine of 32 MiB: 10 MiB of buffers, at 48 KiB for a connection, or 192 KiB while
    /// there are few.
    fn default() -> Self {
        Limits {
            sockets: 1 << Handle::SLOT_BITS,
            backlog: 128,
            half_open: 1024,
            orphans: 64,
            time_wait: 2048,
            neighbors: 4096,
            memory: 10 << 20,
            tcp_receive: 16 << 10,
            tcp_transmit: 32 << 10,
            tcp_receive_large: u16::MAX as usize,
            tcp_transmit_large: TWO_SEGMENTS,
            udp_receive: 64 << 10,
            udp_transmit: 64 << 10,
        }
    }
}

/// A socket for each so many octets of buffers: an idle one takes half of that in all tables.
const MEMORY_PER_SOCKET: usize = 1 << 10;
/// As many sockets as handles can name at the most, and there are always some.
const SOCKETS: (usize, usize) = (512, 1 << Handle::SLOT_BITS);

impl Limits {
    /// For so many octets of buffers. Tables may take about as much besides.
    pub fn of_memory(memory: usize) -> Self {
        let sockets = (memory / MEMORY_PER_SOCKET).clamp(SOCKETS.0, SOCKETS.1);
        Limits {
            sockets,
            memory,
            ..Limits::default()
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            half_open: Duration::from_secs(30),
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            keep_alive: Duration::from_secs(25),
            orphan: Duration::from_secs(30),
            time_wait: Duration::from_secs(60),
            ack_delay: Duration::from_millis(4),
            opening: Duration::ZERO,
        }
    }
}

/// Why settings were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// `ip=` is not of the form a.b.c.d/bits with bits from 1 to 30.
    AddressSyntax,
    /// The address is not one a host can have in that network.
    Address,
    /// `gw=` is neither an address nor `none`.
    GatewaySyntax,
    /// The gateway is not another host of the network.
    Gateway,
    /// `ipv6=` is neither `on` nor `off`.
    Ipv6Syntax,
    /// The station address is a group address or zero.
    Mac,
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            ConfigError::AddressSyntax => "ip= wants an address and prefix like 10.0.2.15/24",
            ConfigError::Address => "ip= is not an address for a host in its network",
            ConfigError::GatewaySyntax => "gw= wants an address like 10.0.2.2, or none",
            ConfigError::Gateway => "gw= is not another host of the network given by ip=",
            ConfigError::Ipv6Syntax => "ipv6= wants on or off",
            ConfigError::Mac => "the card has no unicast station address",
        })
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// The address if the command line names none: what QEMU's user network expects.
    pub const DEFAULT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    /// The prefix that goes with it.
    pub const DEFAULT_PREFIX_LEN: u8 = 24;
    /// The gateway if the command line names none and the network holds it.
    pub const DEFAULT_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

    /// The defaults for a card.
    pub fn new(mac: MacAddress, secret: impl Into<Secret>) -> Self {
        Config {
            mac,
            shares_station: false,
            address: Self::DEFAULT_ADDRESS,
            prefix_len: Self::DEFAULT_PREFIX_LEN,
            gateway: Some(Self::DEFAULT_GATEWAY),
            ipv6: false,
            secret: secret.into(),
            limits: Limits::default(),
            timers: Timers::default(),
        }
    }

    /// The defaults, with IPv6, changed by the words `ip=10.0.2.15/24`, `gw=10.0.2.2` (or `gw=none`) and
    /// `ipv6=off` of a kernel command line. Other words are somebody else's.
    ///
    /// # Errors
    /// [`ConfigError`], if a word is malformed or the result makes no sense.
    #[cold]
    pub fn from_command_line(
        command_line: &str,
        mac: MacAddress,
        secret: impl Into<Secret>,
    ) -> Result<Self, ConfigError> {
        let mut config = Config {
            ipv6: true,
            ..Config::new(mac, secret)
        };
        let mut gateway = None;
        for word in command_line.split_ascii_whitespace() {
            if let Some(value) = word.strip_prefix("ipv6=") {
                config.ipv6 = match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(ConfigError::Ipv6Syntax),
                };
            } else if let Some(value) = word.strip_prefix("ip=") {
                let (address, prefix_len) =
                    value.split_once('/').ok_or(ConfigError::AddressSyntax)?;
                config.address = address.parse().map_err(|_| ConfigError::AddressSyntax)?;
                config.prefix_len = prefix_len.parse().map_err(|_| ConfigError::AddressSyntax)?;
            } else if let Some(value) = word.strip_prefix("gw=") {
                gateway = Some(match value {
                    "none" => None,
                    _ => Some(value.parse().map_err(|_| ConfigError::GatewaySyntax)?),
                });
            }
        }
        config.gateway = gateway.unwrap_or_else(|| {
            Some(Self::DEFAULT_GATEWAY).filter(|&gateway| config.network().is_other_host(gateway))
        });
        config.validated()
    }

    /// The groups of stations that the card must receive: those of IPv6 in which neighbours and routers
    /// speak to us. All our addresses are asked for in one.
    pub fn groups(&self) -> Vec<MacAddress> {
        let [_, _, _, d, e, f] = self.mac;
        match self.ipv6 {
            true => [[0x33, 0x33, 0, 0, 0, 1], [0x33, 0x33, 0xff, d, e, f]].into(),
            false => Vec::new(),
        }
    }

    /// The settings, if they make sense.
    ///
    /// # Errors
    /// [`ConfigError`] names the first that does not.
    #[cold]
    pub fn validated(self) -> Result<Self, ConfigError> {
        self.network().validated()?;
        if self.mac[0] & 1 != 0 || self.mac == [0; 6] {
            return Err(ConfigError::Mac);
        }
        Ok(self)
    }

    /// The network that the server begins in.
    pub(crate) fn network(&self) -> Network {
        Network {
            address: self.address,
            prefix_len: self.prefix_len,
            gateway: self.gateway,
        }
    }
}

impl Network {
    /// The network, if it makes sense.
    ///
    /// # Errors
    /// [`ConfigError`] names the first thing that does not.
    #[cold]
    pub fn validated(self) -> Result<Self, ConfigError> {
        if !(1..=30).contains(&self.prefix_len) {
            return Err(ConfigError::AddressSyntax);
        }
        let address = self.address;
        let impossible = address.is_multicast()
            || address.is_loopback()
            || address.octets()[0] == 0
            || address.octets()[0] >= 240;
        if impossible || !self.is_host(address) {
            return Err(ConfigError::Address);
        }
        match self.gateway {
            Some(gateway) if !self.is_other_host(gateway) => Err(ConfigError::Gateway),
            _ => Ok(self),
        }
    }

    /// The bits of an address that name the network.
    pub(crate) fn mask(&self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix_len))
            .unwrap_or(0)
    }

    /// Whether the address is in this network, and neither the network's own address nor its
    /// broadcast address.
    pub(crate) fn is_host(&self, address: Ipv4Addr) -> bool {
        let host = address.to_bits() & !self.mask();
        let is_inside = (address.to_bits() ^ self.address.to_bits()) & self.mask() == 0;
        is_inside && host != 0 && host != !self.mask()
    }

    /// Whether it is one of the network's other hosts.
    pub(crate) fn is_other_host(&self, address: Ipv4Addr) -> bool {
        self.is_host(address) && address != self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn parse(command_line: &str) -> Result<(Ipv4Addr, u8, Option<Ipv4Addr>), ConfigError> {
        Config::from_command_line(command_line, MAC, 1)
            .map(|config| (config.address, config.prefix_len, config.gateway))
    }

    #[test]
    fn without_words_it_is_qemus_user_network() {
        let expected = (
            Ipv4Addr::new(10, 0, 2, 15),
            24,
            Some(Ipv4Addr::new(10, 0, 2, 2)),
        );
        assert_eq!(parse(""), Ok(expected));
        assert_eq!(parse("run=httpd,80 quiet ipx=3"), Ok(expected));
    }

    #[test]
    fn words_are_honoured_in_any_order() {
        assert_eq!(
            parse("gw=192.168.7.1 run=x ip=192.168.7.2/28"),
            Ok((
                Ipv4Addr::new(192, 168, 7, 2),
                28,
                Some(Ipv4Addr::new(192, 168, 7, 1))
            ))
        );
        assert_eq!(
            parse("gw=none"),
            Ok((Ipv4Addr::new(10, 0, 2, 15), 24, None))
        );
    }

    #[test]
    fn the_default_gateway_belongs_to_the_default_network() {
        assert_eq!(
            parse("ip=192.168.7.2/24"),
            Ok((Ipv4Addr::new(192, 168, 7, 2), 24, None))
        );
        let gateway = Some(Config::DEFAULT_GATEWAY);
        assert_eq!(
            parse("ip=10.0.2.77/24"),
            Ok((Ipv4Addr::new(10, 0, 2, 77), 24, gateway))
        );
        assert_eq!(
            parse("ip=10.0.2.2/24"),
            Ok((Ipv4Addr::new(10, 0, 2, 2), 24, None))
        );
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (line, error) in [
            ("ip=10.0.2.15", ConfigError::AddressSyntax),
            ("ip=10.0.2/24", ConfigError::AddressSyntax),
            ("ip=10.0.2.15/0", ConfigError::AddressSyntax),
            ("ip=10.0.2.15/31", ConfigError::AddressSyntax),
            ("ip=10.0.2.15/-1", ConfigError::AddressSyntax),
            ("ip=", ConfigError::AddressSyntax),
            ("ip=10.0.2.0/24", ConfigError::Address),
            ("ip=10.0.2.255/24", ConfigError::Address),
            ("ip=224.0.0.1/24", ConfigError::Address),
            ("ip=127.0.0.1/8", ConfigError::Address),
            ("ip=0.0.0.9/24", ConfigError::Address),
            ("ip=250.0.0.9/24", ConfigError::Address),
            ("gw=10.0.2", ConfigError::GatewaySyntax),
            ("gw=", ConfigError::GatewaySyntax),
            ("gw=10.0.3.2", ConfigError::Gateway),
            ("gw=10.0.2.15", ConfigError::Gateway),
        ] {
            assert_eq!(parse(line), Err(error), "{line}");
        }
        assert_eq!(
            Config::new([1, 0, 0, 0, 0, 0], 1).validated(),
            Err(ConfigError::Mac)
        );
    }
}
