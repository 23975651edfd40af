//! Does what a hostile program would, for the tests that the others are served nevertheless:
//! `abuse,MODE[,COUNT]`. It waits for a datagram at its port, has COUNT children behave badly
//! until the next one, ends them, and tells how much memory is free before and after; and so on.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use runtime::args::Args;
use runtime::ipc::{FOREVER, Received, mask};
use runtime::limits::{Limits, Resource, spawn};
use runtime::process::{self, Grant};
use runtime::socket::{UdpSocket, any};
use runtime::start::Context;
use runtime::{Error, Pid, ipc, println, sys, time};

runtime::entry!(
    "\
usage: abuse[,MODE[,COUNT]]
  waits for a datagram at port 9, has COUNT children (1 if not said) behave
  badly until the next one, tells what they were refused, and waits again
  MODE  hog (memory; if not said), socks (sockets), names, imposter
        (another's name, card and rights), zombies (children that are not
        heard of), bomb (children that have children), spin, waitspin (waits
        without sleeping), print, call (of a server that answers late), notify",
    options,
    main
);

/// The discard port (RFC 863).
const PORT: u16 = 9;
/// Enough for a child that does nothing with it.
const SMALL: Limits = Limits::PROGRAM
    .with(Resource::Memory, 384 << 10)
    .with(Resource::Handles, 0)
    .with(Resource::Sockets, 0)
    .with(Resource::Notifications, 0);
/// How long a call may take, in nanoseconds.
const PATIENCE_NS: u64 = 20_000_000;

/// Mode, count, and whether it is a child that behaves so.
struct Options {
    mode: String,
    number: u32,
    is_child: bool,
}

fn options(args: &mut Args<'_>) -> Result<Options, String> {
    const MODES: [&str; 13] = [
        "hog", "socks", "names", "imposter", "zombies", "bomb", "spin", "waitspin", "print",
        "call", "late", "notify", "nothing",
    ];
    let word = args.next().unwrap_or("hog");
    let (mode, is_child) = match word.strip_prefix('+') {
        Some(mode) => (mode, true),
        None => (word, false),
    };
    if !MODES.contains(&mode) {
        return Err(args.unknown(word));
    }
    Ok(Options {
        mode: mode.into(),
        number: args.parsed("count", 1)?,
        is_child,
    })
}

fn main(options: Options) -> Result<(), String> {
    match options.is_child {
        true => misbehave(&options.mode, options.number).map_err(|error| format!("{error}")),
        false => control(&options.mode, options.number),
    }
}

/// Starts and ends the children.
fn control(mode: &str, count: u32) -> Result<(), String> {
    let socket = UdpSocket::bind(any(PORT)).context("bind")?;
    let mut buffer = [0; 16];
    // All that will be needed, so that what is free before and after is comparable.
    let mut children: Vec<Pid> = Vec::with_capacity(count as usize + 1);
    let before = process::all().context("processes")?.len();
    println!("abuse: {mode}: ready");
    loop {
        socket.recv_from(&mut buffer).context("receive")?;
        tell(mode, "begins")?;
        // Who is called is started first, and its number told to who calls.
        let callee = match mode {
            "call" => Some(start("late", 0, Limits::PROGRAM)?),
            _ => None,
        };
        children.extend(callee);
        for _ in 0..count {
            let number = callee.map_or(0, |pid| pid.0);
            children.push(start(mode, number, limits_of(mode))?);
        }
        socket.recv_from(&mut buffer).context("receive")?;
        for child in children.drain(..) {
            match process::kill(child) {
                Ok(()) | Err(Error::PeerDied) => {}
                Err(error) => return Err(format!("kill: {error}")),
            }
            process::wait_any().context("wait")?;
        }
        // Grandchildren see that their parents are gone.
        while process::all().context("processes")?.len() > before {
            time::sleep(Duration::from_millis(10)).context("sleep")?;
        }
        tell(mode, "is over")?;
    }
}

/// Tells how much memory is free, and how much all processes have.
fn tell(mode: &str, what: &str) -> Result<(), String> {
    let processes = process::all().context("processes")?;
    let held = processes
        .iter()
        .map(|process| process.used.get(Resource::Memory));
    let held: u64 = held.sum();
    let free = sys::free_memory().context("free memory")?;
    println!("abuse: {mode}: {what}: {free} bytes free, {held} held");
    Ok(())
}

fn start(mode: &str, number: u32, limits: Limits) -> Result<Pid, String> {
    let grant = Grant {
        limits,
        ..Grant::default()
    };
    process::spawn("abuse", &format!("+{mode},{number}"), &grant).context("spawn")
}

/// What a child may have.
fn limits_of(mode: &str) -> Limits {
    match mode {
        "spin" | "waitspin" => SMALL,
        "hog" => Limits::PROGRAM.with(Resource::Memory, 4 << 20),
        "zombies" | "bomb" => Limits::PROGRAM
            .with(Resource::Memory, 7 << 20)
            .with(Resource::Processes, 16),
        _ => Limits::PROGRAM,
    }
}

/// What a child does until it is ended.
fn misbehave(mode: &str, number: u32) -> runtime::Result<()> {
    match mode {
        "hog" => hog(),
        "socks" => socks(),
        "names" => names(),
        "imposter" => imposter(),
        "zombies" => zombies(),
        "bomb" => bomb(),
        "spin" => loop {
            core::hint::spin_loop();
        },
        "waitspin" => loop {
            ipc::wait(mask::USER, 0)?;
        },
        "print" => loop {
            println!("{:#>199}", "");
        },
        "call" => call(Pid(number)),
        "late" => late(),
        "notify" => notify(),
        _ => Ok(()),
    }
}

