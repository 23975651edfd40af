//! QEMU's gdbstub: a hand on the processor, so that a test can end a program at any
//! instruction, as a fault of its own would (GDB manual, "Remote Serial Protocol").
//!
//! No program of the guest can do that to another that is not its child, and none is given a
//! way to for the sake of a test.

use crate::{During, Failure, Outcome, ensure};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// How long QEMU may take for one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Stops the processor, outside any packet.
const INTERRUPT: u8 = 3;
/// Where RIP and CS are in the answer to `g`, in bytes, and the number of RIP for `P`.
const RIP: usize = 16 * 8;
const CS: usize = RIP + 8 + 4;
const RIP_NUMBER: u32 = 16;
/// Bytes of code around the instruction by which a program is told from others.
const SAMPLE: usize = 64;

/// A connection to the stub of a running QEMU; the machine runs but within its calls.
pub struct Debugger {
    socket: BufReader<TcpStream>,
}

/// The code of the programs of an image: one of them, and all others.
pub struct Programs {
    one: Vec<u8>,
    others: Vec<Vec<u8>>,
}

impl Programs {
    /// The program `name` and those that run beside it, of the directory of binaries.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read(bin: &Path, name: &str, others: &[&str]) -> Outcome<Programs> {
        let read = |name: &str| std::fs::read(bin.join(name)).during(name);
        Ok(Programs {
            one: read(name)?,
            others: others
                .iter()
                .map(|name| read(name))
                .collect::<Outcome<_>>()?,
        })
    }

    /// Whether these bytes of code are the one's, and no other's: programs share a library.
    fn is_of_one(&self, code: &[u8]) -> bool {
        let has = |program: &[u8]| program.windows(code.len()).any(|window| window == code);
        has(&self.one) && !self.others.iter().any(|other| has(other))
    }
}

impl Debugger {
    /// The stub at the other end of `socket`, which has stopped the machine when it was
    /// connected: it goes on.
    ///
    /// # Errors
    /// If the socket is unusable.
    pub fn new(socket: TcpStream) -> Outcome<Debugger> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER))?;
        socket.set_write_timeout(Some(ANSWER))?;
        let mut debugger = Debugger {
            socket: BufReader::new(socket),
        };
        debugger.send(b"c")?;
        Ok(debugger)
    }

    /// Stops the processor where it is, and if that is in the program, has it go on at address
    /// 0, which is mapped nowhere. Returns whether it was.
    ///
    /// # Errors
    /// If QEMU does not answer.
    pub fn strike(&mut self, programs: &Programs) -> Outcome<bool> {
        self.socket.get_mut().write_all(&[INTERRUPT])?;
        let stop = self.packet()?;
        ensure(matches!(stop.first(), Some(b'T' | b'S')), || {
            format!("the stub says {:?}", String::from_utf8_lossy(&stop))
        })?;
        let registers = unhex(&self.ask(b"g")?)?;
        let at = registers.get(RIP..RIP + 8).and_then(|b| b.first_chunk());
        let rip = u64::from_le_bytes(*at.ok_or("no RIP")?);
        let ring = registers.get(CS).ok_or("no CS")? & 3;
        let is_struck = ring == 3 && {
            let code = self.ask(format!("m{rip:x},{SAMPLE:x}").as_bytes())?;
            // At the end of a page there are fewer.
            code[0] != b'E' && programs.is_of_one(&unhex(&code)?)
        };
        if is_struck {
            let zero = format!("P{RIP_NUMBER:x}={:016x}", 0);
            let done = self.ask(zero.as_bytes())?;
            ensure(done == b"OK", || "the stub does not set RIP".to_owned())?;
        }
        self.send(b"c")?;
        Ok(is_struck)
    }

    fn ask(&mut self, request: &[u8]) -> Outcome<Vec<u8>> {
        self.send(request)?;
        let answer = self.packet()?;
        ensure(!answer.is_empty(), || {
            format!(
                "the stub does not know {:?}",
                String::from_utf8_lossy(request)
            )
        })?;
        Ok(answer)
    }

    /// Sends a packet, and takes its acknowledgement.
    fn send(&mut self, packet: &[u8]) -> Outcome {
        let sum = sum(packet);
        let mut bytes = vec![b'$'];
        bytes.extend_from_slice(packet);
        bytes.extend_from_slice(format!("#{sum:02x}").as_bytes());
        self.socket.get_mut().write_all(&bytes).during("gdbstub")?;
        match self.byte()? {
            b'+' => Ok(()),
            other => Err(Failure(format!("the stub answers {:?}", char::from(other)))),
        }
    }

    /// Takes the next packet, and acknowledges it.
    fn packet(&mut self) -> Outcome<Vec<u8>> {
        while self.byte()? != b'$' {}
        let mut packet = Vec::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => packet.push(byte),
            }
        }
        let told = unhex(&[self.byte()?, self.byte()?])?;
        ensure(told == [sum(&packet)], || {
            "a packet with a wrong sum".to_owned()
        })?;
        self.socket.get_mut().write_all(b"+").during("gdbstub")?;
        Ok(packet)
    }

    fn byte(&mut self) -> Outcome<u8> {
        let mut byte = [0];
        self.socket.read_exact(&mut byte).during("gdbstub")?;
        Ok(byte[0])
    }
}

