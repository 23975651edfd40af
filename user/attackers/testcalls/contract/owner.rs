//! What the owner has, what it asks for, and what it expects.

use super::SOON;
use crate::testcalls::{Tally, exchanges};
use abi::Syscall;
use abi::exchange::{self, Received, SEND_WORDS, Send, WORDS};
use abi::ipc;
use abi::layout::nic_window;
use alloc::format;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::ptr::NonNull;
use core::time::Duration;
use programs::rawsend as raw;
use runtime::ipc::{Event, Message, mask};
use runtime::nic::{Card, Features, FrameMemory, MacAddress};
use runtime::{Error, Result, println, sys, time};

/// What the owner leaves in the words in which the kernel says what was done.
const UNSAID: u32 = 0xdead;
/// From where on a frame that comes back is the one that was sent.
const COPIED: usize = raw::HEADERS + 2;

/// What is asked for.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    pub returns: &'a [u16],
    pub sends: &'a [[u32; SEND_WORDS]],
    pub small: u32,
    pub large: u32,
    pub receive: u32,
    pub arm: bool,
    pub wake: u32,
}

/// All frames that there are, or else a wake-up.
pub const ARMED: Asked<'static> = Asked {
    returns: &[],
    sends: &[],
    small: 0,
    large: 0,
    receive: exchange::RECEIVED_MAX as u32,
    arm: true,
    wake: exchange::RECEIVED_MAX as u32,
};

impl<'a> Asked<'a> {
    pub fn returning(self, returns: &'a [u16]) -> Self {
        Asked { returns, ..self }
    }

    pub fn sending(self, sends: &'a [[u32; SEND_WORDS]]) -> Self {
        Asked { sends, ..self }
    }

    pub fn receiving(self, receive: u32) -> Self {
        Asked { receive, ..self }
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    result: Result<()>,
    sent: u32,
    taken: u32,
    pub received: u32,
    pub woken: u32,
}

/// That nothing was done, because nothing was asked for or could be.
pub const NOTHING: Answer = Answer {
    result: Ok(()),
    sent: 0,
    taken: 0,
    received: 0,
    woken: 0,
};

impl Answer {
    pub fn sent(self, count: usize) -> Self {
        let sent = count as u32;
        Answer { sent, ..self }
    }

    pub fn received(self, received: u32) -> Self {
        Answer { received, ..self }
    }

    /// It came with a wake-up.
    pub fn woken(self) -> Self {
        Answer { woken: 1, ..self }
    }

    pub fn refused(self, error: Error) -> Self {
        let result = Err(error);
        Answer { result, ..self }
    }
}

impl Tally {
    /// Counts what was answered, and prints it if it is not what is wanted.
    pub fn expect<T: PartialEq + Debug>(&mut self, what: &str, got: T, wanted: T) {
        if got == wanted {
            self.done += 1;
        } else {
            self.wrong += 1;
            println!("testcalls: {what}: {got:?}, and not {wanted:?}");
        }
    }
}

/// Who has the card.
pub struct Owner {
    card: Card,
    mac: MacAddress,
    pub features: Features,
    pub memory: FrameMemory,
    pub area: &'static mut [u32; WORDS],
    transmit: u64,
    receive: u64,
    /// Buffers to send from that are held.
    pub held: Vec<u16>,
    pub held_large: Vec<u16>,
    /// Frames that were sent.
    pub sent: u16,
    pub tally: Tally,
}

impl Owner {
    /// Gets the card, as soon as it is free and its link is up, and what it shows.
    pub fn new() -> Result<Self> {
        let mut tally = Tally::default();
        let mut nobodys = [0; WORDS];
        let got = sys::nic_exchange(exchanges::CARD, &mut nobodys);
        tally.expect("the card of another", got, Err(Error::BadHandle));
        let card = exchanges::attach()?;
        let number = card.number();
        let got = sys::nic_exchange(number, &mut nobodys);
        tally.expect("nothing is shown yet", got, Err(Error::InvalidArgument));
        while !card.info()?.link.up {
            time::sleep(Duration::from_millis(10))?;
        }
        let info = card.info()?;
        let (memory, window) = sys::nic_map(number)?;
        let again = sys::nic_map(number);
        tally.expect("shown once more", again, Ok((memory, window)));
        let [area, transmit, receive] = nic_window(window);
        for (what, to, wanted) in [
            (
                "what is received cannot be written",
                receive,
                Err(Error::BadAddress),
            ),
            ("what is to be sent can", transmit, Ok(window)),
        ] {
            let arguments = [number.into(), to, 0, 0];
            // SAFETY: no reference to these buffers exists.
            let got = unsafe { sys::enter_raw(Syscall::NicMap as u64, arguments) };
            tally.expect(what, got, wanted);
        }
        let area = NonNull::new(area as *mut [u32; WORDS]).ok_or(Error::BadAddress)?;
        // SAFETY: the area is mapped for as long as the card is attached, which is until this
        // process ends, and this is the only reference to it. The kernel writes to it in calls that
        // borrow it.
        let area = unsafe { &mut *area.as_ptr() };
        let said = area.iter().filter(|word| **word != 0).count();
        tally.expect("what another owner has left in the area", said, 0);
        Ok(Owner {
            card,
            mac: info.mac,
            features: info.features,
            memory,
            area,
            transmit,
            receive,
            held: Vec::new(),
            held_large: Vec::new(),
            sent: 0,
            tally,
        })
    }

