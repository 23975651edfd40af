//! What a card is for the kernel, which drives it and may share it out.

use crate::error::Error;
use crate::in_place::{FrameArea, Outgoing, Piece, ReceiveInfo, Tail};
use abi::nic::{Features, Filters, Link, MacAddress, SendOptions};
use bitflags::bitflags;

bitflags! {
    /// What a card, or its driver, has to say to the kernel.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u32 {
        /// Frames may be waiting: call [`Nic::receive`] until it answers [`Error::WouldBlock`].
        const RECEIVE = 1 << 0;
        /// The transmit ring was full and has space again.
        const TRANSMIT_SPACE = 1 << 1;
        /// The link went up or down, or changed its speed: see [`Nic::state`].
        const LINK = 1 << 2;
    }
}

/// Buffers of frames, each of which one side holds at a time: who owns them all, and who sends from them and
/// receives into them. The owner is the driver of a card, or the kernel for a part of one; the other side is
/// called the caller here.
pub trait FrameBuffers {
    /// Where the buffers are.
    fn frame_area(&self) -> FrameArea;

    /// Gives the caller buffers for frames of `len` bytes, which it holds until it sends or drops them: as
    /// many as there is room for in `into`, or else all that are free. Returns how many. If they are fewer
    /// than asked for, an [`Events::TRANSMIT_SPACE`] follows, and all queued frames are on their way.
    ///
    /// # Errors
    /// [`Error::BadLength`] if no buffer is that long, [`Error::Stopped`], or what the hardware did; no
    /// buffer is given then.
    fn take_buffers(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error>;

    /// Takes a buffer back in which there is no frame, or a frame that is not lost by that.
    ///
    /// # Errors
    /// [`Error::BadBuffer`].
    fn put_back(&mut self, buffer: u16) -> Result<(), Error>;

    /// Takes a buffer back that will not be sent. A frame in it is dropped, and counted as `tx_dropped`.
    ///
    /// # Errors
    /// [`Error::BadBuffer`].
    fn drop_buffer(&mut self, buffer: u16) -> Result<(), Error>;

    /// Sends frames that were built in buffers, in order, until one fails; the card sends them from where
    /// they are. [`FrameBuffers::flush`] must follow. The buffers belong to the owner again. Returns how many
    /// frames were sent, and why the next was not, with the errors of [`Nic::send`] and
    /// [`Error::BadBuffer`]; its buffer stays with the caller.
    fn send_buffers(&mut self, frames: &[Outgoing]) -> (usize, Result<(), Error>);

    /// Has the queued frames sent: one doorbell for the batch.
    ///
    /// # Errors
    /// [`Error::Stopped`], or what the hardware did; the frames stay queued.
    fn flush(&mut self) -> Result<(), Error>;

    /// Receives frames that stay where the card has put them, and that the caller holds until
    /// [`FrameBuffers::return_buffers`]: up to `max` pieces, and `take` is told of each. A long frame may
    /// come in several pieces. Returns how many. If they are fewer, there are no more, and with `arm` an
    /// [`Events::RECEIVE`] follows; a card that would interrupt already need not be looked at, then. Without
    /// `arm` no event follows: the caller will look again.
    ///
    /// # Errors
    /// [`Error::Stopped`], or what the hardware did. The caller holds the pieces that it was told of.
    fn receive_pieces(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error>;

    /// Gives received pieces' buffers back to the card.
    ///
    /// # Errors
    /// [`Error::BadBuffer`] for the first that the caller does not hold: it and what follows stay where
    /// they are. Or what the hardware did.
    fn return_buffers(&mut self, buffers: &[u16]) -> Result<(), Error>;

    /// Copies bytes to the start of a buffer to send from, which the caller holds. What goes beyond its
    /// end, or into no buffer, is left out.
    fn fill_buffer(&mut self, buffer: u16, bytes: &[u8]);

    /// Copies bytes out of a received piece, from `offset` of [`FrameArea::receive`] on.
    fn read_received(&mut self, offset: usize, into: &mut [u8]);

    /// Gives one buffer, as [`FrameBuffers::take_buffers`] does.
    ///
    /// # Errors
    /// The errors of [`FrameBuffers::take_buffers`], and [`Error::WouldBlock`] if there is none.
    fn take_buffer(&mut self, len: usize) -> Result<u16, Error> {
        let mut buffer = [0];
        match self.take_buffers(len, &mut buffer)? {
            0 => Err(Error::WouldBlock),
            _ => Ok(buffer[0]),
        }
    }

    /// Sends one frame, as [`FrameBuffers::send_buffers`] does: the first `len` bytes of a buffer, and
    /// `tail` behind them.
    ///
    /// # Errors
    /// The errors of [`FrameBuffers::send_buffers`].
    fn send_buffer(
        &mut self,
        buffer: u16,
        len: usize,
        tail: Option<Tail>,
        options: &SendOptions,
    ) -> Result<(), Error> {
        let options = *options;
        let frame = Outgoing {
            buffer,
            len,
            options,
            tail,
        };
        self.send_buffers(&[frame]).1
    }

    /// Receives one piece, as [`FrameBuffers::receive_pieces`] does.
    ///
    /// # Errors
    /// The errors of [`FrameBuffers::receive_pieces`], and [`Error::WouldBlock`] if there is none.
    fn receive_piece(&mut self, arm: bool) -> Result<Piece, Error> {
        let mut taken = None;
        self.receive_pieces(arm, 1, &mut |piece| taken = Some(*piece))?;
        taken.ok_or(Error::WouldBlock)
    }

    /// Gives one received piece's buffer back, as [`FrameBuffers::return_buffers`] does.
    ///
    /// # Errors
    /// The errors of [`FrameBuffers::return_buffers`].
    fn return_buffer(&mut self, buffer: u16) -> Result<(), Error> {
        self.return_buffers(&[buffer])
    }
}

/// What never changes about a card.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The driver's name ("e100"), at most 8 bytes.
    pub name: &'static str,
    /// The station address.
    pub mac: MacAddress,
    /// Longest frame in bytes, header included and checksum not.
    pub frame_max: usize,
    /// Frames that fit into the transmit ring.
    pub transmit_ring: usize,
    /// Frames that fit into the receive ring.
    pub receive_ring: usize,
    /// What the card does by itself.
    pub features: Features,
}

/// A network card as the kernel drives it. Object safe.
///
/// A card is made stopped. It is started for an owner, and stopped at any time, for example because the
/// process that owned it died; then it is started again for the next owner. Except for [`Nic::start`],
/// [`Nic::stop`], [`Nic::tick`], [`Nic::self_test`] and [`Nic::statistics`], no call waits for the hardware
/// longer than a few microseconds unless the hardware is broken.
pub trait Nic: FrameBuffers {
    /// What never changes.
    fn facts(&self) -> &Facts;

