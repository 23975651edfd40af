//! From what has come to answers.

use super::super::answer::Answer;
use super::super::content::Content;
use super::super::method::Method;
use super::super::request::{self, HEAD_MAX, Parsed, Request};
use super::super::response::{Persistence, Status};
use super::super::site::Site;
use super::super::status::Counters;
use super::limits::HEAD_NS;
use super::{Connection, Context, OUTPUT_MAX, Output, Phase};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use runtime::{Error, Result};

/// How many connections there are, the time, and the network server's state.
type More<'m> = (usize, u64, &'m dyn Fn() -> String);

impl<'a> Connection<'a> {
    pub(super) fn received(&mut self, bytes: &[u8], context: &mut Context<'_, 'a>) -> Result<()> {
        if let Phase::Lingering { left } = self.phase {
            let left = left.checked_sub(bytes.len().max(1)).ok_or(Error::TooLong)?;
            self.phase = Phase::Lingering { left };
            return self.receive(context);
        }
        let had_head = self.has_head();
        // A head cannot be complete, nor be refused, before its line ends, so that one
        // that comes byte by byte is not parsed byte by byte.
        self.fresh = self.content != Content::Done
            || bytes.contains(&b'\n')
            || self.input.len() + bytes.len() >= HEAD_MAX;
        if self.input.is_empty() {
            // Most requests come whole: they are read where they are.
            let taken = self.serve(bytes, context)?;
            self.input
                .extend_from_slice(bytes.get(taken..).unwrap_or(&[]));
        } else {
            self.input.extend_from_slice(bytes);
            self.serve_input(context)?;
        }
        // Empty lines before a head are ignored, so they gain no time.
        let begins = !had_head && self.has_head() && self.content == Content::Done;
        if begins && matches!(self.output, Output::None) {
            self.since = context.now;
            self.limit = context.now + HEAD_NS;
        }
        self.settle(context)
    }

    pub(super) fn serve_input(&mut self, context: &mut Context<'_, 'a>) -> Result<()> {
        let input = mem::take(&mut self.input);
        let taken = self.serve(&input, context);
        match &taken {
            Ok(0) => self.input = input,
            // A long head was the exception: its memory is given back.
            Ok(taken) => self.input = input.get(*taken..).unwrap_or(&[]).to_vec(),
            Err(_) => {}
        }
        taken.map(|_| ())
    }

    /// Answers what it can of `input`, up to one request with a large body, and hands the
    /// answers over; returns how many bytes it took.
    fn serve(&mut self, input: &[u8], context: &mut Context<'_, 'a>) -> Result<usize> {
        if !self.fresh {
            return Ok(0);
        }
        let mut taken = 0;
        let Context {
            operations,
            site,
            counters,
            open,
            now,
            network,
        } = context;
        let more = (*open, *now, *network);
        operations.send_with(self.handle, |out| {
            let start = out.len();
            let mut body: &'a [u8] = &[];
            while self.fresh
                && self.phase == Phase::Serving
                && body.is_empty()
                && out.len() - start < OUTPUT_MAX
            {
                let rest = input.get(taken..).unwrap_or(&[]);
                let (count, large) = self.step(rest, out, site, counters, more);
                taken += count;
                body = large;
            }
            let len = out.len() - start + body.len();
            let ends = matches!(self.phase, Phase::Last { .. });
            (len > 0 || ends).then(|| (body, self.hand_over(len, input.len() - taken, *now)))
        })?;
        Ok(taken)
    }

    /// Takes what there is of a request's content or, if none is due, the next head, and
    /// answers a request that is complete; returns how many bytes of the input it took, and
    /// a large body.
    fn step(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        site: &Site<'a>,
        counters: &mut Counters,
        more: More<'_>,
    ) -> (usize, &'a [u8]) {
        if self.head.is_empty() {
            return self.take_head(input, out, site, counters, more);
        }
        match self.content.discard(input) {
            Ok(count) if self.content == Content::Done => {
                let head = mem::take(&mut self.head);
                self.fresh = count < input.len();
                let mut fields = request::fields();
                match Request::parse(&head, &mut fields) {
                    Ok(Parsed::Complete(request, _)) => {
                        (count, self.answer(&request, out, site, counters, more))
                    }
                    // It was complete before.
                    _ => {
                        self.refuse(Status::BAD_REQUEST, &head, out, counters);
                        (count, &[])
                    }
                }
            }
            Ok(count) => {
                self.fresh = false;
                (count, &[])
            }
            Err(status) => {
                let head = mem::take(&mut self.head);
                self.refuse(status, &head, out, counters);
                (input.len(), &[])
            }
        }
    }

    /// Takes the next head if it is complete, and answers it unless its content is to come.
    fn take_head(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        site: &Site<'a>,
        counters: &mut Counters,
        more: More<'_>,
    ) -> (usize, &'a [u8]) {
        // Empty lines before a request are ignored (RFC 9112 §2.2), and not kept.
        let mut empty = 0;
        while let Some([b'\r', b'\n']) = input.get(empty..empty + 2) {
            empty += 2;
        }
        let input = input.get(empty..).unwrap_or(&[]);
        let mut fields = request::fields();
        let (request, len) = match Request::parse(input, &mut fields) {
            Ok(Parsed::Partial) => {
                self.fresh = false;
                return (empty, &[]);
            }
            Ok(Parsed::Newer) => {
                let copy = request::as_http11(input);
                let (count, body) = self.take_head(&copy, out, site, counters, more);
                return (empty + count, body);
            }
            Ok(Parsed::Complete(request, len)) => (request, len),
            Err(status) => {
                self.refuse(status, input, out, counters);
                return (empty + input.len(), &[]);
            }
        };
        // One that waits for a status before it sends content is told at once.
        if request.content != Content::Done && !request.expects_continue {
            self.content = request.content;
            self.head = input.get(..len).unwrap_or(input).to_vec();
            let (_, now, _) = more;
            self.since = now;
            self.limit = now + HEAD_NS;
            return (empty + len, &[]);
        }
        self.fresh = len < input.len();
        let body = self.answer(&request, out, site, counters, more);
        (empty + len, body)
    }

    /// Answers a request; returns a large body.
    fn answer(
        &mut self,
        request: &Request<'_, '_>,
        out: &mut Vec<u8>,
        site: &Site<'a>,
        counters: &mut Counters,
        more: More<'_>,
    ) -> &'a [u8] {
        // A client that waits for "100 Continue" may or may not send its content now:
        // what comes next could be either (RFC 9110 §10.1.1).
        let unsure = request.expects_continue && request.content != Content::Done;
        // What follows a CONNECT is no content, whatever its fields say (RFC 9110 §9.3.6).
        let tunnel = request.method == Method::Connect;
        let persistence = match request.persistent && !unsure && !tunnel {
            false => Persistence::Closes,
            true if request.http11 => Persistence::Stays,
            true => Persistence::Kept,
        };
        if persistence == Persistence::Closes {
            let linger = unsure || tunnel || self.fresh;
            self.phase = Phase::Last { linger };
        }
        let mut answer = Answer {
            out,
            counters,
            persistence,
            with_body: request.method != Method::Head,
        };
        answer.to(request, site, more)
    }

    /// Says why and stops.
    pub(super) fn refuse(
        &mut self,
        status: Status,
        input: &[u8],
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) {
        let mut answer = Answer {
            out,
            counters,
            persistence: Persistence::Closes,
            with_body: !input.starts_with(b"HEAD "),
        };
        answer.error(status, "");
        self.phase = Phase::Last { linger: true };
    }
}
