//! Instructions per operation: what an echo, a request or a megabyte costs the guest,
//! counted where QEMU's clock is its instructions (`-icount`), and held against the counts
//! that were committed. Seconds differ between machines and hours; these do not.
//!
//! The client is played by hand on the wire, and never sends before it has what it waits
//! for: so the guest is woken as often in each run. Where it is to find several frames at
//! once, QEMU holds them back and delivers them together. An NMI has the kernel print its
//! account before and after, once all is quiet; what clocks and idleness took is left out.

pub(crate) mod workloads;

use crate::account::Account;
use crate::baseline::{Baseline, Middle, change, grouped, middle};
use crate::machine::{Machine, PATIENCE, Setup};
use crate::options::Options;
use crate::report::{Report, Tally};
use crate::suite::{self, Bench, repository};
use crate::wire::Wire;
use crate::{During, Outcome, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Machines that are booted for each card; the middle of their counts is the count.
const RUNS: usize = 5;
/// A count may grow by so much.
const GROWTH_MAX: f64 = 0.05;
/// Counts of one version that are further apart than this, the least and the greatest left
/// out, cannot be held against others.
const SPREAD_MAX: f64 = 0.02;
/// Machines more than that, for those in which this machine was too slow: see [`Cost`].
const RUNS_MORE: usize = 3;
/// How long after the last frame the guest is left alone: longer than its timers for
/// acknowledgements, and than a tick.
const QUIET: Duration = Duration::from_millis(30);

/// The beat at which frames reach the guest, in microseconds of its clock: longer than it is
/// at work for one, so that it sleeps before each; and where many belong together.
const BEAT_US: u32 = 2_000;
const LONG_BEAT_US: u32 = 15_000;

/// What the file of counts says of itself.
const COMMENT: &str = "\
Guest instructions per operation, by card: made by `make bench-icount BLESS=1`.
`make bench-icount` fails when one grows by more than 5 %.";

/// Where it is, below the top of the repository.
const FILE: &str = "tests/icount.baseline";

/// Instructions of some operations.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub operations: u64,
    account: Account,
    /// Something had to be repeated, since this machine was slow: does not count.
    disturbed: bool,
}

impl Cost {
    fn each(&self) -> u64 {
        let operations = self.operations;
        (self.account.work() + operations / 2) / operations
    }
}

/// A machine that counts, with both servers in it.
pub(crate) struct Scene {
    machine: Machine,
    port: u16,
    /// Where QEMU logs the blocks of code that count, if anywhere.
    pub blocks: Option<PathBuf>,
}

impl Scene {
    pub fn boot(bench: &Bench, setup: &Setup) -> Outcome<Scene> {
        let mut machine = bench.boot(setup)?;
        machine.wait_servers(true, true)?;
        machine.wire()?.resolve()?;
        let object = "object_add filter-buffer,id=beat,netdev=n0,queue=tx,interval=1000";
        machine.monitor.command(object)?;
        let mut scene = Scene {
            machine,
            port: 20000,
            blocks: None,
        };
        scene.beat(BEAT_US)?;
        Ok(scene)
    }

    /// Ports of a new connection.
    fn ports(&mut self, to: u16) -> (u16, u16) {
        self.port += 1;
        (self.port, to)
    }

    /// Counts `times` operations after `warm_up` that do not count. An operation is told
    /// whether it is the last of them: it leaves nothing that the guest would repeat.
    fn cost(
        &mut self,
        (warm_up, times): (u64, u64),
        mut operation: impl FnMut(&Wire, bool) -> Outcome,
    ) -> Outcome<Cost> {
        let mut all = |machine: &mut Machine, times| -> Outcome {
            (1..=times).try_for_each(|number| operation(machine.wire()?, number == times))
        };
        all(&mut self.machine, warm_up)?;
        let before = settled(&mut self.machine)?;
        if let Some(log) = &self.blocks {
            let log = format!("logfile {}", log.display());
            self.machine.monitor.command(&log)?;
            self.machine.monitor.command("log exec,nochain")?;
        }
        all(&mut self.machine, times)?;
        if self.blocks.is_some() {
            thread::sleep(QUIET); // The guest's last acknowledgement belongs to an operation, too.
            self.machine.monitor.command("log none")?;
        }
        let after = settled(&mut self.machine)?;
        Ok(Cost {
            operations: times,
            account: after.since(&before)?,
            disturbed: false,
        })
    }

