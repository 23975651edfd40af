//! A chat: what one types goes to all others, with the name of who typed it.
//!
//! ```text
//!   octets of one ──▶ Decoder ──▶ lines, at a pace ──▶ Log, each text once ──▶ sends to all others
//! ```
//!
//! Everything is bounded. A reader is a place in the log (`log`); when the log is full and its
//! oldest text is still to be sent to somebody who does not take it, that one is dropped, so that
//! nobody waits for it. If it is still to be sent to somebody who does take, the next lines wait
//! instead, for a turn. Who types faster than `LINE_NS` is not read meanwhile: its lines wait
//! in the window of its TCP. In a turn each reader is sent an equal part of `TURN_MAX`; texts are
//! copied behind the operations, since for a line a part of lent memory would cost the
//! network server a system call for each reader.
//!
//! Who says nothing may stay for as long as there are places. When there are none, the one that was
//! silent for longest gives way, if that is `SILENT_NS`; else who comes is told that it is full.

mod line;
mod log;
mod pace;
mod person;
pub mod program;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use line::{Fed, LINE_MAX, Line};
use log::{Log, To};
use pace::Pace;
use person::{Hearing, Person, Sending, refusal};
use runtime::Result;
use runtime::socket::batch::{End, Event, Operations, Tell, Then};
use runtime::socket::{Handle, Table};

/// The most people at a time.
const PLACES: usize = 256;
/// The most octets heard of one at a time.
const RECEIVE: usize = 256;
/// The log is full with so many octets: then lines wait, or who is late is dropped.
const LOG_MAX: usize = 64 * 1024;
/// The most octets of text that are sent in one turn.
const TURN_MAX: usize = 32 * 1024;
/// So many lines of one are taken at once, and then one each so many nanoseconds.
const AT_ONCE: u64 = 10;
const LINE_NS: u64 = 100_000_000;
/// Who comes is taken likewise: else coming and going would be a flood.
const COMERS_AT_ONCE: u64 = PLACES as u64;
const COMER_NS: u64 = 20_000_000;
/// Connections taken in one turn.
const ACCEPTS: usize = 32;
/// How long none is taken after the network server had no room, in nanoseconds.
const PAUSE_NS: u64 = 100_000_000;
/// Who has said nothing for so long gives way to others, in nanoseconds.
const SILENT_NS: u64 = 600_000_000_000;

const HELP: &str = "\
* what you type goes to all others; besides, there are
*   /name NAME   gives you another name
*   /who         tells who is here
*   /quit        ends it
";
const FULL: &str = "* the room is full: come back later\n";
const GAVE_WAY: &str = "* the room is full, and you were silent for long: goodbye\n";

/// The room.
#[derive(Debug)]
pub struct Chat {
    listener: Handle,
    /// All connections, also of those who are leaving.
    people: Table<Person>,
    /// How many of them are in the room.
    here: usize,
    places: usize,
    log: Log,
    /// Who has octets that were not looked at, in the order in which they came.
    waiting: VecDeque<Handle>,
    /// Connections that the network may still give us.
    granted: usize,
    comers: Pace,
    /// None is taken before.
    paused_until: u64,
    /// There is more to do when what is to be sent was sent.
    is_behind: bool,
    /// When to look again though nothing happens.
    look_at: u64,
}

impl Chat {
    /// An empty room, whose people come through this listener.
    pub const fn new(listener: Handle) -> Self {
        Chat {
            listener,
            people: Table::new(),
            here: 0,
            places: PLACES,
            log: Log::new(),
            waiting: VecDeque::new(),
            granted: 0,
            comers: Pace::new(COMER_NS, COMERS_AT_ONCE),
            paused_until: 0,
            is_behind: false,
            look_at: u64::MAX,
        }
    }

    /// When to [`Chat::prepare`] though nothing happens.
    pub fn deadline(&self) -> Option<u64> {
        (self.look_at < u64::MAX).then_some(self.look_at)
    }

    fn look_by(&mut self, at: u64) {
        self.look_at = self.look_at.min(at);
    }

