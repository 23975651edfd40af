//! Which page frames of physical memory are free: one bit each.

/// Bytes of a frame.
pub const FRAME_SIZE: u64 = 4096;

/// A bitmap over all frames from address 0 up; a set bit is a free frame.
///
/// Single frames are taken from a moving hint, so that taking and giving back is a few
/// instructions; runs for DMA are searched from the bottom, where 32-bit cards can reach.
pub struct Frames {
    bitmap: &'static mut [u64],
    /// Word to look at first.
    hint: usize,
    free: u64,
}

impl Frames {
    /// Words of bitmap that cover memory up to `end` (exclusive), in bytes.
    pub fn bitmap_words(end: u64) -> usize {
        end.div_ceil(FRAME_SIZE).div_ceil(64) as usize
    }

    /// An allocator without any free frame over `bitmap`.
    pub fn new(bitmap: &'static mut [u64]) -> Self {
        bitmap.fill(0);
        Frames {
            bitmap,
            hint: 0,
            free: 0,
        }
    }

    /// Adds the whole frames within `start..end` (bytes) as free memory. Frames beyond the
    /// bitmap are ignored.
    pub fn add(&mut self, start: u64, end: u64) {
        let limit = self.bitmap.len() as u64 * 64;
        let first = start.div_ceil(FRAME_SIZE);
        let last = (end / FRAME_SIZE).min(limit);
        for frame in first..last {
            if !self.is_free(frame) {
                self.set(frame, true);
                self.free += 1;
            }
        }
    }

    /// Takes a frame; its address, or `None` if memory is used up.
    pub fn allocate(&mut self) -> Option<u64> {
        let words = self.bitmap.len();
        let word = (self.hint..words)
            .chain(0..self.hint)
            .find(|&word| self.bitmap[word] != 0)?;
        self.hint = word;
        let frame = word as u64 * 64 + u64::from(self.bitmap[word].trailing_zeros());
        self.take(frame)
    }

    /// Takes a frame of the [`placement::colour`] of the page with the number `page`, if there is
    /// one, or else any.
    pub fn allocate_like(&mut self, page: u64) -> Option<u64> {
        const { assert!(placement::COLOURS == 64) }; // a word has a frame of each
        let bit = placement::colour(page);
        let mut words = (self.hint..self.bitmap.len()).chain(0..self.hint);
        match words.find(|&word| self.bitmap[word] >> bit & 1 == 1) {
            Some(word) => self.take(word as u64 * 64 + bit),
            None => self.allocate(),
        }
    }

    fn take(&mut self, frame: u64) -> Option<u64> {
        self.set(frame, false);
        self.free -= 1;
        Some(frame * FRAME_SIZE)
    }

    /// Takes `count` frames in a row, all below `limit` (bytes); the address of the first.
    pub fn allocate_run(&mut self, count: u64, limit: u64) -> Option<u64> {
        let end = (limit / FRAME_SIZE).min(self.bitmap.len() as u64 * 64);
        let mut run = 0;
        for frame in 0..end {
            run = if self.is_free(frame) { run + 1 } else { 0 };
            if run == count && count > 0 {
                let first = frame + 1 - count;
                for taken in first..=frame {
                    self.set(taken, false);
                }
                self.free -= count;
                return Some(first * FRAME_SIZE);
            }
        }
        None
    }

    /// Gives a frame back.
    ///
    /// # Panics
    /// If it is free already or not memory of this allocator: the kernel's books are wrong.
    pub fn free(&mut self, address: u64) {
        let frame = address / FRAME_SIZE;
        assert!(
            (frame / 64) < self.bitmap.len() as u64 && !self.is_free(frame),
            "frame {address:#x} freed twice"
        );
        self.set(frame, true);
        self.hint = self.hint.min((frame / 64) as usize);
        self.free += 1;
    }

    /// How many frames are free.
    pub fn free_count(&self) -> u64 {
        self.free
    }

    fn is_free(&self, frame: u64) -> bool {
        self.bitmap[(frame / 64) as usize] >> (frame % 64) & 1 == 1
    }

