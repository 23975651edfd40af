//! What the kernel chooses about a card, and the map of the DMA arena that follows from it: all transmit
//! rings, all receive rings; then, on pages of their own, the buffers to send from, small and large, and
//! those of the receive rings.

use super::descriptor::SIZE;
use crate::{Error, FrameArea, FrameMemory};
use core::ops::RangeInclusive;

/// Entries in the card's MSI-X table.
pub const VECTORS: u16 = 10;
/// Entries of a VF's, and causes of all functions together.
pub const VF_VECTORS: u16 = 3;
pub const CAUSES: u16 = 25;
/// VFs that there can be beside the PF, which needs a pool, too; queues of a pool.
pub const VFS_MAX: usize = 7;
const POOL_QUEUES: usize = 2;
/// Bytes of a buffer of a receive ring, and of a small one to send from.
pub const BUFFER: usize = 2048;
/// Bytes of a large buffer to send from: a frame to be cut into segments, or a jumbo frame.
pub const LARGE: usize = 65_536;
/// What is shown to processes begins and ends on pages.
const PAGE: usize = 4096;
/// Queues of the card, for each direction.
pub const QUEUES: usize = 16;
/// Longest frame with a payload of 1500 bytes.
const FRAME_USUAL: usize = 1514;
/// Longest frame with a payload of 9000 bytes.
pub const FRAME_JUMBO: usize = 9014;
/// What the longest frame may be.
const FRAMES: RangeInclusive<usize> = FRAME_USUAL..=FRAME_JUMBO;
/// Descriptors of a ring: as the card allows, and few enough to walk through.
const RING: RangeInclusive<usize> = 16..=4096;
/// Buffers are named by 16 bits, one value of which means none.
const BUFFERS_MAX: usize = u16::MAX as usize;
/// Longest moderation interval, in microseconds (EITR, bits 14:2).
const MODERATION_MAX_US: u16 = 0x1fff;

/// How the card asks for attention. The kernel has set up its PCI capability accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptMode {
    /// Messages of their own for the parts of the card: vector 0 the link, 1 transmission, all
    /// others receive queues. With fewer than 3, the card has but one message, vector 0.
    MsiX {
        /// How many of the card's table the kernel has filled in, from 0 on; at most 10 count.
        vectors: u16,
    },
    /// One message.
    Msi,
    /// A line, which others may share.
    Intx,
}

/// What the kernel chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How the card interrupts.
    pub interrupts: InterruptMode,
    /// Queues in each direction, 1 to 16.
    pub queues: usize,
    /// Descriptors of each receive ring: a power of two from 16 to 4096.
    pub receive_ring: usize,
    /// Buffers of each receive ring, fewer than descriptors.
    pub receive_buffers: usize,
    /// Descriptors of each transmit ring: a power of two from 16 to 4096.
    pub transmit_ring: usize,
    /// Buffers of 2 KiB to send from, for all rings together.
    pub transmit_buffers: usize,
    /// Buffers of 64 KiB to send from, for all rings together; without any, the card cuts no
    /// segments.
    pub large_buffers: usize,
    /// Longest frame in bytes, checksum not included: 1514 to 9014.
    pub frame_max: usize,
    /// Least time between two interrupts of a receive vector, in microseconds, up to 8191; with
    /// MSI-X only. QEMU waits four times as long, and then interrupts for nothing.
    pub moderation_us: u16,
    /// Virtual functions that the physical one is the host of: 0 to 7. With any it has one pool of queues:
    /// 1 or 2 of them, and messages for the parts of the card. Frames with a VLAN tag then come from
    /// VLANs alone that were asked for, whatever the filters; of number 0 they always come.
    pub vfs: usize,
}

impl Config {
    /// All sixteen queues, rings of 256, with as many buffers as they take: an arena of 9.6 MiB.
    pub fn new(interrupts: InterruptMode) -> Self {
        Config {
            interrupts,
            queues: QUEUES,
            receive_ring: 256,
            receive_buffers: 255,
            transmit_ring: 256,
            transmit_buffers: 256,
            large_buffers: 16,
            frame_max: FRAME_USUAL,
            moderation_us: 0,
            vfs: 0,
        }
    }

    /// All queues, with fewer buffers: an arena of 5 MiB.
    pub fn medium(interrupts: InterruptMode) -> Self {
        Config {
            receive_buffers: 112,
            large_buffers: 8,
            ..Config::new(interrupts)
        }
    }

