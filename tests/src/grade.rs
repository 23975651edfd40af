//! The grade of the 2010 lab (MIT 6.828, lab 6), case by case and point by point.
//!
//! Two cases differ from its grader. `testinput` is compared with the capture, as the
//! lab's own graders did from 2011 on: today's QEMU pads what it delivers, so the text
//! that was expected in 2010 cannot come; and its datagrams are sent when the ARP reply
//! is in, because between queues a card keeps no order. And `/` has to show the home
//! page, where the lab's server answered 404.

use crate::frames::{ARP, BROADCAST};
use crate::hexdump;
use crate::http::{Connection, Response};
use crate::machine::{Machine, PATIENCE, Setup};
use crate::nic::Nic;
use crate::suite::{Bench, Case};
use crate::wire::from_guest;
use crate::{During, Failure, Outcome, ensure, read_all, same_bytes};
use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};

/// Points of the lab's part A: time, PCI, transmission.
pub const PART_A: &[Case] = &[
    Case::graded("testtime", 5, testtime),
    Case::graded("pci attach", 5, pci_attach),
    Case::graded("testoutput [5 packets]", 15, |bench| testoutput(bench, 5)),
    Case::graded("testoutput [100 packets]", 10, |bench| {
        testoutput(bench, 100)
    }),
];

/// Points of the lab's part B: reception and the servers.
pub const PART_B: &[Case] = &[
    Case::graded("testinput [5 packets]", 15, |bench| testinput(bench, 5)),
    Case::graded("testinput [100 packets]", 10, |bench| testinput(bench, 100)),
    Case::graded("tcp echo server [echosrv]", 15, echosrv),
    Case::graded("web server [/]", 10, |bench| index(bench, "/")),
    Case::graded("web server [/index.html]", 10, |bench| {
        index(bench, "/index.html")
    }),
    Case::graded("web server [/random_file.txt]", 10, |bench| {
        get(bench, "/random_file.txt")?.expect(404).map(|_| ())
    }),
];

fn testtime(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=testtime"))?;
    let mut line = "starting count down: ".to_owned();
    for number in (0..=5).rev() {
        line += &format!("{number} ");
        machine.console.wait_text(&line, PATIENCE)?;
    }
    machine.console.wait_line(&line, PATIENCE).map(drop)
}

fn pci_attach(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=hello"))?;
    machine.wait_end_of_run()?;
    let enabled = bench.nic.enabled();
    ensure(machine.console.lines().contains(&enabled), || {
        format!("no line {enabled:?}: is there a row for the card in kernel/src/nics/attach.rs?")
    })
}

fn testoutput(bench: &Bench, count: usize) -> Outcome {
    let setup = Setup::new(&format!("run=testoutput,{count}"));
    let machine = bench.boot(&setup)?;
    let ended = machine.wait_end_of_run();
    let told = machine.console.tail();
    let frames = machine.captured()?;
    let right = frames_are_packets(&frames, count, bench.nic);
    let right = match frames.is_empty() {
        true => Err(Failure(format!(
            "no frame was sent: does the card's transmit unit start? {told}"
        ))),
        false => right,
    };
    // What is missing says more than that something is.
    match (right, ended) {
        (Err(frames), Err(end)) => Err(Failure(format!("{frames}\n{end}"))),
        (right, ended) => right.and(ended),
    }
}

/// Fails unless the frames are `Packet 00`, `Packet 01`, ..., padded as with the card `nic`,
/// and nothing else.
///
/// # Errors
/// The first frame that is not as it should be.
pub fn frames_are_packets(frames: &[Vec<u8>], count: usize, nic: &Nic) -> Outcome {
    for (number, frame) in frames.iter().take(count).enumerate() {
        let mut expected = format!("Packet {number:02}").into_bytes();
        expected.resize(expected.len().max(nic.padded_to), 0);
        same_bytes(frame, &expected).during(&format!("frame {number} of the capture"))?;
    }
    ensure(frames.len() == count, || {
        format!("{} frames in the capture, expected {count}", frames.len())
    })
}

