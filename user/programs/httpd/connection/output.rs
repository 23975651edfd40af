//! Answers on their way.

use super::super::request::HEAD_MAX;
use super::super::status::Counters;
use super::limits::*;
use super::{Connection, Context, LINGER_MAX, Output, Phase, RECEIVE_MAX};
use runtime::Result;
use runtime::socket::batch::{End, Tell, Then};

impl<'a> Connection<'a> {
    /// Takes note of output that is being handed over, while so much input is left; returns
    /// what follows it.
    pub(super) fn hand_over(&mut self, len: usize, left: usize, now: u64) -> Then {
        let len = len as u64;
        self.output = Output::Handed { len, at: now };
        self.limit = now + RESPONSE_NS + len.saturating_mul(1_000_000_000 / RATE);
        self.patience = now + STALL_NS;
        match self.phase {
            // Requests are left over: those first.
            Phase::Serving if self.fresh => Then {
                tell: Tell::Now,
                ..Then::default()
            },
            Phase::Serving => Then::receive(RECEIVE_MAX.min(HEAD_MAX - left.min(HEAD_MAX))),
            Phase::Last { linger: false } => Then::close(),
            // Told now, since the time that the client has from then is short.
            Phase::Last { linger: true } | Phase::Lingering { .. } => Then {
                end: End::Finish,
                tell: Tell::Now,
                ..Then::receive(RECEIVE_MAX)
            },
        }
    }

    /// If there is no output, wants more.
    pub(super) fn settle(&mut self, context: &mut Context<'_, 'a>) -> Result<()> {
        match self.output {
            Output::None => self.receive(context),
            _ => Ok(()),
        }
    }

    pub(super) fn count_sent(&mut self, counters: &mut Counters) {
        if let Output::Handed { len, .. } = core::mem::replace(&mut self.output, Output::None) {
            counters.bytes_sent += len;
        }
    }

    pub(super) fn sent(&mut self, waited: bool, context: &mut Context<'_, 'a>) -> Result<()> {
        let Output::Handed { at, .. } = self.output else {
            return Ok(());
        };
        // What did not have to wait was sent when it was handed over.
        let since = if waited { context.now } else { at };
        self.count_sent(context.counters);
        self.patience = u64::MAX;
        match self.phase {
            Phase::Serving if self.fresh => {
                self.serve_input(context)?;
                if matches!(self.output, Output::None) {
                    self.since = since;
                    self.limit = since + HEAD_NS;
                }
                self.settle(context)
            }
            Phase::Serving => {
                self.since = since;
                self.limit = since + if self.is_quiet() { IDLE_NS } else { HEAD_NS };
                Ok(())
            }
            Phase::Last { .. } | Phase::Lingering { .. } => {
                self.phase = Phase::Lingering { left: LINGER_MAX };
                self.limit = since + LINGER_NS;
                Ok(())
            }
        }
    }

    pub(super) fn cut(
        &mut self,
        count: usize,
        head: &[u8],
        body: &'a [u8],
        context: &mut Context<'_, 'a>,
    ) {
        context.counters.bytes_sent += count as u64;
        if count > 0 {
            self.patience = context.now + STALL_NS;
        }
        self.output = Output::Cut {
            head: head.to_vec(),
            body,
        };
    }

    pub(super) fn send_rest(&mut self, context: &mut Context<'_, 'a>) -> Result<()> {
        let Output::Cut { head, body } = core::mem::replace(&mut self.output, Output::None) else {
            return Ok(());
        };
        // The limit stays: it is of the whole response.
        let limit = self.limit;
        let then = self.hand_over(head.len() + body.len(), self.input.len(), context.now);
        self.limit = limit;
        context.operations.send(self.handle, &head, body, then)
    }
}
