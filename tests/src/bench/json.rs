//! The results for programs: every sample, what the goals made of them, and where it ran.

use super::goals::{Against, Limit, Verdict, goals, judge};
use super::metric::{Better, Guest};
use super::results::{Key, Results};
use serde_json::{Map, Value, json};

/// Where and how it was measured, as names and values.
pub type About = Vec<(&'static str, Value)>;

/// All of it.
pub fn json(results: &Results, about: About) -> Value {
    let mut top: Map<String, Value> = Map::new();
    for (name, value) in about {
        top.insert(name.to_owned(), value);
    }
    let figures: Vec<Value> = results.keys().map(|key| figure(results, key)).collect();
    top.insert("figures".to_owned(), figures.into());
    top.insert("failures".to_owned(), json!(results.failures));
    top.into()
}

fn figure(results: &Results, key: Key) -> Value {
    let mut guests = Map::new();
    for guest in Guest::ALL {
        let Some(figure) = results.figure(key, guest) else {
            continue;
        };
        let samples: Vec<Value> = results
            .samples(key, guest)
            .iter()
            .map(|sample| {
                json!({
                    "round": sample.round,
                    "value": sample.value,
                    "foreign": sample.foreign,
                    "noisy": sample.noisy,
                })
            })
            .collect();
        guests.insert(
            guest.name().to_owned(),
            json!({
                "value": figure.value,
                "least": figure.least,
                "greatest": figure.greatest,
                "rounds": figure.rounds,
                "noisy": figure.noisy,
                "samples": samples,
            }),
        );
    }
    json!({
        "card": key.0,
        "wire": key.1.name(),
        "metric": key.2.to_string(),
        "unit": key.2.unit(),
        "better": match key.2.better() {
            Better::Lower => "lower",
            Better::Higher => "higher",
        },
        "guests": guests,
        "goals": judged(results, key),
    })
}

fn judged(results: &Results, key: Key) -> Vec<Value> {
    let goals = goals(key.0);
    let about = goals.iter().filter(|goal| goal.key == key);
    about
        .filter_map(|goal| {
            let judged = judge(results, goal)?;
            let against = match goal.against {
                Against::Itself => "itself".to_owned(),
                Against::Own(metric) => metric.to_string(),
                Against::Card(card) => card.to_owned(),
                _ => judged.other?.name().to_owned(),
            };
            Some(json!({
                "of": judged.own.name(),
                "against": against,
                "ratio": judged.ratio.value,
                "least": judged.ratio.least,
                "greatest": judged.ratio.greatest,
                "must": limit(goal.must),
                "aim": limit(goal.aim),
                "verdict": match judged.verdict {
                    Verdict::Aim => "aim",
                    Verdict::Must => "must",
                    Verdict::Missed => "missed",
                },
                "floor": judged.floor.map(|floor| json!({
                    "guest": floor.guest.name(),
                    "metric": floor.metric.to_string(),
                    "value": floor.value,
                    "ratio": floor.ratio,
                })),
            }))
        })
        .collect()
}

fn limit(limit: Limit) -> Value {
    match limit {
        Limit::AtMost(value) => json!({ "at_most": value }),
        Limit::AtLeast(value) => json!({ "at_least": value }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::metric::{Metric, WireKind};
    use super::super::results::tests::sample;
    use super::*;

    #[test]
    fn every_sample_and_verdict_is_in_it() {
        let mut results = Results::default();
        let key = ("igb", WireKind::Tap, Metric::EchoP50);
        results.add(key, Guest::Wharf, sample(1, 40.0, false));
        results.add(key, Guest::Wharf, sample(2, 60.0, true));
        results.add(key, Guest::Epoll, sample(1, 100.0, false));
        results.add(key, Guest::Client, sample(1, 39.0, false));
        results.failures.push("why".to_owned());
        let value = json(&results, vec![("rounds", json!(2))]);
        assert_eq!(value["rounds"], 2);
        assert_eq!(value["failures"][0], "why");
        let figure = &value["figures"][0];
        assert_eq!(figure["card"], "igb");
        assert_eq!(figure["wire"], "tap");
        assert_eq!(figure["better"], "lower");
        let wharf = &figure["guests"]["wharf"];
        assert_eq!(
            (&wharf["value"], &wharf["rounds"]),
            (&json!(40.0), &json!(1))
        );
        assert_eq!(wharf["samples"][1]["noisy"], true);
        let goal = &figure["goals"][0];
        assert_eq!(goal["against"], "epoll");
        assert_eq!(goal["ratio"], 0.4);
        assert_eq!(goal["verdict"], "must");
        assert_eq!(goal["aim"]["at_most"], 0.35);
        assert_eq!(goal["floor"]["guest"], "client alone");
        assert_eq!(goal["floor"]["ratio"], 0.39);
        // What is written can be read again.
        let text = serde_json::to_string_pretty(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
