//! The 82576's virtual functions (VFs), each with a stack of its own, beside the stack of the card itself,
//! which is the physical function (PF): who reaches whom, what a reset of one costs the others, and that
//! none gets or takes what is another's.

use super::defects::MENDED;
use super::echo::udp_echo_at;
use super::system::{counted, statistics};
use super::tenants::{address, dotted, echo, one_dies, serve_two};
use crate::connection::Connection;
use crate::frames::{BROADCAST, Ip, Mac};
use crate::grade::web;
use crate::http;
use crate::machine::{LONG, Machine, PATIENCE, Setup};
use crate::monitor::forwarded_port;
use crate::nic::Nic;
use crate::peer;
use crate::qtest::{Function, Qtest};
use crate::suite::{Bench, Case};
use crate::wire::{GUEST_IP, Wire};
use crate::{During, Outcome, ensure, pattern, same_bytes};
use std::thread;
use std::time::{Duration, Instant};

mod isolation;

pub const CASES: &[Case] = &[
    Case::new(
        "two virtual functions serve, a stack on each",
        // They are behind the card, and work though nobody has that one (82576 datasheet §7.10).
        |bench| serve_two(bench, "nic.vfs=2 ", [1, 2]),
    )
    .only("igb"),
    Case::new("one VF, the PF and the host: each reaches each", |bench| {
        each_reaches_each(bench, 1)
    })
    .only("igb"),
    Case::new("two VFs, the PF and the host: each reaches each", |bench| {
        each_reaches_each(bench, 2)
    })
    .only("igb"),
    Case::new("seven VFs reach others, and each serves a page", |bench| {
        each_reaches_each(bench, 7)
    })
    .only("igb"),
    Case::new(
        "a VF is reset under traffic, the others go on",
        function_reset,
    )
    .only("igb"),
    Case::new("the card is reset under traffic, all come back", |bench| {
        card_reset(bench, true)
    })
    .only("igb"),
    Case::new("the card is reset though nobody has the PF", |bench| {
        card_reset(bench, false)
    })
    .only("igb"),
    Case::new("cable off and on: all functions hear of it", cable).only("igb"),
    Case::new(
        "a VF sees its own frames and those for all",
        isolation::sees,
    )
    .only("igb"),
    Case::new("a VF floods, another serves as usual", isolation::floods).only("igb"),
    Case::new(
        "owners of VFs crash on and on, another serves",
        isolation::crashes,
    )
    .only("igb"),
    Case::new(
        "a VF's owner holds all buffers, another serves",
        isolation::holds,
    )
    .only("igb"),
    Case::new(
        "a VF's mailbox is flooded, another serves",
        isolation::mailbox,
    )
    .only("igb"),
    Case::new("the stack of one VF dies, the other's stay", |bench| {
        one_dies(bench, "nic.vfs=2 ", [",vf=0", ",vf=1"])
    })
    .only("igb"),
    Case::new("virtual functions that cannot be are told of", cannot_be).only("igb"),
    Case::new("no memory for all VFs: some are left out", few).only("igb"),
    Case::new("nicstat of a VF, and of the PF", nicstat).only("igb"),
];

const ECHO: u16 = 7;
const WEB: u16 = 80;

/// Waits until these cards have a link: before that, what is sent to them is lost.
fn linked(machine: &Machine, cards: impl IntoIterator<Item = u8>) -> Outcome {
    for card in cards {
        let up = format!("card {card}: link up");
        machine.console.wait_prefix(&up, PATIENCE)?;
    }
    Ok(())
}

/// The station addresses of all cards, as the boot tells of them.
fn stations(machine: &Machine) -> Vec<Mac> {
    let lines = machine.console.lines();
    let words = lines.iter().filter(|line| line.starts_with("card "));
    let macs = words.filter_map(|line| line.split_once(", MAC ")?.1.split(',').next());
    let octets = macs.map(|mac| mac.split(':').map(|octet| u8::from_str_radix(octet, 16)));
    octets
        .filter_map(|octets| octets.collect::<Result<Vec<u8>, _>>().ok()?.try_into().ok())
        .collect()
}

