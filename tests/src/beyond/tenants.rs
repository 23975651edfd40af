//! Several stacks on one card: each has its address, its programs and its own frames.

use super::death::strike;
use crate::connection::Connection;
use crate::debugger::Programs;
use crate::frames::{ARP, BROADCAST, Ip, Packet, arp, ethernet};
use crate::http;
use crate::machine::{Image, LONG, Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::{GUEST_IP, OUR_MAC};
use crate::{During, Outcome, ensure, pattern, read_all, same_bytes};
use std::io::Write;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("two stacks of one card serve at once", two),
    Case::new("sixteen stacks of one card serve at once", sixteen),
    Case::new("one stack dies, and the other's connections stay", death),
    Case::new("a program of one stack talks to another stack", between),
    Case::new("a stack is found by its own address and station", addresses),
    Case::new("an address that another stack has is told", taken),
];

const ECHO: u16 = 7;

/// The address of stack `number`.
pub(super) fn address(number: u8) -> Ip {
    [10, 0, 2, 15 + number]
}

/// `10.0.2.15` and the like.
pub(super) fn dotted([a, b, c, d]: Ip) -> String {
    format!("{a}.{b}.{c}.{d}")
}

/// Waits until a server has registered for each of these stacks.
fn wait_stacks<'a>(machine: &Machine, names: impl IntoIterator<Item = &'a str>) -> Outcome {
    for name in names {
        machine
            .console
            .wait_prefix(&format!("netd: net{name} is "), PATIENCE)?;
    }
    Ok(())
}

/// Has the stack at `ip` echo `octets`, a client of it who reads as he writes.
///
/// # Errors
/// If it does not.
pub(super) fn echo(machine: &Machine, ip: Ip, octets: &[u8]) -> Outcome {
    let mut stream = machine.connect(machine.stack_port(ip, ECHO)?)?;
    let mut sender = stream.try_clone()?;
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || sender.write_all(octets).during("sending"));
        let mut echoed = vec![0; octets.len()];
        read_all(&mut stream, &mut echoed).during("receiving")?;
        same_bytes(&echoed, octets)?;
        sent.join().map_err(|_| "the sender panicked")?
    })
    .during(&dotted(ip))
}

fn two(bench: &Bench) -> Outcome {
    serve_two(bench, "", [0, 0])
}

/// Has a web server and an echo server serve at once, by stacks of these cards.
///
/// # Errors
/// If one does not.
pub(super) fn serve_two(bench: &Bench, options: &str, [web_card, lab_card]: [u8; 2]) -> Outcome {
    let page = pattern(3, 300_000);
    let image = bench.image_serving(&[("index.html", &page)])?;
    let [web, lab] = [address(1), address(2)];
    let machine = bench.boot(&Setup {
        stacks: vec![web, lab],
        // The registers of virtual functions are placed in the window of a root port.
        behind_port: web_card > 0,
        ..Setup::new(&format!(
            "{options}stack=web,card={web_card},ip={}/24,run=httpd \
             stack=lab,card={lab_card},ip={}/24,run=echosrv",
            dotted(web),
            dotted(lab)
        ))
        .from_image(image)
    })?;
    machine.wait_servers(true, true)?;
    let octets = pattern(4, 1 << 20);
    std::thread::scope(|scope| {
        let echoes = scope.spawn(|| (0..3).try_for_each(|_| echo(&machine, lab, &octets)));
        for _ in 0..20 {
            let stream = machine.connect(machine.stack_port(web, 80)?)?;
            let answer = http::Connection::new(stream).get("/", "")?.expect(200)?;
            same_bytes(&answer.body, &page)?;
        }
        echoes.join().map_err(|_| "the echo's client panicked")?
    })?;
    // Each has its own port only.
    let mut stream = machine.connect(machine.stack_port(web, ECHO)?)?;
    let _ = stream.write_all(b"nobody");
    let refused = read_all(&mut stream, &mut [0; 6]);
    ensure(refused.is_err(), || {
        "the web's stack echoed on port 7".to_owned()
    })
}

