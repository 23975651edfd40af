//! The server: requests in, answers out; what cannot be answered yet waits.

use crate::batch::{Batches, Engine};
use crate::config::{Config, ConfigError, Network};
use crate::deadlines::earlier;
use crate::ipc::{Ipc, write_exactly};
use crate::phy::{Device, LookAhead};
use crate::sockets::Sockets;
use crate::sockets::addresses::ipv4;
use crate::sockets::call::Call;
use crate::status;
use abi::ipc::{FOREVER, Message};
use abi::nic::MacAddress;
use abi::socket::{Answer, Request};
use abi::{Error, Pid, Result};
use alloc::string::String;
use alloc::vec::Vec;

/// How long sending may wait for a program that was answered.
const PUT_OFF_NS: u64 = 1_000_000;

/// The network server of one card. See the crate for the loop around it.
pub struct Server<D: Device> {
    pub(crate) sockets: Sockets<D>,
    /// Single calls that cannot be answered yet.
    parked: Vec<Call>,
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
            parked: Vec::new(),
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
        self.parked.retain(|call| call.client != message.sender);
        self.engine(now_ns, ipc).forget_batch(message.sender);
        let mut call = match Call::new(message) {
            Ok(call) => call,
            Err(error) => return ipc.answer(message.token, Err(error)),
        };
        if let Request::Batch {
            operations,
            timeout_ms,
        } = call.request
        {
            let batch = (operations, timeout_ms);
            if let Err(error) = self.engine(now_ns, ipc).batch(message, batch) {
                ipc.answer(message.token, Err(error));
            }
            return;
        }
        match self.attempt(&mut call, now_ns, ipc).transpose() {
            Some(answer) => ipc.answer(call.token, answer),
            None => match self.sockets.watch(call.client, ipc) {
                Ok(()) => self.parked.push(call),
                Err(error) => ipc.answer(call.token, Err(error)),
            },
        }
    }

    /// A client has ended: its sockets are freed and its connections reset.
    #[cold]
    pub fn client_died(&mut self, client: Pid, now_ns: u64) {
        self.dirty = true;
        self.parked.retain(|call| call.client != client);
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
        self.put_off = self.batches.answered && !self.put_off && self.parked.is_empty();
        if self.put_off {
            return more;
        }
        more |= !self.sockets.stack.transmit(now_ns);
        let mut moved = !self.parked.is_empty() && self.attempt_parked(now_ns, ipc);
        // What that made room for.
        moved |=
            self.engine(now_ns, ipc).has_due_batches() && self.engine(now_ns, ipc).serve_batches();
        if moved {
            more |= !self.sockets.stack.transmit(now_ns);
            more |= self.engine(now_ns, ipc).has_due_batches();
        }
        more
    }

    /// Attempts the calls that wait. Returns whether that moved anything.
    #[cold]
    fn attempt_parked(&mut self, now_ns: u64, ipc: &mut impl Ipc) -> bool {
        let mut moved = false;
        let mut parked = core::mem::take(&mut self.parked);
        let waiting = parked.len();
        parked.retain_mut(|call| {
            let sent = call.sent;
            let answer = self.attempt(call, now_ns, ipc).transpose();
            moved |= answer.is_some() || sent != call.sent;
            match answer {
                Some(answer) => ipc.answer(call.token, answer),
                None => return true,
            }
            false
        });
        self.batches.answered |= parked.len() < waiting;
        self.parked = parked;
        moved
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
        let calls = self.parked.iter().filter_map(|call| call.deadline).min();
        let calls = earlier(calls, self.batches.clients.deadline());
        let mut stack = self.sockets.stack.deadline();
        if self.put_off {
            stack = stack.map(|at| at.max(now_ns.saturating_add(PUT_OFF_NS)));
        }
        earlier(stack, calls).unwrap_or(FOREVER)
    }

    /// The server's state as lines of text, "name value".
    #[cold]
    pub fn status(&self) -> String {
        let waiting = self.parked.len() + self.batches.clients.waiting();
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

    /// One attempt at a call: its answer, or `None` if it has to wait.
    #[cold]
    fn attempt(&mut self, call: &mut Call, now: u64, ipc: &mut impl Ipc) -> Result<Option<Answer>> {
        match call.request {
            Request::Socket { kind } => self.sockets.socket(kind, call.client, ipc).map(Some),
            Request::Bind { socket, address } => {
                self.sockets.bind(socket, call.client, address).map(done)
            }
            Request::Listen { socket, backlog } => {
                self.sockets.listen(socket, call.client, backlog).map(done)
            }
            Request::Accept { socket } => self.sockets.accept(socket, call.client, ipc),
            Request::Connect { socket, address } => {
                self.sockets.connect(socket, call, address, now)
            }
            Request::Send { socket } => self.sockets.send(socket, call, now, ipc),
            Request::Recv { socket } => self.sockets.receive(socket, call, ipc),
            Request::SendTo { socket, address } => {
                let peer = ipv4(address.into(), Error::Unreachable)?;
                self.sockets.send_datagram(socket, call, peer, now, ipc)
            }
            Request::RecvFrom { socket } => {
                let answer = self.sockets.receive_datagram(socket, call, ipc)?;
                Ok(answer.map(|(count, sender)| Answer::Datagram(count, sender.into())))
            }
            Request::Shutdown { socket, direction } => self
                .sockets
                .shutdown(socket, call.client, direction)
                .map(done),
            Request::Close { socket } => {
                let closed = self.sockets.handles.remove(socket, call.client)?;
                if closed.armed.queued {
                    self.batches.clients.forget_ready(socket, call.client);
                }
                self.sockets.free(&closed, now, false);
                Ok(Some(Answer::Done))
            }
            Request::LocalAddress { socket } => {
                let local = self.sockets.local_address(socket, call.client)?;
                Ok(Some(Answer::Address(local.into())))
            }
            Request::PeerAddress { socket } => {
                let peer = self.sockets.peer_address(socket, call.client)?;
                Ok(Some(Answer::Address(peer.into())))
            }
            Request::SetNonBlocking { socket, on } => {
                self.sockets
                    .handles
                    .get_mut(socket, call.client)?
                    .non_blocking = on;
                Ok(Some(Answer::Done))
            }
            Request::Poll { timeout_ms } => self.sockets.poll_sockets(call, timeout_ms, now, ipc),
            Request::Status => {
                let text = self.status();
                let count = text.len().min(call.lent);
                write_exactly(ipc, call.token, 0, &text.as_bytes()[..count])?;
                Ok(Some(Answer::Count(count as u32)))
            }
            // The card is the shell's, which answers before it asks us.
            Request::Card => Err(Error::NotSupported),
            // It is not attempted, but served when something changed.
            Request::Batch { .. } => Err(Error::Malformed),
        }
    }
}

fn done((): ()) -> Option<Answer> {
    Some(Answer::Done)
}
