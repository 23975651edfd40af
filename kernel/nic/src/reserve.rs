//! Memory for what a driver keeps. It is asked for when the driver is made, and never again: if
//! there is none, the card is not driven, and nothing else suffers.

use crate::error::Error;
use alloc::vec::Vec;

/// `count` times `value`.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn filled<T: Clone>(value: T, count: usize) -> Result<Vec<T>, Error> {
    let mut all = with_room(count)?;
    all.resize(count, value);
    Ok(all)
}

/// What `make` makes of each number below `count`.
///
/// # Errors
/// [`Error::NoMemory`], or what `make` fails with.
pub fn each<T>(
    count: usize,
    mut make: impl FnMut(usize) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut all = with_room(count)?;
    for number in 0..count {
        all.push(make(number)?);
    }
    Ok(all)
}

/// An empty vector with room for `count`.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn with_room<T>(count: usize) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    let reserved = all.try_reserve_exact(count);
    reserved.map(|()| all).map_err(|_| Error::NoMemory)
}