    fn set(&mut self, frame: u64, free: bool) {
        let word = &mut self.bitmap[(frame / 64) as usize];
        let bit = 1 << (frame % 64);
        *word = if free { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(count: u64) -> Frames {
        let words = Frames::bitmap_words(count * FRAME_SIZE);
        let mut frames = Frames::new(Box::leak(vec![0; words].into_boxed_slice()));
        frames.add(0, count * FRAME_SIZE);
        frames
    }

    #[test]
    fn every_frame_is_given_once_and_comes_back() {
        let mut frames = frames(200);
        let mut taken: Vec<u64> = core::iter::from_fn(|| frames.allocate()).collect();
        assert_eq!(taken.len(), 200);
        assert_eq!(frames.free_count(), 0);
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 200);
        for frame in taken {
            frames.free(frame);
        }
        assert_eq!(frames.free_count(), 200);
    }

    #[test]
    fn only_whole_frames_count_and_overlaps_count_once() {
        let mut frames = Frames::new(Box::leak(vec![0; 1].into_boxed_slice()));
        frames.add(100, 2 * FRAME_SIZE + 100);
        frames.add(FRAME_SIZE, 3 * FRAME_SIZE);
        frames.add(60 * FRAME_SIZE, 100 * FRAME_SIZE);
        assert_eq!(frames.free_count(), 2 + 4);
        assert_eq!(frames.allocate(), Some(FRAME_SIZE));
    }

    #[test]
    fn runs_skip_holes_and_keep_below_the_limit() {
        let mut frames = frames(256);
        let first = frames.allocate().unwrap();
        for _ in 0..9 {
            frames.allocate();
        }
        frames.free(5 * FRAME_SIZE);
        assert_eq!(first, 0);
        assert_eq!(frames.allocate_run(64, u64::MAX), Some(10 * FRAME_SIZE));
        assert_eq!(frames.allocate_run(64, 100 * FRAME_SIZE), None);
        assert_eq!(frames.allocate_run(1, u64::MAX), Some(5 * FRAME_SIZE));
        assert_eq!(frames.allocate_run(0, u64::MAX), None);
        // What was taken is not free, and what is below a limit ends where it does.
        assert_eq!(frames.free_count(), 256 - 10 - 64);
        let limit = 76 * FRAME_SIZE;
        assert_eq!(frames.allocate_run(3, limit), None);
        assert_eq!(frames.allocate_run(3, limit + FRAME_SIZE - 1), None);
        assert_eq!(frames.allocate_run(2, limit), Some(74 * FRAME_SIZE));
        assert_eq!(frames.free_count(), 256 - 10 - 64 - 2);
    }

    #[test]
    fn what_comes_back_is_given_before_what_is_behind_it() {
        let mut frames = frames(320);
        for _ in 0..300 {
            frames.allocate();
        }
        for frame in [200, 70, 140] {
            frames.free(frame * FRAME_SIZE);
        }
        let mut given = || frames.allocate().map(|at| at / FRAME_SIZE);
        let given = [given(), given(), given(), given()];
        assert_eq!(given, [Some(70), Some(140), Some(200), Some(300)]);
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn what_is_no_frame_of_the_allocator_is_not_taken_back() {
        let mut frames = frames(4);
        frames.free(64 * FRAME_SIZE);
    }

    #[test]
    fn a_frame_like_a_page_has_its_colour_as_long_as_there_is_one() {
        let mut frames = frames(192);
        let like = |frames: &mut Frames, page| frames.allocate_like(page).map(|at| at / FRAME_SIZE);
        assert_eq!(like(&mut frames, 0x41f), Some(0x1f));
        assert_eq!(like(&mut frames, 0x41f), Some(0x5f));
        assert_eq!(like(&mut frames, 0x1f), Some(0x9f));
        assert_eq!(like(&mut frames, 0x1f), Some(0));
        assert_eq!(like(&mut frames, 0x40), Some(0x40));
        frames.free(0x5f * FRAME_SIZE);
        assert_eq!(like(&mut frames, 0x1f), Some(0x5f));
        assert_eq!(frames.free_count(), 192 - 5);
        while frames.allocate().is_some() {}
        assert_eq!(like(&mut frames, 7), None);
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn a_double_free_is_found() {
        let mut frames = frames(4);
        frames.free(0);
    }
}
