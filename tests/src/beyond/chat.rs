//! The chat: people with `nc`, and a crowd of which each hears all others.

use super::death::strike;
use super::idle::put;
use crate::debugger::Programs;
use crate::frames::{Packet, Segment, flag};
use crate::machine::{LONG, Machine, PATIENCE, Setup};
use crate::suite::{Bench, Case};
use crate::wire::Wire;
use crate::{During, Outcome, ensure, same_bytes};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("two people talk", |bench| talk(bench, 64)),
    Case::new("two people talk, with the least memory", |bench| {
        talk(bench, 8)
    }),
    Case::new("200 people, one of whom reads nothing", crowd),
    Case::new("the network server dies, and people come again", death),
];

const CHAT: u16 = 6667;

fn boot(bench: &Bench, setup: &Setup) -> Outcome<Machine> {
    let machine = bench.boot(setup)?;
    machine
        .console
        .wait_prefix("chatd: people can talk", PATIENCE)?;
    Ok(machine)
}

/// Somebody with `nc`.
struct Person {
    stream: BufReader<TcpStream>,
}

impl Person {
    fn types(&mut self, octets: impl AsRef<[u8]>) -> Outcome {
        self.stream
            .get_mut()
            .write_all(octets.as_ref())
            .during("typing")
    }

    /// The next line is this one.
    fn sees(&mut self, line: &str) -> Outcome {
        let mut octets = Vec::new();
        let read = self.stream.read_until(b'\n', &mut octets);
        read.during(&format!("waiting for {line:?}"))?;
        same_bytes(&octets, format!("{line}\n").as_bytes()).during(&format!("instead of {line:?}"))
    }
}

/// They meet, talk, do what terminals do not like, and part.
fn talk(bench: &Bench, memory_mib: u32) -> Outcome {
    let machine = boot(
        bench,
        &Setup {
            memory_mib,
            ..Setup::new("run=chatd")
        },
    )?;
    let comes = |guest: &str, others: &str| {
        let mut person = Person {
            stream: BufReader::new(machine.connect(machine.ports()?.chat)?),
        };
        person.sees(&format!(
            "* welcome to Wharf's chat: you are {guest}, with {others}"
        ))?;
        person.sees("* what you type goes to all others; /name NAME, /who, /help, /quit")?;
        Ok::<_, crate::Failure>(person)
    };
    let mut ann = comes("guest1", "0 others")?;
    let mut bob = comes("guest2", "1 other")?;
    ann.sees("* guest2 came")?;
    ann.types("/name Ann\n")?;
    ann.sees("* you are Ann now")?;
    bob.sees("* guest1 is Ann now")?;
    bob.types("/name ann\n/name b o b\n/name Bob\n/who\n")?;
    bob.sees("* ann is here already: choose another name")?;
    bob.sees("* a name has 1 to 16 letters, digits, - and _")?;
    bob.sees("* you are Bob now")?;
    bob.sees("* 2 are here: Ann, Bob")?;
    ann.sees("* guest2 is Bob now")?;
    ann.types("grüße, 世界\r\n")?;
    bob.sees("<Ann> grüße, 世界")?;
    bob.types(b"\xff\xfb\x1f\x1b[2J\x9b2J\x07 \xe2\x80\xaecba\n")?;
    ann.sees("<Bob> [2J\u{fffd}2J cba")?;
    bob.types(format!("{}\n", "y".repeat(3000)))?;
    ann.sees(&format!("<Bob> {}", "y".repeat(512)))?;
    bob.sees("* a line has at most 512 octets: yours was cut")?;
    // As who types Ctrl-D.
    bob.types("bye")?;
    bob.stream.get_mut().shutdown(Shutdown::Write)?;
    ann.sees("<Bob> bye")?;
    ann.sees("* Bob left")?;
    bob.sees("* goodbye")?;
    let mut rest = Vec::new();
    bob.stream.read_to_end(&mut rest).during("Bob's end")?;
    same_bytes(&rest, b"")?;
    ann.types("/who\n/quit\n")?;
    ann.sees("* 1 is here: Ann")?;
    ann.sees("* goodbye")?;
    ann.stream.read_to_end(&mut rest).during("Ann's end")?;
    same_bytes(&rest, b"")
}

