//! A load of small requests: so many connections, each with one request at a time, kept or
//! new for each. One thread and one epoll set, since the client shares the processor with
//! what it measures.

use super::download::head_end;
use super::files::File;
use super::stats::Latencies;
use crate::{Failure, Outcome, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, getsockopt, recv, send,
    socket, sockopt,
};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Answers before this are not counted: connections open, caches fill.
const WARM_UP: Duration = Duration::from_millis(200);

/// A connection that has had no answer within does not come up.
const RAMP: Duration = Duration::from_secs(4);

/// An answer that takes longer is one that failed.
const ANSWER: Duration = Duration::from_secs(10);

/// A request that is still open at the end, and older, counts as failed.
const OPEN: Duration = Duration::from_secs(1);

/// With so many failures there is no sense in going on.
const FAILURES_MAX: u64 = 10_000;

const FLAGS: MsgFlags = MsgFlags::MSG_NOSIGNAL.union(MsgFlags::MSG_DONTWAIT);

/// What is asked of the server.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whether connections are kept.
    pub keep: bool,
    /// How many at once.
    pub connections: u16,
    /// For how long.
    pub duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The time of each answer.
    pub times: Latencies,
    /// All answers, those of the warm-up included.
    pub answers: u64,
    /// Seconds in which the counted ones came.
    pub seconds: f64,
    /// Connections that failed and answers that were wrong.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
}

enum State {
    Connecting,
    Waiting,
    /// The answer is there; the server has yet to close.
    Closing,
    /// It is kept, had an answer, and waits for the others.
    Ready,
}

/// What a connection needs next.
enum Next {
    Wait,
    Reopen,
}

struct Connection {
    fd: OwnedFd,
    state: State,
    since: Instant,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    fn is_late(&self) -> bool {
        !self.is_ready() && self.since.elapsed() > RAMP
    }
}

struct Client<'a> {
    address: SockaddrIn,
    keep: bool,
    request: &'a [u8],
    expected: &'a [u8],
    epoll: Epoll,
    /// The last head that was taken apart: the next one is mostly the same.
    known_head: Vec<u8>,
    loaded: Loaded,
    counts_from: Instant,
    /// Connections that are kept are opened one after the other, each when the one before has
    /// had an answer: QEMU's user network takes no more than one at a time.
    ramping: bool,
}

/// Asks for `file` as `plan` says.
///
/// # Errors
/// If nothing works at all; single failures are counted.
pub fn run(address: SocketAddrV4, file: File, plan: &Plan) -> Outcome<Loaded> {
    let connection = if plan.keep { "keep-alive" } else { "close" };
    let target = file.target;
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: guest\r\nConnection: {connection}\r\n\r\n");
    let start = Instant::now();
    let mut client = Client {
        address: SockaddrIn::from(address),
        keep: plan.keep,
        request: request.as_bytes(),
        expected: &file.contents(),
        epoll: Epoll::new(EpollCreateFlags::empty()).map_err(failed)?,
        known_head: Vec::new(),
        loaded: Loaded::default(),
        counts_from: start,
        ramping: true,
    };
    let mut connections = Vec::new();
    let wanted = usize::from(plan.connections);
    let mut end = start;
    let mut next_look = start + Duration::from_secs(1);
    let mut events = [EpollEvent::empty(); 128];
    loop {
        let came_up = connections.iter().all(Connection::is_ready);
        let gave_up = connections.last().is_some_and(Connection::is_late);
        let go_on = came_up || gave_up || !plan.keep;
        if client.ramping && go_on && connections.len() < wanted {
            // If one does not come up, the others are opened all the same; those that do not
            // come up either are failures in the end.
            let rest = if came_up && plan.keep {
                1
            } else {
                wanted - connections.len()
            };
            for _ in 0..rest {
                connections.push(client.open(connections.len(), Vec::new())?);
            }
        } else if client.ramping && go_on {
            client.begin(&mut connections)?;
            end = client.counts_from + plan.duration;
        }
        let count = match client.epoll.wait(&mut events, 100_u8) {
            Err(Errno::EINTR) => 0,
            other => other.map_err(failed)?,
        };
        for event in &events[..count] {
            let token = event.data() as usize;
            let connection = &mut connections[token];
            match client.serve(connection, event.events()) {
                Ok(Next::Wait) => {}
                Ok(Next::Reopen) => client.reopen(token, connection)?,
                Err(why) => {
                    client.fail(why)?;
                    client.reopen(token, connection)?;
                }
            }
        }
        let now = Instant::now();
        if !client.ramping && now >= end {
            break;
        }
        if now >= next_look {
            next_look = now + Duration::from_secs(1);
            for (token, connection) in connections.iter_mut().enumerate() {
                if now - connection.since > ANSWER && !connection.is_ready() {
                    client.fail("no answer".to_owned())?;
                    client.reopen(token, connection)?;
                }
            }
        }
    }
    let late = connections.iter().filter(|c| c.since.elapsed() > OPEN);
    for _ in late {
        client.fail("no answer until the end".to_owned())?;
    }
    client.loaded.seconds = client.counts_from.elapsed().as_secs_f64();
    ensure(client.loaded.times.count() > 0, || {
        let why = client.loaded.first_error.as_deref();
        format!("no request was answered: {}", why.unwrap_or("silence"))
    })?;
    Ok(client.loaded)
}

