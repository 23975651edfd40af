//! What `init` decides: which programs run, when a network server is started, and what
//! happens when a program ends.
//!
//! The kernel command line says what to run: `run=NAME[,ARG...]`, as often as wanted,
//! starts those programs and nothing else; without it the system serves: a network
//! server, the echo server and the web server, each started again when it ends; with
//! `inside=NAME` that one of them is part of the network server. A
//! network server that a program of a `run=` needs is started when first asked for, so
//! that where no program uses sockets nothing else transmits; unless a `run=` is one.

use crate::process::Describe;
use crate::{Error, Pid, Result, args};
use abi::ipc::{Exit, FOREVER};
use abi::service::{self, Request};
use alloc::string::String;
use alloc::vec::Vec;

/// The program that serves a card.
pub const NETWORK_SERVER: &str = "netd";
/// What runs beside the network server if nothing is asked for.
const SERVICES: [&str; 2] = ["echosrv", "httpd"];
/// How long a program may wait for a network server, in nanoseconds.
const SERVER_WAIT_NS: u64 = 10_000_000_000;
/// How often to look whether a network server has registered, in nanoseconds.
const LOOK_NS: u64 = 2_000_000;
/// Requests that may wait at the same time.
const WAITING_MAX: usize = 64;
/// Delay before a service that ended is started again: doubled up to the second value
/// each time, back to the first once it has run that long. In nanoseconds.
const RESTART_NS: (u64, u64) = (100_000_000, 5_000_000_000);

/// What of the kernel command line concerns programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine<'a> {
    /// Each `run=NAME[,ARG...]`: name and arguments.
    pub runs: Vec<(&'a str, &'a str)>,
    /// The words that are for network servers, as they are: `ip=...`, `gw=...`.
    pub network: Vec<&'a str>,
    /// The service that is to be part of the network server.
    pub inside: Option<&'a str>,
}

impl<'a> CommandLine<'a> {
    /// Takes it apart at white space. Words for others (the kernel) are skipped.
    pub fn parse(text: &'a str) -> Self {
        let mut line = CommandLine::default();
        for word in text.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("run", run)) => {
                    line.runs.push(run.split_once(',').unwrap_or((run, "")));
                }
                Some(("ip" | "gw", _)) => line.network.push(word),
                Some(("inside", name)) => line.inside = Some(name),
                _ => {}
            }
        }
        line
    }
}

/// What the supervisor needs of the system: the real one, or a test's.
pub trait System {
    /// Starts a program.
    ///
    /// # Errors
    /// As [`crate::process::spawn`].
    fn spawn(&mut self, name: &str, args: &str) -> Result<Pid>;
    /// Finds a service.
    ///
    /// # Errors
    /// As [`crate::sys::lookup`].
    fn lookup(&mut self, name: &str) -> Result<Pid>;
    /// Answers a request.
    fn reply(&mut self, token: u64, answer: Result<Pid>);
    /// Prints a line.
    fn say(&mut self, line: core::fmt::Arguments<'_>);
    /// The names of the programs there are.
    fn programs(&self) -> Vec<String>;
}

/// Why a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It was asked for with `run=`.
    Run,
    /// A program asked for the server of its card.
    Network,
    /// It is one of [`SERVICES`].
    Service,
}

/// A program that runs or will run again.
#[derive(Debug)]
struct Program {
    name: String,
    args: String,
    role: Role,
    /// `None` while it waits for `due`.
    pid: Option<Pid>,
    started: u64,
    due: u64,
    delay: u64,
}

/// A request for a network server that is not answered yet.
#[derive(Debug)]
struct Waiting {
    card: u8,
    token: u64,
    deadline: u64,
}

/// `init` without its system calls. Times are nanoseconds of the monotonic clock.
#[derive(Debug)]
pub struct Supervisor<S> {
    /// The system it acts on.
    pub system: S,
    programs: Vec<Program>,
    waiting: Vec<Waiting>,
    network: Vec<String>,
    /// No `run=`: services are started again when they end.
    serving: bool,
}

impl<S: System> Supervisor<S> {
    /// Starts what the command line asks for.
    pub fn start(system: S, line: &CommandLine<'_>, now: u64) -> Self {
        let mut supervisor = Supervisor {
            system,
            programs: Vec::new(),
            waiting: Vec::new(),
            network: line.network.iter().map(|&word| word.into()).collect(),
            serving: line.runs.is_empty(),
        };
        if supervisor.serving {
            let inside = line.inside.filter(|name| SERVICES.contains(name));
            if inside != line.inside {
                let known = SERVICES.join(" or ");
                supervisor
                    .system
                    .say(format_args!("inside= wants {known}: ignored"));
            }
            let with = inside.map(|name| alloc::format!("0,with={name}"));
            supervisor.add_server(with.as_deref().unwrap_or("0"), Role::Network, now);
            for name in SERVICES.into_iter().filter(|&name| inside != Some(name)) {
                supervisor.add(name, "", Role::Service, now);
            }
        } else {
            for (name, args) in &line.runs {
                match *name {
                    NETWORK_SERVER => supervisor.add_server(args, Role::Run, now),
                    _ => supervisor.add(name, args, Role::Run, now),
                }
            }
            supervisor.say_if_idle();
        }
        supervisor
    }

    /// A call has come in.
    pub fn on_request(&mut self, token: u64, request: &[u8], now: u64) {
        match self.network_server(token, request, now) {
            Ok(()) => {}
            Err(error) => self.system.reply(token, Err(error)),
        }
    }