/// The port of this machine that leads to UDP port 7 of the stack at `ip`.
fn udp_port(machine: &mut Machine, ip: Ip) -> Outcome<u16> {
    let forward = format!("hostfwd_add n0 udp:127.0.0.1:0-{}:{ECHO}", dotted(ip));
    machine.monitor.command(&forward)?;
    let usernet = machine.monitor.command("info usernet")?;
    forwarded_port(&usernet, "UDP", (ip, ECHO))
}

/// The stack of each function connects to the echo servers of its neighbours, and to one of this machine,
/// and this machine to each of theirs: by TCP and UDP, and what comes back is what was sent. What they say
/// to each other the card's switch passes on, so that it is not on the wire.
fn each_reaches_each(bench: &Bench, vfs: u8) -> Outcome {
    const BYTES: usize = 60_000;
    let serves_pages = vfs == 7;
    let mut server =
        peer::Server::bind(peer::Ports { echo: 0, http: 0 }, None).during("a server")?;
    let port = server.addresses().first().ok_or("no address")?.port();
    // It ends with this program.
    thread::spawn(move || server.run());

    // Function 0 is the PF, and function n the VF n - 1.
    let functions = vfs + 1;
    // The stacks of the VFs have most of what there is.
    let mut words = format!("nic.vfs={vfs} limits=memory:6M,sockets:64 run=netd,0 run=echosrv");
    let inside = if serves_pages { "inside=httpd," } else { "" };
    for function in 1..functions {
        let (vf, ip) = (function - 1, dotted(address(function)));
        words += &format!(" stack=v{vf},vf={vf},ip={ip}/24,{inside}run=echosrv");
    }
    words += " limits=sockets:16";
    let mut clients = 0;
    for function in 0..functions {
        let stack = match function {
            0 => String::new(),
            _ => format!(",stack=v{}", function - 1),
        };
        let (next, last) = (function + 1, function + vfs);
        let mut targets: Vec<_> = [next, last]
            .map(|target| (dotted(address(target % functions)), ECHO))
            .into();
        targets.dedup();
        targets.push(("10.0.2.2".to_owned(), port));
        for (ip, port) in targets {
            words += &format!(" run=echotest,{ip},{port},{BYTES}{stack}");
            clients += 1;
        }
    }
    let all: Vec<Ip> = (0..functions).map(address).collect();
    let mut machine = bench.boot(&Setup {
        stacks: all.clone(),
        behind_port: true,
        memory_mib: 128,
        ..Setup::new(&words)
    })?;
    machine
        .console
        .wait_times("echotest: the same", clients, LONG)?;
    for (number, ip) in (0..).zip(all) {
        echo(&machine, ip, &pattern(number, 300_000))?;
        let port = udp_port(&mut machine, ip)?;
        for len in [1, 512, 1472, 8000] {
            udp_echo_at(port, len).during(&format!("{len} bytes to {}", dotted(ip)))?;
        }
        if serves_pages && number > 0 {
            serves_page(&machine, ip)?;
        }
    }
    let stations = stations(&machine);
    ensure(stations.len() == usize::from(functions), || {
        format!("the boot tells of {stations:02x?}")
    })?;
    let is_ours = |mac: Option<&[u8]>| stations.iter().any(|station| mac == Some(station));
    let frames = machine.captured()?;
    let out: Vec<_> = frames
        .iter()
        .filter(|frame| is_ours(frame.get(6..12)))
        .collect();
    // What went to this machine is there, so that the rest would be.
    ensure(out.len() > clients * BYTES / 1500, || {
        format!("only {} frames on the wire", out.len())
    })?;
    let between = out.iter().filter(|frame| is_ours(frame.get(..6))).count();
    ensure(between == 0, || {
        format!("{between} frames from function to function were on the wire")
    })
}

/// Registers of a function's configuration space, and where its capabilities begin (PCI Local Bus
/// Specification 3.0, §6.1).
const COMMAND: u8 = 0x04;
const BAR0: u8 = 0x10;
const CAPABILITIES: u8 = 0x34;
/// Numbers of capabilities.
const PCI_EXPRESS: u32 = 0x10;
const MSI_X: u32 = 0x11;
/// Of PCI Express' Device Control: function level reset (PCIe 6.0 §7.5.3.4).
const DEVICE_CONTROL: u8 = 8;
const FUNCTION_LEVEL_RESET: u32 = 1 << 15;
/// The 82576's device control, and its reset bit (82576EB datasheet §8.2.1).
const CTRL: u64 = 0;
const CTRL_RST: u32 = 1 << 26;
/// Words of a VF's MSI-X table, of three entries.
const TABLE: u64 = 12;

