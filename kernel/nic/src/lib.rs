//! NIC drivers as a safe library: one [`Bus`] below, one [`Nic`] above.
//!
//! ```text
//!    kernel: syscalls, notifications, the interrupt line
//!        |  dyn Nic            send, receive, on_interrupt, tick
//!    +---v-------------------------------------------------+
//!    |  e100: Intel 82559ER    (one folder per chip)       |   this crate: no unsafe,
//!    |  igb:  Intel 82576                                  |   runs under `cargo test`
//!    +---+-------------------------------------------------+
//!        |  Bus                registers, DMA arena, delay
//!    the machine (kernel glue)      or      model: software devices that act when they like
//! ```
//!
//! A driver touches the world only through [`Bus`]: registers by byte offset, descriptors by offset
//! into one DMA arena. It forms no reference into memory that a card may write. Once
//! made it allocates nothing; it blocks nowhere, and bounds every wait for the hardware.
//!
//! What only some cards do ([`Nic::features`]: checksums, segmentation, VLAN tags, filters) has
//! default methods that refuse, so that a simple chip is a simple driver.
//!
//! # Contract of the wake-ups
//!
//! [`Nic::receive`] that answers [`Error::WouldBlock`] promises an [`Events::RECEIVE`] when a frame
//! is there; [`Nic::send`] that answers [`Error::WouldBlock`] promises an
//! [`Events::TRANSMIT_SPACE`] when a part of the ring is free again. Until then the caller may
//! sleep: no wake-up is lost, though one may come for nothing. Events come from
//! [`Nic::on_interrupt`], from [`Nic::tick`], and from [`Nic::take_events`], which the kernel calls
//! after each batch of sends and receives, for what became true during those calls.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(test)]
mod alike;
pub mod e100;
pub mod igb;
mod in_place;
pub mod model;
mod pool;
mod refusals;
mod reserve;

pub use in_place::{FrameArea, Outgoing, Piece, ReceiveInfo, Tail};
pub use pool::Pool;
pub use refusals::Refusals;

use bitflags::bitflags;
use core::fmt;
use core::ops::Range;

pub use abi::nic::{Features, Filters, FrameMemory, Link, MacAddress, Segmentation, SendOptions};

/// An address as the card puts it on the bus, which need not be the processor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BusAddr(pub u64);

/// A driver's only way to the world: the registers of one card, and one DMA arena.
///
/// Registers are named by byte offset into the card's register window and are never cached or
/// merged. The arena is memory that the card may read and write at any moment; it is contiguous on
/// the bus, zeroed at first, and named by byte offset. Multi-byte values in it are little-endian.
///
/// Accesses to registers reach the card in program order, and no load from the arena is earlier than
/// an access to a register before it. But a [`Bus::fence`] is needed where a store to the arena must
/// be visible before a later store to the arena or write to a register, and where a load must not pass
/// an earlier load. Offsets that are out of range or not aligned to the access are
/// bugs of the driver: an implementation panics on them.
pub trait Bus {
    /// Reads an 8-bit register.
    fn read8(&mut self, register: u32) -> u8;
    /// Reads a 16-bit register.
    fn read16(&mut self, register: u32) -> u16;
    /// Reads a 32-bit register.
    fn read32(&mut self, register: u32) -> u32;
    /// Writes an 8-bit register.
    fn write8(&mut self, register: u32, value: u8);
    /// Writes a 16-bit register.
    fn write16(&mut self, register: u32, value: u16);
    /// Writes a 32-bit register.
    fn write32(&mut self, register: u32, value: u32);

