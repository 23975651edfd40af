//! Whether a card can send a frame to itself.

use super::Driver;
use crate::bus::Bus;
use crate::chip::Chip;
use crate::error::Error;
use crate::interface::{FrameBuffers, Nic};
use crate::reserve;
use abi::nic::SendOptions;

/// Bound of the wait for a frame that the card sends to itself, and of one between two looks.
const LOOPBACK_US: u32 = 100_000;
const POLL_US: u32 = 1_000;
/// EtherType for experiments (IEEE 802, local experimental 1).
const ETHERTYPE_EXPERIMENT: [u8; 2] = [0x88, 0xb5];

impl<C: Chip> Driver<C> {
    /// Does what [`Nic::self_test`] says.
    pub fn test_loopback(&mut self) -> Result<(), Error> {
        self.stop();
        self.fault = None;
        let result = self.bring_up(C::loop_back).and_then(|()| {
            self.running = true;
            let sent = self.send_to_itself(60);
            let sent = sent.and_then(|()| self.send_to_itself(self.facts.frame_max));
            // The driver has counted its frames too. Without the card's, the sums are right so far.
            let _ = self.chip.harvest();
            sent
        });
        // Not as a sound card, which would keep its link.
        (self.running, self.fault) = (false, None);
        self.stop();
        result
    }

    /// Has the card, in loopback, send a frame to itself.
    fn send_to_itself(&mut self, len: usize) -> Result<(), Error> {
        let mut frame = reserve::filled(0, len)?;
        for (index, byte) in frame.iter_mut().enumerate() {
            *byte = (index * 7 + index / 256) as u8;
        }
        frame[..6].copy_from_slice(&self.facts.mac);
        frame[6..12].copy_from_slice(&self.facts.mac);
        frame[12..14].copy_from_slice(&ETHERTYPE_EXPERIMENT);
        self.send(&frame, &SendOptions::default(), false)?;
        let mut received = reserve::filled(0, self.facts.frame_max)?;
        for _ in 0..LOOPBACK_US / POLL_US {
            match self.receive_piece(false) {
                Err(Error::WouldBlock) => self.chip.bus().delay_us(POLL_US),
                first => {
                    // Else it is somebody else's, or its own but spoilt.
                    let (len, _) = self.copy_frame(first?, &mut received)?;
                    if received[..len] == frame[..] {
                        return Ok(());
                    }
                }
            }
        }
        Err(Error::SelfTest)
    }
}
