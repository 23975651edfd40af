//! Endpoints: a card, or a part of one, with the process that has it.
//!
//! ```text
//!   process      exchange area        process          process
//!      |             |                   |                |
//!   endpoint: the whole card          endpoint         endpoint: filters, buffers, a queue of its own
//!      |             |                   |     copies     |
//!      |      buffers by number          +-- switch ------+      by the filters, to at most one
//!      v             v                           v
//!   card 0: a driver                     card 1: a driver
//! ```
//!
//! [`Cards`] has both; `calls.rs` has what the system calls ask of an endpoint. This is logic that runs
//! under `cargo test`, over any [`nic::Nic`] and any [`memory::Shared`]: which driver takes which card,
//! and the memory itself, are ring 0's.

mod calls;
mod card;
mod cards;
mod exchange;
mod filters;
mod groups;
mod headers;
mod interrupts;
pub mod memory;
mod passing;
mod switch;
mod tenant;
mod wake;
mod words;

pub use card::Attached;
pub use cards::Cards;
pub use filters::{Own, Refusal};
pub use interrupts::{Interrupts, Vectors};

use abi::Error;
use abi::ipc::{Pid, wait};
use nic::{Events, Nic};
use tenant::Tenant;

/// Whichever driver. Models of cards stay in their thread.
#[cfg(not(test))]
pub type Driver = dyn Nic + Send;
/// Whichever driver, in the thread of its model.
#[cfg(test)]
pub type Driver = dyn Nic;

/// A card, or a part of one, with the process that has it.
struct Endpoint<M> {
    /// The card's number.
    card: u8,
    owner: Pid,
    /// Its number among those of its owner.
    number: u8,
    /// What it and its owner exchange.
    area: M,
    /// The owner has been shown its buffers.
    is_shown: bool,
    /// The owner, if asleep, expects frames with the wake-up.
    expects: bool,
    /// Its buffers, if it is a part of a card; the driver has those of a whole one.
    tenant: Option<Tenant<M>>,
}

/// All endpoints but one.
struct Others<'a, M>([&'a mut [Option<Endpoint<M>>]; 2]);

impl<'a, M> Others<'a, M> {
    /// The endpoint at this place, and the others.
    #[inline]
    fn than(
        place: usize,
        endpoints: &'a mut [Option<Endpoint<M>>],
    ) -> Option<(&'a mut Endpoint<M>, Self)> {
        let (before, rest) = endpoints.split_at_mut_checked(place)?;
        let (endpoint, after) = rest.split_first_mut()?;
        Some((endpoint.as_mut()?, Others([before, after])))
    }

    /// The tenant at this place, if it is another's.
    fn tenant(&mut self, place: usize) -> Option<&mut Tenant<M>> {
        let Others([before, after]) = self;
        let endpoint = match place.checked_sub(before.len()) {
            None => before.get_mut(place),
            Some(distance) => after.get_mut(distance.checked_sub(1)?),
        };
        endpoint?.as_mut()?.tenant.as_mut()
    }
}

/// Events of an endpoint as notification bits.
fn bits(events: Events, number: u8) -> u32 {
    let kinds = [
        (Events::RECEIVE, wait::NIC_RECEIVE),
        (Events::TRANSMIT_SPACE, wait::NIC_TRANSMIT),
        (Events::LINK, wait::NIC_LINK),
    ];
    let kinds = kinds.iter().filter(|(event, _)| events.contains(*event));
    match kinds.fold(0, |all, (_, bit)| all | bit) {
        0 => 0,
        bits => bits | wait::endpoint(number),
    }
}

/// What a driver has to say, in the words of the system calls.
fn to_abi(error: nic::Error) -> Error {
    match error {
        nic::Error::WouldBlock => Error::WouldBlock,
        nic::Error::BadLength { .. } | nic::Error::BadHeaders => Error::BadFrame,
        nic::Error::BufferTooSmall { .. } | nic::Error::TooMany { .. } => Error::TooLong,
        nic::Error::Unsupported => Error::NotSupported,
        nic::Error::BadVlan { .. } => Error::InvalidArgument,
        nic::Error::BadBuffer { .. } => Error::BadHandle,
        nic::Error::BadSource => Error::NotPermitted,
        nic::Error::NoMemory => Error::NoMemory,
        // The card said why when it broke.
        _ => Error::DeviceFailed,
    }
}

#[cfg(test)]
pub(crate) mod tests;
