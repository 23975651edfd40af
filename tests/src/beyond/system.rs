//! The machine as a whole: how fast it is up, how little it needs, how it refuses.

use super::echo::udp_echo;
use crate::grade::web;
use crate::machine::{Image, LONG, Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::{Failure, Outcome, ensure};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("power-on to the first page under 1 s", power_on),
    Case::new("idle under 5 % of a core", idle),
    Case::new("serves with 32 MiB", |bench| {
        serves(bench, |setup| setup.memory_mib = 32)
    }),
    Case::new("serves on a q35, PCI by ECAM", |bench| {
        serves(bench, |setup| setup.machine = Some("q35"))
    }),
    Case::new("serves on a processor with SMEP, SMAP, UMIP", |bench| {
        serves(bench, |setup| setup.cpu = Some("max"))
    }),
    Case::new("pci report", pci_report),
    Case::new("nicstat tells of the card and its frames", nicstat),
    Case::new("nicstat tells where time goes", time_goes),
    Case::new("an NMI tells it too, and harms nobody", nmi).once(),
    Case::new("the clock keeps time", clock).once(),
    Case::new("deadlines finer than a tick", short_sleeps).once(),
    Case::new("vector registers survive preemption", vector_registers).once(),
    Case::new("what it cannot start from, it says", refusals).once(),
];

/// Three boots; the middle one counts.
fn power_on(bench: &Bench) -> Outcome {
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(first_page(&bench.boot(&Setup::new(""))?)?);
    }
    times.sort();
    let all: Vec<u128> = times.iter().map(Duration::as_millis).collect();
    bench.note(format!("{} ms (of {all:?})", all[1]));
    ensure(times[1] < Duration::from_secs(1), || {
        format!("it took {} ms", all[1])
    })
}

/// From the start of QEMU to the first good answer. QEMU takes connections before the
/// guest does, and what it then does with them takes its time; so there is a new one
/// every 20 ms, and the first that is answered counts.
fn first_page(machine: &Machine) -> Outcome<Duration> {
    const EVERY: Duration = Duration::from_millis(20);
    let (answered, first) = mpsc::channel();
    thread::scope(|scope| {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let answered = answered.clone();
            scope.spawn(move || {
                let page = web(machine).and_then(|mut client| {
                    // The connections that lost the race need not be waited for.
                    client.patience(Duration::from_secs(2))?;
                    client.get("/", "Connection: close\r\n")?.expect(200)
                });
                if page.is_ok() {
                    // Nobody listens any more to all but the first.
                    let _ = answered.send(machine.power_on.elapsed());
                }
            });
            if let Ok(time) = first.recv_timeout(EVERY) {
                return Ok(time);
            }
        }
        Err("no page".into())
    })
}

fn idle(bench: &Bench) -> Outcome {
    const WATCHED: Duration = Duration::from_secs(4);
    let machine = bench.boot(&Setup::new(""))?;
    machine.wait_servers(true, true)?;
    web(&machine)?.get("/", "")?.expect(200)?;
    // What the start and the request still cause is over in a second.
    thread::sleep(Duration::from_secs(1));
    let before = machine.cpu_time()?;
    thread::sleep(WATCHED);
    let used = machine.cpu_time()? - before;
    let share = used.as_secs_f32() / WATCHED.as_secs_f32() * 100.0;
    bench.note(format!("{share:.1} %"));
    ensure(share < 5.0, || format!("{share:.1} % of a core"))
}

fn serves(bench: &Bench, change: fn(&mut Setup)) -> Outcome {
    let mut setup = Setup::new("");
    change(&mut setup);
    let machine = bench.boot(&setup)?;
    machine.wait_servers(true, true)?;
    machine.console.wait_line(&bench.nic.enabled(), PATIENCE)?;
    web(&machine)?.get("/", "")?.expect(200)?;
    udp_echo(&machine, 1000)
}

fn pci_report(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=hello"))?;
    machine.wait_end_of_run()?;
    for line in [bench.nic.found(), bench.nic.enabled()] {
        let count = machine
            .console
            .lines()
            .iter()
            .filter(|l| **l == line)
            .count();
        ensure(count == 1, || format!("{count} lines {line:?}"))?;
    }
    Ok(())
}

