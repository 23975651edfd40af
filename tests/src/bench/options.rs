//! The command line of the benchmark.

use super::metric::WireKind;
use crate::nic::{ALL, FUNCTIONS, Nic};
use std::path::PathBuf;

/// What the benchmark says about itself.
pub const USAGE: &str = "\
usage: make bench [BENCH='OPTION...']
       make bench BENCH='--ranges FILE...'

Boots Wharf and Linux in turn on the same emulated cards, measures both over several
rounds, and prints medians, ratios and the goals that they must reach. Linux runs in two
ways: as it comes, and tuned for latency (net.core.busy_poll and busy_read 100, and rx-usecs 0
where the card has that). Tuning makes some figures better and others worse, so that each row
is judged by the Linux that is better there. Where a guest without an operating system, or
the client without a guest, cannot reach a goal either, the verdict names that floor.
The Linux guest is made of Debian's kernel and nginx, whose packages scripts/linux-peer
downloads once and does not install; `make bench-guests` only does that.
Writes bench.json and bench.svg into build/, and keeps the JSON of each run, by its date, in
build/bench-runs/. All of it takes more than two hours; --quick with one card and one wire
about four minutes.

  --card LIST    of e100, igb, igbvf; all is the default. igbvf is the first virtual function of
                 igb, with a stack of its own; its rows are held against those of igb in the
                 same run, with the service inside the network server
  --wire LIST    of user, tap, dgram; all is the default
  --only LIST    of boot, echo, bulk, http, download, udp, neighbour, raw, idle, memory, image;
                 neighbour is of igbvf: TCP echo beside a second virtual function that is silent,
                 echoes datagrams, or sends frames, as many as it can
  --peers LIST   of epoll and nginx: web servers on Linux as it comes; tuned: the first on a
                 Linux tuned for latency; client: no guest at all, in the first round, which
                 tells what the client can do; all is the default
  --rounds N     how often each is measured (5; 3 with --quick)
  --quick        shorter runs, fewer loads, only epoll and tuned, no raw, no memory unless asked
                 for: for a look while tuning
  --noise CORES  what may be busy with something else in a run that counts (0.15)
  --retries N    how often a run that was too noisy is repeated (2); of all runs of a
                 round no more than 10 are, with --quick 3
  --ranges FILE...
                 measures nothing: tells what earlier runs say together, as tables for the
                 README. How many times better Wharf was than Linux as it comes, over all
                 days, and than the better Linux on the newest. Each FILE is the JSON of a
                 run, or a table of such runs. All of them are written as one table,
                 build/bench-runs.tsv, and drawn, build/bench-ranges.svg. To add a run:
                   make bench BENCH='--ranges docs/bench-runs.tsv build/bench-runs/*.json'
                   cp build/bench-runs.tsv docs/
                   cp build/bench-ranges.svg docs/bench.svg
  --qemu FILE    the QEMU to run (default: qemu-system-x86_64)
  --build DIR    where images are made and results go (build)
  --bin DIR      where cargo has put Wharf's binaries (target/release)
  --help         this text

Exit status: 0 all was measured, 1 something could not be, 2 wrong usage.
";

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Power-on to the first HTTP 200.
    Boot,
    /// TCP echo of small messages.
    Echo,
    /// TCP echo of much.
    Bulk,
    /// Small GETs.
    Http,
    /// A large GET.
    Download,
    /// UDP echo, as raw frames.
    Udp,
    /// TCP echo by a virtual function beside another.
    Neighbour,
    /// Raw frames sent and received.
    Raw,
    /// CPU time of an idle guest.
    Idle,
    /// The least memory.
    Memory,
    /// The size of what is shipped.
    Image,
}

/// Their names on the command line.
const TASKS: [(&str, Task); 11] = [
    ("boot", Task::Boot),
    ("echo", Task::Echo),
    ("bulk", Task::Bulk),
    ("http", Task::Http),
    ("download", Task::Download),
    ("udp", Task::Udp),
    ("neighbour", Task::Neighbour),
    ("raw", Task::Raw),
    ("idle", Task::Idle),
    ("memory", Task::Memory),
    ("image", Task::Image),
];

/// A web server inside Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The bare epoll server.
    Epoll,
    /// nginx.
    Nginx,
    /// The bare epoll server on a Linux that is tuned for latency.
    Tuned,
    /// No guest.
    Client,
}

/// The command line, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The cards, and virtual functions of cards.
    pub nics: Vec<&'static Nic>,
    /// What they are connected to.
    pub wires: Vec<WireKind>,
    /// What is measured.
    pub tasks: Vec<Task>,
    /// Against which servers.
    pub peers: Vec<Peer>,
    /// How often.
    pub rounds: u32,
    /// Whether shorter.
    pub quick: bool,
    /// Cores that may be busy with something else.
    pub noise: f64,
    /// Repetitions of a run that was too noisy.
    pub retries: u32,
    /// Files of earlier runs to tell the ranges of, instead of measuring.
    pub ranges: Vec<PathBuf>,
    /// The QEMU program.
    pub qemu: String,
    /// The directory of images and results.
    pub build: PathBuf,
    /// The directory of cargo's binaries.
    pub bin: PathBuf,
}