fn testinput(bench: &Bench, count: usize) -> Outcome {
    let machine = bench.boot(&Setup::new("run=testinput"))?;
    let console = &machine.console;
    console.wait_prefix("Waiting for packets", PATIENCE)?;
    if let Err(failure) = console.wait_prefix(hexdump::FOURTH_LINE, PATIENCE) {
        let question = no_reply(&machine.captured()?);
        return Err(Failure(format!("{question}\n{failure}")));
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, machine.ports()?.echo_udp))?;
    for number in 0..count {
        socket.send(format!("Packet {number:03}").as_bytes())?;
    }
    let last = (0..count).try_for_each(|number| {
        let line = hexdump::last_line_of_packet(number);
        console.wait_prefix(&line, PATIENCE).map(drop)
    });
    let printed = machine.console.lines();
    let compared = input_matches(&printed, &machine.captured()?, count);
    compared.and(last)
}

/// Why the reply to the guest's ARP request was not dumped, by the capture.
fn no_reply(captured: &[Vec<u8>]) -> String {
    let seconds = PATIENCE.as_secs();
    match captured {
        [] => format!("no ARP request within {seconds} s: does the card's transmit unit start?"),
        [_] => "the first frame was not answered: is it an ARP request for 10.0.2.2?".to_owned(),
        [_, _, ..] => format!(
            "the ARP reply was not received within {seconds} s: does the card's receive unit start?"
        ),
    }
}

/// Fails unless the frames dumped on the console are those of the capture, which are an
/// ARP request of the guest, its reply, and `count` datagrams.
///
/// # Errors
/// The first difference.
pub fn input_matches(printed: &[String], captured: &[Vec<u8>], count: usize) -> Outcome {
    let Some((request, received)) = captured.split_first() else {
        return Err("no frame passed the card".into());
    };
    ensure(
        request.starts_with(&BROADCAST) && request.get(12..14) == Some(&ARP.to_be_bytes()),
        || "the first frame is not a broadcast ARP request".to_owned(),
    )?;
    let dumped = hexdump::frames(printed.iter().map(String::as_str))?;
    for (number, (got, frame)) in dumped.iter().zip(received).enumerate() {
        let mut expected = frame.clone();
        expected.resize(expected.len().max(60), 0); // the card pads what is too short
        same_bytes(got, &expected).during(&format!("dumped frame {number}"))?;
    }
    ensure(dumped.len() == received.len(), || {
        format!(
            "{} frames dumped, {} received",
            dumped.len(),
            received.len()
        )
    })?;
    ensure(captured.len() == count + 2, || {
        format!(
            "{} frames in the capture, expected {}",
            captured.len(),
            count + 2
        )
    })
}

fn echosrv(bench: &Bench) -> Outcome {
    let machine = bench.boot(&Setup::new("run=echosrv"))?;
    machine.wait_servers(true, false)?;
    let mut stream = machine.connect(machine.ports()?.echo_tcp)?;
    let words = format!("{:?}: network server works", std::time::SystemTime::now());
    stream.write_all(words.as_bytes())?;
    let mut back = vec![0; words.len()];
    match read_all(&mut stream, &mut back) {
        Ok(()) => same_bytes(&back, words.as_bytes()),
        Err(failure) => Err(unanswered(machine, "echo", &failure)),
    }
}

fn get(bench: &Bench, target: &str) -> Outcome<Response> {
    let machine = bench.boot(&Setup::new("run=httpd"))?;
    machine.wait_servers(false, true)?;
    let answer = web(&machine)?.get(target, "Connection: close\r\n");
    answer.map_err(|failure| unanswered(machine, "GET", &failure))
}

/// A failure of a client, and what the capture says of the card.
fn unanswered(machine: Machine, what: &str, failure: &Failure) -> Failure {
    let sent = match machine.captured() {
        Ok(frames) => from_guest(&frames),
        Err(why) => return Failure(format!("{what}: {failure}\n{why}")),
    };
    let question = match sent {
        0 => "\nthe guest has sent no frame: do the card's receive and transmit units start?",
        _ => "",
    };
    Failure(format!("{what}: {failure}{question}"))
}

/// A connection to the web server.
///
/// # Errors
/// If there is none.
pub fn web(machine: &Machine) -> Outcome<Connection> {
    Ok(Connection::new(machine.connect(machine.ports()?.http)?))
}

