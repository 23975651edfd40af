//! What a user reads: of cards that are not driven, of words that are not known, of links,
//! and of how each program is called.

use crate::grade::web;
use crate::machine::{Image, LONG, Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case, repository};
use crate::{During, Outcome, ensure};
use std::io::Read;
use std::process::Command;
use std::time::Duration;

pub const CASES: &[Case] = &[
    Case::new("a card without a driver is named, once", unknown_card).once(),
    Case::new("no card is told, once", no_card).once(),
    Case::new(
        "a card that its driver refuses says why, once",
        refused_card,
    ),
    Case::new("a card without a driver beside one with", two_cards),
    Case::new("unknown words of the command line are told", unknown_words).once(),
    Case::new("arguments that make no sense are told", bad_arguments).once(),
    Case::new("each program prints how it is called", usages).once(),
    Case::new("a service that fails again and again falls silent", failing).once(),
    Case::new("the home page names the card", home_page),
    Case::new("the link's state is told as the card tells it", link),
    Case::new("what is announced is what runs", announcements).once(),
    Case::new("README's command by hand boots and finds its card", by_hand).once(),
];

/// How long a machine is watched that shall not say anything more.
const SILENCE: Duration = Duration::from_secs(8);

/// Fails unless a line is there exactly once.
fn once(lines: &[String], line: &str) -> Outcome {
    let count = lines.iter().filter(|l| *l == line).count();
    ensure(count == 1, || format!("{count} lines {line:?}"))
}

/// Boots with these devices instead of the card, waits for the last line that is expected, and
/// fails if more follow. Returns all lines.
fn boot_with(bench: &Bench, devices: &[&str], last: &str) -> Outcome<Vec<String>> {
    let machine = bench.boot(&Setup {
        devices: Some(devices.iter().map(|&device| device.into()).collect()),
        ..Setup::new("")
    })?;
    machine.console.wait_line(last, LONG)?;
    let more = machine.console.wait_where(
        // The services end in any order, at about the same time.
        machine.console.mark() + 4,
        "a line too many",
        SILENCE,
        |_| true,
    );
    ensure(more.is_err(), || format!("it goes on: {more:?}"))?;
    Ok(machine.console.lines())
}

const GIVEN_UP: &str = "init: netd ended: exit code 3; it is not started again";
const DRIVEN: [&str; 3] = [
    "the cards that Wharf drives:",
    "    Intel 82559ER (8086:1209): `make qemu NIC=e100`, or QEMU's `-device i82559er`",
    "    Intel 82576 (8086:10c9): `make qemu NIC=igb`, or QEMU's `-device igb`",
];
const NO_E1000: &str = "warning: no driver for the network controller at ";

fn is_given_up(lines: &[String]) -> Outcome {
    for line in DRIVEN {
        once(lines, line)?;
    }
    once(lines, GIVEN_UP)?;
    once(
        lines,
        "netd: there is no card 0; what the kernel has found is among its first lines",
    )?;
    for name in ["echosrv", "httpd"] {
        once(lines, &format!("{name}: no network server: not found"))?;
        let end = format!("init: {name} ended: exit code 1; it is not started again");
        once(lines, &end)?;
    }
    Ok(())
}

fn unknown_card(bench: &Bench) -> Outcome {
    let lines = boot_with(bench, &["e1000,netdev=n0,addr=3,romfile="], GIVEN_UP)?;
    let named = format!("{NO_E1000}00:03.0: 8086:100e, Intel 82540EM (QEMU's e1000)");
    once(&lines, &named)?;
    is_given_up(&lines)
}

fn no_card(bench: &Bench) -> Outcome {
    let lines = boot_with(bench, &[], GIVEN_UP)?;
    once(&lines, "warning: no network controller was found")?;
    is_given_up(&lines)
}

