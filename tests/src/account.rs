//! The kernel's account of the processor's time, as it prints it when an NMI asks: the
//! guest's programs have no part in it, and what it takes is accounted apart.

use crate::{Failure, Outcome};
use std::collections::BTreeMap;

/// The last line of a report.
pub const END: &str = "nmi: end";

/// The stages that ops do not cause: waiting, clocks, and telling of the account.
const APART: [&str; 4] = ["idle", "tick", "deadline", "report"];

/// Cycles in programs and in the kernel, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// In programs.
    pub user: u64,
    /// In the kernel.
    pub kernel: u64,
    /// How often it began, or a trap came.
    pub count: u64,
}

/// A whole report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// No program ran when it was made.
    pub idle: bool,
    /// By name.
    pub stages: BTreeMap<String, Line>,
    /// By name of the program; all of a name together.
    pub processes: BTreeMap<String, Line>,
}

impl Account {
    /// Reads the last whole report among the lines of a console.
    ///
    /// # Errors
    /// If there is none, or it makes no sense.
    pub fn read(lines: &[String]) -> Outcome<Account> {
        let end = lines.iter().rposition(|line| line == END);
        let lines = &lines[..end.ok_or("no report of the account")?];
        let begin = lines.iter().rposition(|line| line == END);
        let mut account = Account::default();
        for line in &lines[begin.map_or(0, |end| end + 1)..] {
            let Some(words) = line.strip_prefix("nmi: ") else {
                continue; // of somebody else
            };
            let words: Vec<&str> = words.split(' ').collect();
            let place = match words[..] {
                ["idle"] => {
                    account.idle = true;
                    continue;
                }
                [_, "runs"] => continue,
                ["stage", ..] => &mut account.stages,
                ["process", ..] => &mut account.processes,
                _ => return Err(Failure(format!("the account has the line {line:?}"))),
            };
            let numbers = words[2..].iter().map(|word| word.parse().ok());
            let numbers: Option<Vec<u64>> = numbers.collect();
            let Some(&[user, kernel, count]) = numbers.as_deref() else {
                return Err(Failure(format!("the account has the line {line:?}")));
            };
            let sum = place.entry(words[1].to_owned()).or_default();
            sum.user += user;
            sum.kernel += kernel;
            sum.count += count;
        }
        Ok(account)
    }

    /// What was added since an earlier report.
    ///
    /// # Errors
    /// If something became less: a program has ended, and another of its name came.
    pub fn since(&self, earlier: &Account) -> Outcome<Account> {
        let less = |all: &BTreeMap<String, Line>, before: &BTreeMap<String, Line>| {
            let differences = all.iter().map(|(name, now)| {
                let then = before.get(name).copied().unwrap_or_default();
                let words = || Failure(format!("{name} had more before"));
                let line = Line {
                    user: now.user.checked_sub(then.user).ok_or_else(words)?,
                    kernel: now.kernel.checked_sub(then.kernel).ok_or_else(words)?,
                    count: now.count.checked_sub(then.count).ok_or_else(words)?,
                };
                Ok((name.clone(), line))
            });
            differences.collect::<Outcome<BTreeMap<String, Line>>>()
        };
        Ok(Account {
            idle: self.idle,
            stages: less(&self.stages, &earlier.stages)?,
            processes: less(&self.processes, &earlier.processes)?,
        })
    }

    /// All cycles of work: neither idleness, nor what the clocks or a report took.
    pub fn work(&self) -> u64 {
        let stages = self.stages.iter();
        let work = stages.filter(|(name, _)| !APART.contains(&name.as_str()));
        work.map(|(_, line)| line.user + line.kernel).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const FIRST: &str = "nmi: netd runs
nmi: stage idle 0 1000 3
nmi: stage user 50 0 4
nmi: process echosrv 20 30 5
nmi: end
";

    const SECOND: &str = "nmi: idle
nmi: stage idle 0 5000 9
nmi: stage user 150 0 14
nmi: stage device 0 7 1
somebody else's line
nmi: stage tick 0 900 9
nmi: process echosrv 21 31 6
nmi: process echosrv 100 200 1
nmi: end
bound
";

    #[test]
    fn the_last_whole_report_counts() {
        let account = Account::read(&lines(&format!("{FIRST}{SECOND}nmi: idle"))).unwrap();
        assert!(account.idle);
        assert_eq!(account.work(), 157);
        let line = |user, kernel, count| Line {
            user,
            kernel,
            count,
        };
        assert_eq!(account.processes["echosrv"], line(121, 231, 7));
        let first = Account::read(&lines(FIRST)).unwrap();
        assert!(!first.idle);
        let since = account.since(&first).unwrap();
        assert_eq!(since.work(), 107);
        assert_eq!(since.stages["idle"], line(0, 4000, 6));
        assert_eq!(since.processes["echosrv"], line(101, 201, 2));
        assert!(first.since(&account).is_err());
    }

    #[test]
    fn nonsense_and_halves_are_refused() {
        assert!(Account::read(&lines("nmi: idle\n")).is_err());
        for line in [
            "stage idle 0 x 3",
            "stage idle 1 2",
            "what",
            "process a 1 2 3 4",
        ] {
            let text = format!("nmi: idle\nnmi: {line}\nnmi: end\n");
            assert!(Account::read(&lines(&text)).is_err(), "{line}");
        }
    }
}
