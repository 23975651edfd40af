//! Frames in place: a card's owner is shown its buffers, and exchanges them by number.
//!
//! The owner may write anything anywhere in the memory it is shown, at any time it runs. So
//! each word of the exchange area is read once, and what it says is checked by the driver,
//! which knows who has which buffer.

use super::{Card, Nics, Processes, owned, to_abi, write};

use crate::dma::Arena;
use crate::kernel::Tsc;
use abi::account::Stage;
use abi::exchange::{self, Received, Send};
use abi::ipc::{Pid, wait};
use abi::layout::{NIC_MAX, NIC_RANGE_MAX, PAGE_SIZE, nic_window};
use abi::{Error, Result};
use core::ops::Range;
use kernel::account::Accounts;
use kernel::runs::Runs;
use kernel::space::Shown;
use nic::{BusAddr, FrameArea, Outgoing, Tail};
use x86_64::PhysAddr;

/// Bytes of a word.
const WORD: usize = 4;
/// Words of what the owner asks.
const HEAD: usize = exchange::ARM + 1;
/// Frames, and buffers, that the driver is told of at once.
const SENT_AT_ONCE: usize = 16;
const RETURNED_AT_ONCE: usize = 32;

impl Nics {
    /// `Syscall::NicMap`.
    pub fn map(&mut self, number: u64, pid: Pid, table: &mut Processes, to: u64) -> Result<u64> {
        let card = owned(&mut self.cards, number, pid)?;
        let frames = card.nic.frame_area();
        if !card.is_shown {
            card.show(&frames, pid, table)?;
        }
        write(table, pid, to, &frames.memory.to_bytes())?;
        let places = table.alive(pid)?.places;
        Ok(places.nic(card.number as u8))
    }

    /// `Syscall::NicExchange`; with `sleeps`, what comes before such a wait: an interrupt that
    /// the area asks for is asked for when the caller sleeps.
    pub fn exchange(
        &mut self,
        number: u64,
        (pid, sleeps): (Pid, bool),
        table: &mut Processes,
        accounts: &mut Accounts<Tsc>,
    ) -> Result<u64> {
        let Nics { cards, ramdisk, .. } = self;
        let card = owned(cards, number, pid)?;
        if !card.is_shown {
            return Err(Error::InvalidArgument);
        }
        let mut area = card.exchange.take().ok_or(Error::InvalidArgument)?;
        let result = card.hand_over(&mut area, !sleeps, ramdisk, accounts);
        card.exchange = Some(area);
        card.tell_own_events(table);
        result.map(|received| received as u64)
    }

    /// `pid` goes to sleep: with a card's number, if it has just exchanged with it, and so
    /// expects frames with the wake-up.
    pub fn sleeps(&mut self, pid: Pid, exchanged: Option<u64>) {
        for card in &mut self.cards {
            if card.owner == Some(pid) {
                let area = card.exchange.as_ref();
                let expects = exchanged == Some(card.number as u64)
                    && area.is_some_and(|area| load(area, exchange::ARM) != 0);
                card.wakes_with_frames = expects;
                card.is_unarmed = expects;
            }
        }
    }

    /// Whether somebody sleeps who no interrupt would tell of frames.
    pub fn is_unarmed(&self) -> bool {
        self.cards.iter().any(|card| card.is_unarmed)
    }

    /// Has those cards interrupt. Frames that came before wake their owner now.
    pub fn arm(&mut self, table: &mut Processes) {
        for card in &mut self.cards {
            if core::mem::take(&mut card.is_unarmed) && card.give_to_sleeper(true, table) {
                card.wake_up(table);
            }
        }
    }

    /// Prepares for [`Nics::poll`]: interrupts are for those who do not look. False if nobody
    /// sleeps who expects frames.
    pub fn silence(&mut self, table: &Processes) -> bool {
        let mut expected = false;
        for card in &mut self.cards {
            if card.has_sleeper(table) {
                // It may have been armed for a wait before this one.
                card.nic.silence_receive();
                card.is_unarmed = true;
                expected = true;
            }
        }
        expected
    }

    /// Looks whether frames have come; returns whether that woke somebody.
    pub fn poll(&mut self, table: &mut Processes) -> bool {
        let mut woke = false;
        for card in &mut self.cards {
            if card.is_unarmed && card.nic.has_received() && card.give_to_sleeper(false, table) {
                card.wake_up(table);
                woke = true;
            }
        }
        woke
    }
}

