//! What `init` gives to the programs that it starts: how much each may have, and what it may do.
//!
//! A program that nobody knows gets little, and no right. Those that others depend on have a
//! share of the machine, which is set aside for them as long as they live; the network server of
//! a card may attach it and register as its server, which nobody else may.

use super::{NETWORK_SERVER, SERVICES, WHOLE};
use abi::limits::{Grant, Limits, Resource, spawn};
use alloc::string::String;
use runtime::args::Args;

/// The programs that drive a card themselves.
const RAW: [&str; 5] = [
    "rawcount",
    "rawsend",
    "testfilter",
    "testinput",
    "testoutput",
];
/// The program that takes what there is, to see it come back.
const STRAIN: &str = "testmemory";
/// The program that starts others which do what they must not.
const CALLS: &str = "testcalls";
/// The service that keeps its clients.
const ECHO: &str = SERVICES[0];
/// The chat, which keeps its clients, too, but knows how many it has at the most.
const CHAT: &str = "chatd";
/// Its sockets: those clients, more that leave or are told that it is full, and what the network
/// server asks for ahead.
const CHAT_SOCKETS: u64 = 384;
/// The least that a service can work with, in bytes.
const SERVICE_MIN: u64 = 448 << 10;
/// The most that it is given.
const SERVICE_MAX: u64 = 8 << 20;

/// What a program may have and do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What it may have.
    pub limits: Limits,
    /// The service names that it may register.
    pub names: String,
    /// The cards that it may attach, a bit each.
    pub cards: u64,
    /// Bits of [`spawn`].
    pub flags: u64,
}

impl Share {
    /// That of a program with these arguments, of what the machine has for all programs.
    pub fn of(name: &str, args: &str, all: &Limits) -> Self {
        let memory = all.get(Resource::Memory);
        let service = (memory / 10).clamp(SERVICE_MIN, SERVICE_MAX);
        let mut share = Share {
            limits: Limits::PROGRAM,
            names: String::new(),
            cards: 0,
            flags: 0,
        };
        let limits = Limits::PROGRAM;
        if name == NETWORK_SERVER {
            let card = Args::new(args).next().unwrap_or("0").parse().unwrap_or(0u8);
            let stack = super::stack_of(args);
            share.names = stack.service().as_str().into();
            share.cards = 1u64.checked_shl(card.into()).unwrap_or(0);
            let has_parts = stack.card().is_none() && !Args::new(args).any(|word| word == WHOLE);
            share.flags = spawn::SERVER | if has_parts { spawn::PARTS } else { 0 };
            let handles = all.get(Resource::Processes) * 2;
            let handles = handles.min(all.get(Resource::Handles) / 2);
            share.limits = limits
                .with(Resource::Memory, memory / 16 * 9)
                // It watches its clients.
                .with(Resource::Handles, handles)
                .with(Resource::Sockets, 0);
        } else if SERVICES.contains(&name) {
            share.flags = spawn::SERVER;
            // Clients of an echo server stay; a web server's come and go.
            let sixteenths = if name == ECHO { 14 } else { 1 };
            let sockets = all.get(Resource::Sockets) / 16 * sixteenths;
            share.limits = limits
                .with(Resource::Memory, service)
                .with(Resource::Sockets, sockets);
        } else if name == CHAT {
            share.flags = spawn::SERVER;
            share.limits = limits
                .with(Resource::Memory, service.max(limits.get(Resource::Memory)))
                .with(Resource::Sockets, CHAT_SOCKETS);
        } else if name == STRAIN {
            share.cards = u64::MAX;
            share.limits = limits
                .with(Resource::Memory, memory / 8 * 7)
                .with(Resource::Processes, all.get(Resource::Processes) - 2)
                .with(Resource::Handles, 64);
        } else if name == CALLS {
            share.cards = u64::MAX;
            share.limits = limits
                .with(Resource::Memory, memory / 16)
                .with(Resource::Processes, 8)
                .with(Resource::Handles, 64)
                .with(Resource::Notifications, 64)
                .with(Resource::Sockets, all.get(Resource::Sockets) / 8);
        } else if RAW.contains(&name) {
            share.cards = u64::MAX;
        }
        share
    }