    /// Takes note of what has happened.
    pub fn hear(&mut self, event: Event<'_, '_>, now: u64) {
        match event {
            Event::Accepted { socket, .. } => self.come(socket, now),
            // It takes no more until it is asked to: there was no room.
            Event::Failed { socket, .. } if socket == self.listener => {
                self.granted = 0;
                self.paused_until = now + PAUSE_NS;
            }
            Event::Received { socket, bytes } => self.wait(socket, bytes, Hearing::Waits),
            Event::Ended { socket } => self.wait(socket, &[], Hearing::Ended),
            Event::Cut { socket, count, .. } => {
                if let Some(person) = self.people.get_mut(socket) {
                    let until = person.until.unwrap_or(u64::MAX);
                    let from = (person.before, until);
                    person.sent = self.log.read(from, socket, count, |_| {});
                    person.sending = Sending::Stalled;
                    if person.hearing == Hearing::Asked {
                        person.hearing = Hearing::Quiet;
                    }
                }
            }
            Event::Room { socket } => {
                let person = self.people.get_mut(socket);
                if let Some(person) = person.filter(|p| p.sending == Sending::Stalled) {
                    person.sending = Sending::Free;
                }
            }
            Event::Failed { socket, .. } => self.lose(socket, ": the connection broke"),
            Event::Closed { socket } => drop(self.people.remove(socket)),
            // They have no consequences, or are not asked for.
            Event::Opened { .. }
            | Event::Connected { .. }
            | Event::Sent { .. }
            | Event::Progress { .. }
            | Event::Datagram { .. }
            | Event::Unsent { .. } => {}
        }
    }

    /// Before each wait: takes the lines that may be taken, and says what is to be sent and heard.
    ///
    /// # Errors
    /// [`runtime::Error::TooLong`], which the bounds of this service do not let happen.
    pub fn prepare(&mut self, operations: &mut Operations<'_>, now: u64) -> Result<()> {
        self.look_at = u64::MAX;
        self.is_behind = false;
        for _ in 0..self.waiting.len() {
            if let Some(socket) = self.waiting.pop_front()
                && self.listen(socket, now)
            {
                self.waiting.push_back(socket);
            }
        }
        self.accept(operations, now)?;
        self.send(operations)?;
        if self.is_behind {
            self.look_by(now);
        }
        Ok(())
    }

    fn accept(&mut self, operations: &mut Operations<'_>, now: u64) -> Result<()> {
        let free_at = self.comers.free_at().max(self.paused_until);
        let room = if free_at > now {
            self.look_by(free_at);
            0
        } else if self.trim() {
            ACCEPTS
        } else {
            0
        };
        // Not for each that comes: half is enough to go on with.
        if self.granted > room || self.granted * 2 < room {
            operations.accept(self.listener, room, RECEIVE)?;
            self.granted = room;
        }
        Ok(())
    }

    /// Somebody has connected.
    fn come(&mut self, socket: Handle, now: u64) {
        self.granted = self.granted.saturating_sub(1);
        self.comers.take(1, now);
        if self.here >= self.places && !self.give_way(now) {
            let mut person = Person::new(String::new(), self.log.end(), now);
            self.log.push(To::Only(socket), FULL);
            person.until = Some(self.log.end().record);
            self.people.insert(socket, person);
            return;
        }
        let guests = (1..).map(|number| format!("guest{number}"));
        let mut names = guests.filter(|name| self.find(name).is_none());
        let name = names.next().unwrap_or_default();
        let others = self.here;
        self.log
            .push(To::Others(socket), &format!("* {name} came\n"));
        let place = self.log.end();
        let greeting = format!(
            "* welcome to Wharf's chat: you are {name}, with {others} other{}\n\
             * what you type goes to all others; /name NAME, /who, /help, /quit\n",
            if others == 1 { "" } else { "s" }
        );
        self.log.push(To::Only(socket), &greeting);
        self.people.insert(socket, Person::new(name, place, now));
        self.here += 1;
    }

