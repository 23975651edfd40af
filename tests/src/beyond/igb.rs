//! What the 82576 does that the E100 cannot: places, interrupts, queues, segments.

use super::echo::{many_clients, megabyte, udp_echo};
use super::raw::{echo_datagram_from, overrun};
use super::system::{counted, statistics};
use crate::frames::Packet;
use crate::grade::web;
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::Wire;
use crate::{During, Failure, Outcome, ensure, pattern, same_bytes};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

/// The card's address, unless QEMU is told another.
const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

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
        interrupts(bench, "msix")
    })
    .only("igb"),
    Case::new("MSI: 1 MB echoed, 64 clients", |bench| {
        interrupts(bench, "msi")
    })
    .only("igb"),
    Case::new("INTx: 1 MB echoed, 64 clients", |bench| {
        interrupts(bench, "intx")
    })
    .only("igb"),
    Case::new("self-test at attach, nothing on the wire", self_test).only("igb"),
    Case::new("60 flows on sixteen queues", queues).only("igb"),
    Case::new("10 MiB in segments of 8 KiB and more", segments).only("igb"),
    Case::new("burst larger than sixteen receive rings", |bench| {
        overrun(bench, 4000, 60)
    })
    .only("igb"),
    Case::new("link goes and comes, three times", link).only("igb"),
    Case::new("no register read per packet", register_reads).only("igb"),
    Case::new("frames of up to 9000 bytes", jumbo).only("igb"),
    Case::new("moderation: fewer interrupts, all served", moderation).only("igb"),
];

/// The ways to interrupt, as the kernel's command line has them, and how the line about the
/// card ends with each.
const WAYS: [(&str, &str); 3] = [
    ("msix", " MSI-X with 10 messages"),
    ("msi", " MSI"),
    ("intx", " irq 11"),
];

/// Serves from `slot`, whichever way the card interrupts.
fn serves(bench: &Bench, slot: &str, change: fn(&mut Setup)) -> Outcome {
    let enabled = format!("PCI function {slot} ({}) enabled", bench.nic.id);
    for (way, _) in WAYS {
        let mut setup = Setup::new(&format!("nic.irq={way}"));
        change(&mut setup);
        let machine = boot(bench, &setup, way)?;
        machine.console.wait_line(&enabled, PATIENCE)?;
        web(&machine)?.get("/", "")?.expect(200).during(way)?;
        udp_echo(&machine, 1000).during(way)?;
    }
    Ok(())
}

/// Boots both servers with a card that interrupts in this way, and says so.
fn boot(bench: &Bench, setup: &Setup, way: &str) -> Outcome<Machine> {
    let machine = bench.boot(setup)?;
    machine.wait_servers(true, true)?;
    let line = machine.console.wait_prefix("card 0: igb", PATIENCE)?;
    let says_so = WAYS
        .iter()
        .any(|(name, end)| *name == way && line.ends_with(end));
    ensure(says_so, || format!("with nic.irq={way} it says {line:?}"))?;
    Ok(machine)
}

/// Echoes both much and to many.
fn interrupts(bench: &Bench, way: &str) -> Outcome {
    let machine = boot(bench, &Setup::new(&format!("nic.irq={way}")), way)?;
    megabyte(bench, &machine)?;
    many_clients(&machine, 64)
}

/// A frame that the card sends to itself must come back, and go nowhere else.
fn self_test(bench: &Bench) -> Outcome {
    const PASSED: &str = "card 0: self-test passed";
    for (way, _) in WAYS {
        let append = format!("run=hello nic.selftest nic.irq={way}");
        let machine = bench.boot(&Setup::new(&append))?;
        machine.wait_end_of_run()?;
        machine.console.wait_line(PASSED, PATIENCE).during(way)?;
        let frames = machine.captured()?;
        ensure(frames.is_empty(), || {
            format!("{way}: {} frames on the wire", frames.len())
        })?;
    }
    let machine = bench.boot(&Setup::new("nic.selftest"))?;
    machine.wait_servers(true, true)?;
    machine.console.wait_line(PASSED, PATIENCE)?;
    web(&machine)?.get("/", "")?.expect(200)?;
    udp_echo(&machine, 1000)
}

