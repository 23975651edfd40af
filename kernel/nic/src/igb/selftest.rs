//! The self-test: the card sends frames to itself, through its MAC and past the wire (§3.5.6.2).

use super::{Igb, regs};
use crate::{Bus, Error, SendOptions, reserve};

/// Bound of the wait for a link in the self-test, and of that for the frame.
const LINK_US: u32 = 3_000_000;
const FRAME_US: u32 = 100_000;
/// Length of a wait between two looks in it.
const POLL_US: u32 = 1_000;
/// EtherType for experiments (IEEE 802, local experimental 1).
const ETHERTYPE_EXPERIMENT: [u8; 2] = [0x88, 0xb5];

impl<B: Bus> Igb<B> {
    /// Sends the card a frame by itself and waits for it, in loopback.
    fn loop_back(&mut self, len: usize) -> Result<(), Error> {
        let mut frame = reserve::filled(0, len)?;
        for (index, byte) in frame.iter_mut().enumerate() {
            *byte = (index * 7 + index / 256) as u8;
        }
        frame[..6].copy_from_slice(&self.mac);
        frame[6..12].copy_from_slice(&self.mac);
        frame[12..14].copy_from_slice(&ETHERTYPE_EXPERIMENT);
        let mut buffer = [0];
        if self.take(len, &mut buffer)? == 0 {
            return Err(Error::WouldBlock);
        }
        let [buffer] = buffer;
        if let Some((offset, _)) = self.chip.frames.buffer(buffer) {
            self.chip.bus.copy_in(offset, &frame);
        }
        self.send_from(buffer, len, None, &SendOptions::default())?;
        self.kick();
        let mut received = reserve::filled(0, self.config.frame_max)?;
        for _ in 0..FRAME_US / POLL_US {
            let mut taken = None;
            self.next_of(u32::MAX, 1, |ring, chip, _| {
                taken = ring.take(chip, &mut received)?;
                Ok(usize::from(taken.is_some()))
            })?;
            match taken {
                Some((len, _)) if received[..len] == frame[..] => return Ok(()),
                // Somebody else's, or its own but spoilt.
                Some(_) => {}
                None => self.chip.bus.delay_us(POLL_US),
            }
        }
        Err(Error::SelfTest)
    }

    /// Brings the card up in loopback, and has it send itself a short frame and a long one.
    pub(super) fn test_loopback(&mut self) -> Result<(), Error> {
        self.bring_up(true)?;
        let mut waited_us = 0;
        while !self.chip.link()?.up && waited_us < LINK_US {
            self.chip.bus.delay_us(POLL_US);
            waited_us += POLL_US;
        }
        if waited_us >= LINK_US {
            // No cable: the loopback does not need one, but a link (§3.5.6.3).
            let control = self.chip.read(regs::CTRL)? | regs::CTRL_SLU;
            let forced = regs::CTRL_FORCE | regs::CTRL_FD | 2 << 8;
            self.chip.write(regs::CTRL, control | forced);
        }
        self.loop_back(60)?;
        self.loop_back(self.config.frame_max)
    }
}
