//! Tables by connection, whose hash is keyed: nobody who does not know the
//! key can choose peers' ports so that they collide.

use super::Tuple;
use core::hash::{BuildHasher, Hash, Hasher};
use siphasher::sip::SipHasher13;

/// See the module.
pub(super) type Index<K, V> = hashbrown::HashMap<K, V, Key>;

/// The key: SipHash's.
#[derive(Clone, Copy)]
pub(super) struct Key(u64, u64);

impl Key {
    pub fn new(seed: u64) -> Self {
        Key(derived(seed, 1), derived(seed, 2))
    }
}

/// A number that tells nothing of the seed nor of the others that are made from it.
pub(super) fn derived(seed: u64, purpose: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, !seed);
    hasher.write_u64(purpose);
    hasher.finish()
}

impl BuildHasher for Key {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl Hash for Tuple {
    /// As one word, which costs a third of the fields one by one.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = u64::from(self.port) << 16 | u64::from(self.peer.port());
        state.write_u64(ports << 32 | u64::from(self.peer.ip().to_bits()));
    }
}
