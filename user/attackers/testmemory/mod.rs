//! Programs that take what there is, leave what they have, or wait for each other for ever; and
//! what a program that looks on finds afterwards. For the tests that all of it comes back, and
//! nothing of it shows.
#![allow(unsafe_code)]

mod traces;

use abi::ipc::{FOREVER, Received, wait};
use abi::limits::{Limits, Resource};
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;
use runtime::process::Grant;
use runtime::{Error, Pid, Result, ipc, println, process, sys, time};

/// The program that all this is of.
const NAME: &str = "testmemory";
/// The most children at a time.
const CHILDREN_MAX: usize = 64;
/// What a child takes of memory at once, in bytes.
const TAKEN: usize = 256 * 1024;
/// What a child of these takes of memory to run, at the most, in bytes.
const NEEDED: u64 = 384 << 10;
/// What one takes that starts others.
const SPARE: u64 = 1 << 20;
/// Turns for which a child keeps its marks, and its parent looks at its own registers.
const TURNS: u32 = 200;
/// Looks, a millisecond apart, whether orphans are gone.
const LOOKS: u32 = 500;
/// How long it waits for a frame, in nanoseconds.
const FRAMES_NS: u64 = 5_000_000_000;

/// Starts a child with so much memory beside what it needs to run, for itself and two children.
fn start(name: &str, args: &str, memory: u64) -> Result<Pid> {
    let family = if memory > 0 { 3 } else { 1 };
    let limits = Limits::NONE
        .with(Resource::Memory, NEEDED + memory)
        .with(Resource::Processes, family)
        .with(Resource::Handles, u64::from(memory > 0));
    let cards = if memory > 0 { u64::MAX } else { 0 };
    let grant = Grant {
        limits,
        cards,
        ..Grant::default()
    };
    process::spawn(name, args, &grant)
}

/// How much memory this program may still have or give, in bytes.
fn left_memory() -> Result<u64> {
    let own = process::own()?;
    let left = own.own_limits().minus(&own.used);
    Ok(left.get(Resource::Memory))
}

/// Starts children that sleep until none is to be had, and ends them. Returns how many there
/// were, how many bytes were free then, and why there were not more.
///
/// # Errors
/// If they cannot be ended.
pub fn spawn_without_end(children: &mut Vec<Pid>) -> Result<(usize, u64, Option<Error>)> {
    let mut refused = None;
    while children.len() < CHILDREN_MAX && refused.is_none() {
        match start(NAME, "sleep", 0) {
            Ok(child) => children.push(child),
            Err(error) => refused = Some(error),
        }
    }
    let (count, free) = (children.len(), sys::free_memory()?);
    end_all(children)?;
    Ok((count, free, refused))
}

/// Has two children call each other, of which one is refused: both end.
///
/// # Errors
/// If they cannot be started.
pub fn call_each_other() -> Result<()> {
    start_pair()?;
    process::wait_any()?;
    process::wait_any().map(drop)
}

/// Has a child start two that call each other, and end before them: nobody else will end them.
/// Waits, as long as such a call may take, until so many bytes are free again.
///
/// # Errors
/// If they cannot be started.
pub fn leave_orphans(free: u64) -> Result<()> {
    run(NAME, "pair")?;
    for _ in 0..LOOKS {
        if sys::free_memory()? == free {
            break;
        }
        time::sleep(Duration::from_millis(1))?;
    }
    Ok(())
}

/// A child's part: starts two that call each other.
///
/// # Errors
/// If they cannot be started.
pub fn start_pair() -> Result<()> {
    let called = start(NAME, "called", 0)?;
    start(NAME, &format!("call,{}", called.0), 0).map(drop)
}

/// Has a child take all memory that it gets, and end.
///
/// # Errors
/// If it cannot be started.
pub fn take_all() -> Result<()> {
    start(NAME, "take0", left_memory()? / 4 * 3)?;
    process::wait_any().map(drop)
}

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be started.
pub fn run(name: &str, args: &str) -> Result<()> {
    start(name, args, SPARE)?;
    process::wait_any().map(drop)
}

/// What is left of a child that has marked all that it could: the times that this program found
/// its own segment registers loaded, words in the card's buffers, words in fresh memory.
///
/// # Errors
/// If there is no card, or no memory.
pub fn look_for_marks(card: u8) -> Result<[usize; 3]> {
    let child = start(NAME, "mark", 1 << 20)?;
    let mut loaded = 0;
    for _ in 0..TURNS {
        sys::yield_now()?;
        loaded += usize::from(traces::segments() != [0; 4]);
    }
    while process::wait_any()?.0 != child {}
    let endpoint = sys::nic_attach(card, &mut [])?;
    let buffers = traces::buffers(endpoint)?;
    let fresh = traces::more_memory(TAKEN)?;
    // SAFETY: all of it was just mapped for this process.
    let (marked, used) = unsafe {
        let marked = buffers.map(|range| traces::count(range, |word| word == traces::MARK));
        (marked, traces::count(fresh, |word| word != 0))
    };
    Ok([loaded, marked.iter().sum(), used])
}

/// A child's part: marks all that it can, and ends.
///
/// # Errors
/// If there is no card, or no memory.
pub fn leave_marks(card: u8) -> Result<()> {
    let endpoint = sys::nic_attach(card, &mut [])?;
    let [transmit, _] = traces::buffers(endpoint)?;
    let fresh = traces::more_memory(TAKEN)?;
    // SAFETY: both were just mapped for this process to write, and no object is in them.
    unsafe {
        traces::mark(transmit);
        traces::mark(fresh);
    }
    println!("testmemory: marked");
    // Until a frame has come that somebody else could see, or none comes.
    let end = time::clock_ns() + FRAMES_NS;
    let mut frame = [0; 2048];
    let mut turns = 0;
    while turns < TURNS || sys::nic_receive(endpoint, &mut frame).is_err() && time::clock_ns() < end
    {
        traces::mark_segments();
        sys::yield_now()?;
        turns += 1;
    }
    Ok(())
}

/// A child's part: takes memory until it gets no more.
pub fn take_memory() {
    for bytes in [TAKEN, abi::layout::PAGE_SIZE as usize] {
        while sys::grow_heap(bytes).is_ok() {}
    }
}

/// A child's part: waits for ever.
///
/// # Errors
/// None is expected.
pub fn sleep() -> Result<()> {
    loop {
        sys::wait(wait::DEATH, FOREVER)?;
    }
}

/// A child's part: calls whoever calls it, instead of answering.
///
/// # Errors
/// None is expected.
pub fn be_called() -> Result<()> {
    loop {
        if let Received::Message(message) = sys::wait(wait::MESSAGE, FOREVER)? {
            // It is refused: who has called waits for an answer. It gets none, but an end.
            call(message.sender);
            return Ok(());
        }
    }
}

/// A child's part: calls the other, which does not answer. What it is told instead is no matter.
pub fn call(other: Pid) {
    let _ = ipc::ask(other, b"you first");
}

fn end_all(children: &mut Vec<Pid>) -> Result<()> {
    for child in children.iter() {
        process::kill(*child)?;
    }
    for _ in children.drain(..) {
        process::wait_any()?;
    }
    Ok(())
}
