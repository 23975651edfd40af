//! Spaces over a model of physical memory, of as many frames as a test wants.

use super::*;
use crate::frames::{FRAME_SIZE, Frames};
use std::cell::RefCell;
use std::rc::Rc;

/// Frames with what is in them. It takes no memory later.
pub(crate) struct Memory {
    frames: Frames,
    contents: Vec<[u64; ENTRIES]>,
    /// Frames that are said to be used up.
    withheld: u64,
}

/// A handle on it.
#[derive(Clone)]
pub(crate) struct Model(Rc<RefCell<Memory>>);

/// What is in a frame that nobody has.
const STALE: u64 = 0x5a5a_5a5a_5a5a_5a5b;
/// What stands for the kernel's half in each top-level table.
const KERNEL_ENTRY: u64 = 0xdead_b003;

impl Model {
    pub(crate) fn new(frames: u64) -> Self {
        let words = Frames::bitmap_words((frames + 1) * FRAME_SIZE);
        let mut all = Frames::new(Box::leak(vec![0; words].into_boxed_slice()));
        // A physical address of 0 is nobody's.
        all.add(FRAME_SIZE, (frames + 1) * FRAME_SIZE);
        Model(Rc::new(RefCell::new(Memory {
            frames: all,
            contents: vec![[STALE; ENTRIES]; frames as usize + 1],
            withheld: 0,
        })))
    }

    /// Says that only so many frames are left.
    pub(crate) fn leave_free(&self, frames: u64) {
        let mut memory = self.0.borrow_mut();
        memory.withheld = memory.frames.free_count() - frames;
    }

    /// Frames that nobody has, those included that are said to be used up.
    pub(crate) fn free(&self) -> u64 {
        self.0.borrow().frames.free_count()
    }

    fn fill(&self, frame: u64, word: u64) {
        self.0.borrow_mut().contents[(frame / PAGE_SIZE) as usize].fill(word);
    }

    fn bytes(&self, address: u64, len: usize, mut each: impl FnMut(usize, u64, u32)) {
        assert!(
            address % PAGE_SIZE + len as u64 <= PAGE_SIZE,
            "in one frame"
        );
        for index in 0..len {
            let at = address + index as u64;
            each(index, at, 8 * (at % 8) as u32);
        }
    }

    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) {
        let memory = self.0.borrow();
        self.bytes(address, buffer.len(), |index, at, shift| {
            let words = &memory.contents[(at / PAGE_SIZE) as usize];
            buffer[index] = (words[(at % PAGE_SIZE / 8) as usize] >> shift) as u8;
        });
    }

    pub(crate) fn write_at(&self, address: u64, bytes: &[u8]) {
        let mut memory = self.0.borrow_mut();
        self.bytes(address, bytes.len(), |index, at, shift| {
            let words = &mut memory.contents[(at / PAGE_SIZE) as usize];
            let word = &mut words[(at % PAGE_SIZE / 8) as usize];
            *word = *word & !(0xff << shift) | u64::from(bytes[index]) << shift;
        });
    }
}

impl Physical for Model {
    fn available(&self) -> u64 {
        let memory = self.0.borrow();
        memory.frames.free_count() - memory.withheld
    }

    fn take(&self, page: Option<u64>) -> Option<u64> {
        if self.available() == 0 {
            return None;
        }
        let frame = match page {
            Some(page) => self.0.borrow_mut().frames.allocate_like(page / PAGE_SIZE),
            None => self.0.borrow_mut().frames.allocate(),
        };
        frame.inspect(|&frame| self.fill(frame, 0))
    }

    fn take_top(&self) -> Option<u64> {
        let top = self.take(None)?;
        for index in KERNEL_HALF..ENTRIES {
            self.store(top, index, KERNEL_ENTRY);
        }
        Some(top)
    }

    fn give_back(&self, frame: u64) {
        self.0.borrow_mut().frames.free(frame);
        self.fill(frame, STALE);
    }

    fn leave(&self, _: u64) {}

    fn load(&self, table: u64, index: usize) -> u64 {
        self.0.borrow().contents[(table / PAGE_SIZE) as usize][index]
    }

    fn store(&self, table: u64, index: usize, entry: u64) {
        self.0.borrow_mut().contents[(table / PAGE_SIZE) as usize][index] = entry;
    }

    fn write(&self, frame: u64, offset: usize, bytes: &[u8]) {
        self.write_at(frame + offset as u64, bytes);
    }
}