/// A function of the card, in the test's hand.
struct Hand {
    function: Function,
    /// Where its registers and its MSI-X table are.
    registers: u64,
    table: u64,
}

impl Hand {
    /// The physical function, behind the root port.
    fn physical(machine: &mut Machine) -> Outcome<Hand> {
        let function = Function(1, 0, 0);
        let registers = machine.qtest()?.config_read(function, BAR0)?;
        Ok(Hand {
            function,
            registers: u64::from(registers & !0xf),
            table: 0,
        })
    }

    /// The virtual function `number`, of whose memory the boot tells: its own registers of that are zeros.
    fn virtual_function(machine: &Machine, number: u8) -> Outcome<Hand> {
        let lines = machine.console.lines();
        let end = format!(": virtual function {number} of 01:00.0");
        let at = lines.iter().position(|line| line.ends_with(&end));
        let resources = at.and_then(|at| lines.get(at + 1)).ok_or("no such VF")?;
        let bar = |name: &str| {
            let (_, after) = resources.split_once(&format!("{name} mem64 0x"))?;
            u64::from_str_radix(after.split('+').next()?, 16).ok()
        };
        // At the PF's number and 128, two numbers apart.
        let devfn = 0x80 + 2 * number;
        Ok(Hand {
            function: Function(1, devfn >> 3, devfn & 7),
            registers: bar("BAR0").ok_or("no BAR0")?,
            table: bar("BAR3").ok_or("no BAR3")?,
        })
    }

    fn capability(&self, qtest: &mut Qtest, wanted: u32) -> Outcome<u8> {
        let mut at = qtest.config_read(self.function, CAPABILITIES)? as u8;
        while at != 0 {
            let header = qtest.config_read(self.function, at)?;
            if header & 0xff == wanted {
                return Ok(at);
            }
            at = (header >> 8) as u8;
        }
        Err(format!("no capability {wanted:#x}").into())
    }

    /// Resets the function as its own driver would.
    fn reset(&self, qtest: &mut Qtest) -> Outcome {
        let control = qtest.read32(self.registers + CTRL)?;
        qtest.write32(self.registers + CTRL, control | CTRL_RST)
    }

    /// Function level reset of a VF. Who does that to a function restores its configuration afterwards
    /// (PCIe 6.0 §6.6.2): its command register, and its MSI-X table.
    fn function_level_reset(&self, qtest: &mut Qtest) -> Outcome {
        let command = qtest.config_read(self.function, COMMAND)?;
        let control = self.capability(qtest, PCI_EXPRESS)? + DEVICE_CONTROL;
        let msi_x = self.capability(qtest, MSI_X)?;
        let messages = qtest.config_read(self.function, msi_x)?;
        let words = (0..TABLE).map(|word| qtest.read32(self.table + 4 * word));
        let words: Vec<u32> = words.collect::<Outcome<_>>()?;
        let value = qtest.config_read(self.function, control)? & 0xffff;
        qtest.config_write(self.function, control, value | FUNCTION_LEVEL_RESET)?;
        let now = qtest.config_read(self.function, COMMAND)?;
        ensure(now & 6 == 0, || {
            format!("no reset: the command register is still {now:#x}")
        })?;
        qtest.config_write(self.function, COMMAND, command & 0xffff)?;
        qtest.config_write(self.function, msi_x, messages)?;
        for (word, value) in (0..).zip(words) {
            qtest.write32(self.table + 4 * word, value)?;
        }
        Ok(())
    }
}

/// A stack of a function, and a connection to it that has been used.
struct Peer {
    card: u8,
    ip: Ip,
    mac: Mac,
    connection: Connection,
}

impl Peer {
    fn new(wire: &mut Wire, (card, ip): (u8, Ip)) -> Outcome<Peer> {
        wire.guest_ip = ip;
        wire.guest_mac = BROADCAST;
        let mac = wire.resolve()?;
        let mut connection = Connection::open(wire, (40_000 + u16::from(card), ECHO))?;
        connection.patience = MENDED;
        connection.echo(wire, &pattern(card.into(), 3000))?;
        Ok(Peer {
            card,
            ip,
            mac,
            connection,
        })
    }