    /// Has QEMU deliver frames together, at the ends of intervals of so many microseconds.
    fn beat(&mut self, us: u32) -> Outcome {
        let object = "filter-buffer,id=beat,netdev=n0,queue=tx";
        let lines = [
            "object_del beat".to_owned(),
            format!("object_add {object},interval={us}"),
        ];
        for line in lines {
            let words = self.machine.monitor.command(&line)?;
            ensure(words.is_empty(), || format!("{line}: {words}"))?;
        }
        Ok(())
    }
}

/// The account, once the guest has nothing to do any more.
fn settled(machine: &mut Machine) -> Outcome<Account> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        // It is not waited for a time, but for quiet: which a guest at work would break.
        thread::sleep(QUIET);
        let account = machine.account()?;
        if account.idle {
            return Ok(account);
        }
    }
    Err("the guest does not come to rest".into())
}

/// What one card cost in all runs, by workload.
type Costs = BTreeMap<&'static str, Vec<Cost>>;

/// Boots machines with a card, and counts all workloads in each.
fn count(bench: &Bench) -> Outcome<Costs> {
    let image = workloads::image(bench)?;
    let mut costs = Costs::new();
    for run in 1..=RUNS + RUNS_MORE {
        for (setup, workloads) in workloads::scenes(bench.nic, &image) {
            let mut scene = Scene::boot(bench, &setup)?;
            for workload in workloads {
                let what = format!("{}, run {run}", workload.name);
                let cost = (workload.count)(&mut scene).during(&what)?;
                let counts = costs.entry(workload.name).or_default();
                if !cost.disturbed && counts.len() < RUNS {
                    counts.push(cost);
                }
            }
        }
        if costs.values().all(|counts| counts.len() == RUNS) {
            bench.note(format!("{run} runs"));
            return Ok(costs);
        }
    }
    Err("this machine is too busy: frames had to be repeated".into())
}

/// Counts on all cards that were asked for, prints the table, and holds it against the
/// baseline, or rewrites that.
pub fn run(options: &Options, report: &Report) -> Tally {
    let path = repository().join(FILE);
    let (known, mut tally) = match read(&path) {
        Ok(known) => (known, Tally::default()),
        Err(why) => {
            report.detail(&format!("{FILE}: {why}"));
            let unread = Tally {
                passed: 0,
                failed: usize::from(!options.bless),
            };
            (Baseline::default(), unread)
        }
    };
    let mut blessed = known.clone();
    for nic in options.nics {
        report.heading(&format!("Instructions per operation, card {}", nic.name));
        let mut costs = Costs::new();
        let counted = suite::attempt("counting", 0, nic, options, report, |bench| {
            costs = count(bench)?;
            Ok(())
        });
        if !counted {
            tally.failed += 1;
            continue;
        }
        println!(
            "  {:28} {:>12} {:>12} {:>8} {:>8}",
            "", "baseline", "now", "change", "spread"
        );
        let own = format!("{}/", nic.name);
        blessed.0.retain(|name, _| !name.starts_with(&own));
        for (name, _) in known.0.iter().filter(|(name, _)| name.starts_with(&own)) {
            let counted = costs.keys().any(|workload| name[own.len()..] == **workload);
            if !counted && !options.bless {
                report.detail(&format!(
                    "{name} is in the baseline, and not counted any more"
                ));
                tally.failed += 1;
            }
        }
        let mut counts = BTreeMap::new();
        for (workload, costs) in &costs {
            let name = format!("{}/{workload}", nic.name);
            let then = known.0.get(&name).copied();
            match row(&name, then, costs, options, report) {
                Some(now) => {
                    tally.passed += 1;
                    counts.insert(*workload, now);
                    blessed.0.insert(name, now);
                }
                None => tally.failed += 1,
            }
        }
        for (row, other, most) in workloads::RATIOS {
            if let (Some(&row_count), Some(&other_count)) = (counts.get(row), counts.get(other)) {
                let ratio = row_count as f64 / other_count as f64;
                println!("  {row} / {other}: {ratio:.3}, at most {most}");
                tally.failed += usize::from(ratio > most);
            }
        }
    }
    if options.bless && tally.failed == 0 {
        match std::fs::write(&path, blessed.text(COMMENT)) {
            Ok(()) => println!("\nwritten: {FILE}"),
            Err(why) => {
                report.detail(&format!("{FILE}: {why}"));
                tally.failed += 1;
            }
        }
    }
    tally
}