    /// Changes limits as `words` say, `RESOURCE:AMOUNT` with commas between them; an amount may
    /// end in K, M or G.
    ///
    /// # Errors
    /// The word that makes no sense.
    pub fn change<'a>(&mut self, words: &'a str) -> Result<(), &'a str> {
        for word in Args::new(words) {
            let (name, amount) = word.split_once(':').ok_or(word)?;
            let resource = name.parse::<Resource>().map_err(|()| word)?;
            let amount = amount_of(amount).ok_or(word)?;
            self.limits = self.limits.with(resource, amount);
        }
        Ok(())
    }

    /// Cuts its limits down to what is left. Only a server may have the last quarter of that.
    pub fn of_what_is_left(&mut self, left: &Limits) {
        let most = match self.is_server() {
            true => *left,
            false => left.minus(&left.quarter()),
        };
        self.limits = self.limits.at_most(&most);
    }

    fn is_server(&self) -> bool {
        self.flags & spawn::SERVER != 0
    }

    /// It in the words of the kernel.
    pub fn grant(&self, is_mute: bool) -> Grant<'_> {
        Grant {
            limits: self.limits,
            names: &self.names,
            cards: self.cards,
            flags: self.flags | if is_mute { spawn::MUTE } else { 0 },
        }
    }
}

/// What one of so many stacks has for its programs, of what the machine has.
pub fn part(all: &Limits, parts: usize) -> Limits {
    let parts = parts.max(1) as u64;
    let shared = [
        Resource::Memory,
        Resource::Handles,
        Resource::Sockets,
        Resource::Notifications,
    ];
    shared.into_iter().fold(*all, |part, resource| {
        part.with(resource, all.get(resource) / parts)
    })
}

/// A number with its unit.
fn amount_of(text: &str) -> Option<u64> {
    let (digits, shift) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) if text.ends_with('K') => (digits, 10),
        Some(digits) if text.ends_with('M') => (digits, 20),
        Some(digits) => (digits, 30),
        None => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Limits = Limits::of_machine(58 << 20);

    #[test]
    fn servers_have_their_shares_and_rights_and_nobody_else_has() {
        let server = Share::of("netd", "3,ip=10.0.0.1/8", &MACHINE);
        assert_eq!((server.names.as_str(), server.cards), ("net3", 0b1000));
        let services = SERVICES.map(|name| Share::of(name, "", &MACHINE));
        let all = services.iter().chain([&server]);
        let sum = all.fold(Limits::NONE, |sum, share| {
            assert!(share.is_server());
            sum.plus(&share.limits).unwrap()
        });
        // They fit, and leave something to others.
        let left = MACHINE.minus(&sum);
        assert!(MACHINE.covers(&sum), "{sum:?}");
        assert!(left.get(Resource::Memory) >= 10 << 20, "{left:?}");
        assert!(left.get(Resource::Sockets) >= MACHINE.get(Resource::Sockets) / 16);
        let other = Share::of("hello", "", &MACHINE);
        assert_eq!(other.limits, Limits::PROGRAM);
        assert!(other.flags == 0 && other.names.is_empty() && other.cards == 0);
        assert_eq!(Share::of("rawsend", "", &MACHINE).cards, u64::MAX);
        assert!(services[0].names.is_empty() && services[0].cards == 0);
    }

    #[test]
    fn limits_are_changed_by_words_and_nonsense_is_named() {
        let mut share = Share::of("hello", "", &MACHINE);
        assert_eq!(share.change("memory:8M,processes:24,sockets:3K"), Ok(()));
        assert_eq!(share.limits.get(Resource::Memory), 8 << 20);
        assert_eq!(share.limits.get(Resource::Processes), 24);
        assert_eq!(share.limits.get(Resource::Sockets), 3072);
        assert_eq!(share.change(""), Ok(()));
        for wrong in [
            "memory",
            "memory:",
            "memory:x",
            "disk:3",
            "memory:99999999999G",
        ] {
            assert_eq!(share.change(wrong), Err(wrong));
        }
    }

    #[test]
    fn where_memory_is_short_there_is_what_is_left() {
        let small = Limits::of_machine(3 << 20);
        let mut server = Share::of("netd", "", &small);
        assert_eq!(server.limits.get(Resource::Memory), 27 << 16);
        server.of_what_is_left(&Limits::of_machine(1 << 20));
        assert_eq!(server.limits.get(Resource::Memory), 1 << 20);
        let mut strain = Share::of(STRAIN, "", &small);
        strain.of_what_is_left(&small);
        let left = small.minus(&strain.limits);
        assert!(left.get(Resource::Memory) >= 3 << 18 && left.get(Resource::Processes) >= 16);
        let chat = Share::of(CHAT, "", &small).limits;
        assert_eq!(chat.get(Resource::Memory), 768 << 10);
        assert!(chat.get(Resource::Sockets) <= small.get(Resource::Sockets));
        let service = Share::of("httpd", "", &small);
        assert_eq!(service.limits.get(Resource::Memory), SERVICE_MIN);
    }
}