    /// The wire, set to speak to this stack.
    fn wire<'a>(&self, machine: &'a mut Machine) -> Outcome<&'a mut Wire> {
        let wire = machine.wire()?;
        (wire.guest_ip, wire.guest_mac) = (self.ip, self.mac);
        Ok(wire)
    }

    fn echo(&mut self, machine: &mut Machine, seed: u64) -> Outcome {
        let wire = self.wire(machine)?;
        let echoed = self.connection.echo(wire, &pattern(seed, 4000));
        echoed.during(&format!("the connection to card {}", self.card))
    }
}

/// Boots two VFs, and the PF if it is wanted, with an echo server on the stack of each.
fn echo_servers(bench: &Bench, has_pf: bool) -> Outcome<(Machine, Vec<Peer>)> {
    let pf = match has_pf {
        true => {
            "limits=memory:6M,sockets:64 run=netd,0 run=echosrv limits=sockets:8 run=nicstat,-r,-w "
        }
        false => "",
    };
    let [a, b] = [address(1), address(2)];
    let mut machine = bench.boot(&Setup {
        behind_port: true,
        qtest: true,
        ..Setup::on_wire(&format!(
            "nic.vfs=2 {pf}stack=a,vf=0,ip={}/24,run=echosrv stack=b,vf=1,ip={}/24,run=echosrv",
            dotted(a),
            dotted(b)
        ))
    })?;
    let functions: Vec<(u8, Ip)> = [(0, GUEST_IP), (1, a), (2, b)]
        .into_iter()
        .filter(|(card, _)| has_pf || *card > 0)
        .collect();
    machine
        .console
        .wait_times("bound", functions.len(), PATIENCE)?;
    linked(&machine, functions.iter().map(|(card, _)| *card))?;
    let wire = machine.wire()?;
    let peers = functions.into_iter().map(|place| Peer::new(wire, place));
    let peers = peers.collect::<Outcome<_>>()?;
    Ok((machine, peers))
}

/// How long the others of one that is reset may take for 4,000 octets.
const SOON: Duration = Duration::from_millis(500);

/// A VF is reset by a hand that is not its driver's, in its configuration space or in its registers, amid
/// a connection: its driver notices at a tick, mends it at the next, and the connection goes on. Those of
/// the others have never stopped.
fn function_reset(bench: &Bench) -> Outcome {
    let (mut machine, mut peers) = echo_servers(bench, true)?;
    let hand = Hand::virtual_function(&machine, 0)?;
    let words = pattern(9, 4000);
    let mut longest = Duration::ZERO;
    for round in 0..2 {
        let mark = machine.console.mark();
        let peer = &mut peers[1];
        let wire = peer.wire(&mut machine)?;
        peer.connection.send(wire, &words)?;
        match round % 2 {
            0 => hand.function_level_reset(machine.qtest()?)?,
            _ => hand.reset(machine.qtest()?)?,
        }
        let began = Instant::now();
        let works_again = |line: &str| line.starts_with("card 1: works again, link up");
        while !machine.console.lines()[mark..]
            .iter()
            .any(|l| works_again(l))
        {
            ensure(began.elapsed() < PATIENCE, || {
                format!("round {round}: not mended; {}", machine.console.tail())
            })?;
            for other in [0, 2] {
                let start = Instant::now();
                peers[other].echo(&mut machine, start.elapsed().as_nanos() as u64)?;
                longest = longest.max(start.elapsed());
            }
        }
        let peer = &mut peers[1];
        let wire = peer.wire(&mut machine)?;
        let back = peer.connection.receive(wire, words.len());
        same_bytes(&back.during(&format!("round {round}"))?, &words)?;
        peer.echo(&mut machine, round)?;
        let told: Vec<String> = machine.console.lines().split_off(mark);
        let told = told.iter().filter(|line| line.contains("error: "));
        let told: Vec<&String> = told.collect();
        ensure(
            matches!(told[..], [line] if line.starts_with("error: card 1: ")),
            || format!("round {round}: {told:?}"),
        )?;
    }
    bench.note(format!(
        "2 resets; the others echoed within {} ms meanwhile",
        longest.as_millis()
    ));
    ensure(longest < SOON, || format!("an echo took {longest:?}"))?;
    let counts = statistics(&machine)?;
    let (resets, others) = (
        counted(&counts, "vf_0_resets")?,
        counted(&counts, "vf_1_resets")?,
    );
    ensure(resets >= others + 2, || {
        format!("the PF has counted {resets} resets, and of the other {others}")
    })?;
    end(machine, peers)
}