    /// Length of the arena in bytes.
    fn arena_len(&self) -> usize;
    /// Where the card finds the byte at `offset`.
    fn bus_addr(&self, offset: usize) -> BusAddr;
    /// Loads 16 bits, once and whole.
    fn load16(&mut self, offset: usize) -> u16;
    /// Loads 32 bits, once and whole.
    fn load32(&mut self, offset: usize) -> u32;
    /// Stores 16 bits, once and whole, leaving the neighbouring bytes to the card.
    fn store16(&mut self, offset: usize, value: u16);
    /// Stores 32 bits, once and whole.
    fn store32(&mut self, offset: usize, value: u32);
    /// Loads pairs of 32 bits from an offset that is a multiple of 8, the first of each in the low
    /// half. The card may write between any two of them.
    fn load_quads<const N: usize>(&mut self, offset: usize) -> [u64; N] {
        core::array::from_fn(|index| {
            let offset = offset + 8 * index;
            let low = self.load32(offset);
            u64::from(low) | u64::from(self.load32(offset + 4)) << 32
        })
    }
    /// Stores pairs of 32 bits, in order, as [`Bus::load_quads`] loads them. The card may see any of
    /// them before the next.
    fn store_quads<const N: usize>(&mut self, offset: usize, quads: [u64; N]) {
        for (quad, offset) in quads.into_iter().zip((offset..).step_by(8)) {
            self.store32(offset, quad as u32);
            self.store32(offset + 4, (quad >> 32) as u32);
        }
    }
    /// Stores at `to`, as [`Bus::store_quads`] does, what it loads at `from`, which does not overlap.
    fn copy_quads<const N: usize>(&mut self, from: usize, to: usize) {
        let quads: [u64; N] = self.load_quads(from);
        self.store_quads(to, quads);
    }
    /// Copies `bytes` into the arena.
    fn copy_in(&mut self, offset: usize, bytes: &[u8]);
    /// Fills `bytes` from the arena.
    fn copy_out(&mut self, offset: usize, bytes: &mut [u8]);
    /// Clears the arena from `range.start` to before `range.end`.
    fn clear(&mut self, range: Range<usize>) {
        const ZEROS: [u8; 2048] = [0; 2048];
        for offset in range.clone().step_by(ZEROS.len()) {
            let len = ZEROS.len().min(range.end - offset);
            self.copy_in(offset, &ZEROS[..len]);
        }
    }
    /// Orders arena accesses: those before it are done, as the card sees it, before those after it.
    fn fence(&mut self);

    /// Waits at least `us` microseconds.
    fn delay_us(&mut self, us: u32);
}

bitflags! {
    /// What a card, or its driver, has to say to the kernel.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u32 {
        /// Frames may be waiting: call [`Nic::receive`] until it answers [`Error::WouldBlock`].
        const RECEIVE = 1 << 0;
        /// The transmit ring was full and has space again.
        const TRANSMIT_SPACE = 1 << 1;
        /// The link went up or down, or changed its speed: see [`Nic::link`].
        const LINK = 1 << 2;
    }
}

