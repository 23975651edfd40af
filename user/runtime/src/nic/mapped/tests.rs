//! The process's side against a kernel that the test plays.

use super::*;
use crate::ipc::mask;
use crate::nic::SendOptions;
use abi::Syscall;
use std::boxed::Box;
use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;

const MEMORY: FrameMemory = FrameMemory {
    small: (40, 2048),
    large: (2, 65_536),
    receive_len: 64 * 2048,
};

/// What the kernel and its card do.
#[derive(Default)]
struct Card {
    /// Frames to deliver: offset, length, more.
    arriving: VecDeque<(u32, u32, bool)>,
    /// Buffers it may give.
    free: Vec<u16>,
    sent: Vec<Send>,
    returned: Vec<u32>,
    /// How many sends it takes at most, each time.
    room: usize,
    /// Whether the last exchange armed.
    armed: bool,
    /// Frames that come while the process sleeps.
    late: VecDeque<(u32, u32, bool)>,
    fails: Option<Error>,
    exchanges: usize,
    /// The last piece was not the end of its frame.
    amid: bool,
    /// The rest of that is lost.
    forgets: bool,
}

impl Card {
    fn exchange(&mut self, area: &mut [u32; WORDS]) -> Result<u64> {
        self.exchanges += 1;
        for index in 0..area[exchange::RETURN_COUNT] as usize {
            self.returned.push(area[exchange::return_at(index)]);
        }
        let asked = area[exchange::SEND_COUNT] as usize;
        let sent = match self.fails {
            Some(_) => asked,
            None => asked.min(self.room),
        };
        for index in 0..sent {
            let first = exchange::send_at(index);
            let words = core::array::from_fn(|word| area[first + word]);
            self.sent.push(Send::from_words(words));
        }
        area[exchange::SENT] = sent as u32;
        let mut taken = 0;
        for (wanted, small) in [
            (exchange::SMALL_WANTED, true),
            (exchange::LARGE_WANTED, false),
        ] {
            for _ in 0..area[wanted] {
                let fits = |number: &u16| (*number < MEMORY.small.0) == small;
                let Some(place) = self.free.iter().position(fits) else {
                    break;
                };
                area[exchange::taken_at(taken)] = self.free.swap_remove(place).into();
                taken += 1;
            }
        }
        area[exchange::TAKEN] = taken as u32;
        area[exchange::WOKEN] = 0;
        self.receive(area, exchange::RECEIVE_WANTED);
        self.armed = area[exchange::ARM] != 0;
        self.fails.map_or(Ok(0), Err)
    }

    fn receive(&mut self, area: &mut [u32; WORDS], wanted: usize) {
        let mut received = 0;
        while received < area[wanted] as usize && self.fails.is_none() {
            let Some((offset, len, more)) = self.arriving.pop_front() else {
                break;
            };
            let words = Received {
                buffer: (offset / 2048) as u16,
                offset,
                len,
                more,
                continues: core::mem::replace(&mut self.amid, more) && !self.forgets,
                checksums_right: true,
                vlan: None,
            }
            .to_words();
            let first = exchange::received_at(received);
            area[first..first + words.len()].copy_from_slice(&words);
            received += 1;
        }
        area[exchange::RECEIVED] = received as u32;
    }

    /// `Syscall::Wait` with a card: what it says of the event.
    fn wait(&mut self, area: &mut [u32; WORDS]) -> Result<abi::ipc::Received> {
        self.exchange(area)?;
        if area[exchange::RECEIVED] > 0 || self.late.is_empty() {
            return Ok(abi::ipc::Received::TimedOut);
        }
        assert!(self.armed, "nobody would have been woken");
        self.arriving.append(&mut self.late);
        self.receive(area, exchange::WAKE_WANTED);
        area[exchange::WOKEN] = 1;
        Ok(abi::ipc::Received::Notification(mask::NIC_RECEIVE))
    }
}

