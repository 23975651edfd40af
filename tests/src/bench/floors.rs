//! Whether a goal that was not reached could be: what the guest without an operating system and
//! the client without a guest do, on the same wire in the same run, is the floor under it.

use super::goals::{Goal, Limit};
use super::metric::{Better, Datagrams, Guest, Load, Metric};
use super::results::{Key, Results};

/// A floor so near the goal is in its way: nothing is left for an operating system.
const NEAR: f64 = 0.1;

/// What is in the way of a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Whose figure it is.
    pub guest: Guest,
    /// Of what; not always of what the goal is about.
    pub metric: Metric,
    /// The figure.
    pub value: f64,
    /// Divided by the one that the goal is compared with.
    pub ratio: f64,
}

/// The floor that keeps Wharf's figure from `limit`, which is in units of `other`: the highest, if
/// one is in the way at all. What Wharf itself has beaten is no floor; nor is what was measured
/// while the machine did something else, which slows those most who look for frames all the time.
pub fn floor(
    results: &Results,
    (goal, guest): (&Goal, Guest),
    other: (Key, Guest),
    limit: Limit,
) -> Option<Floor> {
    let own = results.figure(goal.key, guest)?.value;
    let quiet = |key, guest| {
        let figure = results.figure(key, guest)?;
        (!figure.noisy).then_some(figure.value)
    };
    let other = quiet(other.0, other.1)?;
    let (card, wire, metric) = goal.key;
    let is_lower = metric.better() == Better::Lower;
    let is_in_the_way = |floor: &Floor| {
        let beaten = match metric.better() {
            Better::Lower => own < floor.value,
            Better::Higher => own > floor.value,
        };
        let with_something_on_top = match metric.better() {
            Better::Lower => floor.ratio / (1.0 - NEAR),
            Better::Higher => floor.ratio / (1.0 + NEAR),
        };
        !beaten && !limit.holds(with_something_on_top)
    };
    let floors = measured_by(metric)
        .into_iter()
        .flatten()
        .filter_map(|(guest, metric)| {
            let value = quiet((card, wire, metric), guest)?;
            Some(Floor {
                guest,
                metric,
                value,
                ratio: value / other,
            })
        })
        .filter(is_in_the_way);
    floors.reduce(|a, b| {
        if (a.ratio > b.ratio) == is_lower {
            a
        } else {
            b
        }
    })
}

/// Whose figures of what are below any operating system's figure of `metric`.
fn measured_by(metric: Metric) -> [Option<(Guest, Metric)>; 2] {
    let client = (Guest::Client, metric);
    match metric {
        Metric::Udp {
            what: Datagrams::P50 | Datagrams::Rate | Datagrams::Answered,
            ..
        } => [Some((Guest::Bare, metric)), Some(client)],
        // The bare guest has no TCP: a message and its answer, by whatever protocol.
        Metric::EchoP50 => [Some((Guest::Bare, Metric::DatagramP50)), Some(client)],
        Metric::Bulk
        | Metric::Download
        | Metric::Http {
            what: Load::Rate, ..
        } => [None, Some(client)],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::super::goals::{Against, Judged, Verdict, goals, judge};
    use super::super::metric::{SMALL, WireKind};
    use super::super::results::tests::sample;
    use super::*;

    /// The verdict on the one goal of `key` against the peers.
    fn judged(results: &Results, key: Key) -> Judged {
        let goals = goals(key.0);
        let mut about = goals
            .iter()
            .filter(|goal| goal.key == key && goal.against == Against::Peers);
        judge(results, about.next().unwrap()).unwrap()
    }

    fn add(results: &mut Results, key: Key, figures: &[(Guest, f64)]) {
        for (guest, value) in figures {
            results.add(key, *guest, sample(1, *value, false));
        }
    }

    const P50: Metric = Metric::Udp {
        size: SMALL,
        what: Datagrams::P50,
    };
    const RATE: Metric = Metric::Udp {
        size: SMALL,
        what: Datagrams::Rate,
    };

    #[test]
    fn a_goal_below_the_floor_is_told_from_one_that_is_not() {
        // It must be 0.6 of Linux's on this card.
        for (bare, is_floor) in [(53.0, false), (55.0, true), (70.0, true), (97.0, false)] {
            let key = ("e100", WireKind::Dgram, P50);
            let mut results = Results::default();
            let guests = [(Guest::Wharf, 90.0), (Guest::Epoll, 100.0)];
            add(&mut results, key, &guests);
            add(&mut results, key, &[(Guest::Bare, bare)]);
            let judged = judged(&results, key);
            assert_eq!(judged.verdict, Verdict::Missed);
            let floor = is_floor.then_some(Floor {
                guest: Guest::Bare,
                metric: P50,
                value: bare,
                ratio: bare / 100.0,
            });
            assert_eq!(judged.floor, floor);
        }
    }

    #[test]
    fn the_highest_floor_counts_and_only_what_was_not_reached_has_one() {
        // 4 times Linux's rate it must be, 6 times it shall be.
        let key = ("e100", WireKind::Dgram, RATE);
        let with = |wharf, bare, client| {
            let mut results = Results::default();
            let guests = [(Guest::Wharf, wharf), (Guest::Epoll, 10.0)];
            add(&mut results, key, &guests);
            add(&mut results, key, &[(Guest::Bare, bare)]);
            add(&mut results, key, &[(Guest::Client, client)]);
            let judged = judged(&results, key);
            (judged.verdict, judged.floor.map(|floor| floor.guest))
        };
        let bare = Some(Guest::Bare);
        let client = Some(Guest::Client);
        assert_eq!(with(35.0, 41.0, 42.0), (Verdict::Missed, bare));
        assert_eq!(with(35.0, 42.0, 41.0), (Verdict::Missed, client));
        assert_eq!(with(35.0, 45.0, 90.0), (Verdict::Missed, None));
        assert_eq!(with(45.0, 55.0, 90.0), (Verdict::Must, bare));
        assert_eq!(with(45.0, 70.0, 90.0), (Verdict::Must, None));
        assert_eq!(with(61.0, 62.0, 62.0), (Verdict::Aim, None));
    }

    #[test]
    fn a_busy_machine_is_no_floor() {
        let key = ("e100", WireKind::Dgram, RATE);
        for (noisy, is_floor) in [(false, true), (true, false)] {
            let mut results = Results::default();
            let guests = [(Guest::Wharf, 35.0), (Guest::Epoll, 10.0)];
            add(&mut results, key, &guests);
            results.add(key, Guest::Bare, sample(1, 36.0, noisy));
            assert_eq!(judged(&results, key).floor.is_some(), is_floor);
        }
    }

    #[test]
    fn below_tcp_is_the_datagram_of_the_same_wire() {
        let key = ("igb", WireKind::Tap, Metric::EchoP50);
        let mut results = Results::default();
        let guests = [(Guest::Wharf, 90.0), (Guest::Epoll, 100.0)];
        add(&mut results, key, &guests);
        assert_eq!(judged(&results, key).floor, None);
        let datagram = (key.0, key.1, Metric::DatagramP50);
        add(&mut results, datagram, &[(Guest::Bare, 60.0)]);
        add(&mut results, key, &[(Guest::Client, 20.0)]);
        let floor = judged(&results, key).floor.unwrap();
        assert_eq!((floor.guest, floor.metric), (Guest::Bare, datagram.2));
        assert_eq!(floor.ratio, 0.6);
    }
}