/// Why a driver did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Nothing to receive, or no room to send; the matching event follows.
    WouldBlock,
    /// A frame of no bytes, or longer than [`Nic::frame_max`]; refused.
    BadLength {
        /// What was asked for, in bytes.
        len: usize,
    },
    /// The next frame is longer than the buffer; it was dropped and counted.
    BufferTooSmall {
        /// Length of the frame, in bytes.
        len: usize,
    },
    /// No buffer of that number is held by the caller.
    BadBuffer {
        /// The number.
        buffer: u16,
    },
    /// The card, or its driver, does not do this at all: see [`Nic::features`].
    Unsupported,
    /// The headers of the frame are not those that the card needs to send it as asked; refused.
    BadHeaders,
    /// A filter has no room for so many addresses.
    TooMany {
        /// What was asked for.
        count: usize,
        /// What there is room for.
        max: usize,
    },
    /// The frame comes from a station or an address that is not its sender's.
    BadSource,
    /// A VLAN number above 4094.
    BadVlan {
        /// The number.
        vlan: u16,
    },
    /// The configuration asks for what the card does not have.
    BadConfig {
        /// The field.
        what: &'static str,
    },
    /// There is no memory for what the driver keeps.
    NoMemory,
    /// The driver is stopped: see [`Nic::start`].
    Stopped,
    /// Reads return all ones: the card is gone from the bus, or its window is not enabled.
    DeviceGone,
    /// The card did not come out of reset.
    ResetTimeout,
    /// The card did not take a command of its control block.
    CommandTimeout {
        /// The command byte that stayed.
        command: u8,
    },
    /// The card took a command block but did not complete it.
    BlockTimeout {
        /// The command field of the block.
        command: u16,
    },
    /// A ring did not start.
    QueueTimeout {
        /// Its number.
        queue: u8,
    },
    /// The card wrote a descriptor that cannot be, for example longer than its buffer.
    BadDescriptor {
        /// The ring's number.
        queue: u8,
        /// The length in it, in bytes.
        len: usize,
    },
    /// The card claims a place outside its ring.
    BadHead {
        /// The ring's number.
        queue: u8,
        /// The place.
        head: u32,
    },
    /// A frame that the card sent to itself did not come back as it was.
    SelfTest,
    /// No serial EEPROM answers.
    NoEeprom,
    /// The words of the EEPROM do not add up to 0xbaba.
    EepromChecksum {
        /// What they add up to.
        found: u16,
    },
    /// The EEPROM holds a station address that no station may have (all zeros, or a group).
    BadMacAddress {
        /// The address.
        found: MacAddress,
    },
    /// The card's address registers hold another address than its EEPROM.
    MacMismatch {
        /// What the registers hold.
        registers: MacAddress,
        /// What the EEPROM holds.
        eeprom: MacAddress,
    },
    /// The transceiver did not answer over the management interface.
    MdiTimeout,
    /// The DMA arena is too small.
    ArenaTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        found: usize,
    },
    /// The DMA arena is not where this card can reach it.
    ArenaUnreachable {
        /// Where it starts.
        start: BusAddr,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::WouldBlock => f.write_str("would block: wait for the event, then try again"),
            Error::BadLength { len } => write!(
                f,
                "a frame of {len} bytes cannot be sent: send at least 1 and at most frame_max bytes"
            ),
            Error::BufferTooSmall { len } => write!(
                f,
                "a frame of {len} bytes was dropped: receive into a buffer of frame_max bytes"
            ),
            Error::BadBuffer { buffer } => write!(
                f,
                "buffer {buffer} is not held: send and return only buffers that were taken"
            ),
            Error::Unsupported => {
                f.write_str("this card does not do that: ask for its features first")
            }
            Error::BadHeaders => f.write_str(
                "the frame's headers do not allow what was asked: send it without offload",
            ),
            Error::TooMany { count, max } => write!(
                f,
                "the filter has room for {max} addresses, not for {count}: ask for all of them"
            ),
            Error::BadSource => f.write_str("the frame's source is not its sender's"),
            Error::BadVlan { vlan } => {
                write!(f, "there is no VLAN {vlan}: choose one from 0 to 4094")
            }
            Error::BadConfig { what } => {
                write!(f, "the card cannot be configured so: mend `{what}`")
            }
            Error::NoMemory => f.write_str("there is no memory for its driver: start with more"),
            Error::Stopped => f.write_str("the card is stopped: start it first"),
            Error::DeviceGone => f.write_str(
                "the card reads as all ones: check that it is plugged in and its BAR is enabled",
            ),
            Error::ResetTimeout => {
                f.write_str("the card did not come out of reset: power it off and on")
            }
            Error::CommandTimeout { command } => write!(
                f,
                "the card did not take command {command:#04x}: stop it and start it again"
            ),
            Error::BlockTimeout { command } => write!(
                f,
                "the card did not complete command block {command:#06x}: \
                 check that bus mastering is on, then stop it and start it again"
            ),
            Error::QueueTimeout { queue } => write!(
                f,
                "ring {queue} of the card did not start: stop the card and start it again"
            ),
            Error::BadDescriptor { queue, len } => write!(
                f,
                "the card wrote a descriptor of {len} bytes to ring {queue}, which cannot be: \
                 it is reset"
            ),
            Error::BadHead { queue, head } => write!(
                f,
                "the card claims to be at {head} in ring {queue}, which is outside: it is reset"
            ),
            Error::SelfTest => f.write_str(
                "a frame the card sent to itself did not come back: do not trust this card",
            ),
            Error::NoEeprom => {
                f.write_str("no EEPROM answers: check its wiring, or give the address by hand")
            }
            Error::EepromChecksum { found } => write!(
                f,
                "the EEPROM adds up to {found:#06x}, not 0xbaba: rewrite it with the maker's tool"
            ),
            Error::BadMacAddress { found } => write!(
                f,
                "the EEPROM's station address {found:02x?} is not one station's: \
                 rewrite it with the maker's tool"
            ),
            Error::MacMismatch { registers, eeprom } => write!(
                f,
                "the card's address is {registers:02x?}, its EEPROM's {eeprom:02x?}: \
                 rewrite it with the maker's tool"
            ),
            Error::MdiTimeout => {
                f.write_str("the transceiver does not answer: stop the card and start it again")
            }
            Error::ArenaTooSmall { needed, found } => write!(
                f,
                "the DMA arena has {found} bytes: allocate {needed} contiguous bytes"
            ),
            Error::ArenaUnreachable { start } => write!(
                f,
                "the card cannot reach the DMA arena at {:#x}: allocate it below 4 GiB",
                start.0
            ),
        }
    }
}

