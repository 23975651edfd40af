//! The server: requests in, answers out, frames in between.

use crate::batch::{Batches, Engine};
use crate::config::{Config, ConfigError, Network};
use crate::deadlines::earlier;
use crate::ipc::{Ipc, lent, write_exactly};
use crate::phy::{Device, LookAhead};
use crate::sockets::Sockets;
use crate::status;
use abi::ipc::{FOREVER, Message};
use abi::nic::MacAddress;
use abi::socket::{Answer, Request};
use abi::{Error, Pid, Result};
use alloc::string::String;

/// How long sending may wait for a program that was answered.
const PUT_OFF_NS: u64 = 1_000_000;

/// The network server of one card. See the crate for the loop around it.
pub struct Server<D: Device> {
    pub(crate) sockets: Sockets<D>,
    batches: Batches,
    /// The last poll left it to the next to send.
    put_off: bool,
    /// Something was done since the last poll.
    dirty: bool,
    requests: u64,
    polls: u64,
}

impl<D: Device> Server<D> {
    /// A server for the card `device`. It sends nothing until somebody asks it to.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings make no sense.
    #[cold]
    pub fn new(config: Config, device: D, now_ns: u64) -> core::result::Result<Self, ConfigError>
    where
        D: LookAhead,
    {
        Ok(Server {
            sockets: Sockets::new(config.validated()?, device, now_ns),
            batches: Batches::default(),
            put_off: false,
            dirty: false,
            requests: 0,
            polls: 0,
        })
    }

    /// The engine that serves batches.
    #[inline]
    fn engine<'a, I: Ipc>(&'a mut self, now: u64, ipc: &'a mut I) -> Engine<'a, D, I> {
        Engine {
            sockets: &mut self.sockets,
            batches: &mut self.batches,
            now,
            ipc,
        }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        self.sockets.stack.config()
    }

    /// Gives the server another place in its network, or none: an address that comes later than
    /// the card, changes or goes. Connections of the old address are reset, and their programs told;
    /// listeners and datagram sockets stay. [`Server::poll`] must follow.
    ///
    /// # Errors
    /// [`ConfigError`] if the network makes no sense: then nothing has changed.
    #[cold]
    pub fn set_network(
        &mut self,
        network: Option<Network>,
        now_ns: u64,
    ) -> core::result::Result<(), ConfigError> {
        let network = network.map(Network::validated).transpose()?;
        self.dirty = true;
        self.sockets.stack.set_network(network, now_ns);
        Ok(())
    }

    /// The card.
    pub fn device_mut(&mut self) -> &mut D {
        self.sockets.stack.device_mut()
    }

    /// Serves a call: answers it, or keeps it until it can be. [`Server::poll`] must
    /// follow, once for any number of calls.
    pub fn request(&mut self, message: &Message, now_ns: u64, ipc: &mut impl Ipc) {
        self.requests += 1;
        self.dirty = true;
        // A process has one call at a time: an older one of it has ended without us.
        self.engine(now_ns, ipc).forget_batch(message.sender);
        let refused = match Request::from_bytes(message.request()) {
            Ok(Request::Batch {
                operations,
                timeout_ms,
            }) => {
                let batch = (operations, timeout_ms);
                self.engine(now_ns, ipc).batch(message, batch)
            }
            Ok(Request::Status) => {
                let told = self.tell_status(message, ipc);
                return ipc.answer(message.token, told);
            }
            // The card is the shell's, which answers before it asks us.
            Ok(Request::Card) => Err(Error::NotSupported),
            Err(error) => Err(error),
        };
        if let Err(error) = refused {
            ipc.answer(message.token, Err(error));
        }
    }

    #[cold]
    fn tell_status(&self, message: &Message, ipc: &mut impl Ipc) -> Result<Answer> {
        let text = self.status();
        let count = text.len().min(lent(message, 0));
        write_exactly(ipc, message.token, 0, &text.as_bytes()[..count])?;
        Ok(Answer(count as u32))
    }

    /// A client has ended: its sockets are freed and its connections reset.
    #[cold]
    pub fn client_died(&mut self, client: Pid, now_ns: u64) {
        self.dirty = true;
        self.batches.clients.forget(client);
        self.sockets.client_died(client, now_ns);
    }

    /// Receives, sends, and answers the calls that became possible; a bounded amount of
    /// each. Returns whether to call again at once, because more is left.
    pub fn poll(&mut self, now_ns: u64, ipc: &mut impl Ipc) -> bool
    where
        D: LookAhead,
    {
        self.polls += 1;
        self.dirty = false;
        self.batches.answered = false;
        self.sockets.handles.settle(ipc);
        let mut more = self.sockets.stack.receive_all(now_ns);
        self.engine(now_ns, ipc).serve_batches();
        // Who was answered has more to send, probably, and what it says next is on its way:
        // one turn of a socket is enough for both. But nothing is put off twice.
        self.put_off = self.batches.answered && !self.put_off;
        if self.put_off {
            return more;
        }
        more |= !self.sockets.stack.transmit(now_ns);
        // What that made room for.
        if self.engine(now_ns, ipc).has_due_batches() && self.engine(now_ns, ipc).serve_batches() {
            more |= !self.sockets.stack.transmit(now_ns);
            more |= self.engine(now_ns, ipc).has_due_batches();
        }
        more
    }

    /// Whether the last poll answered a call, so that a program has something to do. If
    /// more frames wait, it should have its turn first: they are worth nothing to programs
    /// that never run, and are lost from full sockets instead of from the card's ring.
    pub fn has_answered(&self) -> bool {
        self.batches.answered
    }

    /// Takes the station that claimed the server's address, if one did since the last look; at
    /// most one in 10 s (RFC 5227 §2.4). People should be told.
    #[inline]
    pub fn take_claimant(&mut self) -> Option<MacAddress> {
        self.sockets.stack.take_claimant()
    }

    /// When to poll next though nothing happens; [`FOREVER`] if never.
    pub fn deadline(&mut self, now_ns: u64) -> u64 {
        if self.dirty {
            return now_ns;
        }
        let calls = self.batches.clients.deadline();
        let mut stack = self.sockets.stack.deadline();
        if self.put_off {
            stack = stack.map(|at| at.max(now_ns.saturating_add(PUT_OFF_NS)));
        }
        earlier(stack, calls).unwrap_or(FOREVER)
    }

    /// The server's state as lines of text, "name value".
    #[cold]
    pub fn status(&self) -> String {
        let waiting = self.batches.clients.waiting();
        status::text(
            self.config(),
            &self.sockets.stack.figures(),
            &[
                ("requests", self.requests),
                ("polls", self.polls),
                ("sockets", self.sockets.handles.len() as u64),
                ("waiting_calls", waiting as u64),
                ("batch_sockets_served", self.batches.sockets_served),
                ("clients", self.sockets.clients() as u64),
            ],
        )
    }
}
