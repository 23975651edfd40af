//! Random numbers: one secret key that everything unpredictable is mixed into, and the
//! bytes that are made of it.
//!
//! ```text
//!   absorb:  key := H(key, ABSORB, what was seen)          (boot: many times)
//!   fill:    key := H(key, ABSORB, processor's generators, times of interrupts, now)
//!            block i of the output := H(key, OUTPUT, i)
//!            key := H(key, NEXT)
//! ```
//!
//! H is BLAKE2s with its key (RFC 7693), which is a pseudo-random function of 256 bits. So
//! the output is as unpredictable as the best of what was mixed in, whatever the rest is:
//! a source that an attacker knows, or has even chosen, takes nothing away, as long as it does
//! not depend on the key. And since the key is replaced by a hash of itself, an attacker who reads
//! the kernel's memory later does not learn what was given out before.
//!
//! Why BLAKE2s and not ChaCha20, too, which Linux has for the output: one primitive does for
//! both, a request is 64 bytes at most, and its code is 3 KiB.

use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Update};

/// Bytes of the key, and of a block of output.
const KEY: usize = 32;
/// What a hash is for: its first byte.
const ABSORB: u8 = 0;
const OUTPUT: u8 = 1;
const NEXT: u8 = 2;

/// Tries until a word is given up: Intel's bound for RDRAND (SDM vol. 1, §7.3.17.1; Digital Random
/// Number Generator Software Implementation Guide, §5.2.1), which has no numbers for longer only if
/// it is broken. RDSEED may be short for longer, and then the other one counts.
pub const TRIES: u32 = 10;
/// Words of a draw: as many bits as the key has.
pub const DRAW: usize = 4;

/// One try of a generator of the processor: `None` if it has no word at the moment.
pub type Step = fn() -> Option<u64>;

/// A generator of the processor.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    /// Its mnemonic.
    pub name: &'static str,
    /// One try.
    pub step: Step,
}

/// Why a generator gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It had no word in [`TRIES`] tries.
    Short,
    /// It gave nothing but zeros or ones, or the same word twice. RDRAND of AMD's families 15h and
    /// 16h answered all ones after a suspend, as a success, and so did the first Zen 2 always.
    Stuck,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Fault::Short => "has no numbers",
            Fault::Stuck => "is stuck at one number",
        })
    }
}

impl Generator {
    /// [`DRAW`] words.
    ///
    /// # Errors
    /// [`Fault`]. A sound generator is taken for a stuck one once in 2^61 draws.
    pub fn draw(&self) -> Result<[u64; DRAW], Fault> {
        let mut words = [0; DRAW];
        for at in 0..DRAW {
            let word = (0..TRIES).find_map(|_| (self.step)()).ok_or(Fault::Short)?;
            let is_stuck = word == 0 || word == u64::MAX || words[..at].contains(&word);
            if is_stuck {
                return Err(Fault::Stuck);
            }
            words[at] = word;
        }
        Ok(words)
    }
}

/// The state: as secret as anything in the kernel.
pub struct Random {
    key: [u8; KEY],
    /// The processor's generators that work; at most RDSEED and RDRAND.
    generators: [Option<Generator>; 2],
    /// When things happened, folded together, since the key last took it in.
    times: u64,
}

impl Random {
    /// A state that knows nothing but the processor's `generators`, if it has any. Tells
    /// `complain` of each that does not work, which is not asked again.
    pub fn new(
        generators: [Option<Generator>; 2],
        mut complain: impl FnMut(&'static str, Fault),
    ) -> Self {
        let mut random = Random {
            key: [0; KEY],
            generators,
            times: 0,
        };
        for place in &mut random.generators {
            if let Some(generator) = *place
                && let Err(fault) = generator.draw()
            {
                complain(generator.name, fault);
                // One that is only short now may do better later.
                if fault == Fault::Stuck {
                    *place = None;
                }
            }
        }
        random.draw();
        random
    }

    /// The names of the generators that are in use.
    pub fn generators(&self) -> impl Iterator<Item = &'static str> {
        self.generators.iter().flatten().map(|g| g.name)
    }

    /// Mixes in what was seen.
    pub fn absorb(&mut self, bytes: &[u8]) {
        self.key = self.hash(ABSORB, bytes);
    }

    /// Mixes in words, as [`Random::absorb`].
    pub fn absorb_words(&mut self, words: &[u64]) {
        for four in words.chunks(DRAW) {
            let mut bytes = [0; DRAW * 8];
            for (to, word) in bytes.chunks_exact_mut(8).zip(four) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            self.absorb(&bytes[..four.len() * 8]);
        }
    }

    /// Something happened at `time` of the time-stamp counter, an interrupt for example: cheap,
    /// and of use with the next [`Random::fill`].
    #[inline]
    pub fn happened(&mut self, time: u64) {
        // A time's lowest bits are the uncertain ones: the fold has each in another place.
        self.times = self.times.rotate_left(7) ^ time;
    }

    /// Fills a buffer with numbers that nobody can tell from true ones. `now` is the
    /// time-stamp counter.
    pub fn fill(&mut self, now: u64, buffer: &mut [u8]) {
        self.draw();
        let times = core::mem::take(&mut self.times);
        self.absorb_words(&[times, now]);
        for (index, block) in (0u64..).zip(buffer.chunks_mut(KEY)) {
            let output = self.hash(OUTPUT, &index.to_le_bytes());
            block.copy_from_slice(&output[..block.len()]);
        }
        self.key = self.hash(NEXT, &[]);
    }

    /// Mixes in what the processor's generators have. One that is short or stuck now is passed
    /// over: the key is what it was.
    fn draw(&mut self) {
        for generator in self.generators.into_iter().flatten() {
            if let Ok(words) = generator.draw() {
                self.absorb_words(&words);
            }
        }
    }

    fn hash(&self, purpose: u8, bytes: &[u8]) -> [u8; KEY] {
        let mut mac = Blake2sMac256::new(&self.key.into());
        mac.update(&[purpose]);
        mac.update(bytes);
        mac.finalize_fixed().into()
    }
}

#[cfg(test)]
mod tests;
