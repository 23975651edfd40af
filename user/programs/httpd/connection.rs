//! One client's connection, as a state machine: it is told what happened and says what to
//! do, in operations of the next call ([`runtime::socket::batch`]).
//!
//! ```text
//!            +--------------------------------------------+
//!            v                                            |
//!   hear a head -> discard content -> answer -> send head and body
//!      |  refused, or the last one
//!      +----------> send -> end our direction -> discard what comes -> close
//! ```
//!
//! A message is answered when all of it has come, so that one whose content is malformed is
//! refused whichever way it is cut into segments, and nothing after it is taken for a request.
//!
//! Nothing is heard while output waits, so a client that does not take its answers cannot
//! make us hold more. Requests that arrive together are answered together, in order.

mod input;
mod output;

use super::content::Content;
use super::request::HEAD_MAX;
use super::response::Status;
use super::site::Site;
use super::status::Counters;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::socket::Handle;
use runtime::socket::batch::{Event, Operations};
use runtime::{Error, Result};

/// How long things may take, in nanoseconds.
pub mod limits {
    /// A head, from its first byte to its last; content, from the head on.
    pub const HEAD_NS: u64 = 60_000_000_000;
    /// The same where others wait for a place.
    pub const SCARCE_NS: u64 = 10_000_000_000;
    /// Between two requests.
    pub const IDLE_NS: u64 = 30_000_000_000;
    /// Without a byte taken by the client, while output waits for it.
    pub const STALL_NS: u64 = 15_000_000_000;
    /// For a response in all: this, and a second for every [`RATE`] bytes.
    pub const RESPONSE_NS: u64 = 30_000_000_000;
    /// The slowest a client may take a response, in bytes a second.
    pub const RATE: u64 = 1024;
    /// For the client's end of the stream after ours.
    pub const LINGER_NS: u64 = 2_000_000_000;
}
use limits::*;

/// No more requests are answered before the output, once longer than this, is sent.
pub const OUTPUT_MAX: usize = 8 * 1024;
/// Most bytes heard at once.
pub const RECEIVE_MAX: usize = 4096;
/// Most bytes heard and thrown away after a refusal.
const LINGER_MAX: usize = 256 * 1024;

/// What a connection needs to answer.
pub struct Context<'s, 'a> {
    /// The files.
    pub site: &'s Site<'a>,
    /// What is counted.
    pub counters: &'s mut Counters,
    /// Connections now.
    pub open: usize,
    /// Time now, in nanoseconds of the monotonic clock.
    pub now: u64,
    /// The network server's state, in lines of "name value".
    pub network: &'s dyn Fn() -> String,
    /// What is to be done.
    pub operations: &'s mut Operations<'a>,
}

/// What has happened to a connection.
#[derive(Clone, Copy, Debug)]
pub enum News<'b, 'a> {
    /// Bytes have come.
    Received(&'b [u8]),
    /// The client has ended its direction.
    Ended,
    /// The output is queued; perhaps not at once.
    Sent {
        /// It had to wait, until now.
        waited: bool,
    },
    /// So much of the output is queued, and this is the rest.
    Cut(usize, &'b [u8], &'a [u8]),
    /// There is room for the rest.
    Room,
    /// The client has taken nothing for so long, in nanoseconds.
    Stalled(u64),
    /// The connection is closed.
    Closed,
    /// The connection has failed.
    Failed,
    /// [`Connection::deadline`] has passed.
    Expired,
}

impl<'b, 'a> News<'b, 'a> {
    /// The news in an event, and whose they are; `None` if they are of no connection.
    pub fn of(event: Event<'b, 'a>) -> Option<(Handle, Self)> {
        Some(match event {
            Event::Received { socket, bytes } => (socket, News::Received(bytes)),
            Event::Ended { socket } => (socket, News::Ended),
            Event::Sent { socket, waited } => (socket, News::Sent { waited }),
            Event::Cut {
                socket,
                count,
                head,
                body,
            } => (socket, News::Cut(count, head, body)),
            Event::Room { socket } => (socket, News::Room),
            Event::Closed { socket } => (socket, News::Closed),
            Event::Progress {
                socket, idle_ms, ..
            } => (socket, News::Stalled(u64::from(idle_ms) * 1_000_000)),
            Event::Failed { socket, .. } => (socket, News::Failed),
            Event::Opened { .. }
            | Event::Connected { .. }
            | Event::Accepted { .. }
            | Event::Datagram { .. }
            | Event::Unsent { .. } => return None,
        })
    }
}

/// What to do with a connection then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Keep it.
    Open,
    /// Forget it: it is closed.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Requests are answered.
    Serving,
    /// The output is the last. If the client may still be sending, closing at once could
    /// make the network reset the connection before it has read the answer, so its bytes
    /// are discarded for a while (RFC 9112 §9.6).
    Last { linger: bool },
    /// Our direction has ended; so many bytes more are discarded.
    Lingering { left: usize },
}

/// Output on its way.
#[derive(Debug)]
enum Output<'a> {
    /// None.
    None,
    /// The network has all of it, to queue as there is room: so much, since then.
    Handed { len: u64, at: u64 },
    /// There was no room for this.
    Cut { head: Vec<u8>, body: &'a [u8] },
}

