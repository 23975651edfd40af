//! The exchange of frames by number: what an owner asks for in its exchange area, and what is done.
//!
//! The owner may write anything anywhere in the memory it is shown, at any time it runs. So each word of
//! the area is read once, and what it says is checked by who has the buffers ([`FrameBuffers`]): the
//! driver for a whole card, a [`super::tenant::Tenant`] for a part of one.

use super::memory::Shared;
use super::to_abi;
use crate::account::{Accounts, Counter};
use crate::runs::Runs;
use abi::account::Stage;
use abi::exchange::{self, Received, Send};
use abi::{Error, Result};
use nic::{BusAddr, FrameBuffers, Outgoing, Tail};

/// Bytes of a word.
const WORD: usize = 4;
/// Words of what the owner asks of an exchange.
const HEAD: usize = exchange::WAKE_WANTED + 1;
/// Frames, and buffers, that are handed on at once.
const SENT_AT_ONCE: usize = 16;
const RETURNED_AT_ONCE: usize = 32;

/// Does what the area asks for; returns how many pieces were received.
///
/// # Errors
/// Of what was returned, sent and received, the first; all else was done. [`Error::DeviceFailed`] if the
/// card does not work.
pub fn hand_over<M: Shared, B: FrameBuffers + ?Sized, C: Counter>(
    area: &mut M,
    buffers: &mut B,
    may_arm: bool,
    ramdisk: &Runs,
    accounts: &mut Accounts<C>,
) -> Result<usize> {
    let head: [u32; HEAD] = area.load_words(0);
    let asked = |word: usize, max: usize| (head[word] as usize).min(max);
    let returns = asked(exchange::RETURN_COUNT, exchange::RETURNS_MAX);
    let sends = asked(exchange::SEND_COUNT, exchange::SENDS_MAX);
    let small = asked(exchange::SMALL_WANTED, exchange::TAKEN_MAX);
    let large = asked(exchange::LARGE_WANTED, exchange::TAKEN_MAX - small);
    let receives = asked(exchange::RECEIVE_WANTED, exchange::RECEIVED_MAX);
    // A wake-up that brings nothing is any card's notification.
    let arm = head[exchange::ARM] != 0 && (may_arm || head[exchange::WAKE_WANTED] == 0);

    let returned = take_returned(area, buffers, returns);
    let sent = if sends + small + large > 0 {
        let receiving = accounts.enter(Stage::Send);
        let sent = send_all(area, buffers, sends, ramdisk);
        give_buffers(area, buffers, (small, large));
        accounts.back(receiving);
        sent
    } else {
        area.store_words(exchange::SENT * WORD, [0; 2]);
        Ok(())
    };
    let received = give_received(area, buffers, receives, arm);
    store(area, exchange::WOKEN, 0);
    returned.and(sent).and(received)
}

const _: () = assert!(exchange::WAKE_WANTED == exchange::ARM + 1);

/// Whether the owner, which goes to sleep after an exchange, is to be woken with frames.
#[inline]
pub fn expects_frames(area: &impl Shared) -> bool {
    let [arm, wanted] = area.load_words(exchange::ARM * WORD);
    arm != 0 && wanted != 0
}

/// Gives an owner that sleeps what has come since its exchange, as that asked; returns whether it is to
/// be told. With `arm`, if nothing has come, an interrupt will tell it.
#[inline]
pub fn give_to_sleeper<M: Shared, B: FrameBuffers + ?Sized>(
    area: &mut M,
    buffers: &mut B,
    arm: bool,
) -> bool {
    let wanted = load(area, exchange::WAKE_WANTED) as usize;
    // If the card fails, the next exchange will tell.
    let received = give_received(area, buffers, wanted.min(exchange::RECEIVED_MAX), arm);
    store(area, exchange::WOKEN, 1);
    // It is to be told if the card has failed, too.
    received != Ok(0)
}

/// Takes received buffers back. A number that is not the owner's ends it.
fn take_returned<M: Shared, B: FrameBuffers + ?Sized>(
    area: &M,
    buffers: &mut B,
    count: usize,
) -> Result<()> {
    let mut numbers = [0; RETURNED_AT_ONCE];
    let mut index = 0;
    while index < count {
        let some = &mut numbers[..RETURNED_AT_ONCE.min(count - index)];
        for number in &mut *some {
            *number = load(area, exchange::return_at(index)) as u16;
            index += 1;
        }
        buffers.return_buffers(some).map_err(to_abi)?;
    }
    Ok(())
}