fn read(path: &Path) -> Outcome<Baseline> {
    Baseline::parse(&std::fs::read_to_string(path)?)
}

/// Prints a row of the table; the count, if it is good.
fn row(
    name: &str,
    then: Option<u64>,
    costs: &[Cost],
    options: &Options,
    report: &Report,
) -> Option<u64> {
    let each: Vec<u64> = costs.iter().map(Cost::each).collect();
    let Middle {
        count: now,
        spread,
        core_spread,
    } = middle(&each)?;
    let changed = then.map(|then| change(then, now));
    let wrong = verdict(changed, core_spread, options.bless);
    println!(
        "  {name:28} {:>12} {:>12} {:>8} {:>6.2} %  {}",
        then.map_or("none".to_owned(), grouped),
        grouped(now),
        changed.map_or(String::new(), |part| format!("{:+.1} %", part * 100.0)),
        spread * 100.0,
        if wrong.is_some() { "FAIL" } else { "ok" },
    );
    if let Some(why) = wrong {
        report.detail(&format!("{why}; the runs: {each:?}"));
    }
    if options.stages || wrong.is_some() {
        let middle = costs.iter().find(|cost| cost.each() == now);
        middle.iter().for_each(|cost| stages(cost, report));
    }
    wrong.is_none().then_some(now)
}

/// What is wrong with a count, if anything.
fn verdict(changed: Option<f64>, spread: f64, bless: bool) -> Option<&'static str> {
    match changed {
        _ if spread > SPREAD_MAX => Some("too noisy to count"),
        _ if bless => None,
        None => Some("not in the baseline: make bench-icount BLESS=1"),
        Some(change) if change > GROWTH_MAX => {
            Some("grown by more than 5 %: make it cheaper, or BLESS=1 and say why it is worth it")
        }
        Some(_) => None,
    }
}

/// Where the instructions of a count go, for each operation.
fn stages(cost: &Cost, report: &Report) {
    let parts = [&cost.account.stages, &cost.account.processes];
    let each = |count: u64| count as f64 / cost.operations as f64;
    for (name, line) in parts.into_iter().flatten() {
        if line.count > 0 {
            report.detail(&format!(
                "{name:12} user {:10.1}  kernel {:10.1}  {:7.2} times",
                each(line.user),
                each(line.kernel),
                each(line.count)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_and_noise_fail_and_blessing_forgives_growth_alone() {
        assert_eq!(verdict(Some(0.049), 0.01, false), None);
        assert_eq!(verdict(Some(-0.5), 0.01, false), None);
        let words = |changed, spread, bless| verdict(changed, spread, bless).unwrap_or("");
        assert!(words(Some(0.051), 0.01, false).contains("grown"));
        assert!(words(None, 0.01, false).contains("not in the baseline"));
        assert_eq!(verdict(Some(0.5), 0.01, true), None);
        assert_eq!(verdict(None, 0.01, true), None);
        assert!(words(Some(0.0), 0.04, true).contains("noisy"));
    }

    #[test]
    fn costs_are_rounded_and_leave_clocks_out() {
        let lines = [
            "nmi: idle",
            "nmi: stage user 30 0 1",
            "nmi: stage tick 0 99 1",
            "nmi: end",
        ];
        let account = Account::read(&lines.map(str::to_owned)).unwrap();
        let cost = Cost {
            operations: 4,
            account,
            disturbed: false,
        };
        assert_eq!(cost.each(), 8);
    }
}
