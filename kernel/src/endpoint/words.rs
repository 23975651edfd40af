//! What is said of cards, for people.

use abi::nic::Link;
use core::fmt::{self, Display};

/// A station address.
pub struct DisplayMac(pub [u8; 6]);

impl Display for DisplayMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A link, as the console tells of it.
pub struct DisplayLink(pub Link);

impl Display for DisplayLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.up {
            return f.write_str("link down");
        }
        let duplex = if self.0.full_duplex { "full" } else { "half" };
        write!(f, "link up, {} Mb/s, {duplex} duplex", self.0.speed_mbps)
    }
}
