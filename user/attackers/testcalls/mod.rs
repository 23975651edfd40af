//! System calls with arguments that no sane program passes, for the test that the kernel
//! refuses them and goes on: any calls ([`Abuser`]), those of a card's owner
//! ([`exchanges`]), which must be answered exactly ([`contract`]), and those of who lends memory and who borrows it ([`leases`]).
#![allow(unsafe_code)]

pub mod contract;
pub mod exchanges;
pub mod leases;

use abi::ipc::{Call, FOREVER, wait};
use abi::layout::{RAMDISK_START, USER_END};
use abi::{Pid, Result, Syscall};
use alloc::vec::Vec;
use runtime::{sys, time};

/// Bytes of the memory that calls may scribble on.
const ARENA: usize = 8192;
/// How long an abusive wait may last.
const WAIT_NS: u64 = 100_000;

/// What became of the calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that the kernel carried out.
    pub done: u32,
    /// Calls that it refused.
    pub refused: u32,
    /// Calls that it had to refuse and did not, and bytes that changed and were lent to nobody.
    pub wrong: u32,
}

impl Tally {
    fn count<T>(&mut self, outcome: &Result<T>) {
        match outcome {
            Ok(_) => self.done += 1,
            Err(_) => self.refused += 1,
        }
    }
}

abi::numbered! {
    /// What kind of calls.
    #[repr(u8)]
    pub enum Kind {
        /// Any.
        Calls = 0 => "calls",
        /// Those of a card's owner.
        Exchanges = 1 => "exchanges",
        /// Those of one who has a part of a card.
        Tenant = 2 => "tenant",
        /// Those of a card's owner who knows what must be answered.
        Contract = 3 => "contract",
        /// Those that lend memory.
        Leases = 4 => "leases",
        /// Those of the one that it is lent to.
        Borrower = 5 => "borrower",
        /// None but to take all buffers of a card, and give none back.
        Hold = 6 => "hold",
    }
}

/// A seeded caller.
pub struct Abuser {
    random: u64,
    arena: Vec<u8>,
    /// Servers to send nonsense to.
    servers: Vec<Pid>,
}

impl Abuser {
    /// A caller that repeats itself for the same seed. `servers` are those that answer
    /// every message; a call to anybody else could wait for ever.
    pub fn new(seed: u64, servers: Vec<Pid>) -> Self {
        Abuser {
            random: seed,
            arena: alloc::vec![0; ARENA],
            servers,
        }
    }

    /// Makes `count` calls. Allocates nothing, since some of them grow the heap behind the
    /// allocator's back.
    pub fn run(&mut self, count: u32) -> Tally {
        let mut tally = Tally::default();
        for _ in 0..count {
            let number = self.below(Syscall::ALL.len() as u64 + 2);
            let outcome = match Syscall::from_number(number) {
                // Ends the test, or the clients' trust in the console.
                Some(Syscall::Exit | Syscall::Print) => self.enter(number, [0, 0, 0, 0]),
                Some(Syscall::Wait) => {
                    let deadline = time::clock_ns() + self.below(WAIT_NS);
                    let mask = self.next() as u32 & !wait::MESSAGE;
                    let buffer = self.address();
                    self.enter(number, [mask.into(), deadline, buffer, 0])
                }
                Some(Syscall::Call) => self.call(),
                _ => {
                    let arguments = [(); 4].map(|()| self.argument());
                    self.enter(number, arguments)
                }
            };
            tally.count(&outcome);
        }
        tally
    }

    /// A message of random bytes with random leases.
    fn call(&mut self) -> Result<u64> {
        let target = match self.below(3) {
            0 => Pid(self.next() as u32),
            _ => {
                let index = self.below(self.servers.len().max(1) as u64) as usize;
                self.servers.get(index).copied().unwrap_or(Pid(u32::MAX))
            }
        };
        let mut call = Call {
            target,
            lease_count: self.below(4) as u32,
            request: (self.address(), self.len()),
            answer: (self.address(), self.len()),
            deadline: match self.below(4) {
                0 => self.next(),
                1 => time::clock_ns() + self.below(WAIT_NS),
                _ => FOREVER,
            },
            leases: Default::default(),
        };
        for lease in &mut call.leases {
            lease.address = self.address();
            lease.len = self.len();
            lease.writable = self.below(2) == 0;
        }
        for at in 0..256 {
            self.arena[at] = self.next() as u8;
        }
        // A request of some kind; a batch, which is 1, of few operations, and one that does not wait.
        let kind = [0, 1, 1, 1, 2, 3, 4, 255][self.below(8) as usize];
        let operations = self.below(4) as u8;
        self.arena[..8].copy_from_slice(&[kind, 0, operations, 0, 0, 0, 0, 0]);
        // Its first operation is of some kind, too.
        self.arena[8] = self.below(14) as u8;
        let bytes = call.to_bytes();
        let at = ARENA / 2;
        self.arena[at..at + bytes.len()].copy_from_slice(&bytes);
        let pointer = match self.below(8) {
            0 => self.address(),
            _ => self.arena.as_ptr() as u64 + at as u64,
        };
        self.enter(Syscall::Call as u64, [pointer, 0, 0, 0])
    }

    fn enter(&mut self, number: u64, arguments: [u64; 4]) -> Result<u64> {
        let number = if number == Syscall::Exit as u64 {
            u64::MAX
        } else {
            number
        };
        // SAFETY: what the kernel may write to is chosen by `address`: our arena, of which
        // nothing is read, or memory that is not ours to write.
        unsafe { sys::enter_raw(number, arguments) }
    }

    fn argument(&mut self) -> u64 {
        match self.below(3) {
            0 => self.address(),
            1 => self.len(),
            // Small numbers and large ones, but no address of our own memory.
            _ if self.below(2) == 0 => self.below(0x1000),
            _ => self.next() | 1 << 63,
        }
    }

    /// An address: of the arena, of memory that may only be read, or of nobody's.
    fn address(&mut self) -> u64 {
        let arena = self.arena.as_ptr() as u64;
        let choices = [
            arena,
            arena + 1,
            arena + ARENA as u64 / 4,
            0,
            0xfff,
            Self::address as *const () as u64,
            RAMDISK_START + 4096,
            USER_END - 1,
            USER_END,
            1 << 47,
            0xffff_8000_0000_0000,
            0xffff_ff80_0000_0000,
            0xffff_ffff_8002_0000,
            u64::MAX - 7,
        ];
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A length that stays in the arena, or one that no memory has.
    fn len(&mut self) -> u64 {
        // So many as 1024 do as the area of a batch.
        let choices = [0, 1, 7, 64, 128, 129, 256, 1024, 1 << 40, 1 << 63, u64::MAX];
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Whoever answers next: the one that every call goes to from now on.
    fn call_only(&mut self, server: Pid) {
        self.servers.clear();
        self.servers.push(server);
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
