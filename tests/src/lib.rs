//! The harness that boots Wharf in QEMU and speaks to it as real clients do.
//!
//! A [`suite::Case`] gets a [`suite::Bench`], boots a [`machine::Machine`] on it, waits
//! for lines on its [`console`] (never for a time), acts as a client, and says what it
//! found wrong. Clients come in two kinds: sockets of this machine, which reach the
//! guest through QEMU's user network, and the [`wire`], which exchanges raw frames with
//! the card. What passed the card is read from QEMU's capture with [`pcap`].
//!
//! [`grade`] is the 2010 lab's grade, [`beyond`] is what Wharf promises on top of it.

pub mod account;
pub mod baseline;
pub mod bench;
pub mod beyond;
pub mod card;
pub mod connection;
pub mod console;
pub mod frames;
pub mod grade;
pub mod hexdump;
pub mod host;
pub mod http;
pub mod icount;
pub mod machine;
pub mod monitor;
pub mod nic;
pub mod options;
pub mod pcap;
pub mod peer;
pub mod qtest;
pub mod report;
pub mod suite;
pub mod wire;

use std::fmt;

/// Why a case failed, in words for a person.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure(pub String);

/// What a step of a case came to.
pub type Outcome<T = ()> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Failure(words)
    }
}

impl From<&str> for Failure {
    fn from(words: &str) -> Self {
        Failure(words.to_owned())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure(error.to_string())
    }
}

/// Fails with `words()` unless `holds`.
///
/// # Errors
/// The failure.
pub fn ensure(holds: bool, words: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failure(words())) }
}

/// Names what was being done when something failed.
pub trait During<T> {
    /// Puts `what` before the words of the failure.
    ///
    /// # Errors
    /// The same failure, with more words.
    fn during(self, what: &str) -> Outcome<T>;
}

impl<T, E: Into<Failure>> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Outcome<T> {
        self.map_err(|error| Failure(format!("{what}: {}", error.into())))
    }
}

/// `len` bytes that look random and are the same every time, so that a shift, a
/// repetition or a swap anywhere in a transfer shows.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Fails unless the two are equal; says how long each is and where they part.
///
/// # Errors
/// The first difference.
pub fn same_bytes(got: &[u8], expected: &[u8]) -> Outcome {
    if got == expected {
        return Ok(());
    }
    let at = got
        .iter()
        .zip(expected)
        .position(|(a, b)| a != b)
        .unwrap_or(got.len().min(expected.len()));
    Err(Failure(format!(
        "got {} bytes, expected {}; they differ from byte {at} on: {:02x?}, expected {:02x?}",
        got.len(),
        expected.len(),
        window(got, at),
        window(expected, at),
    )))
}

fn window(bytes: &[u8], at: usize) -> &[u8] {
    &bytes[at..bytes.len().min(at + 8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_pass_and_a_difference_is_located() {
        assert_eq!(same_bytes(b"abc", b"abc"), Ok(()));
        let words = same_bytes(b"abx", b"abc").unwrap_err().0;
        assert!(words.contains("from byte 2"), "{words}");
        let words = same_bytes(b"ab", b"abc").unwrap_err().0;
        assert!(
            words.contains("got 2 bytes, expected 3") && words.contains("byte 2"),
            "{words}"
        );
    }

    #[test]
    fn patterns_have_their_length_and_differ_by_seed() {
        assert_eq!(pattern(1, 13).len(), 13);
        assert_eq!(pattern(1, 100)[..50], pattern(1, 50));
        assert_ne!(pattern(1, 32), pattern(2, 32));
        let bytes = pattern(7, 64);
        assert_ne!(bytes[..32], bytes[32..]);
    }

    #[test]
    fn a_failure_carries_what_was_being_done() {
        let error: Outcome = Err("no".into());
        assert_eq!(error.during("asking").unwrap_err().0, "asking: no");
    }
}