/// A card, and the process that has mapped it. The receive memory holds a byte pattern.
fn mapped() -> (Rc<RefCell<Card>>, Mapped) {
    let card = Rc::new(RefCell::new(Card {
        free: (0..42).collect(),
        room: usize::MAX,
        ..Card::default()
    }));
    let kernel = card.clone();
    // As the kernel's, it stays for good.
    let memory = |len: usize| {
        let bytes: Vec<u8> = (0..len).map(|index| (index / 7) as u8).collect();
        NonNull::from(Box::leak(bytes.into_boxed_slice())).cast::<u8>()
    };
    let area = NonNull::from(Box::leak(Box::new([0; WORDS])));
    let words = area.as_ptr() as u64;
    fake::install(move |call, arguments| {
        // SAFETY: `Mapped` has borrowed the area for the call.
        let area = unsafe { &mut *(words as *mut [u32; WORDS]) };
        match (call, arguments) {
            (Syscall::NicExchange, [0, address, ..]) if address == words => {
                kernel.borrow_mut().exchange(area)
            }
            (Syscall::Wait, [_, _, buffer, 1]) => {
                let event = kernel.borrow_mut().wait(area)?;
                // SAFETY: the buffer of the event is the caller's.
                unsafe { fake::write(buffer, &event.to_bytes()) };
                Ok(0)
            }
            other => panic!("{other:?}"),
        }
    });
    let transmit = memory(40 * 2048 + 2 * 65_536);
    let receive = memory(MEMORY.receive_len as usize);
    // SAFETY: it is the kernel above that hands over buffers.
    let process =
        unsafe { Mapped::at(super::Card { number: 0 }, MEMORY, area, [transmit, receive]) };
    (card, process)
}

fn pattern(offset: usize, len: usize) -> Vec<u8> {
    (offset..offset + len)
        .map(|index| (index / 7) as u8)
        .collect()
}

#[test]
fn frames_are_read_where_they_are_and_their_buffers_return() {
    let (card, mut process) = mapped();
    for number in 0..100u32 {
        let frame = (number % 64 * 2048 + 16, 60 + number, false);
        card.borrow_mut().arriving.push_back(frame);
    }
    let mut seen = 0;
    while seen < 100 {
        process.exchange(false).unwrap();
        while let Some(frame) = process.receiving.take() {
            let offset = seen % 64 * 2048 + 16;
            assert_eq!(process.receiving.bytes(&frame), pattern(offset, 60 + seen));
            process.receiving.give_back(frame);
            seen += 1;
        }
    }
    assert!(!process.receiving.may_have_more());
    process.exchange(true).unwrap();
    let card = card.borrow();
    assert!(card.armed);
    let buffers: Vec<u32> = (0..100).map(|number| number % 64).collect();
    assert_eq!(card.returned, buffers);
}

#[test]
fn a_wait_brings_frames_before_it_sleeps_and_with_the_wake_up() {
    let (card, mut process) = mapped();
    let mut inbox = Inbox::default();
    let mut wait = |process: &mut Mapped| {
        let told = process.wait(true, (mask::NIC_RECEIVE, 0), &mut inbox);
        told.map(|(event, _)| event)
    };
    // There before.
    card.borrow_mut().arriving.extend([(0, 60, false)]);
    assert_eq!(wait(&mut process), Ok(Event::TimedOut));
    let first = process.receiving.take().unwrap();
    assert!(process.receiving.is_armed() && !process.receiving.may_have_more());
    process.receiving.give_back(first);
    // Asked for again although a wake-up is due: so nothing is missed.
    card.borrow_mut().arriving.extend([(2048, 61, false)]);
    assert_eq!(wait(&mut process), Ok(Event::TimedOut));
    let second = process.receiving.take().unwrap();
    assert_eq!(second.len(), 61);
    process.receiving.give_back(second);
    // With the wake-up: all that there was, and no other is due.
    card.borrow_mut()
        .late
        .extend([(4096, 62, false), (0, 63, false)]);
    let woken = Event::Notification(mask::NIC_RECEIVE);
    assert_eq!(wait(&mut process), Ok(woken));
    assert!(!process.receiving.is_armed() && !process.receiving.may_have_more());
    let third = process.receiving.take().unwrap();
    assert_eq!(third.len(), 62);
    // Another is not taken yet: it is not overwritten, and there may be more.
    card.borrow_mut().late.extend([(0, 64, false)]);
    assert_eq!(wait(&mut process), Ok(woken));
    assert!(process.receiving.may_have_more());
    assert_eq!(process.receiving.take().unwrap().len(), 63);
    process.receiving.give_back(third);
    // It has not waited if the card fails.
    card.borrow_mut().fails = Some(Error::DeviceFailed);
    assert_eq!(wait(&mut process), Err(Error::DeviceFailed));
    assert_eq!(card.borrow().returned, [0, 1, 2]);
}

