//! QEMU's test protocol (docs/devel/testing/qtest of QEMU): a hand in the machine's ports
//! and memory while the guest runs, so that a test can do to a card what its driver would
//! never do to it.
//!
//! One line asks, one line answers: `OK`, `OK 0x1f`, or a refusal. QEMU stops the guest's
//! processor for none of it, so what takes two accesses, as the configuration space does
//! by its ports, may only be used when the guest does not do the same: after its boot.

use crate::{During, Failure, Outcome};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long QEMU may take for one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Configuration mechanism #1 (PCI Local Bus Specification 3.0, §3.2.2.3.2). Bus numbers
/// behind a bridge are reached, too.
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const CONFIG_ENABLE: u32 = 1 << 31;

/// Where a PCI function is: bus, device, function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(pub u8, pub u8, pub u8);

impl Function {
    /// What selects one of its registers.
    fn select(self, register: u8) -> u32 {
        let Function(bus, device, function) = self;
        CONFIG_ENABLE
            | u32::from(bus) << 16
            | u32::from(device) << 11
            | u32::from(function) << 8
            | u32::from(register & 0xfc)
    }
}

/// A connection to a running QEMU that was started with `-qtest`.
pub struct Qtest {
    socket: BufReader<TcpStream>,
}

impl Qtest {
    /// The QEMU at the other end of `socket`.
    ///
    /// # Errors
    /// If the socket is unusable.
    pub fn new(socket: TcpStream) -> Outcome<Qtest> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER))?;
        socket.set_write_timeout(Some(ANSWER))?;
        Ok(Qtest {
            socket: BufReader::new(socket),
        })
    }

    /// Reads 32 bits of physical memory or of a device there.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn read32(&mut self, address: u64) -> Outcome<u32> {
        self.value(&format!("readl {address:#x}"))
    }

    /// Writes 32 bits of physical memory or of a device there.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn write32(&mut self, address: u64, value: u32) -> Outcome {
        self.ask(&format!("writel {address:#x} {value:#x}"))
            .map(drop)
    }

    /// Reads 8 bits of an I/O port.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn in8(&mut self, port: u16) -> Outcome<u32> {
        self.value(&format!("inb {port:#x}"))
    }

    /// Reads 32 bits of a function's configuration space.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn config_read(&mut self, function: Function, register: u8) -> Outcome<u32> {
        self.select(function, register)?;
        self.value(&format!("inl {CONFIG_DATA:#x}"))
    }

    /// Writes 32 bits of a function's configuration space.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn config_write(&mut self, function: Function, register: u8, value: u32) -> Outcome {
        self.select(function, register)?;
        self.ask(&format!("outl {CONFIG_DATA:#x} {value:#x}"))
            .map(drop)
    }

    fn select(&mut self, function: Function, register: u8) -> Outcome {
        let select = function.select(register);
        self.ask(&format!("outl {CONFIG_ADDRESS:#x} {select:#x}"))
            .map(drop)
    }

    fn value(&mut self, request: &str) -> Outcome<u32> {
        let value = self.ask(request)?;
        // A read of 32 bits may be told with more digits.
        value
            .and_then(|value| u32::try_from(value).ok())
            .ok_or_else(|| Failure(format!("qtest: {request} was answered without a value")))
    }

    fn ask(&mut self, request: &str) -> Outcome<Option<u64>> {
        self.socket
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .during("qtest")?;
        loop {
            let mut line = String::new();
            if self.socket.read_line(&mut line).during("qtest")? == 0 {
                return Err("qtest: QEMU has closed it".into());
            }
            match parse(line.trim_end()) {
                Line::Answer(value) => return Ok(value),
                Line::Event => {}
                Line::Refusal => {
                    return Err(Failure(format!("qtest: {request}: {}", line.trim_end())));
                }
            }
        }
    }
}

/// What a line of QEMU is.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// It was done; with the value that was read.
    Answer(Option<u64>),
    /// An interrupt line changed: told whenever it likes.
    Event,
    /// It was not done, or is not understood.
    Refusal,
}

fn parse(line: &str) -> Line {
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("OK"), None, _) => Line::Answer(None),
        (Some("OK"), Some(value), None) => value
            .strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map_or(Line::Refusal, |value| Line::Answer(Some(value))),
        (Some("IRQ"), Some("raise" | "lower"), _) => Line::Event,
        _ => Line::Refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn answers_are_told_from_events_and_refusals() {
        assert_eq!(parse("OK"), Line::Answer(None));
        assert_eq!(parse("OK 0x100507"), Line::Answer(Some(0x10_0507)));
        let whole = "OK 0x00000000ffffffff";
        assert_eq!(parse(whole), Line::Answer(Some(0xffff_ffff)));
        assert_eq!(parse("IRQ raise 11"), Line::Event);
        for refusal in [
            "",
            "FAIL Unknown command 'x'",
            "OK 12",
            "OK 0xg",
            "OK 0x1 2",
            "okay",
        ] {
            assert_eq!(parse(refusal), Line::Refusal, "{refusal}");
        }
    }

    #[test]
    fn configuration_space_is_selected_as_the_specification_has_it() {
        assert_eq!(Function(0, 3, 0).select(4), 0x8000_1804);
        assert_eq!(Function(1, 0x1f, 7).select(0x33), 0x8001_ff30);
    }

    #[test]
    fn requests_are_lines_and_answers_come_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut qemu = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut qtest = Qtest::new(listener.accept().unwrap().0).unwrap();
        let script = "OK\nIRQ raise 11\nOK 0x12098086\nOK\nOK\nFAIL no\nOK\nOK 0x1ffffffff\n";
        qemu.write_all(script.as_bytes()).unwrap();
        let card = Function(0, 3, 0);
        assert_eq!(qtest.config_read(card, 0), Ok(0x1209_8086));
        qtest.config_write(card, 4, 0x103).unwrap();
        let words = qtest.write32(0xfeb8_0400, 5).unwrap_err().0;
        assert!(words.contains("FAIL no"), "{words}");
        assert!(qtest.read32(0).is_err(), "an answer without a value");
        assert!(qtest.in8(0xc000).is_err(), "a value of 33 bits");
        qemu.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(qtest.in8(0xc000).unwrap_err().0.contains("closed"));
        drop(qtest);
        let mut asked = String::new();
        std::io::Read::read_to_string(&mut qemu, &mut asked).unwrap();
        let first = "outl 0xcf8 0x80001800\ninl 0xcfc\noutl 0xcf8 0x80001804\noutl 0xcfc 0x103\n";
        assert!(asked.starts_with(first), "{asked}");
    }
}
