//! What programs do one at a time, each a batch of one operation.

use crate::tests::batch::{AREA, Events, Ops};
use crate::tests::world::*;
use abi::batch::{Event, NO_TIMEOUT, Operation};
use abi::socket::{Address, Direction, Handle};
use abi::{Error, Pid, Result};
use core::net::SocketAddr;
use std::vec::Vec;

/// An area that has room for the longest datagram, and for all that a stream can have received.
const LONG: usize = 2 * AREA;

/// A port of every address.
pub fn any(port: u16) -> Address {
    SocketAddr::from(([0; 4], port)).into()
}

/// What a batch of one operation has failed with, if it has.
fn outcome(events: &Events) -> Result<()> {
    let error = |(event, _): &(Event, _)| match event {
        Event::Failed { error, .. } => Some(*error),
        _ => None,
    };
    events.iter().find_map(error).map_or(Ok(()), Err)
}

/// What a receiving socket has got.
fn received(events: Events) -> Result<(Vec<u8>, Option<SocketAddr>)> {
    outcome(&events)?;
    match events.into_iter().next() {
        Some((Event::Received { .. }, bytes)) => Ok((bytes, None)),
        Some((Event::Datagram { from, .. }, bytes)) => Ok((bytes, Some(from.to_socket_addr()))),
        Some((Event::Ended { .. }, _)) => Ok((Vec::new(), None)),
        None => Err(Error::WouldBlock),
        other => panic!("{other:?}"),
    }
}

fn receive(socket: Handle, max: usize) -> Ops {
    let max = max as u32;
    Ops::new().with(Operation::Receive { socket, max })
}

impl World {
    /// Makes a batch that is answered at once, by the server alone: no frame moves on the wire.
    pub fn now(&mut self, client: Pid, ops: &Ops) -> Events {
        let token = self.batch_from(client, ops, (LONG, &[]), 0);
        while self.server.poll(self.now, &mut self.kernel) {}
        self.batch_answer(token).expect("it does not wait")
    }

    /// Makes a batch that is answered at once, and takes its operation back if there was no answer to it.
    fn now_or_never(&mut self, client: Pid, socket: Handle, ops: &Ops) -> Events {
        let events = self.now(client, ops);
        if events.is_empty() {
            self.now(client, &Ops::new().with(Operation::Cancel { socket }));
        }
        events
    }

    /// Makes a socket; returns it and its local address.
    pub fn open(&mut self, client: Pid, operation: Operation) -> Result<(Handle, SocketAddr)> {
        let events = self.now(client, &Ops::new().with(operation));
        outcome(&events)?;
        match events[..] {
            [(Event::Opened { socket, local, .. }, _)] => Ok((socket, local.to_socket_addr())),
            _ => panic!("{events:?}"),
        }
    }

    pub fn listener(&mut self, client: Pid, port: u16, backlog: u32) -> Handle {
        let address = any(port);
        let made = self.open(client, Operation::Listen { address, backlog });
        made.unwrap().0
    }

    pub fn datagrams(&mut self, client: Pid, port: u16) -> Handle {
        let address = any(port);
        self.open(client, Operation::Bind { address }).unwrap().0
    }

    /// Begins to connect; [`World::is_connected`] tells how it goes.
    pub fn begin_connect(
        &mut self,
        client: Pid,
        address: impl Into<SocketAddr>,
    ) -> Result<(Handle, SocketAddr)> {
        let address = address.into().into();
        self.open(client, Operation::Connect { address })
    }

    /// How a connection goes that was begun, if something was told of it now.
    pub fn is_connected(&mut self, client: Pid, socket: Handle) -> Option<Result<()>> {
        let events = self.now(client, &Ops::new());
        match events.first()?.0 {
            Event::Connected { socket: connected } => assert_eq!(connected, socket),
            Event::Failed { socket: failed, .. } => assert_eq!(failed, socket),
            other => panic!("{other:?}"),
        }
        Some(outcome(&events))
    }

    /// Connects, and waits until the connection stands. If it fails, the socket is closed.
    pub fn connect(
        &mut self,
        client: Pid,
        address: impl Into<SocketAddr>,
    ) -> Result<(Handle, SocketAddr)> {
        let (socket, local) = self.begin_connect(client, address)?;
        let events = self.events(client, &Ops::new());
        match outcome(&events) {
            Ok(()) => assert_eq!(events[0].0, Event::Connected { socket }),
            Err(error) => {
                self.close(client, socket).unwrap();
                return Err(error);
            }
        }
        Ok((socket, local))
    }

