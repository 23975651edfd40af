//! Buffers whose size a client decides: running out of memory is an answer, not a panic.

use crate::{Error, Result};
use alloc::vec::Vec;

/// Makes `buffer` `len` bytes long, with zeros at its end if it grows.
///
/// # Errors
/// [`Error::NoMemory`]; the buffer is as it was.
pub fn set_len(buffer: &mut Vec<u8>, len: usize) -> Result<()> {
    buffer
        .try_reserve_exact(len.saturating_sub(buffer.len()))
        .map_err(|_| Error::NoMemory)?;
    buffer.resize(len, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_shrinks_and_refuses_the_impossible() {
        let mut buffer = alloc::vec![7; 3];
        assert_eq!(set_len(&mut buffer, 5), Ok(()));
        assert_eq!(buffer, [7, 7, 7, 0, 0]);
        assert_eq!(
            set_len(&mut buffer, isize::MAX as usize),
            Err(Error::NoMemory)
        );
        assert_eq!(buffer.len(), 5);
        assert_eq!(set_len(&mut buffer, 1), Ok(()));
        assert_eq!(buffer, [7]);
    }
}
