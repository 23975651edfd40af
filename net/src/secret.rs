//! The secret of this server, and the keys and random numbers that are made from it.

use core::hash::Hasher;
use siphasher::sip::{SipHasher13, SipHasher24};

/// Octets that are different at each start and are never sent. Peers only see numbers that a keyed hash
/// has made from them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl From<[u8; 32]> for Secret {
    fn from(octets: [u8; 32]) -> Self {
        Secret(octets)
    }
}

#[cfg(test)]
impl From<u64> for Secret {
    /// A secret for tests, which must be the same in every run.
    fn from(seed: u64) -> Self {
        let mut octets = [0; 32];
        octets[..8].copy_from_slice(&seed.to_be_bytes());
        Secret(octets)
    }
}

#[cfg(test)]
impl Secret {
    /// The number that the secret of a test was made from.
    pub fn seed(&self) -> u64 {
        u64::from_be_bytes(*self.0.first_chunk().unwrap())
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

/// The purpose of a key. Each purpose has its own key, so that to know one key does not help to find
/// another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Hash tables.
    Tables,
    /// Initial sequence numbers.
    SequenceNumbers,
    /// SYN cookies.
    Cookies,
    /// How many RSTs may be sent.
    Resets,
    /// How many ICMP errors may be sent.
    IcmpErrors,
    /// Where the search for an ephemeral port begins.
    PortOffsets,
    /// Which counter continues the search.
    PortCounters,
    /// Ephemeral ports of sockets without a peer.
    Ports,
    /// IPv4's identification of UDP datagrams.
    UdpIdentification,
    /// IPv4's identification of ICMP datagrams.
    IcmpIdentification,
    /// The lower half of IPv6 addresses, if others have the same station.
    Ipv6Identifier,
}

impl Secret {
    /// The key for a purpose.
    #[cold]
    pub(crate) fn key(&self, purpose: Purpose) -> Key {
        let (one, other) = self.0.split_at(16);
        // Both halves of the secret are used: one keys the inner hash and the other the outer one, and
        // without either half nothing can be known of the result.
        let hash = |half: &[u8], words: [u64; 2]| {
            let mut hasher = SipHasher24::new_with_key(half.first_chunk().unwrap_or(&[0; 16]));
            for word in words {
                hasher.write_u64(word);
            }
            hasher.finish()
        };
        let part = |part: u64| hash(one, [part, hash(other, [part, purpose as u64])]);
        Key(part(0), part(1))
    }
}

/// A key for SipHash.
#[derive(Clone, Copy)]
pub(crate) struct Key(pub u64, pub u64);

impl Key {
    /// The hash of these numbers by SipHash-2-4. Without the key it looks like a random number.
    pub fn hash(&self, words: &[u64]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        for &word in words {
            hasher.write_u64(word);
        }
        hasher.finish()
    }
}

/// A sequence of random numbers: the hashes of 1, 2, 3 and so on by SipHash-1-3, which is faster than
/// SipHash-2-4, since many are drawn.
#[derive(Clone, Copy)]
pub(crate) struct Random {
    key: Key,
    count: u64,
}

impl Random {
    pub fn new(key: Key) -> Self {
        Random { key, count: 0 }
    }

    pub fn next(&mut self) -> u64 {
        self.count += 1;
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write_u64(self.count);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_the_secret_changes_every_key() {
        let purposes = [Purpose::Tables, Purpose::Cookies, Purpose::SequenceNumbers];
        let numbers = |secret: [u8; 32]| {
            let secret = Secret::from(secret);
            purposes.map(|purpose| secret.key(purpose).hash(&[1]))
        };
        let mut seen = alloc::collections::BTreeSet::new();
        for bit in 0..=256 {
            let mut secret = [7; 32];
            if let Some(octet) = secret.get_mut(bit / 8) {
                *octet ^= 1 << (bit % 8);
            }
            seen.extend(numbers(secret));
        }
        assert_eq!(seen.len(), 257 * purposes.len());
    }

    #[test]
    fn it_is_not_printed() {
        let text = alloc::format!("{:?}", Secret::from([0x5a; 32]));
        assert_eq!(text, "Secret");
    }
}