impl core::error::Error for Error {}

/// Buffers of frames, each of which one side holds at a time: whoever has them all, which is the driver of
/// a card, or the kernel for a part of one; and whoever sends from them and receives into them.
pub trait FrameBuffers {
    /// Where the frames are that [`FrameBuffers::take_buffer`] and [`FrameBuffers::receive_piece`] give away.
    fn frame_area(&self) -> FrameArea;

    /// Gives buffers for frames of `len` bytes to the caller, who has each until it is sent or
    /// dropped: as many as there is room for in `into`, or else all that are free. Says how many.
    /// If they are fewer, an [`Events::TRANSMIT_SPACE`] follows, and all queued frames are on their
    /// way.
    ///
    /// # Errors
    /// [`Error::BadLength`] if none is that long, [`Error::Stopped`], or what the hardware did; none
    /// is given then.
    fn take_buffers(&mut self, len: usize, into: &mut [u16]) -> Result<usize, Error>;

    /// Gives one buffer, as [`FrameBuffers::take_buffers`] does.
    ///
    /// # Errors
    /// Those of it, and [`Error::WouldBlock`] if there is none.
    fn take_buffer(&mut self, len: usize) -> Result<u16, Error> {
        let mut buffer = [0];
        match self.take_buffers(len, &mut buffer)? {
            0 => Err(Error::WouldBlock),
            _ => Ok(buffer[0]),
        }
    }

    /// Takes a buffer back in which there is no frame, or one that is not lost by that.
    ///
    /// # Errors
    /// [`Error::BadBuffer`].
    fn put_back(&mut self, buffer: u16) -> Result<(), Error>;

    /// Takes a buffer back that will not be sent: its frame, if there is one in it, is dropped, and
    /// counted as `tx_dropped`.
    ///
    /// # Errors
    /// [`Error::BadBuffer`].
    fn drop_buffer(&mut self, buffer: u16) -> Result<(), Error>;

    /// Sends frames that were built in buffers, in order, until one fails; the card sends them from
    /// where they are. [`FrameBuffers::flush`] must follow, as after [`Nic::send_with`] with `more`. The
    /// buffers belong to the driver again. Returns how many frames were sent, and why the next was
    /// not; its buffer stays with the caller.
    fn send_buffers(&mut self, frames: &[Outgoing]) -> (usize, Result<(), Error>);

    /// Sends one frame that was built in the first `len` bytes of a buffer, and goes on behind
    /// `tail`.
    ///
    /// # Errors
    /// Those of [`Nic::send_with`], [`Error::BadBuffer`]; the buffer stays the caller's.
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

