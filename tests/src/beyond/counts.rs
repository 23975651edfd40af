//! The programs that the benchmark measures cards with: they must do what they tell.

use crate::frames::UDP;
use crate::machine::{Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::{During, Outcome, ensure, pattern, same_bytes};

pub const CASES: &[Case] = &[
    Case::new("rawsend tells as many frames as it sends", sends),
    Case::new("rawsend gathers a file into its frames", gathers),
    Case::new("rawcount tells as many frames as it was sent", counts),
];

/// Whom `rawsend` sends to.
const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 1];

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
            None => std::thread::sleep(std::time::Duration::from_millis(1)),
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
                None => std::thread::sleep(std::time::Duration::from_millis(1)),
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
    let (number, _) = line.strip_prefix(prefix)?.split_once(" frames, ")?;
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
