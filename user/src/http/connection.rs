//! One client's connection, as a state machine over a [`Stream`].
//!
//! ```text
//!            +--------------------------------------------+
//!            v                                            |
//!   read a head -> answer -> write head and body -> discard content
//!      |  refused, or the last one                        
//!      +----------> write -> end our direction -> discard what comes -> close
//! ```
//!
//! Nothing is read while output waits, so a client that does not take its answers cannot
//! make us hold more. Requests that arrive together are answered together, in order.

use super::answer::Answer;
use super::content::Content;
use super::request::{FIELDS_MAX, HEAD_MAX, Method, Parsed, Request};
use super::response::{Persistence, Status};
use super::site::Site;
use super::status::Counters;
use crate::socket::events;
use crate::stream::Stream;
use crate::{Error, Result};
use alloc::string::String;
use alloc::vec::Vec;

/// How long things may take, in nanoseconds.
pub mod limits {
    /// A head, from its first byte to its last; content, from the head on.
    pub const HEAD_NS: u64 = 10_000_000_000;
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

/// No more requests are answered before the output, once longer than this, is written.
pub const OUTPUT_MAX: usize = 8 * 1024;
/// Size of the input buffer until a longer head comes.
const INPUT_MIN: usize = 2048;
/// Reads and writes before it is another connection's turn.
const ROUNDS: usize = 8;
/// Most bytes read and thrown away after a refusal.
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
}

/// What to do with a connection after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Wait for [`Connection::wanted`] or [`Connection::deadline`].
    Open,
    /// Close it: what was written is still sent.
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

/// One client.
#[derive(Debug)]
pub struct Connection<'a> {
    /// `start..end` has arrived and is not consumed.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Something in it has not been looked at.
    fresh: bool,
    /// What of the last request's content is to be discarded.
    content: Content,
    /// Heads and small bodies, `sent` of them written; then `body`.
    output: Vec<u8>,
    sent: usize,
    body: &'a [u8],
    phase: Phase,
    /// When the present activity must be over, and when it must have made progress.
    limit: u64,
    patience: u64,
}

impl<'a> Connection<'a> {
    /// A connection accepted at `now`.
    pub fn new(now: u64) -> Self {
        Connection {
            input: Vec::new(),
            start: 0,
            end: 0,
            fresh: false,
            content: Content::Done,
            output: Vec::new(),
            sent: 0,
            body: &[],
            phase: Phase::Serving,
            limit: now + HEAD_NS,
            patience: u64::MAX,
        }
    }

    /// Reads, answers and writes what can be now.
    pub fn pump(&mut self, stream: &impl Stream, context: &mut Context<'_, 'a>) -> Flow {
        // A short read has taken all there was; asking again would be a call for nothing.
        let mut drained = false;
        for _ in 0..ROUNDS {
            let goes_on = if self.has_output() {
                self.write(stream, context)
            } else if self.phase != Phase::Serving {
                self.wind_down(stream, context.now)
            } else if self.fresh {
                self.answer_all(context);
                Ok(true)
            } else if drained {
                Ok(false)
            } else {
                self.read(stream, context.now, &mut drained)
            };
            match goes_on {
                Ok(true) => {}
                Ok(false) | Err(Error::WouldBlock) => return Flow::Open,
                Err(_) => return Flow::Closed,
            }
        }
        Flow::Open
    }

    /// The deadline has passed.
    pub fn expire(&mut self, stream: &impl Stream, context: &mut Context<'_, 'a>) -> Flow {
        context.counters.timed_out += 1;
        let in_head = self.content == Content::Done && self.start < self.end;
        if self.phase == Phase::Serving && !self.has_output() && in_head {
            self.refuse(Status::REQUEST_TIMEOUT, context);
            return self.pump(stream, context);
        }
        Flow::Closed
    }

    /// The events to wait for.
    pub fn wanted(&self) -> u16 {
        if self.has_output() {
            events::WRITABLE
        } else if self.fresh && self.phase == Phase::Serving {
            // A turn ended with requests left over: come back at once.
            events::READABLE | events::WRITABLE
        } else {
            events::READABLE
        }
    }

    /// When to call [`Connection::expire`].
    pub fn deadline(&self) -> u64 {
        self.limit.min(self.patience)
    }

