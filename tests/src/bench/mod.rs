//! `make bench`: Wharf and Linux, side by side on the same emulated cards.
//!
//! Absolute times say little on shared machines; ratios of runs that took turns do. So
//! each round boots every guest in turn, with the same flags, on each wire ([`namespace`],
//! [`guest`]), and a [`session`] measures it: small messages and large streams ([`tcp`], [`datagrams`]),
//! requests ([`load`], [`download`]), frames ([`udp`], [`raw`]), and the way to the first page
//! ([`boot`]). A run in which the
//! machine did something else ([`gauge`]) is repeated, and does not count if it stays so.
//! [`results`] makes medians and ratios, [`goals`] says what they must reach, [`floors`] which
//! of it nothing could; [`table`], [`json`](mod@json) and [`chart`] tell it. Ratios drift as well,
//! from day to day: of each run a [`record`] is kept, and [`ranges`] tells what several say.

pub mod boot;
pub mod chart;
pub mod datagrams;
pub mod download;
pub mod files;
pub mod floors;
pub mod gauge;
pub mod goals;
pub mod guest;
pub mod host;
pub mod json;
pub mod lab;
pub mod load;
pub mod metric;
pub mod namespace;
pub mod options;
pub mod ranges;
pub mod raw;
pub mod record;
pub mod results;
pub mod session;
pub mod stats;
pub mod table;
pub mod tcp;
pub mod udp;

use crate::{During, Failure, Outcome};
use lab::Lab;
use metric::{Guest, Metric, WireKind};
use options::{Options, Peer, Task};
use results::{Results, Sample};
use session::Session;
use std::cell::Cell;
use std::time::Duration;

/// Measures what the command line asks for, prints the table, writes the files. Returns
/// whether all could be measured.
///
/// # Errors
/// If nothing can be measured at all.
pub fn run(options: &Options) -> Outcome<bool> {
    if !options.ranges.is_empty() {
        return tell_ranges(options).map(|()| true);
    }
    if options.wires.contains(&WireKind::Tap) {
        namespace::enter()?;
    }
    lab::prepare(options)?;
    let load = host::load();
    let mut results = Results::default();
    let repeats = Cell::new(options.rounds * if options.quick { 3 } else { 10 });
    let lab = |nic| Lab {
        options,
        nic,
        repeats: &repeats,
    };
    for round in 1..=options.rounds {
        for &wire in &options.wires {
            let (mut guests, mut nics) = (guests(options), options.nics.clone());
            if round > 1 {
                guests.retain(|guest| *guest != Guest::Client);
            }
            if round % 2 == 0 {
                // What drifts within a round does not always meet the same guest, or card.
                guests.reverse();
                nics.reverse();
            }
            for guest in guests {
                for &nic in &nics {
                    let mut session = Session {
                        lab: &lab(nic),
                        wire,
                        guest,
                        round,
                        results: &mut results,
                    };
                    session.run(&options.tasks);
                }
            }
        }
    }
    for nic in options.nics.iter().filter(|nic| !nic.is_virtual()) {
        once(&lab(nic), &mut results);
    }
    report(options, &results, load)?;
    Ok(results.failures.is_empty())
}

/// What does not vary from round to round.
fn once(lab: &Lab, results: &mut Results) {
    let options = lab.options;
    let mut add = |metric, guest: Guest, value: Outcome<f64>| {
        let name = lab.nic.name;
        match value {
            Ok(value) => {
                let shown = session::show(value, "MiB");
                eprintln!("[-] {name} {metric}, {}: {shown}", guest.name());
                let sample = Sample {
                    value,
                    round: 1,
                    foreign: 0.0,
                    noisy: false,
                };
                results.add((name, WireKind::User, metric), guest, sample);
            }
            Err(failure) => {
                let words = format!("{name}, {metric}, {}: {failure}", guest.name());
                eprintln!("[-] FAILED: {words}");
                results.failures.push(words);
            }
        }
    };
    for guest in guests(options) {
        let is_packed = Guest::PACKED.contains(&guest);
        let is_system = guest == Guest::Wharf || Guest::PLAIN.contains(&guest);
        if options.tasks.contains(&Task::Image) && (is_packed || guest == Guest::Wharf) {
            let size = lab
                .size(guest)
                .map(|bytes| bytes as f64 / f64::from(1 << 20));
            add(Metric::Image, guest, size);
        }
        if options.tasks.contains(&Task::Memory) && is_system {
            let (enough, limit) = match guest {
                Guest::Wharf => (64, 10),
                _ => (256, 30),
            };
            let least = boot::least_memory(lab, guest, enough, Duration::from_secs(limit));
            add(Metric::Memory, guest, least.map(f64::from));
        }
    }
}

