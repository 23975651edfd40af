//! Which frames a card lets through, and the VLAN tags that it takes out and puts in.

use crate::frames::{ARP, BROADCAST, Mac, arp, ethernet};
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::OUR_MAC;
use crate::{Outcome, ensure, pattern, same_bytes};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("filters: station, groups, promiscuous", addresses).only("igb"),
    Case::new("filters: VLAN numbers", numbers).only("igb"),
    Case::new("VLAN tags taken out and put in", tags).only("igb"),
    Case::new("a tagged frame does not reach the server", not_ours).only("igb"),
    Case::new("a server in a VLAN", in_a_vlan).only("igb"),
    Case::new("filters: groups, promiscuous", kinds).only("e100"),
    Case::new("filters and tags refused where there are none", refused).only("e100"),
];

const GUEST: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OTHER: Mac = [0x52, 0x54, 0, 0x77, 0x77, 0x77];
const GROUP: Mac = [0x01, 0, 0x5e, 0, 0, 0xfb];
/// Differs from [`GROUP`] in the bits that are hashed.
const ANOTHER_GROUP: Mac = [0x01, 0, 0x5e, 0, 0x40, 1];
/// EtherType for experiments (IEEE 802, local experimental 1).
const EXPERIMENT: u16 = 0x88b5;
const VLAN: u16 = 0x8100;

fn boot(bench: &Bench, words: &str) -> Outcome<Machine> {
    let machine = bench.boot(&Setup::on_wire(&format!("run=testfilter{words}")))?;
    let console = &machine.console;
    console.wait_line("testfilter: receiving", PATIENCE)?;
    // The link of the 82576 needs half a second, without which it receives nothing.
    if bench.nic.tells_link {
        console.wait_prefix("card 0: link up", PATIENCE)?;
    }
    Ok(machine)
}

/// A frame with its number in it, so that none is taken for another.
fn frame(to: Mac, number: u8) -> Vec<u8> {
    ethernet(to, OUR_MAC, EXPERIMENT, &pattern(number.into(), 100))
}

/// The same with a VLAN tag.
fn tagged(to: Mac, number: u8, tag: u16) -> Vec<u8> {
    let mut frame = frame(to, number);
    let tag = [VLAN.to_be_bytes(), tag.to_be_bytes()].concat();
    frame.splice(12..12, tag);
    frame
}

/// What the guest answers to the frame: itself, with both addresses exchanged.
fn back(mut frame: Vec<u8>) -> Vec<u8> {
    let (to, from) = frame.split_at_mut(6);
    to.swap_with_slice(&mut from[..6]);
    frame
}

/// Sends all frames, and last one that is let through for certain; expects those back that
/// are wanted, and no other.
fn expect(bench: &Bench, words: &str, frames: &[(Vec<u8>, bool)]) -> Outcome {
    let mut machine = boot(bench, words)?;
    let wire = machine.wire()?;
    for (frame, _) in frames {
        wire.send(frame)?;
    }
    let last = frame(GUEST, 255);
    wire.send(&last)?;
    let wanted = frames.iter().filter(|(_, wanted)| *wanted);
    let wanted = wanted.map(|(frame, _)| frame).chain([&last]);
    for (index, frame) in wanted.enumerate() {
        let got = wire.receive(Instant::now() + PATIENCE)?;
        let got = got.ok_or_else(|| format!("{words}: frame {index} did not come back"))?;
        same_bytes(&got, &back(frame.clone()))?;
    }
    Ok(())
}

/// Frames to all kinds of stations, and which of them are let through.
fn frames(station: bool, group: bool, all_groups: bool, all: bool) -> [(Vec<u8>, bool); 6] {
    [
        (frame(GUEST, 1), true),
        (frame(BROADCAST, 2), true),
        (frame(OTHER, 3), station || all),
        (frame(GROUP, 4), group || all_groups || all),
        (frame(ANOTHER_GROUP, 5), all_groups || all),
        ([&[0x02; 6], &frame(OTHER, 6)[6..]].concat(), all),
    ]
}

fn kinds(bench: &Bench) -> Outcome {
    expect(bench, "", &frames(false, false, false, false))?;
    expect(bench, ",groups", &frames(false, false, true, false))?;
    expect(bench, ",promiscuous", &frames(false, false, false, true))
}

