//! Little-endian cursors: how every structure of this crate becomes bytes and back.

use crate::{Error, Result};
use core::net::{IpAddr, Ipv6Addr};

/// Writes fields one after another into a buffer of the structure's size.
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the beginning of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Writer { buffer, at: 0 }
    }

    /// Appends raw bytes.
    ///
    /// # Panics
    /// If the buffer is too small, which is an error in this crate, never in its input.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Appends 16 bits.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 32 bits.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 64 bits.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends an IP address, 16 bytes; see [`ip_octets`].
    pub fn ip(&mut self, address: IpAddr) -> &mut Self {
        self.bytes(&ip_octets(address))
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.at
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }
}

/// Reads fields one after another; running out is [`Error::Malformed`].
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    /// Takes `N` raw bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or(Error::Malformed)?;
        self.bytes = rest;
        Ok(*head)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes 16 bits.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes 32 bits.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes 64 bits.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes an IP address. One that maps an IPv4 address is that address.
    pub fn ip(&mut self) -> Result<IpAddr> {
        let octets = self.array::<16>()?;
        Ok(Ipv6Addr::from(octets).to_canonical())
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The 16 octets of an IP address: of IPv4, those of the IPv6 address that maps it (RFC 4291 §2.5.5.2).
pub const fn ip_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The text before the padding of a name; empty if it is not UTF-8.
pub(crate) fn text(padded: &[u8]) -> &str {
    let end = padded.iter().position(|&b| b == 0).unwrap_or(padded.len());
    core::str::from_utf8(&padded[..end]).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order() {
        let mut buffer = [0; 15];
        Writer::new(&mut buffer).u8(1).u16(2).u32(3).u64(u64::MAX);
        let mut reader = Reader::new(&buffer);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(u64::MAX));
        assert_eq!(reader.u8(), Err(Error::Malformed));
    }

    #[test]
    fn an_ipv4_address_is_the_ipv6_address_that_maps_it() {
        for (written, octets, read) in [
            ("10.0.2.15", "::ffff:10.0.2.15", "10.0.2.15"),
            ("0.0.0.0", "::ffff:0.0.0.0", "0.0.0.0"),
            ("::ffff:10.0.2.15", "::ffff:10.0.2.15", "10.0.2.15"),
            ("::", "::", "::"),
            ("fe80::1:2", "fe80::1:2", "fe80::1:2"),
            ("::10.0.2.15", "::10.0.2.15", "::10.0.2.15"),
        ] {
            let mut buffer = [0; 16];
            Writer::new(&mut buffer).ip(written.parse().unwrap());
            assert_eq!(Ipv6Addr::from(buffer), octets.parse::<Ipv6Addr>().unwrap());
            let address = Reader::new(&buffer).ip();
            assert_eq!(address, Ok(read.parse().unwrap()), "{written}");
            assert_eq!(Reader::new(&buffer[1..]).ip(), Err(Error::Malformed));
        }
    }
}
