//! Cases, the bench they run on, and what is kept of those that fail.

use crate::console::is_panic;
use crate::machine::{Image, Machine, Place, Setup};
use crate::nic::Nic;
use crate::options::Options;
use crate::report::{Points, Report, Row, Tally};
use crate::{During, Failure, Outcome, ensure};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// One thing to be shown.
pub struct Case {
    /// What it is called in the table and by the filter.
    pub name: &'static str,
    /// What it is worth in the lab's grade; 0 outside it.
    pub points: u32,
    /// With which of the cards it runs.
    pub cards: Cards,
    /// Shows it.
    pub run: fn(&Bench) -> Outcome,
}

/// With which of the cards that were asked for a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cards {
    /// With each.
    Each,
    /// With the first: it is about something that no card has a part in.
    One,
    /// With the card of this name: it is about what only that card does.
    Only(&'static str),
}

impl Case {
    /// A case beyond the lab's grade, which runs with each card.
    pub const fn new(name: &'static str, run: fn(&Bench) -> Outcome) -> Case {
        Case::graded(name, 0, run)
    }

    /// A case that is worth `points` in the lab's grade.
    pub const fn graded(name: &'static str, points: u32, run: fn(&Bench) -> Outcome) -> Case {
        Case {
            name,
            points,
            cards: Cards::Each,
            run,
        }
    }

    /// The same, but only with one card, whichever that is.
    pub const fn once(self) -> Case {
        Case {
            cards: Cards::One,
            ..self
        }
    }

    /// The same, but only with the card of this name.
    pub const fn only(self, card: &'static str) -> Case {
        Case {
            cards: Cards::Only(card),
            ..self
        }
    }

    /// Whether the command line asks for this case with the card `nic`.
    pub fn wanted(&self, nic: &Nic, options: &Options) -> bool {
        let names = &options.names;
        let with_card = match self.cards {
            Cards::Each => true,
            Cards::One => options.nics.first() == Some(nic),
            Cards::Only(card) => card == nic.name,
        };
        with_card && (names.is_empty() || names.iter().any(|part| self.name.contains(part)))
    }
}

/// Where one case runs: a directory of its own, and the means to boot machines.
pub struct Bench<'a> {
    /// The command line.
    pub options: &'a Options,
    /// The card.
    pub nic: &'static Nic,
    /// The files of this case.
    pub dir: PathBuf,
    booted: Cell<u32>,
    note: RefCell<String>,
}

