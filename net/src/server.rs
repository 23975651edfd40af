//! The server: requests in, answers out; what cannot be answered yet waits.

use crate::addresses::ipv4;
use crate::batch;
use crate::config::Network;
use crate::config::{Config, ConfigError};
use crate::deadlines::earlier;
use crate::handles::{Handles, Socket, State};
use crate::ipc::{Ipc, write_exactly};
use crate::parked::Call;
use crate::phy::{Device, LookAhead};
use crate::ports::Ports;
use crate::stack::Stack;
use crate::status;
use abi::ipc::{FOREVER, Message};
use abi::nic::MacAddress;
use abi::socket::{Answer, Handle, Kind, Request};
use abi::{Error, Pid, Result};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// How long sending may wait for a program that was answered.
const PUT_OFF_NS: u64 = 1_000_000;

/// The network server of one card. See the crate for the loop around it.
pub struct Server<D: Device> {
    pub(crate) stack: Stack<D>,
    pub(crate) handles: Handles,
    parked: Vec<Call>,
    /// Who makes batches.
    pub(crate) clients: batch::Clients,
    watched: BTreeSet<Pid>,
    /// Datagrams on their way from lent memory to a queue.
    pub(crate) scratch: Vec<u8>,
    /// Operations on their way from lent memory.
    pub(crate) window: Vec<u8>,
    /// A batch gave the stack something to send, or room to tell of.
    pub(crate) moved: bool,
    /// The last poll answered a call.
    pub(crate) answered: bool,
    /// The last poll left it to the next to send.
    put_off: bool,
    /// How often a batch looked at a socket.
    pub(crate) batch_sockets_served: u64,
    pub(crate) ports: Ports,
    /// Something was done since the last poll.
    dirty: bool,
    pub(crate) requests: u64,
    pub(crate) polls: u64,
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
        let config = config.validated()?;
        Ok(Server {
            stack: Stack::new(config, device, now_ns),
            handles: Handles::new(config.limits),
            parked: Vec::new(),
            clients: batch::Clients::default(),
            watched: BTreeSet::new(),
            scratch: Vec::new(),
            window: Vec::new(),
            moved: false,
            answered: false,
            put_off: false,
            batch_sockets_served: 0,
            ports: Ports::new(&config.secret),
            dirty: false,
            requests: 0,
            polls: 0,
        })
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        self.stack.config()
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
        self.stack.set_network(network, now_ns);
        Ok(())
    }

    /// The card.
    pub fn device_mut(&mut self) -> &mut D {
        self.stack.device_mut()
    }

    /// Serves a call: answers it, or keeps it until it can be. [`Server::poll`] must
    /// follow, once for any number of calls.
    pub fn request(&mut self, message: &Message, now_ns: u64, ipc: &mut impl Ipc) {
        self.requests += 1;
        self.dirty = true;
        // A process has one call at a time: an older one of it has ended without us.
        self.parked.retain(|call| call.client != message.sender);
        self.forget_batch(message.sender);
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
            if let Err(error) = self.batch(message, batch, now_ns, ipc) {
                ipc.answer(message.token, Err(error));
            }
            return;
        }
        match self.attempt(&mut call, now_ns, ipc).transpose() {
            Some(answer) => ipc.answer(call.token, answer),
            None => match self.watch(call.client, ipc) {
                Ok(()) => self.parked.push(call),
                Err(error) => ipc.answer(call.token, Err(error)),
            },
        }
    }

    /// Sees to it that the end of a client that leaves something with us is told to us.
    pub(crate) fn watch(&mut self, client: Pid, ipc: &mut impl Ipc) -> Result<()> {
        if !self.watched.contains(&client) {
            ipc.watch(client)?;
            self.watched.insert(client);
        }
        Ok(())
    }

    /// A client has ended: its sockets are freed and its connections reset.
    #[cold]
    pub fn client_died(&mut self, client: Pid, now_ns: u64) {
        self.dirty = true;
        self.watched.remove(&client);
        self.parked.retain(|call| call.client != client);
        self.clients.forget(client);
        let handles: Vec<Handle> = self.handles.of(client).collect();
        for handle in handles {
            if let Ok(socket) = self.handles.remove(handle, client) {
                self.free(&socket, now_ns, true);
            }
        }
    }

    /// Receives, sends, and answers the calls that became possible; a bounded amount of
    /// each. Returns whether to call again at once, because more is left.
    pub fn poll(&mut self, now_ns: u64, ipc: &mut impl Ipc) -> bool
    where
        D: LookAhead,
    {
        self.polls += 1;
        self.dirty = false;
        self.answered = false;
        self.handles.settle(ipc);
        let mut more = self.stack.receive_all(now_ns);
        self.serve_batches(now_ns, ipc);
        // Who was answered has more to send, probably, and what it says next is on its way:
        // one turn of a socket is enough for both. But nothing is put off twice.
        self.put_off = self.answered && !self.put_off && self.parked.is_empty();
        if self.put_off {
            return more;
        }
        more |= !self.stack.transmit(now_ns);
        let mut moved = !self.parked.is_empty() && self.attempt_parked(now_ns, ipc);
        // What that made room for.
        moved |= self.has_due_batches(now_ns) && self.serve_batches(now_ns, ipc);
        if moved {
            more |= !self.stack.transmit(now_ns);
            more |= self.has_due_batches(now_ns);
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
        self.answered |= parked.len() < waiting;
        self.parked = parked;
        moved
    }

    /// Whether the last poll answered a call, so that a program has something to do. If
    /// more frames wait, it should have its turn first: they are worth nothing to programs
    /// that never run, and are lost from full sockets instead of from the card's ring.
    pub fn has_answered(&self) -> bool {
        self.answered
    }

    /// Takes the station that claimed the server's address, if one did since the last look; at
    /// most one in 10 s (RFC 5227 §2.4). People should be told.
    #[inline]
    pub fn take_claimant(&mut self) -> Option<MacAddress> {
        self.stack.take_claimant()
    }

    /// When to poll next though nothing happens; [`FOREVER`] if never.
    pub fn deadline(&mut self, now_ns: u64) -> u64 {
        if self.dirty {
            return now_ns;
        }
        let calls = self.parked.iter().filter_map(|call| call.deadline).min();
        let calls = earlier(calls, self.clients.deadline());
        let mut stack = self.stack.deadline();
        if self.put_off {
            stack = stack.map(|at| at.max(now_ns.saturating_add(PUT_OFF_NS)));
        }
        earlier(stack, calls).unwrap_or(FOREVER)
    }

    /// The server's state as lines of text, "name value".
    #[cold]
    pub fn status(&self) -> String {
        let waiting = self.parked.len() + self.clients.waiting();
        status::text(
            self.config(),
            &self.stack.figures(),
            &[
                ("requests", self.requests),
                ("polls", self.polls),
                ("sockets", self.handles.len() as u64),
                ("waiting_calls", waiting as u64),
                ("batch_sockets_served", self.batch_sockets_served),
                ("clients", self.watched.len() as u64),
            ],
        )
    }

    /// One attempt at a call: its answer, or `None` if it has to wait.
    #[cold]
    fn attempt(&mut self, call: &mut Call, now: u64, ipc: &mut impl Ipc) -> Result<Option<Answer>> {
        match call.request {
            Request::Socket { kind } => self.socket(kind, call.client, ipc).map(Some),
            Request::Bind { socket, address } => self.bind(socket, call.client, address).map(done),
            Request::Listen { socket, backlog } => {
                self.listen(socket, call.client, backlog).map(done)
            }
            Request::Accept { socket } => self.accept(socket, call.client, ipc),
            Request::Connect { socket, address } => {
                match self.handles.get(socket, call.client)?.state {
                    State::Datagram { .. } => self
                        .connect_datagrams(socket, call.client, address)
                        .map(done),
                    _ => self.connect(socket, call, address, now),
                }
            }
            Request::Send { socket } => match self.handles.get(socket, call.client)?.state {
                State::Datagram { peer, .. } => {
                    let peer = peer.ok_or(Error::NotConnected)?;
                    self.send_datagram(socket, call, peer, now, ipc)
                }
                _ => self.send(socket, call, ipc),
            },
            Request::Recv { socket } => match self.handles.get(socket, call.client)?.state {
                State::Datagram { .. } => {
                    let answer = self.receive_datagram(socket, call, ipc)?;
                    Ok(answer.map(|(count, _)| Answer::Count(count)))
                }
                _ => self.receive(socket, call, ipc),
            },
            Request::SendTo { socket, address } => {
                let peer = ipv4(address, Error::Unreachable)?;
                self.send_datagram(socket, call, peer, now, ipc)
            }
            Request::RecvFrom { socket } => {
                let answer = self.receive_datagram(socket, call, ipc)?;
                Ok(answer.map(|(count, sender)| Answer::Datagram(count, sender.into())))
            }
            Request::Shutdown { socket, direction } => {
                self.shutdown(socket, call.client, direction).map(done)
            }
            Request::Close { socket } => {
                let closed = self.handles.remove(socket, call.client)?;
                if closed.armed.queued {
                    self.clients.forget_ready(socket, call.client);
                }
                self.free(&closed, now, false);
                Ok(Some(Answer::Done))
            }
            Request::LocalAddress { socket } => {
                let local = self.local_address(socket, call.client)?;
                Ok(Some(Answer::Address(local.into())))
            }
            Request::PeerAddress { socket } => {
                let peer = self.peer_address(socket, call.client)?;
                Ok(Some(Answer::Address(peer.into())))
            }
            Request::SetNonBlocking { socket, on } => {
                self.handles.get_mut(socket, call.client)?.non_blocking = on;
                Ok(Some(Answer::Done))
            }
            Request::Poll { timeout_ms } => self.poll_sockets(call, timeout_ms, now, ipc),
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

    fn socket(&mut self, kind: Kind, client: Pid, ipc: &mut impl Ipc) -> Result<Answer> {
        self.watch(client, ipc)?;
        self.handles.make_room(client, ipc)?;
        let state = match kind {
            Kind::Stream => State::Idle,
            Kind::Datagram => State::Datagram {
                port: None,
                peer: None,
            },
        };
        self.handles.insert(client, state).map(Answer::Socket)
    }

    /// Frees what a socket held that is not in the table any more.
    pub(crate) fn free(&mut self, socket: &Socket, now: u64, abort: bool) {
        match (socket.state, socket.local) {
            (State::Stream(id), _) if abort => self.stack.abort(id, now),
            (State::Stream(id), _) => self.stack.close(id, now),
            (State::Datagram { port: Some(id), .. }, _) if abort => self.stack.drop_datagrams(id),
            (State::Datagram { port: Some(id), .. }, _) => self.stack.close_datagrams(id, now),
            (State::Listening, Some(local)) => self.stack.unlisten(local.port(), now),
            _ => {}
        }
    }
}

fn done((): ()) -> Option<Answer> {
    Some(Answer::Done)
}