/// One client.
#[derive(Debug)]
pub struct Connection<'a> {
    handle: Handle,
    /// What has arrived and is not consumed.
    input: Vec<u8>,
    /// Something in it has not been looked at.
    fresh: bool,
    /// The head of a request whose content has not all come; else empty.
    head: Vec<u8>,
    /// What of its content is to be discarded.
    content: Content,
    output: Output<'a>,
    phase: Phase,
    /// Since when it is idle, or a head is on its way.
    since: u64,
    /// When the present activity must be over, and when it must have made progress.
    limit: u64,
    patience: u64,
}

impl<'a> Connection<'a> {
    /// A connection accepted at `now`, of which at most [`RECEIVE_MAX`] bytes are wanted.
    pub fn new(handle: Handle, now: u64) -> Self {
        Connection {
            handle,
            input: Vec::new(),
            fresh: false,
            head: Vec::new(),
            content: Content::Done,
            output: Output::None,
            phase: Phase::Serving,
            since: now,
            limit: now + HEAD_NS,
            patience: u64::MAX,
        }
    }

    /// Does what follows from what happened.
    pub fn hear(&mut self, news: News<'_, 'a>, context: &mut Context<'_, 'a>) -> Flow {
        let goes_on = match news {
            News::Received(bytes) => self.received(bytes, context),
            News::Sent { waited } => self.sent(waited, context),
            News::Cut(count, head, body) => {
                self.cut(count, head, body, context);
                Ok(())
            }
            News::Room => self.send_rest(context),
            News::Stalled(idle_ns) => self.stalled(idle_ns, context),
            News::Expired => self.expired(context),
            News::Closed => {
                self.count_sent(context.counters);
                return Flow::Closed;
            }
            // The client wants nothing more, and all it asked is answered.
            News::Ended | News::Failed => Err(Error::NotConnected),
        };
        match goes_on {
            Ok(()) => Flow::Open,
            Err(_) => {
                // One that cannot even be closed is lost until the program ends; a call
                // has room for several operations of every connection.
                let _ = context.operations.close(self.handle);
                Flow::Closed
            }
        }
    }

    /// When to tell it [`News::Expired`].
    pub fn deadline(&self) -> u64 {
        self.limit.min(self.patience)
    }

    /// Whether its place is another's who needs it: it is idle, or has taken long for a request.
    pub fn gives_way(&self, now: u64) -> bool {
        let is_slow = self.phase == Phase::Serving && self.since + SCARCE_NS <= now;
        (self.is_quiet() || is_slow) && matches!(self.output, Output::None)
    }

    /// As [`Connection::gives_way`], if output that was handed over at `now` is queued.
    pub fn may_give_way(&self, now: u64) -> bool {
        let handed_now = matches!(self.output, Output::Handed { at, .. } if at == now);
        self.gives_way(now) || (self.is_quiet() && handed_now)
    }

    /// The lower, the sooner it gives way: the idle first, and of them the longest idle.
    pub fn rank(&self) -> (bool, u64) {
        (!self.is_quiet(), self.since)
    }

    /// Bytes that it keeps: of requests that are not complete, and of answers that wait.
    pub fn held(&self) -> usize {
        let output = match &self.output {
            Output::Cut { head, .. } => head.len(),
            Output::None | Output::Handed { .. } => 0,
        };
        self.input.len() + self.head.len() + output
    }

    /// Since when it is idle, or a head is on its way.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Whether a head is on its way: more than the empty lines before it.
    fn has_head(&self) -> bool {
        !matches!(self.input[..], [] | [b'\r'])
    }

    fn is_quiet(&self) -> bool {
        self.phase == Phase::Serving && self.input.is_empty() && self.content == Content::Done
    }

    /// How much more is wanted.
    fn appetite(&self) -> usize {
        RECEIVE_MAX.min(HEAD_MAX.saturating_sub(self.input.len()))
    }

    fn receive(&self, context: &mut Context<'_, 'a>) -> Result<()> {
        context.operations.receive(self.handle, self.appetite())
    }

    fn stalled(&mut self, idle_ns: u64, context: &mut Context<'_, 'a>) -> Result<()> {
        if matches!(self.output, Output::Handed { .. }) {
            if idle_ns >= STALL_NS {
                context.counters.timed_out += 1;
                return Err(Error::TimedOut);
            }
            self.patience = context.now + (STALL_NS - idle_ns);
        }
        Ok(())
    }

    fn expired(&mut self, context: &mut Context<'_, 'a>) -> Result<()> {
        if context.now < self.limit && matches!(self.output, Output::Handed { .. }) {
            // Only the network knows whether it has stalled.
            self.patience = context.now + STALL_NS;
            return context.operations.progress(self.handle);
        }
        context.counters.timed_out += 1;
        let idle = self.head.is_empty() && self.input.is_empty();
        if self.phase != Phase::Serving || !matches!(self.output, Output::None) || idle {
            return Err(Error::TimedOut);
        }
        let head = core::mem::take(&mut self.head);
        let input = core::mem::take(&mut self.input);
        let input = if head.is_empty() { input } else { head };
        let Context {
            operations,
            counters,
            now,
            ..
        } = context;
        operations.send_with(self.handle, |out| {
            let start = out.len();
            self.refuse(Status::REQUEST_TIMEOUT, &input, out, counters);
            let len = out.len() - start;
            Some((&[], self.hand_over(len, 0, *now)))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