/// A card that its driver refuses: its address is a group's.
fn refused_card(bench: &Bench) -> Outcome {
    let device = bench.nic.device;
    let card = format!("{device},netdev=n0,addr=3,romfile=,mac=01:00:00:00:00:01");
    let lines = boot_with(bench, &[&card], GIVEN_UP)?;
    let start = format!("error: {} at 00:03.0: ", bench.nic.name);
    let told = lines.iter().filter(|line| line.starts_with(&start));
    let told: Vec<_> = told.collect();
    ensure(told.len() == 1 && told[0].contains("station"), || {
        format!("{start:?}: {told:?}")
    })?;
    once(&lines, GIVEN_UP)
}

/// The one that is driven serves.
fn two_cards(bench: &Bench) -> Outcome {
    let card = format!("{},netdev=n0,addr=4,romfile=", bench.nic.device);
    let machine = bench.boot(&Setup {
        devices: Some(vec!["e1000,addr=3,romfile=".into(), card]),
        ..Setup::new("")
    })?;
    machine.wait_servers(true, true)?;
    web(&machine)?.get("/", "")?.expect(200)?;
    let lines = machine.console.lines();
    let named = format!("{NO_E1000}00:03.0: 8086:100e, Intel 82540EM (QEMU's e1000)");
    for line in [named.as_str()].iter().chain(&DRIVEN) {
        once(&lines, line)?;
    }
    Ok(())
}

fn unknown_words(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("rum=hello nic.irk=msi run=hello,x"))?;
    machine.wait_end_of_run()?;
    let lines = machine.console.lines();
    for (start, part) in [
        ("init: command line: `rum=hello` is unknown; ", "run=NAME"),
        (
            "warning: command line: `nic.irk=msi` is unknown; ",
            "nic.irq=",
        ),
    ] {
        let found = lines.iter().filter(|line| line.starts_with(start));
        let found: Vec<_> = found.collect();
        ensure(found.len() == 1 && found[0].contains(part), || {
            format!("{start:?}: {found:?}")
        })?;
    }
    Ok(())
}

fn bad_arguments(bench: &Bench) -> Outcome {
    const RUNS: [(&str, &str); 8] = [
        ("hello,x", "hello: argument 1: `x` is unknown"),
        (
            "testoutput,ten",
            "testoutput: argument 1: `ten` is no count",
        ),
        (
            "testoutput,1,bust",
            "testoutput: argument 2: `bust` is unknown",
        ),
        (
            "testfilter,vlans=7",
            "testfilter: argument 1: `vlans=7` is unknown",
        ),
        ("fault,nul", "fault: argument 1: `nul` is no fault"),
        ("nicstat,-x", "nicstat: argument 1: `-x` is unknown"),
        (
            "netd,0,with=ftpd",
            "netd: argument 2: `with=ftpd` is unknown",
        ),
        (
            "netd,0,gateway=1",
            "netd: argument 2: `gateway=1` is unknown",
        ),
    ];
    let runs: Vec<String> = RUNS.iter().map(|(run, _)| format!("run={run}")).collect();
    let setup = Setup::new(&runs.join(" ")).from_image(bench.image_with_attackers());
    let machine = bench.boot(&setup)?;
    machine.wait_end_of_run()?;
    let lines = machine.console.lines();
    for (run, said) in RUNS {
        once(&lines, said)?;
        let name = run.split(',').next().unwrap_or(run);
        let usage = format!("usage: {name}");
        ensure(lines.iter().any(|line| line.starts_with(&usage)), || {
            format!("no line {usage:?}")
        })?;
    }
    Ok(())
}

/// Every folder with a `main.rs` in `user/programs` and `user/attackers`.
fn programs() -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for packages in ["user/programs", "user/attackers"] {
        for folder in std::fs::read_dir(repository().join(packages)).during(packages)? {
            let folder = folder?;
            if folder.path().join("main.rs").exists() {
                names.push(folder.file_name().to_string_lossy().into_owned());
            }
        }
    }
    names.sort();
    Ok(names)
}