const PEOPLE: u16 = 200;
/// The port of the first of them.
const FIRST: u16 = 2000;
/// How many come at once: fewer than the listener's backlog.
const AT_ONCE: u16 = 32;
/// How long nothing may come before what is not acknowledged is repeated.
const AGAIN: Duration = Duration::from_millis(200);
/// A round of lines is with everybody within this time.
const ROUND: Duration = Duration::from_secs(20);
/// So many rounds at the most until the slow one is dropped: what is said in them is more than the
/// network server and the chat keep for it, and no more than anybody may say at once.
const ROUNDS: u32 = 9;

/// Who was in the room is reset with the next word; the room is open again, and empty.
fn death(bench: &Bench) -> Outcome {
    const TWO: u16 = 2;
    let mut machine = boot(
        bench,
        &Setup {
            debugger: true,
            ..Setup::on_wire("run=chatd")
        },
    )?;
    machine.wire()?.resolve()?;
    let programs = Programs::read(&bench.options.bin, "netd", &["init", "chatd"])?;
    let mut before = Crowd::new(machine.wire()?);
    before.comes(FIRST..FIRST + TWO)?;
    let member = &before.members[&FIRST];
    let numbers = (member.next, member.expected);
    let from = machine.console.mark();
    strike(&mut machine, &programs, FIRST + PEOPLE, &mut 1)?;
    let open = "chatd: people can talk";
    let is_open = |line: &str| line.starts_with(open);
    machine.console.wait_where(from, open, PATIENCE, is_open)?;
    let wire = machine.wire()?;
    let flags = flag::ACK | flag::PSH;
    wire.send_segment((FIRST, CHAT), numbers, flags, b"hello?\n")?;
    let is_reset = wire.receive_where(Instant::now() + PATIENCE, |packet| match packet {
        Packet::Segment { segment, .. } => {
            let is_ours = segment.ports == (CHAT, FIRST);
            (is_ours && segment.flags & flag::RST != 0).then_some(())
        }
        _ => None,
    })?;
    ensure(is_reset.is_some(), || "no reset".to_owned())?;
    let mut after = Crowd::new(wire);
    after.comes(FIRST + 10..FIRST + 10 + TWO)?;
    let mut names: Vec<&str> = after.members.values().map(|m| m.name.as_str()).collect();
    names.sort_unstable();
    ensure(names == ["guest1", "guest2"], || {
        format!("they are {names:?}")
    })
}

/// One end of a connection, played by hand.
struct Member {
    name: String,
    is_open: bool,
    next: u32,
    unacknowledged: Vec<u8>,
    expected: u32,
    /// It takes nothing, and offers no window.
    is_stuck: bool,
    has_ended: bool,
    /// What it was sent of a line that is not whole.
    rest: Vec<u8>,
    /// Numbers of the lines that it was sent, and notices.
    lines: Vec<u32>,
    notices: Vec<String>,
}

struct Crowd<'w> {
    wire: &'w Wire,
    members: BTreeMap<u16, Member>,
    /// Lines on their way, counted for each who is to see them.
    owed: usize,
}

/// What is said under a number, and by whom.
fn words(number: u32) -> (u16, String) {
    let author = FIRST + (number % u32::from(PEOPLE)) as u16;
    let len = 180 + number as usize * 37 % 160;
    (author, format!("{number} {}", "w".repeat(len)))
}

impl<'w> Crowd<'w> {
    fn new(wire: &'w Wire) -> Self {
        Crowd {
            wire,
            members: BTreeMap::new(),
            owed: 0,
        }
    }

