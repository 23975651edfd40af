//! Which functions run for each packet: counted while the workloads of [`crate::icount`] run, and
//! listed for the linker scripts, which put them on few pages. The crate `placement` says why.
//!
//! QEMU logs the address of each block of code that it enters. Programs are somewhere else at each
//! start, so whose code it was is told by `functions.rs`.

mod functions;
mod list;

use crate::icount::{Scene, workloads};
use crate::options::Options;
use crate::report::{Report, Tally};
use crate::suite::{self, Bench, repository};
use crate::{During, Outcome, nic};
use functions::{Binary, KERNEL_START, base};
use list::{Busy, Need};
use std::collections::{BTreeMap, HashMap};
use std::fs;

/// A function is busy in a workload if it was gone to so often, and in two operations of three. What
/// runs in each operation, or in every second one, is far from that limit: so lists are alike.
const VISITS_MIN: u64 = 10;

/// Counts on all cards, and writes both lists.
pub fn run(options: &Options, report: &Report) -> Tally {
    report.heading("Busy functions");
    let (mut kernel, mut programs) = (Busy::default(), Busy::default());
    let mut tally = Tally::default();
    for (place, nic) in nic::ALL.iter().enumerate() {
        let name = format!("counting, card {}", nic.name);
        let counted = suite::attempt(&name, 0, nic, options, report, |bench| {
            count(bench, (place, nic.name), &mut kernel, &mut programs)
        });
        tally.passed += usize::from(counted);
        tally.failed += usize::from(!counted);
    }
    if tally.failed == 0 {
        for (file, busy) in [("kernel.ld", kernel), ("programs.ld", programs)] {
            let path = repository().join("placement").join(file);
            match fs::write(&path, busy.text()) {
                Ok(()) => println!("  written: placement/{file}, {} functions", busy.len()),
                Err(why) => {
                    report.detail(&format!("placement/{file}: {why}"));
                    tally.failed += 1;
                }
            }
        }
    }
    tally
}

/// Runs all workloads with one card, and adds what was busy in each.
fn count(bench: &Bench, card: Need, kernel: &mut Busy, programs: &mut Busy) -> Outcome {
    let image = workloads::image(bench)?;
    let kernels = [Binary::read(&bench.options.bin.join("kernel"))?];
    let binaries = program_names()?
        .iter()
        .map(|name| Binary::read(&bench.options.bin.join(name)))
        .collect::<Outcome<Vec<_>>>()?;
    let log = bench.dir.join("blocks.log");
    let mut place = 0;
    for (setup, workloads) in workloads::scenes(bench.nic, &image) {
        let mut scene = Scene::boot(bench, &setup)?;
        scene.blocks = Some(log.clone());
        for workload in workloads {
            let cost = (workload.count)(&mut scene).during(workload.name)?;
            let blocks = blocks(&fs::read_to_string(&log)?);
            let visited = visits(&blocks, &kernels, &binaries).during(workload.name)?;
            for ((in_kernel, name), count) in visited {
                if count >= VISITS_MIN && count * 3 >= cost.operations * 2 {
                    let busy = if in_kernel {
                        &mut *kernel
                    } else {
                        &mut *programs
                    };
                    busy.add(name, card, (place, workload.name));
                }
            }
            place += 1;
        }
    }
    Ok(())
}

/// The programs that an image has: the folders of `user/programs`.
fn program_names() -> Outcome<Vec<String>> {
    let entries = fs::read_dir(repository().join("user/programs"))?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(folders
        .filter(|folder| folder.join("main.rs").exists())
        .filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
        .collect())
}

/// The addresses in QEMU's log of blocks, whose lines are
/// `Trace 0: 0x7ff4e0613580 [00000000/ffffffff8002c000/0040c290/ff020200] `.
fn blocks(log: &str) -> Vec<u64> {
    let lines = log.lines().filter(|line| line.starts_with("Trace "));
    lines
        .filter_map(|line| u64::from_str_radix(line.split('/').nth(1)?, 16).ok())
        .collect()
}

/// How often each function was gone to, by whether it is the kernel's and its symbol: blocks of
/// one function in a row are one visit.
fn visits<'a>(
    blocks: &[u64],
    kernels: &'a [Binary],
    programs: &'a [Binary],
) -> Outcome<BTreeMap<(bool, &'a str), u64>> {
    // A program has a window of its own: see the crate `placement`.
    let mut windows = BTreeMap::<u64, Vec<u64>>::new();
    for &block in blocks {
        windows
            .entry(block / placement::WINDOW)
            .or_default()
            .push(block);
    }
    let mut functions = HashMap::new();
    for mut seen in windows.into_values() {
        seen.sort_unstable();
        seen.dedup();
        let in_kernel = seen[0] >= KERNEL_START;
        let (binary, base) = match in_kernel {
            true => (&kernels[0], 0),
            false => base(&seen, programs).ok_or_else(|| {
                format!(
                    "no program has functions at {:x?}",
                    &seen[..seen.len().min(8)]
                )
            })?,
        };
        for block in seen {
            if let Some(name) = binary.function_at(block - base) {
                functions.insert(block, (in_kernel, name));
            }
        }
    }
    let mut counts = BTreeMap::new();
    let mut last = None;
    for block in blocks {
        let now = functions.get(block);
        if let Some(function) = now.filter(|_| now != last) {
            *counts.entry(*function).or_default() += 1;
        }
        last = now;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_function_in_a_row_are_one_visit() {
        let log = "Trace 0: 0x7f0 [00000000/ffffffff80030000/0040c290/ff020200] \n\
                   Stopped execution of TB chain before 0x7f1 [ffffffff80030004]\n\
                   Trace 0: 0x7f1 [00000000/ffffffff80030004/0040c290/ff020200] _ZN1a\n\
                   Trace 0: 0x7f2 [00000000/0000000700032000/0040c2b3/ff020200] \n\
                   Trace 0: 0x7f3 [00000000/0000000700032010/0040c2b3/ff020200] \n\
                   Trace 0: 0x7f2 [00000000/0000000700032004/0040c2b3/ff020200] \n\
                   Trace 0: 0x7f4 [00000000/0000000700032020/0040c2b3/ff020200] \n\
                   Trace 0: 0x7f0 [00000000/ffffffff80030000/0040c290/ff020200] \n";
        let binary = |names: &[(u64, &str)]| {
            let functions = names
                .iter()
                .map(|&(at, name)| (at..at + 8, name.to_owned()));
            Binary::new(functions.collect(), (names[0].0, vec![0x90; 0x40]))
        };
        let kernels = [binary(&[(0xffff_ffff_8003_0000, "trap")])];
        let programs = [
            binary(&[
                (0x3_2000, "main"),
                (0x3_2010, "send"),
                (0x3_2030, "receive"),
            ]),
            binary(&[(0x3_2008, "other")]),
        ];
        let counts = visits(&blocks(log), &kernels, &programs).unwrap();
        let expected = [
            ((false, "main"), 2),
            ((false, "send"), 1),
            ((true, "trap"), 2),
        ];
        assert_eq!(counts, expected.into());
        assert!(visits(&[0x7_0000_0000], &kernels, &programs).is_err());
    }
}
