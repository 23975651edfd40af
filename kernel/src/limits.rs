//! Quotas and rights: how much each process may have, and what it may do.
//!
//! ```text
//!   init        limit 100 = 10 used + 60 given + 30 left
//!     netd        limit  40 = 25 used + 15 left
//!     shell       limit  20 = 5 used + 10 given + 5 left
//!       hog         limit  10 = 10 used: the next page is refused
//! ```
//!
//! The limits of a child are taken from those of its parent at its start, and come back at its end. So the
//! limits of all processes together are never more than the machine has, and what a process was given is
//! there for it, whatever the others do. Nothing here allocates: the table has a place for each process.

use abi::limits::{Grant, Limits, Resource, spawn};
use abi::{Error, Result};
use alloc::string::String;
use alloc::vec::Vec;

/// The most processes at a time. A bit mask of slots fits a word.
pub const PROCESS_MAX: usize = 64;
/// Servers at which a process may have sockets.
pub const SERVERS_MAX: usize = 4;

/// What a process that has ended still has, until its parent has been told: its place in the table.
const ENDED: Limits = Limits::NONE.with(Resource::Processes, 1);

/// The limits of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What it may have.
    pub limit: Limits,
    /// What of that its children may have.
    pub given: Limits,
    /// The slot of the process that the limits were taken from; `None` for the first process.
    payer: Option<usize>,
}

impl Quota {
    /// What the process may have itself.
    pub fn own(&self) -> Limits {
        self.limit.minus(&self.given)
    }
}

/// The limits of all processes, by their slots in the process table.
#[derive(Debug)]
pub struct Quotas(Vec<Option<Quota>>);

impl Default for Quotas {
    fn default() -> Self {
        Quotas(alloc::vec![None; PROCESS_MAX])
    }
}

impl Quotas {
    /// The quota of the process in a slot.
    pub fn get(&self, slot: usize) -> Option<&Quota> {
        self.0.get(slot)?.as_ref()
    }

    /// Gives the process in the free slot `to` these limits: out of nothing if it is the first,
    /// else out of what the process in slot `from` has not given away and does not use.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] if that is less, [`Error::InvalidArgument`] without room for the
    /// process itself, [`Error::NotFound`] if nobody is in slot `from`.
    pub fn give(&mut self, from: Option<(usize, &Limits)>, limit: Limits, to: usize) -> Result<()> {
        if limit.get(Resource::Processes) == 0 {
            return Err(Error::InvalidArgument);
        }
        if let Some((slot, used)) = from {
            let payer = self.0[slot].as_mut().ok_or(Error::NotFound)?;
            if !payer.own().minus(used).covers(&limit) {
                return Err(Error::QuotaExceeded);
            }
            payer.given = payer.given.plus(&limit).ok_or(Error::QuotaExceeded)?;
        }
        self.0[to] = Some(Quota {
            limit,
            given: Limits::NONE,
            payer: from.map(|(slot, _)| slot),
        });
        Ok(())
    }

    /// The process in a slot has ended: its limits go back to the process that they were taken from. Two
    /// parts do not: its place in the table, and the limits of its children. The children count as that
    /// process's from now on.
    pub fn end(&mut self, slot: usize) {
        let Some(quota) = self.0[slot] else { return };
        for child in self.0.iter_mut().flatten() {
            if child.payer == Some(slot) {
                child.payer = quota.payer;
            }
        }
        self.0[slot] = Some(Quota {
            limit: ENDED,
            given: Limits::NONE,
            payer: quota.payer,
        });
        let kept = quota.given.plus(&ENDED).unwrap_or(quota.limit);
        self.give_back(quota.payer, &quota.limit.minus(&kept));
    }

    /// The process in a slot is forgotten, and its place in the table is free.
    pub fn forget(&mut self, slot: usize) {
        if let Some(quota) = self.0[slot].take() {
            self.give_back(quota.payer, &quota.limit);
        }
    }

    fn give_back(&mut self, payer: Option<usize>, limit: &Limits) {
        if let Some(payer) = payer.and_then(|slot| self.0[slot].as_mut()) {
            payer.given = payer.given.minus(limit);
        }
    }
}

/// What a process may do that not every process may. The kernel keeps it, so no process can forge it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The service names that it may register, separated by spaces.
    pub names: String,
    /// It may register any other, too.
    pub all_names: bool,
    /// The cards that it may attach, a bit each.
    pub cards: u64,
    /// It may have parts of these only.
    pub parts_only: bool,
    /// Whether it serves others: see [`abi::limits::spawn::SERVER`].
    pub is_server: bool,
}

impl Rights {
    /// All of them: those of the first process.
    pub fn all() -> Self {
        Rights {
            names: String::new(),
            all_names: true,
            cards: u64::MAX,
            parts_only: false,
            is_server: true,
        }
    }

    /// Whether it may register this name.
    pub fn allows_name(&self, name: &str) -> bool {
        self.all_names || words(&self.names).any(|word| word == name)
    }

    /// Whether it may attach this card, all of it or a part.
    pub fn allows_card(&self, card: u64, is_whole: bool) -> bool {
        card < 64 && self.cards >> card & 1 == 1 && !(is_whole && self.parts_only)
    }

    /// Whether a process with these rights may give those of `grant` to a child.
    pub fn covers(&self, grant: &Grant<'_>) -> bool {
        words(grant.names).all(|word| self.allows_name(word))
            && (self.all_names || !means_all(grant.names))
            && grant.cards & !self.cards == 0
            && (self.is_server || grant.flags & spawn::SERVER == 0)
    }

    /// The rights of a child that is granted these by a process with rights to them.
    ///
    /// # Errors
    /// [`Error::NoMemory`]
    pub fn granted(&self, grant: &Grant<'_>) -> Result<Self> {
        Ok(Rights {
            names: owned(grant.names)?,
            all_names: means_all(grant.names),
            cards: grant.cards,
            parts_only: grant.flags & spawn::PARTS != 0 || self.parts_only,
            is_server: grant.flags & spawn::SERVER != 0,
        })
    }
}

/// The names in a text.
fn words(names: &str) -> impl Iterator<Item = &str> {
    names.split(' ').filter(|word| !word.is_empty())
}

/// Whether a text of names has `*`, which stands for all.
fn means_all(names: &str) -> bool {
    words(names).any(|word| word == "*")
}

/// A copy of a name, which the kernel keeps.
///
/// # Errors
/// [`Error::NoMemory`].
pub(crate) fn owned(text: &str) -> Result<String> {
    let mut owned = String::new();
    let reserved = owned.try_reserve_exact(text.len());
    reserved.map_err(|_| Error::NoMemory)?;
    owned.push_str(text);
    Ok(owned)
}

#[cfg(test)]
mod tests;
