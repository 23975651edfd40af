//! Connections that share a claim to memory ([`super::pool`]).

use crate::deadlines::Deadlines;

/// The group of all connections that began here, and of datagram ports. No listener has its number.
pub(crate) const BEGAN_HERE: u16 = 0;

/// The connections that share a claim to memory: those of a listener, by its port, or
/// [`BEGAN_HERE`].
#[derive(Default)]
pub(super) struct Group {
    /// Octets of their buffers.
    pub used: usize,
    /// Those with buffers, by when they moved, at the latest: they may have moved since.
    pub at_rest: Deadlines,
    /// Those of them that were found to hold data, likewise.
    pub under_way: Deadlines,
    /// When these were last looked at again.
    pub looked_at: u64,
}
