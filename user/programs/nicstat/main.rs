//! Prints what a card is and has counted, or where time goes.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;
use programs::nicstat::time::Look;
use programs::nicstat::{END, Options, Report, USAGE, table};
use runtime::socket::Server;
use runtime::start::{self, Context};
use runtime::{Error, println, process, time};

runtime::entry!(USAGE, Options::parse, main);

fn main(options: Options) -> Result<(), String> {
    match options.time {
        true => repeat(&options, time_goes),
        false => repeat(&options, card),
    }
}

/// Makes one report, or one after the other.
fn repeat<T>(
    options: &Options,
    print: fn(&Options, Option<&T>) -> Result<T, String>,
) -> Result<(), String> {
    let mut before = None;
    loop {
        match print(options, before.as_ref()) {
            Ok(report) => before = Some(report),
            // Watching goes on over the end of a network server: a new one may come.
            Err(error) if options.interval_s.is_some() && before.is_some() => {
                println!("nicstat: {error}");
            }
            Err(error) => return Err(error),
        }
        match options.interval_s {
            Some(seconds) => {
                time::sleep(Duration::from_secs(seconds.into())).context("cannot wait")?;
            }
            None => return Ok(()),
        }
    }
}

/// Asks for the card, prints, and returns what to compare the next report with.
fn card(options: &Options, before: Option<&Report>) -> Result<Report, String> {
    let server =
        Server::of(options.stack.unwrap_or_else(start::stack)).context("no network server")?;
    let text = server.card().context("cannot ask the network server")?;
    let report = Report::parse(&text).map_err(|error| alloc::format!("{error}"))?;
    let status = match options.server {
        true => server.status().context("cannot ask the network server")?,
        false => String::new(),
    };
    if options.plain {
        println!("{text}{status}{END}");
    } else {
        println!("{}{status}", table(&report, before, options.all));
    }
    Ok(report)
}

/// Prints where time went, and returns what to compare the next look with.
fn time_goes(options: &Options, before: Option<&Look>) -> Result<Look, String> {
    let accounts = process::accounts().context("no account")?;
    // Without a network server, and in plain lines, there is nothing to divide by.
    let mut texts = [String::new(), String::new()];
    if !options.plain {
        match Server::running(options.stack.unwrap_or_else(start::stack)) {
            Ok(server) => {
                for (text, told) in texts.iter_mut().zip([server.card(), server.status()]) {
                    *text = told.context("cannot ask the network server")?;
                }
            }
            Err(Error::NotFound) => {}
            Err(error) => return Err(error).context("no network server"),
        }
    }
    let look = Look::new(accounts, &[&texts[0], &texts[1]]);
    let shown = before.map_or_else(|| look.clone(), |before| look.since(before));
    if options.plain {
        println!("{}{END}", shown.plain());
    } else {
        let clock = time::clock().context("no clock")?;
        println!("{}", shown.table(clock));
    }
    Ok(look)
}
