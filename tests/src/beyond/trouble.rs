//! Clients, programs, rings and cables that fail while others are to be served.

use super::defects::MENDED;
use super::echo::{many_clients, udp_echo};
use crate::grade::{frames_are_packets, web};
use crate::machine::{LONG, Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::{During, Outcome, ensure, pattern, read_all, same_bytes};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("clients that vanish, never read, never ask", vanishing),
    Case::new("a program that faults while others serve", faults),
    Case::new(
        "60,000 senseless system calls while others serve",
        senseless_calls,
    ),
    Case::new("transmit ring kept full, 2000 frames", full_ring),
    Case::new("cable pulled and plugged in again", link),
];

/// Fails unless both servers serve.
///
/// # Errors
/// What went wrong with the first that does not.
pub fn both_serve(machine: &Machine) -> Outcome {
    web(machine)?
        .get("/", "Connection: close\r\n")
        .and_then(|response| response.expect(200))
        .during("web server")?;
    let mut stream = machine.connect(machine.ports()?.echo_tcp)?;
    let words = pattern(8, 1000);
    stream.write_all(&words)?;
    let mut back = [0; 1000];
    read_all(&mut stream, &mut back).during("echo server")?;
    same_bytes(&back, &words)
}

fn vanishing(bench: &Bench) -> Outcome {
    let big = pattern(12, 2 << 20);
    let image = bench.image_serving(&[("index.html", b"home\n"), ("big.bin", &big)])?;
    let machine = bench.boot(&Setup::new("").from_image(image))?;
    machine.wait_servers(true, true)?;
    let ports = machine.ports()?;
    let request = b"GET /big.bin HTTP/1.1\r\nHost: wharf\r\n\r\n";

    for _ in 0..30 {
        let mut stream = machine.connect(ports.http)?;
        stream.write_all(request)?;
        let mut some = [0; 5000];
        read_all(&mut stream, &mut some)?;
        // Dropped with bytes unread: the host resets the connection.
    }
    both_serve(&machine).during("after 30 resets")?;

    let mut kept = Vec::new();
    for number in 0..20 {
        // Asks, and never reads; asks for nothing; sends to be echoed, and never reads.
        let mut reader = machine.connect(ports.http)?;
        reader.write_all(request)?;
        let mut mute = machine.connect(ports.http)?;
        mute.write_all(&request[..number])?;
        let mut echo = machine.connect(ports.echo_tcp)?;
        echo.set_write_timeout(Some(Duration::from_millis(50)))?;
        // Until nobody takes more: the server waits for its client, which does not read.
        while echo.write(&big[..65536]).is_ok() {}
        kept.extend([reader, mute, echo]);
    }
    for _ in 0..5 {
        both_serve(&machine).during("beside 60 clients that do nothing")?;
    }
    drop(kept);
    many_clients(&machine, 64).during("after all have vanished")?;
    both_serve(&machine)
}

fn faults(bench: &Bench) -> Outcome {
    // What `fault` does, and how the kernel has to call it.
    const KINDS: [(&str, &str); 8] = [
        ("null", "page fault: write to 0x0, not mapped"),
        ("execute", "page fault: execution of 0x"),
        ("divide", "divide error"),
        ("stack", "page fault: write to 0x"),
        ("kernel", "page fault: read of 0xffffff8000000000, not "),
        ("undefined", "invalid opcode"),
        ("privileged", "general protection fault"),
        ("code", "page fault: write to 0x"),
    ];
    let runs: String = KINDS
        .iter()
        .map(|(kind, _)| format!(" run=fault,{kind}"))
        .collect();
    let setup = Setup::new(&format!("run=echosrv run=httpd{runs}"));
    let machine = bench.boot(&setup.from_image(bench.image_with_attackers()))?;
    machine.wait_servers(true, true)?;
    for (kind, cause) in KINDS {
        let is_report = |line: &str| line.contains("fault (pid ") && line.contains(cause);
        machine
            .console
            .wait_where(0, &format!("{kind}: {cause}"), PATIENCE, is_report)?;
        // The report goes on with where, and the callers.
        let lines = machine.console.lines();
        let from = lines.iter().position(|line| is_report(line)).unwrap_or(0);
        machine.console.wait_where(
            from + 1,
            &format!("the backtrace of {kind}"),
            PATIENCE,
            // The stack that overflowed is too deep to be shown to its start.
            |line| match kind {
                "stack" => line.contains("descend+"),
                _ => line.starts_with("    by 0x") && line.contains(" in _start+"),
            },
        )?;
    }
    both_serve(&machine)?;
    many_clients(&machine, 16)?;
    udp_echo(&machine, 100)
}

/// Nothing a program passes may bring down the kernel, or a server it sends nonsense to.
fn senseless_calls(bench: &Bench) -> Outcome {
    let runs: String = (1..=3)
        .map(|seed| format!(" run=testcalls,20000,{seed}"))
        .collect();
    let setup = Setup::new(&format!("run=echosrv run=httpd{runs}"));
    let machine = bench.boot(&setup.from_image(bench.image_with_attackers()))?;
    machine.wait_servers(true, true)?;
    let mut refused = 0;
    let mut from = 0;
    for _ in 1..=3 {
        let is_tally = |line: &str| line.starts_with("testcalls: ");
        let line = machine
            .console
            .wait_where(from, "the tally of a caller", LONG, is_tally)?;
        let lines = machine.console.lines();
        let after = lines.iter().skip(from).position(|line| is_tally(line));
        from += after.unwrap_or(0) + 1;
        let count = line.split_whitespace().rev().nth(1);
        refused += count
            .and_then(|word| word.parse::<u32>().ok())
            .ok_or("no tally")?;
    }
    bench.note(format!("{refused} refused"));
    ensure(refused > 30_000, || format!("only {refused} were refused"))?;
    both_serve(&machine)?;
    udp_echo(&machine, 100)
}

fn full_ring(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=testoutput,2000,burst"))?;
    machine.wait_end_of_run()?;
    let line = machine
        .console
        .wait_prefix("testoutput: 2000 packets, ring full ", PATIENCE)?;
    let times: u32 = line
        .split_whitespace()
        .rev()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or("no count of a full ring")?;
    ensure(times > 0, || "the ring was never full".to_owned())?;
    bench.note(format!("full {times} times"));
    frames_are_packets(&machine.captured()?, 2000, bench.nic)
}

fn link(bench: &Bench) -> Outcome {
    let mut machine = bench.boot(&Setup::new(""))?;
    machine.wait_servers(true, true)?;
    let mut stream = machine.connect(machine.ports()?.echo_tcp)?;
    let mut back = [0; 5];
    stream.write_all(b"one..")?;
    read_all(&mut stream, &mut back)?;

    machine.monitor.command("set_link n0 off")?;
    stream.write_all(b"two..")?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    ensure(stream.read(&mut back).is_err(), || {
        "an answer without a cable".to_owned()
    })?;

    machine.monitor.command("set_link n0 on")?;
    stream.set_read_timeout(Some(MENDED))?;
    let start = Instant::now();
    read_all(&mut stream, &mut back).during("the connection from before")?;
    same_bytes(&back, b"two..")?;
    bench.note(format!("goes on after {} ms", start.elapsed().as_millis()));
    both_serve(&machine)
}
