//! What each function of the card moves frames with: its registers, its rings, its interrupts.

use super::config::{BUFFER, Config};
use super::counters;
use super::csr::Csr;
use super::interrupts::{Function, Interrupts};
use super::queue::Queue;
use super::receiver::Receiver;
use super::regs::Queues;
use super::sender::Sender;
use super::transmit::Transmit;
use crate::chip::Counters;
use crate::{Bus, Error, Facts, Features, MacAddress};

/// The registers, rings and interrupts of a function.
pub struct Rings<B> {
    pub csr: Csr<B>,
    pub sender: Sender,
    pub receiver: Receiver,
    pub interrupts: Interrupts,
}

impl<B: Bus> Rings<B> {
    /// Those of a function that has these queues. The card is not touched.
    ///
    /// # Errors
    /// [`Error::BadConfig`], [`Error::ArenaTooSmall`], [`Error::ArenaUnreachable`], [`Error::NoMemory`].
    pub fn new(bus: B, config: &Config, queues: Queues, function: Function) -> Result<Self, Error> {
        let (needed, found) = (config.arena_size()?, bus.arena_len());
        if found < needed {
            return Err(Error::ArenaTooSmall { needed, found });
        }
        let start = bus.bus_addr(0);
        // Rings start on 128 bytes (§8.10.5); that buffers do not cross pages is for speed.
        if !start.0.is_multiple_of(BUFFER as u64) {
            return Err(Error::ArenaUnreachable { start });
        }
        Ok(Rings {
            csr: Csr {
                bus,
                frames: config.frames(),
            },
            sender: Sender::new(queues, config)?,
            receiver: Receiver::new(queues, config)?,
            interrupts: Interrupts::new(function, config),
        })
    }

    /// What the owner of the function is told of it.
    pub fn facts(&self, name: &'static str, mac: MacAddress, config: &Config) -> Facts {
        let queues = config.queues as u16;
        Facts {
            name,
            mac,
            frame_max: config.frame_max,
            transmit_ring: (config.transmit_ring - 1).min(config.transmit_buffers),
            receive_ring: config.queues * config.receive_buffers,
            features: Features {
                checksums: true,
                segmentation: self.sender.segmentation,
                vlan: true,
                filters: true,
                receive_queues: queues,
                transmit_queues: queues,
                vectors: config.vectors(),
                is_virtual: self.interrupts.function() == Function::Virtual,
            },
        }
    }

    /// Does something with each queue of the function, until that fails.
    pub fn each_queue(
        &mut self,
        mut act: impl FnMut(&mut Csr<B>, Queue) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let receiving = self.receiver.rings.iter().map(|ring| ring.queue);
        let sending = self.sender.rings.iter().map(|ring| ring.queue);
        let mut queues = receiving.chain(sending);
        queues.try_for_each(|queue| act(&mut self.csr, queue))
    }

    /// Waits until what was to be sent is.
    pub fn drain(&mut self) -> Result<(), Error> {
        let (csr, mut rings) = (&mut self.csr, self.sender.rings.iter());
        rings.try_for_each(|ring| ring.drain(csr))
    }

    /// Frames in the rings: to be sent, and received.
    pub fn frames(&mut self) -> (u64, u64) {
        let sent = self.sender.rings.iter().map(Transmit::in_flight);
        (sent.sum(), self.receiver.waiting(&mut self.csr))
    }

    /// Whether frames have come that an interrupt should have announced; their rings are silenced then.
    ///
    /// # Errors
    /// [`Error::BadHead`] if the card is at a place that a ring does not have.
    pub fn overlooked(&mut self) -> Result<bool, Error> {
        let csr = &mut self.csr;
        let (mut sending, mut receiving) = (self.sender.rings.iter(), self.receiver.rings.iter());
        receiving.try_for_each(|ring| ring.check(csr))?;
        sending.try_for_each(|ring| ring.check(csr))?;
        Ok(self.receiver.overlooked(csr, &mut self.interrupts))
    }

    /// Visits the counters of rings and interrupts.
    pub fn visit(&mut self, common: &Counters, visit: &mut dyn FnMut(&str, u64)) {
        visit("rx_waiting", self.receiver.waiting(&mut self.csr));
        let rings = (&self.sender, &self.receiver);
        counters::visit(common, rings, &self.interrupts, visit);
    }
}
