//! Where time goes: the kernel's account since the last look, in cycles of the time-stamp
//! counter and in microseconds, laid out for people; and what each packet, call and connection
//! took of it.

use abi::account::{Account, Holder, Stage};
use abi::clock::Clock;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// What can be counted beside the cycles: name of a counter of the card or the network
/// server, and what it counts.
const UNITS: [(&str, &str); 5] = [
    ("rx_frames", "frames received"),
    ("tx_frames", "frames sent"),
    ("requests", "calls of the network server"),
    ("udp_received", "datagrams received"),
    ("tcp_accepted", "connections accepted"),
];

/// How many there must be of something before all work is divided by it. The work of fewer is
/// lost in what the system does by itself, such as its start.
const COUNT_MIN: u64 = 100;

/// The account at one moment, and what the network server had counted then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    accounts: Vec<Account>,
    counts: [Option<u64>; UNITS.len()],
}

impl Look {
    /// A look. `texts` are lines of "name value", which may tell how often things happened.
    pub fn new(accounts: Vec<Account>, texts: &[&str]) -> Self {
        let value = |wanted: &str| {
            let mut lines = texts.iter().flat_map(|text| text.lines());
            let (_, value) =
                lines.find_map(|line| line.split_once(' ').filter(|(name, _)| *name == wanted))?;
            value.parse().ok()
        };
        Look {
            accounts,
            counts: UNITS.map(|(name, _)| value(name)),
        }
    }

    /// What was added since `before`. A process that is not in that began from nothing.
    pub fn since(&self, before: &Look) -> Look {
        let added = |now: &Account| {
            let mut accounts = before.accounts.iter();
            let then = accounts.find(|then| then.holder == now.holder);
            then.map_or(*now, |then| Account {
                user: now.user.saturating_sub(then.user),
                kernel: now.kernel.saturating_sub(then.kernel),
                count: now.count.saturating_sub(then.count),
                ..*now
            })
        };
        let pairs = self.counts.iter().zip(before.counts);
        let mut counts = [None; UNITS.len()];
        for (count, (now, then)) in counts.iter_mut().zip(pairs) {
            // A new network server counts from 0.
            *count = now.map(|now| now.saturating_sub(then.unwrap_or(0)));
        }
        Look {
            accounts: self.accounts.iter().map(added).collect(),
            counts,
        }
    }

    /// Lines of `stage NAME USER KERNEL COUNT`, or `process`.
    pub fn plain(&self) -> String {
        let mut text = String::new();
        for account in &self.accounts {
            let kind = match account.holder {
                Holder::Stage(_) => "stage",
                Holder::Process(_) => "process",
            };
            let Account {
                user,
                kernel,
                count,
                ..
            } = account;
            // Writing to a string does not fail.
            let _ = writeln!(text, "{kind} {} {user} {kernel} {count}", account.name);
        }
        text
    }

    /// The table; `clock` turns cycles into time.
    pub fn table(&self, clock: &Clock) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_stages(&mut text, clock);
        let _ = self.write_processes(&mut text, clock);
        let _ = self.write_units(&mut text, clock);
        text
    }

    fn stages(&self) -> impl Iterator<Item = (Stage, &Account)> {
        self.accounts
            .iter()
            .filter_map(|account| match account.holder {
                Holder::Stage(stage) => Some((stage, account)),
                Holder::Process(_) => None,
            })
    }

    fn write_stages(&self, text: &mut String, clock: &Clock) -> fmt::Result {
        let all: u64 = self.stages().map(|(_, account)| cycles(account)).sum();
        writeln!(
            text,
            "{:<12} {:>15} {:>7} {:>11} {:>15} {:>13}",
            "stage", "cycles", "share", "times", "cycles each", "us each"
        )?;
        for (_, account) in self.stages().filter(|(_, account)| !is_quiet(account)) {
            let each = each(cycles(account), account.count);
            writeln!(
                text,
                "  {:<10} {:>15} {:>7} {:>11} {:>15} {:>13}",
                account.name,
                cycles(account),
                Share(cycles(account), all),
                account.count,
                each,
                Microseconds(each, clock)
            )?;
        }
        Ok(())
    }

    fn write_processes(&self, text: &mut String, clock: &Clock) -> fmt::Result {
        writeln!(
            text,
            "\n{:<18} {:>15} {:>15} {:>14} {:>11}",
            "program", "user cycles", "kernel cycles", "us, both", "traps"
        )?;
        for account in &self.accounts {
            if matches!(account.holder, Holder::Process(_)) && !is_quiet(account) {
                writeln!(
                    text,
                    "  {:<16} {:>15} {:>15} {:>14} {:>11}",
                    account.name,
                    account.user,
                    account.kernel,
                    Microseconds(cycles(account), clock),
                    account.count
                )?;
            }
        }
        Ok(())
    }

    /// Idleness apart, all cycles, over what they may have been for.
    fn write_units(&self, text: &mut String, clock: &Clock) -> fmt::Result {
        let busy = self.stages().filter(|(stage, _)| *stage != Stage::Idle);
        let busy: u64 = busy.map(|(_, account)| cycles(account)).sum();
        let counts = || UNITS.iter().zip(self.counts);
        if counts().all(|(_, count)| count.unwrap_or(0) == 0) {
            return Ok(());
        }
        writeln!(
            text,
            "\n{:<29} {:>12} {:>20} {:>14}",
            "all but idle, for each of", "count", "cycles each", "us each"
        )?;
        for ((_, what), count) in counts() {
            let Some(count @ 1..) = count else { continue };
            write!(text, "  {what:<27} {count:>12} ")?;
            if count < COUNT_MIN {
                writeln!(text, "{:>35}", "too few to tell what one takes")?;
            } else {
                let each = busy / count;
                writeln!(text, "{each:>20} {:>14}", Microseconds(each, clock))?;
            }
        }
        Ok(())
    }
}

