//! What the 82576 does that the E100 cannot: places, interrupts, queues.

use super::echo::{many_clients, megabyte, udp_echo};
use crate::grade::web;
use crate::machine::{PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::{During, Outcome, ensure, pattern, same_bytes};

pub const CASES: &[Case] = &[
    Case::new("serves in a pc", |bench| {
        serves(bench, "00:03.0", |setup| setup.machine = Some("pc"))
    })
    .only("igb"),
    Case::new("serves on the root bus of a q35", |bench| {
        serves(bench, "00:03.0", |setup| setup.machine = Some("q35"))
    })
    .only("igb"),
    Case::new("serves behind a root port of a q35", |bench| {
        serves(bench, "01:00.0", |setup| {
            setup.machine = Some("q35");
            setup.behind_port = true;
        })
    })
    .only("igb"),
    Case::new("MSI-X: 1 MB echoed, 64 clients", |bench| {
        interrupts(bench, "msix", " 10 messages")
    })
    .only("igb"),
    Case::new("MSI: 1 MB echoed, 64 clients", |bench| {
        interrupts(bench, "msi", " 1 message")
    })
    .only("igb"),
    Case::new("INTx: 1 MB echoed, 64 clients", |bench| {
        interrupts(bench, "intx", " irq 11")
    })
    .only("igb"),
    Case::new("self-test at attach, nothing on the wire", self_test).only("igb"),
    Case::new("no register read per packet", register_reads).only("igb"),
];

/// Serves both ways from `slot`.
fn serves(bench: &Bench, slot: &str, change: fn(&mut Setup)) -> Outcome {
    let mut setup = Setup::new("");
    change(&mut setup);
    let machine = bench.boot(&setup)?;
    machine.wait_servers(true, true)?;
    let enabled = format!("PCI function {slot} ({}) enabled", bench.nic.id);
    machine.console.wait_line(&enabled, PATIENCE)?;
    web(&machine)?.get("/", "")?.expect(200)?;
    udp_echo(&machine, 1000)
}

/// With `nic.irq=kind` the card says that it interrupts by `means`, and echoes both much
/// and to many.
fn interrupts(bench: &Bench, kind: &str, means: &str) -> Outcome {
    let machine = bench.boot(&Setup::new(&format!("run=echosrv nic.irq={kind}")))?;
    machine.wait_servers(true, false)?;
    let line = machine.console.wait_prefix("card 0: igb", PATIENCE)?;
    ensure(line.ends_with(means), || format!("it says {line:?}"))?;
    megabyte(bench, &machine)?;
    many_clients(&machine, 64)
}

/// A frame that the card sends to itself must come back, and go nowhere else.
fn self_test(bench: &Bench) -> Outcome {
    const PASSED: &str = "card 0: self-test passed";
    for kind in ["msix", "msi", "intx"] {
        let append = format!("run=hello nic.selftest nic.irq={kind}");
        let machine = bench.boot(&Setup::new(&append))?;
        machine.wait_end_of_run()?;
        machine.console.wait_line(PASSED, PATIENCE).during(kind)?;
        let frames = machine.captured()?;
        ensure(frames.is_empty(), || {
            format!("{kind}: {} frames on the wire", frames.len())
        })?;
    }
    let machine = bench.boot(&Setup::new("nic.selftest"))?;
    machine.wait_servers(true, true)?;
    machine.console.wait_line(PASSED, PATIENCE)?;
    web(&machine)?.get("/", "")?.expect(200)?;
    udp_echo(&machine, 1000)
}

/// Done bits are read from memory: a download costs the card's registers next to nothing.
/// Whatever reads there are come from interrupts, and from the tick of each second.
fn register_reads(bench: &Bench) -> Outcome {
    const READ: &str = "e1000e_core_read";
    let big = pattern(13, 10 << 20);
    let image = bench.image_serving(&[("big.bin", &big)])?;
    let mut setup = Setup::new("run=httpd").from_image(image);
    setup.trace = Some(READ);
    let machine = bench.boot(&setup)?;
    machine.wait_servers(false, true)?;
    let attaching = machine.traced(READ)?;
    ensure(attaching > 0, || "QEMU traces no reads".to_owned())?;
    let response = web(&machine)?.get("/big.bin", "")?.expect(200)?;
    let reads = machine.traced(READ)? - attaching;
    same_bytes(&response.body, &big)?;
    let frames = machine.captured()?.len();
    bench.note(format!("{reads} reads, {frames} frames"));
    ensure(reads * 100 < frames, || {
        format!("{reads} register reads for {frames} frames")
    })
}
