//! Machines that are unlike the usual one: less memory, other buses, other processors.

use super::echo::udp_echo;
use super::system::{refused, serves};
use crate::grade::web;
use crate::machine::{PATIENCE, Setup};
use crate::suite::{Bench, Case, repository};
use crate::{During, Failure, Outcome, ensure};
use std::collections::HashSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

pub const CASES: &[Case] = &[
    Case::new("serves with the least memory, 8 MiB", |bench| {
        serves(bench, |setup| setup.memory_mib = 8)
    }),
    Case::new("a site that leaves too little memory is told", large_site).once(),
    Case::new("each start of a program has its own places", places).once(),
    Case::new("a card behind another root bus (pxb)", other_root_bus),
    Case::new("a machine without PCI says so", no_pci).once(),
    Case::new("a line without an 8259A is told", no_pic).only("e100"),
    Case::new("a processor that lacks something is told", lacking).once(),
    Case::new("nothing outside of the site is packed", links).once(),
    Case::new("random numbers, with RDRAND and without", random_numbers).once(),
];

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
            cpu: Some(cpu.to_owned()),
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

/// QEMU's extra root buses, with the card on them.
fn other_root_bus(bench: &Bench) -> Outcome {
    let card = |place: &str| format!("{},netdev=n0,{place},romfile=", bench.nic.device);
    for (machine, devices) in [
        (
            "pc",
            vec!["pxb,id=b1,bus_nr=4,bus=pci.0".into(), card("bus=b1,addr=1")],
        ),
        (
            "q35",
            vec![
                "pxb-pcie,id=b1,bus_nr=32,bus=pcie.0".into(),
                "pcie-root-port,id=rp0,chassis=1,bus=b1".into(),
                card("bus=rp0"),
            ],
        ),
    ] {
        let machine = bench.boot(&Setup {
            machine: Some(machine),
            devices: Some(devices),
            ..Setup::new("")
        })?;
        machine.wait_servers(true, true)?;
        web(&machine)?.get("/", "")?.expect(200)?;
        udp_echo(&machine, 100)?;
    }
    Ok(())
}

/// QEMU's microvm: its PCI Express is in ACPI's AML alone.
fn no_pci(bench: &Bench) -> Outcome {
    let card = format!("{},netdev=n0,romfile=", bench.nic.device);
    let machine = bench.boot(&Setup {
        machine: Some("microvm,pcie=on"),
        devices: Some(vec![card]),
        ..Setup::new("")
    })?;
    for line in [
        "warning: no PCI: the ports of mechanism 1 do not answer, and ACPI: no table MCFG; \
         QEMU: use -M pc or q35",
        "init: netd ended: exit code 3; it is not started again",
    ] {
        machine.console.wait_line(line, PATIENCE)?;
    }
    Ok(())
}

fn no_pic(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup {
        machine: Some("pc,pic=off"),
        ..Setup::new("")
    })?;
    machine
        .console
        .wait_prefix("warning: 00:03.0 has no way to interrupt: ", PATIENCE)?;
    Ok(())
}

fn lacking(bench: &Bench) -> Outcome {
    for (cpu, words) in [
        ("qemu32", "64-bit"),
        ("qemu64,-sse2", "SSE2"),
        ("qemu64,-fxsr", "FXSR"),
        ("qemu64,-nx", "NX"),
        ("qemu64,-syscall", "SYSCALL"),
        ("qemu64,-tsc", "TSC"),
        ("qemu64,-msr", "MSR"),
        ("qemu64,-apic", "APIC"),
        ("qemu64,-pge", "PGE"),
    ] {
        let setup = Setup {
            cpu: Some(cpu.to_owned()),
            ..Setup::new("")
        };
        refused(bench, &setup, words).map_err(|why| Failure(format!("{cpu}: {why}")))?;
    }
    Ok(())
}