    /// Accepts the connection that waits, if one does.
    pub fn try_accept(&mut self, client: Pid, socket: Handle) -> Result<(Handle, SocketAddr)> {
        let ops = accept_one(socket);
        accepted(self.now_or_never(client, socket, &ops))
    }

    /// Accepts one connection, waiting for it.
    pub fn accept(&mut self, client: Pid, socket: Handle) -> Handle {
        let events = self.events(client, &accept_one(socket));
        accepted(events).unwrap().0
    }

    /// Takes at most so many octets of what has come: none at the end of the stream.
    pub fn recv(&mut self, client: Pid, socket: Handle, max: usize) -> Result<Vec<u8>> {
        let events = self.now_or_never(client, socket, &receive(socket, max));
        received(events).map(|(bytes, _)| bytes)
    }

    /// Waits until something has come, and takes at most so many octets of it.
    pub fn recv_wait(&mut self, client: Pid, socket: Handle, max: usize) -> Result<Vec<u8>> {
        let events = self.events(client, &receive(socket, max));
        received(events).map(|(bytes, _)| bytes)
    }

    /// Takes a datagram, if there is one, and its sender.
    pub fn recv_from(
        &mut self,
        client: Pid,
        socket: Handle,
        max: usize,
    ) -> Result<(Vec<u8>, SocketAddr)> {
        let operation = Operation::ReceiveFrom {
            socket,
            count: 1,
            max: max as u32,
        };
        let events = self.now_or_never(client, socket, &Ops::new().with(operation));
        received(events).map(|(bytes, from)| (bytes, from.unwrap()))
    }

    /// Queues what there is room for; returns how many octets that is.
    pub fn send(&mut self, client: Pid, socket: Handle, bytes: &[u8]) -> Result<usize> {
        let ops = Ops::new().send(socket, bytes, |_| {});
        let events = self.now(client, &ops);
        // So that nobody is told when there is room again.
        self.now(client, &Ops::new().with(Operation::Cancel { socket }));
        outcome(&events)?;
        match events[..] {
            [(Event::Sent { .. }, _)] => Ok(bytes.len()),
            [(Event::Cut { count: 0, .. }, _)] => Err(Error::WouldBlock),
            [(Event::Cut { count, .. }, _)] => Ok(count as usize),
            _ => panic!("{events:?}"),
        }
    }

    /// Begins to send all of this; [`World::is_sent`] tells whether it is queued.
    pub fn begin_send(&mut self, client: Pid, socket: Handle, bytes: &[u8]) -> u64 {
        let ops = Ops::new().send(socket, &[], |send| {
            send.part.len = bytes.len() as u32;
            send.tell = abi::batch::Tell::Now;
        });
        self.batch_from(client, &ops, (AREA, bytes), NO_TIMEOUT)
    }

    /// What became of it, if something did.
    pub fn is_sent(&mut self, token: u64) -> Option<Result<()>> {
        self.batch_answer(token).map(|events| outcome(&events))
    }

    /// Queues a datagram.
    pub fn send_to(
        &mut self,
        client: Pid,
        socket: Handle,
        address: impl Into<SocketAddr>,
        bytes: &[u8],
    ) -> Result<()> {
        let address: SocketAddr = address.into();
        let events = self.now(client, &Ops::new().send_to(socket, address, bytes));
        outcome(&events)?;
        match events[..] {
            [] => Ok(()),
            [(Event::Cut { count: 0, .. }, _)] => Err(Error::WouldBlock),
            _ => panic!("{events:?}"),
        }
    }

    pub fn shutdown(&mut self, client: Pid, socket: Handle, direction: Direction) -> Result<()> {
        let ops = Ops::new().with(Operation::Shutdown { socket, direction });
        outcome(&self.now(client, &ops))
    }

    pub fn close(&mut self, client: Pid, socket: Handle) -> Result<()> {
        outcome(&self.now(client, &Ops::new().with(Operation::Close { socket })))
    }
}

fn accept_one(socket: Handle) -> Ops {
    Ops::new().with(Operation::Accept {
        socket,
        count: 1,
        receive: 0,
    })
}

fn accepted(events: Events) -> Result<(Handle, SocketAddr)> {
    outcome(&events)?;
    match events[..] {
        [] => Err(Error::WouldBlock),
        [(Event::Accepted { socket, peer, .. }, _)] => Ok((socket, peer.to_socket_addr())),
        _ => panic!("{events:?}"),
    }
}
