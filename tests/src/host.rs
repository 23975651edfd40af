//! The host tests of every package: runs `cargo test` and reads its totals.

use crate::report::{Report, Row, Tally};
use crate::suite::repository;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs the tests of the whole workspace. Each test function counts as one; a package
/// that does not even build counts as one that failed.
pub fn run(report: &Report) -> Tally {
    let start = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let child = Command::new(cargo)
        .args(["test", "--workspace", "--no-fail-fast"])
        .current_dir(repository())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut output = Vec::new();
    let success = child.and_then(|mut child| {
        if let Some(stdout) = child.stdout.take() {
            // Not a byte of it is needed while it runs: cargo's progress, on standard
            // error, is what a person watches.
            output = BufReader::new(stdout)
                .split(b'\n')
                .map_while(Result::ok)
                .map(|line| String::from_utf8_lossy(&line).into_owned())
                .collect();
        }
        child.wait()
    });
    let mut tally = totals(&output);
    let passed = success.is_ok_and(|status| status.success());
    if !passed && tally.failed == 0 {
        tally.failed = 1;
    }
    report.row(&Row {
        name: "host tests of every package",
        passed,
        points: None,
        took: start.elapsed(),
        note: &tally.to_string(),
    });
    if !passed {
        let shown = output.iter().filter(|line| !line.ends_with("... ok"));
        for line in shown.filter(|line| !line.is_empty()) {
            report.detail(line);
        }
    }
    tally
}

/// Sums the lines `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
fn totals(output: &[String]) -> Tally {
    let mut tally = Tally::default();
    for line in output {
        let Some(result) = line.strip_prefix("test result: ") else {
            continue;
        };
        let count = |what: &str| {
            result
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<usize>().ok())
        };
        tally += Tally {
            passed: count("passed").unwrap_or(0),
            failed: count("failed").unwrap_or(0),
        };
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_summed_over_packages() {
        let output = [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "",
            "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s",
            "error: test failed, to rerun pass `-p net --lib`",
        ]
        .map(str::to_owned);
        assert_eq!(
            totals(&output),
            Tally {
                passed: 15,
                failed: 2
            }
        );
        assert_eq!(totals(&[]), Tally::default());
    }
}
