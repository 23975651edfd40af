//! The kernel command line, as far as it is about programs.

use abi::command_line::is_kernels;
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

/// What of the kernel command line concerns programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine<'a> {
    /// Each `run=NAME[,ARG...]`.
    pub runs: Vec<Run<'a>>,
    /// The words that are for network servers, as they are: `ip=...`, `gw=...`.
    pub network: Vec<&'a str>,
    /// The service that is to be part of the network server.
    pub inside: Option<&'a str>,
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
                Some(("limits", words)) => limits = words,
                Some(("ip" | "gw", _)) => line.network.push(word),
                Some(("inside", name)) => line.inside = Some(name),
                _ if is_kernels(word) => {}
                _ => line.unknown.push(word),
            }
        }
        line
    }
}