/// Datagrams from 60 ports come in on all receive queues, and the card has counted what its
/// driver has.
fn queues(bench: &Bench) -> Outcome {
    const FLOWS: u16 = 60;
    let mut machine = bench.boot(&Setup::on_wire("run=echosrv run=nicstat,-r,-w"))?;
    machine.wait_servers(true, false)?;
    let wire = machine.wire()?;
    wire.resolve()?;
    for port in 50000..50000 + FLOWS {
        echo_datagram_from(wire, port, b"hello")?;
    }
    let counts = statistics(&machine)?;
    let count = |name: &str| counted(&counts, name);
    let numbered = |what: &str, range: Range<u32>| -> Outcome<Vec<u64>> {
        range
            .map(|number| count(&format!("{what}_{number}")))
            .collect()
    };
    let (received, sent) = (numbered("rx_queue", 0..16)?, numbered("tx_queue", 0..16)?);
    bench.note(format!("in {received:?}, out {sent:?}"));
    for (way, queues) in [("rx", received), ("tx", sent)] {
        ensure(!queues.contains(&0), || {
            format!("{way}: a queue without a frame, {queues:?}")
        })?;
        // The card counts the checksum of each frame, too.
        let octets = count(&format!("{way}_octets"))? + 4 * count(&format!("{way}_frames"))?;
        let octets_by_card = count(&format!("{way}_good_octets"))?;
        ensure(octets == octets_by_card, || {
            format!("{way}: {octets} octets by the driver, {octets_by_card} by the card")
        })?;
        let by_driver = count(&format!("{way}_frames"))?;
        let by_card = count(&format!("{way}_good_frames"))?;
        let sum: u64 = queues.iter().sum();
        ensure(
            sum >= FLOWS.into() && sum == by_driver && sum == by_card,
            || {
                format!(
                    "{way}: {sum} frames by queues, {by_driver} by the driver, {by_card} by the card"
                )
            },
        )?;
    }
    // One is the link's, one the transmit queues', and two queues share each of the others.
    let vectors = numbered("vector", 0..10)?;
    ensure(
        vectors.iter().filter(|count| **count > 0).count() >= 8,
        || format!("interrupts by vector: {vectors:?}"),
    )
}

/// A download leaves the driver in frames that the card cuts into segments.
fn segments(bench: &Bench) -> Outcome {
    const LEN: usize = 10 << 20;
    let big = pattern(14, LEN);
    let image = bench.image_serving(&[("big.bin", &big)])?;
    let machine = bench.boot(&Setup::new("run=httpd run=nicstat,-r,-w").from_image(image))?;
    machine.wait_servers(false, true)?;
    let response = web(&machine)?.get("/big.bin", "")?.expect(200)?;
    same_bytes(&response.body, &big)?;
    let counts = statistics(&machine)?;
    let sent = counted(&counts, "tx_frames")?;
    let frames = machine.captured()?;
    let on_wire = frames.iter().filter(|frame| frame[6..12] == GUEST_MAC);
    let on_wire = on_wire.count();
    bench.note(format!("{sent} given to the card, {on_wire} on the wire"));
    ensure(frames.iter().all(|frame| frame.len() <= 1514), || {
        "a frame on the wire is longer than Ethernet's".to_owned()
    })?;
    ensure(on_wire > LEN / 1460, || {
        format!("only {on_wire} frames on the wire")
    })?;
    ensure((sent as usize) < LEN / 8192, || {
        format!("{sent} frames given to the card for {LEN} bytes")
    })
}

/// The driver tells of the link, and serves whenever there is one.
fn link(bench: &Bench) -> Outcome {
    const DOWN: &str = "card 0: link down";
    const UP: &str = "card 0: link up, 1000 Mb/s, full duplex";
    let mut machine = bench.boot(&Setup::new(""))?;
    machine.wait_servers(true, true)?;
    machine.console.wait_line(UP, PATIENCE)?;
    for round in 1..=3 {
        for (state, line) in [("off", DOWN), ("on", UP)] {
            let from = machine.console.mark();
            machine.monitor.command(&format!("set_link n0 {state}"))?;
            machine
                .console
                .wait_where(from, line, PATIENCE, |l| l == line)
                .during(&format!("round {round}"))?;
        }
        web(&machine)?.get("/", "")?.expect(200)?;
        udp_echo(&machine, 1000)?;
    }
    Ok(())
}

/// Done bits are read from memory. What reads there are come from the tick of each second,
/// and one from each arming of an interrupt, which has to reach the card before the rings
/// are looked at again: so frames that come together share it.
fn register_reads(bench: &Bench) -> Outcome {
    const READ: &str = "e1000e_core_read";
    let big = pattern(13, 10 << 20);
    let image = bench.image_serving(&[("big.bin", &big)])?;
    let mut setup = Setup::new("run=httpd").from_image(image);
    setup.trace = Some(READ);
    let machine = bench.boot(&setup)?;
    machine.wait_servers(false, true)?;
    // Neither attaching nor the link's coming up is to be counted.
    web(&machine)?.get("/none", "")?.expect(404)?;
    let attaching = machine.traced(READ)?;
    ensure(attaching > 0, || "QEMU traces no reads".to_owned())?;
    let response = web(&machine)?.get("/big.bin", "")?.expect(200)?;
    let reads = machine.traced(READ)? - attaching;
    same_bytes(&response.body, &big)?;
    let frames = machine.captured()?.len();
    let share = frames / reads.max(1);
    bench.note(format!("1 for {share} frames ({reads} for {frames})"));
    ensure(reads * 20 < frames, || {
        format!("{reads} register reads for {frames} frames")
    })
}