    /// Has the one leave that was silent for longest, if that is long enough.
    fn give_way(&mut self, now: u64) -> bool {
        let here = self.people.iter().filter(|(_, person)| person.is_here());
        let silent = here.map(|(socket, person)| (person.spoke, socket)).min();
        match silent {
            Some((spoke, socket)) if spoke + SILENT_NS <= now => {
                self.leave(socket, GAVE_WAY, ": silent for long");
                true
            }
            _ => false,
        }
    }

    /// Who has this name, or one that looks like it.
    fn find(&self, name: &str) -> Option<Handle> {
        let mut people = self.people.iter();
        let found = people.find(|(_, person)| person.name.eq_ignore_ascii_case(name));
        found.map(|(socket, _)| socket)
    }

    /// Octets of somebody, or their end, are there to be looked at.
    fn wait(&mut self, socket: Handle, octets: &[u8], hearing: Hearing) {
        if let Some(person) = self.people.get_mut(socket) {
            person.pending.extend_from_slice(octets);
            person.hearing = hearing;
            self.waiting.push_back(socket);
        }
    }

    /// Takes the lines of somebody as far as they may be taken; returns whether some have to wait.
    fn listen(&mut self, socket: Handle, now: u64) -> bool {
        loop {
            let has_room = self.trim();
            let person = self.people.get_mut(socket);
            let Some(person) = person.filter(|person| person.is_here()) else {
                return false;
            };
            if !has_room {
                return true;
            }
            if !person.pace.is_free(now) {
                let free_at = person.pace.free_at();
                self.look_by(free_at);
                return true;
            }
            let (count, fed) = person.decoder.feed(&person.pending);
            person.pending.drain(..count);
            match fed {
                Fed::Line(line) => self.take(socket, &line, now),
                Fed::Much => person.pace.take(1, now),
                Fed::All => {
                    person.pending = Vec::new();
                    if person.hearing == Hearing::Ended {
                        let rest = person.decoder.end();
                        self.take(socket, &rest, now);
                        self.leave(socket, "* goodbye\n", "");
                    } else {
                        person.hearing = Hearing::Quiet;
                    }
                    return false;
                }
            }
        }
    }

    /// Does what a line asks for.
    fn take(&mut self, socket: Handle, line: &Line, now: u64) {
        let Some(person) = self.people.get_mut(socket) else {
            return;
        };
        person.spoke = now;
        person.pace.take(1, now);
        if line.was_cut {
            let notice = format!("* a line has at most {LINE_MAX} octets: yours was cut\n");
            self.log.push(To::Only(socket), &notice);
        }
        let text = line.text.as_str();
        if text.starts_with('/') {
            let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
            return self.command(socket, command, rest.trim(), now);
        }
        if !text.is_empty() {
            let text = format!("<{}> {text}\n", person.name);
            self.log.push(To::Others(socket), &text);
        }
    }

    fn command(&mut self, socket: Handle, command: &str, rest: &str, now: u64) {
        let answer = match command {
            "/name" => self.rename(socket, rest),
            "/who" => self.who(),
            "/help" => HELP.into(),
            "/quit" => return self.leave(socket, "* goodbye\n", ""),
            _ => format!("* there is no {command}; /help tells what there is\n"),
        };
        // A long answer is as much work for us as the lines that it could be.
        if let Some(person) = self.people.get_mut(socket) {
            person.pace.take((answer.len() / LINE_MAX) as u64, now);
        }
        self.log.push(To::Only(socket), &answer);
    }

    /// Gives somebody another name, or says why not.
    fn rename(&mut self, socket: Handle, name: &str) -> String {
        if let Some(words) = refusal(name) {
            return words;
        }
        // A name may become another way to write itself.
        if self.find(name).is_some_and(|owner| owner != socket) {
            return format!("* {name} is here already: choose another name\n");
        }
        let Some(person) = self.people.get_mut(socket) else {
            return String::new();
        };
        let old = core::mem::replace(&mut person.name, name.into());
        if old != name {
            let notice = format!("* {old} is {name} now\n");
            self.log.push(To::Others(socket), &notice);
        }
        format!("* you are {name} now\n")
    }

