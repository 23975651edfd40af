//! What `init` decides: which programs run, when a network server is started, and what
//! happens when a program ends.
//!
//! The kernel command line says what to run: `run=NAME[,ARG...]`, as often as wanted,
//! starts those programs and nothing else; without it the system serves: a network
//! server, the echo server and the web server, each started again when it ends; with
//! `inside=NAME` that one of them is part of the network server. A
//! network server that a program of a `run=` needs is started when first asked for, so
//! that where no program uses sockets nothing else transmits; unless a `run=` is one.
//!
//! `stack=NAME,...` starts a network server that shares a card with others, or has a virtual function of one
//! to itself, and the programs that use it, each started again when it ends; all but `run=` is left out then.
//!
//! A program that ends the same way again and again, soon after its start, is tried again for
//! ever, but not heard for ever: from the third time on it is mute until it has run for a while.
//! One that says itself that it runs in vain is not started again, and neither are the services
//! if that is their network server.

use abi::command_line::WORDS;
use abi::exit;
use abi::ipc::{Exit, FOREVER};
use abi::limits::Limits;
use abi::service::{Request, Stack};
use alloc::string::String;
use alloc::vec::Vec;
use runtime::args::Args;
use runtime::process::Describe;
use runtime::{Error, Pid, Result};

mod command_line;
mod program;
mod shares;

pub use command_line::{CommandLine, Named, Place, Run};
pub use shares::Share;

use program::{HEARD_MAX, Program, RESTART_NS, Role, stack_of};

/// The program that serves a card.
pub const NETWORK_SERVER: &str = "netd";
/// The word that gives a stack with a name all of its card.
const WHOLE: &str = "whole";
/// What runs beside the network server if nothing is asked for.
const SERVICES: [&str; 2] = ["echosrv", "httpd"];
/// How long a program may wait for a network server, in nanoseconds.
const SERVER_WAIT_NS: u64 = 10_000_000_000;
/// How often to look whether a network server has registered, in nanoseconds.
const LOOK_NS: u64 = 2_000_000;
/// Requests that may wait at the same time.
const WAITING_MAX: usize = 64;

