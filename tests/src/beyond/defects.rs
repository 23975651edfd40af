//! Cards that leave, hang, or lose their way to memory, while connections are open. What was
//! in the rings is lost; connections are not.

use super::system::{counted, statistics};
use crate::card::Card;
use crate::connection::Connection;
use crate::machine::{Machine, Setup};
use crate::suite::{Bench, Case};
use crate::{During, Outcome, ensure, pattern, same_bytes};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("card gone for seconds, a connection goes on", leaves),
    Case::new("registers read as zeros for seconds", hides).only("igb"),
    Case::new("no way to memory: hangs are found and mended", no_memory),
    Case::new("transmitter stopped: found and reset", stopped).only("igb"),
];

/// How long it may take until a card works again and connections go on: a driver finds a card
/// broken at its ticks, of which there is one each second, and TCP repeats itself after pauses
/// that double (RFC 6298).
pub const MENDED: Duration = Duration::from_secs(20);

/// The echo server, with a connection to it that has been used.
struct Scene {
    machine: Machine,
    card: Card,
    connection: Connection,
    /// Of ours, for the next connection: the end of the one before may get lost.
    port: u16,
}

impl Scene {
    fn new(bench: &Bench) -> Outcome<Scene> {
        let mut setup = Setup::on_wire("run=echosrv run=nicstat,-r,-w");
        setup.qtest = true;
        // A hole in memory reads as zeros in QEMU, a card that is gone as ones.
        if bench.nic.name == "igb" {
            setup.rom = Some(Card::rom(&bench.dir)?);
        }
        let mut machine = bench.boot(&setup)?;
        machine.wait_servers(true, false)?;
        let wire = machine.wire()?;
        wire.resolve()?;
        let mut connection = Connection::open(wire, (40000, 7))?;
        connection.patience = MENDED;
        connection.echo(wire, &pattern(1, 3000))?;
        let card = Card::of(machine.qtest()?, bench.nic)?;
        Ok(Scene {
            machine,
            card,
            connection,
            port: 40001,
        })
    }

    fn count(&self, name: &str) -> Outcome<u64> {
        counted(&statistics(&self.machine)?, name)
    }

    /// The connection goes on, and new ones come.
    fn serves(&mut self) -> Outcome {
        let wire = self.machine.wire()?;
        for number in 0..20 {
            self.connection.echo(wire, &pattern(number, 1400))?;
        }
        let mut another = Connection::open(wire, (self.port, 7))?;
        self.port += 1;
        another.echo(wire, &pattern(2, 3000))?;
        another.close(wire)
    }

    /// Everything works, and what is open can be ended.
    fn end(mut self) -> Outcome {
        self.serves()?;
        self.connection.close(self.machine.wire()?)
    }
}

fn leaves(bench: &Bench) -> Outcome {
    const GONE: &str = "error: card 0: the card reads as all ones";
    let mut scene = Scene::new(bench)?;
    let resets = scene.count("resets")?;
    let words = pattern(3, 1000);
    for round in 1..=2 {
        let round = format!("round {round}");
        let mark = scene.machine.console.mark();
        scene.card.vanish(scene.machine.qtest()?, true)?;
        scene.connection.send(scene.machine.wire()?, &words)?;
        let console = &scene.machine.console;
        let gone = |line: &str| line.starts_with(GONE);
        console.wait_where(mark, GONE, MENDED, gone)?;
        // Programs go on, the network server among them, which answers this one.
        statistics(&scene.machine).during("without a card")?;
        scene.card.vanish(scene.machine.qtest()?, false)?;
        let start = Instant::now();
        let console = &scene.machine.console;
        let back = |line: &str| line.starts_with("card 0: works again, ");
        console.wait_where(mark, "works again", MENDED, back)?;
        let back = scene.connection.receive(scene.machine.wire()?, words.len());
        same_bytes(&back.during(&round)?, &words)?;
        bench.note(format!("goes on after {} ms", start.elapsed().as_millis()));
        scene.serves().during(&round)?;
        let lines = scene.machine.console.lines();
        let told = lines[mark..].iter().filter(|line| gone(line)).count();
        ensure(told == 1, || format!("{round}: told {told} times"))?;
        // One of the E100's line, which the absent card holds, may be another.
        let errors = lines[mark..].iter().filter(|line| line.contains("error: "));
        let errors: Vec<&String> = errors.collect();
        ensure(errors.len() <= 2, || format!("{round}: {errors:?}"))?;
    }
    let now = scene.count("resets")?;
    ensure(now >= resets + 2, || {
        format!("resets: {resets}, then {now}")
    })?;
    scene.end()
}

