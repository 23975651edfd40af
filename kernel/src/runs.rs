//! Where contiguous memory is physically: as few runs as it takes.

use alloc::vec::Vec;

/// The runs of some memory, in order.
#[derive(Debug, Default)]
pub struct Runs {
    runs: Vec<Run>,
    len: usize,
}

#[derive(Debug)]
struct Run {
    /// From the start of the memory.
    offset: usize,
    /// Physical.
    address: u64,
    len: usize,
}

impl Runs {
    /// Adds the next `len` bytes, which are at `address`.
    pub fn push(&mut self, address: u64, len: usize) {
        match self.runs.last_mut() {
            Some(last) if last.address + last.len as u64 == address => last.len += len,
            _ => self.runs.push(Run {
                offset: self.len,
                address,
                len,
            }),
        }
        self.len += len;
    }

    /// Each run: its address and its length.
    pub fn iter(&self) -> impl Iterator<Item = (u64, usize)> {
        self.runs.iter().map(|run| (run.address, run.len))
    }

    /// Bytes of all runs.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where `len` bytes from `offset` on are; `None` if they are not all there, in one run.
    pub fn find(&self, offset: usize, len: usize) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.offset <= offset);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let inside = offset - run.offset;
        (inside.checked_add(len)? <= run.len).then_some(run.address + inside as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_in_their_run_and_not_across() {
        let mut runs = Runs::default();
        for (address, len) in [(0x5000, 100), (0x8000, 4096), (0x9000, 4096), (0x1000, 10)] {
            runs.push(address, len);
        }
        assert_eq!(runs.runs.len(), 3);
        assert_eq!(runs.find(0, 100), Some(0x5000));
        assert_eq!(runs.find(99, 2), None);
        assert_eq!(runs.find(100, 8192), Some(0x8000));
        assert_eq!(runs.find(5000, 1), Some(0x8000 + 4900));
        assert_eq!(runs.find(8292 + 9, 1), Some(0x1009));
        assert_eq!(runs.find(8292 + 9, 2), None);
        assert_eq!(runs.find(usize::MAX, 1), None);
        assert_eq!(runs.find(5, usize::MAX), None);
        assert_eq!(Runs::default().find(0, 0), None);
    }
}
