//! Cards behind an IOMMU: they serve as without, and reach nothing but what they were given.

use super::echo::{megabyte, udp_echo};
use super::raw::echo_datagram_from;
use super::system::{counted, statistics};
use crate::card::Card;
use crate::connection::Connection;
use crate::grade::web;
use crate::machine::{Machine, PATIENCE, Setup};
use crate::qtest::Function;
use crate::suite::{Bench, Case};
use crate::{During, Outcome, ensure, pattern, same_bytes};

pub const CASES: &[Case] = &[
    Case::new("serves behind an IOMMU", serves),
    Case::new("MSI-X, MSI and INTx behind an IOMMU", interrupts).only("igb"),
    Case::new("sends from the ramdisk behind an IOMMU", ramdisk),
    Case::new("a write outside of the arena is stopped", stopped).only("igb"),
    Case::new(
        "a virtual function's write outside of its arena is stopped",
        virtual_stopped,
    )
    .only("igb"),
    Case::new("without an IOMMU it is not, and that is told", not_stopped).only("igb"),
];

/// QEMU's unit as it usually is, with shadowed tables, and with the narrowest addresses.
const UNITS: [&str; 3] = [
    "intel-iommu",
    "intel-iommu,caching-mode=on",
    "intel-iommu,aw-bits=39",
];
/// How the line about it begins.
const FOUND: &str = "IOMMU at 0xfed90000: 39 bits";
const BOUNDED: &str = "a card's DMA is bounded by what its driver tells it only";
/// A q35's last free memory, of 64 MiB, where nothing of the kernel's or of a card's is.
const OUTSIDE: u64 = 0x3c0_0000;
/// Words there that are looked at, and what is put there.
const WORDS: u64 = 512;
const MARK: u32 = 0x5a5a_a5a5;

/// A q35 with a unit and the card, in the lab's slot or behind a root port.
fn behind(bench: &Bench, unit: Option<&str>, port: bool, setup: Setup) -> Setup {
    let card = |place: &str| format!("{},netdev=n0,{place},romfile=", bench.nic.device);
    let mut devices: Vec<String> = unit.map(str::to_owned).into_iter().collect();
    // A machine of a virtual function's has a root port already.
    let is_virtual = bench.nic.is_virtual();
    if port && !is_virtual {
        devices.push("pcie-root-port,id=rp0,chassis=1,addr=3".to_owned());
    }
    devices.push(card(if port || is_virtual {
        "bus=rp0"
    } else {
        "addr=3"
    }));
    Setup {
        machine: Some("q35"),
        devices: Some(devices),
        ..setup
    }
}

/// The card has its domain, and nothing was stopped.
fn is_confined(machine: &Machine, function: &str) -> Outcome {
    machine.console.wait_prefix(FOUND, PATIENCE)?;
    let given = format!("IOMMU: {function} reaches ");
    machine.console.wait_prefix(&given, PATIENCE)?;
    let lines = machine.console.lines();
    let stopped = lines.iter().find(|line| line.contains("stopped: "));
    ensure(stopped.is_none(), || format!("it says {stopped:?}"))
}

fn serves(bench: &Bench) -> Outcome {
    for unit in UNITS {
        let words = "run=echosrv run=httpd run=nicstat,-r,-w";
        let setup = behind(bench, Some(unit), false, Setup::new(words));
        let machine = bench.boot(&setup)?;
        machine.wait_servers(true, true)?;
        web(&machine)?.get("/", "")?.expect(200).during(unit)?;
        udp_echo(&machine, 1000).during(unit)?;
        megabyte(bench, &machine).during(unit)?;
        let faults = counted(&statistics(&machine)?, "dma_faults")?;
        ensure(faults == 0, || format!("{unit}: {faults} faults"))?;
        is_confined(&machine, bench.nic.address()).during(unit)?;
    }
    Ok(())
}

/// Messages are writes to addresses that were given to nobody.
fn interrupts(bench: &Bench) -> Outcome {
    for way in ["msix", "msi", "intx"] {
        let setup = Setup::new(&format!("nic.irq={way}"));
        let machine = bench.boot(&behind(bench, Some(UNITS[0]), true, setup))?;
        machine.wait_servers(true, true)?;
        web(&machine)?.get("/", "")?.expect(200).during(way)?;
        udp_echo(&machine, 1000).during(way)?;
        is_confined(&machine, "01:00.0").during(way)?;
    }
    Ok(())
}