fn index(bench: &Bench, target: &str) -> Outcome {
    let file = bench.options.www.join("index.html");
    let expected = std::fs::read(&file).during(&file.display().to_string())?;
    let response = get(bench, target)?.expect(200)?;
    same_bytes(&response.body, &expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::repository;
    use crate::{nic, options};
    use std::net::TcpListener;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn the_points_are_the_labs() {
        let sum = |part: &[Case]| part.iter().map(|case| case.points).sum::<u32>();
        assert_eq!((sum(PART_A), sum(PART_B)), (35, 70));
    }

    #[test]
    fn only_the_right_packets_in_the_right_order_pass() {
        let frames = |count: usize| -> Vec<Vec<u8>> {
            (0..count)
                .map(|n| format!("Packet {n:02}").into_bytes())
                .collect()
        };
        let card = |padded_to| Nic {
            name: "card",
            device: "card",
            chip: "card",
            id: "0:0",
            machine: "pc",
            padded_to,
            words: "",
            tells_link: false,
        };
        let (plain, pads) = (&card(0), &card(60));
        assert_eq!(frames_are_packets(&frames(5), 5, plain), Ok(()));
        assert_eq!(frames_are_packets(&frames(101), 101, plain), Ok(()));
        let fails = |frames: &[Vec<u8>]| frames_are_packets(frames, 5, plain).unwrap_err().0;
        assert!(fails(&frames(6)).contains("6 frames"));
        assert!(fails(&frames(4)).contains("4 frames"));
        assert!(fails(&[]).contains("0 frames"));
        let mut swapped = frames(5);
        swapped.swap(2, 3);
        assert!(fails(&swapped).contains("frame 2"));
        let mut padded = frames(5);
        padded[4].resize(60, 0);
        assert!(fails(&padded).contains("frame 4"));
        padded.iter_mut().for_each(|frame| frame.resize(60, 0));
        assert_eq!(frames_are_packets(&padded, 5, pads), Ok(()));
        assert!(frames_are_packets(&frames(5), 5, pads).is_err());
        padded[4][59] = 1;
        assert!(frames_are_packets(&padded, 5, pads).is_err());
    }

    #[test]
    fn a_missing_reply_is_blamed_on_the_unit_that_does_nothing() {
        let frame = vec![0; 60];
        assert!(no_reply(&[]).contains("no ARP request within 5 s: does the card's transmit"));
        assert!(no_reply(std::slice::from_ref(&frame)).contains("was not answered"));
        assert!(no_reply(&[frame.clone(), frame]).contains("does the card's receive unit"));
    }

    /// A console and a capture of a run with `count` datagrams.
    fn input_run(count: usize) -> (Vec<String>, Vec<Vec<u8>>) {
        let mut request = BROADCAST.to_vec();
        request.extend([2, 0, 0, 0, 0, 1, 8, 6]);
        request.resize(42, 1);
        let mut captured = vec![request, vec![7; 64]];
        captured.extend((0..count).map(|n| vec![n as u8; 52]));
        let mut printed = vec!["Waiting for packets...".to_owned()];
        for frame in &captured[1..] {
            let mut frame = frame.clone();
            frame.resize(frame.len().max(60), 0);
            for (line, bytes) in frame.chunks(16).enumerate() {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                printed.push(format!("input: {:04x}   {hex}", line * 16));
            }
            printed.push(String::new());
        }
        (printed, captured)
    }

    #[test]
    fn input_has_to_be_what_was_captured() {
        let (printed, captured) = input_run(5);
        assert_eq!(input_matches(&printed, &captured, 5), Ok(()));
        let fails = |p: &[String], c: &[Vec<u8>]| input_matches(p, c, 5).unwrap_err().0;

        assert!(fails(&printed, &[]).contains("no frame"));
        assert!(fails(&printed, &captured[1..]).contains("ARP request"));
        let lost = &printed[..printed.len() - 5];
        assert!(fails(lost, &captured).contains("5 frames dumped, 6 received"));
        let (printed, captured) = input_run(6);
        assert!(fails(&printed, &captured).contains("8 frames in the capture, expected 7"));
        let (mut printed, captured) = input_run(5);
        let line = printed.len() - 3; // the padding is in the last line before the blank
        printed[line] = printed[line].replace('4', "5");
        assert!(fails(&printed, &captured).contains("dumped frame 5"));
    }

    /// What each case says of a guest that prints these lines, and does nothing more. All of
    /// them at once, since what they need is time.
    fn run_idle(name: &str, prints: &str) -> Vec<(&'static str, Duration, String)> {
        let build = std::env::temp_dir().join(format!("wharf-idle-{name}-{}", std::process::id()));
        // Who connects is taken by the system, and never answered.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = silent.local_addr().unwrap().port();
        let qemu = repository().join("tests/idle-qemu");
        let www = repository().join("www");
        let [qemu, www] = [qemu, www].map(|path| path.to_string_lossy().into_owned());
        let words = ["grade", "--qemu", &qemu, "--www", &www].map(str::to_owned);
        let options = &options::parse(words).unwrap().unwrap();
        let results = thread::scope(|scope| {
            let cases = PART_A.iter().chain(PART_B).enumerate();
            let cases: Vec<_> = cases
                .map(|(number, case)| {
                    let dir = build.join(number.to_string());
                    std::fs::create_dir_all(&dir).unwrap();
                    std::fs::write(dir.join("prints"), prints).unwrap();
                    std::fs::write(dir.join("port"), port.to_string()).unwrap();
                    scope.spawn(move || {
                        let bench = Bench::new(options, &nic::ALL[0], dir);
                        let start = Instant::now();
                        let failure = (case.run)(&bench).unwrap_err();
                        (case.name, start.elapsed(), failure.0)
                    })
                })
                .collect();
            cases.into_iter().map(|case| case.join().unwrap()).collect()
        });
        std::fs::remove_dir_all(build).unwrap();
        results
    }

    /// Fails unless all cases ended soon, and said these in turn.
    fn said(results: &[(&'static str, Duration, String)], expected: [&str; 10]) {
        for ((name, took, words), expected) in results.iter().zip(expected) {
            assert!(
                *took < PATIENCE + Duration::from_secs(4),
                "{name}: {took:?}"
            );
            assert!(words.contains(expected), "{name}: {words}");
            assert!(!words.contains("os error"), "{name}: {words}");
        }
    }

    #[test]
    fn a_guest_that_prints_nothing_fails_each_case_in_time_and_in_a_sentence() {
        let run = "the line \"init: nothing left to run\" did not come within 5 s";
        let input = "a line \"Waiting for packets\"... did not come within 5 s";
        let web = "a line \"Waiting for http connections\"... did not come within 5 s";
        let time =
            "\"starting count down: 5 \" did not come within 5 s; the guest has printed nothing";
        let sent = "no frame was sent: does the card's transmit unit start?";
        let echo = "the line \"bound\" did not come within 5 s";
        let expected = [time, run, sent, sent, input, input, echo, web, web, web];
        said(&run_idle("mute", ""), expected);
    }

    /// As with a driver that attaches, and neither sends nor receives.
    #[test]
    fn a_card_that_does_nothing_fails_each_case_in_time_and_in_a_sentence() {
        const PRINTS: &str = "bound\nWaiting for http connections...\nWaiting for packets...\n\
                              starting count down: 5 4 ";
        let run = "the line \"init: nothing left to run\" did not come within 5 s";
        let time = "\"starting count down: 5 4 3 \" did not come within 5 s";
        let sent = "no frame was sent: does the card's transmit unit start?";
        let input = "no ARP request within 5 s: does the card's transmit unit start?";
        let echo = "bytes came, then nothing for 5 s\nthe guest has sent no frame: do the card's";
        let web = |target: &str| {
            format!("GET: {target}: no answer: nothing for 5 s\nthe guest has sent no frame")
        };
        let [home, index, random] = ["/", "/index.html", "/random_file.txt"].map(web);
        let expected = [
            time, run, sent, sent, input, input, echo, &home, &index, &random,
        ];
        said(&run_idle("idle", PRINTS), expected);
    }
}
