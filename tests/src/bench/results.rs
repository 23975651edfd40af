//! All that was measured, and the figures that are made of it.

use super::metric::{Better, Guest, Metric, WireKind};
use super::stats;
use std::collections::BTreeMap;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// In the metric's unit.
    pub value: f64,
    /// In which round it was taken, from 1.
    pub round: u32,
    /// Cores that were busy with something else meanwhile.
    pub foreign: f64,
    /// Whether that was more than may count.
    pub noisy: bool,
}

/// What a figure is about: the card's name, and the rest.
pub type Key = (&'static str, WireKind, Metric);

/// The samples of one guest, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The median; of counts of failures the greatest.
    pub value: f64,
    /// The least of the rounds.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
    /// Rounds that count.
    pub rounds: usize,
    /// Whether noisy rounds had to be taken, since this guest or one it is compared with has no
    /// quiet one.
    pub noisy: bool,
}

/// A quotient of two figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of the figures.
    pub value: f64,
    /// The least of the rounds' own quotients.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

/// The measurements of a run.
#[derive(Clone, Debug, Default)]
pub struct Results {
    samples: BTreeMap<Key, BTreeMap<Guest, Vec<Sample>>>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
}

impl Results {
    /// Adds a measurement.
    pub fn add(&mut self, key: Key, guest: Guest, sample: Sample) {
        let guests = self.samples.entry(key).or_default();
        guests.entry(guest).or_default().push(sample);
    }