/// The card reads a file's bytes where they are, in the ramdisk.
fn ramdisk(bench: &Bench) -> Outcome {
    const SIZE: usize = 1000;
    const PAYLOAD: usize = SIZE - 42;
    let file = pattern(14, 10 * PAYLOAD);
    let image = bench.image_serving(&[("index.html", b"home\n"), ("file.bin", &file)])?;
    let append = format!("run=rawsend,{SIZE},1,www/file.bin");
    let setup = Setup::on_wire(&append).from_image(image);
    let mut machine = bench.boot(&behind(bench, Some(UNITS[0]), false, setup))?;
    let ended = |line: &String| line.contains(" frames, ");
    while !machine.console.lines().iter().any(ended) {
        machine.wire()?.drain()?;
        ensure(machine.power_on.elapsed() < PATIENCE, || {
            "rawsend does not end".to_owned()
        })?;
    }
    machine.wait_end_of_run()?;
    is_confined(&machine, bench.nic.address())?;
    let frames = machine.captured()?;
    ensure(frames.len() > 20, || format!("{} frames", frames.len()))?;
    for (frame, part) in frames.iter().zip(file.chunks(PAYLOAD).cycle()) {
        same_bytes(frame.get(42..).unwrap_or_default(), part)?;
    }
    Ok(())
}

/// Puts marks outside of the arena, has the card receive there next, and sends it a frame. Returns whether
/// all marks are still there.
fn misdirect(machine: &mut Machine, card: &Card) -> Outcome<bool> {
    let qtest = machine.qtest()?;
    for word in 0..WORDS {
        qtest.write32(OUTSIDE + 4 * word, MARK)?;
    }
    card.misdirect(qtest, OUTSIDE)?;
    machine
        .wire()?
        .send_datagram((50000, 7), &pattern(7, 1000))?;
    // What follows is received into the arena again, after that.
    echo_datagram_from(machine.wire()?, 50000, b"behind it")?;
    let qtest = machine.qtest()?;
    let mut words = (0..WORDS).map(|word| qtest.read32(OUTSIDE + 4 * word));
    words.try_fold(true, |all, word| Ok(all && word? == MARK))
}

fn boot_with_hand(bench: &Bench, unit: Option<&str>, words: &str) -> Outcome<(Machine, Card)> {
    let words = format!("{words} run=echosrv run=nicstat,-r,-w");
    let mut setup = behind(bench, unit, false, Setup::on_wire(&words));
    setup.qtest = true;
    let mut machine = bench.boot(&setup)?;
    machine.wait_servers(true, false)?;
    machine.wire()?.resolve()?;
    let card = Card::of(machine.qtest()?, bench.nic)?;
    Ok((machine, card))
}

fn stopped(bench: &Bench) -> Outcome {
    let (machine, card) = boot_with_hand(bench, Some(UNITS[0]), "")?;
    led_astray(machine, &card, "00:03.0")
}

/// It has a domain of its own, apart from its card's. The card knows the rings of all its functions, so
/// that the hand finds that of the virtual one there.
fn virtual_stopped(bench: &Bench) -> Outcome {
    let words = "nic.vfs=1,first run=echosrv run=nicstat,-r,-w";
    let mut setup = behind(bench, Some(UNITS[0]), true, Setup::on_wire(words));
    setup.qtest = true;
    let mut machine = bench.boot(&setup)?;
    machine.wait_servers(true, false)?;
    machine.wire()?.resolve()?;
    let card = Card::at(machine.qtest()?, bench.nic, Function(1, 0, 0))?;
    is_confined(&machine, "01:00.0")?;
    led_astray(machine, &card, "01:10.0")
}

/// A function that writes where it must not is stopped, told of and counted, each time; its connections go on.
fn led_astray(mut machine: Machine, card: &Card, function: &str) -> Outcome {
    let mut connection = Connection::open(machine.wire()?, (40000, 7))?;
    connection.echo(machine.wire()?, &pattern(1, 3000))?;
    is_confined(&machine, function)?;
    for round in 1..=3 {
        let mark = machine.console.mark();
        let is_whole = misdirect(&mut machine, card)?;
        ensure(is_whole, || "memory outside was written".to_owned())?;
        let told = format!(
            "error: DMA of {function} stopped: write to {OUTSIDE:#x}, outside of what it was given"
        );
        let console = &machine.console;
        console.wait_where(mark, &told, PATIENCE, |line| line == told)?;
        let faults = counted(&statistics(&machine)?, "dma_faults")?;
        ensure(faults == round, || format!("{faults} faults after {round}"))?;
        connection.echo(machine.wire()?, &pattern(2, 3000))?;
    }
    connection.close(machine.wire()?)
}

fn not_stopped(bench: &Bench) -> Outcome {
    for (unit, words, line) in [
        (None, "", "no IOMMU: "),
        (Some(UNITS[0]), "iommu=off", "IOMMU off: "),
    ] {
        let (mut machine, card) = boot_with_hand(bench, unit, words)?;
        let line = format!("{line}{BOUNDED}");
        machine.console.wait_line(&line, PATIENCE)?;
        let is_whole = misdirect(&mut machine, &card)?;
        ensure(!is_whole, || format!("{line}: the hand wrote nothing"))?;
        let faults = counted(&statistics(&machine)?, "dma_faults")?;
        ensure(faults == 0, || format!("{faults} faults without a unit"))?;
    }
    Ok(())
}