fn failed(error: Errno) -> Failure {
    Failure(format!("load: {error}"))
}

impl Client<'_> {
    /// Begins to connect.
    fn open(&self, token: usize, mut buffer: Vec<u8>) -> Outcome<Connection> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None).map_err(failed)?;
        let since = Instant::now();
        match connect(fd.as_raw_fd(), &self.address) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(failed(error)),
        }
        // Edges: one registration for the life of the connection.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let added = self.epoll.add(&fd, EpollEvent::new(flags, token as u64));
        added.map_err(failed)?;
        // Room for an answer that is too long, which is then seen to be.
        buffer.resize(self.expected.len() + 4096, 0);
        Ok(Connection {
            fd,
            state: State::Connecting,
            since,
            buffer,
            filled: 0,
        })
    }

    /// Closes, and begins to connect again.
    fn reopen(&self, token: usize, connection: &mut Connection) -> Outcome {
        let buffer = std::mem::take(&mut connection.buffer);
        *connection = self.open(token, buffer)?;
        Ok(())
    }

    /// Asks on all connections at once; what counts begins soon.
    fn begin(&mut self, connections: &mut [Connection]) -> Outcome {
        self.ramping = false;
        let now = Instant::now();
        self.counts_from = now + WARM_UP;
        for connection in connections.iter_mut().filter(|c| c.is_ready()) {
            connection.state = State::Waiting;
            connection.since = now;
            if let Err(why) = self.ask(connection) {
                self.fail(why)?; // and the server's end of it will be seen
            }
        }
        Ok(())
    }

    fn fail(&mut self, why: String) -> Outcome {
        self.loaded.errors += 1;
        self.loaded.first_error.get_or_insert(why);
        ensure(self.loaded.errors < FAILURES_MAX, || {
            let why = self.loaded.first_error.as_deref().unwrap_or_default();
            format!("{FAILURES_MAX} failures; the first: {why}")
        })
    }

    /// Does what can be done now.
    fn serve(&mut self, connection: &mut Connection, events: EpollFlags) -> Result<Next, String> {
        if let State::Connecting = connection.state {
            match getsockopt(&connection.fd, sockopt::SocketError) {
                Ok(0) => {}
                Ok(error) => return Err(format!("connecting: {}", Errno::from_raw(error))),
                Err(error) => return Err(format!("connecting: {error}")),
            }
            if events.contains(EpollFlags::EPOLLOUT) {
                connection.state = State::Waiting;
                self.ask(connection)?;
            }
            return Ok(Next::Wait);
        }
        loop {
            let room = &mut connection.buffer[connection.filled..];
            let len = match recv(connection.fd.as_raw_fd(), room, FLAGS) {
                Ok(len) => len,
                Err(Errno::EAGAIN) => return Ok(Next::Wait),
                Err(error) => return Err(format!("receiving: {error}")),
            };
            match (&connection.state, len) {
                (State::Closing, 0) => return Ok(Next::Reopen),
                (State::Closing, _) => return Err("bytes after the answer".to_owned()),
                (_, 0) => return Err("the server closed early".to_owned()),
                (State::Ready, _) => return Err("bytes without a request".to_owned()),
                _ => connection.filled += len,
            }
            if !self.is_complete(&connection.buffer[..connection.filled])? {
                continue;
            }
            let now = Instant::now();
            self.loaded.answers += 1;
            if !self.ramping && now >= self.counts_from {
                let took = now - connection.since;
                self.loaded.times.push(took.as_nanos() as u64);
            }
            connection.filled = 0;
            connection.since = now;
            if !self.keep {
                connection.state = State::Closing;
                continue;
            }
            if self.ramping {
                connection.state = State::Ready;
            } else {
                self.ask(connection)?;
            }
            return Ok(Next::Wait);
        }
    }

    fn ask(&self, connection: &mut Connection) -> Result<(), String> {
        match send(connection.fd.as_raw_fd(), self.request, FLAGS) {
            Ok(len) if len == self.request.len() => Ok(()),
            Ok(_) => Err("the request was cut".to_owned()),
            Err(error) => Err(format!("sending: {error}")),
        }
    }

    /// Whether these bytes are the whole answer.
    fn is_complete(&mut self, bytes: &[u8]) -> Result<bool, String> {
        if self.known_head.is_empty() || !bytes.starts_with(&self.known_head) {
            let Some(head) = head_end(bytes) else {
                return Ok(false);
            };
            check_head(&bytes[..head], self.expected.len())?;
            self.known_head = bytes[..head].to_vec();
        }
        let body = &bytes[self.known_head.len()..];
        if body.len() < self.expected.len() {
            return Ok(false);
        }
        if body != self.expected {
            return Err("another body than expected".to_owned());
        }
        Ok(true)
    }
}

/// Whether a head is one of a good answer with a body of this length.
fn check_head(head: &[u8], len: usize) -> Result<(), String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    response
        .parse(head)
        .map_err(|error| format!("no HTTP answer: {error}"))?;
    if response.code != Some(200) {
        return Err(format!("status {:?}", response.code));
    }
    let told = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    if told != Some(len) {
        return Err(format!("Content-Length {told:?}, expected {len}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
