//! Random numbers, for keys, too: see README for what they are worth on which machine.

use crate::{Result, sys};
use abi::syscall::RANDOM_MAX;

/// Fills a buffer of any length.
///
/// # Errors
/// As the kernel answers; none is expected.
pub fn fill(buffer: &mut [u8]) -> Result<()> {
    buffer.chunks_mut(RANDOM_MAX).try_for_each(sys::random)
}

/// A secret of 256 bits, for a keyed hash.
///
/// # Errors
/// As [`fill`].
pub fn secret() -> Result<[u8; 32]> {
    let mut secret = [0; 32];
    fill(&mut secret).map(|()| secret)
}

/// 64 bits.
///
/// # Errors
/// As [`fill`].
pub fn word() -> Result<u64> {
    let mut word = [0; 8];
    fill(&mut word).map(|()| u64::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use abi::Syscall;

    #[test]
    #[allow(
        unsafe_code,
        reason = "a kernel that writes into the buffer of the call"
    )]
    fn a_long_buffer_is_filled_whole_and_in_pieces_that_the_kernel_takes() {
        fake::install(|call, [to, len, ..]| {
            assert!(call == Syscall::Random && (1..=RANDOM_MAX as u64).contains(&len));
            // SAFETY: the buffer of the call that is being answered.
            unsafe { fake::write(to, &vec![len as u8; len as usize]) };
            Ok(0)
        });
        let mut buffer = [0; 2 * RANDOM_MAX + 7];
        fill(&mut buffer).unwrap();
        assert_eq!(buffer[..2 * RANDOM_MAX], [RANDOM_MAX as u8; 2 * RANDOM_MAX]);
        assert_eq!(buffer[2 * RANDOM_MAX..], [7; 7]);
        assert_eq!(secret(), Ok([32; 32]));
        assert_eq!(word(), Ok(0x0808_0808_0808_0808));
        assert_eq!(fill(&mut []), Ok(()));
    }

    #[test]
    fn no_secret_is_made_of_an_error() {
        fake::install(|_, _| Err(Error::NoSuchCall));
        assert_eq!(secret(), Err(Error::NoSuchCall));
        assert_eq!(word(), Err(Error::NoSuchCall));
    }
}