/// The sum behind a packet.
fn sum(packet: &[u8]) -> u8 {
    packet.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Bytes from pairs of hexadecimal digits.
fn unhex(text: &[u8]) -> Outcome<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let digits = std::str::from_utf8(pair).ok();
        digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    match bytes {
        Some(bytes) if rest.is_empty() => Ok(bytes),
        _ => Err(Failure(format!(
            "no bytes: {:?}",
            String::from_utf8_lossy(text)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_program_is_struck_where_its_code_is_and_nowhere_else() {
        let (one, other) = (vec![1; 200], vec![2; 200]);
        let programs = Programs {
            one: [&one[..], &other].concat(),
            others: vec![other.clone()],
        };
        assert!(programs.is_of_one(&one[..SAMPLE]));
        assert!(!programs.is_of_one(&other[..SAMPLE]));
        assert!(!programs.is_of_one(&[3; SAMPLE]));
    }

    #[test]
    fn it_speaks_as_gdb_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stub = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = listener.accept().unwrap().0;
        let stubs = std::thread::spawn(move || {
            let mut packets = Vec::new();
            let registers = "00".repeat(RIP) + "0010000000000000" + "00000000" + "23000000";
            let code = "01".repeat(SAMPLE);
            let answers = ["", "T05thread:01;", &registers, &code, "OK", ""];
            for answer in answers {
                let mut byte = [0];
                let mut packet = Vec::new();
                loop {
                    stub.read_exact(&mut byte).unwrap();
                    match byte[0] {
                        INTERRUPT => break,
                        b'+' => {}
                        b'#' => {
                            stub.read_exact(&mut [0; 2]).unwrap();
                            stub.write_all(b"+").unwrap();
                            break;
                        }
                        byte => packet.push(byte),
                    }
                }
                packets.push(String::from_utf8(packet).unwrap());
                if !answer.is_empty() {
                    let sum = sum(answer.as_bytes());
                    stub.write_all(format!("${answer}#{sum:02x}").as_bytes())
                        .unwrap();
                }
            }
            packets
        });
        let mut debugger = Debugger::new(ours).unwrap();
        let programs = Programs {
            one: vec![1; 200],
            others: Vec::new(),
        };
        assert!(debugger.strike(&programs).unwrap());
        let packets = stubs.join().unwrap();
        let zero = format!("$P10={:016x}", 0);
        assert_eq!(packets, ["$c", "", "$g", "$m1000,40", &zero, "$c"]);
    }
}
