//! The harness that boots Wharf in QEMU and speaks to it as real clients do.
//!
//! A [`suite::Case`] gets a [`suite::Bench`], boots a [`machine::Machine`] on it, waits
//! for lines on its [`console`] (never for a time), acts as a client, and says what it
//! found wrong. Clients come in two kinds: sockets of this machine, which reach the
//! guest through QEMU's user network, and the [`wire`], which exchanges raw frames with
//! the card. What passed the card is read from QEMU's capture with [`pcap`].
//!
//! [`grade`] is the 2010 lab's grade, [`beyond`] is what Wharf promises on top of it, and
//! [`soak`] attacks it for as long as one has time.

pub mod account;
pub mod baseline;
pub mod bench;
pub mod beyond;
pub mod card;
#[cfg(test)]
mod conformance;
pub mod connection;
pub mod console;
pub mod debugger;
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
pub mod placement;
pub mod qtest;
pub mod report;
pub mod soak;
pub mod suite;
pub mod wire;

use std::fmt;
use std::time::Instant;

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
        Failure(words(&error))
    }
}

/// Whether the other side has done nothing for as long as was allowed: the end of a socket's
/// time comes as the one or the other.
pub fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    [WouldBlock, TimedOut].contains(&error.kind())
}

/// What an error means, for a person: without the system's number, and where the other side
/// was only too slow, without the system's word for it, which speaks of something else.
pub fn words(error: &std::io::Error) -> String {
    if is_timeout(error) {
        return "no answer in time".to_owned();
    }
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Reads as many bytes as `bytes` has room for.
///
/// # Errors
/// How many came, and what was then.
pub fn read_all(source: &mut impl std::io::Read, bytes: &mut [u8]) -> Outcome {
    let mut got = 0;
    while got < bytes.len() {
        let since = Instant::now();
        let then = match source.read(&mut bytes[got..]) {
            Ok(0) => "the end".to_owned(),
            Ok(count) => {
                got += count;
                continue;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if is_timeout(&error) => nothing_since(since),
            Err(error) => words(&error),
        };
        let len = bytes.len();
        return Err(Failure(format!("{got} of {len} bytes came, then {then}")));
    }
    Ok(())
}

/// "nothing for 5 s".
pub fn nothing_since(since: Instant) -> String {
    format!("nothing for {:.0} s", since.elapsed().as_secs_f32())
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
    fn errors_are_told_in_words_and_without_the_systems_numbers() {
        use std::io::Error;
        for (number, expected) in [
            (11, "no answer in time"),  // EAGAIN, of a socket's time-out
            (110, "no answer in time"), // ETIMEDOUT
            (104, "Connection reset by peer"),
            (2, "No such file or directory"),
        ] {
            let error = Error::from_raw_os_error(number);
            assert_eq!(Failure::from(error).0, expected);
        }
        assert_eq!(words(&Error::other("as it is")), "as it is");
    }

    #[test]
    fn who_answers_too_little_is_told_of_with_what_came() {
        use std::io::{Read, Write};
        use std::net::{TcpListener, TcpStream};
        use std::time::Duration;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let patience = Duration::from_millis(30);
        client.set_read_timeout(Some(patience)).unwrap();
        let mut bytes = [0; 4];
        let failure = read_all(&mut client, &mut bytes).unwrap_err();
        let expected = "0 of 4 bytes came, then nothing for ";
        assert!(failure.0.starts_with(expected), "{failure}");
        server.write_all(b"abcdefgh").unwrap();
        assert_eq!(read_all(&mut client, &mut bytes), Ok(()));
        assert_eq!(&bytes, b"abcd");
        drop(server);
        let failure = read_all(&mut client, &mut [0; 9]).unwrap_err();
        assert_eq!(failure.0, "4 of 9 bytes came, then the end");
        assert_eq!(client.read(&mut bytes).unwrap(), 0);
    }

    #[test]
    fn a_failure_carries_what_was_being_done() {
        let error: Outcome = Err("no".into());
        assert_eq!(error.during("asking").unwrap_err().0, "asking: no");
    }
}
