//! `make soak`: Wharf is attacked for as long as one has time, by a seed. Each attack goes on in
//! rounds. A round has a seed of its own, the seed of the one before and 1, so that a round that
//! failed is the first one of a run that is given its seed.
//!
//! An attack must leave the machine serving: within a bound while it goes on, and at once
//! afterwards. All that it does is bounded in time, and a machine that does not answer fails the
//! attack, which then names the seed, the command that repeats it, and the files that are kept.
//!
//! `make test` runs the same attacks for a few rounds: see [`crate::beyond`].

mod cases;
mod dice;
mod floods;
mod mutated;
pub(crate) mod packets;
mod peers;
mod processors;
mod programs;
mod requests;
mod scene;
mod trouble;

use crate::machine::PATIENCE;
use crate::nic::Nic;
use crate::options::Options;
use crate::report::{Report, Tally};
use crate::suite::{self, Bench, Cards, Case};
use crate::{Failure, Outcome};
use nic::model::Rng;
use std::cell::Cell;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// One way to attack.
pub struct Attack {
    /// What it is called. The first word, which ends with a colon, is in no other name.
    pub name: &'static str,
    /// With which cards it runs.
    pub cards: Cards,
    /// How much of the time it gets, in parts of the sum over all attacks.
    pub parts: u32,
    /// Goes on until the plan's time is over.
    pub run: fn(&Bench, &Plan) -> Outcome,
}

impl Attack {
    const fn new(name: &'static str, parts: u32, run: fn(&Bench, &Plan) -> Outcome) -> Attack {
        Attack {
            name,
            cards: Cards::Each,
            parts,
            run,
        }
    }

    /// The same, but with the first card only: no card has a part in it.
    const fn once(self) -> Attack {
        Attack {
            cards: Cards::One,
            ..self
        }
    }

    /// What the command line chooses by.
    fn case(&self) -> Case {
        Case {
            cards: self.cards,
            ..Case::new(self.name, |_| Ok(()))
        }
    }
}

/// All attacks. Who makes one adds a row.
pub const ATTACKS: &[Attack] = &[
    Attack::new("mutated: frames changed by the seed", 6, mutated::frames),
    Attack::new("floods: of each protocol", 4, floods::floods),
    Attack::new("peers: hostile TCP", 4, peers::peers),
    Attack::new("requests: hostile HTTP", 2, requests::requests),
    Attack::new("calls: senseless system calls", 2, programs::calls),
    Attack::new("exchanges: hostile owner of a card", 2, programs::exchanges),
    Attack::new(
        "tenants: one of sixteen on a card is hostile",
        2,
        programs::tenants,
    ),
    Attack::new("leases: hostile lender and borrower", 2, programs::leases),
    Attack::new("hogs: programs that take all there is", 3, cases::hogs),
    Attack::new("crowds: stations, SYNs, idle ends", 4, cases::crowds),
    Attack::new("deaths: of the network server", 8, cases::deaths),
    Attack::new("pauses: stop and cont under load", 1, trouble::pauses),
    Attack::new("flaps: the cable under load", 2, trouble::flaps),
    Attack::new("resets: of the machine under load", 2, trouble::resets),
    Attack::new("sizes: of memory", 1, trouble::sizes),
    Attack::new("processors: of each kind", 3, processors::processors).once(),
];

/// How long an attack goes on, and by which seed it chooses.
pub struct Plan<'a> {
    /// The attack's name.
    name: &'a str,
    /// The seed of the next round.
    seed: Cell<u64>,
    until: Instant,
    /// The most rounds, if not as many as there is time for.
    rounds_left: Cell<Option<u32>>,
    /// Whether there was a round.
    begun: Cell<bool>,
    /// When progress was told last; `None`: it is not told.
    told: Cell<Option<Instant>>,
    /// What was done so far.
    done: Cell<u64>,
}

/// How long one machine is attacked before the next one is booted: its capture grows, and the
/// harness lets no QEMU run for ever.
const LIFE: Duration = Duration::from_secs(45);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(15);
/// An attack that has not ended so long after its time hangs, harness included.
const OVERTIME: Duration = Duration::from_secs(180);