impl Card {
    /// Shows the owner the exchange area and the buffers.
    fn show(&mut self, frames: &FrameArea, pid: Pid, table: &mut Processes) -> Result<()> {
        let number = u8::try_from(self.number).ok().filter(|&n| n < NIC_MAX);
        let number = number.ok_or(Error::NotSupported)?;
        let longest = frames.transmit.len().max(frames.receive.len());
        if longest as u64 > NIC_RANGE_MAX {
            return Err(Error::NotSupported);
        }
        let area = self.exchange.as_mut().ok_or(Error::NoMemory)?;
        // Of the last owner's frames it has numbers and lengths.
        area.copy_in(0, &[0; PAGE_SIZE as usize]);
        let process = table.get_mut(pid).ok_or(Error::NotFound)?;
        let [area_at, transmit_at, receive_at] = nic_window(process.places.nic(number));
        let space = process.space.as_mut().ok_or(Error::NotFound)?;
        let shown = |address, memory: PhysAddr, len: usize, writable| Shown {
            address,
            memory: memory.as_u64(),
            len: len as u64,
            writable,
        };
        let (transmit, receive) = (&frames.transmit, &frames.receive);
        let at = |range: &Range<usize>| self.memory + range.start as u64;
        space.show([
            shown(area_at, area.physical(&(0..area.len())), area.len(), true),
            shown(transmit_at, at(transmit), transmit.len(), true),
            shown(receive_at, at(receive), receive.len(), false),
        ])?;
        self.is_shown = true;
        Ok(())
    }

    /// Does what the area asks for.
    fn hand_over(
        &mut self,
        area: &mut Arena,
        may_arm: bool,
        ramdisk: &Runs,
        accounts: &mut Accounts<Tsc>,
    ) -> Result<usize> {
        let head: [u32; HEAD] = area.load_all(0);
        let asked = |word: usize, max: usize| (head[word] as usize).min(max);
        let returns = asked(exchange::RETURN_COUNT, exchange::RETURNS_MAX);
        let sends = asked(exchange::SEND_COUNT, exchange::SENDS_MAX);
        let small = asked(exchange::SMALL_WANTED, exchange::TAKEN_MAX);
        let large = asked(exchange::LARGE_WANTED, exchange::TAKEN_MAX - small);
        let receives = asked(exchange::RECEIVE_WANTED, exchange::RECEIVED_MAX);
        let arm = may_arm && head[exchange::ARM] != 0;

        let returned = self.take_returned(area, returns);
        let sent = if sends + small + large > 0 {
            let receiving = accounts.enter(Stage::Send);
            let sent = self.send_all(area, sends, ramdisk);
            self.give_buffers(area, (small, large));
            accounts.back(receiving);
            sent
        } else {
            area.store_all(exchange::SENT * WORD, [0_u32; 2]);
            Ok(())
        };
        let received = self.give_received(area, receives, arm);
        store(area, exchange::WOKEN, 0);
        returned.and(sent).and(received)
    }

    /// Whether the owner sleeps and expects frames.
    fn has_sleeper(&self, table: &Processes) -> bool {
        let owner = self.owner.and_then(|owner| table.get(owner));
        let is_waiting = owner.is_some_and(|process| process.is_waiting());
        self.wakes_with_frames && is_waiting
    }

    /// Gives the owner, if he sleeps since his last exchange, what was received since; returns
    /// whether that was anything, of which he is to be told. With `arm`, an interrupt will tell
    /// him otherwise.
    pub(super) fn give_to_sleeper(&mut self, arm: bool, table: &Processes) -> bool {
        if !self.has_sleeper(table) {
            return false;
        }
        let Some(mut area) = self.exchange.take() else {
            return false;
        };
        let wanted = load(&area, exchange::WAKE_WANTED) as usize;
        // If the card fails, the next exchange will tell.
        let received = self.give_received(&mut area, wanted.min(exchange::RECEIVED_MAX), arm);
        store(&mut area, exchange::WOKEN, 1);
        self.exchange = Some(area);
        // It is to be told if the card has failed, too.
        received != Ok(0)
    }

