//! A card's owner that knows what every exchange must answer: what was done, how much of it, and
//! why the rest was not. It asks for what makes sense and for what does not.
//!
//! Each frame that it sends has a number, and says how many copies of it the station at the other
//! end shall send back, and after how many milliseconds: so the owner knows what it must receive.

mod owner;

use self::owner::{ARMED, Asked, NOTHING, Owner};
use super::Tally;
use abi::exchange::{RECEIVED_MAX, Received, SEND_COUNT, SENDS_MAX, Send, TAKEN_MAX};
use alloc::vec::Vec;
use core::time::Duration;
use runtime::ipc::mask;
use runtime::nic::SendOptions;
use runtime::{Error, Result, println, ramdisk, time};

/// Of no buffer.
const NO_BUFFER: u16 = u16::MAX;
/// A wait for what does not come, or has come already.
const SHORT: Duration = Duration::from_millis(100);
/// The longest wait for what comes soon.
const SOON: Duration = Duration::from_secs(1);
/// After how many milliseconds copies come that shall be waited for.
const LATER_MS: u8 = 20;
/// As many pieces as one exchange receives.
const PIECES: u32 = RECEIVED_MAX as u32;

/// What is wrong with a frame.
type Spoils = fn(&mut Send);

/// Makes all exchanges, and prints what was answered otherwise.
///
/// # Errors
/// If the card cannot be had, or gives nothing to go on with.
pub fn run() -> Result<Tally> {
    let mut owner = Owner::new()?;
    owner.buffers()?;
    owner.refusals()?;
    owner.receives()?;
    owner.wakes()?;
    owner.wakes_after_short_pauses()?;
    owner.wakes_nobody_who_does_not_ask()?;
    owner.works()?;
    // Whatever was refused, no buffer is lost.
    owner.take_all();
    println!("testcalls: {} frames sent", owner.sent);
    Ok(owner.tally)
}

impl Owner {
    /// Buffers to send from: as many as are wanted, or as there are; and all of them can be sent.
    fn buffers(&mut self) -> Result<()> {
        self.expect("nothing", Asked::default(), NOTHING);
        self.take(5, 2);
        self.take(TAKEN_MAX as u32 - 1, 2);
        self.send_held()?;
        self.take(u32::MAX, u32::MAX);
        self.send_held()?;
        for _ in 0..3 {
            self.take_all();
            self.send_held()?;
            // There were too few, so that it is told at once when there are more.
            self.wait_only("buffers are free again", mask::NIC_TRANSMIT, SHORT, true)?;
        }
        Ok(())
    }

    /// Takes all buffers that are free, which must be all that are not held.
    fn take_all(&mut self) {
        for _ in 0..u32::from(self.memory.small.0).div_ceil(TAKEN_MAX as u32) {
            self.take(TAKEN_MAX as u32, 0);
        }
        self.take(0, u32::MAX);
        self.take(1, 1);
        let got = (self.held.len(), self.held_large.len());
        let wanted = (self.memory.small.0.into(), self.memory.large.0.into());
        self.tally.expect("all buffers", got, wanted);
    }

    /// Sends frames from all buffers that are held, as many at a time as can be.
    fn send_held(&mut self) -> Result<()> {
        let mut held = core::mem::take(&mut self.held);
        held.append(&mut self.held_large);
        for buffers in held.chunks(SENDS_MAX) {
            let frames = buffers.iter().map(|buffer| self.frame_in(*buffer, 0, 0));
            let frames = frames.collect::<Result<Vec<_>>>()?;
            self.send("frames", &frames);
        }
        Ok(())
    }

    /// What cannot be sent is dropped, and what comes before and after it is sent.
    fn refusals(&mut self) -> Result<()> {
        let vlan = match self.features.vlan {
            true => Error::InvalidArgument,
            false => Error::NotSupported,
        };
        let ways: [(&str, Spoils, Error); 5] = [
            ("an empty frame", |send| send.len = 0, Error::BadFrame),
            (
                "beyond its buffer",
                |send| send.len = u32::MAX,
                Error::BadFrame,
            ),
            ("VLAN 4095", |send| send.options.vlan = Some(4095), vlan),
            (
                "an empty tail",
                |send| send.tail = Some((0, 0)),
                Error::BadFrame,
            ),
            (
                "a tail behind the ramdisk",
                |send| send.tail = Some((ramdisk::bytes().len() as u32 - 1, 2)),
                Error::BadAddress,
            ),
        ];
        for (what, spoil, error) in ways {
            let bad = self.spoiled(spoil)?;
            self.refused(what, bad, error, 1)?;
        }
        let mut bad = self.frame(0, 0)?;
        self.send("a frame", &[bad]);
        self.refused("a frame that was sent", bad, Error::BadHandle, 0)?;
        bad.buffer = NO_BUFFER;
        self.refused("a frame in no buffer", bad, Error::BadHandle, 0)?;
        // Of many, the last error is told. The driver gets them some at a time.
        let mut sends = Vec::new();
        for index in 0..SENDS_MAX {
            let send = match index {
                0 | 16 | 63 => self.spoiled(|send| send.len = 0),
                15 | 17 => self.spoiled(|send| send.tail = Some((u32::MAX, 1))),
                40 => self.spoiled(|send| send.options.vlan = Some(4095)),
                _ => self.frame(0, 0),
            };
            sends.push(send?.to_words());
        }
        self.ask(Asked::default().sending(&sends));
        // More than there is room for in the area.
        self.area[SEND_COUNT] = u32::MAX;
        let got = self.enter();
        let wanted = NOTHING.sent(SENDS_MAX).refused(Error::BadFrame);
        self.tally.expect("frames of all kinds", got, wanted);
        Ok(())
    }