    /// A child has ended.
    pub fn on_death(&mut self, pid: Pid, exit: Exit, now: u64) {
        let Some(at) = self
            .programs
            .iter()
            .position(|program| program.pid == Some(pid))
        else {
            return;
        };
        let name = self.programs[at].name.clone();
        let role = self.programs[at].role;
        self.system
            .say(format_args!("{name} ended: {}", Describe(exit)));
        if let Some(card) = self.programs[at].serves() {
            self.answer(card, Err(Error::PeerDied));
        }
        if self.serving {
            self.programs[at].ended(now);
        } else {
            self.programs.remove(at);
            if role == Role::Run {
                self.say_if_idle();
            }
        }
    }

    /// Does what is due: answers requests whose server has registered, starts programs
    /// again.
    pub fn on_time(&mut self, now: u64) {
        let mut cards: Vec<u8> = self.waiting.iter().map(|waiting| waiting.card).collect();
        cards.sort_unstable();
        cards.dedup();
        for card in cards {
            if let Ok(server) = self.registered(card) {
                self.answer(card, Ok(server));
            }
        }
        let system = &mut self.system;
        self.waiting.retain(|waiting| {
            let late = waiting.deadline <= now;
            if late {
                system.reply(waiting.token, Err(Error::TimedOut));
            }
            !late
        });
        for at in 0..self.programs.len() {
            if self.programs[at].pid.is_none() && self.programs[at].due <= now {
                self.launch(at, now);
            }
        }
    }

    /// When [`Supervisor::on_time`] is to be called next.
    pub fn deadline(&self, now: u64) -> u64 {
        let restarts = self.programs.iter().filter(|program| program.pid.is_none());
        let look = (!self.waiting.is_empty()).then_some(now + LOOK_NS);
        let due = restarts.map(|program| program.due).chain(look).min();
        due.unwrap_or(FOREVER)
    }

    fn network_server(&mut self, token: u64, request: &[u8], now: u64) -> Result<()> {
        let Request::NetworkServer { card } = Request::from_bytes(request)?;
        if card > 9 {
            // `service::network_server` names ten.
            return Err(Error::InvalidArgument);
        }
        match self.registered(card) {
            Ok(server) => {
                self.system.reply(token, Ok(server));
                return Ok(());
            }
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(Error::Busy);
        }
        if !self.is_to_serve(card) {
            self.add_server(&alloc::format!("{card}"), Role::Network, now);
            if !self.is_to_serve(card) {
                return Err(Error::NotFound);
            }
        }
        self.waiting.push(Waiting {
            card,
            token,
            deadline: now + SERVER_WAIT_NS,
        });
        Ok(())
    }

    fn registered(&mut self, card: u8) -> Result<Pid> {
        let name = service::network_server(card);
        let name = core::str::from_utf8(&name).map_err(|_| Error::InvalidArgument)?;
        self.system.lookup(name)
    }

    fn answer(&mut self, card: u8, answer: Result<Pid>) {
        let system = &mut self.system;
        self.waiting.retain(|waiting| {
            let mine = waiting.card == card;
            if mine {
                system.reply(waiting.token, answer);
            }
            !mine
        });
    }

    /// Whether a server of that card runs, or will again.
    fn is_to_serve(&self, card: u8) -> bool {
        let mut programs = self.programs.iter();
        programs.any(|program| program.serves() == Some(card))
    }

    /// Starts a network server: to the words of `args`, the first of which is the card's number,
    /// come those of the command line, over which they have the last word.
    fn add_server(&mut self, args: &str, role: Role, now: u64) {
        let mut words = args::split(args);
        let card = words.next().unwrap_or("0");
        let network = self.network.iter().map(String::as_str);
        let all: Vec<&str> = [card].into_iter().chain(network).chain(words).collect();
        self.add(NETWORK_SERVER, &all.join(","), role, now);
    }

    fn add(&mut self, name: &str, args: &str, role: Role, now: u64) {
        self.programs.push(Program {
            name: name.into(),
            args: args.into(),
            role,
            pid: None,
            started: now,
            due: now,
            delay: RESTART_NS.0,
        });
        self.launch(self.programs.len() - 1, now);
    }

    /// Starts program number `at`; one that cannot be started is forgotten, or tried
    /// again later if it is a service that may only lack memory.
    fn launch(&mut self, at: usize, now: u64) {
        let program = &mut self.programs[at];
        let error = match self.system.spawn(&program.name, &program.args) {
            Ok(pid) => {
                program.pid = Some(pid);
                program.started = now;
                return;
            }
            Err(error) => error,
        };
        let name = program.name.clone();
        if error == Error::NotFound {
            let there = self.system.programs().join(", ");
            self.system
                .say(format_args!("no program `{name}`; bin/ has: {there}"));
        } else {
            self.system
                .say(format_args!("cannot start {name}: {error}"));
        }
        if self.serving {
            self.programs[at].ended(now);
        } else {
            self.programs.remove(at);
        }
    }

    fn say_if_idle(&mut self) {
        if !self
            .programs
            .iter()
            .any(|program| program.role == Role::Run)
        {
            self.system.say(format_args!("nothing left to run"));
        }
    }
}

impl Program {
    /// The card whose network server it is.
    fn serves(&self) -> Option<u8> {
        let card = args::split(&self.args).next().unwrap_or("0");
        card.parse().ok().filter(|_| self.name == NETWORK_SERVER)
    }

    /// Plans the next start.
    fn ended(&mut self, now: u64) {
        let (first, most) = RESTART_NS;
        if now.saturating_sub(self.started) >= most {
            self.delay = first;
        }
        self.pid = None;
        self.due = now + self.delay;
        self.delay = (self.delay * 2).min(most);
    }
}

#[cfg(test)]
mod tests;
