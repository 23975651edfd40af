//! Whichever card brings a frame, Wharf makes the same of it; and no offload of a card shows.

use super::system::{counted, statistics};
use crate::frames::{self, ARP, IPV4, Packet, Segment, TCP, arp, checksum, ethernet, flag, parse};
use crate::machine::{Machine, PATIENCE, Setup};
use crate::nic;
use crate::suite::{Bench, Case};
use crate::wire::{OUR_MAC, Wire};
use crate::{During, Failure, Outcome, ensure, pattern, same_bytes};
use ::nic::model::traffic::{self, Answer, Ends, Sample};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new(
        "the same answers by both cards to 2000 kinds of frames",
        same,
    )
    .once(),
    Case::new("TCP segments in IP fragments", fragments),
    Case::new(
        "a peer that takes segments of 48 octets, or of 1",
        small_segments,
    ),
];

/// Samples, from this seed.
const SAMPLES: u16 = 2000;
const SEED: u64 = 82;
/// Identifier of the echo requests that tell when a sample was answered, if at all.
const MARK: u16 = 0x4d4b;

/// What was answered to each sample, and what the counters have grown by.
struct Run {
    answers: Vec<Vec<Vec<u8>>>,
    grown: BTreeMap<String, u64>,
    /// Frames that were sent beside the samples', all to the guest and whole.
    others: u64,
}

fn same(bench: &Bench) -> Outcome {
    let mut runs = Vec::new();
    let mut samples = Vec::new();
    for nic in &*nic::ALL {
        // What is sent to groups of IPv6 not all cards take, and the model's traffic is of IPv4.
        let setup = Setup::on_wire("ipv6=off run=echosrv run=nicstat,-r,-w");
        let mut machine = bench.boot_with(nic, &setup)?;
        machine.wait_servers(true, false)?;
        let wire = machine.wire()?;
        let ends = Ends {
            mac: wire.resolve()?,
            ip: wire.guest_ip,
            peer_mac: OUR_MAC,
            peer_ip: wire.ip,
        };
        // Answers to what was asked before the link was up come late.
        for sequence in [u16::MAX - 1, u16::MAX] {
            mark(wire, sequence, &mut Vec::new())?;
        }
        samples = traffic::samples(SEED, &ends, SAMPLES);
        let run = run(&mut machine, &samples).during(nic.name)?;
        accounted(&samples, &ends, &run, nic.name).during(nic.name)?;
        runs.push(run);
    }
    let mut answered = 0;
    for (index, sample) in samples.iter().enumerate() {
        let answers = &runs[0].answers[index];
        for (nic, run) in nic::ALL.iter().zip(&runs) {
            let name = nic.name;
            let count = run.answers[index].len();
            let right = match sample.answer {
                Answer::Yes => count > 0,
                Answer::No => count == 0,
                Answer::Either => true,
            };
            ensure(right, || {
                format!("{name}: sample {index}, {}: {count} answers", sample.what)
            })?;
            ensure(run.answers[index] == *answers, || {
                format!(
                    "sample {index}, {}: {} answers {answers:02x?}, {name} {:02x?}",
                    sample.what,
                    nic::ALL[0].name,
                    run.answers[index]
                )
            })?;
        }
        answered += usize::from(!answers.is_empty());
    }
    bench.note(format!("{answered} answered"));
    ensure(answered > samples.len() / 5, || {
        format!("only {answered} answered")
    })
}

/// Sends all samples, one after the other.
fn run(machine: &mut Machine, samples: &[Sample]) -> Outcome<Run> {
    let before = statistics(machine)?;
    let wire = machine.wire()?;
    let mut others = 0;
    let mut answers = Vec::new();
    for (number, sample) in (0..).zip(samples) {
        for frame in &sample.frames {
            wire.send(frame)?;
        }
        // A neighbour that asks more often is not answered each time.
        std::thread::sleep(Duration::from_millis(1));
        let mut came = Vec::new();
        // A second mark: by then all rings were looked at, whichever the sample came by.
        for half in [0, 1] {
            others += 1 + mark(wire, number << 1 | half, &mut came).during(&sample.what)?;
        }
        answers.push(Vec::new());
        attribute(came, number, &mut answers);
    }
    let mut late = Vec::new();
    while let Some(frame) = wire.receive(Instant::now() + Duration::from_millis(200))? {
        late.push(traffic::comparable(frame));
    }
    attribute(late, SAMPLES - 1, &mut answers);
    let after = statistics(machine)?;
    let mut grown = BTreeMap::new();
    for (name, value) in &after {
        grown.insert(name.clone(), value.saturating_sub(counted(&before, name)?));
    }
    Ok(Run {
        answers,
        grown,
        others,
    })
}