fn cycles(account: &Account) -> u64 {
    account.user.saturating_add(account.kernel)
}

fn is_quiet(account: &Account) -> bool {
    cycles(account) == 0 && account.count == 0
}

fn each(cycles: u64, count: u64) -> u64 {
    cycles.checked_div(count).unwrap_or(0)
}

/// That many cycles, as microseconds with a digit after the point.
struct Microseconds<'a>(u64, &'a Clock);

impl fmt::Display for Microseconds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Microseconds(cycles, clock) = *self;
        let tenths = (clock.duration_ns(cycles) + 50) / 100;
        f.pad(&alloc::format!("{}.{}", tenths / 10, tenths % 10))
    }
}

/// A part of a whole, in percent.
struct Share(u64, u64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Share(part, whole) = *self;
        let permille = u128::from(part) * 1000;
        let permille = permille.checked_div(u128::from(whole)).unwrap_or(0);
        let text = alloc::format!("{}.{} %", permille / 10, permille % 10);
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::WIDTH;
    use super::*;
    use abi::Pid;
    use abi::wire::Name;

    /// 2 GHz.
    fn clock() -> Clock {
        Clock::calibrated(7, 2_000_000, 1_000_000)
    }

    #[test]
    fn the_largest_numbers_fit_the_screen() {
        let day = 24 * 3600 * 4_000_000_000;
        let accounts = vec![
            stage(Stage::Idle, day, 1),
            stage(Stage::Receive, day / 2, 10_000_000_000),
            process(1, "a-program-with-a", [day / 10, day / 10, 10_000_000_000]),
        ];
        let counts = ["rx_frames 10000000000\nrequests 100\ntcp_accepted 100\n"];
        let text = Look::new(accounts, &counts).table(&clock());
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
    }

    fn stage(stage: Stage, cycles: u64, count: u64) -> Account {
        let (user, kernel) = match stage {
            Stage::User => (cycles, 0),
            _ => (0, cycles),
        };
        Account {
            holder: Holder::Stage(stage),
            name: Name::new(stage.name()),
            user,
            kernel,
            count,
        }
    }

    fn process(pid: u32, name: &str, [user, kernel, count]: [u64; 3]) -> Account {
        Account {
            holder: Holder::Process(Pid(pid)),
            name: Name::new(name),
            user,
            kernel,
            count,
        }
    }

    fn before() -> Look {
        let accounts = vec![
            stage(Stage::Idle, 500, 2),
            stage(Stage::User, 100, 10),
            stage(Stage::Device, 7, 1),
            process(1, "netd", [100, 50, 8]),
        ];
        Look::new(accounts, &["rx_frames 10\n", "requests 5\n"])
    }

    fn now() -> Look {
        let accounts = vec![
            stage(Stage::Idle, 1_400, 4),
            stage(Stage::User, 40_180, 18),
            stage(Stage::Device, 27, 3),
            stage(Stage::Tick, 0, 0),
            process(1, "netd", [150, 60, 12]),
            process(2, "httpd", [30, 9, 4]),
        ];
        let texts = [
            "link up 1000 full\nrx_frames 210\n",
            "requests 5\ntcp_accepted 1\n",
        ];
        Look::new(accounts, &texts)
    }

    #[test]
    fn a_difference_is_of_the_same_process() {
        let since = now().since(&before());
        let plain = since.plain();
        let expected = "stage idle 0 900 2\nstage user 40080 0 8\nstage device 0 20 2\n\
            stage tick 0 0 0\nprocess netd 50 10 4\nprocess httpd 30 9 4\n";
        assert_eq!(plain, expected);
        assert_eq!(since.counts, [Some(200), None, Some(0), None, Some(1)]);
        // A counter that begins anew is not a negative one.
        let restarted = Look::new(Vec::new(), &["rx_frames 3\n"]);
        assert_eq!(restarted.since(&now()).counts[0], Some(0));
    }

    #[test]
    fn the_table_leaves_out_what_is_quiet() {
        let text = now().since(&before()).table(&clock());
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        let line = |start: &str| {
            let mut lines = text.lines();
            let line = lines.find(|line| line.trim_start().starts_with(start));
            let words = line.unwrap_or_else(|| panic!("no {start} in\n{text}"));
            words.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("idle"), "idle 900 2.1 % 2 450 0.2");
        assert_eq!(line("user"), "user 40080 97.7 % 8 5010 2.5");
        assert_eq!(line("httpd"), "httpd 30 9 0.0 4");
        assert!(!text.contains("tick"), "{text}");
        assert_eq!(line("frames received"), "frames received 200 200 0.1");
        // The start of the system is not what the first connection took.
        assert_eq!(
            line("connections"),
            "connections accepted 1 too few to tell what one takes"
        );
        assert!(!text.contains("calls of"), "{text}");
    }

    #[test]
    fn nothing_divides_by_nothing() {
        let text = Look::default().table(&clock());
        assert!(
            text.contains("stage") && !text.contains("frames received"),
            "{text}"
        );
        assert_eq!(
            Look::new(vec![stage(Stage::Idle, 0, 1)], &[])
                .table(&clock())
                .matches("0.0 %")
                .count(),
            1
        );
    }
}