    /// Writes down what is asked for.
    pub fn ask(&mut self, asked: Asked<'_>) {
        for (index, send) in asked.sends.iter().enumerate() {
            let at = exchange::send_at(index);
            self.area[at..at + SEND_WORDS].copy_from_slice(send);
        }
        for (index, buffer) in asked.returns.iter().enumerate() {
            self.area[exchange::return_at(index)] = (*buffer).into();
        }
        self.area[exchange::SEND_COUNT] = asked.sends.len() as u32;
        self.area[exchange::RETURN_COUNT] = asked.returns.len() as u32;
        self.area[exchange::SMALL_WANTED] = asked.small;
        self.area[exchange::LARGE_WANTED] = asked.large;
        self.area[exchange::RECEIVE_WANTED] = asked.receive;
        self.area[exchange::ARM] = asked.arm.into();
        self.area[exchange::WAKE_WANTED] = asked.wake;
        self.area[exchange::SENT..=exchange::WOKEN].fill(UNSAID);
    }

    /// Has it done.
    pub fn enter(&mut self) -> Answer {
        let result = sys::nic_exchange(self.card.number(), self.area);
        self.answer(result)
    }

    /// What the area says was done.
    pub fn answer(&self, result: Result<()>) -> Answer {
        Answer {
            result,
            sent: self.area[exchange::SENT],
            taken: self.area[exchange::TAKEN],
            received: self.area[exchange::RECEIVED],
            woken: self.area[exchange::WOKEN],
        }
    }

    /// An exchange that must be answered so.
    pub fn expect(&mut self, what: &str, asked: Asked<'_>, wanted: Answer) {
        self.ask(asked);
        let got = self.enter();
        self.tally.expect(what, got, wanted);
    }

    /// An exchange that must be answered so, and a wait, which must tell of frames or not.
    pub fn wait(
        &mut self,
        what: &str,
        asked: Asked<'_>,
        (longest, is_told): (Duration, bool),
        wanted: Answer,
    ) {
        self.ask(asked);
        let began = time::clock_ns();
        let mut bytes = [0; ipc::Received::SIZE];
        let card = (self.card.number(), &mut *self.area);
        let until = deadline(longest);
        let result = sys::wait_exchanging(mask::NIC_RECEIVE, until, &mut bytes, card);
        let got = self.answer(result.map(drop));
        self.tally.expect(what, got, wanted);
        if result.is_ok() {
            self.told(what, &bytes, is_told.then_some(mask::NIC_RECEIVE));
        }
        self.tally.expect("late", is_late(began), false);
    }

    /// What was asked for, and a wait, whatever it tells; and whether it took long.
    pub fn enter_wait(&mut self, longest: Duration) -> Result<(Answer, bool)> {
        let began = time::clock_ns();
        let mut bytes = [0; ipc::Received::SIZE];
        let card = (self.card.number(), &mut *self.area);
        sys::wait_exchanging(mask::NIC_RECEIVE, deadline(longest), &mut bytes, card)?;
        Ok((self.answer(Ok(())), is_late(began)))
    }