/// Sends in order, until there is no room. A frame that cannot be sent is dropped, as if it were lost,
/// counted by who has the buffers, and the last such error told.
fn send_all<M: Shared, B: FrameBuffers + ?Sized>(
    area: &mut M,
    buffers: &mut B,
    count: usize,
    ramdisk: &Runs,
) -> Result<()> {
    let mut result = Ok(());
    let mut sent = 0;
    let mut refused_at = None;
    let mut frames = [Outgoing::default(); SENT_AT_ONCE];
    while sent < count {
        let mut read = 0;
        let mut bad = None;
        for frame in &mut frames[..SENT_AT_ONCE.min(count - sent)] {
            match read_send(area, sent + read, ramdisk) {
                Ok(send) => *frame = send,
                Err(why) => {
                    bad = Some(why);
                    break;
                }
            }
            read += 1;
        }
        let (taken, why) = buffers.send_buffers(&frames[..read]);
        sent += taken;
        let refused = match why {
            Ok(()) => bad,
            Err(nic::Error::WouldBlock) if refused_at != Some(sent) => {
                // With that, the card has got what was queued; some are done at once.
                refused_at = Some(sent);
                continue;
            }
            Err(nic::Error::WouldBlock) => break,
            Err(error) => Some((frames[taken].buffer, to_abi(error))),
        };
        if let Some((buffer, error)) = refused {
            result = Err(error);
            // Perhaps the buffer is not the owner's at all.
            let _ = buffers.drop_buffer(buffer);
            sent += 1;
        }
    }
    store(area, exchange::SENT, sent);
    if sent > 0 {
        buffers.flush().map_err(to_abi)?;
    }
    result
}

/// Gives buffers to send from, as many as there are.
fn give_buffers<M: Shared, B: FrameBuffers + ?Sized>(
    area: &mut M,
    buffers: &mut B,
    (small, large): (usize, usize),
) {
    let mut given = 0;
    if small + large > 0 {
        let memory = buffers.frame_area().memory;
        let mut numbers = [0; exchange::TAKEN_MAX];
        for (wanted, (_, len)) in [(small, memory.small), (large, memory.large)] {
            if wanted == 0 {
                continue;
            }
            // If they are too few, a wake-up follows. A card that fails has told so elsewhere.
            let some = &mut numbers[..wanted];
            let count = buffers.take_buffers(len as usize, some).unwrap_or(0);
            for &number in &some[..count] {
                store(area, exchange::taken_at(given), number.into());
                given += 1;
            }
        }
    }
    store(area, exchange::TAKEN, given);
}

/// Gives received frames; returns in how many pieces.
fn give_received<M: Shared, B: FrameBuffers + ?Sized>(
    area: &mut M,
    buffers: &mut B,
    wanted: usize,
    arm: bool,
) -> Result<usize> {
    let mut given = 0;
    let mut result = Ok(());
    if wanted > 0 {
        let received = buffers.receive_pieces(arm, wanted, &mut |piece| {
            let words = Received {
                buffer: piece.buffer,
                offset: piece.offset as u32,
                len: piece.len as u32,
                more: piece.more,
                continues: piece.continues,
                checksums_right: piece.info.header_checksum && piece.info.transport_checksum,
                vlan: piece.info.vlan,
            }
            .to_words();
            area.store_words(exchange::received_at(given) * WORD, words);
            given += 1;
        });
        result = received.map(drop).map_err(to_abi);
    }
    store(area, exchange::RECEIVED, given);
    result.map(|()| given)
}

/// A frame to send. Each word of it is read once, and none that means nothing. If its tail is none, its
/// buffer and why not.
#[inline]
fn read_send(
    area: &impl Shared,
    index: usize,
    ramdisk: &Runs,
) -> core::result::Result<Outgoing, (u16, Error)> {
    let first = exchange::send_at(index) * WORD;
    let brief @ [word, len]: [u32; Send::BRIEF] = area.load_words(first);
    if Send::is_brief(word) {
        return Ok(outgoing(Send::from_brief(brief), None));
    }
    let [work, offset, tail_len, spare] = area.load_words(first + Send::BRIEF * WORD);
    let send = Send::from_words([word, len, work, offset, tail_len, spare]);
    let tail = match send.tail {
        Some(tail) => Some(self::tail(ramdisk, tail).ok_or((send.buffer, Error::BadAddress))?),
        None => None,
    };
    Ok(outgoing(send, tail))
}

#[inline]
fn outgoing(send: Send, tail: Option<Tail>) -> Outgoing {
    Outgoing {
        buffer: send.buffer,
        len: send.len as usize,
        options: send.options,
        tail,
    }
}

fn load(area: &impl Shared, word: usize) -> u32 {
    let [value] = area.load_words(word * WORD);
    value
}

fn store(area: &mut impl Shared, word: usize, value: usize) {
    area.store_words(word * WORD, [value as u32]);
}

/// Where a card finds bytes of the ramdisk. That is where they are, behind an IOMMU, too.
fn tail(ramdisk: &Runs, (offset, len): (u32, u32)) -> Option<Tail> {
    let len = len as usize;
    let address = BusAddr(ramdisk.find(offset as usize, len)?);
    Some(Tail { address, len })
}

#[cfg(test)]
mod tests;
