//! Machines that are unlike the usual one: less memory, other buses, other processors.

use crate::Outcome;
use crate::ensure;
use crate::machine::Setup;
use crate::suite::{Bench, Case};
use std::collections::HashSet;

pub const CASES: &[Case] =
    &[Case::new("random numbers, with RDRAND and without", random_numbers).once()];

/// No two lines of any two boots are the same, and the console says what they come from.
fn random_numbers(bench: &Bench) -> Outcome {
    const LINES: usize = 20;
    let sources = [
        ("qemu64", "random numbers: from the boot's times"),
        (
            "qemu64,+rdrand",
            "random numbers: from RDRAND, the boot's times",
        ),
        (
            "max",
            "random numbers: from RDSEED, RDRAND, the boot's times",
        ),
    ];
    let mut seen = HashSet::new();
    for (cpu, source) in sources.into_iter().flat_map(|source| [source; 2]) {
        let machine = bench.boot(&Setup {
            cpu: Some(cpu),
            ..Setup::new(&format!("run=random,{LINES}"))
        })?;
        machine.wait_end_of_run()?;
        let lines = machine.console.lines();
        ensure(lines.iter().any(|line| line == source), || {
            format!("{cpu}: no line {source:?}")
        })?;
        let before = seen.len();
        let numbers = lines
            .iter()
            .filter_map(|line| line.strip_prefix("random: "));
        seen.extend(numbers.filter(|n| n.len() == 64).map(str::to_owned));
        let new = seen.len() - before;
        ensure(new == LINES, || {
            format!("{cpu}: {new} new of {LINES} lines")
        })?;
    }
    Ok(())
}
