//! What one function does that the others must neither see nor feel.

use super::{Hand, Peer, WEB, linked, stations};
use crate::beyond::hostile::FLOOR;
use crate::beyond::system::{counted, statistics};
use crate::beyond::tenants::{address, dotted, echo};
use crate::frames::{ARP, BROADCAST, Mac, Packet, arp, ethernet, parse};
use crate::http;
use crate::machine::{LONG, Machine, PATIENCE, Setup};
use crate::suite::Bench;
use crate::wire::OUR_MAC;
use crate::{During, Outcome, ensure, pattern};
use std::thread;
use std::time::{Duration, Instant};

/// Pages, or echoes, whose times are compared: the least, and how many usually. A hundredth may be late.
const LEAST: usize = 100;
const ASKED: usize = 300;
/// EtherType for experiments (IEEE 802, local experimental 1).
const EXPERIMENT: u16 = 0x88b5;

/// The 99th percentile of the times of what is asked for again and again, as long as `goes_on` says of how
/// often it was.
fn p99(
    mut goes_on: impl FnMut(usize) -> bool,
    mut ask: impl FnMut(u64) -> Outcome,
) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(ASKED);
    while goes_on(times.len()) {
        let began = Instant::now();
        ask(times.len() as u64)?;
        times.push(began.elapsed());
    }
    times.sort();
    let late = times.get(times.len() * 99 / 100).copied();
    let enough = late.filter(|_| times.len() >= LEAST);
    Ok(enough.ok_or_else(|| format!("there was time for only {}", times.len()))?)
}

/// The usual number.
fn usually(count: usize) -> bool {
    count < ASKED
}

/// Fails unless what was asked for beside a neighbour that misbehaves took about as long as usually.
fn compare(bench: &Bench, during: Duration, usual: Duration) -> Outcome {
    compare_with(bench, during, 3 * usual.max(FLOOR), usual)
}

fn compare_with(bench: &Bench, during: Duration, limit: Duration, usual: Duration) -> Outcome {
    bench.note(format!(
        "p99 {:.1} ms, usually {:.1}",
        during.as_secs_f32() * 1e3,
        usual.as_secs_f32() * 1e3
    ));
    ensure(during <= limit, || {
        format!("it took {during:?} beside it, usually {usual:?}")
    })
}

/// A web server on a VF, and a connection to it that stays, whatever the neighbours do.
struct Quiet(http::Connection);

impl Quiet {
    /// What its kernel command line says.
    fn words(vf: u8) -> String {
        let ip = dotted(address(1));
        format!(" stack=quiet,vf={vf},ip={ip}/24,inside=httpd")
    }

    /// Its machine.
    fn setup(words: &str, vf: u8) -> Setup {
        Setup {
            stacks: vec![address(1), address(2)],
            behind_port: true,
            ..Setup::new(&format!("{words}{}", Quiet::words(vf)))
        }
    }

    fn connect(machine: &Machine, card: u8) -> Outcome<Quiet> {
        machine.wait_servers(false, true)?;
        linked(machine, [card])?;
        let port = machine.stack_port(address(1), WEB)?;
        let mut quiet = Quiet(http::Connection::new(machine.connect(port)?));
        quiet.0.get("/", "")?.expect(200)?;
        Ok(quiet)
    }

    fn p99(&mut self) -> Outcome<Duration> {
        p99(usually, |_| self.0.get("/", "")?.expect(200).map(drop))
            .during("the quiet function's connection")
    }
}

/// A VF gets what is sent to its station and to all, and nothing of what is for others, whoever sends it.
pub fn sees(bench: &Bench) -> Outcome {
    const EACH: u64 = 10;
    let others = [address(1), address(2)];
    let mut machine = bench.boot(&Setup {
        behind_port: true,
        ..Setup::on_wire(&format!(
            "nic.vfs=2,first run=rawcount run=netd,2,ip={}/24 stack=b,vf=1,ip={}/24,run=echosrv",
            dotted(others[0]),
            dotted(others[1])
        ))
    })?;
    linked(&machine, 0..3)?;
    machine.console.wait_line("bound", PATIENCE)?;
    let stations = stations(&machine);
    let [own, neighbour, physical] = stations[..] else {
        return Err(format!("the boot tells of {stations:02x?}").into());
    };
    let before = counts(&machine)?;
    let wire = machine.wire()?;
    let send =
        |to: Mac, number: u64| wire.send(&ethernet(to, OUR_MAC, EXPERIMENT, &pattern(number, 100)));
    let (nobody, group) = ([2, 0, 0, 0, 0, 9], [1, 0, 0x5e, 0, 0, 0xfb]);
    for number in 0..EACH {
        for to in [neighbour, own, physical, BROADCAST, nobody, group] {
            send(to, number)?;
        }
        // The neighbour's answer to a question that seems to be the PF's passes the card's switch.
        let question = arp(1, (physical, others[0]), ([0; 6], others[1]));
        wire.send(&ethernet(neighbour, physical, ARP, &question))?;
    }
    // They are answered, so all before has been received. What the guest sends to all comes to each function.
    let mut to_all = 0;
    for (ip, mac) in [(others[0], physical), (others[1], neighbour)] {
        (wire.guest_ip, wire.guest_mac) = (ip, mac);
        let number = (1, 1);
        let ping = crate::frames::echo_request((wire.ip, ip), number, b"ping");
        wire.send_ipv4(&ping)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let frame = wire.receive(end)?.ok_or("no answer to a ping")?;
            to_all += u64::from(frame.starts_with(&BROADCAST));
            match parse(&frame) {
                Some(Packet::Echo { kind: 0, ips, .. }) if ips.0 == ip => break,
                Some(Packet::Arp {
                    operation: 1,
                    sender,
                    target,
                }) if target == wire.ip => {
                    let reply = arp(2, (OUR_MAC, wire.ip), sender);
                    wire.send(&ethernet(sender.0, OUR_MAC, ARP, &reply))?;
                }
                Some(Packet::Arp {
                    operation: 2,
                    target,
                    ..
                }) if target == others[0] => {
                    return Err("an answer to the PF was on the wire".into());
                }
                _ => {}
            }
        }
    }
    let seen = counts(&machine)? - before;
    let expected = 2 * EACH + to_all;
    ensure(seen == expected, || {
        format!("it has seen {seen} frames, of {expected} that are its own or for all")
    })
}

