//! The guest's serial console: kept in a log file, and watched line by line.

use crate::{During, Failure, Outcome};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Log {
    text: Vec<u8>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    grown: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `init` says when all programs of the command line have ended. Only the kernel may
/// have something to say after it.
pub const END_OF_RUN: &str = "init: nothing left to run";
/// How long after it the kernel may take for that: a link needs half a second.
const AFTERWORD: Duration = Duration::from_secs(1);

/// Everything the guest has printed so far, and a way to wait for more.
pub struct Console {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

impl Console {
    /// Follows `source` until it ends, and copies it to `log`.
    pub fn follow(mut source: impl Read + Send + 'static, mut log: File) -> Console {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = source.read(&mut chunk) {
                // A full disk shows as a log that is cut: the run itself goes on.
                let _ = log.write_all(&chunk[..len]);
                writer.lock().text.extend_from_slice(&chunk[..len]);
                writer.grown.notify_all();
            }
            writer.lock().ended = true;
            writer.grown.notify_all();
        });
        Console {
            shared,
            reader: Some(reader),
        }
    }

    /// All complete lines so far, without their line ends.
    pub fn lines(&self) -> Vec<String> {
        complete_lines(&self.shared.lock().text)
    }

    /// How many complete lines there are, as a place to wait from.
    pub fn mark(&self) -> usize {
        let log = self.shared.lock();
        log.text.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The last lines, in words for a person.
    pub fn tail(&self) -> String {
        tail(&self.shared.lock().text)
    }

    /// Waits for the line `line`, the whole of it.
    ///
    /// # Errors
    /// As [`Console::wait_where`].
    pub fn wait_line(&self, line: &str, timeout: Duration) -> Outcome<String> {
        self.wait_where(0, &format!("the line {line:?}"), timeout, |l| l == line)
    }

    /// Waits until `line` was printed so many times since the start.
    ///
    /// # Errors
    /// If it was not in time.
    pub fn wait_times(&self, line: &str, times: usize, timeout: Duration) -> Outcome {
        let end = Instant::now() + timeout;
        loop {
            let lines = self.lines();
            let found = lines.iter().filter(|known| *known == line).count();
            if found >= times {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            self.wait_where(lines.len(), line, left, |_| true)
                .during(&format!("{line:?} came {found} times, not {times}"))?;
        }
    }

    /// Waits for a line that begins with `prefix`.
    ///
    /// # Errors
    /// As [`Console::wait_where`].
    pub fn wait_prefix(&self, prefix: &str, timeout: Duration) -> Outcome<String> {
        self.wait_where(0, &format!("a line {prefix:?}..."), timeout, |line| {
            line.starts_with(prefix)
        })
    }

    /// Waits for a complete line, the `from`th or later, that `wanted` accepts, and
    /// returns it. `what` names it in the error.
    ///
    /// # Errors
    /// If it does not come within `timeout`, the guest ends first or panics, or all programs
    /// have ended.
    pub fn wait_where(
        &self,
        from: usize,
        what: &str,
        timeout: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Outcome<String> {
        let mut deadline = Instant::now() + timeout;
        let mut seen = 0; // bytes of lines that were looked at
        let mut number = 0;
        let mut panic = None;
        let mut run_ended = false;
        let mut log = self.shared.lock();
        loop {
            while let Some(len) = log.text[seen..].iter().position(|byte| *byte == b'\n') {
                let line = line_text(&log.text[seen..seen + len]);
                if number >= from && wanted(&line) {
                    return Ok(line);
                }
                if line == END_OF_RUN {
                    run_ended = true;
                    deadline = deadline.min(Instant::now() + AFTERWORD);
                }
                if is_panic(&line) {
                    panic = Some(line);
                }
                seen += len + 1;
                number += 1;
            }
            let now = Instant::now();
            let why = if let Some(line) = panic.take() {
                format!(": the guest panicked: {line}")
            } else if log.ended {
                ": QEMU ended".to_owned()
            } else if now >= deadline && run_ended {
                ": all programs have ended".to_owned()
            } else if now >= deadline {
                format!(" within {} s", timeout.as_secs_f32())
            } else {
                log = self
                    .shared
                    .grown
                    .wait_timeout(log, deadline - now)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                continue;
            };
            let tail = tail(&log.text);
            return Err(Failure(format!("{what} did not come{why}; {tail}")));
        }
    }

    /// Waits until the text so far, unfinished line included, contains `part`; returns
    /// when it was seen.
    ///
    /// # Errors
    /// If it does not come within `timeout` or the guest ends first.
    pub fn wait_text(&self, part: &str, timeout: Duration) -> Outcome<Instant> {
        let deadline = Instant::now() + timeout;
        let mut log = self.shared.lock();
        loop {
            let now = Instant::now();
            if log.text.windows(part.len()).any(|w| w == part.as_bytes()) {
                return Ok(now);
            }
            if log.ended || now >= deadline {
                let why = match log.ended {
                    true => ": QEMU ended".to_owned(),
                    false => format!(" within {} s", timeout.as_secs_f32()),
                };
                let tail = tail(&log.text);
                return Err(Failure(format!("{part:?} did not come{why}; {tail}")));
            }
            log = self
                .shared
                .grown
                .wait_timeout(log, deadline - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until the source has ended, so that the log is complete.
    pub fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            // The thread does not panic; if it did, its log is what there is.
            let _ = reader.join();
        }
    }
}

/// Whether a line of the console tells of a panic of the kernel or a program.
pub fn is_panic(line: &str) -> bool {
    line.contains("kernel panic") || line.contains("panicked at ")
}

fn line_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned()
}

fn complete_lines(text: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = text.split(|byte| *byte == b'\n').map(line_text).collect();
    lines.pop(); // what follows the last line end is not a line yet
    lines
}

fn tail(text: &[u8]) -> String {
    let lines: Vec<String> = text
        .split(|byte| *byte == b'\n')
        .map(line_text)
        .filter(|line| !line.is_empty())
        .collect();
    match &lines[lines.len().saturating_sub(3)..] {
        [] => "the guest has printed nothing".to_owned(),
        last => format!("the guest's last lines: {}", last.join(" | ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::pipe;

    const SOON: Duration = Duration::from_millis(30);
    const LATER: Duration = Duration::from_secs(20);

    fn console() -> (Console, std::io::PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        let log = File::options().write(true).open("/dev/null").unwrap();
        (Console::follow(reader, log), writer)
    }

    #[test]
    fn only_whole_lines_count() {
        let (console, mut guest) = console();
        guest.write_all(b"one\r\nbou").unwrap();
        assert_eq!(console.wait_line("one", LATER).unwrap(), "one");
        let words = console.wait_line("bou", SOON).unwrap_err().0;
        assert!(
            words.starts_with("the line \"bou\" did not come within 0.03 s")
                && words.contains("one | bou"),
            "{words}"
        );
        guest.write_all(b"nd\n\n").unwrap();
        assert_eq!(console.wait_line("bound", LATER).unwrap(), "bound");
        console.wait_line("", LATER).unwrap();
        assert_eq!(console.lines(), ["one", "bound", ""]);
        assert_eq!(console.mark(), 3);
    }

    #[test]
    fn a_line_printed_while_waiting_wakes_the_waiter() {
        let (console, mut guest) = console();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                console
                    .wait_prefix("Waiting for packets", LATER)
                    .map(|_| ())
            });
            guest.write_all(b"Waiting for packets...\n").unwrap();
        });
    }

    #[test]
    fn a_mark_hides_earlier_lines() {
        let (console, mut guest) = console();
        guest.write_all(b"again\n").unwrap();
        console.wait_line("again", LATER).unwrap();
        let mark = console.mark();
        let wait = |timeout| console.wait_where(mark, "it", timeout, |line| line == "again");
        assert!(wait(SOON).is_err());
        guest.write_all(b"again\n").unwrap();
        wait(LATER).unwrap();
    }

    #[test]
    fn a_panic_or_the_end_stops_the_waiting_at_once() {
        let (mut console, mut guest) = console();
        guest.write_all(b"kernel panic: no\n").unwrap();
        let words = console.wait_line("bound", LATER).unwrap_err().0;
        assert!(words.contains("panicked: kernel panic: no"), "{words}");
        drop(guest);
        console.finish();
        assert!(console.wait_text("bound", LATER).is_err());
        assert!(console.wait_text("nel pan", LATER).is_ok());
    }

    /// As with a card that is not attached: a guest whose programs have all given up.
    #[test]
    fn where_no_program_runs_any_more_nothing_is_waited_for() {
        let (console, mut guest) = console();
        guest
            .write_all(b"hello: no card\ninit: nothing left to run\n")
            .unwrap();
        let start = Instant::now();
        let words = console.wait_line("bound", LATER).unwrap_err().0;
        assert!(
            words.contains("\"bound\" did not come: all programs have ended")
                && words.contains("no card"),
            "{words}"
        );
        assert!(start.elapsed() < 5 * AFTERWORD, "{:?}", start.elapsed());
        console.wait_line(END_OF_RUN, LATER).unwrap();
        // The kernel may still have its word.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| console.wait_line("card 0: link up", LATER));
            guest.write_all(b"card 0: link up\n").unwrap();
            waiting.join().unwrap().unwrap();
        });
    }

    /// A guest that prints nothing at all, and one that says the same for ever.
    #[test]
    fn who_never_says_it_is_waited_for_no_longer_than_the_patience() {
        let patience = Duration::from_millis(200);
        for talks in [false, true] {
            let (console, mut guest) = console();
            let start = Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Until the console is gone, or long enough to tell a failure.
                    while talks && start.elapsed() < 10 * patience {
                        guest.write_all(b"netd: no card\n").unwrap();
                        std::thread::sleep(patience / 20);
                    }
                });
                let words = console.wait_line("bound", patience).unwrap_err().0;
                let expected = match talks {
                    false => "the guest has printed nothing",
                    true => "the guest's last lines: netd: no card",
                };
                let expected = format!("the line \"bound\" did not come within 0.2 s; {expected}");
                assert!(words.starts_with(&expected), "{words}");
                assert!(start.elapsed() < 5 * patience, "{:?}", start.elapsed());
            });
        }
    }

    #[test]
    fn the_end_without_a_line_is_an_error() {
        let (console, guest) = console();
        drop(guest);
        let words = console.wait_line("bound", LATER).unwrap_err().0;
        let expected = "the line \"bound\" did not come: QEMU ended; the guest has printed nothing";
        assert_eq!(words, expected);
    }
}
