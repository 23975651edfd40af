//! The driver of a physical function (PF), shared with the drivers of its virtual functions (VFs).
//!
//! A VF asks its PF for what belongs to the whole card, by a mailbox in the card, and waits for the answer
//! (82576 datasheet §7.8.2). Here one processor runs both drivers, and an interrupt of the PF would be
//! served only when the driver of the VF has returned. So the bus of a VF has the PF look at its mailboxes
//! ([`SharedPf::serve`]) whenever the VF's driver waits.

use alloc::sync::Arc;
use nic::igb::Igb;
use nic::{
    Bus, Error, Events, Facts, Filters, FrameArea, FrameBuffers, Link, Nic, Outgoing, Piece,
    ReceiveInfo, SendOptions,
};
use spin::Mutex;

/// The driver of a PF. Clones are the same driver.
pub struct SharedPf<B: Bus> {
    driver: Arc<Mutex<Igb<B>>>,
    facts: Facts,
}

impl<B: Bus> SharedPf<B> {
    /// Shares a driver.
    pub fn new(driver: Igb<B>) -> Self {
        SharedPf {
            facts: *driver.facts(),
            driver: Arc::new(Mutex::new(driver)),
        }
    }

    /// Lets the PF serve what its VFs have asked for.
    pub fn serve(&self) {
        if let Some(mut driver) = self.driver.try_lock() {
            driver.serve_functions();
        }
    }
}

impl<B: Bus> Clone for SharedPf<B> {
    fn clone(&self) -> Self {
        SharedPf {
            driver: self.driver.clone(),
            facts: self.facts,
        }
    }
}

impl<B: Bus> FrameBuffers for SharedPf<B> {
    fn frame_area(&self) -> FrameArea {
        self.driver.lock().frame_area()
    }

    fn take_buffers(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error> {
        self.driver.lock().take_buffers(len, into)
    }

    fn put_back(&mut self, buffer: u16) -> Result<(), Error> {
        self.driver.lock().put_back(buffer)
    }

    fn drop_buffer(&mut self, buffer: u16) -> Result<(), Error> {
        self.driver.lock().drop_buffer(buffer)
    }

    fn send_buffers(&mut self, frames: &[Outgoing]) -> (usize, Result<(), Error>) {
        self.driver.lock().send_buffers(frames)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.driver.lock().flush()
    }

    fn receive_pieces(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error> {
        self.driver.lock().receive_pieces(arm, max, take)
    }

    fn return_buffers(&mut self, buffers: &[u16]) -> Result<(), Error> {
        self.driver.lock().return_buffers(buffers)
    }

    fn fill_buffer(&mut self, buffer: u16, bytes: &[u8]) {
        self.driver.lock().fill_buffer(buffer, bytes);
    }

    fn read_received(&mut self, offset: usize, into: &mut [u8]) {
        self.driver.lock().read_received(offset, into);
    }
}

impl<B: Bus> Nic for SharedPf<B> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn state(&self) -> Result<Link, Error> {
        self.driver.lock().state()
    }

    fn statistics(&mut self, visit: &mut dyn FnMut(&str, u64)) {
        self.driver.lock().statistics(visit);
    }

    fn start(&mut self) -> Result<(), Error> {
        self.driver.lock().start()
    }

    fn stop(&mut self) {
        self.driver.lock().stop();
    }

    fn self_test(&mut self) -> Result<(), Error> {
        self.driver.lock().self_test()
    }

    fn set_filters(&mut self, filters: &Filters<'_>) -> Result<(), Error> {
        self.driver.lock().set_filters(filters)
    }

    fn on_interrupt(&mut self, message: Option<u16>) -> Option<Events> {
        self.driver.lock().on_interrupt(message)
    }

    fn tick(&mut self) -> Events {
        self.driver.lock().tick()
    }

    fn take_events(&mut self) -> Events {
        self.driver.lock().take_events()
    }

    fn has_received(&mut self) -> bool {
        self.driver.lock().has_received()
    }

    fn silence_receive(&mut self) {
        self.driver.lock().silence_receive();
    }

    fn send(&mut self, frame: &[u8], options: &SendOptions, more: bool) -> Result<(), Error> {
        self.driver.lock().send(frame, options, more)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, ReceiveInfo), Error> {
        self.driver.lock().receive(buffer)
    }
}
