//! Memory that is used up, comes back and changes hands: nothing of it is lost, and nothing shows.

use super::trouble::both_serve;
use crate::machine::{LONG, Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::{Failure, Outcome, ensure};

pub const CASES: &[Case] = &[
    Case::new("five cards of a kind boot and serve", five_cards),
    Case::new(
        "a card without memory is left out, the first serves",
        left_out,
    ),
    Case::new(
        "free memory is back to the byte: spawning without end",
        |bench| comes_back(bench, "spawn", 16),
    )
    .once(),
    Case::new(
        "free memory is back to the byte: a heap without end",
        |bench| comes_back(bench, "take", 16),
    )
    .once(),
    Case::new(
        "free memory is back to the byte: 400 mutual calls",
        |bench| comes_back(bench, "mutual,200", 64),
    )
    .once(),
    Case::new(
        "free memory is back to the byte: mutual calls of orphans",
        |bench| comes_back(bench, "orphans,100", 64),
    )
    .once(),
    Case::new(
        "free memory is back to the byte: 5000 senseless calls",
        |bench| comes_back(bench, "run,5,testcalls,5000,7", 64),
    ),
    Case::new("free memory is back to the byte: faults", |bench| {
        comes_back(bench, "run,3,fault,stack", 64)
    })
    .once(),
    Case::new(
        "registers, buffers and memory show nothing of others",
        marks,
    ),
];

/// `count` of the card, the first in the lab's slot and on the network. The others of a PCI Express
/// card are behind ports of their own, since its virtual functions want slots, too.
fn cards(bench: &Bench, count: usize) -> Vec<String> {
    let device = bench.nic.device;
    let mut devices = vec![format!("{device},netdev=n0,addr=3,romfile=")];
    for slot in 4..3 + count {
        let place = if bench.nic.machine == "q35" {
            devices.push(format!(
                "pcie-root-port,id=rp{slot},chassis={slot},addr={slot:x}"
            ));
            format!("bus=rp{slot}")
        } else {
            format!("addr={slot:x}")
        };
        devices.push(format!("{device},{place},romfile="));
    }
    devices
}

/// How many lines of the boot begin so.
fn count_lines(machine: &Machine, is_one: impl Fn(&str) -> bool) -> usize {
    let lines = machine.console.lines();
    lines.iter().filter(|line| is_one(line)).count()
}

/// Whether this line tells of a card that is driven; a later one may tell of its link.
fn is_driven(line: &str) -> bool {
    line.starts_with("card ") && line.contains(", MAC ")
}

fn five_cards(bench: &Bench) -> Outcome {
    const CARDS: usize = 5;
    let machine = bench.boot(&Setup {
        devices: Some(cards(bench, CARDS)),
        ..Setup::new("")
    })?;
    machine.wait_servers(true, true)?;
    let driven = count_lines(&machine, is_driven);
    ensure(driven == CARDS, || format!("{driven} are driven"))?;
    both_serve(&machine)
}

fn left_out(bench: &Bench) -> Outcome {
    const CARDS: usize = 12;
    let machine = bench.boot(&Setup {
        memory_mib: 10,
        devices: Some(cards(bench, CARDS)),
        ..Setup::new("")
    })?;
    machine.wait_servers(true, true)?;
    let driven = count_lines(&machine, is_driven);
    let left_out = count_lines(&machine, |line| line.contains(": left out: no "));
    bench.note(format!("{driven} driven, {left_out} left out"));
    ensure(driven >= 1 && left_out >= 1, || {
        format!("{driven} are driven, {left_out} left out")
    })?;
    ensure(driven + left_out == CARDS, || {
        format!("of {CARDS}, {driven} are driven and {left_out} left out")
    })?;
    both_serve(&machine)
}

/// What `testmemory` finds free before and after each round is the same, and the kernel lives.
fn comes_back(bench: &Bench, what: &str, memory_mib: u32) -> Outcome {
    let machine = bench.boot(&Setup {
        memory_mib,
        image: Some(bench.image_with_attackers()),
        ..Setup::new(&format!("run=testmemory,{what}"))
    })?;
    let name = what.split(',').next().unwrap_or(what);
    let end = format!("testmemory: {name}: end");
    machine.console.wait_line(&end, LONG)?;
    let lines = machine.console.lines();
    let free: Vec<u64> = lines
        .iter()
        .filter(|line| line.starts_with("testmemory: "))
        .filter_map(|line| {
            line.split(" bytes free ")
                .next()?
                .rsplit(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    // A senseless call may by chance be the request that has the network server started, which then
    // has memory of its own from the first round on.
    let starts_server = lines.iter().any(|line| line.starts_with("netd: "));
    let free = free.get(usize::from(starts_server)..).unwrap_or_default();
    let Some((before, after)) = free.split_first() else {
        return Err(Failure("it told nothing".into()));
    };
    bench.note(format!("{before} bytes before and after"));
    ensure(
        !after.is_empty() && after.iter().all(|free| free == before),
        || format!("{before} bytes before, {after:?} after"),
    )
}

/// A program marks its registers, the card's buffers and its memory, frames with the mark arrive
/// for it, and it ends; the next one looks.
fn marks(bench: &Bench) -> Outcome {
    let setup = Setup::on_wire("run=testmemory,marks").from_image(bench.image_with_attackers());
    let mut machine = bench.boot(&setup)?;
    machine
        .console
        .wait_prefix("testmemory: marked", PATIENCE)?;
    let mut frame = vec![0xff; 6];
    frame.extend([0x52, 0x55, 10, 0, 2, 2, 0x88, 0xb5]);
    frame.extend([0xa7; 800]);
    for _ in 0..50 {
        machine.wire()?.send(&frame)?;
    }
    let found = machine.console.wait_prefix("testmemory: marks: ", LONG)?;
    ensure(
        found.ends_with("0 in registers, 0 in buffers, 0 in memory"),
        || found,
    )
}