fn addresses(bench: &Bench) -> Outcome {
    expect(bench, "", &frames(false, false, false, false))?;
    let listed = ",station=52:54:00:77:77:77,group=01:00:5e:00:00:fb";
    expect(bench, listed, &frames(true, true, false, false))?;
    expect(bench, ",groups", &frames(false, false, true, false))?;
    expect(bench, ",promiscuous", &frames(false, false, false, true))
}

fn numbers(bench: &Bench) -> Outcome {
    let frames = |seven, hundred| {
        [
            (tagged(GUEST, 1, 7), seven),
            (tagged(GUEST, 2, 0x6000 | 100), hundred),
            (tagged(GUEST, 3, 4094), seven && hundred),
        ]
    };
    expect(bench, "", &frames(true, true))?;
    expect(bench, ",vlan=100", &frames(false, true))?;
    expect(bench, ",novlan", &frames(false, false))
}

/// The program sees the tag beside the frame, and the frame without it.
fn tags(bench: &Bench) -> Outcome {
    let mut machine = boot(bench, "")?;
    let mark = machine.console.mark();
    let wire = machine.wire()?;
    for (number, tag) in [(1, 0x0001), (2, 0xe064), (3, 0x0ffe)] {
        let frame = tagged(GUEST, number, tag);
        wire.send(&frame)?;
        let got = wire.receive(Instant::now() + PATIENCE)?;
        same_bytes(&got.ok_or("the frame did not come back")?, &back(frame))?;
    }
    for tag in ["Some(1)", "Some(57444)", "Some(4094)"] {
        let words = format!("vlan {tag} len 114");
        let says = |line: &str| line.ends_with(&words);
        machine.console.wait_where(mark, &words, PATIENCE, says)?;
    }
    Ok(())
}

/// The network server is in no VLAN: a ping in one is none for it.
fn not_ours(bench: &Bench) -> Outcome {
    let mut machine = bench.boot(&Setup::on_wire(""))?;
    machine.wait_servers(true, true)?;
    let wire = machine.wire()?;
    let mac = wire.resolve()?;
    let request = crate::frames::echo_request((wire.ip, wire.guest_ip), (7, 7), &pattern(7, 56));
    let mut frame = ethernet(mac, OUR_MAC, crate::frames::IPV4, &request);
    frame.splice(12..12, [0x81, 0, 0, 7]);
    wire.send(&frame)?;
    // The next one is answered, so the first would have been by then.
    wire.ping(8, b"untagged")?;
    let answered = wire.receive_where(Instant::now(), |packet| {
        matches!(
            packet,
            crate::frames::Packet::Echo {
                kind: 0,
                number: (7, 7),
                ..
            }
        )
        .then_some(())
    })?;
    ensure(answered.is_none(), || "it has answered".to_owned())
}

/// A server in a VLAN answers in it, and to nobody else.
fn in_a_vlan(bench: &Bench) -> Outcome {
    const TAG: u16 = 7;
    let mut machine = bench.boot(&Setup::on_wire("run=netd,0,vlan=7,ipv6=off"))?;
    let console = &machine.console;
    console.wait_prefix("netd: net0 is ", PATIENCE)?;
    console.wait_prefix("card 0: link up", PATIENCE)?;
    let wire = machine.wire()?;
    let ask = |tag: Option<u16>| {
        let question = arp(1, (OUR_MAC, wire.ip), ([0; 6], wire.guest_ip));
        let mut frame = ethernet(BROADCAST, OUR_MAC, ARP, &question);
        if let Some(tag) = tag {
            frame.splice(12..12, [VLAN.to_be_bytes(), tag.to_be_bytes()].concat());
        }
        wire.send(&frame)
    };
    ask(None)?;
    ask(Some(8))?;
    ask(Some(TAG))?;
    let answer = wire.receive(Instant::now() + PATIENCE)?;
    let answer = answer.ok_or("no answer in its VLAN")?;
    let expected = arp(2, (GUEST, wire.guest_ip), (OUR_MAC, wire.ip));
    let tagged = [&[0x81, 0, 0, 7, 8, 6][..], &expected].concat();
    same_bytes(
        answer.get(12..12 + tagged.len()).unwrap_or_default(),
        &tagged,
    )?;
    let more = wire.receive(Instant::now() + Duration::from_millis(200))?;
    ensure(more.is_none(), || {
        "it answers in other VLANs, too".to_owned()
    })
}

fn refused(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::on_wire("run=testfilter,vlan=7"))?;
    machine
        .console
        .wait_text("the filters: not supported", PATIENCE)?;
    Ok(())
}
