//! What the figures must and shall reach.

use super::floors::{Floor, floor};
use super::metric::{Better, Datagrams, Guest, Load, Metric, Neighbour, SMALL, WireKind};
use super::results::{Key, Ratio, Results};
use crate::nic;

/// What Wharf's figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    /// The better of the epoll server, nginx, and the epoll server on a Linux that is tuned
    /// for latency: of those that were measured.
    Peers,
    /// The better of the first two, started from the packed kernel.
    BzImage,
    /// The guest without an operating system; or so many per second, whatever that does.
    Bare(Option<f64>),
    /// Another figure of its own.
    Own(Metric),
    /// The same figure, with the service inside the network server, on the card of this name, of
    /// which this is a virtual function.
    Card(&'static str),
    /// Nothing: the figure itself.
    Itself,
}

/// A bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// At most.
    AtMost(f64),
    /// At least.
    AtLeast(f64),
}

impl Limit {
    /// Whether a value keeps to it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Limit::AtMost(limit) => value <= limit,
            Limit::AtLeast(limit) => value >= limit,
        }
    }
}

/// One cell of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// What it is about.
    pub key: Key,
    /// Compared with what.
    pub against: Against,
    /// What it must reach.
    pub must: Limit,
    /// What it shall reach; the same where one bound is enough.
    pub aim: Limit,
}

/// How far a goal was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What was aimed at.
    Aim,
    /// What must be.
    Must,
    /// Less.
    Missed,
}

/// A goal, judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// In which of Wharf's ways.
    pub own: Guest,
    /// The quotient, or the figure itself.
    pub ratio: Ratio,
    /// Whose figure it was divided by, if another guest's.
    pub other: Option<Guest>,
    /// How far it got.
    pub verdict: Verdict,
    /// What keeps it from what it did not reach.
    pub floor: Option<Floor>,
}

