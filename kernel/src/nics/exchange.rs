//! Frames in place: a card's owner is shown its buffers, and exchanges them by number.
//!
//! The owner may write anything anywhere in the memory it is shown, at any time it runs. So
//! each word of the exchange area is read once, and what it says is checked by the driver,
//! which knows who has which buffer.

use super::{Card, Nics, Processes, owned, to_abi, write};

use crate::dma::Arena;
use crate::kernel::Tsc;
use abi::account::Stage;
use abi::exchange::{self, NicMemory, Received, Send};
use abi::ipc::Pid;
use abi::layout::{NIC_MAX, NIC_RANGE_MAX, PAGE_SIZE, nic_window};
use abi::{Error, Result};
use kernel::account::Accounts;
use kernel::runs::Runs;
use nic::{BusAddr, FrameMemory, Tail};

/// Bytes of a word.
const WORD: usize = 4;

impl Nics {
    /// `Syscall::NicMap`.
    pub fn map(&mut self, number: u64, pid: Pid, table: &mut Processes, to: u64) -> Result<u64> {
        let card = owned(&mut self.cards, number, pid)?;
        let memory = card.nic.frame_memory();
        if !card.is_shown {
            card.show(&memory, pid, table)?;
        }
        write(table, pid, to, &describe(&memory).to_bytes())?;
        Ok(0)
    }

    /// `Syscall::NicExchange`.
    pub fn exchange(
        &mut self,
        number: u64,
        pid: Pid,
        table: &mut Processes,
        accounts: &mut Accounts<Tsc>,
    ) -> Result<u64> {
        let Nics { cards, ramdisk, .. } = self;
        let card = owned(cards, number, pid)?;
        if !card.is_shown {
            return Err(Error::InvalidArgument);
        }
        let mut area = card.exchange.take().ok_or(Error::InvalidArgument)?;
        let result = card.hand_over(&mut area, ramdisk, accounts);
        card.exchange = Some(area);
        card.tell_own_events(table);
        result.map(|()| 0)
    }
}

fn describe(memory: &FrameMemory) -> NicMemory {
    let size = |(count, len): (u16, usize)| (count, len as u32);
    NicMemory {
        small: size(memory.small),
        large: size(memory.large),
        receive_len: memory.receive.len() as u32,
    }
}

impl Card {
    /// Shows the owner the exchange area and the buffers.
    fn show(&mut self, memory: &FrameMemory, pid: Pid, table: &mut Processes) -> Result<()> {
        let number = u8::try_from(self.number).ok().filter(|&n| n < NIC_MAX);
        let [area_at, transmit_at, receive_at] = nic_window(number.ok_or(Error::NotSupported)?);
        let longest = memory.transmit.len().max(memory.receive.len());
        if longest as u64 > NIC_RANGE_MAX {
            return Err(Error::NotSupported);
        }
        if self.exchange.is_none() {
            self.exchange = Arena::new(PAGE_SIZE as usize);
        }
        let area = self.exchange.as_mut().ok_or(Error::NoMemory)?;
        // Nothing of the last owner's frames shows in it but numbers; yet they are not his.
        area.copy_in(0, &[0; PAGE_SIZE as usize]);
        let process = table.get_mut(pid).ok_or(Error::NotFound)?;
        let space = process.space.as_mut().ok_or(Error::NotFound)?;
        space.show(area_at, area.physical(&(0..area.len())), PAGE_SIZE, true)?;
        for (at, range, writable) in [
            (transmit_at, &memory.transmit, true),
            (receive_at, &memory.receive, false),
        ] {
            let start = self.memory + range.start as u64;
            space.show(at, start, range.len() as u64, writable)?;
        }
        self.is_shown = true;
        Ok(())
    }

