//! Hash tables with a keyed hash: nobody without the key can choose ports and addresses that collide.

use crate::names::Tuple;
use crate::secret::Key;
use core::hash::{BuildHasher, Hash, Hasher};
use siphasher::sip::SipHasher13;

/// A hash table with a keyed hash.
pub(crate) type Index<K, V> = hashbrown::HashMap<K, V, Key>;

impl BuildHasher for Key {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl Tuple {
    /// The tuple as three numbers: the ports with the local address, and the peer's address.
    pub(crate) fn words(&self) -> [u64; 3] {
        let (high, low) = self.peer.ip.halves();
        let ports = u64::from(self.port) << 16 | u64::from(self.peer.port);
        [ports | u64::from(self.local.0) << 32, high, low]
    }
}

impl Hash for Tuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [ports, high, low] = self.words();
        match self.peer.ip.is_v4() {
            // What is lost of the first two words is the same for all IPv4 addresses. To hash one number
            // costs a third of hashing the fields one by one.
            true => state.write_u64(ports << 32 | low & 0xffff_ffff),
            false => {
                state.write_u64(ports);
                state.write_u64(high);
                state.write_u64(low);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, SocketAddrV4};

    #[test]
    fn where_a_connection_is_depends_on_all_of_the_key() {
        let peer = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000);
        let hash = |one, other| Key(one, other).hash_one(Tuple::v4(80, peer));
        assert_eq!(hash(1, 2), hash(1, 2));
        assert!(hash(1, 2) != hash(1, 3) && hash(1, 2) != hash(3, 2));
    }
}