    /// What there are measurements of, in order.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.samples.keys().copied()
    }

    /// All measurements of one guest.
    pub fn samples(&self, key: Key, guest: Guest) -> &[Sample] {
        let guests = self.samples.get(&key);
        guests
            .and_then(|guests| guests.get(&guest))
            .map_or(&[], Vec::as_slice)
    }

    /// The measurements of one guest that count: the quiet ones if all systems that are compared
    /// have some, else all. A system that was always disturbed is not compared with the one
    /// quiet moment of another. What is under them all as a floor stands for itself.
    fn counted(&self, key: Key, guest: Guest) -> Vec<Sample> {
        let has_quiet = |guest| self.samples(key, guest).iter().any(|s| !s.noisy);
        let is_system = |guest: &Guest| ![Guest::Bare, Guest::Client].contains(guest);
        let is_measured = |guest: &Guest| !self.samples(key, *guest).is_empty();
        let are_all_quiet = match is_system(&guest) {
            true => Guest::ALL
                .into_iter()
                .filter(|other| is_system(other) && is_measured(other))
                .all(has_quiet),
            false => has_quiet(guest),
        };
        let all = self.samples(key, guest).iter();
        all.filter(|sample| !are_all_quiet || !sample.noisy)
            .copied()
            .collect()
    }

    /// The figure of one guest, if it was measured.
    pub fn figure(&self, key: Key, guest: Guest) -> Option<Figure> {
        let counted = self.counted(key, guest);
        let values: Vec<f64> = counted.iter().map(|sample| sample.value).collect();
        let (least, greatest) = stats::range(&values)?;
        let value = match key.2.is_count_of_failures() {
            true => greatest,
            false => stats::median(&values)?,
        };
        Some(Figure {
            value,
            least,
            greatest,
            rounds: values.len(),
            noisy: counted.iter().any(|sample| sample.noisy),
        })
    }

    /// Which of `guests` has the best figure.
    pub fn best_of(&self, key: Key, guests: &[Guest]) -> Option<(Guest, Figure)> {
        let figures = guests
            .iter()
            .filter_map(|guest| Some((*guest, self.figure(key, *guest)?)));
        figures.reduce(|best, next| {
            let is_better = match key.2.better() {
                Better::Lower => next.1.value < best.1.value,
                Better::Higher => next.1.value > best.1.value,
            };
            if is_better { next } else { best }
        })
    }

    /// A figure divided by another, which may be another guest's or of another key.
    pub fn ratio(&self, (key, guest): (Key, Guest), other: (Key, Guest)) -> Option<Ratio> {
        let own = self.counted(key, guest);
        let others = self.counted(other.0, other.1);
        let divide = |a: f64, b: f64| if b > 0.0 { Some(a / b) } else { None };
        let value = divide(
            self.figure(key, guest)?.value,
            self.figure(other.0, other.1)?.value,
        )?;
        let quotients: Vec<f64> = own
            .iter()
            .flat_map(|a| others.iter().map(move |b| (a, b)))
            .filter(|(a, b)| a.round == b.round)
            .filter_map(|(a, b)| divide(a.value, b.value))
            .collect();
        let (least, greatest) = stats::range(&quotients).unwrap_or((value, value));
        Some(Ratio {
            value,
            least,
            greatest,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A sample of a round, quiet unless it is said to be noisy.
    pub fn sample(round: u32, value: f64, noisy: bool) -> Sample {
        Sample {
            value,
            round,
            foreign: if noisy { 0.5 } else { 0.0 },
            noisy,
        }
    }

    const BULK: Key = ("e100", WireKind::Tap, Metric::Bulk);
    const STALLS: Key = ("e100", WireKind::Tap, Metric::EchoStalls);

    #[test]
    fn noisy_rounds_count_only_where_there_is_no_other() {
        let mut results = Results::default();
        for (round, value, noisy) in [(1, 10.0, false), (2, 1000.0, true), (3, 14.0, false)] {
            results.add(BULK, Guest::Wharf, sample(round, value, noisy));
        }
        let figure = results.figure(BULK, Guest::Wharf).unwrap();
        assert_eq!(
            (figure.value, figure.rounds, figure.noisy),
            (12.0, 2, false)
        );
        assert_eq!(figure.greatest, 14.0);
        assert_eq!(results.figure(BULK, Guest::Nginx), None);
        assert_eq!(results.samples(BULK, Guest::Wharf).len(), 3);
        // A floor is not compared, and stands for itself.
        results.add(BULK, Guest::Client, sample(1, 90.0, true));
        assert!(!results.figure(BULK, Guest::Wharf).unwrap().noisy);
        assert!(results.figure(BULK, Guest::Client).unwrap().noisy);
    }

    #[test]
    fn a_quiet_moment_of_one_is_not_compared_with_the_noise_of_another() {
        let mut results = Results::default();
        for (round, wharf, tuned) in [(1, 30.0, 40.0), (2, 50.0, 20.0), (3, 40.0, 20.0)] {
            results.add(BULK, Guest::Wharf, sample(round, wharf, true));
            // Only the first is quiet.
            results.add(BULK, Guest::Tuned, sample(round, tuned, round > 1));
        }
        let tuned = results.figure(BULK, Guest::Tuned).unwrap();
        assert_eq!((tuned.value, tuned.rounds, tuned.noisy), (20.0, 3, true));
        let ratio = results
            .ratio((BULK, Guest::Wharf), (BULK, Guest::Tuned))
            .unwrap();
        assert_eq!(ratio.value, 2.0);
        // As soon as there is something quiet of each, that counts.
        results.add(BULK, Guest::Wharf, sample(4, 60.0, false));
        let ratio = results
            .ratio((BULK, Guest::Wharf), (BULK, Guest::Tuned))
            .unwrap();
        assert_eq!(ratio.value, 1.5);
    }

    #[test]
    fn of_failures_the_worst_round_counts() {
        let mut results = Results::default();
        for (round, value) in [(1, 0.0), (2, 3.0), (3, 0.0)] {
            results.add(STALLS, Guest::Wharf, sample(round, value, false));
        }
        assert_eq!(results.figure(STALLS, Guest::Wharf).unwrap().value, 3.0);
    }

    #[test]
    fn ratios_are_to_the_better_and_spread_over_rounds() {
        let mut results = Results::default();
        for (round, wharf, epoll) in [(1, 90.0, 30.0), (2, 100.0, 50.0), (3, 110.0, 40.0)] {
            results.add(BULK, Guest::Wharf, sample(round, wharf, false));
            results.add(BULK, Guest::Epoll, sample(round, epoll, false));
            results.add(BULK, Guest::Nginx, sample(round, 20.0, false));
        }
        let (best, _) = results
            .best_of(BULK, &[Guest::Nginx, Guest::Epoll, Guest::Bare])
            .unwrap();
        assert_eq!(best, Guest::Epoll);
        let ratio = results.ratio((BULK, Guest::Wharf), (BULK, best)).unwrap();
        assert_eq!(ratio.value, 2.5);
        assert_eq!((ratio.least, ratio.greatest), (2.0, 3.0));
        assert_eq!(results.ratio((STALLS, Guest::Wharf), (BULK, best)), None);
        assert_eq!(results.best_of(BULK, &[Guest::Bare]), None);
    }
}