    fn who(&self) -> String {
        let people = self.people.iter().map(|(_, person)| person);
        let here = people.filter(|person| person.is_here());
        let mut names: Vec<&str> = here.map(|person| person.name.as_str()).collect();
        names.sort_unstable();
        let verb = if names.len() == 1 { "is" } else { "are" };
        format!("* {} {verb} here: {}\n", names.len(), names.join(", "))
    }

    /// Somebody leaves the room, and is told all until now and a goodbye.
    fn leave(&mut self, socket: Handle, goodbye: &str, why: &str) {
        if !self.people.get_mut(socket).is_some_and(|p| p.is_here()) {
            return;
        }
        self.log.push(To::Only(socket), goodbye);
        let until = self.log.end().record;
        if let Some(person) = self.go(socket, why) {
            person.until = Some(until);
        }
    }

    /// Somebody is not reached any more.
    fn lose(&mut self, socket: Handle, why: &str) {
        if let Some(person) = self.go(socket, why) {
            person.sending = Sending::Lost;
        }
    }

    /// Takes somebody out of the room, and tells the others.
    fn go(&mut self, socket: Handle, why: &str) -> Option<&mut Person> {
        let person = self.people.get_mut(socket)?;
        let name = core::mem::take(&mut person.name);
        if !name.is_empty() {
            self.here -= 1;
            let notice = format!("* {name} left{why}\n");
            self.log.push(To::Others(socket), &notice);
        }
        person.pending = Vec::new();
        Some(person)
    }

    /// Makes room in the log, if there is none: whoever does not take what is oldest is dropped.
    /// Returns whether there is room, which there is not if somebody takes it who has not had it.
    fn trim(&mut self) -> bool {
        while self.log.octets() >= LOG_MAX {
            let first = self.log.first();
            let mut late = Vec::new();
            for (socket, person) in self.people.iter() {
                match person.sending {
                    _ if person.sent.record > first => {}
                    Sending::Free => {
                        self.is_behind = true;
                        return false;
                    }
                    Sending::Stalled => late.push(socket),
                    Sending::Closing | Sending::Lost => {}
                }
            }
            self.log.pop();
            for socket in late {
                self.lose(socket, ": too slow a reader");
            }
        }
        true
    }

    /// Sends to each its part of what is to be sent, asks for what is to be heard, and closes.
    fn send(&mut self, operations: &mut Operations<'_>) -> Result<()> {
        let most = TURN_MAX / self.people.len().max(1);
        let end = self.log.end().record;
        let mut lost = Vec::new();
        for (socket, person) in self.people.iter_mut() {
            let (until, is_last) = (person.until.unwrap_or(end), person.until.is_some());
            let receive = person.wants();
            person.before = person.sent;
            let (mut is_sent, mut is_all) = (false, false);
            if person.sending == Sending::Free {
                is_sent = operations.send_with(socket, |out| {
                    let start = out.len();
                    let show = |piece: &[u8]| out.extend_from_slice(piece);
                    person.sent = self.log.read((person.sent, until), socket, most, show);
                    is_all = person.sent.record >= until;
                    self.is_behind |= !is_all;
                    let then = Then {
                        receive,
                        end: [End::Stays, End::Close][usize::from(is_last && is_all)],
                        // Then it is not waited for what else happens.
                        tell: [Tell::Never, Tell::Now][usize::from(self.is_behind)],
                    };
                    (out.len() > start).then_some((&[], then))
                })?;
            }
            match person.sending {
                Sending::Closing => {}
                Sending::Free if is_sent && is_last && is_all => person.sending = Sending::Closing,
                Sending::Free if !is_last || !is_all => {
                    if receive > 0 {
                        if !is_sent && person.hearing == Hearing::Quiet {
                            operations.receive(socket, receive)?;
                        }
                        person.hearing = Hearing::Asked;
                    }
                }
                Sending::Stalled if !is_last => {
                    if person.hearing == Hearing::Quiet {
                        operations.receive(socket, receive)?;
                        person.hearing = Hearing::Asked;
                    }
                }
                // A goodbye that is not taken is not waited for.
                Sending::Lost | Sending::Free | Sending::Stalled => {
                    operations.close(socket)?;
                    lost.push(socket);
                }
            }
        }
        for socket in lost {
            self.people.remove(socket);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
