//! How every structure of this crate becomes little-endian bytes and back.
//!
//! [`crate::record!`] declares a structure and writes and reads its fields in their order, by [`Wire`].
//! What has a form of its own uses the cursors [`Writer`] and [`Reader`] directly.

use crate::socket::Ip;
use crate::{Error, Result};
use core::fmt;
use core::net::IpAddr;
use core::num::NonZeroU64;

/// Writes fields one after another into a buffer of the structure's size.
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the beginning of `buffer`.
    #[inline]
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Writer { buffer, at: 0 }
    }

    /// Appends raw bytes.
    ///
    /// # Panics
    /// If the buffer is too small, which is an error in this crate, never in its input.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    /// Appends one byte.
    #[inline]
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Appends 16 bits.
    #[inline]
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 32 bits.
    #[inline]
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 64 bits.
    #[inline]
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends an IP address, 16 bytes in the form of [`Ip`].
    #[inline]
    pub fn ip(&mut self, address: IpAddr) -> &mut Self {
        self.bytes(&Ip::new(address).0)
    }

    /// Bytes written so far.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.at
    }
}

/// Reads fields one after another; running out is [`Error::Malformed`].
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    /// Takes `N` raw bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or(Error::Malformed)?;
        self.bytes = rest;
        Ok(*head)
    }

    /// Takes one byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes 16 bits.
    #[inline]
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes 32 bits.
    #[inline]
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes 64 bits.
    #[inline]
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes an IP address. One that maps an IPv4 address is that address.
    #[inline]
    pub fn ip(&mut self) -> Result<IpAddr> {
        Ok(Ip(self.array()?).to_std())
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A value that has a fixed number of bytes on the wire.
pub trait Wire: Sized {
    /// How many bytes the value has.
    const SIZE: usize;

    /// Appends the value.
    fn write(&self, writer: &mut Writer<'_>);

    /// Takes the value.
    ///
    /// # Errors
    /// [`Error::Malformed`] if too few bytes are left, or if they are no such value.
    fn read(reader: &mut Reader<'_>) -> Result<Self>;
}

macro_rules! integers {
    ($($type:ident)*) => { $(
        impl Wire for $type {
            const SIZE: usize = size_of::<$type>();

            #[inline]
            fn write(&self, writer: &mut Writer<'_>) {
                writer.$type(*self);
            }

            #[inline]
            fn read(reader: &mut Reader<'_>) -> Result<Self> {
                reader.$type()
            }
        }
    )* };
}
integers!(u8 u16 u32 u64);

impl Wire for NonZeroU64 {
    const SIZE: usize = u64::SIZE;

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u64(self.get());
    }

    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        NonZeroU64::new(reader.u64()?).ok_or(Error::Malformed)
    }
}

impl Wire for bool {
    const SIZE: usize = 1;

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u8((*self).into());
    }

    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(reader.u8()? != 0)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    const SIZE: usize = A::SIZE + B::SIZE;

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        self.0.write(writer);
        self.1.write(writer);
    }

    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok((A::read(reader)?, B::read(reader)?))
    }
}

impl<T: Wire + Copy + Default, const N: usize> Wire for [T; N] {
    const SIZE: usize = N * T::SIZE;

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        for value in self {
            value.write(writer);
        }
    }

    #[inline]
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut values = [T::default(); N];
        for value in &mut values {
            *value = T::read(reader)?;
        }
        Ok(values)
    }
}

/// Declares a structure that is written and read field by field, with its `SIZE` in bytes, `to_bytes`
/// and `from_bytes`.
#[macro_export]
macro_rules! record {
    (
        $(#[$of:meta])*
        pub struct $name:ident {
            $( $(#[$of_field:meta])* $vis:vis $field:ident: $type:ty, )+
        }
    ) => {
        $(#[$of])*
        pub struct $name {
            $( $(#[$of_field])* $vis $field: $type, )+
        }

        impl $crate::wire::Wire for $name {
            const SIZE: usize = 0 $(+ <$type as $crate::wire::Wire>::SIZE)+;

            #[inline]
            fn write(&self, writer: &mut $crate::wire::Writer<'_>) {
                $( $crate::wire::Wire::write(&self.$field, writer); )+
            }

            #[inline]
            fn read(reader: &mut $crate::wire::Reader<'_>) -> $crate::Result<Self> {
                Ok($name { $( $field: $crate::wire::Wire::read(reader)?, )+ })
            }
        }

        impl $name {
            /// Bytes on the wire.
            pub const SIZE: usize = <Self as $crate::wire::Wire>::SIZE;

            /// The structure as bytes.
            #[inline]
            pub fn to_bytes(&self) -> [u8; Self::SIZE] {
                let mut bytes = [0; Self::SIZE];
                $crate::wire::Wire::write(self, &mut $crate::wire::Writer::new(&mut bytes));
                bytes
            }

            /// The structure from bytes.
            ///
            /// # Errors
            /// [`Error::Malformed`]($crate::Error::Malformed) if they are too few, or if a field
            /// has a value that does not exist.
            #[inline]
            pub fn from_bytes(bytes: &[u8]) -> $crate::Result<Self> {
                $crate::wire::Wire::read(&mut $crate::wire::Reader::new(bytes))
            }
        }
    };
}

/// A text of at most `N` bytes, padded with zeros. A longer one is cut between characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name<const N: usize>([u8; N]);

impl<const N: usize> Name<N> {
    /// The name with this text.
    pub const fn new(text: &str) -> Self {
        let mut len = if text.len() < N { text.len() } else { N };
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let mut name = [0; N];
        let (head, _) = text.as_bytes().split_at(len);
        name.split_at_mut(len).0.copy_from_slice(head);
        Name(name)
    }

    /// The text before the padding; empty if it is not UTF-8.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(N);
        core::str::from_utf8(&self.0[..end]).unwrap_or("")
    }
}

impl<const N: usize> Wire for Name<N> {
    const SIZE: usize = N;

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(&self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        reader.array().map(Name)
    }
}

impl<const N: usize> fmt::Write for Name<N> {
    /// Appends a text, or as much of it as fits.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let used = self.as_str().len();
        let rest = &mut self.0[used..];
        let len = text.floor_char_boundary(rest.len());
        rest[..len].copy_from_slice(&text.as_bytes()[..len]);
        Ok(())
    }
}

impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;
    use core::net::Ipv6Addr;
    use std::string::ToString;

    #[test]
    fn names_are_cut_between_characters() {
        let name = |text| Name::<16>::new(text).to_string();
        assert_eq!(name("netd"), "netd");
        assert_eq!(name("a-program-with-a-name"), "a-program-with-a");
        assert_eq!(name("fifteen-bytes--\u{e9}"), "fifteen-bytes--");
        let mut made = Name::<5>::new("net");
        assert_eq!(write!(made, "{}", 10), Ok(()));
        assert_eq!(made.as_str(), "net10");
        assert_eq!(write!(made, "s"), Ok(()));
        assert_eq!(made.as_str(), "net10");
        assert_eq!(Name::<2>([0xff, 0]).as_str(), "");
    }

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
