//! `cargo run -p tests -- VERB`: see [`tests::options::usage`].

use std::process::ExitCode;
use tests::nic::{FUNCTIONS, Nic};
use tests::options::{self, Options, Verb};
use tests::report::{Points, Report, Tally};
use tests::suite::{self, Case};
use tests::{Failure, beyond, grade, host, icount, placement, soak};

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::usage());
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprint!("tests: {why}\n\n{}", options::usage());
            return ExitCode::from(2);
        }
    };
    if options.verb == Verb::List {
        list();
        return ExitCode::SUCCESS;
    }
    let attacks = soak::cases();
    let named = match options.verb {
        Verb::Soak => attacks.iter().collect(),
        verb => cases(verb),
    };
    if let Err(Failure(why)) = suite::names_exist(&options, &named) {
        eprintln!("tests: {why}");
        return ExitCode::from(2);
    }
    let report = Report::new();
    if options.verb == Verb::Icount {
        return end(icount::run(&options, &report));
    }
    if options.verb == Verb::Placement {
        return end(placement::run(&options, &report));
    }
    if options.verb == Verb::Soak {
        return end(soak::run(&options, &report));
    }
    let mut tally = Tally::default();
    if options.verb == Verb::All && options.names.is_empty() {
        report.heading("Host tests");
        tally += host::run(&report);
    }
    for nic in options.nics {
        if options.verb != Verb::Beyond {
            tally += run_grade(nic, &options, &report);
        }
        if options.verb != Verb::Grade {
            for (heading, cases) in beyond::GROUPS {
                if cases.iter().any(|case| case.wanted(nic, &options)) {
                    report.heading(&format!("{heading}, card {}", nic.name));
                    tally += suite::run(cases, nic, &options, &report).0;
                }
            }
        }
    }
    if options.nics.len() > 1 && options.verb != Verb::Beyond {
        for nic in FUNCTIONS.iter() {
            tally += run_grade(nic, &options, &report);
        }
    }
    if options.verb == Verb::Grade {
        return status(tally);
    }
    end(tally)
}

/// Ends with the sum.
fn end(tally: Tally) -> ExitCode {
    println!("\n{tally}");
    status(tally)
}

fn status(tally: Tally) -> ExitCode {
    match tally {
        Tally { failed: 0, passed } if passed > 0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The lab's table for one card.
fn run_grade(nic: &'static Nic, options: &Options, report: &Report) -> Tally {
    let mut tally = Tally::default();
    let mut score = Points::default();
    for (part, cases) in [("A", grade::PART_A), ("B", grade::PART_B)] {
        report.heading(&format!("The lab's grade, part {part}, card {}", nic.name));
        let (cases, points) = suite::run(cases, nic, options, report);
        println!("Part {part} score: {points}");
        tally += cases;
        score += points;
    }
    println!("\nScore: {score}");
    tally
}

/// The cases that a verb runs.
fn cases(verb: Verb) -> Vec<&'static Case> {
    let grade = [grade::PART_A, grade::PART_B];
    let beyond = beyond::GROUPS.iter().map(|(_, cases)| *cases);
    let grade = grade.into_iter().filter(|_| verb != Verb::Beyond);
    let beyond = beyond.filter(|_| verb != Verb::Grade);
    grade.chain(beyond).flatten().collect()
}

fn list() {
    let attacks = soak::cases();
    for case in cases(Verb::All).into_iter().chain(&attacks) {
        println!("{}", case.name);
    }
}
