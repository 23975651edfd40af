//! What only this server knows, and the numbers that are drawn from it.

use core::hash::Hasher;
use siphasher::sip::{SipHasher13, SipHasher24};

/// Octets that differ from start to start and are never sent. What peers see of it went through
/// a keyed hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl From<[u8; 32]> for Secret {
    fn from(octets: [u8; 32]) -> Self {
        Secret(octets)
    }
}

#[cfg(test)]
impl From<u64> for Secret {
    /// For tests, which are to be the same in every run.
    fn from(seed: u64) -> Self {
        let mut octets = [0; 32];
        octets[..8].copy_from_slice(&seed.to_be_bytes());
        Secret(octets)
    }
}

#[cfg(test)]
impl Secret {
    /// What it was made of.
    pub fn seed(&self) -> u64 {
        u64::from_be_bytes(*self.0.first_chunk().unwrap())
    }
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

/// What a key is for. Each has its own, so that what is known of one tells nothing of others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The tables by connection.
    Tables,
    /// Initial sequence numbers.
    SequenceNumbers,
    /// SYN cookies.
    Cookies,
    /// How many RSTs and ICMP errors may be sent.
    Resets,
    IcmpErrors,
    /// Where the search for an ephemeral port begins.
    PortOffsets,
    /// Which counter goes on with it.
    PortCounters,
    /// Ephemeral ports that are for no certain peer.
    Ports,
    /// IPv4's identification, of UDP's and of ICMP's datagrams.
    UdpIdentification,
    IcmpIdentification,
}

impl Secret {
    /// The key for a purpose.
    #[cold]
    pub(crate) fn key(&self, purpose: Purpose) -> Key {
        let (one, other) = self.0.split_at(16);
        // All of the secret counts: one hash is over the other, and whoever lacks the key of either
        // knows nothing of the result.
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

/// A key of SipHash's.
#[derive(Clone, Copy)]
pub(crate) struct Key(pub u64, pub u64);

impl Key {
    /// A number that nobody who does not know the key can tell from a random one: SipHash-2-4.
    pub fn hash(&self, words: &[u64]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        for &word in words {
            hasher.write_u64(word);
        }
        hasher.finish()
    }
}

/// A sequence of random numbers: a keyed hash of how many there were, SipHash-1-3, since many are
/// drawn.
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