fn nicstat(bench: &Bench) -> Outcome {
    let mut machine = bench.boot(&Setup::on_wire("run=echosrv run=nicstat,-r,-w"))?;
    machine.wait_servers(true, false)?;
    let before = statistics(&machine)?;
    let lines = machine.console.lines();
    for line in [
        &format!("driver {}", bench.nic.name),
        "pci 00:03.0",
        "mac 52:54:00:12:34:56",
    ] {
        ensure(lines.iter().any(|l| l == line), || {
            format!("no line {line:?}")
        })?;
    }
    let wire = machine.wire()?;
    wire.resolve()?;
    for sequence in 0..100 {
        wire.ping(sequence, &[7; 56])?;
    }
    let after = statistics(&machine)?;
    for name in ["rx_frames", "tx_frames"] {
        let counts = (before.get(name), after.get(name));
        let (Some(before), Some(after)) = counts else {
            return Err(Failure(format!("{name}: {counts:?}")));
        };
        // 100 echoes, an ARP exchange, and hardly more.
        ensure((101..120).contains(&(after - before)), || {
            format!("{name} went from {before} to {after}")
        })?;
    }
    Ok(())
}

/// The numbers of the next whole report of `nicstat,-r,-w`.
///
/// # Errors
/// If none comes.
pub fn statistics(machine: &Machine) -> Outcome<BTreeMap<String, u64>> {
    // What ends next may have begun too early.
    let from = end_of_report(machine, machine.console.mark())?;
    let to = end_of_report(machine, from)?;
    let lines = machine.console.lines();
    Ok(lines[from..to]
        .iter()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}

/// Waits for the end of a report from a line on; returns the line after it.
fn end_of_report(machine: &Machine, from: usize) -> Outcome<usize> {
    const END: &str = "nicstat: end";
    machine
        .console
        .wait_where(from, "a report of nicstat", PATIENCE, |line| line == END)?;
    let lines = machine.console.lines();
    let more = lines.iter().skip(from).position(|line| line == END);
    Ok(from + more.unwrap_or(0) + 1)
}

/// A counter of such a report.
///
/// # Errors
/// If there is none of that name.
pub fn counted(counts: &BTreeMap<String, u64>, name: &str) -> Outcome<u64> {
    let count = counts.get(name).copied();
    Ok(count.ok_or_else(|| format!("nicstat has no {name}"))?)
}

/// Each second `nicstat,-t` tells what was added, which is what 100 frames took.
fn time_goes(bench: &Bench) -> Outcome {
    let mut machine = bench.boot(&Setup::on_wire("run=echosrv run=nicstat,-t,-r,-w"))?;
    machine.wait_servers(true, false)?;
    machine.wire()?.resolve()?;
    let from = end_of_report(&machine, machine.console.mark())?;
    for sequence in 0..100 {
        machine.wire()?.ping(sequence, &[7; 56])?;
    }
    let to = end_of_report(&machine, machine.console.mark())?;
    // Cycles in programs, cycles in the kernel, and times.
    let mut sums = BTreeMap::<&str, [u64; 3]>::new();
    let lines = machine.console.lines();
    for line in &lines[from..to] {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["stage" | "process", name, ref numbers @ ..] = words[..] {
            for (sum, number) in sums.entry(name).or_default().iter_mut().zip(numbers) {
                *sum += number.parse::<u64>().map_err(|_| line.as_str())?;
            }
        }
    }
    let what = |name: &str| sums.get(name).copied().unwrap_or_default();
    let netd = what("netd");
    bench.note(format!(
        "{} cycles of netd for a frame",
        (netd[0] + netd[1]) / 100
    ));
    for name in ["netd", "receive", "send"] {
        let [user, kernel, times] = what(name);
        ensure(user + kernel > 100 * 100 && times >= 100, || {
            format!("{name}: {user} and {kernel} cycles, {times} times")
        })?;
    }
    for name in ["idle", "user", "device", "tick", "message", "switch"] {
        let [user, kernel, times] = what(name);
        ensure(user + kernel > 0 && times > 0, || {
            format!("{name} took nothing")
        })?;
    }
    Ok(())
}

/// The kernel answers an NMI, whoever runs, and all cycles of programs are some program's.
fn nmi(bench: &Bench) -> Outcome {
    let mut machine = bench.boot(&Setup::new("run=testfpu,1 run=testfpu,2"))?;
    machine.console.wait_prefix("clock: ", PATIENCE)?;
    let mut interrupted = 0;
    for _ in 0..30 {
        let account = machine.account()?;
        interrupted += u32::from(!account.idle);
        let user = account.stages.get("user").map_or(0, |line| line.user);
        let programs: u64 = account.processes.values().map(|line| line.user).sum();
        // Those that have ended are not told of any more.
        let lines = machine.console.lines();
        let ended = lines.iter().any(|line| line.starts_with("testfpu,"));
        ensure(user == programs || ended, || {
            format!("{user} cycles in programs, {programs} of them all")
        })?;
    }
    bench.note(format!("{interrupted} of 30 struck a program"));
    ensure(interrupted > 0, || "no program was struck".to_owned())?;
    for seed in 1..=2 {
        machine
            .console
            .wait_prefix(&result_of_testfpu(seed), LONG)?;
    }
    machine.wait_end_of_run()
}

/// `testtime` counts from 5 to 0 in five seconds, by this machine's clock as well.
fn clock(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=testtime"))?;
    let five = machine.console.wait_text("count down: 5 ", PATIENCE)?;
    let zero = machine.console.wait_text(" 1 0 ", LONG)?;
    let took = (zero - five).as_secs_f32();
    bench.note(format!("5 s in {took:.3} s"));
    ensure((took - 5.0).abs() < 0.25, || {
        format!("five seconds took {took:.3} s")
    })
}

/// Deadlines are finer than the 10 ms of a tick.
fn short_sleeps(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=testtime,1000"))?;
    let line = machine
        .console
        .wait_prefix("slept 100 times 1000 us: ", PATIENCE)?;
    let median: u32 = line
        .split_whitespace()
        .nth(5)
        .and_then(|word| word.parse().ok())
        .ok_or("no median")?;
    bench.note(format!("{median} us late in the median"));
    ensure(median < 2_000, || format!("1 ms took {median} us more"))
}

/// Values in vector registers survive preemption and system calls.
fn vector_registers(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=testfpu,1 run=testfpu,2 run=testfpu,3"))?;
    for seed in 1..=3 {
        machine
            .console
            .wait_prefix(&result_of_testfpu(seed), LONG)?;
    }
    Ok(())
}

/// How the line begins that `testfpu` prints if nothing disturbed its registers.
fn result_of_testfpu(seed: u8) -> String {
    let mut x = 1.0 / (f64::from(seed) + 2.0);
    for _ in 0..20_000_000 {
        x = 3.99 * x * (1.0 - x);
    }
    format!("testfpu,{seed}: {:016x}", x.to_bits())
}

/// One clear line on the serial port, then nothing.
fn refusals(bench: &Bench) -> Outcome {
    let Image { boot, module } = bench.image();
    let module = module.ok_or("no boot module was built")?;
    let tar = std::fs::read(&module)?;
    let damaged = |name: &str, bytes: &[u8]| -> Outcome<Image> {
        let path = bench.dir.join(name);
        std::fs::write(&path, bytes)?;
        Ok(Image {
            boot: boot.clone(),
            module: Some(path),
        })
    };
    // The kernel's ELF header, in the tar: a program of another machine.
    let kernel = find(&tar, b"boot/kernel\0").ok_or("no kernel in the tar")? + 512;
    let mut foreign = tar.clone();
    foreign[kernel + 18] = 0xb7;
    let mut headless = tar.clone();
    headless[kernel - 512] ^= 1;
    let without = bench.dir.join("without.tar");
    let made = Command::new("tar")
        .args([
            "--create",
            "--format=ustar",
            "--files-from=/dev/null",
            "--file",
        ])
        .arg(&without)
        .status()?;
    ensure(made.success(), || "tar failed".to_owned())?;
    let empty = std::fs::read(&without)?;

    let usual = Setup::new("");
    let from = |image: Image| usual.clone().from_image(image);
    let bare = Image {
        boot: boot.clone(),
        module: None,
    };
    for (what, setup, words) in [
        ("no module", from(bare), "boot module"),
        (
            "half a module",
            from(damaged("half.tar", &tar[..tar.len() / 2 + 99])?),
            "",
        ),
        (
            "no tar",
            from(damaged("text.tar", &[b'x'; 5000])?),
            "boot module",
        ),
        (
            "a damaged header",
            from(damaged("header.tar", &headless)?),
            "",
        ),
        (
            "an empty tar",
            from(damaged("empty.tar", &empty)?),
            "boot/kernel",
        ),
        (
            "a foreign kernel",
            from(damaged("foreign.tar", &foreign)?),
            "boot/kernel",
        ),
        (
            "too little memory",
            Setup {
                memory_mib: 4,
                ..usual.clone()
            },
            "memory",
        ),
    ] {
        refused(bench, &setup, words).map_err(|why| Failure(format!("{what}: {why}")))?;
    }
    Ok(())
}

/// Starts a machine whose boot stage must refuse it with a line that has these words.
///
/// # Errors
/// If it does not.
pub fn refused(bench: &Bench, setup: &Setup, words: &str) -> Outcome {
    let machine = bench.boot(setup)?;
    let line = machine
        .console
        .wait_where(0, "the boot stage's line", PATIENCE, |line| {
            line.starts_with("boot: ") && line.ends_with("halted")
        })?;
    ensure(line.contains(words), || format!("it says {line:?}"))
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
