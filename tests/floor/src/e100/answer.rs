//! One circle for both directions: what has been received becomes the commands that send the
//! answers, and when those are done, room for more.
//!
//! ```text
//!          answered        received        room
//!     ... [ sent, free ] [ C ] [ C ] [ ] [ ] ... [ END ]
//!                          ^ at                    ^ the receiver stops here
//! ```

use super::{
    ALL, BATCH, BLOCKS, COMPLETE, Card, DATA, END, NO_BLOCKS, NOTHING, RECEIVE_START, RECEIVER,
    Ring, SUSPEND, TRANSMIT, TRANSMIT_RESUME, TRANSMIT_START,
};
use crate::{linger, pci::Bars, serial};
use floor::answer::answer;

/// Looks in vain after which a frame is taken to be the only one, and as many as the card needs
/// to write it.
const SILENCE: u32 = 1000;
const WRITTEN: u32 = 500;

/// Answers what it is asked.
pub fn answer_for_ever(bars: &Bars) -> ! {
    let ring = Ring::new(BLOCKS);
    for at in 0..BLOCKS {
        make_room(&ring, at, at == BLOCKS - 1);
    }
    let mut card = Card::reset(bars);
    card.start(RECEIVE_START, ring.block(0));
    serial::print("floor: answering\r\n");
    let mut at = 0;
    let (mut count, mut silent) = (0, 0_u32);
    let mut has_sent = false;
    loop {
        let mut looks = linger(count);
        count = 0;
        while count < BATCH && looks > 0 {
            match ring.status(at + count) & COMPLETE {
                0 => looks -= 1,
                _ => count += 1,
            }
        }
        if count == 0 {
            silent = silent.saturating_add(1);
            continue; // no pause: it would leave the emulated processor
        }
        // QEMU's card marks a frame complete before it writes the frame. It does not answer
        // while it does: what was marked before this has been written after it.
        // That read waits for QEMU's lock, asleep, if the card is not done yet: dear where this
        // frame is the only one, and just what makes a batch where more are coming.
        if silent > SILENCE {
            for _ in 0..WRITTEN {
                ring.status(at);
            }
        }
        silent = 0;
        let status = card.status();
        for number in at..at + count {
            let suspend = if number + 1 == at + count { SUSPEND } else { 0 };
            let command = match turn(&ring, number) {
                true => TRANSMIT,
                false => NOTHING,
            };
            ring.set_command(number, command | suspend);
        }
        match has_sent {
            true => card.command(TRANSMIT_RESUME),
            false => card.start(TRANSMIT_START, ring.block(at)),
        }
        has_sent = true;
        for number in at..at + count {
            make_room(&ring, number, number + 1 == at + count);
        }
        // The block before these is no longer the last.
        let before = ring.block(at + BLOCKS - 1);
        // SAFETY: the block is in memory. If the card has read the old command, it stops
        // there, and is seen to have.
        unsafe { (&raw mut (*before).command).write_volatile(0) };
        at = (at + count) % BLOCKS;
        if status & RECEIVER == NO_BLOCKS && ring.status(at) & COMPLETE == 0 {
            card.start(RECEIVE_START, ring.block(at));
        }
    }
}

/// Makes a block one that a frame can be received into.
fn make_room(ring: &Ring, at: usize, is_last: bool) {
    ring.set_sizes(at, 0, DATA as u16);
    ring.set_command(at, if is_last { END } else { 0 });
}

/// Turns what was received into a block into its answer; whether there is one.
fn turn(ring: &Ring, at: usize) -> bool {
    let block = ring.block(at);
    // SAFETY: the block is in memory and complete: the card does not touch it until it is
    // given back, and this is the only reference to it.
    let block = unsafe { &mut *block };
    let len = usize::from(block.count & 0x3fff).min(DATA);
    let is_answer = answer(&mut block.data[..len]);
    ring.set_sizes(at, len as u16 | ALL, 0xe0);
    is_answer
}
