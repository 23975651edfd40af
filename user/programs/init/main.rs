//! The first program, which the kernel itself starts: it starts what the kernel command line
//! asks for, and looks after it. What it decides is in `programs::init`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use programs::init::{CommandLine, Share, Supervisor, System};
use runtime::ipc::{self, Received, mask};
use runtime::limits::Limits;
use runtime::start::Context;
use runtime::{Error, Pid, nic, println, process, ramdisk, time};

runtime::entry!(
    "\
usage: init
  the kernel starts it: it starts the programs of the kernel command line and
  looks after them",
    main
);

struct Real;

impl System for Real {
    fn spawn(
        &mut self,
        name: &str,
        args: &str,
        is_mute: bool,
        share: &Share,
    ) -> runtime::Result<Pid> {
        process::spawn(name, args, &share.grant(is_mute))
    }

    fn limits(&self) -> runtime::Result<(Limits, Limits)> {
        let own = process::own()?;
        Ok((own.limits, own.own_limits().minus(&own.used)))
    }

    fn lookup(&mut self, name: &str) -> runtime::Result<Pid> {
        ipc::lookup(name)
    }

    fn virtual_function(&self, number: u8) -> runtime::Result<u8> {
        nic::virtual_function(number)
    }

    fn reply(&mut self, token: u64, answer: runtime::Result<Pid>) {
        let bytes = answer.map(|pid| pid.0.to_le_bytes());
        let answer = bytes.as_ref().map(|bytes| &bytes[..]).map_err(|&e| e);
        match ipc::reply(token, answer) {
            // One that has died meanwhile needs no answer.
            Ok(()) | Err(Error::BadHandle | Error::PeerDied) => {}
            Err(error) => println!("init: an answer was not delivered: {error}"),
        }
    }

    fn say(&mut self, line: core::fmt::Arguments<'_>) {
        println!("init: {line}");
    }

    fn unmute(&mut self, program: Pid) -> runtime::Result<()> {
        process::mute(program, false)
    }

    fn programs(&self) -> runtime::Result<Vec<String>> {
        let files = ramdisk::ramdisk()?.under(process::FOLDER);
        Ok(files.map(|(name, _)| name.into()).collect())
    }
}

fn main() -> Result<(), String> {
    ipc::register(abi::service::INIT).context("cannot register")?;
    let text = match ramdisk::open("cmdline") {
        Ok(file) => core::str::from_utf8(file.bytes).unwrap_or_else(|_| {
            println!("init: the kernel command line is not UTF-8: ignored");
            ""
        }),
        Err(Error::NotFound) => "",
        Err(error) => return Err(error).context("the ramdisk"),
    };
    let line = CommandLine::parse(text.trim_end_matches('\0'));
    let mut supervisor = Supervisor::start(Real, &line, time::clock_ns());
    loop {
        let deadline = supervisor.deadline(time::clock_ns());
        let event = ipc::wait(mask::MESSAGE | mask::DEATH, deadline).context("cannot wait")?;
        let now = time::clock_ns();
        match event {
            Received::Message(message) => {
                supervisor.on_request(message.token, message.request(), now);
            }
            Received::Death(pid, exit) => supervisor.on_death(pid, exit, now),
            Received::Notification(_) | Received::TimedOut => {}
        }
        supervisor.on_time(now);
    }
}
