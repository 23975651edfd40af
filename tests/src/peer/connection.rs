//! One TCP connection of the server: what is read is answered at once; only what the socket
//! does not take is kept.

use super::Site;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send, sendmsg};
use std::io::IoSlice;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Echo,
    Http,
}

/// What a connection waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// As before.
    Same,
    /// For something to read.
    Read,
    /// For room to write.
    Write,
    /// Nothing: it is over.
    Close,
}

/// The sockets stay blocking, which saves a call per connection; no call on them blocks.
const FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// Longest request that is still one.
const REQUEST_MAX: usize = 16 << 10;

pub struct Connection {
    stream: TcpStream,
    service: Service,
    /// What the socket did not take yet. Nothing is read meanwhile.
    unsent: Vec<u8>,
    /// A file's bytes that follow `unsent`: the target and how far.
    body: Option<(String, usize)>,
    /// The beginning of a request.
    partial: Vec<u8>,
    /// Whether to close when all is sent.
    last: bool,
    writing: bool,
}

/// How a write went.
enum Sent {
    All,
    Blocked,
    Failed,
}

impl Connection {
    pub fn new(stream: TcpStream, service: Service) -> Connection {
        Connection {
            stream,
            service,
            unsent: Vec::new(),
            body: None,
            partial: Vec::new(),
            last: false,
            writing: false,
        }
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Does what can be done now.
    pub fn serve(&mut self, scratch: &mut [u8], site: Option<&Site>) -> Next {
        let sent = match (self.writing, site) {
            (true, site) => self.resume(site),
            (false, Some(site)) if self.service == Service::Http => self.requests(scratch, site),
            (false, _) => self.echo(scratch),
        };
        let writing = match sent {
            Sent::Failed => return Next::Close,
            Sent::All if self.last => return Next::Close,
            Sent::All => false,
            Sent::Blocked => true,
        };
        match (std::mem::replace(&mut self.writing, writing), writing) {
            (false, true) => Next::Write,
            (true, false) => Next::Read,
            _ => Next::Same,
        }
    }

    fn raw(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    fn echo(&mut self, scratch: &mut [u8]) -> Sent {
        let len = match recv(self.raw(), scratch, FLAGS) {
            Ok(0) => return Sent::Failed, // the client's end
            Ok(len) => len,
            Err(Errno::EAGAIN) => return Sent::All,
            Err(_) => return Sent::Failed,
        };
        match send(self.raw(), &scratch[..len], FLAGS) {
            Ok(sent) if sent == len => Sent::All,
            Ok(sent) => {
                self.unsent.extend_from_slice(&scratch[sent..len]);
                Sent::Blocked
            }
            Err(Errno::EAGAIN) => {
                self.unsent.extend_from_slice(&scratch[..len]);
                Sent::Blocked
            }
            Err(_) => Sent::Failed,
        }
    }

    fn requests(&mut self, scratch: &mut [u8], site: &Site) -> Sent {
        let len = match recv(self.raw(), scratch, FLAGS) {
            Ok(0) => return Sent::Failed,
            Ok(len) => len,
            Err(Errno::EAGAIN) => return Sent::All,
            Err(_) => return Sent::Failed,
        };
        if self.partial.is_empty() {
            return self.answer(&scratch[..len], site);
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(&scratch[..len]);
        self.answer(&bytes, site)
    }

    /// Answers the requests in `bytes`, one after the other, until one does not fit.
    fn answer(&mut self, mut bytes: &[u8], site: &Site) -> Sent {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut headers);
            let used = match request.parse(bytes) {
                Ok(httparse::Status::Complete(used)) => used,
                Ok(httparse::Status::Partial) if bytes.len() < REQUEST_MAX => {
                    self.partial = bytes.to_vec();
                    return Sent::All;
                }
                Ok(httparse::Status::Partial) | Err(_) => return Sent::Failed,
            };
            let target = request.path.unwrap_or("/");
            let connection = request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("connection"));
            let says = |word: &str| {
                connection.is_some_and(|c| c.value.eq_ignore_ascii_case(word.as_bytes()))
            };
            let keep = match request.version {
                Some(1) => !says("close"),
                _ => says("keep-alive"),
            };
            self.last = !keep;
            let answer = site.answer(target);
            let body: &[u8] = match request.method {
                Some("HEAD") => &[],
                _ => &answer.body,
            };
            let head = answer.head(keep);
            let mut sent = 0;
            // All of it in one call, unless the socket's buffer is full.
            while sent < head.len() + body.len() {
                let parts = [
                    IoSlice::new(&head[sent.min(head.len())..]),
                    IoSlice::new(&body[sent.saturating_sub(head.len())..]),
                ];
                match sendmsg::<()>(self.raw(), &parts, &[], FLAGS, None) {
                    Ok(len) => sent += len,
                    Err(Errno::EAGAIN) => {
                        self.unsent.extend_from_slice(&head[sent.min(head.len())..]);
                        self.body = Some((target.to_owned(), sent.saturating_sub(head.len())));
                        self.partial = bytes[used..].to_vec();
                        return Sent::Blocked;
                    }
                    Err(_) => return Sent::Failed,
                }
            }
            bytes = &bytes[used..];
            if self.last || bytes.is_empty() {
                return Sent::All;
            }
        }
    }

    /// Goes on with what was blocked, then with requests that came in the same read.
    fn resume(&mut self, site: Option<&Site>) -> Sent {
        while !self.unsent.is_empty() {
            match send(self.raw(), &self.unsent, FLAGS) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(Errno::EAGAIN) => return Sent::Blocked,
                Err(_) => return Sent::Failed,
            }
        }
        let Some(site) = site else {
            return Sent::All;
        };
        let raw = self.raw();
        if let Some((target, sent)) = &mut self.body {
            let body = &site.answer(target).body;
            while *sent < body.len() {
                match send(raw, &body[*sent..], FLAGS) {
                    Ok(len) => *sent += len,
                    Err(Errno::EAGAIN) => return Sent::Blocked,
                    Err(_) => return Sent::Failed,
                }
            }
        }
        self.body = None;
        let rest = std::mem::take(&mut self.partial);
        match rest.is_empty() || self.last {
            true => Sent::All,
            false => self.answer(&rest, site),
        }
    }
}