/// All connections go on, and can be ended.
fn end(mut machine: Machine, peers: Vec<Peer>) -> Outcome {
    for mut peer in peers {
        for seed in 0..10 {
            peer.echo(&mut machine, seed)?;
        }
        let wire = peer.wire(&mut machine)?;
        peer.connection.close(wire)?;
    }
    Ok(())
}

/// The whole card is reset by a hand that is not its driver's: no function works then before the driver of
/// the PF has set up the card again.
fn card_reset(bench: &Bench, has_pf: bool) -> Outcome {
    let (mut machine, mut peers) = echo_servers(bench, has_pf)?;
    let hand = Hand::physical(&mut machine)?;
    let words = pattern(8, 4000);
    let mark = machine.console.mark();
    for peer in &mut peers {
        let wire = peer.wire(&mut machine)?;
        peer.connection.send(wire, &words)?;
    }
    hand.reset(machine.qtest()?)?;
    let start = Instant::now();
    for peer in &mut peers {
        let again = format!("card {}: works again", peer.card);
        let is_it = |line: &str| line.starts_with(&again);
        machine.console.wait_where(mark, &again, MENDED, is_it)?;
    }
    for peer in &mut peers {
        let wire = peer.wire(&mut machine)?;
        let back = peer.connection.receive(wire, words.len());
        let what = format!("card {}", peer.card);
        same_bytes(&back.during(&what)?, &words)?;
    }
    bench.note(format!(
        "all go on after {} ms",
        start.elapsed().as_millis()
    ));
    end(machine, peers)
}

/// Each function's driver tells of the link, the VFs' by a notice of the PF; what is said meanwhile comes
/// when there is a link again.
fn cable(bench: &Bench) -> Outcome {
    let (mut machine, mut peers) = echo_servers(bench, true)?;
    let words = pattern(7, 4000);
    for (state, line) in [("off", "link down"), ("on", "link up")] {
        let mark = machine.console.mark();
        machine.monitor.command(&format!("set_link n0 {state}"))?;
        for peer in &mut peers {
            if state == "off" {
                let wire = peer.wire(&mut machine)?;
                peer.connection.send(wire, &words)?;
            }
            let line = format!("card {}: {line}", peer.card);
            let is_it = |told: &str| told.starts_with(&line);
            machine.console.wait_where(mark, &line, PATIENCE, is_it)?;
        }
    }
    for peer in &mut peers {
        let wire = peer.wire(&mut machine)?;
        let back = peer.connection.receive(wire, words.len());
        let what = format!("card {}", peer.card);
        same_bytes(&back.during(&what)?, &words)?;
    }
    end(machine, peers)
}

