//! Cases, the bench they run on, and what is kept of those that fail.

use crate::console::is_panic;
use crate::machine::{Image, Machine, Place, Setup};
use crate::nic::Nic;
use crate::options::Options;
use crate::report::{Points, Report, Row, Tally};
use crate::wire::from_guest;
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
        self.is_for(nic, options)
            && (names.is_empty() || names.iter().any(|part| self.name.contains(part)))
    }

    /// Whether it is about the card `nic` of those that were asked for.
    fn is_for(&self, nic: &Nic, options: &Options) -> bool {
        match self.cards {
            Cards::Each => true,
            Cards::One => options.nics.first() == Some(nic),
            Cards::Only(card) => card == nic.name,
        }
    }
}

/// Fails if a name that the command line gives is in none of these cases' names, or only in
/// those of cases for other cards.
///
/// # Errors
/// The name, and all that there are.
pub fn names_exist(options: &Options, cases: &[&Case]) -> Outcome {
    let there: Vec<&str> = cases
        .iter()
        .filter(|case| options.nics.iter().any(|nic| case.is_for(nic, options)))
        .map(|case| case.name)
        .collect();
    for part in &options.names {
        ensure(there.iter().any(|name| name.contains(part)), || {
            let cards: Vec<&str> = options.nics.iter().map(|nic| nic.name).collect();
            format!(
                "no case with the card {} has {part:?} in its name; these are there:\n    {}",
                cards.join(" or "),
                there.join("\n    ")
            )
        })?;
    }
    Ok(())
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

impl<'a> Bench<'a> {
    /// A bench whose files go into the directory `dir`.
    pub(crate) fn new(options: &'a Options, nic: &'static Nic, dir: PathBuf) -> Bench<'a> {
        Bench {
            options,
            nic,
            dir,
            booted: Cell::new(0),
            note: RefCell::default(),
        }
    }

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
        self.built("wharf.tar")
    }

    /// The same with the programs of `user/attackers`.
    pub fn image_with_attackers(&self) -> Image {
        self.built("attackers.tar")
    }

    fn built(&self, module: &str) -> Image {
        Image {
            boot: self.options.build.join("boot.elf"),
            module: Some(self.options.build.join(module)),
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

    /// Removes the files of the machines so far, which have ended.
    ///
    /// # Errors
    /// What the system says, and what the logs have that none may have.
    pub(crate) fn clean(&self) -> Outcome {
        logs_are_clean(&self.dir)?;
        fresh(&self.dir)
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
    let bench = Bench::new(options, nic, options.build.join("running").join(&directory));
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
            report.detail(&evidence(&bench.dir, &place("failed"), bench.booted.get()));
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

/// Where the files of the last machine are kept, and what is in them.
fn evidence(dir: &Path, kept: &Path, number: u32) -> String {
    let name = |name: &str| format!("{number}-{name}");
    let place = |file: &str| kept.join(file).display().to_string();
    let (capture, log) = (name("frames.pcap"), name("serial.log"));
    if !dir.join(&log).exists() {
        return format!("kept: {}/", kept.display());
    }
    let frames = match crate::pcap::read(&dir.join(&capture)) {
        Ok(frames) => format!(
            "{} has {} frames, {} of them from the guest",
            place(&capture),
            frames.len(),
            from_guest(&frames)
        ),
        Err(Failure(why)) => format!("{}: {why}", place(&capture)),
    };
    let text = std::fs::read(dir.join(&log)).unwrap_or_default();
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    format!("{frames}\n{} has {lines} lines", place(&log))
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
        let (first, last) = (&crate::nic::ALL[0], crate::nic::ALL.last().unwrap());
        let alone = options(&format!("grade --nic {}", last.name));
        let case = || Case::new("testoutput [5 packets]", |_| Ok(()));
        let all = options("grade --nic all");
        assert!(case().wanted(last, &all));
        assert!(case().wanted(last, &options("grade --nic all web output")));
        assert!(!case().wanted(last, &options("grade --nic all web time")));
        assert!(case().once().wanted(first, &all));
        assert!(!case().once().wanted(last, &all));
        assert!(case().once().wanted(last, &alone));
        assert!(case().only(last.name).wanted(last, &all));
        assert!(!case().only(last.name).wanted(first, &all));
        assert_eq!(
            directory_name("web server [http://localhost:/index.html]"),
            "web-server-http-localhost-index-html"
        );
    }

    #[test]
    fn names_that_no_case_has_are_told_with_all_there_are() {
        let (first, last) = (
            crate::nic::ALL[0].name,
            crate::nic::ALL.last().unwrap().name,
        );
        let cases = [
            Case::new("web server [/]", |_| Ok(())),
            Case::new("cable pulled", |_| Ok(())).only(last),
        ];
        let check = |line: &str| {
            let words = line.split_whitespace().map(str::to_owned);
            let options = crate::options::parse(words).unwrap().unwrap();
            names_exist(&options, &cases.each_ref())
        };
        for good in ["", " web", " web [/]", " cable web"] {
            assert_eq!(check(&format!("all --nic all{good}")), Ok(()), "{good}");
        }
        for wrong in ["all nosuch", "all web nosuch", "grade --nic all nosuch"] {
            let words = check(wrong).unwrap_err().0;
            assert!(
                words.contains("\"nosuch\"") && words.contains("web server [/]"),
                "{words}"
            );
        }
        let words = check(&format!("all --nic {first} cable")).unwrap_err().0;
        assert!(
            !words.contains("pulled") && words.contains(first),
            "{words}"
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
        let card = |name: &str| format!("{}-{name}", crate::nic::ALL[0].name);
        let kept = |name: &str| build.join("failed").join(name).exists();
        let found = [
            kept(&card("good")),
            kept(&card("bad-one/1-serial.log")),
            kept(&card("panicky/2-serial.log")),
            kept(&card("misused-card/1-qemu.log")),
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

    #[test]
    fn a_failure_names_the_files_and_what_is_in_them() {
        let dir = std::env::temp_dir().join(format!("wharf-evidence-{}", std::process::id()));
        fresh(&dir).unwrap();
        let kept = Path::new("build/failed/x");
        assert_eq!(evidence(&dir, kept, 0), "kept: build/failed/x/");
        std::fs::write(dir.join("2-serial.log"), "one\ntwo\n").unwrap();
        let words = evidence(&dir, kept, 2);
        assert!(
            words.starts_with("build/failed/x/2-frames.pcap: "),
            "{words}"
        );
        let mut capture = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        capture.extend([0; 16]);
        capture.extend(1u32.to_le_bytes());
        for source in [[7; 6], crate::wire::OUR_MAC, [7; 6]] {
            capture.extend([0, 0, 14, 14].map(u32::to_le_bytes).concat());
            capture.extend([&[1; 6][..], &source, &[8, 0]].concat());
        }
        std::fs::write(dir.join("2-frames.pcap"), capture).unwrap();
        let words = evidence(&dir, kept, 2);
        std::fs::remove_dir_all(&dir).unwrap();
        let expected = "build/failed/x/2-frames.pcap has 3 frames, 2 of them from the guest\n\
                        build/failed/x/2-serial.log has 2 lines";
        assert_eq!(words, expected);
    }
}