    /// A frame with which something is wrong.
    fn spoiled(&mut self, spoil: Spoils) -> Result<Send> {
        let mut send = self.frame(0, 0)?;
        spoil(&mut send);
        self.sent -= 1;
        Ok(send)
    }

    /// Asks for a frame between two others that cannot be sent for this reason, and is counted as
    /// dropped so often.
    fn refused(&mut self, what: &str, bad: Send, error: Error, dropped: u64) -> Result<()> {
        let before = self.counter("tx_dropped")?;
        let (first, last) = (self.frame(0, 0)?, self.frame(0, 0)?);
        let sends = [first, bad, last].map(Send::to_words);
        let asked = Asked::default().sending(&sends);
        self.expect(what, asked, NOTHING.sent(3).refused(error));
        let counted = self.counter("tx_dropped")? - before;
        self.tally.expect(what, counted, dropped);
        Ok(())
    }

    /// Frames are received as many at a time as are wanted, and buffers taken back until one that
    /// is not held.
    fn receives(&mut self) -> Result<()> {
        let number = self.have_sent_back(3)?;
        let two = self.receive((2, 2), number);
        let third = self.receive((10, 1), number);
        self.receive((10, 0), number);
        let &[first, second] = &two[..] else {
            return Err(Error::NoMemory);
        };
        self.returned_wrongly("one between others", &[first, NO_BUFFER, second]);
        self.returned_wrongly("the first once more", &[first]);
        self.give_back(&[second]);
        self.give_back(&third);

        let number = self.have_sent_back(100)?;
        let many = self.receive((u32::MAX, PIECES), number);
        let (before, behind) = many.split_at_checked(40).ok_or(Error::NoMemory)?;
        let wrong = [before, &[NO_BUFFER], behind].concat();
        self.returned_wrongly("one among many", &wrong);
        self.returned_wrongly("the one before it", &before[39..]);
        self.give_back(behind);
        let rest = self.receive((PIECES, 100 - PIECES), number);
        self.give_back(&rest);
        Ok(())
    }

    /// Returns buffers of which one is not held.
    fn returned_wrongly(&mut self, what: &str, returns: &[u16]) {
        let asked = Asked::default().returning(returns);
        self.expect(what, asked, NOTHING.refused(Error::BadHandle));
    }

    /// Who sleeps is woken as was asked for, and with the frames.
    fn wakes(&mut self) -> Result<()> {
        // What there is already is no reason to sleep.
        let number = self.have_sent_back(1)?;
        self.forget_what_was_told()?;
        self.wait(
            "a frame is there",
            ARMED,
            (SOON, false),
            NOTHING.received(1),
        );
        self.give_back_copies_of(number);
        for _ in 0..3 {
            self.wakes_by_one_that_comes("a frame comes")?;
        }
        // So does what has come before, if it was not wanted then: as much as is wanted now.
        let number = self.have_sent_back(100)?;
        for (wake, received) in [(3, 3), (u32::MAX, PIECES)] {
            let asked = Asked { wake, ..ARMED }.receiving(0);
            let wanted = NOTHING.received(received).woken();
            self.wait("frames came before", asked, (SOON, true), wanted);
            self.give_back_copies_of(number);
        }
        let rest = self.receive((PIECES, 100 - 3 - PIECES), number);
        self.give_back(&rest);
        // What is refused is told at once.
        let asked = ARMED.returning(&[NO_BUFFER]);
        let wanted = NOTHING.refused(Error::BadHandle);
        self.wait("refused in a wait", asked, (SOON, false), wanted);
        Ok(())
    }