    /// Receives frames that stay where the card has put them, and that are the caller's until
    /// [`FrameBuffers::return_buffers`]: up to `max` pieces, and `take` is told of each. A
    /// long frame may come in several. Returns how many. If they are fewer, there are no more, and
    /// with `arm` an [`Events::RECEIVE`] follows; a card that would interrupt already need not be
    /// looked at, then. Without it no wake-up is asked for: the caller will look again.
    ///
    /// # Errors
    /// [`Error::Stopped`], or what the hardware did. Pieces that were told are the caller's.
    fn receive_pieces(
        &mut self,
        arm: bool,
        max: usize,
        take: &mut dyn FnMut(&Piece),
    ) -> Result<usize, Error>;

    /// One piece, as [`FrameBuffers::receive_pieces`] tells it.
    ///
    /// # Errors
    /// Those of it, and [`Error::WouldBlock`] if there is none.
    fn receive_piece(&mut self, arm: bool) -> Result<Piece, Error> {
        let mut taken = None;
        self.receive_pieces(arm, 1, &mut |piece| taken = Some(*piece))?;
        taken.ok_or(Error::WouldBlock)
    }

    /// Gives received pieces' buffers back to the card.
    ///
    /// # Errors
    /// [`Error::BadBuffer`] for the first that is not the caller's: it and what follows stay where
    /// they are. Or what the hardware did.
    fn return_buffers(&mut self, buffers: &[u16]) -> Result<(), Error>;

    /// Gives one received piece's buffer back.
    ///
    /// # Errors
    /// Those of [`FrameBuffers::return_buffers`].
    fn return_buffer(&mut self, buffer: u16) -> Result<(), Error> {
        self.return_buffers(&[buffer])
    }

    /// Has the frames sent that are queued: one doorbell for the batch.
    ///
    /// # Errors
    /// [`Error::Stopped`], or what the hardware did; the frames stay queued.
    fn flush(&mut self) -> Result<(), Error>;

    /// Copies bytes to the start of a buffer to send from, which the caller holds. What goes beyond its
    /// end, or into no buffer, is left out.
    fn fill_buffer(&mut self, buffer: u16, bytes: &[u8]);

    /// Copies bytes out of a received piece, from `offset` of [`FrameArea::receive`] on.
    fn read_received(&mut self, offset: usize, into: &mut [u8]);
}

/// A network card as the kernel drives it. Object safe.
///
/// A card is made stopped. `start`, then `send`, `receive` and the interrupt; `stop` at any time,
/// for example because the process that owned the card died; then `start` again for the next one.
/// Except for `start`, `stop`, `tick` and `statistics`, no call waits for the hardware longer than
/// a few microseconds unless the hardware is broken.
pub trait Nic: FrameBuffers {
    /// The driver's name ("e100"), at most 8 bytes.
    fn name(&self) -> &'static str;

    /// The station address.
    fn mac(&self) -> MacAddress;

    /// The link, as last seen by [`Nic::start`] or [`Nic::tick`].
    fn link(&self) -> Link;

    /// What broke a running card. All work fails so until [`Nic::tick`], which tries each time, has
    /// mended it; all events come when it breaks, and again when it works.
    fn fault(&self) -> Option<Error>;

    /// Longest frame in bytes, header included and checksum not.
    fn frame_max(&self) -> usize;

    /// Frames that fit into the transmit ring.
    fn transmit_ring(&self) -> usize;

    /// Frames that fit into the receive ring.
    fn receive_ring(&self) -> usize;

    /// Starts with empty rings and cleared buffers: receives, and interrupts. Nothing that the last
    /// owner has sent or received is left in [`FrameBuffers::frame_area`].
    ///
    /// # Errors
    /// What kept the card from starting; it is stopped then.
    fn start(&mut self) -> Result<(), Error>;

