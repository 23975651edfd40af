//! COM1, for the one line that the boot stage prints if it cannot go on.

use core::fmt::{self, Write};

use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

const COM1: u16 = 0x3f8;
/// How often to ask for room before a byte is given up: seconds, when a byte takes 87 us.
const ATTEMPTS: u32 = 1_000_000;

struct Com1(Uart16550<PioBackend>);

impl Write for Com1 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        let mut attempts = 0;
        while !rest.is_empty() {
            match self.0.send_bytes(rest) {
                0 if attempts == ATTEMPTS => return Err(fmt::Error),
                0 => attempts += 1,
                sent => {
                    rest = &rest[sent..];
                    attempts = 0;
                }
            }
        }
        Ok(())
    }
}

/// Prints a line at 115200 baud, 8 bits, no parity. Without a port, or with one that takes
/// nothing, the text is lost.
pub fn line(text: fmt::Arguments<'_>) {
    // SAFETY: COM1's eight ports are a UART's or nobody's, and nothing else here uses them.
    let Ok(uart) = (unsafe { Uart16550::new_port(COM1) }) else {
        return;
    };
    let mut com1 = Com1(uart);
    let config = Config {
        baud_rate: BaudRate::Baud115200,
        ..Config::DEFAULT
    };
    if com1.0.init(config).is_ok() {
        // Nobody is left to tell if this fails.
        let _ = writeln!(com1, "{text}\r");
    }
}