    /// Between requests, with nothing under way.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Serving
            && !self.has_output()
            && self.start == self.end
            && self.content == Content::Done
    }

    fn has_output(&self) -> bool {
        self.sent < self.output.len() || !self.body.is_empty()
    }

    /// Writes; false if the stream took less than all.
    fn write(&mut self, stream: &impl Stream, context: &mut Context<'_, 'a>) -> Result<bool> {
        let head = &self.output[self.sent..];
        let count = stream.write(head, self.body)?;
        context.counters.bytes_sent += count as u64;
        let of_head = count.min(head.len());
        self.sent += of_head;
        self.body = self.body.get(count - of_head..).unwrap_or(&[]);
        self.patience = context.now + STALL_NS;
        if self.has_output() {
            return Ok(false);
        }
        self.output.clear();
        self.sent = 0;
        self.patience = u64::MAX;
        let idle = self.start == self.end && self.content == Content::Done;
        self.limit = context.now + if idle { IDLE_NS } else { HEAD_NS };
        Ok(true)
    }

    /// Reads what fits.
    fn read(&mut self, stream: &impl Stream, now: u64, drained: &mut bool) -> Result<bool> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.input.len() {
            // Full, and no complete head in it: `answer_all` refuses one of HEAD_MAX.
            let len = (self.input.len() * 2).clamp(INPUT_MIN, HEAD_MAX);
            crate::buffer::set_len(&mut self.input, len)?;
        }
        let room = self.input.len() - self.end;
        let count = stream.read(&mut self.input[self.end..])?.min(room);
        if count == 0 {
            // The client has ended its direction and all it asked is answered.
            return Err(Error::NotConnected);
        }
        if self.start == self.end && self.content == Content::Done {
            // The first byte of a head. Never later than it was: empty lines are ignored,
            // so they must not gain time.
            self.limit = self.limit.min(now + HEAD_NS);
        }
        let news = &self.input[self.end..self.end + count];
        // A head cannot be complete, nor be refused, before its line ends, so that one
        // that comes byte by byte is not parsed byte by byte.
        self.fresh = self.content != Content::Done
            || news.contains(&b'\n')
            || self.end + count == self.input.len();
        self.end += count;
        *drained = count < room;
        Ok(true)
    }

    /// Answers the requests that have arrived, up to one with a large body.
    fn answer_all(&mut self, context: &mut Context<'_, 'a>) {
        while self.fresh
            && self.phase == Phase::Serving
            && self.body.is_empty()
            && self.output.len() < OUTPUT_MAX
        {
            match self.content.discard(&self.input[self.start..self.end]) {
                Ok(count) => self.start += count,
                // It was answered before its content came.
                Err(_) => self.phase = Phase::Last { linger: true },
            }
            if self.content != Content::Done {
                self.fresh = false;
            } else if self.phase == Phase::Serving {
                self.answer_next(context);
            }
        }
        if self.start == self.end && self.input.len() > INPUT_MIN {
            // A long head was the exception: give its memory back.
            self.input = Vec::new();
            (self.start, self.end) = (0, 0);
        }
        if self.has_output() {
            let len = (self.output.len() + self.body.len()) as u64;
            self.limit = context.now + RESPONSE_NS + len.saturating_mul(1_000_000_000 / RATE);
            self.patience = context.now + STALL_NS;
        }
    }

    /// Answers the next request if its head is complete.
    fn answer_next(&mut self, context: &mut Context<'_, 'a>) {
        // Empty lines before a request are ignored (RFC 9112 §2.2), and not kept.
        let waiting = &self.input[self.start..self.end];
        let empty = waiting
            .iter()
            .take_while(|byte| b"\r\n".contains(byte))
            .count();
        self.start += empty;
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let (request, len) = match Request::parse(&self.input[self.start..self.end], &mut fields) {
            Ok(Parsed::Partial) => {
                self.fresh = false;
                return;
            }
            Ok(Parsed::Complete(request, len)) => (request, len),
            Err(status) => return self.refuse(status, context),
        };
        self.content = request.content;
        // A client that waits for "100 Continue" may or may not send its content now:
        // what comes next could be either (RFC 9110 §10.1.1).
        let unsure = request.expects_continue && self.content != Content::Done;
        let persistence = match request.persistent && !unsure {
            false => Persistence::Closes,
            true if request.http11 => Persistence::Stays,
            true => Persistence::Kept,
        };
        let mut answer = Answer {
            out: &mut self.output,
            counters: &mut *context.counters,
            persistence,
            with_body: request.method != Method::Head,
        };
        let more = (context.open, context.now, context.network);
        self.body = answer.to(&request, context.site, more);
        self.start += len;
        self.fresh = self.start < self.end;
        if persistence == Persistence::Closes {
            let linger = self.content != Content::Done || self.fresh;
            self.phase = Phase::Last { linger };
        }
    }

    /// Says why and stops.
    fn refuse(&mut self, status: Status, context: &mut Context<'_, 'a>) {
        let mut answer = Answer {
            out: &mut self.output,
            counters: &mut *context.counters,
            persistence: Persistence::Closes,
            with_body: !self.input[self.start..self.end].starts_with(b"HEAD "),
        };
        answer.error(status, "");
        self.phase = Phase::Last { linger: true };
        self.limit = context.now + RESPONSE_NS;
        self.patience = context.now + STALL_NS;
    }

    /// After the last output: ends our direction, waits for the client to end its own.
    fn wind_down(&mut self, stream: &impl Stream, now: u64) -> Result<bool> {
        let left = match self.phase {
            Phase::Lingering { left } => left,
            Phase::Last { linger: true } => {
                stream.finish()?;
                self.limit = now + LINGER_NS;
                crate::buffer::set_len(&mut self.input, INPUT_MIN)?;
                LINGER_MAX
            }
            Phase::Serving | Phase::Last { linger: false } => return Err(Error::NotConnected),
        };
        self.phase = Phase::Lingering { left };
        let count = stream.read(&mut self.input)?;
        let left = left.checked_sub(count.max(1)).ok_or(Error::TooLong)?;
        self.phase = Phase::Lingering { left };
        if count == 0 {
            return Err(Error::NotConnected);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
