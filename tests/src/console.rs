//! The guest's serial console: kept in a log file, and watched line by line.

use crate::{Failure, Outcome};
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

    /// Waits for the line `line`, the whole of it.
    ///
    /// # Errors
    /// As [`Console::wait_where`].
    pub fn wait_line(&self, line: &str, timeout: Duration) -> Outcome<String> {
        self.wait_where(0, &format!("the line {line:?}"), timeout, |l| l == line)
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
    /// If it does not come within `timeout`, the guest ends first, or the guest panics.
    pub fn wait_where(
        &self,
        from: usize,
        what: &str,
        timeout: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Outcome<String> {
        let deadline = Instant::now() + timeout;
        let mut seen = 0; // bytes of lines that were looked at
        let mut number = 0;
        let mut panic = None;
        let mut log = self.shared.lock();
        loop {
            while let Some(len) = log.text[seen..].iter().position(|byte| *byte == b'\n') {
                let line = line_text(&log.text[seen..seen + len]);
                if number >= from && wanted(&line) {
                    return Ok(line);
                }
                if is_panic(&line) {
                    panic = Some(line);
                }
                seen += len + 1;
                number += 1;
            }
            let now = Instant::now();
            let why = if let Some(line) = panic.take() {
                format!("the guest panicked: {line}")
            } else if log.ended {
                "QEMU ended".to_owned()
            } else if now >= deadline {
                format!("nothing came within {} s", timeout.as_secs_f32())
            } else {
                log = self
                    .shared
                    .grown
                    .wait_timeout(log, deadline - now)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                continue;
            };
            return Err(Failure(format!(
                "waiting for {what}: {why}; {}",
                tail(&log.text)
            )));
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
                return Err(Failure(format!(
                    "waiting for {part:?}: it did not come; {}",
                    tail(&log.text)
                )));
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
        [] => "it printed nothing".to_owned(),
        last => format!("its last lines: {}", last.join(" | ")),
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
            words.contains("nothing came") && words.contains("one | bou"),
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

    #[test]
    fn the_end_without_a_line_is_an_error() {
        let (console, guest) = console();
        drop(guest);
        let words = console.wait_line("bound", LATER).unwrap_err().0;
        assert!(words.contains("QEMU ended; it printed nothing"), "{words}");
    }
}