    /// One queue, with a receive ring of 1024: an arena of 3.6 MiB. QEMU lets a sender's frames wait while a
    /// ring is full, and then delivers all of them at once: 400 by nine connections with full windows.
    pub fn long(interrupts: InterruptMode) -> Self {
        Config {
            queues: 1,
            receive_ring: 1024,
            receive_buffers: 1023,
            ..Config::new(interrupts)
        }
    }

    /// One queue, rings of 256: an arena of 1 MiB.
    pub fn small(interrupts: InterruptMode) -> Self {
        Config {
            queues: 1,
            transmit_buffers: 128,
            large_buffers: 4,
            ..Config::new(interrupts)
        }
    }

    /// One queue, rings of 128: an arena of half a MiB, with which 7 MiB of memory do.
    pub fn least(interrupts: InterruptMode) -> Self {
        Config {
            receive_ring: 128,
            receive_buffers: 127,
            transmit_ring: 128,
            transmit_buffers: 64,
            large_buffers: 2,
            ..Config::small(interrupts)
        }
    }

    /// Bytes of DMA memory that the driver needs, if the configuration is sound.
    ///
    /// # Errors
    /// [`Error::BadConfig`].
    pub fn arena_size(&self) -> Result<usize, Error> {
        let ring =
            |descriptors: usize| RING.contains(&descriptors) && descriptors.is_power_of_two();
        let received = self.queues.saturating_mul(self.receive_buffers);
        let sent = self.transmit_buffers.saturating_add(self.large_buffers);
        let are_few = received.saturating_add(sent) <= BUFFERS_MAX;
        let are_fewer = (1..self.receive_ring).contains(&self.receive_buffers);
        // A frame fits into the buffers of a ring, and into one to send from.
        let hold_frame = self.receive_buffers.saturating_mul(BUFFER) >= self.frame_max;
        let holds_frame = self.large_buffers > 0 || self.frame_max <= BUFFER;
        let queues = if self.vfs == 0 { QUEUES } else { POOL_QUEUES };
        let sound = [
            (self.vfs <= VFS_MAX, "vfs"),
            (self.vfs == 0 || self.vectors() > 1, "interrupts"),
            ((1..=queues).contains(&self.queues), "queues"),
            (ring(self.receive_ring), "receive_ring"),
            (ring(self.transmit_ring), "transmit_ring"),
            (are_fewer && hold_frame, "receive_buffers"),
            (self.transmit_buffers >= 2 && are_few, "transmit_buffers"),
            (holds_frame, "large_buffers"),
            (FRAMES.contains(&self.frame_max), "frame_max"),
            (self.moderation_us <= MODERATION_MAX_US, "moderation_us"),
        ];
        if let Some(&(_, what)) = sound.iter().find(|(sound, _)| !sound) {
            return Err(Error::BadConfig { what });
        }
        Ok(self.frames().receive.end)
    }

    /// Offset of a transmit ring of a sound configuration.
    pub(crate) fn tx_ring(&self, queue: usize) -> usize {
        queue * self.transmit_ring * SIZE
    }

    /// Offset of a receive ring.
    pub(crate) fn rx_ring(&self, queue: usize) -> usize {
        self.tx_ring(self.queues) + queue * self.receive_ring * SIZE
    }

    /// What the card's owner is shown. No buffer crosses a page that need not.
    pub(crate) fn frames(&self) -> FrameArea {
        let transmit = self.rx_ring(self.queues).next_multiple_of(PAGE);
        let buffers = self.transmit_buffers * BUFFER + self.large_buffers * LARGE;
        let receive = (transmit + buffers).next_multiple_of(PAGE);
        let end = receive + self.queues * self.receive_buffers * BUFFER;
        let receive = receive..end.next_multiple_of(PAGE);
        FrameArea {
            memory: FrameMemory {
                small: (self.transmit_buffers as u16, BUFFER as u32),
                large: (self.large_buffers as u16, LARGE as u32),
                receive_len: receive.len() as u32,
            },
            transmit: transmit..receive.start,
            receive,
        }
    }

    /// Vectors in use.
    pub(crate) fn vectors(&self) -> u16 {
        match self.interrupts {
            // The VFs' vectors are the last of the card's 25 causes (§7.3.2.11).
            InterruptMode::MsiX { vectors } if vectors >= 3 => vectors
                .min(VECTORS)
                .min(CAUSES - VF_VECTORS * self.vfs.min(VFS_MAX) as u16),
            _ => 1,
        }
    }
}