    /// Has these come, and waits until they are greeted.
    fn comes(&mut self, ports: std::ops::Range<u16>) -> Outcome {
        for port in ports.clone() {
            let seq = u32::from(port) << 16;
            let member = Member {
                name: String::new(),
                is_open: false,
                next: seq + 1,
                unacknowledged: Vec::new(),
                expected: 0,
                is_stuck: false,
                has_ended: false,
                rest: Vec::new(),
                lines: Vec::new(),
                notices: Vec::new(),
            };
            self.members.insert(port, member);
            self.wire
                .send_segment((port, CHAT), (seq, 0), flag::SYN, &[])?;
        }
        self.wait(LONG, |crowd| {
            let mut comers = crowd.members.range(ports.clone());
            comers.all(|(_, member)| !member.name.is_empty())
        })
        .during("greetings")
    }

    fn says(&mut self, number: u32) -> Outcome {
        let (author, text) = words(number);
        let line = format!("{text}\n").into_bytes();
        let member = self.members.get_mut(&author).ok_or("nobody")?;
        let numbers = (member.next, member.expected);
        let flags = flag::ACK | flag::PSH;
        self.wire
            .send_segment((author, CHAT), numbers, flags, &line)?;
        member.next = member.next.wrapping_add(line.len() as u32);
        member.unacknowledged.extend(line);
        let readers = self.members.iter();
        let readers = readers.filter(|(port, member)| **port != author && !member.is_stuck);
        self.owed += readers.count();
        Ok(())
    }