/// Boots so many stacks that echo, every other one with a station of its own, and `more` on the kernel
/// command line; waits until all serve.
///
/// # Errors
/// If one does not.
pub fn boot(bench: &Bench, stacks: u8, more: &str, image: Image) -> Outcome<Machine> {
    let names: Vec<String> = (0..stacks).map(|number| format!("s{number}")).collect();
    let words = names.iter().zip(0..).map(|(name, number): (_, u8)| {
        let station = match number % 2 {
            0 => String::new(),
            _ => format!(",mac=02:00:00:00:00:{number:02x}"),
        };
        let ip = dotted(address(number));
        format!("stack={name},ip={ip}/24{station},inside=echosrv ")
    });
    let machine = bench.boot(&Setup {
        stacks: (0..stacks).map(address).collect(),
        memory_mib: 128,
        ..Setup::new(&(words.collect::<String>() + more)).from_image(image)
    })?;
    wait_stacks(&machine, names.iter().map(String::as_str))?;
    machine
        .console
        .wait_times("bound", stacks.into(), PATIENCE)?;
    Ok(machine)
}

/// Has all of so many stacks echo at once, each what no other does.
///
/// # Errors
/// If one does not.
pub fn echo_all(machine: &Machine, stacks: u8, seed: u64, len: usize) -> Outcome {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..stacks)
            .map(|number| {
                let octets = pattern(seed.wrapping_add(number.into()), len);
                scope.spawn(move || echo(machine, address(number), &octets))
            })
            .collect();
        clients.into_iter().try_for_each(|client| {
            client
                .join()
                .map_err(|_| crate::Failure::from("a client panicked"))?
        })
    })
}

fn sixteen(bench: &Bench) -> Outcome {
    let machine = boot(bench, 16, "", bench.image())?;
    (0..3).try_for_each(|round| echo_all(&machine, 16, round, 200_000))
}

fn death(bench: &Bench) -> Outcome {
    one_dies(bench, "", ["", ""])
}

/// While one stack echoes datagrams it is struck; a connection of the other goes on, and the one that died
/// comes back. `options` are for the kernel, and `places` say what of the card each stack has.
///
/// # Errors
/// If it is not so.
pub(super) fn one_dies(bench: &Bench, options: &str, places: [&str; 2]) -> Outcome {
    let [struck, other] = [GUEST_IP, address(1)];
    let mut machine = bench.boot(&Setup {
        debugger: true,
        behind_port: !options.is_empty(),
        ..Setup::on_wire(&format!(
            "{options}stack=a,ip={}/24{},run=echosrv stack=b,ip={}/24{},run=echosrv",
            dotted(struck),
            places[0],
            dotted(other),
            places[1]
        ))
    })?;
    wait_stacks(&machine, ["a", "b"])?;
    machine.console.wait_times("bound", 2, PATIENCE)?;
    let programs = Programs::read(&bench.options.bin, "netd", &["init", "echosrv"])?;
    let mut chance = 5;
    let mut longest = Duration::ZERO;
    for round in 0..3 {
        let base = 21_000 + round * 64;
        let wire = machine.wire()?;
        wire.guest_ip = other;
        let station = wire.resolve()?;
        let mut kept = Connection::open(wire, (base + 40, ECHO))?;
        kept.echo(wire, b"before")?;
        wire.guest_ip = struck;
        wire.resolve()?;
        let mut lost = Connection::open(wire, (base + 41, ECHO))?;
        lost.echo(wire, b"before")?;
        let killed = strike(&mut machine, &programs, base, &mut chance)?;
        let wire = machine.wire()?;
        (wire.guest_ip, wire.guest_mac) = (other, station);
        let octets = pattern(u64::from(base), 20_000);
        kept.echo(wire, &octets)
            .during("the connection of the other stack")?;
        let took = killed.elapsed();
        wire.guest_ip = struck;
        wire.resolve()?;
        let back = Instant::now();
        let mut again = Err("never tried".into());
        while again.is_err() && back.elapsed() < LONG {
            again = Connection::open(wire, (base + 42, ECHO))
                .and_then(|mut connection| connection.echo(wire, b"again"));
        }
        again.during("the stack that died")?;
        (wire.guest_ip, wire.guest_mac) = (other, station);
        kept.echo(wire, b"after")
            .during("the connection of the other stack")?;
        kept.close(wire)?;
        longest = longest.max(took);
    }
    bench.note(format!(
        "3 deaths; 20,000 octets of the other stack echoed within {} ms of them",
        longest.as_millis()
    ));
    Ok(())
}