    /// A wait without an exchange, which must tell this or nothing.
    pub fn wait_only(
        &mut self,
        what: &str,
        bits: u32,
        longest: Duration,
        is_told: bool,
    ) -> Result<()> {
        let began = time::clock_ns();
        let mut bytes = [0; ipc::Received::SIZE];
        sys::wait_into(bits, deadline(longest), &mut bytes)?;
        self.told(what, &bytes, is_told.then_some(bits));
        self.tally.expect("late", is_late(began), false);
        Ok(())
    }

    fn told(&mut self, what: &str, bytes: &[u8; ipc::Received::SIZE], bits: Option<u32>) {
        let event = Event::read(bytes, &mut Message::default());
        let wanted = bits.map_or(Event::TimedOut, Event::Notification);
        self.tally.expect(what, event, Ok(wanted));
    }

    /// Takes what was told of frames that were received meanwhile.
    pub fn forget_what_was_told(&self) -> Result<()> {
        let mut bytes = [0; ipc::Received::SIZE];
        sys::wait_into(mask::NIC_RECEIVE, 0, &mut bytes).map(drop)
    }

    /// Takes buffers to send from: so many of both sizes, or else all that there are.
    pub fn take(&mut self, small: u32, large: u32) {
        let max = exchange::TAKEN_MAX as u32;
        let free_small = u32::from(self.memory.small.0) - self.held.len() as u32;
        let free_large = u32::from(self.memory.large.0) - self.held_large.len() as u32;
        let smalls = small.min(max).min(free_small);
        let taken = smalls + large.min(max - small.min(max)).min(free_large);
        let what = format!("{small} small buffers and {large} large ones");
        let asked = Asked {
            small,
            large,
            ..Asked::default()
        };
        self.expect(&what, asked, Answer { taken, ..NOTHING });
        let all = u32::from(self.memory.small.0) + u32::from(self.memory.large.0);
        for index in 0..taken {
            let number = self.area[exchange::taken_at(index as usize)];
            let is_small = number < self.memory.small.0.into();
            self.tally
                .expect("small ones first", is_small, index < smalls);
            let is_there = number < all;
            let number = number as u16;
            let is_held = self.held.contains(&number) || self.held_large.contains(&number);
            let said = (number, is_there, is_held);
            self.tally
                .expect("a buffer that was free", said, (number, true, false));
            match is_small {
                true => self.held.push(number),
                false => self.held_large.push(number),
            }
        }
    }

    /// The next frame, of which `copies` shall come back.
    pub fn frame(&mut self, copies: u8, delay_ms: u8) -> Result<Send> {
        if self.held.is_empty() {
            self.take(10, 0);
        }
        let buffer = self.held.pop().ok_or(Error::NoMemory)?;
        self.frame_in(buffer, copies, delay_ms)
    }

    /// The same, in this buffer.
    pub fn frame_in(&mut self, buffer: u16, copies: u8, delay_ms: u8) -> Result<Send> {
        let (offset, room) = self.memory.buffer(buffer).ok_or(Error::BadHandle)?;
        let frame = numbered(self.mac, self.sent, copies, delay_ms);
        assert!(frame.len() <= room, "a buffer of {room} bytes");
        let place = NonNull::new((self.transmit + offset as u64) as *mut u8);
        let place = place.ok_or(Error::BadAddress)?;
        // SAFETY: inside a buffer that is mapped and writable for as long as the card is attached,
        // and that is this process's until it is sent.
        let bytes = unsafe { core::slice::from_raw_parts_mut(place.as_ptr(), frame.len()) };
        bytes.copy_from_slice(&frame);
        self.sent += 1;
        Ok(Send {
            buffer,
            len: frame.len() as u32,
            ..Send::default()
        })
    }

    /// Sends frames, all of which are good.
    pub fn send(&mut self, what: &str, sends: &[Send]) {
        let sends: Vec<_> = sends.iter().map(|send| send.to_words()).collect();
        let asked = Asked::default().sending(&sends);
        self.expect(what, asked, NOTHING.sent(sends.len()));
    }

