//! Where it was measured: absolute figures mean nothing without it.

use super::json::About;
use super::lab::linux;
use super::options::Options;
use crate::suite::repository;
use serde_json::json;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine, the versions, and how it was measured; `load` is that of the machine before it
/// was.
pub fn about(options: &Options, load: Option<String>) -> About {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH);
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let versions = std::fs::read_to_string(linux(options).join("versions")).unwrap_or_default();
    let root = repository().to_string_lossy().into_owned();
    let revision = first_line("git", &["-C", &root, "describe", "--always", "--dirty"]);
    vec![
        ("unix_time", json!(seconds.map_or(0, |time| time.as_secs()))),
        ("date", json!(date())),
        ("load_before", json!(load)),
        ("wharf", json!(revision)),
        ("processor", json!(processor(&processors))),
        ("cores", json!(processors.matches("processor\t").count())),
        ("qemu", json!(first_line(&options.qemu, &["--version"]))),
        ("linux", json!(versions.lines().collect::<Vec<_>>())),
        ("rounds", json!(options.rounds)),
        ("quick", json!(options.quick)),
        ("noise_limit", json!(options.noise)),
    ]
}

/// Date and time now, in UTC, as ISO 8601.
pub fn date() -> Option<String> {
    first_line("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])
}

/// How many programs ran or wanted to, on average of the last 1, 5 and 15 minutes.
pub fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let words: Vec<&str> = text.split(' ').take(3).collect();
    Some(words.join(" "))
}

/// The name of the first processor in `/proc/cpuinfo`.
fn processor(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, name)| name)
}

/// The first line that a program prints; `None` if it does not run.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_and_versions_are_found() {
        let text = "processor\t: 0\nmodel name\t: A B: C\nprocessor\t: 1\n";
        assert_eq!(processor(text), Some("A B: C"));
        assert_eq!(processor(""), None);
        assert_eq!(first_line("echo", &["one\ntwo"]).as_deref(), Some("one"));
        let date = date().unwrap();
        assert_eq!((date.len(), &date[10..11], &date[19..]), (20, "T", "Z"));
        assert_eq!(load().unwrap().split(' ').count(), 3);
        assert_eq!(first_line("there-is-no-such-program", &[]), None);
    }
}