/// All goals for the card of this name.
pub fn goals(card: &'static str) -> Vec<Goal> {
    // Linux does not do equally well on both cards.
    let igb = card == "igb";
    let by_card = |e100: (f64, f64), other: (f64, f64)| if igb { other } else { e100 };
    let mut goals = Vec::new();
    let mut add = |wire, metric, against, must, aim| {
        goals.push(Goal {
            key: (card, wire, metric),
            against,
            must,
            aim,
        });
    };
    let mut at_most = |wire, metric, against, (must, aim)| {
        add(
            wire,
            metric,
            against,
            Limit::AtMost(must),
            Limit::AtMost(aim),
        );
    };
    use WireKind::{Dgram, Tap, User};
    let small = |what| Metric::Udp { size: SMALL, what };

    for (wire, metric) in [
        (Dgram, small(Datagrams::Lost)),
        (Dgram, small(Datagrams::Stalls)),
        (Tap, Metric::EchoStalls),
        (Tap, Metric::EchoLost),
        (User, Metric::EchoStalls),
    ] {
        at_most(wire, metric, Against::Itself, (0.0, 0.0));
    }
    let rate = |keep, connections| Metric::Http {
        keep,
        connections,
        what: Load::Rate,
    };
    if let Some(card) = nic::FUNCTIONS.iter().find(|nic| nic.name == card) {
        let card = Against::Card(card.physical());
        for (wire, metric) in [(Dgram, small(Datagrams::P50)), (Tap, Metric::EchoP50)] {
            at_most(wire, metric, card, (1.0 / 0.95, 1.0 / 0.95));
        }
        for neighbour in [Neighbour::Answers, Neighbour::Sends] {
            let metric = Metric::BesideP99(neighbour);
            at_most(Tap, metric, Against::Peers, (1.0, 1.0));
        }
        for (wire, metric, part) in [
            (Dgram, small(Datagrams::Rate), 0.95),
            (Tap, rate(true, 16), 0.95),
            (Tap, rate(true, 64), 0.95),
            (Tap, rate(false, 16), 0.95),
            (Tap, rate(false, 64), 0.95),
            (Tap, Metric::Bulk, 0.9),
            (Tap, Metric::Download, 0.9),
        ] {
            add(
                wire,
                metric,
                card,
                Limit::AtLeast(part),
                Limit::AtLeast(part),
            );
        }
        return goals;
    }
    let faster = |times: f64| (1.0 / times, 1.0 / times);
    let boot = by_card((10.0, 7.0), (7.0, 4.0));
    at_most(User, Metric::Boot, Against::BzImage, faster(boot.0));
    at_most(User, Metric::Boot, Against::Peers, faster(boot.1));
    at_most(
        Dgram,
        small(Datagrams::P50),
        Against::Peers,
        by_card((0.6, 0.4), (0.5, 0.35)),
    );
    at_most(
        Tap,
        Metric::EchoP50,
        Against::Peers,
        by_card((0.7, 0.5), (0.5, 0.35)),
    );
    at_most(Tap, Metric::CpuPerRequest, Against::Peers, (0.5, 0.3));
    at_most(Tap, Metric::Idle, Against::Peers, (1.0, 1.0));
    at_most(User, Metric::Memory, Against::Peers, faster(6.0));
    at_most(User, Metric::Image, Against::BzImage, faster(5.0));

    let mut at_least = |wire, metric, against, (must, aim)| {
        add(
            wire,
            metric,
            against,
            Limit::AtLeast(must),
            Limit::AtLeast(aim),
        );
    };
    at_least(
        Dgram,
        small(Datagrams::Rate),
        Against::Peers,
        by_card((4.0, 6.0), (3.0, 5.0)),
    );
    at_least(
        Dgram,
        small(Datagrams::Answered),
        Against::Peers,
        (4.0, 4.0),
    );
    let own = Against::Own(small(Datagrams::Rate));
    at_least(Dgram, small(Datagrams::Answered), own, (0.9, 0.9));
    at_least(
        Tap,
        Metric::Bulk,
        Against::Peers,
        by_card((1.5, 3.0), (1.2, 2.0)),
    );
    for connections in [16, 64] {
        at_least(Tap, rate(true, connections), Against::Peers, (2.0, 4.0));
        at_least(Tap, rate(false, connections), Against::Peers, (2.5, 4.0));
    }
    let own = Against::Own(rate(true, 16));
    at_least(Tap, rate(true, 256), own, (0.8, 0.8));
    at_least(
        Tap,
        Metric::Download,
        Against::Peers,
        by_card((1.3, 2.0), (1.0, 1.5)),
    );
    at_least(User, Metric::Download, Against::Peers, (1.5, 2.0));
    let bare = Against::Bare(igb.then_some(600_000.0));
    at_least(Tap, Metric::Send(60), bare, (0.85, 0.85));
    goals
}

/// Whether the metric of this name is one by which Wharf is compared with Linux: a goal asks for
/// the quotient, to that or to the card of a virtual function, or it is of small raw frames.
pub fn is_told(card: &'static str, wire: &str, metric: &str) -> bool {
    let asked = goals(card);
    let asked = asked
        .iter()
        .filter(|goal| {
            let against = goal.against;
            matches!(
                against,
                Against::Peers | Against::BzImage | Against::Card(_)
            )
        })
        .map(|goal| goal.key);
    let raw = [Metric::Send(60), Metric::Receive(60)].map(|metric| (card, WireKind::Tap, metric));
    asked
        .chain(raw)
        .any(|key| key.1.name() == wire && key.2.to_string() == metric)
}

/// Judges a goal by the better of Wharf's ways; `None` if it was not measured, or not what it
/// is compared with.
pub fn judge(results: &Results, goal: &Goal) -> Option<Judged> {
    let ways = match goal.against {
        Against::Card(_) => &[Guest::Inside][..],
        _ => &Guest::WHARF,
    };
    let judged = ways.iter().map(|own| judge_one(results, goal, *own));
    let better = goal.key.2.better();
    judged.flatten().reduce(|a, b| {
        let is_better = match better {
            Better::Lower => b.ratio.value < a.ratio.value,
            Better::Higher => b.ratio.value > a.ratio.value,
        };
        let (missed_a, missed_b) = (a.verdict == Verdict::Missed, b.verdict == Verdict::Missed);
        let is_chosen = match missed_a == missed_b {
            true => is_better,
            false => missed_a,
        };
        if is_chosen { b } else { a }
    })
}