const AT: u64 = 0x43_0000;

fn piece(address: u64, len: u64, data: &[u8]) -> Region<'_> {
    Region {
        address,
        len,
        data,
        writable: true,
        executable: false,
    }
}

fn byte(model: &Model, space: &Space<Model>, address: u64) -> Option<u8> {
    let mut bytes = [0];
    model.read(space.user_page(address, false)?, &mut bytes);
    Some(bytes[0])
}

#[test]
fn memory_holds_its_data_and_zeros_and_comes_back() {
    let model = Model::new(64);
    let mut space = Space::new(model.clone()).unwrap();
    let data: Vec<u8> = (0..5000_u32).map(|at| at as u8 | 1).collect();
    let some = piece(AT + 4000, 3 * PAGE_SIZE, &data);
    space.add_memory(&some).unwrap();
    for (at, expected) in [
        (0, Some(0)),
        (3999, Some(0)),
        (4000, Some(1)),
        (4097, Some(97)),
        (8999, Some(data[4999])),
        (9000, Some(0)),
        (4 * PAGE_SIZE - 1, Some(0)),
        (4 * PAGE_SIZE, None),
    ] {
        assert_eq!(byte(&model, &space, AT + at), expected, "{at}");
    }
    // A top-level table, three below it, four pages.
    assert_eq!(model.free(), 64 - 8);
    drop(space);
    assert_eq!(model.free(), 64);
}

#[test]
fn what_may_be_done_with_a_page_is_what_was_said() {
    let model = Model::new(64);
    let mut space = Space::new(model.clone()).unwrap();
    let code = Region {
        writable: false,
        executable: true,
        ..piece(AT, 1, b"\xc3")
    };
    space.add_memory(&code).unwrap();
    space.add_memory(&piece(AT + PAGE_SIZE, 1, b"")).unwrap();
    let entry = |address| Flags::from_bits_retain(space.entry(address).unwrap());
    assert!(!entry(AT).intersects(Flags::NO_EXECUTE | Flags::WRITABLE));
    assert!(entry(AT + PAGE_SIZE).contains(Flags::NO_EXECUTE | Flags::WRITABLE));
    assert!(space.user_page(AT, false).is_some());
    assert_eq!(space.user_page(AT, true), None);
    assert!(space.user_page(AT + PAGE_SIZE, true).is_some());
    // What was remembered of reading does not allow to write.
    assert_eq!(space.user_page(AT, true), None);
    for nobodys in [0, AT - 1, USER_END - 1, USER_END, 1 << 47, u64::MAX] {
        assert_eq!(space.user_page(nobodys, false), None, "{nobodys:#x}");
    }
}

#[test]
fn a_run_ends_where_frames_or_rights_do() {
    let model = Model::new(64);
    let mut space = Space::new(model.clone()).unwrap();
    let shown = |address, memory, pages, writable| Shown {
        address,
        memory,
        len: pages * PAGE_SIZE,
        writable,
    };
    let at = |page| AT + page * PAGE_SIZE;
    space
        .show([
            shown(at(0), 0x10_0000, 2, true),
            shown(at(2), 0x10_2000, 1, false),
            shown(at(3), 0x20_0000, 1, true),
        ])
        .unwrap();
    let run = |address, len, write| space.user_run(address, len, write);
    assert_eq!(
        run(at(0) + 5, 100_000, false),
        Some((0x10_0005, 3 * PAGE_SIZE - 5))
    );
    assert_eq!(run(at(0), 100_000, true), Some((0x10_0000, 2 * PAGE_SIZE)));
    assert_eq!(run(at(2), 8192, true), None);
    assert_eq!(run(at(3), 8192, true), Some((0x20_0000, PAGE_SIZE)));
    assert_eq!(run(at(3) + 1, 10, true), Some((0x20_0001, 10)));
    drop(space);
    // What was shown is somebody else's still: giving back what it never had would be an error.
    assert_eq!(model.free(), 64);
}