/// What `scripts/image` must not pack, or cannot, ends it with a line that names it.
fn links(bench: &Bench) -> Outcome {
    let site = bench.dir.join("site");
    let (inside, out) = (site.join("d/inside"), site.join("d/out"));
    let pack = || -> Outcome<(bool, String)> {
        let output = Command::new(repository().join("scripts/image"))
            .args([&bench.options.bin, &bench.dir.join("packed"), &site])
            .output()
            .during("scripts/image")?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), words))
    };
    std::fs::create_dir_all(site.join("d"))?;
    std::fs::write(site.join("page"), "page")?;
    symlink("../page", &inside)?;
    let (packed, said) = pack()?;
    ensure(packed, || format!("a link inside: {said}"))?;

    let refuse = |what: &str, words: &str| -> Outcome {
        let (packed, said) = pack()?;
        let is_told = said.contains("d/out") && said.contains(words);
        std::fs::remove_file(&out)?;
        ensure(!packed && is_told, || {
            format!("{what}: packed: {packed}; {said:?}")
        })
    };
    for (target, words) in [
        ("/etc/passwd", "leads out of"),
        ("/etc", "leads out of"),
        ("../../site/../..", "leads out of"),
        ("nowhere", "nothing"),
        ("out", "itself"),
        ("..", "it is in"),
    ] {
        symlink(Path::new(target), &out)?;
        refuse(target, words)?;
    }
    let made = Command::new("mkfifo").arg(&out).status()?;
    ensure(made.success(), || "mkfifo failed".to_owned())?;
    refuse("a pipe", "neither file nor directory")
}

/// With 7 MiB there is no room for a larger site: the kernel says how much is lacking, and stops.
fn large_site(bench: &Bench) -> Outcome {
    let large = vec![b'x'; 700 << 10];
    let image = bench.image_serving(&[("index.html", b"<html>"), ("large", &large)])?;
    let boot = |memory_mib| {
        bench.boot(&Setup {
            memory_mib,
            ..Setup::new("").from_image(image.clone())
        })
    };
    let machine = boot(7)?;
    let told = machine
        .console
        .wait_prefix("error: too little memory: ", PATIENCE)?;
    // It needs no more than it says.
    let more = told.split("start with ").nth(1);
    let more = more.and_then(|words| words.split(' ').next()?.parse::<u32>().ok());
    let more = more.ok_or_else(|| format!("it says {told:?}"))?;
    let machine = boot(7 + more)?;
    machine.wait_servers(true, true)?;
    web(&machine)?.get("/large", "")?.expect(200)?;
    udp_echo(&machine, 100)
}

/// Images and stacks are nowhere twice, and a stack that is too small ends in its guard.
fn places(bench: &Bench) -> Outcome {
    const STARTS: usize = 6;
    let append = ["run=fault,stack"; STARTS].join(" ");
    let boot =
        |append: &str| bench.boot(&Setup::new(append).from_image(bench.image_with_attackers()));
    let mut images = HashSet::new();
    let mut stacks = HashSet::new();
    for _ in 0..2 {
        let machine = boot(&append)?;
        machine.wait_end_of_run()?;
        let lines = machine.console.lines();
        let words = |before: &'static str, after: &'static str| {
            lines.iter().filter_map(move |line| {
                let (_, rest) = line.split_once(before)?;
                Some(rest.split_once(after)?.0.to_owned())
            })
        };
        images.extend(words("its image was at ", ";"));
        stacks.extend(words("page fault: write to ", ", not mapped"));
    }
    ensure(
        (images.len(), stacks.len()) == (2 * STARTS, 2 * STARTS),
        || {
            format!(
                "of {} starts: images {images:?}, stacks {stacks:?}",
                2 * STARTS
            )
        },
    )?;
    // Without the random bits a debugger finds all of them at one place.
    let machine = boot(&format!("{append} layout=fixed"))?;
    machine.wait_end_of_run()?;
    let lines = machine.console.lines();
    let fixed = lines
        .iter()
        .filter(|line| line.contains("its image was at 0x0;"));
    ensure(fixed.count() == STARTS, || "not all are at 0".to_owned())
}