#[test]
fn pieces_become_one_frame_even_across_exchanges() {
    let (card, mut process) = mapped();
    {
        let mut card = card.borrow_mut();
        // 62 frames, and one of three pieces of which two fit into the first exchange.
        card.arriving.extend((0..62).map(|_| (0, 60, false)));
        card.arriving
            .extend([(2048, 2048, true), (3 * 2048, 2048, true), (0, 9, false)]);
    }
    process.exchange(false).unwrap();
    for _ in 0..62 {
        let frame = process.receiving.take().unwrap();
        process.receiving.give_back(frame);
    }
    assert!(process.receiving.take().is_none());
    process.exchange(false).unwrap();
    let frame = process.receiving.take().unwrap();
    let whole = [pattern(2048, 2048), pattern(3 * 2048, 2048), pattern(0, 9)].concat();
    assert_eq!(process.receiving.bytes(&frame), whole);
    assert_eq!(frame.len(), 4105);
    process.receiving.give_back(frame);
    process.exchange(false).unwrap();
    assert_eq!(card.borrow().returned[62..], [1, 3, 0]);
}

#[test]
fn frames_are_seen_before_they_are_taken_and_may_be_skipped() {
    let (card, mut process) = mapped();
    {
        let mut card = card.borrow_mut();
        card.arriving
            .extend((0..4).map(|n| (n * 2048, 60 + n, false)));
        card.arriving.extend([
            (4 * 2048, 2048, true),
            (5 * 2048, 9, false),
            (6 * 2048, 60, false),
        ]);
    }
    process.exchange(false).unwrap();
    let receiving = &mut process.receiving;
    assert_eq!(receiving.count(), 7);
    for index in 0..4 {
        let (frame, bytes) = receiving.see(index).unwrap();
        let offset = index * 2048;
        assert_eq!(frame.offset as usize, offset);
        assert_eq!(bytes, pattern(offset, 60 + index));
    }
    // What came in pieces is not seen before it was put together, nor what is behind it.
    assert!(receiving.see(4).is_none());
    receiving.skip();
    receiving.skip();
    let frame = receiving.take().unwrap();
    assert_eq!(receiving.bytes(&frame), pattern(2 * 2048, 62));
    receiving.give_back(frame);
    receiving.skip();
    // Nor is it skipped.
    receiving.skip();
    let frame = receiving.take().unwrap();
    assert_eq!(frame.len(), 2057);
    receiving.give_back(frame);
    assert_eq!(receiving.see(0).unwrap().1, pattern(6 * 2048, 60));
    receiving.skip();
    receiving.skip();
    assert!(receiving.see(0).is_none());
    process.exchange(false).unwrap();
    assert_eq!(card.borrow().returned, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_piece_outside_of_the_memory_is_refused() {
    let (card, mut process) = mapped();
    let len = MEMORY.receive_len;
    let bad = [
        (len - 59, 60, false),
        (u32::MAX, 60, false),
        (len, 1, false),
    ];
    card.borrow_mut().arriving.extend(bad);
    card.borrow_mut().arriving.push_back((len - 60, 60, false));
    process.exchange(false).unwrap();
    let frame = process.receiving.take().unwrap();
    assert_eq!(process.receiving.bytes(&frame).len(), 60);
    process.receiving.give_back(frame);
    assert!(process.receiving.take().is_none());
    assert_eq!(process.receiving.refused, 3);
}

#[test]
fn a_frame_whose_end_a_reset_took_away_spoils_no_other() {
    let (card, mut process) = mapped();
    card.borrow_mut().arriving.push_back((0, 2048, true));
    process.exchange(false).unwrap();
    assert!(process.receiving.take().is_none());
    {
        let mut card = card.borrow_mut();
        card.forgets = true;
        card.arriving
            .extend([(2048, 100, false), (4096, 60, false)]);
    }
    for (offset, len) in [(2048, 100), (4096, 60)] {
        process.receiving.look_again();
        process.exchange(false).unwrap();
        let frame = process.receiving.take().unwrap();
        assert_eq!(process.receiving.bytes(&frame), pattern(offset, len));
        process.receiving.give_back(frame);
    }
    assert_eq!(process.receiving.refused(), 1);
    // An end without beginning is none either.
    card.borrow_mut().arriving.push_back((6144, 70, false));
    (card.borrow_mut().forgets, card.borrow_mut().amid) = (false, true);
    process.receiving.look_again();
    process.exchange(false).unwrap();
    assert!(process.receiving.see(0).is_none());
    assert!(process.receiving.take().is_none());
    assert_eq!(process.receiving.refused(), 2);
    process.exchange(false).unwrap();
    assert_eq!(card.borrow().returned, [0, 1, 2, 3]);
}

#[test]
fn frames_that_find_no_room_stay_queued_in_order() {
    let (card, mut process) = mapped();
    assert!(!process.sending.has_buffers());
    process.exchange(false).unwrap();
    assert!(process.sending.has_buffers());
    card.borrow_mut().room = 3;
    for number in 0..20u8 {
        let mut buffer = process.sending.take(100).unwrap();
        process.sending.bytes_mut(&mut buffer, 100).fill(number);
        let len = 60 + usize::from(number);
        process
            .sending
            .queue(buffer, len, SendOptions::default(), None);
    }
    for round in 1..=7 {
        assert!(process.sending.has_queued());
        process.exchange(false).unwrap();
        assert_eq!(card.borrow().sent.len(), 20.min(3 * round));
    }
    assert!(!process.sending.has_queued());
    let lens: Vec<u32> = card.borrow().sent.iter().map(|send| send.len).collect();
    assert_eq!(lens, (60..80).collect::<Vec<u32>>());
}

#[test]
fn a_buffer_is_as_large_as_it_takes() {
    let (_card, mut process) = mapped();
    process.exchange(false).unwrap();
    let mut large = process.sending.take(2049).unwrap();
    assert!(large.0 >= MEMORY.small.0);
    assert_eq!(process.sending.bytes_mut(&mut large, 65_536).len(), 65_536);
    assert!(process.sending.take(65_537).is_none());
    let other = process.sending.take(60_000).unwrap();
    assert!(process.sending.take(60_000).is_none());
    assert!(!process.sending.has_buffers());
    process.sending.put_back(other);
    assert!(process.sending.has_buffers());
    // Half of all are kept at hand.
    let smalls: Vec<SendBuffer> = (0..20).map(|_| process.sending.take(60).unwrap()).collect();
    // None is at hand that is small: a large one will do.
    let mut stand_in = process.sending.take(60).unwrap();
    assert_eq!(process.sending.bytes_mut(&mut stand_in, 60).len(), 60);
    let mut numbers: Vec<u16> = smalls.iter().map(|buffer| buffer.0).collect();
    numbers.extend([large.0, stand_in.0]);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 22);
}

#[test]
fn a_card_that_fails_loses_frames_and_nothing_else() {
    let (card, mut process) = mapped();
    process.exchange(false).unwrap();
    card.borrow_mut().fails = Some(Error::DeviceFailed);
    for _ in 0..5 {
        let buffer = process.sending.take(60).unwrap();
        let options = SendOptions::default();
        process.sending.queue(buffer, 60, options, Some((7, 8)));
    }
    assert_eq!(process.exchange(true), Err(Error::DeviceFailed));
    assert!(!process.sending.has_queued() && !process.receiving.may_have_more());
    assert_eq!(card.borrow().sent[4].tail, Some((7, 8)));
    card.borrow_mut().fails = None;
    card.borrow_mut().arriving.push_back((0, 60, false));
    // Not asked for before it was told.
    process.exchange(true).unwrap();
    assert!(process.receiving.is_armed() && !process.receiving.has_frame());
    process.receiving.look_again();
    process.exchange(true).unwrap();
    assert!(process.receiving.has_frame());
}
