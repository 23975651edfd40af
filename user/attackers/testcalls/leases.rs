//! Who lends memory that it has not, or twice, to whom it may not, and who takes what was not lent.

use super::{Abuser, Kind, Tally};
use alloc::vec::Vec;
use runtime::ipc::{self, Received, mask};
use runtime::process::{self, Grant, Pid};
use runtime::{Error, Result, sys, time};

/// What lent memory is filled with, and what borrowers write.
const MINE: u8 = 0xa5;
const THEIRS: u8 = 0xbb;
/// Bytes of memory that are lent in part.
const LEN: usize = 3 * 4096;
/// How long a borrower waits for a call before it ends, in nanoseconds.
const IDLE_NS: u64 = 100_000_000;

/// Lends `count` times to a child that does as it likes, which now and then dies with the loan.
///
/// # Errors
/// If the child cannot be started.
pub fn lend(seed: u64, count: u32) -> Result<Tally> {
    let mut lender = Lender {
        abuser: Abuser::new(seed, Vec::new()),
        memory: alloc::vec![MINE; LEN],
        tally: Tally::default(),
    };
    let mut borrower = lender.start_borrower()?;
    for _ in 0..count {
        // What is lent to the dead, to itself and to nobody is refused at once.
        if lender.abuser.below(16) == 0 {
            let outcome = lender.abuser.call();
            lender.tally.count(&outcome);
        } else if matches!(
            lender.lend_to(borrower),
            Err(Error::PeerDied | Error::NotFound)
        ) {
            // Which of the two deaths is told first does not matter.
            process::wait_any()?;
            borrower = match lender.start_borrower() {
                // Its own senseless calls have used up what it may have.
                Err(Error::QuotaExceeded) => return Ok(lender.tally),
                started => started?,
            };
        }
    }
    process::kill(borrower).or_else(|error| match error {
        Error::NotFound | Error::PeerDied => Ok(()),
        error => Err(error),
    })?;
    Ok(lender.tally)
}

struct Lender {
    abuser: Abuser,
    memory: Vec<u8>,
    tally: Tally,
}

impl Lender {
    fn start_borrower(&mut self) -> Result<Pid> {
        let seed = self.abuser.next() >> 1;
        let args = alloc::format!("0,{seed},{}", Kind::Borrower.name());
        let child = process::spawn("testcalls", &args, &Grant::default())?;
        self.abuser.call_only(child);
        Ok(child)
    }

    /// Lends a part of the memory, whose neighbours must stay as they are.
    fn lend_to(&mut self, borrower: Pid) -> Result<()> {
        let from = self.abuser.below(LEN as u64) as usize;
        let to = from + self.abuser.below((LEN - from) as u64 + 1) as usize;
        let is_writable = self.abuser.below(2) == 0;
        let (before, rest) = self.memory.split_at_mut(from);
        let (lent, after) = rest.split_at_mut(to - from);
        let lease = match is_writable {
            true => sys::Lent::Write(&mut *lent),
            false => sys::Lent::Read(&*lent),
        };
        let outcome = ipc::call(borrower, b"take it", &mut [0; 8], &mut [lease]);
        self.tally.count(&outcome);
        let is_mine = |bytes: &[u8]| bytes.iter().all(|&byte| byte == MINE);
        if !is_mine(before) || !is_mine(after) || !is_writable && !is_mine(lent) {
            self.tally.wrong += 1;
        }
        self.memory.fill(MINE);
        outcome.map(drop)
    }
}

/// Serves calls: takes from what is lent and from what is not, answers once, twice, or dies.
///
/// # Errors
/// [`Error::NotPermitted`] if a loan outlived its call.
pub fn borrow(seed: u64) -> Result<()> {
    let mut abuser = Abuser::new(seed, Vec::new());
    let mut buffer = [THEIRS; 300];
    let mut watched = None;
    let mut last_token = 0;
    loop {
        let deadline = time::clock_ns() + IDLE_NS;
        let message = match ipc::wait(mask::MESSAGE | mask::DEATH, deadline)? {
            Received::Message(message) => message,
            Received::Notification(_) => continue,
            // Its caller has ended, or has nothing more to lend.
            Received::Death(..) | Received::TimedOut => return Ok(()),
        };
        if watched != Some(message.sender) && sys::watch(message.sender).is_ok() {
            watched = Some(message.sender);
        }
        for _ in 0..abuser.below(4) {
            // What was returned, and what was never lent, cannot be touched.
            let token = [message.token, last_token, abuser.next()][abuser.below(3) as usize];
            let is_wrong = take(&mut abuser, token, &mut buffer).is_ok() && token != message.token;
            if is_wrong {
                return Err(Error::NotPermitted);
            }
        }
        let _ = take(&mut abuser, message.token, &mut buffer);
        if abuser.below(64) == 0 {
            return Ok(()); // with the call
        }
        // A caller that was killed meanwhile needs no answer.
        let _ = ipc::reply(message.token, Ok(b"thanks"));
        if ipc::reply(message.token, Ok(b"twice")).is_ok() {
            return Err(Error::NotPermitted);
        }
        last_token = message.token;
    }
}

/// Copies from or to any place of any lease.
fn take(abuser: &mut Abuser, token: u64, buffer: &mut [u8]) -> Result<usize> {
    let lease = abuser.below(5) as u8;
    let offset = match abuser.below(4) {
        0 => abuser.next() >> 8,
        1 => u64::MAX >> 8,
        _ => abuser.below(LEN as u64),
    };
    let len = abuser.below(buffer.len() as u64 + 1) as usize;
    match abuser.below(2) {
        0 => {
            let result = ipc::lease_read(token, lease, offset, &mut buffer[..len]);
            buffer.fill(THEIRS);
            result
        }
        _ => ipc::lease_write(token, lease, offset, &buffer[..len]),
    }
}
