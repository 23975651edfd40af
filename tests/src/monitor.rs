//! QEMU's monitor: one command at a time, over the machine protocol (QMP) on a socket.

use crate::frames::Ip;
use crate::{During, Failure, Outcome};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// How long QEMU may take for one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection to the monitor of a running QEMU.
pub struct Monitor {
    socket: BufReader<TcpStream>,
}

impl Monitor {
    /// Greets the QEMU that has connected.
    ///
    /// # Errors
    /// If it does not answer as a QEMU does.
    pub fn new(socket: TcpStream) -> Outcome<Monitor> {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(ANSWER))?;
        socket.set_write_timeout(Some(ANSWER))?;
        let mut monitor = Monitor {
            socket: BufReader::new(socket),
        };
        let greeting = monitor.line()?;
        if !greeting.starts_with(r#"{"QMP""#) {
            return Err(Failure(format!("monitor: greeting is {greeting:?}")));
        }
        monitor.execute(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(monitor)
    }

    /// Runs a command of the human monitor, such as `info usernet` or `set_link n0 off`,
    /// and returns what it prints.
    ///
    /// # Errors
    /// If QEMU ends, or refuses the command itself; a refusal that is only printed is
    /// not an error.
    pub fn command(&mut self, line: &str) -> Outcome<String> {
        let request = format!(
            r#"{{"execute":"human-monitor-command","arguments":{{"command-line":"{line}"}}}}"#
        );
        let answer = self.execute(&request)?;
        let text = answer
            .trim_end()
            .strip_prefix(r#"{"return": ""#)
            .and_then(|rest| rest.strip_suffix(r#""}"#))
            .ok_or_else(|| Failure(format!("monitor: {line:?} was answered {answer:?}")))?;
        Ok(text.replace(r"\r", "").replace(r"\n", "\n"))
    }

    fn execute(&mut self, request: &str) -> Outcome<String> {
        self.socket
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .during("monitor")?;
        loop {
            let line = self.line()?;
            // Events come whenever they like, between the answers.
            if line.starts_with(r#"{"return""#) {
                return Ok(line);
            }
            if line.starts_with(r#"{"error""#) {
                return Err(Failure(format!("monitor: {request} was refused: {line}")));
            }
        }
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        match self.socket.read_line(&mut line).during("monitor")? {
            0 => Err("monitor: QEMU has closed it".into()),
            _ => Ok(line),
        }
    }
}

/// The port of this machine that QEMU forwards to `guest_port`, read from the text of
/// `info usernet`.
///
/// # Errors
/// If there is none.
pub fn forwarded_port(
    usernet: &str,
    protocol: &str,
    (guest, guest_port): (Ip, u16),
) -> Outcome<u16> {
    let guest = Ipv4Addr::from(guest).to_string();
    let kind = format!("{protocol}[HOST_FORWARD]");
    usernet
        .lines()
        .find_map(|line| {
            // Kind, descriptor, source address and port, destination address and port.
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (port, host, to) = (fields.get(3)?, fields.get(4)?, fields.get(5)?);
            (fields[0] == kind && *host == guest && *to == guest_port.to_string())
                .then(|| port.parse().ok())
                .flatten()
        })
        .ok_or_else(|| {
            Failure(format!(
                "QEMU forwards no {protocol} port to {guest}:{guest_port}"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::GUEST_IP;
    use std::net::TcpListener;

    const USERNET: &str = "Hub -1 (n0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[HOST_FORWARD]  11       127.0.0.1 43211       10.0.2.15    80     0     0
  TCP[HOST_FORWARD]   8       127.0.0.1 34197       10.0.2.15     7     0     0
  UDP[HOST_FORWARD]   3       127.0.0.1 45591       10.0.2.15     7     0     0
";

    #[test]
    fn forwarded_ports_are_found() {
        let port = |protocol, to| forwarded_port(USERNET, protocol, to);
        assert_eq!(port("TCP", (GUEST_IP, 80)), Ok(43211));
        assert_eq!(port("TCP", (GUEST_IP, 7)), Ok(34197));
        assert_eq!(port("UDP", (GUEST_IP, 7)), Ok(45591));
        assert!(port("UDP", (GUEST_IP, 80)).is_err());
        assert!(port("TCP", ([10, 0, 2, 16], 80)).is_err());
        assert!(forwarded_port("", "TCP", (GUEST_IP, 7)).is_err());
    }

    #[test]
    fn answers_are_told_from_events() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut qemu = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let script = concat!(
            "{\"QMP\": {\"version\": {}}}\r\n{\"return\": {}}\r\n",
            "{\"timestamp\": {}, \"event\": \"RESUME\"}\r\n{\"return\": \"a\\r\\nb\\r\\n\"}\r\n",
            "{\"error\": {\"class\": \"GenericError\"}}\r\n",
        );
        qemu.write_all(script.as_bytes()).unwrap();
        let mut monitor = Monitor::new(listener.accept().unwrap().0).unwrap();
        assert_eq!(monitor.command("info usernet").unwrap(), "a\nb\n");
        assert!(monitor.command("foo").unwrap_err().0.contains("refused"));
        drop(qemu);
        assert!(monitor.command("foo").unwrap_err().0.contains("monitor"));
    }
}
