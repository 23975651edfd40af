//! Hostile programs: `testcalls` by many seeds, half of the times killed amid its work.

use super::dice::Dice;
use super::scene::{Client, serve_within};
use super::{AFTER, DURING, Plan};
use crate::beyond::echo::udp_echo;
use crate::beyond::tenants;
use crate::frames::{self, BROADCAST, IPV4};
use crate::machine::{LONG, Machine, Setup};
use crate::suite::Bench;
use crate::wire::{OUR_MAC, Wire};
use crate::{During, Outcome, ensure};
use std::time::{Duration, Instant};

/// How often a program starts itself, one seed after the other.
const TIMES: usize = 4;
/// How much less memory may be free after the last one than after the first one that was served: the
/// network server keeps what it needed once.
const SLACK: u64 = 512 << 10;

/// Any calls with any arguments, while two servers serve.
pub fn calls(bench: &Bench, plan: &Plan) -> Outcome {
    const COUNT: usize = 10_000;
    plan.lives(bench, || {
        // A life is one round: what it starts is on the kernel command line.
        let mut dice = plan.next(Instant::now()).ok_or("no time")?;
        let seed = dice.next() >> 1;
        let append = format!("run=echosrv run=httpd run=testcalls,{COUNT},{seed},calls,{TIMES}");
        let setup = Setup::new(&append).from_image(bench.image_with_attackers());
        let machine = bench.boot(&setup)?;
        machine.wait_servers(true, true)?;
        serve_within(&machine, DURING).during("beside the calls")?;
        let free = free_memory(&machine)?;
        plan.count(TIMES * COUNT);
        let (first, last) = (free[1], free[TIMES - 1]);
        ensure(last + SLACK >= first, || {
            format!("{first} bytes were free after two, {last} after all: {free:?}")
        })?;
        serve_within(&machine, AFTER).during("after the calls")?;
        udp_echo(&machine, 100)
    })?;
    bench.note(format!("up to {} calls", plan.done()));
    Ok(())
}

/// Fifteen stacks share a card with one who writes anything anywhere into its part of it, and dies in the
/// midst of that: the others echo, each what no other does.
pub fn tenants(bench: &Bench, plan: &Plan) -> Outcome {
    const COUNT: usize = 5_000;
    const STACKS: u8 = 15;
    plan.lives(bench, || {
        let mut dice = plan.next(Instant::now()).ok_or("no time")?;
        let seed = dice.next() >> 1;
        let more = format!("run=testcalls,{COUNT},{seed},tenant,{TIMES}");
        let machine = tenants::boot(bench, STACKS, &more, bench.image_with_attackers())?;
        while told_free(&machine).len() < TIMES {
            tenants::echo_all(&machine, STACKS, dice.next(), 20_000)?;
            let passed = machine.power_on.elapsed();
            ensure(passed < LONG, || "the tenant does not end".to_owned())?;
        }
        plan.count(TIMES * COUNT);
        // Every second one is killed before it has done all.
        let lines = machine.console.lines();
        let whole = lines.iter().filter(|line| line.contains(" calls done, "));
        ensure(whole.count() == TIMES / 2, || {
            "a tenant did not get its part of the card".to_owned()
        })?;
        tenants::echo_all(&machine, STACKS, dice.next(), 20_000)
    })?;
    bench.note(format!("up to {} exchanges", plan.done()));
    Ok(())
}

/// A card's owner that writes anything anywhere; then the network server has the card, and it works.
pub fn exchanges(bench: &Bench, plan: &Plan) -> Outcome {
    const COUNT: usize = 20_000;
    plan.lives(bench, || {
        let mut dice = plan.next(Instant::now()).ok_or("no time")?;
        let seed = dice.next() >> 1;
        let append = format!("run=testcalls,{COUNT},{seed},exchanges,{TIMES}");
        let setup = Setup::on_wire(&append).from_image(bench.image_with_attackers());
        let mut machine = bench.boot(&setup)?;
        let mut port = 0;
        // Frames come meanwhile, so that there is something to be received.
        while told_free(&machine).len() < TIMES {
            port += 1;
            feed(machine.wire()?, &dice.bytes(60), port)?;
            let passed = machine.power_on.elapsed();
            ensure(passed < LONG, || "the owner does not end".to_owned())?;
        }
        plan.count(TIMES * COUNT);
        same_memory(&told_free(&machine))?;
        machine.wait_servers(true, true)?;
        let wire = machine.wire()?;
        wire.resolve().during("after a hostile owner")?;
        let served = Client::new(bench)?.serves(wire, AFTER);
        served.during("after a hostile owner").map(drop)
    })?;
    bench.note(format!("up to {} exchanges", plan.done()));
    Ok(())
}

/// Offers a few frames, and takes what has come.
fn feed(wire: &Wire, bytes: &[u8], port: u16) -> Outcome {
    let packet = frames::datagram((wire.ip, wire.guest_ip), (port, 7), bytes);
    for _ in 0..8 {
        // An owner that gives no buffers back gets no frames.
        wire.offer(&frames::ethernet(BROADCAST, OUR_MAC, IPV4, &packet))?;
    }
    wire.drain()?;
    std::thread::sleep(Duration::from_millis(2));
    Ok(())
}

/// Loans of any memory, to a borrower that does as it likes; then all memory is back.
pub fn leases(bench: &Bench, plan: &Plan) -> Outcome {
    const COUNT: usize = 4_000;
    plan.lives(bench, || {
        let mut dice = plan.next(Instant::now()).ok_or("no time")?;
        let seed = dice.next() >> 1;
        let append = format!("run=testcalls,{COUNT},{seed},leases,{TIMES}");
        let setup = Setup::new(&append).from_image(bench.image_with_attackers());
        let machine = bench.boot(&setup)?;
        let free = free_memory(&machine)?;
        plan.count(TIMES * COUNT);
        let lines = machine.console.lines();
        let is_wrong = |line: &&String| line.contains("must not") || line.contains("cannot");
        if let Some(line) = lines.iter().find(is_wrong) {
            return Err(line.as_str().into());
        }
        same_memory(&free)
    })?;
    bench.note(format!("up to {} leases", plan.done()));
    Ok(())
}

/// What is free after each of them but the first, at which servers of it may have grown.
fn same_memory(free: &[u64]) -> Outcome {
    let same = free[1..].iter().all(|bytes| *bytes == free[1]);
    ensure(same, || format!("free memory after each: {free:?}"))
}

/// Waits until the program has ended so often; returns what was free after each time.
fn free_memory(machine: &Machine) -> Outcome<Vec<u64>> {
    for number in 1..=TIMES {
        let end = format!(" bytes free after {number}");
        machine
            .console
            .wait_where(0, &end, LONG, |line| line.ends_with(&end))?;
    }
    Ok(told_free(machine))
}

/// What was free after each time so far.
fn told_free(machine: &Machine) -> Vec<u64> {
    let lines = machine.console.lines();
    let told = lines.iter().filter_map(|line| {
        let (bytes, _) = line
            .strip_prefix("testcalls: ")?
            .split_once(" bytes free after ")?;
        bytes.parse().ok()
    });
    told.collect()
}