    /// Stops: no DMA, no interrupts; frames not yet sent or received are dropped. Cannot fail: a
    /// card that does not obey is left alone.
    fn stop(&mut self);

    /// Copies one frame, Ethernet header first and without checksum, into the ring, and has it and
    /// all before it sent, unless `more` says that another call, or [`FrameBuffers::flush`], follows at once.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if the ring is full (an [`Events::TRANSMIT_SPACE`] follows, and all
    /// queued frames are on their way), [`Error::BadLength`], [`Error::Stopped`], or what the
    /// hardware did.
    fn send(&mut self, frame: &[u8], more: bool) -> Result<(), Error>;

    /// Copies the next frame, without checksum, to the start of `buffer` and returns its length in
    /// bytes, at most [`Nic::frame_max`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if there is none (an [`Events::RECEIVE`] follows),
    /// [`Error::BufferTooSmall`] (the frame is lost), [`Error::Stopped`], or what the hardware did.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Error>;

    /// Whether a frame has come that was not taken. It looks at memory only, at what would not
    /// interrupt, so that it can be asked again and again.
    fn has_received(&mut self) -> bool;

    /// Takes back what `arm` of [`FrameBuffers::receive_pieces`] has asked for: who asks
    /// [`Nic::has_received`] all the time wants no interrupts.
    fn silence_receive(&mut self);

    /// To be called when the card's line, which it may share, interrupts. `None`: the card did not
    /// ask. `Some`: it did, and its request is acknowledged.
    fn on_interrupt(&mut self) -> Option<Events>;

    /// To be called about once a second: looks at the link, and after work that an interrupt should
    /// have announced.
    fn tick(&mut self) -> Events;

    /// Takes the events that `send`, `flush` and `receive` found themselves, which no interrupt
    /// will announce.
    fn take_events(&mut self) -> Events;

    /// What the card does by itself. Nothing, unless a driver says otherwise.
    fn features(&self) -> Features {
        Features::default()
    }

    /// As [`Nic::send`], with work for the card: see [`SendOptions`].
    ///
    /// # Errors
    /// Those of [`Nic::send`]; [`Error::Unsupported`] for what [`Nic::features`] does not offer,
    /// [`Error::BadHeaders`], [`Error::BadVlan`].
    fn send_with(&mut self, frame: &[u8], options: &SendOptions, more: bool) -> Result<(), Error> {
        if *options == SendOptions::default() {
            self.send(frame, more)
        } else {
            Err(Error::Unsupported)
        }
    }

    /// As [`Nic::receive`], with what the card found out about the frame.
    ///
    /// # Errors
    /// Those of [`Nic::receive`].
    fn receive_with(&mut self, buffer: &mut [u8]) -> Result<(usize, ReceiveInfo), Error>;

    /// To be called when the card sends the message `vector` of its own (MSI-X), which tells which
    /// part of it asks. Otherwise as [`Nic::on_interrupt`].
    fn on_vector(&mut self, vector: u16) -> Option<Events> {
        let _ = vector;
        self.on_interrupt()
    }

    /// Chooses which frames are received besides those to the station and to all; stays across
    /// [`Nic::stop`] and [`Nic::start`].
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::TooMany`], [`Error::BadVlan`]; nothing is changed then.
    fn set_filters(&mut self, filters: &Filters) -> Result<(), Error> {
        let _ = filters;
        Err(Error::Unsupported)
    }

    /// Has a stopped card send a frame to itself, and leaves it stopped. May take seconds.
    ///
    /// # Errors
    /// [`Error::SelfTest`] if the frame did not come back; [`Error::Unsupported`], or what kept the
    /// card from starting.
    fn self_test(&mut self) -> Result<(), Error> {
        Err(Error::Unsupported)
    }

    /// Visits each counter of the card and the driver: name (lower case, joined by underscores) and
    /// value since the driver was made.
    fn statistics(&mut self, visit: &mut dyn FnMut(&str, u64));
}

#[cfg(test)]
mod tests;
