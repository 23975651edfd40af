//! A card whose received frames can be looked at before they are taken, and that may cut segments.

use crate::phy::Device;
use abi::nic::Segmentation;

/// What the stack wants of a card beside smoltcp's trait: to see several received frames at
/// once, where they are, and to know exactly what it cuts.
pub trait LookAhead: Device {
    /// Which long frames it cuts into TCP segments. The stack cuts the others, and asks the card
    /// for nothing else.
    fn segmentation(&self) -> Segmentation {
        Segmentation::default()
    }

    /// Whether so many frames have been received, and can be seen with [`LookAhead::frame`]. It
    /// does not wait for them.
    fn sees(&mut self, wanted: usize) -> bool;

    /// One of those: 0 is the one that `receive` gives next. Empty if it is none of them.
    fn frame(&self, index: usize) -> &[u8];

    /// Gives back the first of those, which `receive` would give next.
    fn skip(&mut self);
}