/// Prints the table and writes the files.
fn report(options: &Options, results: &Results, load: Option<String>) -> Outcome {
    print!("{}", table::table(results));
    let cards: Vec<&'static str> = options.nics.iter().map(|nic| nic.name).collect();
    let (reached, measured) = table::tally(results, &cards);
    println!("\n{reached} of {measured} goals that were measured are reached");
    let title = format!(
        "Wharf beside Linux on the same emulated cards, medians of {} rounds",
        options.rounds
    );
    let picture = chart::svg(results, &drawn(options), &title);
    let mut values = serde_json::to_string_pretty(&json::json(results, host::about(options, load)))
        .map_err(|error| Failure(error.to_string()))?;
    values.push('\n');
    // The next run writes over the first two.
    let date = host::date().ok_or("no date")?.replace(':', "");
    std::fs::create_dir_all(options.build.join("bench-runs"))?;
    write(options, &format!("bench-runs/{date}.json"), &values)?;
    write(options, "bench.json", &values)?;
    write(options, "bench.svg", &picture)
}

/// Prints what several runs say together, and writes their records and chart.
fn tell_ranges(options: &Options) -> Outcome {
    let mut all = Vec::new();
    for path in &options.ranges {
        let name = path.to_string_lossy();
        let text = std::fs::read_to_string(path).during(&name)?;
        all.extend(record::read(&text).during(&name)?);
    }
    let records = ranges::merge(all);
    let cards: Vec<&'static str> = options.nics.iter().map(|nic| nic.name).collect();
    print!("{}", ranges::tables(&records, &cards));
    std::fs::create_dir_all(&options.build)?;
    write(options, "bench-runs.tsv", &record::write(&records))?;
    let picture = chart::svg_of_ranges(&records, &drawn(options));
    write(options, "bench-ranges.svg", &picture)
}

/// The cards that a chart is of: not their functions.
fn drawn(options: &Options) -> Vec<&'static str> {
    let cards = options.nics.iter().filter(|nic| !nic.is_virtual());
    cards.map(|nic| nic.name).collect()
}

fn write(options: &Options, name: &str, text: &str) -> Outcome {
    let path = options.build.join(name);
    std::fs::write(&path, text).during(name)?;
    println!("written: {}", path.display());
    Ok(())
}

/// Who takes turns.
fn guests(options: &Options) -> Vec<Guest> {
    let mut guests = Guest::WHARF.to_vec();
    for (peer, pvh, packed) in [
        (Peer::Epoll, Guest::Epoll, Guest::EpollBzImage),
        (Peer::Nginx, Guest::Nginx, Guest::NginxBzImage),
    ] {
        if options.peers.contains(&peer) {
            guests.push(pvh);
            if [Task::Boot, Task::Image]
                .iter()
                .any(|task| options.tasks.contains(task))
            {
                guests.push(packed);
            }
        }
        // Beside the one that it differs from in nothing else.
        if peer == Peer::Epoll && options.peers.contains(&Peer::Tuned) {
            guests.push(Guest::Tuned);
        }
    }
    if [Task::Echo, Task::Udp, Task::Raw]
        .iter()
        .any(|task| options.tasks.contains(task))
    {
        guests.push(Guest::Bare);
    }
    if options.peers.contains(&Peer::Client) {
        guests.push(Guest::Client);
    }
    guests
}
