//! Takes memory in every way, and tells how much is free before and after: it must be the same,
//! to the byte. Looks for what others leave in memory and registers: it must be nothing.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use attackers::testmemory as strain;
use runtime::args::Args;
use runtime::{Pid, println, sys};

runtime::entry!(
    "\
usage: testmemory,WHAT[,ROUNDS]
  takes memory, and tells how much is free before and after
  spawn    starts programs until it gets no more
  mutual   starts pairs of programs that wait for each other
  orphans  the same by a program that ends before them
  take     starts a program that takes all memory
  run,ROUNDS,NAME[,ARG...]  runs another program to its end
  marks    looks for what another program has left in memory and registers
  ROUNDS   how often; 3 if not said
  sleep, called, call, pair, mark and take0 are what it starts",
    options,
    main
);

/// The card whose buffers change hands.
const CARD: u8 = 0;

struct Options {
    what: &'static str,
    rounds: u32,
    rest: Vec<&'static str>,
}

fn options(args: &mut Args<'static>) -> Result<Options, String> {
    let what = args.next().unwrap_or("");
    let rounds = args.parsed("number", 3)?;
    let rest = args.by_ref().collect();
    Ok(Options { what, rounds, rest })
}

fn main(options: Options) -> runtime::Result<()> {
    let Options { what, rounds, rest } = options;
    match what {
        "sleep" => return strain::sleep(),
        "called" => return strain::be_called(),
        "call" => {
            strain::call(Pid(rounds));
            return Ok(());
        }
        "pair" => return strain::start_pair(),
        "mark" => return strain::leave_marks(CARD),
        "take0" => {
            strain::take_memory();
            return Ok(());
        }
        "marks" => {
            let [loaded, words, fresh] = strain::look_for_marks(CARD)?;
            println!(
                "testmemory: marks: {loaded} in registers, {words} in buffers, {fresh} in memory"
            );
            return Ok(());
        }
        _ => {}
    }
    // What this program needs itself, it has before the first look.
    let mut children = Vec::with_capacity(64);
    let args = rest.get(1..).unwrap_or_default().join(",");
    let before = sys::free_memory()?;
    println!("testmemory: {what}: {before} bytes free before");
    for round in 1..=rounds {
        let mut told = String::new();
        match what {
            "spawn" => {
                let (count, free, refused) = strain::spawn_without_end(&mut children)?;
                let why = refused.map_or("", |error| error.name());
                told = alloc::format!(", {count} started, then {free} free, then: {why}");
            }
            "mutual" => strain::call_each_other()?,
            "orphans" => strain::leave_orphans(before)?,
            "take" => strain::take_all()?,
            "run" => strain::run(rest.first().copied().unwrap_or("hello"), &args)?,
            _ => return Err(runtime::Error::InvalidArgument),
        }
        let free = sys::free_memory()?;
        if round == rounds || round <= 10 || round % 20 == 0 {
            println!("testmemory: {what}: {free} bytes free after round {round}{told}");
        }
    }
    println!("testmemory: {what}: end");
    Ok(())
}