    fn wake_up(&mut self, table: &mut Processes) {
        self.wakes_with_frames = false;
        self.is_unarmed = false;
        if let Some(owner) = self.owner {
            let _ = table.notify(owner, wait::NIC_RECEIVE, true);
        }
    }

    /// Takes received buffers back. A number that is not the owner's ends it.
    fn take_returned(&mut self, area: &Arena, count: usize) -> Result<()> {
        let mut numbers = [0; RETURNED_AT_ONCE];
        let mut index = 0;
        while index < count {
            let some = &mut numbers[..RETURNED_AT_ONCE.min(count - index)];
            for number in &mut *some {
                *number = load(area, exchange::return_at(index)) as u16;
                index += 1;
            }
            self.nic.return_buffers(some).map_err(to_abi)?;
        }
        Ok(())
    }

    /// Sends in order, until there is no room. A frame that cannot be sent is dropped, as if it
    /// were lost, counted by the driver, and the last such error told.
    fn send_all(&mut self, area: &mut Arena, count: usize, ramdisk: &Runs) -> Result<()> {
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
            let (taken, why) = self.nic.send_buffers(&frames[..read]);
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
                // Not his at all, perhaps.
                let _ = self.nic.drop_buffer(buffer);
                sent += 1;
            }
        }
        store(area, exchange::SENT, sent);
        if sent > 0 {
            self.nic.flush().map_err(to_abi)?;
        }
        result
    }

    /// Gives buffers to send from, as many as there are.
    fn give_buffers(&mut self, area: &mut Arena, (small, large): (usize, usize)) {
        let mut given = 0;
        if small + large > 0 {
            let memory = self.nic.frame_area().memory;
            let mut numbers = [0; exchange::TAKEN_MAX];
            for (wanted, (_, len)) in [(small, memory.small), (large, memory.large)] {
                if wanted == 0 {
                    continue;
                }
                // If they are too few, a wake-up follows. A card that fails has told so
                // elsewhere.
                let some = &mut numbers[..wanted];
                let count = self.nic.take_buffers(len as usize, some).unwrap_or(0);
                for &number in &some[..count] {
                    store(area, exchange::taken_at(given), number.into());
                    given += 1;
                }
            }
        }
        store(area, exchange::TAKEN, given);
    }

    /// Gives received frames; returns in how many pieces.
    fn give_received(&mut self, area: &mut Arena, wanted: usize, arm: bool) -> Result<usize> {
        let mut given = 0;
        let mut result = Ok(());
        if wanted > 0 {
            let received = self.nic.receive_pieces(arm, wanted, &mut |piece| {
                let words = Received {
                    buffer: piece.buffer,
                    offset: piece.offset as u32,
                    len: piece.len as u32,
                    more: piece.more,
                    continues: piece.continues,
                    checksums_right: piece.info.ipv4_checksum && piece.info.transport_checksum,
                    vlan: piece.info.vlan,
                }
                .to_words();
                area.store_all(exchange::received_at(given) * WORD, words);
                given += 1;
            });
            result = received.map(drop).map_err(to_abi);
        }
        store(area, exchange::RECEIVED, given);
        result.map(|()| given)
    }
}

/// A frame to send. Each word of it is read once, and none that means nothing. If its tail is
/// none, its buffer and why not.
#[inline]
fn read_send(
    area: &Arena,
    index: usize,
    ramdisk: &Runs,
) -> core::result::Result<Outgoing, (u16, Error)> {
    let first = exchange::send_at(index) * WORD;
    let brief @ [word, len]: [u32; Send::BRIEF] = area.load_all(first);
    if Send::is_brief(word) {
        return Ok(outgoing(Send::from_brief(brief), None));
    }
    let [work, offset, tail_len, spare] = area.load_all(first + Send::BRIEF * WORD);
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

fn load(area: &Arena, word: usize) -> u32 {
    area.load(word * WORD)
}

fn store(area: &mut Arena, word: usize, value: usize) {
    area.store(word * WORD, value as u32);
}

/// Where a card finds bytes of the ramdisk. Without an IOMMU that is where they are.
fn tail(ramdisk: &Runs, (offset, len): (u32, u32)) -> Option<Tail> {
    let len = len as usize;
    let address = BusAddr(ramdisk.find(offset as usize, len)?);
    Some(Tail { address, len })
}