/// Puts answers to the samples they are to. The rings of the 82576 are read in turns, so that an answer
/// may come late; what does not tell is to the newest.
fn attribute(came: Vec<Vec<u8>>, newest: u16, answers: &mut [Vec<Vec<u8>>]) {
    for answer in came {
        let number = traffic::answered(&answer).unwrap_or(newest);
        if let Some(answers) = answers.get_mut(usize::from(number)) {
            answers.push(answer);
        }
    }
}

/// Sends an echo request and waits for its answer, collecting what else comes. Returns how many of the
/// guest's questions for our address were answered meanwhile.
fn mark(wire: &Wire, sequence: u16, came: &mut Vec<Vec<u8>>) -> Outcome<u64> {
    let request = frames::echo_request((wire.ip, wire.guest_ip), (MARK, sequence), b"mark");
    wire.send_ipv4(&request)?;
    let end = Instant::now() + PATIENCE;
    let mut asked = 0;
    while let Some(frame) = wire.receive(end)? {
        match parse(&frame) {
            Some(Packet::Echo {
                kind: 0, number, ..
            }) if number == (MARK, sequence) => return Ok(asked),
            Some(Packet::Arp {
                operation: 1,
                sender,
                target,
            }) if target == wire.ip => {
                let reply = arp(2, (OUR_MAC, wire.ip), sender);
                wire.send(&ethernet(sender.0, OUR_MAC, ARP, &reply))?;
                asked += 1;
            }
            _ => came.push(traffic::comparable(frame)),
        }
    }
    Err("an echo request was not answered".into())
}

/// Whether the counters tell of every frame what became of it.
fn accounted(samples: &[Sample], ends: &Ends, run: &Run, name: &str) -> Outcome {
    let sent = samples.iter().flat_map(|sample| &sample.frames);
    let is_ours = |frame: &&Vec<u8>| frame[..6] == ends.mac || frame[..6] == [0xff; 6];
    let seen: Vec<traffic::Seen> = sent
        .clone()
        .filter_map(|frame| traffic::seen(frame, ends.mac, true))
        .collect();
    let too_long = sent.filter(is_ours).count() - seen.len();
    let tagged = |(bytes, vlan): &&traffic::Seen| {
        vlan.is_some_and(|tag| tag & 0xfff != 0 || bytes[12..14] == [0x81, 0])
    };
    let in_vlan = seen.iter().filter(tagged).count();
    // The 82576 itself drops what is too long, which silicon counts (ROC) and QEMU does not.
    let long = if name == "e100" { too_long } else { 0 };
    for (counter, expected) in [
        ("rx_frames", seen.len() as u64 + run.others),
        ("rx_dropped_long", long as u64),
        ("rx_dropped_errors", 0),
        ("rx_dropped_vlan", in_vlan as u64),
        ("rx_dropped_piece", 0),
        ("tx_dropped_no_buffer", 0),
        ("tx_dropped", 0),
    ] {
        let found = counted(&run.grown, counter)?;
        ensure(found == expected, || {
            format!("{counter} is {found}, not {expected}")
        })?;
    }
    let wrong = counted(&run.grown, "rx_dropped_checksum")?;
    // Without offloads it is the stack that verifies.
    ensure((wrong > 0) == (name == "igb"), || {
        format!("{wrong} dropped for a checksum before the stack")
    })
}

/// A segment whose data go in three fragments, last one first, is echoed.
fn fragments(bench: &Bench) -> Outcome {
    let mut machine = bench.boot(&Setup::on_wire("run=echosrv run=nicstat,-r,-w"))?;
    machine.wait_servers(true, false)?;
    let wire = machine.wire()?;
    wire.resolve()?;
    let ports = (40000, 7);
    let (mut seq, mut ack) = wire.open(ports)?;
    let start = Instant::now();
    for len in [24, 1000, 1400] {
        let data = pattern(len as u64, len);
        let header = Segment {
            ports,
            seq,
            ack,
            flags: flag::ACK | flag::PSH,
        };
        let packet = frames::segment((wire.ip, wire.guest_ip), header, &data);
        for fragment in cut(&packet, len as u16).iter().rev() {
            wire.send_ipv4(fragment)?;
        }
        seq = seq.wrapping_add(len as u32);
        let mut back = Vec::new();
        while back.len() < len {
            let (at, piece) = next_data(wire, ports)?
                .ok_or_else(|| format!("{} of {len} octets were echoed", back.len()))?;
            if at == ack {
                ack = ack.wrapping_add(piece.len() as u32);
                back.extend(piece);
            }
            wire.send_segment(ports, (seq, ack), flag::ACK, &[])?;
        }
        same_bytes(&back, &data)?;
    }
    bench.note(format!("{} ms", start.elapsed().as_millis()));
    let counts = statistics(&machine)?;
    let dropped = counted(&counts, "rx_dropped_checksum")?;
    ensure(dropped == 0, || format!("{dropped} dropped"))
}

