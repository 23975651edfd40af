//! The attach table: which driver takes which function.
//!
//! What attaching means is the kernel's affair, so a row carries any value `A` for it,
//! most likely a function pointer.

use super::function::Function;

/// A row of the attach table.
#[derive(Clone, Copy, Debug)]
pub struct Driver<A> {
    /// The driver's name, for messages.
    pub name: &'static str,
    /// The chip's name, as its maker says it.
    pub chip: &'static str,
    /// QEMU's name of a card with that chip.
    pub qemu: &'static str,
    /// Which functions it takes.
    pub matches: Match,
    /// How to give it one.
    pub attach: A,
}

/// What a driver knows a function by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// This very chip.
    Id {
        /// Vendor id.
        vendor: u16,
        /// Device id.
        device: u16,
    },
    /// Anything of this class.
    Class {
        /// Base class.
        class: u8,
        /// Class within it.
        subclass: u8,
    },
}

impl Match {
    /// Whether this is such a function.
    pub fn accepts(self, function: &Function) -> bool {
        match self {
            Match::Id { vendor, device } => (vendor, device) == (function.vendor, function.device),
            Match::Class { class, subclass } => {
                (class, subclass) == (function.class, function.subclass)
            }
        }
    }

    fn is_id(self) -> bool {
        matches!(self, Match::Id { .. })
    }
}

/// The drivers that take a function, best first: those that know the chip, then those
/// that know its class. The kernel tries them until one attaches.
pub fn drivers<'t, A>(
    table: &'t [Driver<A>],
    function: &Function,
) -> impl Iterator<Item = &'t Driver<A>> {
    let accepting = move |driver: &&Driver<A>| driver.matches.accepts(function);
    let by_id = table
        .iter()
        .filter(|driver| driver.matches.is_id())
        .filter(accepting);
    let by_class = table
        .iter()
        .filter(|driver| !driver.matches.is_id())
        .filter(accepting);
    by_id.chain(by_class)
}
