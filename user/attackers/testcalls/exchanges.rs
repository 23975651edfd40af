//! A card's owner that writes anything anywhere into what it shares with the kernel.

use super::{Abuser, Tally};
use abi::exchange::{self, WORDS};
use abi::ipc::{Received, wait};
use abi::layout::nic_window;
use abi::{Pid, Syscall};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::ptr::NonNull;
use core::time::Duration;
use runtime::ipc::{FOREVER, mask};
use runtime::nic::{Card, Filter, FrameMemory, Mapped};
use runtime::{Error, Result, ipc, println, sys, time};

/// The card that is owned.
pub(super) const CARD: u8 = 0;
/// The part that a tenant takes: frames to this address, at the card's station.
const OWN: Filter = Filter {
    station: None,
    ethertype: None,
    address: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 200))),
    protocol: None,
    port: None,
};
/// Tries to get it, 10 ms apart: the owner before may still be ending.
const TRIES: u32 = 500;

/// Takes the card, or a part of it, and makes `count` exchanges, half of them in waits.
///
/// # Errors
/// If the card cannot be had.
pub fn run(seed: u64, count: u32, is_tenant: bool) -> Result<Tally> {
    match is_tenant {
        true => Card::share(CARD, &mut [OWN])?,
        false => attach()?,
    };
    let (memory, window) = sys::nic_map(CARD)?;
    let mut owner = Owner {
        abuser: Abuser::new(seed, Vec::<Pid>::new()),
        memory,
        window,
        bytes: [0; Received::SIZE],
    };
    let mut tally = Tally::default();
    for _ in 0..count {
        tally.count(&owner.exchange()?);
    }
    Ok(tally)
}

/// The card, as soon as it can be had.
pub(super) fn attach() -> Result<Card> {
    let mut card = Card::attach(CARD);
    for _ in 0..TRIES {
        if card.is_ok() {
            break;
        }
        time::sleep(Duration::from_millis(10))?;
        card = Card::attach(CARD);
    }
    card
}

/// Takes all buffers of the card and gives none back; tells how many it has when no more come.
///
/// # Errors
/// If the card cannot be had.
pub fn hold() -> Result<()> {
    let mut card = Mapped::new(attach()?)?;
    let (mut free, mut received) = (Vec::new(), Vec::new());
    loop {
        card.exchange(true)?;
        free.extend(core::iter::from_fn(|| card.sending.take(60)));
        received.extend(core::iter::from_fn(|| card.receiving.take()));
        if card.receiving.is_armed() {
            println!(
                "testcalls: holds {} buffers and {} frames",
                free.len(),
                received.len()
            );
            ipc::wait(mask::NIC_RECEIVE, FOREVER)?;
            card.receiving.look_again();
        }
    }
}

struct Owner {
    abuser: Abuser,
    memory: FrameMemory,
    /// Where the exchange area and the buffers are, by [`nic_window`].
    window: u64,
    bytes: [u8; Received::SIZE],
}

impl Owner {
    /// One exchange; the outer result is whether the memory is where it should be.
    fn exchange(&mut self) -> Result<Result<u64>> {
        let [area, transmit, _] = nic_window(self.window);
        let area = NonNull::new(area as *mut u32).ok_or(Error::BadAddress)?;
        // SAFETY: words are below `WORDS`, so inside the area, which is mapped for as long as the
        // card is attached, and of which nobody here has a reference.
        let at = |word: usize| unsafe { area.add(word % WORDS) };
        for _ in 0..self.abuser.below(20) {
            let word = self.word();
            let value = match self.abuser.below(3) {
                // What the kernel has said itself: buffers that may be this process's.
                // SAFETY: as above.
                0 => unsafe { at(self.said()).read_volatile() },
                _ => self.value(),
            };
            // SAFETY: as above.
            unsafe { at(word).write_volatile(value) }
        }
        for word in exchange::SEND_COUNT..=exchange::WAKE_WANTED {
            let value = self.head();
            // SAFETY: as above.
            unsafe { at(word).write_volatile(value) }
        }
        let (small, small_len) = self.memory.small;
        if small > 0 && self.abuser.below(4) == 0 {
            let at = self
                .abuser
                .below(u64::from(small) * u64::from(small_len / 8))
                * 8;
            let value = self.abuser.next();
            let place = NonNull::new((transmit + at) as *mut u64).ok_or(Error::BadAddress)?;
            // SAFETY: inside the buffers to send from, which are mapped and writable for as long as
            // the card is attached; no reference to them exists here.
            unsafe { place.write_volatile(value) }
        }
        let (number, arguments) = match self.abuser.below(2) {
            0 => {
                let area = match self.abuser.below(8) {
                    0 => self.abuser.address(),
                    _ => area.as_ptr() as u64,
                };
                (Syscall::NicExchange, [CARD.into(), area, 0, 0])
            }
            _ => {
                let mask = self.abuser.next() as u32 & wait::NOTIFICATIONS;
                let deadline = time::clock_ns() + self.abuser.below(super::WAIT_NS);
                let to = self.bytes.as_mut_ptr() as u64;
                (
                    Syscall::Wait,
                    [mask.into(), deadline, to, u64::from(CARD) + 1],
                )
            }
        };
        Ok(self.abuser.enter(number as u64, arguments))
    }

    /// A word of the area: of the first frames and returned buffers more often than others.
    fn word(&mut self) -> usize {
        let (from, to) = match self.abuser.below(4) {
            0 => (0, WORDS),
            1 => (exchange::return_at(0), exchange::return_at(4)),
            _ => (exchange::send_at(0), exchange::send_at(4)),
        };
        from + self.abuser.below((to - from) as u64) as usize
    }

    /// A word in which the kernel tells of a buffer.
    fn said(&mut self) -> usize {
        match self.abuser.below(2) {
            0 => exchange::taken_at(self.abuser.below(8) as usize),
            _ => exchange::received_at(self.abuser.below(8) as usize),
        }
    }

    /// A word of the head: mostly a small count, so that much is done.
    fn head(&mut self) -> u32 {
        match self.abuser.below(16) {
            0 => self.value(),
            1..=7 => self.abuser.below(4) as u32,
            _ => 0,
        }
    }

    /// What a word may say: a count, a buffer with flags, a length, or anything.
    fn value(&mut self) -> u32 {
        let buffers = u64::from(self.memory.small.0) + u64::from(self.memory.large.0);
        match self.abuser.below(5) {
            0 => self.abuser.below(300) as u32,
            1 => (self.abuser.below(buffers + 2) | self.abuser.below(16) << 16) as u32,
            2 => self.abuser.below(70_000) as u32,
            3 => [0, 1, 14, 60, 1514, 1515, 0xffff, u32::MAX][self.abuser.below(8) as usize],
            _ => self.abuser.next() as u32,
        }
    }
}