/// Loads answer zeros and stores get lost. That looks like a cable that is pulled.
fn hides(bench: &Bench) -> Outcome {
    let mut scene = Scene::new(bench)?;
    let words = pattern(4, 1000);
    let mark = scene.machine.console.mark();
    scene.card.hide(scene.machine.qtest()?, true)?;
    scene.connection.send(scene.machine.wire()?, &words)?;
    let line = |line: &str| {
        scene
            .machine
            .console
            .wait_where(mark, line, MENDED, |l| l == line)
    };
    line("card 0: link down")?;
    scene.card.hide(scene.machine.qtest()?, false)?;
    let line = |line: &str| {
        scene
            .machine
            .console
            .wait_where(mark, line, MENDED, |l| l == line)
    };
    line("card 0: link up, 1000 Mb/s, full duplex")?;
    let back = scene
        .connection
        .receive(scene.machine.wire()?, words.len())?;
    same_bytes(&back, &words)?;
    scene.end()
}

/// Without bus mastering, QEMU's cards go on, but read zeros and write nothing: the 82576's
/// head moves on with no word of it in memory, the E100 executes an endless chain of nothing.
fn no_memory(bench: &Bench) -> Outcome {
    let mut scene = Scene::new(bench)?;
    let before = statistics(&scene.machine)?;
    let words = pattern(5, 1000);
    let mark = scene.machine.console.mark();
    // The echo is not acknowledged, so that the guest has something to send.
    scene.connection.echo(scene.machine.wire()?, &words)?;
    scene.card.master(scene.machine.qtest()?, false)?;
    let end = Instant::now() + MENDED;
    while scene.count("tx_hangs")? == counted(&before, "tx_hangs")? {
        ensure(Instant::now() < end, || "no hang was found".to_owned())?;
    }
    if bench.nic.name == "e100" {
        // Not even the reset succeeds. Only then is its chain, which leads to address 0 by
        // now, forgotten, so that it can do no harm when it reaches memory again.
        let console = &scene.machine.console;
        let line = "error: card 0: the card did not complete command block 0x0002";
        console.wait_where(mark, line, MENDED, |l| l.starts_with(line))?;
    }
    scene.connection.send(scene.machine.wire()?, &words)?;
    scene.card.master(scene.machine.qtest()?, true)?;
    let start = Instant::now();
    let back = scene
        .connection
        .receive(scene.machine.wire()?, words.len())?;
    same_bytes(&back, &words)?;
    bench.note(format!("goes on after {} ms", start.elapsed().as_millis()));
    scene.serves()?;
    let resets = scene.count("resets")?;
    ensure(resets > counted(&before, "resets")?, || {
        "no reset".to_owned()
    })?;
    scene.end()
}

fn stopped(bench: &Bench) -> Outcome {
    let mut scene = Scene::new(bench)?;
    let resets = scene.count("resets")?;
    let start = Instant::now();
    scene.card.stop_transmitter(scene.machine.qtest()?)?;
    let words = pattern(6, 1000);
    scene.connection.echo(scene.machine.wire()?, &words)?;
    bench.note(format!("goes on after {} ms", start.elapsed().as_millis()));
    scene.serves()?;
    let counts = statistics(&scene.machine)?;
    let (hangs, now) = (counted(&counts, "tx_hangs")?, counted(&counts, "resets")?);
    ensure((hangs, now) == (1, resets + 1), || {
        format!("{hangs} hangs, resets {resets}, then {now}")
    })?;
    scene.end()
}
