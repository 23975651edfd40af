//! `make bench`: see [`tests::bench`].

use std::process::ExitCode;
use tests::bench;
use tests::bench::options::{USAGE, parse};

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprint!("bench: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match bench::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
