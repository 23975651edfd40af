//! The console: `print!` and `println!`, and where `log` goes.
//!
//! What one `print!` ends of lines is written with one system call, so that the lines of several
//! programs do not interleave, nor a text of several lines with theirs. [`flush`] and the program's
//! end write a line that has no end yet.

use abi::syscall::PRINT_MAX;
use core::fmt::{self, Write};
use spin::Mutex;

/// Prints, without a line end.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print(format_args!($($argument)*)) };
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    () => { $crate::console::print(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Bytes not written yet: never a complete line.
struct Line {
    bytes: [u8; PRINT_MAX],
    len: usize,
}

static LINE: Mutex<Line> = Mutex::new(Line::new());

impl Line {
    const fn new() -> Self {
        Line {
            bytes: [0; PRINT_MAX],
            len: 0,
        }
    }

    /// How many bytes its whole lines have, if there are any.
    fn lines(&self) -> Option<usize> {
        let end = self.bytes[..self.len].iter().rposition(|&b| b == b'\n');
        end.map(|end| end + 1)
    }

    /// Adds a text, and writes the whole lines that there are then.
    fn say(&mut self, text: fmt::Arguments<'_>) {
        // A formatting trait that fails is the program's own; there is nobody to tell.
        let _ = self.write_fmt(text);
        if let Some(count) = self.lines() {
            self.emit(count);
        }
    }

    /// Writes the first `count` bytes to the console and moves the rest up.
    fn emit(&mut self, count: usize) {
        let mut rest = &self.bytes[..count];
        // Of a console that fails nothing can be said: the text is lost, the program goes on.
        while let Ok(written @ 1..) = crate::sys::print(rest) {
            rest = rest.get(written..).unwrap_or(&[]);
            if rest.is_empty() {
                break;
            }
        }
        self.bytes.copy_within(count..self.len, 0);
        self.len -= count;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.len == PRINT_MAX {
                // No system call takes more. Whole lines go first, so that no other program's
                // comes into the middle of one; a line this long is written in pieces.
                self.emit(self.lines().unwrap_or(PRINT_MAX));
            }
            let take = rest.len().min(PRINT_MAX - self.len);
            let (now, later) = rest.split_at(take);
            self.bytes[self.len..self.len + take].copy_from_slice(now);
            self.len += take;
            rest = later;
        }
        Ok(())
    }
}

/// What [`print!`](crate::print!) and [`println!`](crate::println!) call.
pub fn print(text: fmt::Arguments<'_>) {
    LINE.lock().say(text);
}

/// Writes an unfinished line now.
pub fn flush() {
    let mut line = LINE.lock();
    let len = line.len;
    if len > 0 {
        line.emit(len);
    }
}

/// Prints a line even if the program stopped in the middle of printing another.
pub fn print_last_words(text: fmt::Arguments<'_>) {
    match LINE.try_lock() {
        Some(mut line) if line.len == 0 => line.say(format_args!("{text}\n")),
        Some(mut line) => line.say(format_args!("\n{text}\n")),
        None => Line::new().say(format_args!("\n{text}\n")),
    }
}

struct Console;

impl log::Log for Console {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // The tar reader warns of every member that is not a file: directories are no news.
        metadata.level() <= log::Level::Info && !metadata.target().starts_with("tar_no_std")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let name = crate::environment::name();
        match record.level() {
            log::Level::Info => crate::println!("{name}: {}", record.args()),
            level => crate::println!("{name}: {level}: {}", record.args()),
        }
    }

    fn flush(&self) {
        flush();
    }
}

/// Sends `log` messages up to `Info` to the console, behind the program's name.
pub fn start_log() {
    static CONSOLE: Console = Console;
    if log::set_logger(&CONSOLE).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    /// What the kernel is told to print, call by call, at most `most` bytes taken each.
    fn calls(most: u64) -> Receiver<String> {
        let (sender, receiver) = channel();
        fake::install(move |call, [address, len, ..]| {
            assert_eq!(call, abi::Syscall::Print);
            let len = len.min(most);
            // SAFETY: the slice that `sys::print` was given.
            #[allow(unsafe_code)]
            let bytes = unsafe { fake::read(address, len) };
            sender.send(String::from_utf8(bytes).unwrap()).unwrap();
            Ok(len)
        });
        receiver
    }

    #[test]
    fn a_line_is_one_call() {
        let calls = calls(u64::MAX);
        let mut line = Line::new();
        for n in 0..3 {
            line.say(format_args!("{n} "));
        }
        assert!(calls.try_recv().is_err());
        line.say(format_args!("go\nnext"));
        assert_eq!(calls.try_recv().unwrap(), "0 1 2 go\n");
        line.say(format_args!("{}\n", format_args!(" line\nand one")));
        assert_eq!(calls.try_recv().unwrap(), "next line\nand one\n");
        assert!(calls.try_recv().is_err());
    }

    #[test]
    fn a_long_line_comes_in_pieces_and_complete() {
        let calls = calls(700);
        let text = "x".repeat(3 * PRINT_MAX) + "\n";
        Line::new().say(format_args!("{text}"));
        assert_eq!(calls.try_iter().collect::<String>(), text);
    }

    #[test]
    fn many_lines_are_written_in_pieces_that_end_where_lines_do() {
        let calls = calls(u64::MAX);
        let text: String = (0..500).map(|n| format!("line {n}\n")).collect();
        Line::new().say(format_args!("{text}"));
        let pieces: Vec<String> = calls.try_iter().collect();
        assert!(pieces.len() > 2, "{}", pieces.len());
        assert!(
            pieces.iter().all(|piece| piece.ends_with('\n')),
            "{pieces:?}"
        );
        assert_eq!(pieces.concat(), text);
    }

    #[test]
    fn a_console_that_fails_does_not_stop_the_program() {
        fake::install(|_, _| Err(abi::Error::DeviceFailed));
        Line::new().write_str(&"y\n".repeat(2000)).unwrap();
    }
}