    /// Does what the area asks for.
    fn hand_over(
        &mut self,
        area: &mut Arena,
        ramdisk: &Runs,
        accounts: &mut Accounts<Tsc>,
    ) -> Result<()> {
        let asked = |word: usize, max: usize| (load(area, word) as usize).min(max);
        let returns = asked(exchange::RETURN_COUNT, exchange::RETURNS_MAX);
        let sends = asked(exchange::SEND_COUNT, exchange::SENDS_MAX);
        let small = asked(exchange::SMALL_WANTED, exchange::TAKEN_MAX);
        let large = asked(exchange::LARGE_WANTED, exchange::TAKEN_MAX - small);
        let receives = asked(exchange::RECEIVE_WANTED, exchange::RECEIVED_MAX);

        let returned = self.take_returned(area, returns);
        let receiving = accounts.enter(Stage::Send);
        let sent = self.send_all(area, sends, ramdisk);
        self.give_buffers(area, (small, large));
        accounts.back(receiving);
        let arm = load(area, exchange::ARM) != 0;
        let received = self.give_received(area, receives, arm);
        returned.and(sent).and(received)
    }

    /// Takes received buffers back. A number that is not the owner's ends it.
    fn take_returned(&mut self, area: &Arena, count: usize) -> Result<()> {
        for index in 0..count {
            let buffer = load(area, exchange::return_at(index)) as u16;
            self.nic.return_buffer(buffer).map_err(to_abi)?;
        }
        Ok(())
    }

    /// Sends in order, until there is no room. A frame that cannot be sent is dropped, as if it
    /// were lost, and the last such error told.
    fn send_all(&mut self, area: &mut Arena, count: usize, ramdisk: &Runs) -> Result<()> {
        let mut result = Ok(());
        let mut sent = 0;
        while sent < count {
            let first = exchange::send_at(sent);
            let words = core::array::from_fn(|word| load(area, first + word));
            let send = Send::from_words(words);
            match self.send_one(&send, ramdisk) {
                Ok(()) => {}
                Err(Error::WouldBlock) => break,
                Err(error) => {
                    result = Err(error);
                    // Not his at all, perhaps.
                    let _ = self.nic.drop_buffer(send.buffer);
                }
            }
            sent += 1;
        }
        store(area, exchange::SENT, sent);
        if sent > 0 {
            self.nic.flush().map_err(to_abi)?;
        }
        result
    }

    fn send_one(&mut self, send: &Send, ramdisk: &Runs) -> Result<()> {
        let options = nic::SendOptions {
            checksums: send.options.checksums,
            segment_size: send.options.segment_size,
            vlan: send.options.vlan,
        };
        let tail = match send.tail {
            Some(tail) => Some(self::tail(ramdisk, tail).ok_or(Error::BadAddress)?),
            None => None,
        };
        self.nic
            .send_buffer(send.buffer, send.len as usize, tail, &options)
            .map_err(to_abi)
    }

    /// Gives buffers to send from, as many as there are.
    fn give_buffers(&mut self, area: &mut Arena, (small, large): (usize, usize)) {
        let memory = self.nic.frame_memory();
        let mut given = 0;
        for (wanted, (_, len)) in [(small, memory.small), (large, memory.large)] {
            for _ in 0..wanted {
                let Ok(buffer) = self.nic.take_buffer(len) else {
                    // A wake-up follows. A card that fails has told so elsewhere.
                    break;
                };
                store(area, exchange::taken_at(given), buffer.into());
                given += 1;
            }
        }
        store(area, exchange::TAKEN, given);
    }

    /// Gives received frames.
    fn give_received(&mut self, area: &mut Arena, wanted: usize, arm: bool) -> Result<()> {
        let mut given = 0;
        let mut result = Ok(());
        while given < wanted {
            let piece = match self.nic.receive_piece(arm).map_err(to_abi) {
                Ok(piece) => piece,
                Err(Error::WouldBlock) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            let words = Received {
                buffer: piece.buffer,
                offset: piece.offset as u32,
                len: piece.len as u32,
                more: piece.more,
                checksums_right: piece.info.ipv4_checksum && piece.info.transport_checksum,
                vlan: piece.info.vlan,
            }
            .to_words();
            let first = exchange::received_at(given);
            for (word, value) in (first..).zip(words) {
                area.store(word * WORD, value);
            }
            given += 1;
        }
        store(area, exchange::RECEIVED, given);
        result
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