    /// Takes what comes until something is so.
    fn wait(&mut self, within: Duration, mut is_so: impl FnMut(&Crowd<'_>) -> bool) -> Outcome {
        let end = Instant::now() + within;
        while !is_so(self) {
            let owed = self.owed;
            ensure(Instant::now() < end, || {
                format!("{owed} lines have not come within {} s", within.as_secs())
            })?;
            let heard = self
                .wire
                .receive_where(Instant::now() + AGAIN, |packet| match packet {
                    Packet::Segment { segment, data, .. } if segment.ports.0 == CHAT => {
                        Some((segment, data))
                    }
                    _ => None,
                })?;
            match heard {
                Some((segment, data)) => self.hear(segment, &data)?,
                None => self.repeat()?,
            }
        }
        Ok(())
    }

    fn hear(&mut self, segment: Segment, data: &[u8]) -> Outcome {
        let port = segment.ports.1;
        let member = self.members.get_mut(&port).ok_or("a stranger")?;
        ensure(segment.flags & flag::RST == 0, || {
            format!("{port} {} was reset", member.name)
        })?;
        let waiting = member.next.wrapping_sub(segment.ack) as usize;
        if let Some(done) = member.unacknowledged.len().checked_sub(waiting) {
            member.unacknowledged.drain(..done);
        }
        if segment.flags & flag::SYN != 0 {
            member.is_open = true;
            member.expected = segment.seq.wrapping_add(1);
        } else if member.is_stuck || data.is_empty() && segment.flags & flag::FIN == 0 {
            return Ok(());
        } else if segment.seq == member.expected {
            member.has_ended |= segment.flags & flag::FIN != 0;
            let len = data.len() as u32 + u32::from(member.has_ended);
            member.expected = member.expected.wrapping_add(len);
            self.take(port, data)?;
        }
        let member = self.members.get_mut(&port).ok_or("nobody")?;
        let numbers = (member.next, member.expected);
        self.wire
            .send_segment((port, CHAT), numbers, flag::ACK, &[])
    }

    /// Somebody was sent something, which is what somebody has said.
    fn take(&mut self, port: u16, data: &[u8]) -> Outcome {
        let mut member = self.members.remove(&port).ok_or("nobody")?;
        member.rest.extend(data);
        while let Some(at) = member.rest.iter().position(|&octet| octet == b'\n') {
            let line: Vec<u8> = member.rest.drain(..=at).collect();
            let line = String::from_utf8_lossy(&line[..at]).into_owned();
            if let Some(notice) = line.strip_prefix("* ") {
                let greeting = notice.split("you are ").nth(1);
                if let Some(name) = greeting.and_then(|rest| rest.split(',').next()) {
                    name.clone_into(&mut member.name);
                }
                member.notices.push(notice.to_owned());
                continue;
            }
            let number = line.split(' ').nth(1).and_then(|word| word.parse().ok());
            let number = number.ok_or_else(|| format!("{line:?} was never said"))?;
            let (author, text) = words(number);
            let name = self.members.get(&author).map_or("", |author| &author.name);
            same_bytes(line.as_bytes(), format!("<{name}> {text}").as_bytes())?;
            member.lines.push(number);
            self.owed = self
                .owed
                .checked_sub(1)
                .ok_or("more lines than were said")?;
        }
        self.members.insert(port, member);
        Ok(())
    }

    /// Nothing has come for a while.
    fn repeat(&self) -> Outcome {
        for (&port, member) in &self.members {
            let unacknowledged = &member.unacknowledged;
            if !member.is_open {
                let seq = member.next.wrapping_sub(1);
                self.wire
                    .send_segment((port, CHAT), (seq, 0), flag::SYN, &[])?;
            } else if !unacknowledged.is_empty() {
                let seq = member.next.wrapping_sub(unacknowledged.len() as u32);
                let flags = flag::ACK | flag::PSH;
                let numbers = (seq, member.expected);
                self.wire
                    .send_segment((port, CHAT), numbers, flags, unacknowledged)?;
            }
        }
        Ok(())
    }

    /// Whether everybody was sent all lines of the others, and in the same order.
    fn all_agree(&self) -> Outcome {
        let members = || self.members.iter().filter(|(_, member)| !member.is_stuck);
        let (first, reference) = members().next().ok_or("nobody")?;
        for (port, member) in members() {
            let without = |lines: &[u32], author| {
                let others = lines.iter().filter(|line| words(**line).0 != author);
                others.copied().collect::<Vec<u32>>()
            };
            let theirs = without(&member.lines, *first);
            ensure(theirs == without(&reference.lines, *port), || {
                format!("{} and {} saw other things", member.name, reference.name)
            })?;
        }
        Ok(())
    }
}

/// Each says a line in each round, but for one, who stops reading and is dropped in time.
fn crowd(bench: &Bench) -> Outcome {
    let mut machine = boot(bench, &Setup::on_wire("run=chatd"))?;
    machine.wire()?.resolve()?;
    let mut crowd = Crowd::new(machine.wire()?);
    for first in (FIRST..FIRST + PEOPLE).step_by(AT_ONCE.into()) {
        crowd.comes(first..(first + AT_ONCE).min(FIRST + PEOPLE))?;
    }
    let slow = FIRST + PEOPLE / 2;
    let member = crowd.members.get_mut(&slow).ok_or("nobody")?;
    member.is_stuck = true;
    let notice = format!("{} left: too slow a reader", member.name);
    let numbers = (member.next, member.expected);
    put(crowd.wire, (slow, CHAT), numbers, 0, &[])?;
    let (mut slowest, mut rounds) = (Duration::ZERO, 0);
    let is_dropped = |crowd: &Crowd<'_>| {
        let mut others = crowd.members.values().filter(|member| !member.is_stuck);
        others.all(|member| member.notices.contains(&notice))
    };
    while !is_dropped(&crowd) {
        ensure(rounds < ROUNDS, || "the slow one is still there".to_owned())?;
        let start = Instant::now();
        let first = rounds * u32::from(PEOPLE);
        for number in first..first + u32::from(PEOPLE) {
            if words(number).0 != slow {
                crowd.says(number)?;
            }
        }
        crowd.wait(ROUND, |crowd| crowd.owed == 0)?;
        slowest = slowest.max(start.elapsed());
        rounds += 1;
    }
    crowd.all_agree()?;
    bench.note(format!(
        "dropped in round {rounds}; {} lines with {} readers each in {} ms at the most",
        PEOPLE - 1,
        PEOPLE - 2,
        slowest.as_millis()
    ));
    // It reads at last: what was kept for it, and the end.
    let member = crowd.members.get_mut(&slow).ok_or("nobody")?;
    member.is_stuck = false;
    let numbers = (member.next, member.expected);
    crowd
        .wire
        .send_segment((slow, CHAT), numbers, flag::ACK, &[])?;
    crowd.owed = usize::MAX;
    crowd
        .wait(LONG, |crowd| crowd.members[&slow].has_ended)
        .during("the end of the slow one")
}
