//! IPv6: an address that a router's advertisement makes, TCP and UDP by way of QEMU's router, and what
//! neighbours on the cable ask.

use crate::machine::{PATIENCE, Setup};
use crate::soak::packets::ipv6;
use crate::suite::{Bench, Case};
use crate::wire::{OUR_MAC, Wire};
use crate::{Outcome, ensure};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new(
        "an address by SLAAC, TCP and UDP echo to ::1",
        by_way_of_a_router,
    ),
    Case::new(
        "solicitations, pings and a router on the cable",
        on_the_cable,
    ),
];

const ICMPV6: u8 = 58;
/// QEMU's user network advertises fec0::/64, and its host fec0::2 is this machine's ::1.
const HOST: &str = "fec0::2";
const BYTES: usize = 300_000;
/// The address that the guest's station makes, on the link and in the prefix of the test's router.
const GUEST: &str = "fe80::5054:ff:fe12:3456";
const GUEST_BY_PREFIX: &str = "2001:db8::5054:ff:fe12:3456";
const US: &str = "fe80::2";
const AGAIN: Duration = Duration::from_millis(200);

fn by_way_of_a_router(bench: &Bench) -> Outcome {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(AGAIN))?;
    let machine = bench.boot(&Setup::new(&format!("run=echotest,{HOST},{port},{BYTES}")))?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut octets = [0; 65536];
        loop {
            match stream.read(&mut octets)? {
                0 => return Ok(()),
                count => stream.write_all(&octets[..count])?,
            }
        }
    });
    // Datagrams come after the stream, until the guest is content.
    let mut octets = [0; 2048];
    let end = Instant::now() + 2 * PATIENCE;
    while Instant::now() < end && !machine.console.tail().contains("echotest: ") {
        if let Ok((count, from)) = socket.recv_from(&mut octets) {
            socket.send_to(&octets[..count], from)?;
        }
    }
    machine.console.wait_line("echotest: the same", PATIENCE)?;
    echo.join().expect("the echo does not panic")?;
    Ok(())
}

/// Sends a message to the guest until an answer of this kind comes, and returns that.
fn ask(wire: &Wire, (station, to): ([u8; 6], &str), message: &[u8], kind: u8) -> Outcome<Vec<u8>> {
    let ends = [US, to].map(|ip| ip.parse().expect("an address"));
    let frame = ipv6(station, ends, ICMPV6, message);
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        wire.send(&frame)?;
        let until = Instant::now() + AGAIN;
        while let Some(frame) = wire.receive(until)? {
            let is_icmp = frame.get(12..14) == Some(&[0x86, 0xdd]) && frame[20] == ICMPV6;
            if is_icmp && frame.get(54) == Some(&kind) {
                return Ok(frame);
            }
        }
    }
    Err(format!("no ICMPv6 message of type {kind} within {PATIENCE:?}").into())
}

fn on_the_cable(bench: &Bench) -> Outcome {
    let mut machine = bench.boot(&Setup::on_wire("run=echosrv"))?;
    machine.console.wait_line("bound", PATIENCE)?;
    let wire = machine.wire()?;
    let target: Ipv6Addr = GUEST.parse().expect("an address");
    let option = [&[1, 1][..], &OUR_MAC].concat();
    let solicitation = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &option].concat();
    // In the group of the address, as one asks who does not know its station.
    let group = ([0x33, 0x33, 0xff, 0x12, 0x34, 0x56], "ff02::1:ff12:3456");
    let answer = ask(wire, group, &solicitation, 136)?;
    let mac = *answer[6..].first_chunk().expect("a frame");
    ensure(answer[62..78] == target.octets(), || {
        format!("it advertises {:x?}", &answer[62..78])
    })?;
    let data = [0x5a; 1400];
    let ping = [&[128, 0, 0, 0, 1, 2, 3, 4][..], &data].concat();
    for to in [(mac, GUEST), ([0x33, 0x33, 0, 0, 0, 1], "ff02::1")] {
        let answer = ask(wire, to, &ping, 129)?;
        ensure(answer[58..] == ping[4..], || "other data came back".into())?;
    }
    // We are a router with a prefix now.
    let prefix: Ipv6Addr = "2001:db8::".parse().expect("an address");
    let information = [
        &[3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0][..],
        &prefix.octets(),
    ];
    let head = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let advertisement = [&head[..], &option, &information.concat()].concat();
    let all = ([0x33, 0x33, 0, 0, 0, 1], "ff02::1");
    // The guest looks whether somebody else has its new address.
    ask(wire, all, &advertisement, 135)?;
    ask(wire, (mac, GUEST_BY_PREFIX), &ping, 129)?;
    Ok(())
}