fn usages(bench: &Bench) -> Outcome {
    let programs = programs()?;
    let runs: String = programs
        .iter()
        .map(|name| format!(" run={name},-h"))
        .collect();
    // All at once, so that each must find memory beside the others.
    let machine = bench.boot(&Setup {
        memory_mib: 256,
        image: Some(bench.image_with_attackers()),
        ..Setup::new(&runs)
    })?;
    machine.wait_end_of_run()?;
    let lines = machine.console.lines();
    for name in &programs {
        let usage = format!("usage: {name}");
        let at = lines.iter().position(|line| {
            let rest = line.strip_prefix(&usage);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', ',']))
        });
        let at = at.ok_or_else(|| format!("no line {usage:?}"))?;
        // What it does stands below; and it fits the screen.
        let text: Vec<_> = lines[at + 1..]
            .iter()
            .take_while(|line| line.starts_with("  "))
            .collect();
        ensure(
            !text.is_empty() && text.iter().all(|line| line.len() <= 80),
            || format!("{name}: {text:?}"),
        )?;
        once(&lines, &format!("init: {name} ended: exit code 0"))?;
    }
    bench.note(format!("{} programs", programs.len()));
    Ok(())
}

/// An image in which other programs are in the places of the services: one that ends at once,
/// and one that faults.
fn image_of_failures(bench: &Bench) -> Outcome<Image> {
    const SCRIPT: &str = r#"mkdir files && tar -C files -xf "$0" &&
        cp files/bin/hello files/bin/httpd && cp files/bin/fault files/bin/echosrv &&
        tar -C files --format=ustar -cf failing.tar boot bin www"#;
    let image = bench.image_with_attackers();
    let module = image.module.ok_or("no boot module was built")?;
    let status = Command::new("sh")
        .args(["-c", SCRIPT])
        .arg(std::fs::canonicalize(module)?)
        .current_dir(&bench.dir)
        .status()
        .during("tar")?;
    ensure(status.success(), || "no such image can be made".to_owned())?;
    Ok(Image {
        module: Some(bench.dir.join("failing.tar")),
        ..image
    })
}

/// They are started on and on, but each is told and heard three times only.
fn failing(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("").from_image(image_of_failures(bench)?))?;
    let again = "again; it is started on and on, but not heard until it runs";
    let last = [
        format!("init: httpd ended: exit code 0, {again}"),
        format!("init: echosrv ended: page fault (exception 14), {again}"),
    ];
    for line in &last {
        machine.console.wait_line(line, LONG)?;
    }
    let from = machine.console.mark();
    let more = machine
        .console
        .wait_where(from, "a line too many", SILENCE, |_| true);
    ensure(more.is_err(), || format!("it goes on: {more:?}"))?;
    let lines = machine.console.lines();
    let report = "error: echosrv (pid ";
    for (what, start) in [
        ("what the program prints", "hello, world"),
        ("what the kernel reports of it", report),
    ] {
        let count = lines.iter().filter(|line| line.starts_with(start)).count();
        ensure(count == 3, || format!("{what}: {count} times"))?;
    }
    // The others are none the worse for it.
    web_is_closed(&machine)
}

/// The network server answers for a port that no program serves.
fn web_is_closed(machine: &Machine) -> Outcome {
    let mut stream = machine.connect(machine.ports()?.http)?;
    let mut byte = [0];
    let end = stream.read(&mut byte);
    ensure(!matches!(end, Ok(1)), || "somebody serves".to_owned())
}

fn home_page(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new(""))?;
    machine.wait_servers(true, true)?;
    let page = web(&machine)?.get("/", "")?.expect(200)?;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    // The page is a file: what differs from machine to machine it has from /status.json.
    for other in ["82559ER", "82576"] {
        ensure(!page.contains(other), || format!("the page names {other}"))?;
    }
    ensure(page.contains("network.chip"), || {
        "the page does not show the chip".to_owned()
    })?;
    for _ in 0..2 {
        let status = web(&machine)?.get("/status.json", "")?.expect(200)?;
        let status = String::from_utf8_lossy(&status.body).into_owned();
        let chip = format!("\"chip\":\"{}\"", bench.nic.chip);
        ensure(status.contains(&chip), || format!("no {chip} in {status}"))?;
    }
    Ok(())
}