/// What cannot be is said, and what can be works.
fn cannot_be(bench: &Bench) -> Outcome {
    for (card, behind_port, words, told) in [
        (
            "igb",
            true,
            "nic.vfs=8",
            "command line: `nic.vfs=8` is unknown",
        ),
        ("e100", false, "nic.vfs=2", ": it has no virtual functions"),
        (
            "igb",
            false,
            "nic.vfs=2",
            ": no root port, so no virtual functions",
        ),
    ] {
        let nic = Nic::named(card).and_then(<[Nic]>::first).ok_or("no card")?;
        let setup = Setup {
            behind_port,
            ..Setup::new(&format!("{words} run=httpd"))
        };
        let machine = bench.boot_with(nic, &setup)?;
        machine.wait_servers(false, true)?;
        web(&machine)?.get("/", "")?.expect(200)?;
        ensure(
            machine
                .console
                .lines()
                .iter()
                .any(|line| line.contains(told)),
            || {
                format!(
                    "{words} with the {card}: no line {told:?}; {}",
                    machine.console.tail()
                )
            },
        )?;
    }
    // One function that is not there, and one that another stack has.
    let [first, absent, second] = [address(1), address(2), address(3)];
    let machine = bench.boot(&Setup {
        behind_port: true,
        stacks: vec![first, second],
        ..Setup::new(&format!(
            "nic.vfs=2 stack=a,vf=0,ip={}/24,inside=httpd stack=x,vf=5,ip={}/24,run=httpd \
             stack=b,vf=0,ip={}/24,inside=httpd",
            dotted(first),
            dotted(absent),
            dotted(second)
        ))
    })?;
    let console = &machine.console;
    console.wait_prefix("init: stack x: there is no virtual function 5", PATIENCE)?;
    console.wait_line("netd: cannot attach card 1: busy", PATIENCE)?;
    // Either may have come first, and has it.
    let has_it = |line: &str| line.starts_with("netd: net") && line.contains(" is 10.0.2.");
    let line = console.wait_where(0, "one of the servers", PATIENCE, has_it)?;
    let ip = if line.contains("neta") { first } else { second };
    linked(&machine, [1])?;
    serves_page(&machine, ip)
}

fn serves_page(machine: &Machine, ip: Ip) -> Outcome {
    let stream = machine.connect(machine.stack_port(ip, WEB)?)?;
    let page = http::Connection::new(stream).get("/", "")?.expect(200)?;
    ensure(!page.body.is_empty(), || {
        format!("an empty page of {}", dotted(ip))
    })
}

/// Those for which there is no memory are left out, each with a line, and the others serve.
fn few(bench: &Bench) -> Outcome {
    let ip = address(1);
    let machine = bench.boot(&Setup {
        behind_port: true,
        stacks: vec![ip],
        memory_mib: 12,
        ..Setup::new(&format!(
            "nic.vfs=7 stack=a,vf=0,ip={0}/24,inside=httpd stack=b,vf=6,ip={0}/24,run=httpd",
            dotted(ip)
        ))
    })?;
    machine.wait_servers(false, true)?;
    linked(&machine, [1])?;
    let lines = machine.console.lines();
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    let (left_out, there) = (count(": left out: no "), count(": igbvf, MAC "));
    bench.note(format!("{there} of 7 in 12 MiB"));
    ensure(left_out > 0 && there > 0 && left_out + there == 7, || {
        format!("{there} are there, {left_out} were left out")
    })?;
    machine
        .console
        .wait_prefix("init: stack b: there is no virtual function 6", PATIENCE)?;
    serves_page(&machine, ip)
}

/// The driver of each function says what it is and what it has counted; the PF's, also what it does for
/// the others.
fn nicstat(bench: &Bench) -> Outcome {
    let ip = address(1);
    for (words, driver, counters) in [
        (
            "run=nicstat,a,-r,-a,-w",
            "driver igbvf",
            &[
                "rx_good_frames",
                "tx_good_frames",
                "rx_frames",
                "mailbox_answered",
            ][..],
        ),
        (
            "limits=memory:6M,sockets:64 run=netd,0 run=nicstat,-r,-a,-w",
            "driver igb",
            &[
                "vf_0_messages",
                "vf_0_resets",
                "vf_1_messages",
                "rx_broadcasts",
            ],
        ),
    ] {
        let machine = bench.boot(&Setup {
            behind_port: true,
            stacks: vec![ip],
            ..Setup::new(&format!(
                "nic.vfs=2 stack=a,vf=0,ip={}/24,run=echosrv {words}",
                dotted(ip)
            ))
        })?;
        machine.wait_servers(true, false)?;
        linked(&machine, [1])?;
        echo(&machine, ip, &pattern(1, 10_000))?;
        machine.console.wait_line(driver, PATIENCE)?;
        let counts = statistics(&machine)?;
        for name in counters {
            let count = counted(&counts, name)?;
            ensure(count > 0, || format!("{driver}: {name} is 0"))?;
        }
        for name in [
            "vf_0_refused",
            "vf_locks_taken",
            "mailbox_refused",
            "tx_lost_in_reset",
        ] {
            let count = counts.get(name).copied().unwrap_or(0);
            ensure(count == 0, || format!("{driver}: {name} is {count}"))?;
        }
    }
    Ok(())
}
