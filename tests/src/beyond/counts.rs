//! Programs that have a card without the network server. Those that the benchmark measures cards
//! with must do what they tell; and one knows what the kernel must answer.

use crate::console::END_OF_RUN;
use crate::frames::UDP;
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::{During, Outcome, ensure, pattern, same_bytes};
use std::str::FromStr;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("rawsend tells as many frames as it sends", sends),
    Case::new("rawsend gathers a file into its frames", gathers),
    Case::new("rawcount tells as many frames as it was sent", counts),
    Case::new("each exchange is answered to the word", contract),
];

/// Whom `rawsend` sends to.
const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Ethernet, IPv4 and UDP.
const HEADERS: usize = 14 + 20 + 8;

fn sends(bench: &Bench) -> Outcome {
    let mut machine = bench.boot(&Setup::on_wire("run=rawsend,100,1"))?;
    // A cable takes all; the harness does not look at it.
    let told = loop {
        machine.wire()?.drain()?;
        let lines = machine.console.lines();
        match lines
            .iter()
            .find_map(|line| number_after(line, "rawsend: "))
        {
            Some(told) => break told,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
        ensure(machine.power_on.elapsed() < PATIENCE, || {
            "rawsend does not end".to_owned()
        })?;
    };
    machine.wait_end_of_run()?;
    let frames = machine.captured()?;
    let is_ours = |frame: &&Vec<u8>| {
        frame.starts_with(&NOBODY) && frame.len() == 100 && frame.get(23) == Some(&UDP)
    };
    let sent = frames.iter().filter(is_ours).count() as u64;
    bench.note(format!("{sent} frames"));
    // To nobody, of this card; IPv4, 86 bytes, UDP; both ports 9, 66 bytes; and zeros.
    let mut whole = NOBODY.to_vec();
    whole.extend([0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x08, 0, 0x45, 0, 0, 86]);
    whole.extend([
        0, 0, 0x40, 0, 64, UDP, 0x22, 0x87, 10, 0, 2, 15, 10, 0, 2, 2,
    ]);
    whole.extend([0, 9, 0, 9, 0, 66]);
    whole.resize(100, 0);
    for (index, frame) in frames.iter().enumerate() {
        same_bytes(frame, &whole).during(&format!("frame {index}"))?;
    }
    ensure(
        sent == told && sent == frames.len() as u64 && sent > 0,
        || {
            format!(
                "it told {told} frames, sent {sent}, and {} in all",
                frames.len()
            )
        },
    )
}

/// The file's bytes reach the wire, from where they lie and copied alike.
fn gathers(bench: &Bench) -> Outcome {
    const SIZE: usize = 1000;
    const PAYLOAD: usize = SIZE - 42;
    let file = pattern(31, 10 * PAYLOAD + 77);
    let mut rates = Vec::new();
    for how in ["", ",copy"] {
        let image = bench.image_serving(&[("file.bin", &file)])?;
        let append = format!("run=rawsend,{SIZE},1,www/file.bin{how}");
        let mut machine = bench.boot(&Setup::on_wire(&append).from_image(image))?;
        let told = loop {
            machine.wire()?.drain()?;
            let lines = machine.console.lines();
            let rate = |line: &String| {
                let (_, rest) = line.split_once(" frames, ")?;
                let (rate, _) = rest.split_once(" a second")?;
                rate.parse::<u64>().ok()
            };
            match lines.iter().find_map(rate) {
                Some(told) => break told,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
            ensure(machine.power_on.elapsed() < PATIENCE, || {
                "rawsend does not end".to_owned()
            })?;
        };
        machine.wait_end_of_run()?;
        let frames = machine.captured()?;
        ensure(frames.len() > 20, || format!("{} frames", frames.len()))?;
        for (index, frame) in frames.iter().enumerate() {
            let place = index % 10 * PAYLOAD;
            let payload = frame.get(42..).unwrap_or_default();
            same_bytes(payload, &file[place..place + PAYLOAD])
                .during(&format!("frame {index}{how}"))?;
        }
        rates.push(told);
    }
    bench.note(format!("{} a second, copied {}", rates[0], rates[1]));
    Ok(())
}

fn counts(bench: &Bench) -> Outcome {
    const FRAMES: u64 = 100;
    let mut machine = bench.boot(&Setup::on_wire("run=rawcount"))?;
    machine.console.wait_line("rawcount: counting", PATIENCE)?;
    wait_link(&mut machine)?;
    let before = last_count(&machine)?;
    for number in 0..FRAMES {
        let data = number.to_be_bytes();
        machine.wire()?.send_datagram((9, 9), &data)?;
    }
    let expected = before + FRAMES;
    let mark = machine.console.mark();
    machine
        .console
        .wait_where(mark, "its count", PATIENCE, |line| {
            counted(line) == Some(expected)
        })
        .during("sending")?;
    // Nothing more comes, and nothing is lost.
    let mark = machine.console.mark();
    let line = machine
        .console
        .wait_where(mark, "the next count", PATIENCE, |line| {
            counted(line).is_some()
        })?;
    ensure(
        counted(&line) == Some(expected) && line.ends_with(", 0 lost"),
        || format!("after {expected} frames it told {line:?}"),
    )
}

/// Two owners of the card, one after the other, ask for what makes sense and for what does not.
/// Their frames come in order, each once, and some of them go back: see `attackers::testcalls::contract`.
fn contract(bench: &Bench) -> Outcome {
    const OWNERS: usize = 2;
    let append = "run=testcalls,0,0,contract ".repeat(OWNERS);
    let setup = Setup::on_wire(&append).from_image(bench.image_with_attackers());
    let mut machine = bench.boot(&setup)?;
    let mut numbers = Vec::new();
    let ended = |machine: &Machine| {
        machine
            .console
            .lines()
            .iter()
            .any(|line| line == END_OF_RUN)
    };
    let mut said = (0, Instant::now());
    while !ended(&machine) {
        let lines = machine.console.lines().len() + numbers.len();
        if lines > said.0 {
            said = (lines, Instant::now());
        }
        ensure(said.1.elapsed() < PATIENCE, || {
            "an owner says nothing any more".to_owned()
        })?;
        let wire = machine.wire()?;
        while let Some(mut frame) = wire.receive(Instant::now() + Duration::from_millis(10))? {
            let headers = match frame.get(12..14) {
                Some([0x81, 0x00]) => 4 + HEADERS,
                _ => HEADERS,
            };
            let payload = frame.get(headers..).and_then(<[u8]>::split_first_chunk);
            let Some((&[copies, delay_ms, high, low], rest)) = payload else {
                return Err(format!("a frame of {} bytes", frame.len()).into());
            };
            let fill = rest.iter().all(|byte| *byte == low);
            ensure(frame.starts_with(&NOBODY) && fill, || {
                format!("another frame: {frame:02x?}")
            })?;
            numbers.push(u16::from_be_bytes([high, low]));
            let (to, from) = frame[..12].split_at_mut(6);
            to.swap_with_slice(from);
            std::thread::sleep(Duration::from_millis(delay_ms.into()));
            for _ in 0..copies {
                wire.send(&frame)?;
            }
        }
    }
    let lines = machine.console.lines();
    let told = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    let told_frames = lines
        .iter()
        .filter_map(|line| number_between(line, "testcalls: ", " frames sent"));
    let expected: Vec<u16> = told_frames.flat_map(|count| 0..count).collect();
    bench.note(format!("{} frames", numbers.len()));
    if let Some(line) = lines.iter().find(|line| line.contains(", and not ")) {
        return Err(line.as_str().into());
    }
    ensure(told(" calls done, 0 refused") == OWNERS, || {
        "not all owners came to their end".to_owned()
    })?;
    ensure(numbers == expected, || {
        format!("the frames {numbers:?} came")
    })
}

/// Sends a frame now and then until one is counted: before the link is up, or its cable
/// plugged in, a card takes none.
fn wait_link(machine: &mut Machine) -> Outcome {
    while last_count(machine)? == 0 {
        machine.wire()?.send_datagram((9, 9), b"first")?;
        let mark = machine.console.mark();
        machine
            .console
            .wait_where(mark, "a count", PATIENCE, |line| counted(line).is_some())?;
        ensure(machine.power_on.elapsed() < PATIENCE, || {
            "no frame is counted".to_owned()
        })?;
    }
    // What was sent before the link was there may come late: until a count stays.
    loop {
        let before = last_count(machine)?;
        let mark = machine.console.mark();
        machine
            .console
            .wait_where(mark, "a count", PATIENCE, |line| counted(line).is_some())?;
        if last_count(machine)? == before {
            return Ok(());
        }
    }
}

/// What it has told last; 0 if nothing yet.
fn last_count(machine: &Machine) -> Outcome<u64> {
    let lines = machine.console.lines();
    Ok(lines
        .iter()
        .rev()
        .find_map(|line| counted(line))
        .unwrap_or(0))
}

/// The frames of a line `rawcount: at 500 ms: 7 frames, ...`.
fn counted(line: &str) -> Option<u64> {
    let (_, told) = line.strip_prefix("rawcount: at ")?.split_once(": ")?;
    number_after(told, "")
}

/// The number after `prefix`, if `frames` follow it.
fn number_after(line: &str, prefix: &str) -> Option<u64> {
    number_between(line, prefix, " frames, ")
}

/// The number between these words.
fn number_between<T: FromStr>(line: &str, before: &str, after: &str) -> Option<T> {
    let (number, _) = line.strip_prefix(before)?.split_once(after)?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_with_a_count_have_one() {
        let line = "rawcount: at 1500 ms: 700 frames, 1400 a second, 0 lost";
        assert_eq!(counted(line), Some(700));
        assert_eq!(counted("rawcount: counting"), None);
        let line = "rawsend: 9 frames, 3 a second, ring full 1 times";
        assert_eq!(number_after(line, "rawsend: "), Some(9));
        assert_eq!(
            number_after("rawsend: sending frames of 60 bytes", "rawsend: "),
            None
        );
    }
}