/// The lines of the link since `from`.
fn link_lines(machine: &Machine, from: usize) -> Vec<String> {
    let lines = machine.console.lines();
    let new = lines.into_iter().skip(from);
    new.filter(|line| line.starts_with("card 0: link "))
        .collect()
}

/// QEMU's 82559ER has no link to lose: its transceiver reports one whatever `set_link` says, and
/// README tells so. So there is nothing that the console could truly say; and it says nothing.
fn link(bench: &Bench) -> Outcome {
    let mut machine = bench.boot(&Setup::new("run=echosrv"))?;
    machine.wait_servers(true, false)?;
    if bench.nic.tells_link {
        machine.console.wait_prefix("card 0: link up", PATIENCE)?;
    }
    for (state, word) in [("off", "down"), ("on", "up")] {
        let from = machine.console.mark();
        machine.monitor.command(&format!("set_link n0 {state}"))?;
        if bench.nic.tells_link {
            let start = format!("card 0: link {word}");
            let is_it = |line: &str| line.starts_with(&start);
            machine.console.wait_where(from, &start, PATIENCE, is_it)?;
        } else {
            // Two looks at the link, a second apart.
            std::thread::sleep(Duration::from_millis(2500));
            let said = link_lines(&machine, from);
            ensure(said.is_empty(), || format!("the card told of it: {said:?}"))?;
        }
    }
    Ok(())
}

/// `make run-hello` must not tell of a web server.
fn announcements(_: &Bench) -> Outcome {
    for (command_line, web, echo) in [
        ("", true, true),
        ("ip=10.0.2.16/24 inside=httpd", true, true),
        ("run=hello", false, false),
        ("run=httpd run=nicstat,-w", true, false),
        ("run=netd,0,with=echosrv", false, true),
        ("run=httpd,-h", false, false),
    ] {
        // Ports that nobody listens at.
        let output = Command::new(repository().join("scripts/announce"))
            .args(["e100", "1", "2", command_line])
            .output()
            .during("scripts/announce")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = (said.contains("web server"), said.contains("echo server"));
        ensure(output.status.success() && found == (web, echo), || {
            format!("{command_line:?}: {said}")
        })?;
    }
    Ok(())
}

/// The command of README's line "By hand", as it stands there.
fn by_hand(bench: &Bench) -> Outcome {
    let readme = std::fs::read_to_string(repository().join("README.md"))?;
    let line = readme
        .lines()
        .skip_while(|line| !line.contains("**By hand**"));
    let text: Vec<&str> = line.take(6).map(str::trim).collect();
    let text = text.join(" ");
    let start = text.find("`qemu-system-x86_64 ").ok_or("no command")? + 1;
    let command = text[start..].split('`').next().unwrap_or_default();
    let command = command
        .replace("qemu-system-x86_64", &bench.options.qemu)
        .replace("build/", &format!("{}/", bench.options.build.display()))
        // Any port that is free.
        .replace(":8080-", ":0-");
    // As it is pasted into a shell, and ended after a while.
    let output = Command::new("timeout")
        .args(["10", "sh", "-c", &format!("exec {command} -no-reboot")])
        .output()
        .during(&command)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    ensure(
        lines.iter().any(|line| line.starts_with("card 0: ")),
        || {
            format!(
                "{command}: no card in {said} {}",
                String::from_utf8_lossy(&output.stderr)
            )
        },
    )?;
    once(&lines, "bound").during(&command)?;
    ensure(!said.contains("no driver"), || format!("{command}: {said}"))
}
