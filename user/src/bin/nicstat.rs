//! Prints what a card is and has counted, or where time goes:
//! `nicstat[,CARD][,-a][,-r][,-t][,-w[,SECONDS]]`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;
use user::nicstat::time::Look;
use user::nicstat::{BadArguments, END, Options, Report, USAGE, table};
use user::socket::Server;
use user::start::Context;
use user::{args, println, process, time};

user::entry!(main);

/// The exit code for arguments that make no sense, as is the custom.
const BAD_USAGE: u32 = 2;

fn main() -> u32 {
    let options = match Options::parse(args::all()) {
        Ok(options) => options,
        Err(BadArguments::Help) => {
            println!("{USAGE}");
            return 0;
        }
        Err(error) => {
            println!("nicstat: {error}\n{USAGE}");
            return BAD_USAGE;
        }
    };
    match options.time {
        true => repeat(&options, time_goes),
        false => repeat(&options, card),
    }
}

/// Makes one report, or one after the other; returns the exit code.
fn repeat<T>(options: &Options, print: fn(&Options, Option<&T>) -> Result<T, String>) -> u32 {
    let mut before = None;
    loop {
        match print(options, before.as_ref()) {
            Ok(report) => before = Some(report),
            Err(error) => {
                println!("nicstat: {error}");
                // Watching goes on over the end of a network server: a new one may come.
                if options.interval_s.is_none() || before.is_none() {
                    return 1;
                }
            }
        }
        match options.interval_s {
            Some(seconds) => time::sleep(Duration::from_secs(seconds.into())),
            None => return 0,
        }
    }
}

/// Asks for the card, prints, and returns what to compare the next report with.
fn card(options: &Options, before: Option<&Report>) -> Result<Report, String> {
    let server = Server::of_card(options.card).context("no network server")?;
    let text = server.card().context("cannot ask the network server")?;
    let report = Report::parse(&text).map_err(|error| alloc::format!("{error}"))?;
    if options.raw {
        println!("{text}{END}");
    } else {
        println!("{}", table(&report, before, options.all));
    }
    Ok(report)
}

/// Prints where time went, and returns what to compare the next look with.
fn time_goes(options: &Options, before: Option<&Look>) -> Result<Look, String> {
    let accounts = process::accounts().context("no account")?;
    // Without a network server, and in plain lines, there is nothing to divide by.
    let mut texts = [String::new(), String::new()];
    if !options.raw
        && let Ok(server) = Server::running(options.card)
    {
        texts = [server.card(), server.status()].map(Result::unwrap_or_default);
    }
    let look = Look::new(accounts, &[&texts[0], &texts[1]]);
    let shown = before.map_or_else(|| look.clone(), |before| look.since(before));
    if options.raw {
        println!("{}{END}", shown.raw());
    } else {
        println!("{}", shown.table());
    }
    Ok(look)
}