/// What the supervisor needs of the system: the real one, or a test's.
pub trait System {
    /// Starts a program, whose output is dropped if it is to be mute, with what it may have.
    ///
    /// # Errors
    /// Those of [`runtime::process::spawn`].
    fn spawn(&mut self, name: &str, args: &str, is_mute: bool, share: &Share) -> Result<Pid>;
    /// What the machine has for all programs, and what of that is not given to one.
    ///
    /// # Errors
    /// Those of [`runtime::process::own`].
    fn limits(&self) -> Result<(Limits, Limits)>;
    /// Finds a service.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    fn lookup(&mut self, name: &str) -> Result<Pid>;
    /// The number of the card that is this virtual function.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    fn virtual_function(&self, number: u8) -> Result<u8>;
    /// Answers a request.
    fn reply(&mut self, token: u64, answer: Result<Pid>);
    /// Prints a line.
    fn say(&mut self, line: core::fmt::Arguments<'_>);
    /// Lets a program that was started mute be heard.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PeerDied`], [`Error::NotPermitted`].
    fn unmute(&mut self, program: Pid) -> Result<()>;
    /// The names of the programs there are.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the ramdisk is damaged.
    fn programs(&self) -> Result<Vec<String>>;
}

/// A request for a network server that is not answered yet.
#[derive(Debug)]
struct Waiting {
    stack: Stack,
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
    /// Stacks with names, which have the machine's memory in equal parts.
    stacks: usize,
    /// No `run=` and no `stack=`: services are started again when they end.
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
            stacks: line.stacks.len(),
            serving: line.runs.is_empty() && line.stacks.is_empty(),
        };
        for (word, part) in &line.wrong_stacks {
            supervisor.system.say(format_args!(
                "command line: `{word}`: `{part}` makes no sense: ignored"
            ));
        }
        for named in &line.stacks {
            supervisor.add_stack(named, now);
        }
        for word in &line.unknown {
            supervisor.system.say(format_args!(
                "command line: `{word}` is unknown; there are {WORDS}"
            ));
        }
        if supervisor.serving {
            let inside = line.inside.filter(|name| SERVICES.contains(name));
            if inside != line.inside {
                let known = SERVICES.join(" or ");
                supervisor
                    .system
                    .say(format_args!("inside= wants {known}: ignored"));
            }
            let with = inside.map(|name| alloc::format!("0,with={name}"));
            let args = with.as_deref().unwrap_or("0");
            supervisor.add_server(args, "", Role::Network, now);
            for name in SERVICES.into_iter().filter(|&name| inside != Some(name)) {
                supervisor.add(name, "", "", (Role::Service, Stack::FIRST), now);
            }
        } else {
            for Run { name, args, limits } in &line.runs {
                match *name {
                    NETWORK_SERVER => supervisor.add_server(args, limits, Role::Run, now),
                    _ => supervisor.add(name, args, limits, (Role::Run, Stack::FIRST), now),
                }
            }
            supervisor.say_if_idle();
        }
        supervisor
    }

    /// Starts the server of a stack with a name, and its programs.
    fn add_stack(&mut self, named: &Named<'_>, now: u64) {
        let Named {
            stack,
            place,
            network,
            runs,
            inside,
        } = named;
        let card = match *place {
            Place::Card(card) => alloc::format!("{card}"),
            Place::Virtual(number) => match self.system.virtual_function(number) {
                Ok(card) => alloc::format!("{card},{WHOLE}"),
                Err(_) => {
                    self.system.say(format_args!(
                        "stack {stack}: there is no virtual function {number}; nic.vfs= on the \
                         command line says how many a card has"
                    ));
                    return;
                }
            },
        };
        let with = inside.map(|name| alloc::format!("with={name}"));
        let ours = alloc::format!("stack={stack}");
        let words = network.iter().copied().chain(with.as_deref());
        let words: Vec<&str> = words.chain([ours.as_str()]).collect();
        let args = alloc::format!("{card},{}", words.join(","));
        self.add_server(&args, "", Role::Network, now);
        for name in runs {
            self.add(name, &ours, "", (Role::Service, *stack), now);
        }
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
        let Program { role, is_kept, .. } = self.programs[at];
        let (stack, is_vain) = (self.programs[at].serves(), self.is_in_vain(at, exit));
        self.say_end(at, exit, is_vain, now);
        match stack {
            Some(stack) if is_vain => self.answer(stack, Err(Error::NotFound)),
            // Clients that have noticed earlier wait for the next server, which is about to start.
            Some(_) if is_kept => {}
            Some(stack) => self.answer(stack, Err(Error::PeerDied)),
            None => {}
        }
        if is_vain {
            // It stays in the table, so that nobody has it started.
            self.programs[at].pid = None;
            self.programs[at].is_given_up = true;
        } else if is_kept {
            self.programs[at].ended(now);
        } else {
            self.programs.remove(at);
        }
        if role == Role::Run {
            self.say_if_idle();
        }
    }

    /// Whether a program that has ended so would end so again.
    fn is_in_vain(&self, at: usize, exit: Exit) -> bool {
        let program = &self.programs[at];
        let says_so = matches!(exit, Exit::Code(exit::BAD_USAGE | exit::IN_VAIN));
        match program.role {
            // Of these only a stack's server would be started again, when a program asks for it.
            Role::Run => says_so && program.serves().is_some(),
            Role::Network => says_so,
            Role::Service => says_so || self.is_given_up(program.stack),
        }
    }

    /// Whether the server of that stack would run in vain.
    fn is_given_up(&self, stack: Stack) -> bool {
        let mut programs = self.programs.iter();
        programs.any(|program| program.is_given_up && program.serves() == Some(stack))
    }

    /// Tells how a program has ended, unless it has done so again and again.
    fn say_end(&mut self, at: usize, exit: Exit, is_vain: bool, now: u64) {
        let program = &mut self.programs[at];
        let times = program.count_failures(exit, now);
        let rest = match times {
            _ if is_vain => "; it is not started again",
            HEARD_MAX if program.is_kept => {
                ", again; it is started on and on, but not heard until it runs"
            }
            HEARD_MAX.. if program.is_kept => return,
            _ => "",
        };
        let name = &program.name;
        let exit = Describe(exit);
        self.system.say(format_args!("{name} ended: {exit}{rest}"));
    }

    /// Does what is due: answers requests whose server has registered, starts programs
    /// again.
    pub fn on_time(&mut self, now: u64) {
        let mut stacks: Vec<Stack> = self.waiting.iter().map(|waiting| waiting.stack).collect();
        stacks.sort_unstable();
        stacks.dedup();
        for stack in stacks {
            if let Ok(server) = self.registered(stack) {
                self.answer(stack, Ok(server));
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
            let program = &self.programs[at];
            if program.is_due(now) {
                self.launch(at, now);
            } else if program.is_mute() && program.due_to_be_heard() <= now {
                self.hear_again(at);
            }
        }
    }

    /// A mute program has run for a while.
    fn hear_again(&mut self, at: usize) {
        let program = &mut self.programs[at];
        program.failed = None;
        let Some(pid) = program.pid else { return };
        let name = &program.name;
        match self.system.unmute(pid) {
            Ok(()) => self
                .system
                .say(format_args!("{name} runs, and is heard again")),
            // Its end is told next.
            Err(Error::NotFound | Error::PeerDied) => {}
            Err(error) => self.system.say(format_args!("{name} stays mute: {error}")),
        }
    }

    /// When [`Supervisor::on_time`] is to be called next.
    pub fn deadline(&self, now: u64) -> u64 {
        let programs = self.programs.iter();
        let due = programs.filter_map(|program| match program.pid {
            None if program.is_given_up => None,
            None => Some(program.due),
            Some(_) => program.is_mute().then(|| program.due_to_be_heard()),
        });
        let look = (!self.waiting.is_empty()).then_some(now + LOOK_NS);
        due.chain(look).min().unwrap_or(FOREVER)
    }

    fn network_server(&mut self, token: u64, request: &[u8], now: u64) -> Result<()> {
        let Request::NetworkServer { stack } = Request::from_bytes(request)?;
        match self.registered(stack) {
            Ok(server) => {
                self.system.reply(token, Ok(server));
                return Ok(());
            }
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        if self.is_given_up(stack) {
            return Err(Error::NotFound);
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(Error::Busy);
        }
        if !self.is_to_serve(stack) {
            // One with a name is started at the beginning, or not known.
            let card = stack.card().ok_or(Error::NotFound)?;
            self.add_server(&alloc::format!("{card}"), "", Role::Network, now);
            if !self.is_to_serve(stack) {
                return Err(Error::NotFound);
            }
        }
        self.waiting.push(Waiting {
            stack,
            token,
            deadline: now + SERVER_WAIT_NS,
        });
        Ok(())
    }

    fn registered(&mut self, stack: Stack) -> Result<Pid> {
        self.system.lookup(stack.service().as_str())
    }

    fn answer(&mut self, stack: Stack, answer: Result<Pid>) {
        let system = &mut self.system;
        self.waiting.retain(|waiting| {
            let mine = waiting.stack == stack;
            if mine {
                system.reply(waiting.token, answer);
            }
            !mine
        });
    }

    /// Whether a server of that stack runs, or will again.
    fn is_to_serve(&self, stack: Stack) -> bool {
        let mut programs = self.programs.iter();
        programs.any(|program| program.serves() == Some(stack))
    }

    /// Starts a network server: to the words of `args`, the first of which is the card's number,
    /// come those of the command line, over which they have the last word.
    fn add_server(&mut self, args: &str, limits: &str, role: Role, now: u64) {
        let mut words = Args::new(args);
        let card = words.next().unwrap_or("0");
        let network = self.network.iter().map(String::as_str);
        let all: Vec<&str> = [card].into_iter().chain(network).chain(words).collect();
        let stack = stack_of(args);
        self.add(NETWORK_SERVER, &all.join(","), limits, (role, stack), now);
    }

    fn add(
        &mut self,
        name: &str,
        args: &str,
        limits: &str,
        (role, stack): (Role, Stack),
        now: u64,
    ) {
        let is_named = stack.card().is_none();
        self.programs.push(Program {
            name: name.into(),
            args: args.into(),
            limits: limits.into(),
            role,
            stack,
            is_kept: self.serving || is_named && role != Role::Run,
            pid: None,
            started: now,
            due: now,
            delay: RESTART_NS.0,
            failed: None,
            is_given_up: false,
            unstartable: None,
        });
        self.launch(self.programs.len() - 1, now);
    }

    /// Starts program number `at`; one that cannot be started is forgotten, or tried
    /// again later if it is a service that may only lack memory.
    fn launch(&mut self, at: usize, now: u64) {
        let started = self.spawn(at);
        let program = &mut self.programs[at];
        let error = match started {
            Ok(pid) => {
                program.pid = Some(pid);
                program.started = now;
                program.unstartable = None;
                return;
            }
            Err(error) => error,
        };
        // The ramdisk never changes.
        program.is_given_up = matches!(error, Error::NotFound | Error::NotExecutable);
        let name = &program.name;
        if error == Error::NotFound {
            match self.system.programs() {
                Ok(there) => self.system.say(format_args!(
                    "no program `{name}`; bin/ has: {}",
                    there.join(", ")
                )),
                Err(error) => self
                    .system
                    .say(format_args!("no program `{name}`; the ramdisk: {error}")),
            }
        } else if program.unstartable != Some(error) {
            program.unstartable = Some(error);
            self.system
                .say(format_args!("cannot start {name}: {error}"));
        }
        if self.programs[at].is_kept {
            self.programs[at].ended(now);
        } else {
            self.programs.remove(at);
        }
    }

    fn spawn(&mut self, at: usize) -> Result<Pid> {
        let Program {
            name,
            args,
            limits,
            stack,
            ..
        } = &self.programs[at];
        let (all, left) = self.system.limits()?;
        let parts = if stack.card().is_none() {
            self.stacks
        } else {
            1
        };
        let mut share = Share::of(name, args, &shares::part(&all, parts));
        if let Err(word) = share.change(limits) {
            self.system
                .say(format_args!("limits=: `{word}` makes no sense"));
        }
        share.of_what_is_left(&left);
        let is_mute = self.programs[at].is_mute();
        self.system.spawn(name, args, is_mute, &share)
    }

    fn say_if_idle(&mut self) {
        if !self
            .programs
            .iter()
            .any(|program| !program.is_given_up && (program.role == Role::Run || program.is_kept))
        {
            self.system.say(format_args!("nothing left to run"));
        }
    }
}

#[cfg(test)]
mod tests;
