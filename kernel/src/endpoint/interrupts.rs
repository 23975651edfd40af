//! How a card interrupts.

use core::fmt::{self, Display};

/// Consecutive vectors of one card's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vectors {
    /// The first.
    pub first: u8,
    /// How many.
    pub count: u8,
}

impl Vectors {
    /// Which of them `vector` is, from 0.
    pub fn index_of(&self, vector: u8) -> Option<u16> {
        let index = vector.checked_sub(self.first)?;
        (index < self.count).then_some(index.into())
    }
}

/// How a card interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupts {
    /// By this line of the interrupt controller.
    Line(u8),
    /// By one message.
    Msi(Vectors),
    /// By a message for each part of the card.
    MsiX(Vectors),
    /// Not at all: firmware routed its line nowhere. What waits is found once a second.
    None,
}

impl Interrupts {
    /// The vectors of its messages, if it has any.
    pub fn vectors(self) -> Option<Vectors> {
        match self {
            Interrupts::Msi(vectors) | Interrupts::MsiX(vectors) => Some(vectors),
            Interrupts::Line(_) | Interrupts::None => None,
        }
    }
}

impl Display for Interrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interrupts::Line(irq) => write!(f, "irq {irq}"),
            Interrupts::Msi(_) => f.write_str("MSI"),
            Interrupts::MsiX(vectors) => write!(f, "MSI-X with {} messages", vectors.count),
            Interrupts::None => f.write_str("no interrupt"),
        }
    }
}

/// Interrupts of a line in a row that no card claimed before the line is switched off.
const UNCLAIMED_MAX: u32 = 10_000;

/// The lines that cards interrupt by: how often in a row nobody claimed an interrupt of each.
#[derive(Default)]
pub struct Lines([u32; 16]);

impl Lines {
    /// An interrupt of line `irq` was claimed by some card, or by none.
    pub fn interrupted(&mut self, irq: u8, claimed: bool) {
        let unclaimed = &mut self.0[usize::from(irq & 15)];
        *unclaimed = if claimed { 0 } else { *unclaimed + 1 };
    }

    /// Whether a line interrupts without end and nobody knows why. Says so, once.
    pub fn is_stuck(&mut self, irq: u8) -> bool {
        let is_stuck = self.0[usize::from(irq & 15)] == UNCLAIMED_MAX;
        if is_stuck {
            log::error!("irq {irq}: {UNCLAIMED_MAX} interrupts that no card asked for; line off");
        }
        is_stuck
    }

    /// A card was reset: one that went away while it asked for an interrupt holds its line until then.
    /// Returns the line if it was stuck, and is to be switched on again.
    #[must_use = "the line stays off otherwise"]
    pub fn freed(&mut self, interrupts: Interrupts) -> Option<u8> {
        let Interrupts::Line(irq) = interrupts else {
            return None;
        };
        let unclaimed = core::mem::take(&mut self.0[usize::from(irq & 15)]);
        let was_stuck = unclaimed >= UNCLAIMED_MAX;
        if was_stuck {
            log::info!("irq {irq}: line on again");
        }
        was_stuck.then_some(irq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_nobody_claims_is_off_until_its_card_was_reset() {
        let mut lines = Lines::default();
        let line = Interrupts::Line(11);
        for _ in 1..UNCLAIMED_MAX {
            lines.interrupted(11, false);
            assert!(!lines.is_stuck(11));
        }
        // A card that claims one begins the count anew.
        lines.interrupted(11, true);
        assert_eq!(lines.freed(line), None);
        for _ in 0..UNCLAIMED_MAX {
            assert!(!lines.is_stuck(11));
            lines.interrupted(11, false);
        }
        assert!(lines.is_stuck(11));
        assert!(!lines.is_stuck(10));
        assert_eq!(lines.freed(Interrupts::Line(10)), None);
        assert_eq!(lines.freed(Interrupts::None), None);
        assert_eq!(lines.freed(line), Some(11));
        assert_eq!(lines.freed(line), None);
    }

    #[test]
    fn a_vector_is_of_the_card_whose_it_is() {
        let vectors = Vectors {
            first: 70,
            count: 3,
        };
        let of = [69, 70, 72, 73].map(|vector| vectors.index_of(vector));
        assert_eq!(of, [None, Some(0), Some(2), None]);
        assert_eq!(Interrupts::Msi(vectors).vectors(), Some(vectors));
        assert_eq!(Interrupts::MsiX(vectors).vectors(), Some(vectors));
        assert_eq!(Interrupts::Line(11).vectors(), None);
    }
}