impl<'a> Plan<'a> {
    /// A few rounds of the attack of this name, for `make test`.
    pub fn short(name: &'a str, seed: u64, rounds: u32) -> Plan<'a> {
        Plan {
            name,
            seed: Cell::new(seed),
            until: Instant::now() + Duration::from_secs(60),
            rounds_left: Cell::new(Some(rounds)),
            begun: Cell::new(false),
            told: Cell::new(None),
            done: Cell::new(0),
        }
    }

    /// The dice of the next round, if there is to be one more on a machine that was booted at
    /// `since`.
    pub fn next(&self, since: Instant) -> Option<Rng> {
        if self.begun.replace(true) && (self.is_over() || since.elapsed() > LIFE) {
            return None;
        }
        if let Some(told) = self.told.get()
            && told.elapsed() > TELL
        {
            let left = self.until.saturating_duration_since(Instant::now());
            println!(
                "      {} so far, {} s to go",
                self.done.get(),
                left.as_secs()
            );
            self.told.set(Some(Instant::now()));
        }
        let left = self.rounds_left.get();
        self.rounds_left.set(left.map(|left| left - 1));
        self.seed.set(self.seed.get().wrapping_add(1));
        Some(Rng::new(self.seed.get().wrapping_sub(1)))
    }

    /// Whether there is to be no more round.
    pub fn is_over(&self) -> bool {
        self.rounds_left.get() == Some(0) || Instant::now() >= self.until
    }

    /// There is nothing left to be tried: what time there is goes to the others.
    pub fn finish(&self) {
        self.rounds_left.set(Some(0));
    }

    /// Attacks one machine after the other: `life` boots one and attacks it, in rounds that it has
    /// from [`Plan::next`]. There is at least one.
    ///
    /// # Errors
    /// What the life found, with the seed of its last round and the command that repeats that.
    pub fn lives(&self, bench: &Bench, mut life: impl FnMut() -> Outcome) -> Outcome {
        loop {
            let before = self.seed.get();
            life().map_err(|why| self.explain(bench, before, &why))?;
            if self.is_over() {
                return Ok(());
            }
            if !bench.options.keep {
                bench.clean()?;
            }
        }
    }

    /// Counts what was done, for the one who watches.
    pub fn count(&self, number: usize) {
        self.done.set(self.done.get() + number as u64);
    }

    /// All that was counted.
    pub fn done(&self) -> u64 {
        self.done.get()
    }

    fn explain(&self, bench: &Bench, first: u64, why: &Failure) -> Failure {
        // What failed before its first round is repeated by any.
        let last = self.seed.get().wrapping_sub(1).max(first);
        let word = self.name.split(' ').next().unwrap_or_default();
        let nic = bench.nic.name;
        let command = |seed: u64| format!("make soak NIC={nic} CASES={word} SEED={seed}");
        let mut words = format!("{why}\nrepeat it: {}", command(last));
        if first != last && first != self.seed.get() {
            words += &format!("\nor from the boot of that machine: {}", command(first));
        }
        Failure(words)
    }
}

/// Runs the attacks that the command line asks for, one after the other.
pub fn run(options: &Options, report: &Report) -> Tally {
    let seed = options.seed.unwrap_or_else(dice::any_seed);
    let end = Instant::now() + options.time;
    println!(
        "soak: seed {seed}, {} minutes: make soak SEED={seed} repeats it",
        options.time.as_secs() / 60
    );
    let wanted: Vec<(&'static Nic, &Attack)> = options
        .nics
        .iter()
        .flat_map(|nic| ATTACKS.iter().map(move |attack| (nic, attack)))
        .filter(|(nic, attack)| attack.case().wanted(nic, options))
        .collect();
    let mut parts: u32 = wanted.iter().map(|(_, attack)| attack.parts).sum();
    let mut tally = Tally::default();
    let mut before = None;
    for (nic, attack) in wanted {
        if before.replace(nic) != Some(nic) {
            report.heading(&format!("Soak, card {}", nic.name));
        }
        // What others have left is shared by those that follow.
        let left = end.saturating_duration_since(Instant::now());
        let share = left * attack.parts / parts;
        parts -= attack.parts;
        let passed = attempt(attack, nic, (seed, share), options, report);
        tally.passed += usize::from(passed);
        tally.failed += usize::from(!passed);
    }
    tally
}

fn attempt(
    attack: &Attack,
    nic: &'static Nic,
    (seed, share): (u64, Duration),
    options: &Options,
    report: &Report,
) -> bool {
    println!("    {}, {} s", attack.name, share.as_secs());
    let plan = Plan {
        name: attack.name,
        seed: Cell::new(seed),
        until: Instant::now() + share,
        rounds_left: Cell::new(None),
        begun: Cell::new(false),
        told: Cell::new(Some(Instant::now())),
        done: Cell::new(0),
    };
    let (ended, end) = mpsc::channel::<()>();
    let words = format!(
        "{} hangs: its files are in {}; make soak NIC={} SEED={seed} repeats it",
        attack.name,
        options.build.join("running").display(),
        nic.name
    );
    std::thread::spawn(move || {
        if end.recv_timeout(share + OVERTIME) == Err(RecvTimeoutError::Timeout) {
            // QEMU ends when it has used up its processor time.
            eprintln!("tests: {words}");
            std::process::exit(1);
        }
    });
    let passed = suite::attempt(attack.name, 0, nic, options, report, |bench| {
        (attack.run)(bench, &plan)
    });
    drop(ended);
    passed
}

/// The attacks as what the command line chooses among.
pub fn cases() -> Vec<Case> {
    ATTACKS.iter().map(Attack::case).collect()
}

/// Runs one attack by a few rounds, for a case of `make test`.
///
/// # Errors
/// What the attack found.
pub fn briefly(bench: &Bench, word: &str, rounds: u32) -> Outcome {
    /// Of no meaning, but always the same: a test that passes does so again.
    const SEED: u64 = 11;
    let mut named = ATTACKS
        .iter()
        .filter(|attack| attack.name.starts_with(word));
    let attack = named.next().ok_or_else(|| format!("no attack {word:?}"))?;
    (attack.run)(bench, &Plan::short(attack.name, SEED, rounds))
}

/// How long a client may wait for a page and an echo while an attack goes on.
const DURING: Duration = Duration::from_secs(20);
/// The same, afterwards: long enough for a second try.
const AFTER: Duration = Duration::from_secs(2 * PATIENCE.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_an_attack_is_in_no_other_name() {
        for attack in ATTACKS {
            let word = attack.name.split(' ').next().unwrap();
            assert!(word.ends_with(':'), "{word}");
            let named = ATTACKS.iter().filter(|other| other.name.contains(word));
            assert_eq!(named.count(), 1, "{word}");
        }
    }

    #[test]
    fn a_failed_round_is_the_first_one_of_the_seed_that_is_told() {
        let options = crate::options::parse(["soak".to_owned()]).unwrap().unwrap();
        let bench = Bench::new(&options, &crate::nic::ALL[0], "nowhere".into());
        let numbers = |seed, rounds: u32| {
            let plan = Plan::short("word: more", seed, rounds);
            let mut numbers = Vec::new();
            let failed = plan.lives(&bench, || {
                while let Some(mut dice) = plan.next(Instant::now()) {
                    numbers.push(dice.next());
                }
                Err("as it should".into())
            });
            (numbers, failed.unwrap_err().0)
        };
        let (four, words) = numbers(100, 4);
        assert_eq!(four.len(), 4);
        let nic = crate::nic::ALL[0].name;
        let command = format!("make soak NIC={nic} CASES=word: SEED=103");
        assert!(words.contains(&command), "{words}");
        assert!(words.contains("SEED=100"), "{words}");
        assert_eq!(numbers(103, 1).0, four[3..]);
        assert_eq!(numbers(100, 4).0, four);
    }
}