/// An IPv4 packet without options in three fragments (RFC 791 §3.2).
fn cut(packet: &[u8], identification: u16) -> Vec<Vec<u8>> {
    let (header, body) = packet.split_at(20);
    let size = body.len().div_ceil(3).next_multiple_of(8);
    let pieces = body.chunks(size).enumerate().map(|(number, piece)| {
        let mut fragment = header.to_vec();
        let more = if (number + 1) * size < body.len() {
            1 << 13
        } else {
            0
        };
        let place = more | (number * size / 8) as u16;
        for (at, value) in [
            (2, 20 + piece.len() as u16),
            (4, identification),
            (6, place),
            (10, 0),
        ] {
            fragment[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        let sum = checksum(&[&fragment]);
        fragment[10..12].copy_from_slice(&sum.to_be_bytes());
        fragment.extend(piece);
        fragment
    });
    pieces.collect()
}

/// The next segment of the guest with data: its sequence number, and those. `None` if none comes soon.
fn next_data(wire: &Wire, (ours, theirs): (u16, u16)) -> Outcome<Option<(u32, Vec<u8>)>> {
    wire.receive_where(
        Instant::now() + Duration::from_secs(5),
        |packet| match packet {
            Packet::Segment { segment, data, .. }
                if segment.ports == (theirs, ours) && !data.is_empty() =>
            {
                Some((segment.seq, data))
            }
            _ => None,
        },
    )
}

/// What a card cannot cut into so small segments, software does.
fn small_segments(bench: &Bench) -> Outcome {
    const LEN: usize = 3000;
    /// No stack has to send shorter ones than what fits the least MTU (RFC 791 §3.1: 68 octets).
    const LEAST: usize = 48;
    let mut machine = bench.boot(&Setup::on_wire("run=echosrv run=nicstat,-r,-w"))?;
    machine.wait_servers(true, false)?;
    let wire = machine.wire()?;
    wire.resolve()?;
    let mut took = Vec::new();
    for (number, mss) in [48, 1, 63, 64, 65, 536].into_iter().enumerate() {
        let start = Instant::now();
        let ports = (40000 + number as u16, 7);
        let (seq, first) = open(wire, ports, mss)?;
        let data = pattern(mss.into(), LEN);
        for (piece, at) in data.chunks(1000).zip((0..).step_by(1000)) {
            let numbers = (seq.wrapping_add(at), first);
            wire.send_segment(ports, numbers, flag::ACK | flag::PSH, piece)?;
        }
        let seq = seq.wrapping_add(LEN as u32);
        let mut back = Vec::new();
        while back.len() < LEN {
            let got = back.len();
            let (at, piece) = next_data(wire, ports)?
                .ok_or_else(|| Failure(format!("MSS {mss}: {got} of {LEN} octets")))?;
            ensure(piece.len() <= LEAST.max(mss.into()), || {
                format!("MSS {mss}: a segment of {} octets", piece.len())
            })?;
            if at == first.wrapping_add(got as u32) {
                back.extend(piece);
            }
            let ack = first.wrapping_add(back.len() as u32);
            wire.send_segment(ports, (seq, ack), flag::ACK, &[])?;
        }
        same_bytes(&back, &data)?;
        took.push(start.elapsed().as_millis());
        let most = Duration::from_secs(3);
        ensure(start.elapsed() < most, || format!("MSS {mss}: {took:?} ms"))?;
    }
    bench.note(format!("{took:?} ms"));
    let refused = counted(&statistics(&machine)?, "tx_bad_length")?;
    ensure(refused == 0, || format!("{refused} refused by the driver"))
}

/// Opens a connection whose SYN says how long the guest's segments may be; returns the next sequence
/// numbers, ours and the guest's.
fn open(wire: &Wire, ports: (u16, u16), mss: u16) -> Outcome<(u32, u32)> {
    let header = Segment {
        ports,
        seq: 1000,
        ack: 0,
        flags: flag::SYN,
    };
    let ips = (wire.ip, wire.guest_ip);
    let mut packet = frames::segment(ips, header, &[]);
    ensure(packet[40..42] == [2, 4], || {
        "another option is first".into()
    })?;
    packet[42..44].copy_from_slice(&mss.to_be_bytes());
    packet[36..38].fill(0);
    let len = (packet.len() as u16 - 20).to_be_bytes();
    let sum = checksum(&[&ips.0, &ips.1, &[0, TCP], &len, &packet[20..]]);
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    wire.send(&ethernet(wire.guest_mac, OUR_MAC, IPV4, &packet))?;
    let theirs = wire.receive_where(Instant::now() + PATIENCE, |packet| match packet {
        Packet::Segment { segment, .. }
            if segment.ports == (ports.1, ports.0) && segment.flags == flag::SYN | flag::ACK =>
        {
            Some(segment.seq)
        }
        _ => None,
    })?;
    let next = (1001, theirs.ok_or("no SYN-ACK")?.wrapping_add(1));
    wire.send_segment(ports, next, flag::ACK, &[])?;
    Ok(next)
}
