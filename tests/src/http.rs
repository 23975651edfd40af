//! A small HTTP/1.1 client (RFC 9112) that shows a test all it gets, and sends what a
//! test wants sent, wrong requests included.

use crate::{During, Failure, Outcome, ensure, is_timeout, nothing_since, read_all, words};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longest line and most header lines of an answer that is still one.
const LINE_MAX: u64 = 8192;
const HEADERS_MAX: usize = 64;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// `HTTP/1.1`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Fails unless the status is `status`.
    ///
    /// # Errors
    /// What it is instead.
    pub fn expect(self, status: u16) -> Outcome<Response> {
        ensure(self.status == status, || {
            format!("status {}, expected {status}", self.status)
        })?;
        Ok(self)
    }

    /// Fails unless the header has this value.
    ///
    /// # Errors
    /// What it is instead.
    pub fn expect_header(&self, name: &str, value: &str) -> Outcome {
        ensure(self.header(name) == Some(value), || {
            format!("{name} is {:?}, expected {value:?}", self.header(name))
        })
    }
}

/// A connection to a web server.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Speaks HTTP on `stream`, whose time-outs are set.
    pub fn new(stream: TcpStream) -> Connection {
        Connection {
            stream: BufReader::new(stream),
        }
    }

    /// Sets how long an answer may take.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn patience(&mut self, timeout: Duration) -> Outcome {
        Ok(self.stream.get_mut().set_read_timeout(Some(timeout))?)
    }

    /// Whether something, if only the end, can be read within `timeout`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn readable(&mut self, timeout: Duration) -> Outcome<bool> {
        let stream = self.stream.get_mut();
        let before = stream.read_timeout()?;
        stream.set_read_timeout(Some(timeout))?;
        let waiting = match stream.peek(&mut [0]) {
            Err(error) => !is_timeout(&error),
            Ok(_) => true,
        };
        stream.set_read_timeout(before)?;
        Ok(waiting)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the server does not take them.
    pub fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.stream.get_mut().write_all(bytes).during("sending")
    }

    /// Sends a request without a body: `GET`, a target, and more header lines, each with
    /// its line end.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn request(&mut self, method: &str, target: &str, headers: &str) -> Outcome {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: wharf\r\n{headers}\r\n").as_bytes())
    }

    /// Sends a `GET` and takes the answer.
    ///
    /// # Errors
    /// As [`Connection::request`] and [`Connection::response`].
    pub fn get(&mut self, target: &str, headers: &str) -> Outcome<Response> {
        self.request("GET", target, headers)?;
        self.response(true).during(target)
    }

    /// Takes the next answer, with its body if it has one: an answer to `HEAD` has none
    /// whatever its headers say.
    ///
    /// # Errors
    /// If it is no HTTP answer or ends early.
    pub fn response(&mut self, body: bool) -> Outcome<Response> {
        let first = self.line()?;
        let mut words = first.splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words
            .next()
            .and_then(|status| status.parse().ok())
            .filter(|_| version.starts_with("HTTP/1."))
            .ok_or_else(|| Failure(format!("answer begins {first:?}")))?;
        let mut response = Response {
            version,
            status,
            ..Response::default()
        };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Failure(format!("header line {line:?}")))?;
            ensure(response.headers.len() < HEADERS_MAX, || {
                "too many header lines".to_owned()
            })?;
            response
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        // RFC 9112 section 6.3.
        if body && status != 304 && status != 204 {
            match response.header("content-length") {
                Some(len) => {
                    let len: usize = len
                        .parse()
                        .map_err(|_| Failure(format!("Content-Length is {len:?}")))?;
                    response.body = vec![0; len];
                    read_all(&mut self.stream, &mut response.body).during("the body")?;
                }
                None => {
                    self.stream
                        .read_to_end(&mut response.body)
                        .during("the body, up to the end of the connection")?;
                }
            }
        }
        Ok(response)
    }

    /// Waits for the server to close the connection.
    ///
    /// # Errors
    /// If something else comes first.
    pub fn closed(&mut self) -> Outcome {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => Ok(()),
            // Closed with bytes of ours unread: also closed.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Ok(_) => Err("the server sent more instead of closing".into()),
            Err(error) => Err(error).during("the server did not close"),
        }
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = Vec::new();
        let since = Instant::now();
        (&mut self.stream)
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| {
                let then = match is_timeout(&error) {
                    true => nothing_since(since),
                    false => words(&error),
                };
                let came = match line.is_empty() {
                    true => "no answer".to_owned(),
                    false => format!("of the answer {:?} came", line.escape_ascii().to_string()),
                };
                Failure(format!("{came}: {then}"))
            })?;
        let text = line
            .strip_suffix(b"\r\n")
            .ok_or_else(|| match line.is_empty() {
                true => Failure("the server closed without an answer".to_owned()),
                false => Failure(format!(
                    "answer has the line {:?}",
                    line.escape_ascii().to_string()
                )),
            })?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A connection whose server has said `answer` and closed.
    fn answered(answer: &[u8]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        listener.accept().unwrap().0.write_all(answer).unwrap();
        Connection::new(client)
    }

    #[test]
    fn answers_in_sequence_are_told_apart() {
        let mut connection = answered(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag:  \"x\" \r\n\r\nabc\
              HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n\
              HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\
              HTTP/1.0 404 Not Found\r\n\r\nto the end",
        );
        let first = connection.response(true).unwrap().expect(200).unwrap();
        assert_eq!(first.body, b"abc");
        first.expect_header("etag", "\"x\"").unwrap();
        assert!(first.expect_header("etag", "y").is_err());
        assert_eq!(connection.response(true).unwrap().body, b"");
        let head = connection.response(false).unwrap();
        assert_eq!(head.header("content-length"), Some("3"));
        let last = connection.response(true).unwrap();
        assert_eq!((last.status, &last.body[..]), (404, &b"to the end"[..]));
        assert!(last.expect(200).unwrap_err().0.contains("status 404"));
        connection.closed().unwrap();
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (answer, word) in [
            (&b""[..], "closed without"),
            (b"HTTP/1.1 20", "has the line"),
            (b"SMTP 200 OK\r\n\r\n", "begins"),
            (b"HTTP/1.1 abc OK\r\n\r\n", "begins"),
            (b"HTTP/1.1 200 OK\n\n", "has the line"),
            (b"HTTP/1.1 200 OK\r\nfoo\r\n\r\n", "header line"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                "Content-Length",
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "body"),
        ] {
            let words = answered(answer).response(true).unwrap_err().0;
            assert!(words.contains(word), "{words}");
        }
        assert!(answered(b"more").closed().is_err());
    }

    #[test]
    fn a_server_that_falls_silent_is_told_of_in_time_and_in_words() {
        let patience = Duration::from_millis(100);
        for (answer, expected) in [
            ("", "/: no answer: nothing for "),
            (
                "HTTP/1.1 2",
                "/: of the answer \"HTTP/1.1 2\" came: nothing for ",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabc",
                "/: the body: 3 of 7 bytes came, then nothing for ",
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\nabc",
                "/: the body, up to the end of the connection: no answer in time",
            ),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client =
                Connection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (mut server, _) = listener.accept().unwrap();
            client.patience(patience).unwrap();
            server.write_all(answer.as_bytes()).unwrap();
            let start = Instant::now();
            let words = client.get("/", "").unwrap_err().0;
            assert!(words.starts_with(expected), "{words}");
            assert!(start.elapsed() < 20 * patience, "{:?}", start.elapsed());
        }
    }

    #[test]
    fn readable_tells_silence_from_an_answer_and_from_the_end() {
        let soon = Duration::from_millis(20);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut client = Connection::new(client);
        assert_eq!(client.readable(soon), Ok(false));
        server.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        assert_eq!(client.readable(Duration::from_secs(20)), Ok(true));
        drop(server);
        assert_eq!(client.readable(soon), Ok(true));
    }
}