    /// The link, as last seen by [`Nic::start`] or [`Nic::tick`].
    ///
    /// # Errors
    /// What broke a running card. All work fails so until [`Nic::tick`], which tries each time, has
    /// mended it; all events come when it breaks, and again when it works.
    fn state(&self) -> Result<Link, Error>;

    /// Visits each counter of the card and the driver: name (lower case, joined by underscores) and
    /// value since the driver was made.
    fn statistics(&mut self, visit: &mut dyn FnMut(&str, u64));

    /// Starts with empty rings and cleared buffers: the card receives, and interrupts. Nothing that the last
    /// owner has sent or received is left in [`FrameBuffers::frame_area`].
    ///
    /// # Errors
    /// What kept the card from starting; it is stopped then.
    fn start(&mut self) -> Result<(), Error>;

    /// Stops: no DMA, no interrupts; frames not yet sent or received are dropped. Cannot fail: a
    /// card that does not obey is left alone.
    fn stop(&mut self);

    /// Has a stopped card send a frame to itself, and leaves it stopped. May take seconds.
    ///
    /// # Errors
    /// [`Error::SelfTest`] if the frame did not come back; [`Error::Unsupported`], or what kept the
    /// card from starting.
    fn self_test(&mut self) -> Result<(), Error>;

    /// Chooses which frames are received besides those to the station and to all; stays across
    /// [`Nic::stop`] and [`Nic::start`].
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::TooMany`], [`Error::BadVlan`]; nothing is changed then.
    fn set_filters(&mut self, filters: &Filters<'_>) -> Result<(), Error>;

    /// To be called when the card sends this one of its messages (MSI, MSI-X), or when its line
    /// interrupts, which it may share. `None`: the card did not ask for attention. `Some`: it did, and its
    /// request is acknowledged.
    fn on_interrupt(&mut self, message: Option<u16>) -> Option<Events>;

    /// To be called about once a second: looks at the link, and after work that an interrupt should
    /// have announced.
    fn tick(&mut self) -> Events;

    /// An IOMMU has stopped DMA of the card. If that is at work, it does none from now on, and is reset at
    /// the next [`Nic::tick`].
    fn dma_stopped(&mut self);

    /// Takes the events that the calls for work found themselves, which no interrupt will announce.
    fn take_events(&mut self) -> Events;

    /// Whether a frame has come that was not taken. It looks at memory only, at what would not
    /// interrupt, so that it can be asked again and again.
    fn has_received(&mut self) -> bool;

    /// Takes back what `arm` of [`FrameBuffers::receive_pieces`] has asked for: a caller that asks
    /// [`Nic::has_received`] all the time wants no interrupts.
    fn silence_receive(&mut self);

    /// Copies one frame, Ethernet header first and without checksum, into the ring, and has it and
    /// all before it sent, unless `more` says that another call, or [`FrameBuffers::flush`], follows
    /// at once. The card does what the options ask for: see [`SendOptions`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if the ring is full (an [`Events::TRANSMIT_SPACE`] follows, and all
    /// queued frames are on their way), [`Error::BadLength`], [`Error::Unsupported`] for what
    /// [`Facts::features`] does not offer, [`Error::BadHeaders`], [`Error::BadVlan`],
    /// [`Error::Stopped`], or what the hardware did.
    fn send(&mut self, frame: &[u8], options: &SendOptions, more: bool) -> Result<(), Error>;

    /// Copies the next frame, without checksum, to the start of `buffer`. Returns its length in
    /// bytes, at most [`Facts::frame_max`], and what the card found out about it.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if there is none (an [`Events::RECEIVE`] follows),
    /// [`Error::BufferTooSmall`] (the frame is lost), [`Error::Stopped`], or what the hardware did.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, ReceiveInfo), Error>;
}