/// Programs of stacks of one card, with one station and with another, speak to each other. Nothing of that
/// is seen on the wire but what is for all.
fn between(bench: &Bench) -> Outcome {
    let [shared, also, apart] = [address(0), address(1), address(2)];
    let mut machine = bench.boot(&Setup::on_wire(&format!(
        "stack=a,ip={}/24,run=echosrv stack=b,ip={}/24,run=echosrv \
         stack=c,ip={}/24,mac=02:00:00:00:00:07,run=echosrv \
         run=echotest,{0},7,stack=b run=echotest,{1},7,stack=c run=echotest,{2},7,stack=a",
        dotted(shared),
        dotted(also),
        dotted(apart)
    )))?;
    machine
        .console
        .wait_times("echotest: the same", 3, PATIENCE)?;
    let wire = machine.wire()?;
    let soon = Instant::now() + Duration::from_millis(100);
    let seen = wire.receive_where(soon, |packet| match packet {
        Packet::Segment { .. } => Some(()),
        _ => None,
    })?;
    ensure(seen.is_none(), || {
        "a segment between two stacks was on the wire".to_owned()
    })
}

/// Who answers for which address, from which station, and that nobody does for others.
fn addresses(bench: &Bench) -> Outcome {
    let own = [2, 0, 0, 0, 0, 7];
    let [shared, apart, nobody] = [GUEST_IP, address(1), address(9)];
    let mut machine = bench.boot(&Setup::on_wire(&format!(
        "stack=a,ip={}/24,run=echosrv stack=b,ip={}/24,mac=02:00:00:00:00:07,run=echosrv",
        dotted(shared),
        dotted(apart)
    )))?;
    wait_stacks(&machine, ["a", "b"])?;
    let wire = machine.wire()?;
    let mut stations = Vec::new();
    for ip in [shared, apart] {
        wire.guest_ip = ip;
        wire.guest_mac = BROADCAST;
        stations.push(wire.resolve()?);
        for (sequence, len) in [(1, 10), (2, 1400)] {
            wire.ping(sequence, &pattern(sequence.into(), len))?;
        }
    }
    ensure(stations[1] == own && stations[0] != own, || {
        format!("they answered from {stations:02x?}")
    })?;
    // Nobody answers for an address that no stack has, nor for one at the other's station.
    for (station, ip) in [
        (BROADCAST, nobody),
        (stations[1], shared),
        (stations[0], apart),
    ] {
        let request = arp(1, (OUR_MAC, wire.ip), ([0; 6], ip));
        wire.send(&ethernet(station, OUR_MAC, ARP, &request))?;
        let soon = Instant::now() + Duration::from_millis(100);
        let answer = wire.receive_where(soon, |packet| match packet {
            Packet::Arp {
                operation: 2,
                sender,
                ..
            } => Some(sender),
            _ => None,
        })?;
        ensure(answer.is_none(), || {
            format!(
                "{answer:02x?} answered for {} at {station:02x?}",
                dotted(ip)
            )
        })?;
    }
    Ok(())
}

fn taken(bench: &Bench) -> Outcome {
    let ip = dotted(address(1));
    let machine = bench.boot(&Setup::new(&format!(
        "stack=a,ip={ip}/24,run=echosrv stack=b,ip={ip}/24,run=httpd"
    )))?;
    for line in [
        format!("netd: frames to {ip} of card 0 are another stack's"),
        "init: netd ended: exit code 3; it is not started again".to_owned(),
    ] {
        machine.console.wait_line(&line, PATIENCE)?;
    }
    // Either may have come first, and has it.
    let has_it = |line: &str| {
        ["netd: neta is ", "netd: netb is "]
            .iter()
            .any(|it| line.starts_with(it))
    };
    let served = machine
        .console
        .wait_where(0, "one of the servers", PATIENCE, has_it);
    served.map(drop)
}