impl Bench<'_> {
    /// Boots a machine.
    ///
    /// # Errors
    /// If QEMU does not start.
    pub fn boot(&self, setup: &Setup) -> Outcome<Machine> {
        self.boot_with(self.nic, setup)
    }

    /// Boots a machine with a card that need not be the bench's.
    ///
    /// # Errors
    /// If QEMU does not start.
    pub fn boot_with(&self, nic: &'static Nic, setup: &Setup) -> Outcome<Machine> {
        let number = self.booted.get() + 1;
        self.booted.set(number);
        let built = self.image();
        let image = setup.image.as_ref().unwrap_or(&built);
        let place = Place {
            qemu: &self.options.qemu,
            nic,
            dir: &self.dir,
            number,
        };
        Machine::start(setup, image, &place)
    }

    /// What `make image` has built.
    pub fn image(&self) -> Image {
        Image {
            boot: self.options.build.join("boot.elf"),
            module: Some(self.options.build.join("wharf.tar")),
        }
    }

    /// The same programs, with other files to serve: (path below `www`, contents).
    ///
    /// # Errors
    /// If the image cannot be made.
    pub fn image_serving(&self, files: &[(&str, &[u8])]) -> Outcome<Image> {
        let www = self.dir.join("www");
        for (name, contents) in files {
            let file = www.join(name);
            std::fs::create_dir_all(file.parent().unwrap_or(&www))?;
            std::fs::write(&file, contents).during(name)?;
        }
        let out = self.dir.join("image");
        let output = Command::new(repository().join("scripts/image"))
            .args([&self.options.bin, &out, &www])
            .output()
            .during("scripts/image")?;
        ensure(output.status.success(), || {
            format!("scripts/image: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        Ok(Image {
            boot: out.join("boot.elf"),
            module: Some(out.join("wharf.tar")),
        })
    }

    /// Puts what was measured into the case's row.
    pub fn note(&self, words: String) {
        *self.note.borrow_mut() = words;
    }
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// Runs those of `cases` that the command line asks for with the card `nic`, and prints
/// their rows.
pub fn run(
    cases: &[Case],
    nic: &'static Nic,
    options: &Options,
    report: &Report,
) -> (Tally, Points) {
    let mut tally = Tally::default();
    let mut points = Points::default();
    for case in cases.iter().filter(|case| case.wanted(nic, options)) {
        let passed = attempt(case.name, case.points, nic, options, report, case.run);
        tally.passed += usize::from(passed);
        tally.failed += usize::from(!passed);
        points += worth(passed, case.points);
    }
    (tally, points)
}

fn worth(passed: bool, points: u32) -> Points {
    Points {
        got: if passed { points } else { 0 },
        of: points,
    }
}

/// Runs something on a bench of its own, and prints its row. Returns whether it passed.
pub fn attempt(
    name: &str,
    points: u32,
    nic: &'static Nic,
    options: &Options,
    report: &Report,
    run: impl FnOnce(&Bench) -> Outcome,
) -> bool {
    report.running(name);
    let directory = directory_name(&format!("{} {name}", nic.name));
    let bench = Bench {
        options,
        nic,
        dir: options.build.join("running").join(&directory),
        booted: Cell::new(0),
        note: RefCell::default(),
    };
    let start = Instant::now();
    let outcome = fresh(&bench.dir)
        .and_then(|()| run(&bench))
        // What went well may still have shown what no run may show.
        .and_then(|()| logs_are_clean(&bench.dir));
    let passed = outcome.is_ok();
    report.row(&Row {
        name,
        passed,
        points: (points > 0).then_some(worth(passed, points)),
        took: start.elapsed(),
        note: &bench.note.borrow(),
    });
    let place = |folder: &str| options.build.join(folder).join(&directory);
    for folder in ["failed", "passed"] {
        // What an earlier run has kept; there may be nothing.
        let _ = std::fs::remove_dir_all(place(folder));
    }
    let kept = match outcome {
        Ok(()) if options.keep => keep(&bench.dir, &place("passed")),
        Ok(()) => std::fs::remove_dir_all(&bench.dir).during("cleaning up"),
        Err(failure) => {
            report.detail(&failure.0);
            report.detail(&qemus_words(&bench.dir));
            report.detail(&format!("kept: {}/", place("failed").display()));
            keep(&bench.dir, &place("failed"))
        }
    };
    if let Err(why) = kept {
        report.detail(&format!("{}: {why}", bench.dir.display()));
    }
    // Empty, unless something could not be moved out of it.
    let _ = std::fs::remove_dir(options.build.join("running"));
    passed
}

/// The name as one path component: letters and digits, joined by single dashes.
fn directory_name(name: &str) -> String {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

fn fresh(dir: &Path) -> Outcome {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(std::fs::create_dir_all(dir)?)
}

fn keep(dir: &Path, kept: &Path) -> Outcome {
    if let Some(parent) = kept.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Ok(std::fs::rename(dir, kept)?)
}

/// What QEMU itself said, such as who ended it.
fn qemus_words(dir: &Path) -> String {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("-qemu.log"))
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .filter_map(|text| text.lines().last().map(|line| format!("{line}\n")))
        .collect()
}

/// No run may panic, nor use the card in a way that QEMU does not know.
fn logs_are_clean(dir: &Path) -> Outcome {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let forbidden: fn(&str) -> bool = if name.ends_with("-serial.log") {
            is_panic
        } else if name.ends_with("-qemu.log") {
            is_misuse
        } else {
            continue;
        };
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        if let Some(line) = text.lines().find(|line| forbidden(line)) {
            return Err(Failure(format!("{name} has the line {line:?}")));
        }
    }
    Ok(())
}

