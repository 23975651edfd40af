//! What was said and is still to be sent. Each text is kept once, whoever it is for; a reader is a
//! place in it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use runtime::socket::Handle;

/// What a record costs beside its octets.
const OVERHEAD: usize = 64;

/// Who is to read something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// All but the one of whom it tells.
    Others(Handle),
    /// Nobody but this one.
    Only(Handle),
}

impl To {
    fn is_for(self, reader: Handle) -> bool {
        match self {
            To::Others(author) => author != reader,
            To::Only(one) => one == reader,
        }
    }
}

/// How far somebody has read: the record's number, and how many octets of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Counted from the beginning of time.
    pub record: u64,
    offset: usize,
}

/// The texts that somebody has still to be sent, the oldest first.
#[derive(Debug, Default)]
pub struct Log {
    records: VecDeque<(To, Box<[u8]>)>,
    /// The number of the first of these.
    first: u64,
    octets: usize,
}

impl Log {
    /// An empty one.
    pub const fn new() -> Self {
        Log {
            records: VecDeque::new(),
            first: 0,
            octets: 0,
        }
    }

    /// Adds a text.
    pub fn push(&mut self, to: To, text: &str) {
        self.octets += text.len() + OVERHEAD;
        self.records.push_back((to, text.as_bytes().into()));
    }

    /// Forgets the oldest.
    pub fn pop(&mut self) {
        if let Some((_, text)) = self.records.pop_front() {
            self.octets -= text.len() + OVERHEAD;
            self.first += 1;
        }
    }

    /// What all of them cost.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// The oldest one's number.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Where the next text begins.
    pub fn end(&self) -> Place {
        Place {
            record: self.first + self.records.len() as u64,
            offset: 0,
        }
    }

    /// Shows at most so many octets to a reader, from a place on and before a record; returns the
    /// place behind them and what is not for this reader.
    pub fn read(
        &self,
        (from, until): (Place, u64),
        reader: Handle,
        mut most: usize,
        mut show: impl FnMut(&[u8]),
    ) -> Place {
        let mut place = from;
        while place.record < until
            && let Some((to, text)) = self.get(place.record)
        {
            if to.is_for(reader) {
                let rest = &text[place.offset..];
                let piece = &rest[..rest.len().min(most)];
                show(piece);
                most -= piece.len();
                if piece.len() < rest.len() {
                    place.offset += piece.len();
                    break;
                }
            }
            place = Place {
                record: place.record + 1,
                offset: 0,
            };
        }
        place
    }

    fn get(&self, record: u64) -> Option<&(To, Box<[u8]>)> {
        let at = record.checked_sub(self.first)?;
        self.records.get(usize::try_from(at).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const ANN: Handle = Handle(1);
    const BOB: Handle = Handle(2);

    /// All that a reader is shown, so many octets at a time.
    fn all(log: &Log, reader: Handle, most: usize) -> Vec<u8> {
        let (mut shown, mut place) = (Vec::new(), Place::default());
        while place != log.end() {
            place = log.read((place, u64::MAX), reader, most, |piece| {
                shown.extend_from_slice(piece);
            });
        }
        shown
    }

    #[test]
    fn each_reads_what_is_for_it_in_pieces_of_any_length() {
        let mut log = Log::default();
        log.push(To::Others(ANN), "from ann\n");
        log.push(To::Only(ANN), "to ann\n");
        log.push(To::Others(BOB), "from bob\n");
        for most in 1..40 {
            assert_eq!(all(&log, ANN, most), b"to ann\nfrom bob\n");
            assert_eq!(all(&log, BOB, most), b"from ann\n");
            assert_eq!(all(&log, Handle(3), most), b"from ann\nfrom bob\n");
        }
        // To a certain record only, and not beyond.
        let place = log.read((Place::default(), 2), ANN, 100, |piece| {
            assert_eq!(piece, b"to ann\n");
        });
        assert_eq!(place.record, 2);
    }

    #[test]
    fn what_is_forgotten_costs_nothing_and_moves_no_place() {
        let mut log = Log::default();
        log.push(To::Only(ANN), "old");
        let place = log.end();
        log.push(To::Only(ANN), "new");
        log.pop();
        assert_eq!((log.octets(), log.first()), (3 + OVERHEAD, 1));
        log.read((place, u64::MAX), ANN, 9, |piece| assert_eq!(piece, b"new"));
        log.pop();
        log.pop();
        assert_eq!((log.octets(), log.first(), log.end().record), (0, 2, 2));
    }
}