    /// Sends a frame of which `copies` shall come back, and waits until they have; its number.
    pub fn have_sent_back(&mut self, copies: u8) -> Result<u16> {
        let send = self.frame(copies, 0)?;
        self.send("a frame", &[send]);
        self.wait_until_there_are(copies)?;
        Ok(self.sent - 1)
    }

    /// Waits until so many frames have come that were not received.
    pub fn wait_until_there_are(&self, count: u8) -> Result<()> {
        while self.counter("rx_waiting")? != count.into() {
            time::sleep(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// What the driver has counted.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let counters = self.card.statistics()?;
        let mut named = counters.iter().filter(|one| one.name.as_str() == name);
        named.next().map(|one| one.value).ok_or(Error::NotFound)
    }

    /// Receives up to `wanted` pieces, of which `count` are there, all copies of frame `number`.
    pub fn receive(&mut self, (wanted, count): (u32, u32), number: u16) -> Vec<u16> {
        let what = format!("{wanted} received pieces");
        let asked = Asked::default().receiving(wanted);
        self.expect(&what, asked, NOTHING.received(count));
        self.received(number, Received::default())
    }

    /// The buffers of the pieces that were received last, which must be copies of this frame; the
    /// card has found out so much about them.
    pub fn received(&mut self, number: u16, found: Received) -> Vec<u16> {
        let mut buffers = Vec::new();
        let frame = numbered(self.mac, number, 0, 0);
        let count = self.area[exchange::RECEIVED] as usize;
        for index in 0..count.min(exchange::RECEIVED_MAX) {
            let at = exchange::received_at(index);
            let words = core::array::from_fn(|word| self.area[at + word]);
            let piece = Received::from_words(words);
            let wanted = Received {
                buffer: piece.buffer,
                offset: piece.offset,
                len: frame.len() as u32,
                ..found
            };
            self.tally.expect("a received piece", piece, wanted);
            let is_new = !buffers.contains(&piece.buffer);
            self.tally.expect("a buffer of its own", is_new, true);
            buffers.push(piece.buffer);
            let end = u64::from(piece.offset) + u64::from(piece.len);
            let place = NonNull::new((self.receive + u64::from(piece.offset)) as *mut u8);
            let Some(place) = place.filter(|_| end <= self.memory.receive_len.into()) else {
                self.tally.expect("the end of a piece", end, 0);
                continue;
            };
            // SAFETY: inside what is mapped for as long as the card is attached. The buffer is this
            // process's until it is returned, so nobody writes to it.
            let bytes = unsafe { core::slice::from_raw_parts(place.as_ptr(), piece.len as usize) };
            // Its head has other addresses, and how it was to be sent back.
            let (got, sent) = (bytes.get(COPIED..), frame.get(COPIED..));
            self.tally.expect("the bytes of a piece", got, sent);
        }
        buffers
    }

    /// Returns buffers, all of which are held.
    pub fn give_back(&mut self, returns: &[u16]) {
        let asked = Asked::default().returning(returns);
        self.expect("buffers returned", asked, NOTHING);
    }

    /// Returns those of the pieces that were received last.
    pub fn give_back_copies_of(&mut self, number: u16) {
        let pieces = self.received(number, Received::default());
        self.give_back(&pieces);
    }
}

/// A frame by its number, in lengths from the least to the longest.
fn numbered(mac: MacAddress, number: u16, copies: u8, delay_ms: u8) -> Vec<u8> {
    let size = 60 + usize::from(number) * 97 % 1455;
    let mut frame = raw::datagram(size, mac);
    let [high, low] = number.to_be_bytes();
    frame[raw::HEADERS..].fill(low);
    frame[raw::HEADERS..COPIED].copy_from_slice(&[copies, delay_ms]);
    frame[COPIED..COPIED + 2].copy_from_slice(&[high, low]);
    frame
}

/// Whether more time has passed than what comes soon, or a wait for what does not come, takes.
fn is_late(began: u64) -> bool {
    time::clock_ns() - began > SOON.as_nanos() as u64 / 2
}

fn deadline(longest: Duration) -> u64 {
    time::clock_ns() + longest.as_nanos() as u64
}