/// Reads the arguments after the program's name. `Ok(None)` asks for the usage.
///
/// # Errors
/// What is wrong with them.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        nics: ALL.iter().chain(FUNCTIONS.iter()).collect(),
        wires: WireKind::ALL.to_vec(),
        tasks: Vec::new(),
        peers: Vec::new(),
        rounds: 0,
        quick: false,
        noise: 0.15,
        retries: 2,
        ranges: Vec::new(),
        qemu: "qemu-system-x86_64".to_owned(),
        build: "build".into(),
        bin: "target/release".into(),
    };
    let cards: Vec<(&str, &Nic)> = options.nics.iter().map(|nic| (nic.name, *nic)).collect();
    let wires = WireKind::ALL.map(|wire| (wire.name(), wire));
    let peers = [
        ("epoll", Peer::Epoll),
        ("nginx", Peer::Nginx),
        ("tuned", Peer::Tuned),
        ("client", Peer::Client),
    ];
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--quick" => options.quick = true,
            "--card" => {
                let text = value()?;
                if text != "all" {
                    options.nics = list(&argument, &text, &cards)?;
                }
            }
            "--wire" => options.wires = list(&argument, &value()?, &wires)?,
            "--only" => options.tasks = list(&argument, &value()?, &TASKS)?,
            "--peers" => options.peers = list(&argument, &value()?, &peers)?,
            "--rounds" => options.rounds = number(&argument, &value()?, 1, 1000)?,
            "--retries" => options.retries = number(&argument, &value()?, 0, 1000)?,
            "--noise" => {
                let text = value()?;
                options.noise = text
                    .parse()
                    .ok()
                    .filter(|cores| *cores > 0.0)
                    .ok_or_else(|| format!("--noise {text}: no number of cores above 0"))?;
            }
            "--ranges" => options.ranges.push(value()?.into()),
            "--qemu" => options.qemu = value()?,
            "--build" => options.build = value()?.into(),
            "--bin" => options.bin = value()?.into(),
            file if !options.ranges.is_empty() && !file.starts_with('-') => {
                options.ranges.push(file.into());
            }
            other => return Err(format!("unknown option {other}")),
        }
    }
    if options.rounds == 0 {
        options.rounds = if options.quick { 3 } else { 5 };
    }
    if options.tasks.is_empty() {
        let all = TASKS.iter().map(|(_, task)| *task);
        let long = [Task::Raw, Task::Memory];
        options.tasks = all
            .filter(|task| !options.quick || !long.contains(task))
            .collect();
    }
    if options.peers.is_empty() {
        options.peers = match options.quick {
            true => vec![Peer::Epoll, Peer::Tuned],
            false => vec![Peer::Epoll, Peer::Nginx, Peer::Tuned, Peer::Client],
        };
    }
    Ok(Some(options))
}

/// The things named in `text`, separated by commas.
fn list<T: Copy>(option: &str, text: &str, known: &[(&str, T)]) -> Result<Vec<T>, String> {
    let mut found = Vec::new();
    for word in text.split(',') {
        let Some((_, thing)) = known.iter().find(|(name, _)| *name == word) else {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            return Err(format!("{option} {word}: it can be: {}", names.join(", ")));
        };
        found.push(*thing);
    }
    Ok(found)
}

fn number(option: &str, text: &str, least: u32, most: u32) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("{option} {text}: no number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_options_all_is_measured() {
        let options = read("").unwrap().unwrap();
        assert_eq!((options.nics.len(), options.wires.len()), (3, 3));
        assert_eq!((options.rounds, options.tasks.len()), (5, 11));
        assert_eq!(
            options.peers,
            [Peer::Epoll, Peer::Nginx, Peer::Tuned, Peer::Client]
        );
        let quick = read("--quick").unwrap().unwrap();
        assert!(quick.tasks.contains(&Task::Boot) && !quick.tasks.contains(&Task::Raw));
        let asked = read("--quick --only raw").unwrap().unwrap();
        assert_eq!(asked.tasks, [Task::Raw]);
        // Even a short look is beside both Linuxes.
        assert_eq!(
            (quick.rounds, &quick.peers[..]),
            (3, &[Peer::Epoll, Peer::Tuned][..])
        );
    }

    #[test]
    fn options_choose_and_need_not_come_in_order() {
        let line = "--rounds 7 --quick --only echo,http --card igb,igbvf --wire tap --peers nginx,epoll --noise 0.3";
        let options = read(line).unwrap().unwrap();
        assert_eq!(options.rounds, 7);
        assert_eq!(options.tasks, [Task::Echo, Task::Http]);
        let cards: Vec<&str> = options.nics.iter().map(|nic| nic.name).collect();
        assert_eq!(cards, ["igb", "igbvf"]);
        assert_eq!(options.wires, [WireKind::Tap]);
        assert_eq!(options.peers, [Peer::Nginx, Peer::Epoll]);
        assert_eq!(options.noise, 0.3);
    }

    #[test]
    fn ranges_are_of_the_files_that_follow() {
        let options = read("--build b --ranges a.tsv b.json --card igb c.json");
        let options = options.unwrap().unwrap();
        assert_eq!(
            options.ranges,
            ["a.tsv", "b.json", "c.json"].map(PathBuf::from)
        );
        assert!(read("").unwrap().unwrap().ranges.is_empty());
        assert!(
            read("a.json")
                .unwrap_err()
                .contains("unknown option a.json")
        );
        assert!(read("--ranges").unwrap_err().contains("needs a value"));
    }

    #[test]
    fn help_wins_and_mistakes_are_named() {
        assert_eq!(read("--card igb --help"), Ok(None));
        for (line, word) in [
            ("--frob", "--frob"),
            ("--card", "needs a value"),
            ("--card igb,x", "e100, igb, igbvf"),
            ("--wire tap,x", "user, tap, dgram"),
            ("--only ,", "it can be: boot"),
            ("--rounds 0", "1 to 1000"),
            ("--rounds many", "1 to 1000"),
            ("--noise 0", "above 0"),
            ("--noise x", "above 0"),
        ] {
            let words = read(line).unwrap_err();
            assert!(words.contains(word), "{words}");
        }
    }
}
