//! Whose a fragment is.
//!
//! smoltcp puts a datagram together and hands it to a socket when its last fragment has
//! come, but only the first has the ports. So the ports of the last few first fragments
//! are remembered; there are more of them than datagrams that smoltcp puts together at
//! the same time. Whoever makes so many that some are forgotten occupies those too.

use super::Tuple;
use alloc::collections::VecDeque;
use core::net::Ipv4Addr;

/// Four times smoltcp's `REASSEMBLY_BUFFER_COUNT`, which Cargo.toml sets.
const REMEMBERED: usize = 16;

/// Whose a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A connection's, if there is one.
    Stream(Tuple),
    /// That port's, if it is open.
    Datagrams(u16),
}

/// What the fragments of a datagram have in common (RFC 791 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    pub identification: u16,
}

/// See the module.
#[derive(Default)]
pub(super) struct Fragments {
    owners: VecDeque<(Datagram, Owner)>,
}

impl Fragments {
    /// The owner of a fragment's datagram as far as it is known. `first` is what the
    /// first fragment says.
    pub fn owner(&mut self, datagram: Datagram, first: Option<Owner>) -> Option<Owner> {
        let known = self.owners.iter().rposition(|(one, _)| *one == datagram);
        let Some(owner) = first else {
            return known.map(|index| self.owners[index].1);
        };
        if let Some(index) = known {
            self.owners.remove(index);
        } else if self.owners.len() == REMEMBERED {
            self.owners.pop_front();
        }
        self.owners.push_back((datagram, owner));
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(identification: u16) -> Datagram {
        Datagram {
            source: Ipv4Addr::new(10, 0, 2, 2),
            destination: Ipv4Addr::new(10, 0, 2, 15),
            protocol: 17,
            identification,
        }
    }

    #[test]
    fn the_first_fragment_tells_for_the_others() {
        let mut fragments = Fragments::default();
        assert_eq!(fragments.owner(datagram(1), None), None);
        let (seven, nine) = (Owner::Datagrams(7), Owner::Datagrams(9));
        assert_eq!(fragments.owner(datagram(1), Some(seven)), Some(seven));
        assert_eq!(fragments.owner(datagram(2), Some(nine)), Some(nine));
        assert_eq!(fragments.owner(datagram(1), None), Some(seven));
        assert_eq!(fragments.owner(datagram(1), Some(nine)), Some(nine));
        assert_eq!(fragments.owner(datagram(1), None), Some(nine));
        let mut other = datagram(1);
        other.protocol = 6;
        assert_eq!(fragments.owner(other, None), None);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut fragments = Fragments::default();
        for number in 0..=REMEMBERED as u16 {
            fragments.owner(datagram(number), Some(Owner::Datagrams(number)));
            assert!(fragments.owners.len() <= REMEMBERED);
        }
        assert_eq!(fragments.owner(datagram(0), None), None);
        assert_eq!(
            fragments.owner(datagram(1), None),
            Some(Owner::Datagrams(1))
        );
    }
}