    /// A frame that comes while the owner sleeps comes with the wake-up.
    fn wakes_by_one_that_comes(&mut self, what: &str) -> Result<()> {
        let sends = [self.frame(1, LATER_MS)?.to_words()];
        let wanted = NOTHING.sent(1).received(1).woken();
        self.wait(what, ARMED.sending(&sends), (SOON, true), wanted);
        self.give_back_copies_of(self.sent - 1);
        Ok(())
    }

    /// After short pauses the kernel looks for frames itself for a while, instead of having the
    /// card interrupt: it wakes the owner all the same, with those that came.
    fn wakes_after_short_pauses(&mut self) -> Result<()> {
        for _ in 0..5 {
            // They come one after the other, so that the owner sleeps shortly now and then.
            let send = self.frame(100, 0)?;
            self.send("a frame", &[send]);
            let mut left = 100;
            while left > 0 {
                self.ask(ARMED);
                let (got, is_late) = self.enter_wait(SOON)?;
                if got.received == 0 {
                    return Err(Error::TimedOut);
                }
                let count = got.received.min(left);
                let wanted = NOTHING.received(count);
                let wanted = if got.woken > 0 {
                    wanted.woken()
                } else {
                    wanted
                };
                let said = (got, is_late);
                self.tally.expect("frames come", said, (wanted, false));
                self.give_back_copies_of(self.sent - 1);
                left -= count;
            }
        }
        // It looks no longer when this one comes.
        for _ in 0..3 {
            pause_shortly()?;
            self.forget_what_was_told()?;
            self.wakes_by_one_that_comes("a frame comes after short pauses")?;
        }
        Ok(())
    }

    /// Who asks for no wake-up gets none; and an exchange outside of a wait asks for an interrupt.
    fn wakes_nobody_who_does_not_ask(&mut self) -> Result<()> {
        // The last one may have asked for an interrupt that is to come.
        let number = self.have_sent_back(1)?;
        let piece = self.receive((PIECES, 1), number);
        self.give_back(&piece);
        self.forget_what_was_told()?;

        let unarmed = Asked {
            arm: false,
            ..ARMED
        };
        let sends = [self.frame(1, LATER_MS)?.to_words()];
        let (asked, sent) = (unarmed.sending(&sends), NOTHING.sent(1));
        self.wait("not armed, in a wait", asked, (SHORT, false), sent);
        self.wait_until_there_are(1)?;
        let piece = self.receive((PIECES, 1), self.sent - 1);
        self.give_back(&piece);
        for (arm, longest) in [(false, SHORT), (true, SOON), (true, SOON), (true, SOON)] {
            // Whatever the kernel does after short pauses.
            pause_shortly()?;
            self.forget_what_was_told()?;
            let sends = [self.frame(1, LATER_MS)?.to_words()];
            let asked = Asked { arm, ..ARMED }.sending(&sends);
            self.expect("an exchange before a wait", asked, NOTHING.sent(1));
            self.wait_only("armed, or not", mask::NIC_RECEIVE, longest, arm)?;
            // Such a wait brings nothing.
            let got = self.answer(Ok(()));
            self.tally.expect("after the wait", got, NOTHING.sent(1));
            self.wait_until_there_are(1)?;
            let piece = self.receive((PIECES, 1), self.sent - 1);
            self.give_back(&piece);
        }
        Ok(())
    }

    /// What a card that can does for frames, and finds out about them, is what was asked for.
    fn works(&mut self) -> Result<()> {
        let (checksums, vlan) = (self.features.checksums, self.features.vlan);
        let ways: [(bool, SendOptions, Received); 2] = [
            (
                checksums,
                SendOptions {
                    checksums: true,
                    ..SendOptions::default()
                },
                Received {
                    checksums_right: true,
                    ..Received::default()
                },
            ),
            (
                vlan,
                SendOptions {
                    vlan: Some(7),
                    ..SendOptions::default()
                },
                Received {
                    vlan: Some(7),
                    ..Received::default()
                },
            ),
        ];
        for (can, options, found) in ways {
            let mut send = self.frame(1, 0)?;
            send.options = options;
            if !can {
                self.sent -= 1;
                self.refused("what the card cannot", send, Error::NotSupported, 1)?;
                continue;
            }
            self.send("work for the card", &[send]);
            self.wait_until_there_are(1)?;
            let asked = Asked::default().receiving(1);
            self.expect("it comes back", asked, NOTHING.received(1));
            let piece = self.received(self.sent - 1, found);
            self.give_back(&piece);
        }
        Ok(())
    }
}

/// Sleeps for a very short while, again and again.
fn pause_shortly() -> Result<()> {
    for _ in 0..4 {
        time::sleep(Duration::from_micros(60))?;
    }
    Ok(())
}
