//! The serial console: the first UART, and `log` on top of it.

use core::fmt::{self, Write};
use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Mutex;
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

/// COM1.
const PORT: u16 = 0x3f8;
/// Tries until the FIFO takes more. At 115200 baud its 16 bytes need 1.4 ms; a line that
/// takes none for this long is broken, and the text is dropped.
const TRIES: u32 = 100_000;

static UART: Mutex<Option<Uart16550<PioBackend>>> = Mutex::new(None);

/// The console, to write to.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_bytes(text.as_bytes());
        Ok(())
    }
}

/// Sets up the UART and the log. A machine without a UART runs silently.
pub fn init() {
    // SAFETY: COM1 is the kernel's alone once the boot stage has ended.
    let uart = unsafe { Uart16550::new_port(PORT) }.ok();
    *UART.lock() = uart.and_then(|mut uart| {
        let config = Config {
            baud_rate: BaudRate::Baud115200,
            ..Config::DEFAULT
        };
        uart.init(config).ok()?;
        Some(uart)
    });
    if log::set_logger(&Console).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Writes bytes as they are. Lines end in `\n`, as the lab's did and its graders expect.
pub fn write_bytes(mut bytes: &[u8]) {
    let mut uart = UART.lock();
    let Some(uart) = uart.as_mut() else { return };
    let mut tries = TRIES;
    while !bytes.is_empty() && tries > 0 {
        match uart.send_bytes(bytes) {
            0 => tries -= 1,
            sent => {
                bytes = &bytes[sent..];
                tries = TRIES;
            }
        }
    }
}

/// Frees the console for a panic: the code that holds its lock will not go on.
pub fn seize() {
    // SAFETY: the kernel has one processor and runs with interrupts off; whoever held the
    // lock is the code that panicked.
    unsafe { UART.force_unlock() };
}

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // The boot's story is told plainly; what is wrong says so.
        let _ = match record.level() {
            Level::Error => writeln!(Console, "error: {}", record.args()),
            Level::Warn => writeln!(Console, "warning: {}", record.args()),
            _ => writeln!(Console, "{}", record.args()),
        };
    }

    fn flush(&self) {}
}
