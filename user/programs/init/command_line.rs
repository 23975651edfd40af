//! The kernel command line, as far as it is about programs.

use super::SERVICES;
use abi::command_line::is_kernels;
use abi::service::Stack;
use alloc::vec::Vec;

/// A program to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its arguments.
    pub args: &'a str,
    /// What the last `limits=` before it says: see [`super::shares::Share::change`].
    pub limits: &'a str,
}

/// A stack of its own:
/// `stack=NAME[,card=N|,vf=N][,ip=...][,gw=...][,mac=...][,run=NAME...][,inside=NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// What it is called.
    pub stack: Stack,
    /// Where its frames come from.
    pub place: Place,
    /// The words that are for its network server.
    pub network: Vec<&'a str>,
    /// The programs that use it, without arguments.
    pub runs: Vec<&'a str>,
    /// `echosrv` or `httpd`, if that is part of its network server.
    pub inside: Option<&'a str>,
}

/// What a stack with a name has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A part of the card with this number.
    Card(u8),
    /// All of the virtual function with this number.
    Virtual(u8),
}

impl<'a> Named<'a> {
    /// Takes what follows `stack=` apart; `Err` has the part that makes no sense.
    fn parse(text: &'a str) -> Result<Self, &'a str> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let stack: Stack = name.parse().map_err(|_| name)?;
        if stack.card().is_some() {
            // These are called by their cards, and have them to themselves.
            return Err(name);
        }
        let mut named = Named {
            stack,
            place: Place::Card(0),
            network: Vec::new(),
            runs: Vec::new(),
            inside: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("card", number)) => {
                    named.place = Place::Card(number.parse().map_err(|_| part)?);
                }
                Some(("vf", number)) => {
                    named.place = Place::Virtual(number.parse().map_err(|_| part)?);
                }
                Some(("ip" | "gw" | "ipv6" | "mac", _)) => named.network.push(part),
                Some(("run", program)) => named.runs.push(program),
                Some(("inside", program)) if SERVICES.contains(&program) => {
                    named.inside = Some(program);
                }
                _ => return Err(part),
            }
        }
        Ok(named)
    }
}

/// What of the kernel command line concerns programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine<'a> {
    /// Each `run=NAME[,ARG...]`.
    pub runs: Vec<Run<'a>>,
    /// Each `stack=NAME,...`.
    pub stacks: Vec<Named<'a>>,
    /// The words that are for network servers, as they are: `ip=...`, `gw=...`, `ipv6=...`.
    pub network: Vec<&'a str>,
    /// The service that is to be part of the network server.
    pub inside: Option<&'a str>,
    /// The words `stack=...` that make no sense, and the part of each that does not.
    pub wrong_stacks: Vec<(&'a str, &'a str)>,
    /// The words that are neither for `init` nor for the kernel.
    pub unknown: Vec<&'a str>,
}

impl<'a> CommandLine<'a> {
    /// Takes it apart at white space.
    pub fn parse(text: &'a str) -> Self {
        let mut line = CommandLine::default();
        let mut limits = "";
        for word in text.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("run", run)) => {
                    let (name, args) = run.split_once(',').unwrap_or((run, ""));
                    line.runs.push(Run { name, args, limits });
                }
                Some(("stack", text)) => match Named::parse(text) {
                    Ok(named) => line.stacks.push(named),
                    Err(wrong) => line.wrong_stacks.push((word, wrong)),
                },
                Some(("limits", words)) => limits = words,
                Some(("ip" | "gw" | "ipv6", _)) => line.network.push(word),
                Some(("inside", name)) => line.inside = Some(name),
                _ if is_kernels(word) => {}
                _ => line.unknown.push(word),
            }
        }
        line
    }
}