#[test]
fn with_any_number_of_frames_memory_is_added_whole_or_not_at_all() {
    // Over the end of a table, and of one above it.
    let gib = 1 << 30;
    for (address, pages) in [
        (AT, 3),
        (gib - 2 * PAGE_SIZE, 4),
        ((1 << 39) - PAGE_SIZE, 2),
    ] {
        let model = Model::new(64);
        let mut space = Space::new(model.clone()).unwrap();
        let some = piece(address, pages * PAGE_SIZE, b"data");
        let before = model.free();
        let mut refused = 0;
        loop {
            model.leave_free(refused);
            match space.add_memory(&some) {
                Ok(()) => break,
                Err(error) => assert_eq!(error, Error::NoMemory),
            }
            assert_eq!(model.free(), before, "{refused} frames");
            assert_eq!(space.user_page(address, false), None);
            refused += 1;
        }
        // It took what it was refused without, and no more.
        assert_eq!(model.free(), before - refused, "{address:#x}");
        assert_eq!(model.available(), 0);
        assert_eq!(byte(&model, &space, address), Some(b'd'));
        let again = space.add_memory(&some);
        model.leave_free(model.free());
        assert_eq!(again, Err(Error::NoMemory));
        assert_eq!(space.add_memory(&some), Err(Error::InvalidArgument));
        drop(space);
        assert_eq!(model.free(), 64);
    }
}

#[test]
fn a_space_keeps_to_its_limit_and_says_what_it_takes() {
    let model = Model::new(64);
    let mut space = Space::new(model.clone()).unwrap();
    let taken = |space: &Space<Model>| space.memory() / PAGE_SIZE;
    assert_eq!(taken(&space), 64 - model.free());
    // With a page come its three tables.
    space.set_limit(5 * PAGE_SIZE - 1);
    let one = piece(AT, 1, b"");
    assert_eq!(space.add_memory(&one), Err(Error::QuotaExceeded));
    space.set_limit(5 * PAGE_SIZE);
    assert_eq!(space.add_memory(&one), Ok(()));
    assert_eq!(taken(&space), 5);
    let next = piece(AT + PAGE_SIZE, 2 * PAGE_SIZE, b"");
    assert_eq!(space.add_memory(&next), Err(Error::QuotaExceeded));
    let shown = Shown {
        address: 1 << 30,
        memory: 0x10_0000,
        len: PAGE_SIZE,
        writable: false,
    };
    assert_eq!(space.show([shown]), Err(Error::QuotaExceeded));
    // A limit below what it has takes nothing away.
    space.set_limit(0);
    assert_eq!(taken(&space), 5);
    space.set_limit(9 * PAGE_SIZE);
    assert_eq!(space.add_memory(&next), Ok(()));
    // Of what is shown only the tables are its own.
    assert_eq!(space.show([shown]), Ok(()));
    assert_eq!((taken(&space), model.free()), (9, 64 - 9));
    drop(space);
    assert_eq!(model.free(), 64);
}

#[test]
fn pieces_are_shown_together_or_not_at_all() {
    let model = Model::new(64);
    let mut space = Space::new(model.clone()).unwrap();
    let pieces = [(AT, 1), (1 << 30, 600), (1 << 40, 1)].map(|(address, pages)| Shown {
        address,
        memory: 0x10_0000,
        len: pages * PAGE_SIZE,
        writable: false,
    });
    let before = model.free();
    let mut refused = 0;
    loop {
        model.leave_free(refused);
        match space.show(pieces) {
            Ok(()) => break,
            Err(error) => assert_eq!(error, Error::NoMemory),
        }
        assert_eq!(model.free(), before);
        assert!(
            pieces
                .iter()
                .all(|piece| space.user_page(piece.address, false).is_none())
        );
        refused += 1;
    }
    assert!(
        pieces
            .iter()
            .all(|piece| space.user_page(piece.address, false).is_some())
    );
    model.leave_free(model.free());
    assert_eq!(space.show(pieces), Err(Error::InvalidArgument));
    drop(space);
    assert_eq!(model.free(), 64);
}

#[test]
fn the_ramdisks_tables_are_no_spaces() {
    let model = Model::new(64);
    let mut first = Space::new(model.clone()).unwrap();
    let shown = Shown {
        address: RAMDISK_START,
        memory: 0x10_0000,
        len: PAGE_SIZE,
        writable: false,
    };
    first.show([shown]).unwrap();
    let table = first.table_below(RAMDISK_ENTRY).unwrap();
    drop(first);
    // Three tables of it, which live on.
    assert_eq!(model.free(), 64 - 3);
    let second = Space::new(model.clone()).unwrap();
    model.store(second.top(), RAMDISK_ENTRY, table | 5);
    assert_eq!(second.user_page(RAMDISK_START + 7, false), Some(0x10_0007));
    assert_eq!(second.user_page(RAMDISK_START + 7, true), None);
    drop(second);
    assert_eq!(model.free(), 64 - 3);
}
