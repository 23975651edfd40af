//! The command line of the harness.

use crate::nic::{self, Nic};
use std::path::PathBuf;
use std::time::Duration;

/// What the harness says about itself.
pub fn usage() -> String {
    USAGE.replace("CARDS", &nic::names())
}

const USAGE: &str = "\
usage: tests VERB [OPTION]... [NAME]...

Boots Wharf in QEMU and speaks to it as its clients do. With NAMEs, only the cases
whose name contains one of them.

  grade    the lab's grade
  beyond   what Wharf promises on top of it
  all      the host tests of every package, the grade, and beyond
  soak     attacks by a seed, for as long as --minutes says
  icount   guest instructions per operation, held against tests/icount.baseline
  placement  counts which functions are busy on all cards, and lists them for the
           linker scripts, in placement/
  list     the names of all cases

  --nic NAME    CARDS: the card, of which the first is the default, or all,
                one after the other; cases that no card has a part in run only
                with the first
  --qemu FILE   the QEMU to run (default: qemu-system-x86_64)
  --build DIR   where `make image` puts things, and where failed/ is kept (build)
  --bin DIR     where cargo has put the binaries (target/release)
  --www DIR     the files that the image was built with (www)
  --bless       icount: write what was counted to the baseline
  --stages      icount: say where the instructions go
  --seed N      soak: what it chooses by; another one each time if not said
  --minutes N   soak: how long it takes for all cards together (26)
  --keep        keep the files of cases that pass, too, in passed/
  --help        this text

A failed case keeps its serial log, QEMU's own messages and its capture in failed/.
Exit status: 0 all passed, 1 something failed, 2 wrong usage.
";

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The lab's grade.
    Grade,
    /// What goes beyond it.
    Beyond,
    /// Everything, host tests included.
    All,
    /// Instructions per operation.
    Icount,
    /// The lists of busy functions.
    Placement,
    /// Attacks, for a long time.
    Soak,
    /// Only tell the names.
    List,
}

/// The command line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to run.
    pub verb: Verb,
    /// The cards to run it with.
    pub nics: &'static [Nic],
    /// The QEMU program.
    pub qemu: String,
    /// The directory of the image, and of what is kept.
    pub build: PathBuf,
    /// The directory of cargo's binaries.
    pub bin: PathBuf,
    /// The directory of the files that the image serves.
    pub www: PathBuf,
    /// Whether what is counted becomes the baseline.
    pub bless: bool,
    /// Whether it is told where instructions go.
    pub stages: bool,
    /// What attacks choose by; `None`: any.
    pub seed: Option<u64>,
    /// How long they take together.
    pub time: Duration,
    /// Whether cases that pass keep their files, too.
    pub keep: bool,
    /// Parts of names of cases to run; empty: all.
    pub names: Vec<String>,
}

/// Reads the arguments after the program's name. `Ok(None)` asks for the usage.
///
/// # Errors
/// What is wrong with them.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Options>, String> {
    let mut verb = None;
    let mut options = Options {
        verb: Verb::Grade,
        nics: &nic::ALL[..1],
        qemu: "qemu-system-x86_64".to_owned(),
        build: "build".into(),
        bin: "target/release".into(),
        www: "www".into(),
        bless: false,
        stages: false,
        seed: None,
        time: Duration::from_secs(26 * 60),
        keep: false,
        names: Vec::new(),
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--keep" => options.keep = true,
            "--bless" => options.bless = true,
            "--stages" => options.stages = true,
            "--nic" => {
                let name = value()?;
                options.nics = Nic::named(&name)
                    .ok_or_else(|| format!("unknown card {name}; it can be: {}", nic::names()))?;
            }
            "--seed" => options.seed = Some(number(&argument, &value()?)?),
            "--minutes" => {
                let minutes = number(&argument, &value()?)?;
                if !(1..=MINUTES_MAX).contains(&minutes) {
                    return Err(format!("--minutes is from 1 to {MINUTES_MAX}"));
                }
                options.time = Duration::from_secs(minutes * 60);
            }
            "--qemu" => options.qemu = value()?,
            "--build" => options.build = value()?.into(),
            "--bin" => options.bin = value()?.into(),
            "--www" => options.www = value()?.into(),
            other if other.starts_with('-') => return Err(format!("unknown option {other}")),
            word if verb.is_none() => {
                verb = Some(match word {
                    "grade" => Verb::Grade,
                    "beyond" => Verb::Beyond,
                    "all" => Verb::All,
                    "icount" => Verb::Icount,
                    "placement" => Verb::Placement,
                    "soak" => Verb::Soak,
                    "list" => Verb::List,
                    _ => return Err(format!("unknown verb {word}")),
                });
            }
            name => options.names.push(name.to_owned()),
        }
    }
    options.verb = verb.ok_or("no verb")?;
    if matches!(options.verb, Verb::Icount | Verb::Placement) && !options.names.is_empty() {
        return Err("icount and placement count everything: they take no names".to_owned());
    }
    Ok(Some(options))
}

/// The longest that attacks go on: a week.
const MINUTES_MAX: u64 = 7 * 24 * 60;

fn number(option: &str, word: &str) -> Result<u64, String> {
    let number = word.parse();
    number.map_err(|_| format!("{option} takes a number, and {word:?} is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn verb_options_and_names_are_told_apart() {
        let card = &nic::ALL[nic::ALL.len() - 1];
        let line = format!(
            "grade --nic {} testtime --build out --qemu q web",
            card.name
        );
        let options = read(&line).unwrap().unwrap();
        assert_eq!(options.verb, Verb::Grade);
        assert_eq!(options.nics, std::slice::from_ref(card));
        assert_eq!(options.names, ["testtime", "web"]);
        assert_eq!(options.build, PathBuf::from("out"));
        assert_eq!(options.qemu, "q");
        let options = read("all --nic all").unwrap().unwrap();
        assert_eq!((options.verb, options.nics), (Verb::All, &nic::ALL[..]));
        let options = read("icount --bless --stages").unwrap().unwrap();
        assert!(options.verb == Verb::Icount && options.bless && options.stages);
        let options = read("soak --seed 7 --minutes 3 floods:").unwrap().unwrap();
        assert_eq!((options.verb, options.seed), (Verb::Soak, Some(7)));
        assert_eq!(options.time, Duration::from_secs(180));
        assert_eq!(read("beyond").unwrap().unwrap().nics, &nic::ALL[..1]);
    }

    #[test]
    fn help_wins_and_mistakes_are_named() {
        assert_eq!(read("grade --help"), Ok(None));
        assert!(read("").unwrap_err().contains("no verb"));
        assert!(read("frob").unwrap_err().contains("frob"));
        assert!(read("grade --frob").unwrap_err().contains("--frob"));
        assert!(read("grade --nic").unwrap_err().contains("needs a value"));
        for verb in ["icount", "placement"] {
            let words = read(&format!("{verb} udp")).unwrap_err();
            assert!(words.contains("no names"), "{words}");
        }
        for minutes in ["0", "ten", "-1", "99999999"] {
            let words = read(&format!("soak --minutes {minutes}")).unwrap_err();
            assert!(words.contains("--minutes"), "{words}");
        }
        assert!(read("soak --seed x").unwrap_err().contains("\"x\" is none"));
        let words = read("grade --nic igb9").unwrap_err();
        assert!(
            words.contains("igb9") && words.contains(&nic::names()),
            "{words}"
        );
        assert!(usage().contains(&nic::names()), "{}", usage());
    }
}