/// How many frames `rawcount` has had, when it tells so the next time but one: what has come is counted.
fn counts(machine: &Machine) -> Outcome<u64> {
    let mut line = String::new();
    for _ in 0..2 {
        let mark = machine.console.mark();
        let prefix = "rawcount: at ";
        let told = |line: &str| line.starts_with(prefix);
        line = machine.console.wait_where(mark, prefix, PATIENCE, told)?;
    }
    let count = line.split(' ').nth(4).and_then(|word| word.parse().ok());
    Ok(count.ok_or(line)?)
}

/// A neighbour sends as fast as its function takes frames. They are for the PF, which nobody has, so that
/// they end in the card, and neither a wire that is full nor a receiver holds others up.
pub fn floods(bench: &Bench) -> Outcome {
    let ip = address(1);
    let mut machine = bench.boot(&Setup {
        behind_port: true,
        ..Setup::on_wire(&format!(
            "nic.vfs=2,first run=rawsend,60,4,to=52:54:00:12:34:56 stack=b,vf=1,ip={}/24,run=echosrv",
            dotted(ip)
        ))
    })?;
    machine.console.wait_line("bound", PATIENCE)?;
    linked(&machine, 0..2)?;
    let mut peer = Peer::new(machine.wire()?, (1, ip))?;
    let mut told = None;
    let is_over = |line: &String| line.starts_with("rawsend: ") && line.contains(" a second");
    let lines = |machine: &Machine| machine.console.lines().into_iter().find(is_over);
    let machine = std::cell::RefCell::new(machine);
    let during = p99(
        |_| {
            told = lines(&machine.borrow());
            told.is_none()
        },
        |number| peer.echo(&mut machine.borrow_mut(), number),
    )?;
    let line = told.ok_or("no flood")?;
    let sent = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    ensure(sent.is_some_and(|sent: u64| sent > 20_000), || {
        format!("too slow a flood: {line}")
    })?;
    let mut machine = machine.into_inner();
    let usual = p99(usually, |number| peer.echo(&mut machine, number))?;
    compare(bench, during, usual)
}

/// The owner of one function writes anything into what it shares with the kernel, and dies of it or is
/// killed, again and again; the programs of another's stack crash, or make calls that no sane one makes.
pub fn crashes(bench: &Bench) -> Outcome {
    const TIMES: usize = 6;
    let words = format!(
        "nic.vfs=3,first run=testcalls,3000,1,exchanges,{TIMES} \
         stack=bad,vf=1,ip={}/24,run=fault,run=testcalls",
        dotted(address(2))
    );
    let setup = Quiet::setup(&words, 2).from_image(bench.image_with_attackers());
    let machine = bench.boot(&setup)?;
    let mut quiet = Quiet::connect(&machine, 2)?;
    let ended = format!("after {TIMES}");
    let lines = || machine.console.lines();
    let mut during = Duration::ZERO;
    while !lines().iter().any(|line| line.ends_with(&ended)) {
        during = during.max(quiet.p99()?);
    }
    let faults = lines().iter().filter(|line| *line == "fault: Null").count();
    ensure(faults >= 2, || format!("only {faults} crashes"))?;
    ensure(during > Duration::ZERO, || {
        "they were over too early".to_owned()
    })?;
    compare(bench, during, quiet.p99()?)
}

/// Frames of a VF's ring to send from.
const RING: u64 = 255;