fn judge_one(results: &Results, goal: &Goal, guest: Guest) -> Option<Judged> {
    let key = goal.key;
    let own = results.figure(key, guest)?;
    let best = |guests: &[Guest]| results.best_of(key, guests).map(|(guest, _)| guest);
    let other = match goal.against {
        Against::Peers => Some((key, best(&Guest::PEERS)?)),
        Against::BzImage => Some((key, best(&Guest::PACKED)?)),
        Against::Bare(_) => Some((key, best(&[Guest::Bare])?)),
        Against::Own(metric) => Some(((key.0, key.1, metric), guest)),
        Against::Card(card) => Some(((card, key.1, key.2), guest)),
        Against::Itself => None,
    };
    let ratio = match other {
        Some(other) => results.ratio((key, guest), other)?,
        None => Ratio {
            value: own.value,
            least: own.least,
            greatest: own.greatest,
        },
    };
    let enough = matches!(goal.against, Against::Bare(Some(rate)) if own.value >= rate);
    let verdict = if has_errors(results, key, guest) {
        Verdict::Missed
    } else if enough || goal.aim.holds(ratio.value) {
        Verdict::Aim
    } else if goal.must.holds(ratio.value) {
        Verdict::Must
    } else {
        Verdict::Missed
    };
    let unreached = match verdict {
        Verdict::Aim => None,
        Verdict::Must => Some(goal.aim),
        Verdict::Missed => Some(goal.must),
    };
    let compared = other.filter(|(_, other)| *other != guest);
    Some(Judged {
        own: guest,
        ratio,
        other: compared.map(|(_, guest)| guest),
        verdict,
        floor: unreached
            .zip(compared)
            .and_then(|(limit, other)| floor(results, (goal, guest), other, limit)),
    })
}

