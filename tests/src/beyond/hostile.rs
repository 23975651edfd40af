//! Hostile programs: whatever one does, the page is served, it is told what it may not, and when
//! it has ended all memory is free that was free before.
//!
//! The program `abuse` waits for a datagram, misbehaves until the next one, and tells of free
//! memory at both moments. So a page's usual time is taken on the same machine, just before.

use super::trouble::both_serve;
use crate::grade::web;
use crate::machine::{LONG, Machine, PATIENCE, Setup};
use crate::monitor::forwarded_port;
use crate::suite::{Bench, Case};
use crate::wire::GUEST_IP;
use crate::{During, Failure, Outcome, ensure};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("takes all memory", |bench| {
        abuse(bench, "hog,2", &["hog: quota exceeded after "])
    }),
    Case::new("takes all sockets", |bench| {
        abuse(bench, "socks", &["socks: quota exceeded after 32 sockets"])
    }),
    Case::new("registers junk names", |bench| {
        abuse(bench, "names", &["names: not permitted 63 times of 63"])
    }),
    Case::new("wants another's name, card and rights", |bench| {
        abuse(bench, "imposter", &["imposter: not permitted 8 times of 8"])
    }),
    Case::new("has children and never hears of their ends", |bench| {
        let told = "zombies: quota exceeded after 15 children";
        abuse(bench, "zombies", &[told])
    }),
    Case::new("has children that have children", |bench| {
        abuse(bench, "bomb", &["bomb: quota exceeded"])
    }),
    Case::new("twenty compute", |bench| abuse(bench, "spin,20", &[])),
    Case::new("twenty wait without sleeping", |bench| {
        abuse(bench, "waitspin,20", &[])
    }),
    Case::new("prints without end", |bench| abuse(bench, "print", &[])),
    Case::new("calls whom answers late", |bench| {
        let told = ["call: timed out 5 times", "late: bad handle 5 times"];
        abuse(bench, "call", &told)
    }),
    Case::new("notifies everybody", |bench| {
        abuse(bench, "notify", &["notify: quota exceeded 2 times of 6"])
    }),
    Case::new("ps tells who has what", ps).once(),
];

/// What the program has for itself and its children.
const LIMITS: &str = "limits=memory:12M,processes:40,sockets:800,handles:300,notifications:120";
/// Where it listens.
const PORT: u16 = 9;
/// Pages whose times are compared. Three may be late.
const PAGES: usize = 300;
/// A page whose time is less is as good: this machine itself stops QEMU for so long now and
/// then, when its processors are not enough for all who want them (a turn of Linux's scheduler is
/// 3 ms, and QEMU has three threads that a page needs). Before there was a scheduler in the
/// kernel, a page beside ten who compute took 220 ms, and 400 beside twenty who wait.
pub(super) const FLOOR: Duration = Duration::from_millis(10);

/// The 99th percentile of a page's time.
fn p99(machine: &Machine) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(PAGES);
    for _ in 0..PAGES {
        let began = Instant::now();
        web(machine)?
            .get("/", "Connection: close\r\n")?
            .expect(200)?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times[PAGES * 99 / 100])
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    free: u64,
    /// Those that processes have.
    held: u64,
}

/// Sends a datagram, and waits until the program tells that it has heard, and of memory.
fn tell(machine: &Machine, port: u16, mode: &str, what: &str) -> Outcome<Memory> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let prefix = format!("abuse: {mode}: {what}: ");
    let mark = machine.console.mark();
    socket.send_to(b"!", (Ipv4Addr::LOCALHOST, port))?;
    let line = machine
        .console
        .wait_where(mark, &prefix, LONG, |line| line.starts_with(&prefix))?;
    let words: Vec<&str> = line[prefix.len()..].split(' ').collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
    let (free, held) = (number(0), number(3));
    Ok(Memory {
        free: free.ok_or(line.as_str())?,
        held: held.ok_or(line.as_str())?,
    })
}

fn abuse(bench: &Bench, args: &str, refusals: &[&str]) -> Outcome {
    let append = format!("run=httpd run=echosrv {LIMITS} run=abuse,{args}");
    let setup = Setup::new(&append).from_image(bench.image_with_attackers());
    let mut machine = bench.boot(&setup)?;
    let mode = args.split(',').next().unwrap_or_default();
    machine.wait_servers(true, true)?;
    machine
        .console
        .wait_line(&format!("abuse: {mode}: ready"), PATIENCE)?;
    let forward = format!("hostfwd_add n0 udp:127.0.0.1:0-:{PORT}");
    machine.monitor.command(&forward)?;
    let usernet = machine.monitor.command("info usernet")?;
    let port = forwarded_port(&usernet, "UDP", (GUEST_IP, PORT))?;

    let usual = p99(&machine)?;
    let before = tell(&machine, port, mode, "begins")?;
    for refusal in refusals {
        let prefix = format!("abuse: {refusal}");
        machine.console.wait_prefix(&prefix, PATIENCE)?;
    }
    let during = p99(&machine)?;
    let after = tell(&machine, port, mode, "is over")?;
    bench.note(format!(
        "p99 {:.1} ms, usually {:.1}",
        during.as_secs_f32() * 1e3,
        usual.as_secs_f32() * 1e3
    ));
    ensure(during <= 3 * usual.max(FLOOR), || {
        format!("a page took {during:?} beside it, usually {usual:?}")
    })?;
    // What is not free some process has: its servers may have grown.
    ensure(before.free + before.held == after.free + after.held, || {
        format!("first {before:?}, then {after:?}")
    })?;
    // Once they have, all is as it was.
    let before = tell(&machine, port, mode, "begins")?;
    both_serve(&machine).during("meanwhile")?;
    let after = tell(&machine, port, mode, "is over")?;
    ensure(before == after, || {
        format!("the second time first {before:?}, then {after:?}")
    })?;
    both_serve(&machine)
}

/// Each process's line: what it is, and what it has of what it may have.
fn ps(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=httpd run=echosrv run=ps"))?;
    machine.wait_servers(true, true)?;
    machine.console.wait_prefix("init: ps ended", PATIENCE)?;
    let lines = machine.console.lines();
    let row = |name: &str| -> Outcome<Vec<String>> {
        let rows = lines.iter().map(|line| line.split_whitespace());
        let mut rows = rows.map(|words| words.map(str::to_owned).collect::<Vec<_>>());
        let row = rows.find(|words| words.len() == 9 && words[2] == name);
        row.ok_or_else(|| Failure(format!("no row of {name}")))
    };
    ensure(row("NAME")?[5] == "MEMORY", || "another heading".to_owned())?;
    // The servers may be at work just then.
    for (name, states) in [
        ("init", &["waiting+", "ready+", "calling+"][..]),
        ("httpd", &[]),
        ("ps", &["running"]),
    ] {
        let row = row(name)?;
        ensure(
            states.is_empty() || states.contains(&row[3].as_str()),
            || format!("{name} is {}", row[3]),
        )?;
        let parts: Vec<u64> = row[5].split('/').filter_map(|n| n.parse().ok()).collect();
        ensure(
            matches!(parts[..], [used, limit] if 0 < used && used <= limit),
            || format!("{name} has {}", row[5]),
        )?;
    }
    Ok(())
}
