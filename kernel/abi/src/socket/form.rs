//! What requests and answers look like: 8 bytes, and an IP address behind them if they name one.

use crate::Result;
use crate::wire::{Reader, Writer};
use core::net::{IpAddr, SocketAddr};
use core::ops::Deref;

/// A request or an answer as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    bytes: [u8; Form::SIZE_MAX],
    len: usize,
}

impl Form {
    /// Bytes of one that names no address.
    pub const SIZE: usize = 8;
    /// Bytes of one that names an address.
    pub const SIZE_MAX: usize = Self::SIZE + 16;

    /// One that names no address.
    pub(super) fn new((kind, detail): (u8, u8), short: u16, word: u32) -> Self {
        Self::build((kind, detail), short, word, None)
    }

    /// One that names an address.
    pub(super) fn with_address(kind: u8, word: u32, address: SocketAddr) -> Self {
        Self::build((kind, 0), address.port(), word, Some(address.ip()))
    }

    fn build((kind, detail): (u8, u8), short: u16, word: u32, ip: Option<IpAddr>) -> Self {
        let mut bytes = [0; Self::SIZE_MAX];
        let mut writer = Writer::new(&mut bytes);
        writer.u8(kind).u8(detail).u16(short).u32(word);
        if let Some(ip) = ip {
            writer.ip(ip);
        }
        let len = writer.len();
        Form { bytes, len }
    }
}

impl Deref for Form {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The fields of a [`Form`].
pub(super) struct Fields<'a> {
    pub kind: u8,
    pub detail: u8,
    pub short: u16,
    pub word: u32,
    behind: Reader<'a>,
}

impl<'a> Fields<'a> {
    /// Those in these bytes.
    ///
    /// # Errors
    /// [`crate::Error::Malformed`] if they are too few; so below.
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        Ok(Fields {
            kind: reader.u8()?,
            detail: reader.u8()?,
            short: reader.u16()?,
            word: reader.u32()?,
            behind: reader,
        })
    }

    /// The address that it names.
    pub fn address(&mut self) -> Result<SocketAddr> {
        let ip = self.behind.ip()?;
        Ok(SocketAddr::new(ip, self.short))
    }
}