/// Whether the load that a rate is of had failures: then the rate reaches nothing.
fn has_errors(results: &Results, (card, wire, metric): Key, guest: Guest) -> bool {
    let Metric::Http {
        keep, connections, ..
    } = metric
    else {
        return false;
    };
    let errors = Metric::Http {
        keep,
        connections,
        what: Load::Errors,
    };
    let errors = results.figure((card, wire, errors), guest);
    errors.is_some_and(|errors| errors.value > 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;
    use super::*;

    fn verdict(results: &Results, card: &'static str, metric: Metric) -> Vec<Option<Verdict>> {
        let goals = goals(card);
        let about = goals.iter().filter(|goal| goal.key.2 == metric);
        about
            .map(|goal| judge(results, goal).map(|judged| judged.verdict))
            .collect()
    }

    #[test]
    fn every_goal_has_bounds_that_agree() {
        for card in ["e100", "igb"] {
            let goals = goals(card);
            assert_eq!(goals.len(), 25);
            for (at, goal) in goals.iter().enumerate() {
                assert_eq!(goal.key.0, card);
                // Who reaches the aim reaches what must be.
                let (Limit::AtMost(aim) | Limit::AtLeast(aim)) = goal.aim;
                assert!(goal.must.holds(aim), "{goal:?}");
                assert!(!goals[..at].contains(goal), "{goal:?}");
            }
        }
    }

    #[test]
    fn a_virtual_function_is_held_against_its_card_with_the_service_inside() {
        let goals = goals("igbvf");
        assert!(goals.iter().all(|goal| goal.key.0 == "igbvf"));
        let mut results = Results::default();
        for (card, inside) in [("igb", 100.0), ("igbvf", 96.0)] {
            let key = (card, WireKind::Tap, kept(Load::Rate));
            results.add(key, Guest::Inside, sample(1, inside, false));
            results.add(key, Guest::Wharf, sample(1, 1000.0, false));
        }
        let key = ("igbvf", WireKind::Tap, kept(Load::Rate));
        let goal = goals.iter().find(|goal| goal.key == key).unwrap();
        let judged = judge(&results, goal).unwrap();
        assert_eq!((judged.own, judged.ratio.value), (Guest::Inside, 0.96));
        assert_eq!(judged.verdict, Verdict::Aim);
        results.add(key, Guest::Inside, sample(1, 92.0, false));
        assert_eq!(judge(&results, goal).unwrap().verdict, Verdict::Missed);
        // Linux has no share in it, but the row is told beside Linux's.
        assert!(is_told("igbvf", "tap", &key.2.to_string()));
    }

    #[test]
    fn the_better_peer_is_what_counts() {
        let key = ("igb", WireKind::Tap, Metric::EchoP50);
        let mut results = Results::default();
        results.add(key, Guest::Wharf, sample(1, 40.0, false));
        assert_eq!(verdict(&results, "igb", Metric::EchoP50), [None]);
        results.add(key, Guest::Nginx, sample(1, 200.0, false));
        assert_eq!(
            verdict(&results, "igb", Metric::EchoP50),
            [Some(Verdict::Aim)]
        );
        results.add(key, Guest::Epoll, sample(1, 100.0, false));
        assert_eq!(
            verdict(&results, "igb", Metric::EchoP50),
            [Some(Verdict::Must)]
        );
        results.add(key, Guest::Epoll, sample(1, 50.0, false));
        assert_eq!(
            verdict(&results, "igb", Metric::EchoP50),
            [Some(Verdict::Missed)]
        );
    }

    /// The verdict on the one goal of `key` against the peers, and which peer it was.
    fn against_peers(results: &Results, key: Key) -> Option<(Verdict, Option<Guest>)> {
        let goals = goals(key.0);
        let mut about = goals
            .iter()
            .filter(|goal| goal.key == key && goal.against == Against::Peers);
        let judged = judge(results, about.next().unwrap())?;
        Some((judged.verdict, judged.other))
    }

    #[test]
    fn each_row_is_judged_against_the_better_linux_of_that_row() {
        // Tuning halves the latency and the rate.
        let latency = ("igb", WireKind::Tap, Metric::EchoP50);
        let rate = ("igb", WireKind::Tap, kept(Load::Rate));
        let mut results = Results::default();
        for (key, wharf, epoll) in [(latency, 60.0, 180.0), (rate, 300.0, 100.0)] {
            results.add(key, Guest::Wharf, sample(1, wharf, false));
            results.add(key, Guest::Epoll, sample(1, epoll, false));
        }
        let plain = Some(Guest::Epoll);
        assert_eq!(
            against_peers(&results, latency),
            Some((Verdict::Aim, plain))
        );
        assert_eq!(against_peers(&results, rate), Some((Verdict::Must, plain)));
        results.add(latency, Guest::Tuned, sample(1, 90.0, false));
        results.add(rate, Guest::Tuned, sample(1, 50.0, false));
        assert_eq!(
            against_peers(&results, latency),
            Some((Verdict::Missed, Some(Guest::Tuned)))
        );
        assert_eq!(against_peers(&results, rate), Some((Verdict::Must, plain)));
    }

    #[test]
    fn of_two_equal_linuxes_the_plain_one_is_named_and_a_missing_one_is_no_better() {
        let key = ("igb", WireKind::Tap, Metric::EchoP50);
        let mut results = Results::default();
        results.add(key, Guest::Wharf, sample(1, 40.0, false));
        // Only the tuned one was measured.
        results.add(key, Guest::Tuned, sample(1, 100.0, false));
        let judged = against_peers(&results, key);
        assert_eq!(judged, Some((Verdict::Must, Some(Guest::Tuned))));
        results.add(key, Guest::Epoll, sample(1, 100.0, false));
        let judged = against_peers(&results, key);
        assert_eq!(judged, Some((Verdict::Must, Some(Guest::Epoll))));
        // What was measured of Linux only says nothing of Wharf.
        let other = ("e100", WireKind::Tap, Metric::EchoP50);
        results.add(other, Guest::Tuned, sample(1, 100.0, false));
        assert_eq!(against_peers(&results, other), None);
    }

    #[test]
    fn what_is_told_is_what_linux_is_compared_by() {
        for (wire, metric, expected) in [
            ("tap", "TCP echo 64 B, p50", true),
            ("user", "TCP echo 64 B, p50", false),
            ("user", "power-on to HTTP 200", true),
            ("tap", "raw receive 60 B", true),
            ("tap", "raw receive 1514 B", false),
            ("dgram", "UDP echo 64 B frames, lost", false),
        ] {
            assert_eq!(is_told("igb", wire, metric), expected, "{metric}");
        }
    }

    fn kept(what: Load) -> Metric {
        Metric::Http {
            keep: true,
            connections: 16,
            what,
        }
    }

    #[test]
    fn the_better_of_wharfs_two_ways_counts_unless_it_fails() {
        let key = |what| ("igb", WireKind::Tap, kept(what));
        let mut results = Results::default();
        results.add(key(Load::Rate), Guest::Wharf, sample(1, 250.0, false));
        results.add(key(Load::Rate), Guest::Inside, sample(1, 500.0, false));
        results.add(key(Load::Rate), Guest::Epoll, sample(1, 100.0, false));
        let judged = |results: &Results| {
            let goals = goals("igb");
            let goal = goals.iter().find(|goal| goal.key == key(Load::Rate));
            let judged = judge(results, goal.unwrap()).unwrap();
            (judged.own, judged.verdict)
        };
        assert_eq!(judged(&results), (Guest::Inside, Verdict::Aim));
        results.add(key(Load::Errors), Guest::Inside, sample(1, 1.0, false));
        assert_eq!(judged(&results), (Guest::Wharf, Verdict::Must));
        // What is compared with its own figure is compared with that of the same way.
        let small = |what| Metric::Udp { size: SMALL, what };
        let key = |what| ("e100", WireKind::Dgram, small(what));
        for (guest, rate, answered) in [(Guest::Wharf, 50.0, 50.0), (Guest::Inside, 100.0, 80.0)] {
            results.add(key(Datagrams::Rate), guest, sample(1, rate, false));
            results.add(key(Datagrams::Answered), guest, sample(1, answered, false));
        }
        let goals = goals("e100");
        let own = Against::Own(small(Datagrams::Rate));
        let goal = goals.iter().find(|goal| goal.against == own).unwrap();
        let judged = judge(&results, goal).unwrap();
        assert_eq!((judged.own, judged.ratio.value), (Guest::Wharf, 1.0));
    }

    #[test]
    fn a_rate_with_failures_reaches_nothing() {
        let key = |what| ("igb", WireKind::Tap, kept(what));
        let mut results = Results::default();
        results.add(key(Load::Rate), Guest::Wharf, sample(1, 500.0, false));
        results.add(key(Load::Rate), Guest::Epoll, sample(1, 100.0, false));
        results.add(key(Load::Errors), Guest::Wharf, sample(1, 0.0, false));
        let judged = |results: &Results| verdict(results, "igb", kept(Load::Rate));
        assert_eq!(judged(&results), [Some(Verdict::Aim)]);
        results.add(key(Load::Errors), Guest::Wharf, sample(2, 1.0, false));
        assert_eq!(judged(&results), [Some(Verdict::Missed)]);
    }

    #[test]
    fn one_stall_in_one_round_is_one_too_many() {
        let key = ("e100", WireKind::User, Metric::EchoStalls);
        let mut results = Results::default();
        results.add(key, Guest::Wharf, sample(1, 0.0, false));
        let judged = |results: &Results| {
            let goals = goals("e100");
            let goal = goals.iter().find(|goal| goal.key == key).unwrap();
            judge(results, goal).unwrap().verdict
        };
        assert_eq!(judged(&results), Verdict::Aim);
        results.add(key, Guest::Wharf, sample(2, 1.0, false));
        results.add(key, Guest::Wharf, sample(3, 0.0, false));
        assert_eq!(judged(&results), Verdict::Missed);
    }

    #[test]
    fn on_the_82576_a_rate_is_enough_whatever_the_bare_guest_does() {
        let mut results = Results::default();
        for (card, wharf) in [("igb", 610_000.0), ("e100", 610_000.0)] {
            let key = (card, WireKind::Tap, Metric::Send(60));
            results.add(key, Guest::Wharf, sample(1, wharf, false));
            results.add(key, Guest::Bare, sample(1, 800_000.0, false));
        }
        assert_eq!(
            verdict(&results, "igb", Metric::Send(60)),
            [Some(Verdict::Aim)]
        );
        assert_eq!(
            verdict(&results, "e100", Metric::Send(60)),
            [Some(Verdict::Missed)]
        );
    }
}
