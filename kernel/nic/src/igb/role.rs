//! What the functions of the card do differently, each in its own way.

use super::rings::Rings;
use crate::chip::Status;
use crate::{Bus, Error, Filters};

/// What a function does apart from moving frames: as [`crate::chip::Chip`] says of the methods of the same
/// names.
pub trait Role<B: Bus> {
    fn bring_up(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error>;

    fn loop_back(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error> {
        let _ = (rings, status);
        Err(Error::Unsupported)
    }

    fn quiesce(&mut self, rings: &mut Rings<B>);

    fn halt(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error>;

    /// Once a second, after the rings were looked at.
    fn look_after(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error>;

    /// An interrupt was about something that belongs to no ring.
    fn serve(&mut self, rings: &mut Rings<B>, status: &mut Status) -> Result<(), Error>;

    fn attend(&mut self, rings: &mut Rings<B>, is_tick: bool) -> Result<(), Error> {
        let _ = (rings, is_tick);
        Ok(())
    }

    fn set_filters(
        &mut self,
        rings: &mut Rings<B>,
        filters: &Filters<'_>,
        is_at_work: bool,
    ) -> Result<bool, Error>;

    fn harvest(&mut self, rings: &mut Rings<B>) -> Result<(), Error>;

    /// Visits what the card has counted for the function.
    fn visit_card(&self, visit: &mut dyn FnMut(&str, u64));

    /// Visits what the function itself has counted.
    fn visit_own(&self, visit: &mut dyn FnMut(&str, u64));
}