/// Whether a line of QEMU's log says that the guest has used the card in a way that the
/// card, or QEMU's emulation of it, does not know.
fn is_misuse(line: &str) -> bool {
    line.contains("feature is missing") // the E100's
        || line.starts_with("e1000e_wrn_regs_") // the 82576's, of registers
        || line.starts_with("igb") // and of vectors and descriptors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_directories_follow_the_name() {
        let options = |line: &str| {
            let words = line.split_whitespace().map(str::to_owned);
            crate::options::parse(words).unwrap().unwrap()
        };
        let [e100, igb] = crate::nic::ALL else {
            panic!("two cards")
        };
        let case = || Case::new("testoutput [5 packets]", |_| Ok(()));
        let all = options("grade --nic all");
        assert!(case().wanted(igb, &all));
        assert!(case().wanted(igb, &options("grade --nic all web output")));
        assert!(!case().wanted(igb, &options("grade --nic all web time")));
        assert!(case().once().wanted(e100, &all));
        assert!(!case().once().wanted(igb, &all));
        assert!(case().once().wanted(igb, &options("grade --nic igb")));
        assert!(case().only("igb").wanted(igb, &all));
        assert!(!case().only("igb").wanted(e100, &all));
        assert_eq!(
            directory_name("web server [http://localhost:/index.html]"),
            "web-server-http-localhost-index-html"
        );
    }

    #[test]
    fn misuse_of_either_card_is_seen_and_other_traces_are_not() {
        for line in [
            "eepro100: feature is missing in this emulation: x",
            "e1000e_wrn_regs_write_unknown WARNING: Write to unknown register 0x4, 4 byte(s)",
            "igb_wrn_rx_desc_modes_not_supp Not supported descriptor type: 3",
        ] {
            assert!(is_misuse(line), "{line}");
        }
        assert!(!is_misuse(
            "e1000e_core_read Read from register 0x8, 4 byte(s), value: 0x80080483"
        ));
    }

    #[test]
    fn a_failed_case_keeps_its_files_and_a_passed_one_leaves_none() {
        let build = std::env::temp_dir().join(format!("wharf-suite-{}", std::process::id()));
        let arguments = ["grade", "--build", &build.to_string_lossy()].map(str::to_owned);
        let options = crate::options::parse(arguments).unwrap().unwrap();
        fn write(bench: &Bench, name: &str, text: &str) -> Outcome {
            Ok(std::fs::write(bench.dir.join(name), text)?)
        }
        let cases = [
            Case::graded("good", 5, |bench| write(bench, "1-serial.log", "fine\n")),
            Case::graded("bad one", 10, |bench| {
                write(bench, "1-serial.log", "fine\n")?;
                Err("as it should".into())
            }),
            Case::graded("panicky", 1, |bench| {
                write(bench, "2-serial.log", "x\nkernel panic: y\n")
            }),
            Case::graded("misused card", 2, |bench| {
                write(
                    bench,
                    "1-qemu.log",
                    "eepro100: feature is missing in this emulation: x\n",
                )
            }),
        ];
        let (tally, points) = run(&cases, &crate::nic::ALL[0], &options, &Report::new());
        let kept = |name: &str| build.join("failed").join(name).exists();
        let found = [
            kept("e100-good"),
            kept("e100-bad-one/1-serial.log"),
            kept("e100-panicky/2-serial.log"),
            kept("e100-misused-card/1-qemu.log"),
            build.join("running").exists(),
        ];
        std::fs::remove_dir_all(&build).unwrap();
        assert_eq!(
            tally,
            Tally {
                passed: 1,
                failed: 3
            }
        );
        assert_eq!(points, Points { got: 5, of: 18 });
        assert_eq!(found, [false, true, true, true, false]);
    }
}