/// With `nic.jumbo`, packets of up to 9000 bytes come and go in one frame each: they come in
/// several descriptors of 2 KiB and go in one of a large buffer. What is longer is lost, and
/// does no harm.
fn jumbo(bench: &Bench) -> Outcome {
    // ICMP's and UDP's headers are as long as each other, behind IPv4's 20 bytes.
    const LONGEST: usize = 9000 - 28;
    // A frame that just fills a descriptor, one byte more, some, and the longest.
    const LENGTHS: [usize; 5] = [2048 - 42, 2049 - 42, 4000, LONGEST - 1, LONGEST];
    // A router solicitation would be counted, too.
    let setup = Setup::on_wire("nic.jumbo ipv6=off run=echosrv run=nicstat,-r,-w");
    let mut machine = bench.boot(&setup)?;
    machine.wait_servers(true, false)?;
    machine.wire()?.resolve()?;
    let before = statistics(&machine)?;
    let wire = machine.wire()?;
    for len in LENGTHS {
        let what = format!("{len} bytes");
        wire.ping(len as u16, &pattern(len as u64, len))
            .during(&what)?;
        echo_datagram_from(wire, 50000, &pattern(len as u64, len)).during(&what)?;
    }
    // The last two are longer than the card lets in, the first is not.
    for len in [LONGEST + 1, LONGEST + 9, 20_000] {
        wire.send_datagram((50000, 7), &pattern(1, len))?;
        wire.ping(1, &pattern(1, LONGEST))
            .during("after what is too long")?;
    }
    let after = statistics(&machine)?;
    let grown = |name: &str| Ok::<u64, Failure>(counted(&after, name)? - counted(&before, name)?);
    let long = grown("rx_dropped_long")?;
    ensure(long == 1, || {
        format!("{long} frames dropped for their length")
    })?;
    // Each length goes twice, and the longest once more after each that is too long.
    let descriptors = |len: usize| (len + 42).div_ceil(2048);
    let all: usize = LENGTHS.into_iter().map(descriptors).sum();
    let come = 2 * all + 3 * descriptors(LONGEST) + descriptors(LONGEST + 1);
    for (way, all) in [("rx", come as u64), ("tx", 13)] {
        let [frames, used] = ["frames", "descriptors"].map(|what| grown(&format!("{way}_{what}")));
        let (frames, used) = (frames?, used?);
        ensure((frames, used) == (13, all), || {
            format!("{way}: {frames} frames in {used} descriptors, not 13 in {all}")
        })?;
    }
    let counts = frames_of(machine)?;
    bench.note(format!("{counts} on the wire above 1514 bytes"));
    ensure(counts == 2 * (2 * LENGTHS.len() + 3) + 3, || {
        format!("{counts} frames above 1514 bytes on the wire")
    })
}

/// Ends the machine; how many frames on its wire were longer than Ethernet's.
fn frames_of(machine: Machine) -> Outcome<usize> {
    let frames = machine.captured()?;
    Ok(frames.iter().filter(|frame| frame.len() > 1514).count())
}

/// Frames that come singly make one interrupt each, unless that is moderated.
fn moderation(bench: &Bench) -> Outcome {
    const FRAMES: u16 = 500;
    let mut interrupts = Vec::new();
    for option in ["", "nic.moderation=5000"] {
        let setup = Setup::on_wire(&format!("{option} run=echosrv run=nicstat,-r,-w"));
        let mut machine = bench.boot(&setup)?;
        machine.wait_servers(true, false)?;
        machine.wire()?.resolve()?;
        let before = statistics(&machine)?;
        paced(machine.wire()?, FRAMES).during(option)?;
        let after = statistics(&machine)?;
        let count = |counts| counted(counts, "interrupts");
        interrupts.push(count(&after)? - count(&before)?);
    }
    let [plain, moderated] = interrupts[..] else {
        return Err("two counts".into());
    };
    bench.note(format!("{moderated} instead of {plain} interrupts"));
    ensure(moderated > 0 && moderated < plain / 4, || {
        format!("{moderated} interrupts, {plain} without moderation")
    })
}

/// Sends datagrams at a pace at which the guest falls asleep between two; all must be echoed.
fn paced(wire: &Wire, count: u16) -> Outcome {
    const PACE: Duration = Duration::from_micros(500);
    thread::scope(|scope| {
        let sending = scope.spawn(|| -> Outcome {
            for number in 0..count {
                wire.send_datagram((50000, 7), &number.to_be_bytes())?;
                thread::sleep(PACE);
            }
            Ok(())
        });
        let end = Instant::now() + PATIENCE;
        for number in 0..count {
            let echo = wire.receive_where(end, |packet| match packet {
                Packet::Datagram {
                    ports: (7, 50000),
                    data,
                    ..
                } => Some(data),
                _ => None,
            })?;
            ensure(echo.as_deref() == Some(&number.to_be_bytes()), || {
                format!("echo {number} is {echo:?}")
            })?;
        }
        sending
            .join()
            .unwrap_or_else(|_| Err("the sender died".into()))
    })
}