/// Sleeps until it is ended.
fn sleep() -> runtime::Result<()> {
    loop {
        ipc::wait(0, FOREVER)?;
    }
}

/// Takes all memory that it can get.
fn hog() -> runtime::Result<()> {
    let mut taken = 0;
    for step in [64 << 10, 4 << 10] {
        let refused = loop {
            match sys::grow_heap(step) {
                Ok(_) => taken += step,
                Err(error) => break error,
            }
        };
        println!("abuse: hog: {refused} after {taken} bytes");
    }
    sleep()
}

/// Takes all sockets that it can get, again and again.
fn socks() -> runtime::Result<()> {
    let mut sockets = Vec::new();
    let refused = loop {
        match UdpSocket::bind(any(0)) {
            Ok(socket) => sockets.push(socket),
            Err(error) => break error,
        }
    };
    println!("abuse: socks: {refused} after {} sockets", sockets.len());
    loop {
        drop(UdpSocket::bind(any(0)));
    }
}

/// Registers names that mean nothing.
fn names() -> runtime::Result<()> {
    let mut refused = 0;
    for number in 0..63 {
        let name = format!("junk{number}");
        refused += u32::from(ipc::register(&name) == Err(Error::NotPermitted));
    }
    println!("abuse: names: not permitted {refused} times of 63");
    loop {
        let _ = ipc::register("junk");
    }
}

/// Asks for what is others', and for rights that it has not.
fn imposter() -> runtime::Result<()> {
    let init = ipc::lookup("init")?;
    let server = |flags, names| Grant {
        limits: SMALL,
        flags,
        names,
        ..Grant::default()
    };
    let child = |grant| process::spawn("abuse", "+nothing", &grant).map(|_| ());
    let attempts = || {
        [
            ("name", ipc::register("net0")),
            ("init", ipc::register("init")),
            ("all names", ipc::register("*")),
            ("card", sys::nic_attach(0, &mut []).map(drop)),
            ("charge", sys::charge(init, 1000)),
            ("kill", process::kill(init)),
            ("server", child(server(spawn::SERVER, ""))),
            ("child's name", child(server(0, "net0"))),
        ]
    };
    let refused = attempts().map(|(what, result)| match result {
        Err(Error::NotPermitted) => 1,
        other => {
            println!("abuse: imposter: {what}: {other:?}");
            0
        }
    });
    let count: u32 = refused.iter().sum();
    println!(
        "abuse: imposter: not permitted {count} times of {}",
        refused.len()
    );
    loop {
        for (_, attempt) in attempts() {
            let _ = attempt;
        }
    }
}

/// Starts children that end at once, and never hears of it.
fn zombies() -> runtime::Result<()> {
    let grant = Grant {
        limits: SMALL,
        ..Grant::default()
    };
    let mut count = 0;
    let refused = loop {
        match process::spawn("abuse", "+nothing", &grant) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    println!("abuse: zombies: {refused} after {count} children");
    loop {
        let _ = process::spawn("abuse", "+nothing", &grant);
    }
}

/// Starts children that do the same, each with half of what is left, and computes. Ends when its
/// parent has: the first process is its parent then.
fn bomb() -> runtime::Result<()> {
    let init = ipc::lookup("init")?;
    let refused = loop {
        let own = process::own()?;
        let left = own.own_limits().minus(&own.used);
        let half = |resource| left.get(resource).div_ceil(2);
        let grant = Grant {
            limits: SMALL
                .with(Resource::Memory, half(Resource::Memory).max(384 << 10))
                .with(Resource::Processes, half(Resource::Processes).max(1)),
            ..Grant::default()
        };
        if let Err(error) = process::spawn("abuse", "+bomb", &grant) {
            break error;
        }
    };
    println!("abuse: bomb: {refused}");
    loop {
        let until = time::clock_ns() + 10_000_000;
        while time::clock_ns() < until {}
        if process::own()?.parent == init {
            return Ok(());
        }
    }
}

/// Calls a server whose answers come too late.
fn call(server: Pid) -> runtime::Result<()> {
    let mut late = 0;
    loop {
        let mut answer = [0; 8];
        let deadline = time::clock_ns() + PATIENCE_NS;
        match ipc::call_until(server, b"?", &mut answer, &mut [], deadline) {
            Err(Error::TimedOut) if answer == [0; 8] => late += 1,
            other => println!("abuse: call: {other:?}, {answer:?}"),
        }
        if late == 5 {
            println!("abuse: call: timed out {late} times");
        }
    }
}

/// Answers after the caller's patience has ended.
fn late() -> runtime::Result<()> {
    let mut late = 0;
    loop {
        let Received::Message(message) = ipc::wait(mask::MESSAGE, FOREVER)? else {
            continue;
        };
        time::sleep(Duration::from_nanos(PATIENCE_NS * 3 / 2))?;
        match ipc::reply(message.token, Ok(b"too late")) {
            Err(Error::BadHandle) => late += 1,
            other => println!("abuse: late: {other:?}"),
        }
        if late == 5 {
            println!("abuse: late: bad handle {late} times");
        }
    }
}

/// Notifies everybody, again and again.
fn notify() -> runtime::Result<()> {
    let others = process::all()?;
    let mut refused = 0;
    for other in &others {
        let notified = ipc::notify(other.pid, mask::USER);
        refused += u32::from(notified == Err(Error::QuotaExceeded));
    }
    println!(
        "abuse: notify: quota exceeded {refused} times of {}",
        others.len()
    );
    loop {
        for other in &others {
            let _ = ipc::notify(other.pid, mask::USER);
        }
    }
}