/// The owner of a function takes all its buffers, to send and received, and gives none back.
pub fn holds(bench: &Bench) -> Outcome {
    let ip = address(1);
    let mut machine = bench.boot(
        &Setup {
            behind_port: true,
            ..Setup::on_wire(&format!(
                "nic.vfs=2,first run=testcalls,0,1,hold stack=b,vf=1,ip={}/24,run=echosrv",
                dotted(ip)
            ))
        }
        .from_image(bench.image_with_attackers()),
    )?;
    machine.console.wait_line("bound", PATIENCE)?;
    linked(&machine, 0..2)?;
    let held = stations(&machine)[0];
    let mut peer = Peer::new(machine.wire()?, (1, ip))?;
    let usual = p99(usually, |number| peer.echo(&mut machine, number))?;
    let mut ask = |number| {
        for _ in 0..5 {
            let frame = ethernet(held, OUR_MAC, EXPERIMENT, &pattern(number, 100));
            machine.wire()?.send(&frame)?;
        }
        peer.echo(&mut machine, number)
    };
    // Its ring is full by then, and stays so.
    p99(usually, &mut ask)?;
    let during = p99(usually, &mut ask)?;
    let lines = machine.console.lines();
    let told = lines
        .iter()
        .filter(|line| line.starts_with("testcalls: holds "));
    let mut counts = told.filter_map(|line| {
        let mut numbers = line.split(' ').filter_map(|word| word.parse::<u64>().ok());
        Some((numbers.next()?, numbers.next()?))
    });
    let (buffers, frames) = counts.next_back().ok_or("nothing is held")?;
    let ring = format!("rings of {} and {frames} frames", RING);
    let is_all = lines
        .iter()
        .any(|line| line.starts_with("card 0: ") && line.contains(&ring));
    ensure(is_all && buffers >= RING, || {
        format!("{buffers} buffers and {frames} frames are held")
    })?;
    compare(bench, during, usual)
}

/// V2PMAILBOX and the mailbox of a VF (82576EB datasheet §8.14.1), and its bits: a request is there, the VF
/// has the lock.
const MAILBOX: u64 = 0xc40;
const MESSAGE: u64 = 0x800;
const REQUEST: u32 = 1;
const LOCK: u32 = 4;

/// Somebody floods the mailbox of a function with requests of all kinds, and resets the function again and
/// again. The host is silent to it for the rest of each second, and serves the others.
pub fn mailbox(bench: &Bench) -> Outcome {
    let words = format!(
        "nic.vfs=2 limits=memory:6M,sockets:16 run=netd,0 limits=sockets:8 run=nicstat,-r,-w \
         stack=loud,vf=0,ip={}/24,run=echosrv",
        dotted(address(2))
    );
    let mut machine = bench.boot(&Setup {
        qtest: true,
        ..Quiet::setup(&words, 1)
    })?;
    let mut quiet = Quiet::connect(&machine, 2)?;
    echo(&machine, address(2), &pattern(1, 10_000))?;
    let hand = Hand::virtual_function(&machine, 0)?;
    let before = statistics(&machine)?;
    let (during, asked) = thread::scope(|scope| {
        let pages = scope.spawn(|| quiet.p99());
        let qtest = machine.qtest()?;
        let mut asked = 0u32;
        while !pages.is_finished() || asked < 2000 {
            qtest.write32(hand.registers + MAILBOX, LOCK)?;
            // Requests with any length and any contents.
            let first = (asked % 9) | ((asked / 9 % 256) << 16);
            for (word, value) in [(0, first), (1, asked), (2, !asked)] {
                qtest.write32(hand.registers + MESSAGE + 4 * word, value)?;
            }
            qtest.write32(hand.registers + MAILBOX, REQUEST)?;
            asked += 1;
            if asked.is_multiple_of(16) {
                hand.reset(qtest)?;
            }
        }
        let during = pages.join().map_err(|_| "the client panicked")??;
        Ok::<_, crate::Failure>((during, asked))
    })?;
    let after = statistics(&machine)?;
    let grown =
        |name: &str| Ok::<_, crate::Failure>(counted(&after, name)? - counted(&before, name)?);
    let (messages, muted) = (grown("vf_0_messages")?, grown("vf_0_muted")?);
    let (refused, resets) = (grown("vf_0_refused")?, grown("vf_0_resets")?);
    let others = grown("vf_1_messages")? + grown("vf_1_resets")?;
    let figures = format!(
        "of {asked} requests {messages} were heard, {refused} refused, {muted} not heard; {resets} \
         resets; of the other VF {others}"
    );
    ensure(
        messages > 0 && refused > 0 && resets > 0 && others == 0 && messages < asked.into(),
        || figures.clone(),
    )?;
    // At each of its ticks the driver of the function waits for a lock, an answer and the end of a reset,
    // which the hand spoils: nobody else runs then.
    const WAITS: Duration = Duration::from_millis(3 * 20);
    let usual = quiet.p99()?;
    compare_with(bench, during, 3 * usual.max(FLOOR) + WAITS, usual)?;
    // Its owner has it back within some ticks.
    let end = Instant::now() + LONG;
    let mut back = Err("never tried".into());
    while back.is_err() && Instant::now() < end {
        back = echo(&machine, address(2), &pattern(2, 10_000));
    }
    back.during("the function whose mailbox was flooded")
}
