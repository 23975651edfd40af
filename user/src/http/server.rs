//! All connections, and what they share.

use super::connection::{Connection, Context, Flow};
use super::site::Site;
use super::status::Counters;
use crate::stream::Stream;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// The most connections at a time.
pub const CLIENTS_MAX: usize = 256;

/// A web server over streams of type `S`.
pub struct Server<'a, S> {
    site: Site<'a>,
    counters: Counters,
    clients: Vec<Client<'a, S>>,
    network: Box<dyn Fn() -> String>,
}

struct Client<'a, S> {
    stream: S,
    connection: Connection<'a>,
}

impl<'a, S: Stream> Server<'a, S> {
    /// A server of `site`. `network` tells the network server's state, in lines of
    /// "name value", for the status page.
    pub fn new(site: Site<'a>, network: impl Fn() -> String + 'static) -> Self {
        Server {
            site,
            counters: Counters::default(),
            clients: Vec::new(),
            network: Box::new(network),
        }
    }

    /// Whether a new connection could be served: if all places are taken, only in that of
    /// one that is idle.
    pub fn has_room(&self) -> bool {
        self.clients.len() < CLIENTS_MAX
            || self
                .clients
                .iter()
                .any(|client| client.connection.is_idle())
    }

    /// Takes a new connection and serves it at once: its request may have come with it.
    /// Without a free place the connection that has been idle the longest is closed, or
    /// the new one if none is.
    pub fn accept(&mut self, stream: S, now: u64) {
        self.counters.accepted += 1;
        if self.clients.len() >= CLIENTS_MAX {
            let idle = self.clients.iter().enumerate();
            let longest = idle
                .filter(|(_, client)| client.connection.is_idle())
                .min_by_key(|(_, client)| client.connection.deadline());
            let Some((at, _)) = longest else {
                return;
            };
            self.clients.swap_remove(at);
            self.counters.evicted += 1;
        }
        let connection = Connection::new(now);
        let mut client = Client { stream, connection };
        let mut context = Context {
            site: &self.site,
            counters: &mut self.counters,
            open: self.clients.len() + 1,
            now,
            network: &self.network,
        };
        if client.connection.pump(&client.stream, &mut context) == Flow::Open {
            self.clients.push(client);
        }
    }

    /// Each connection's stream and the events it waits for, in order.
    pub fn wanted(&self) -> impl Iterator<Item = (&S, u16)> {
        let clients = self.clients.iter();
        clients.map(|client| (&client.stream, client.connection.wanted()))
    }

    /// Serves the connections that are ready, by their place in [`Server::wanted`], and
    /// ends those whose time is up.
    pub fn pump(&mut self, mut is_ready: impl FnMut(usize) -> bool, now: u64) {
        let mut context = Context {
            site: &self.site,
            counters: &mut self.counters,
            open: self.clients.len(),
            now,
            network: &self.network,
        };
        let mut place = 0;
        self.clients.retain_mut(|Client { stream, connection }| {
            let ready = is_ready(place);
            place += 1;
            let flow = if ready {
                connection.pump(stream, &mut context)
            } else if connection.deadline() <= now {
                connection.expire(stream, &mut context)
            } else {
                Flow::Open
            };
            flow == Flow::Open
        });
    }

    /// When [`Server::pump`] is to be called even if no connection is ready.
    pub fn deadline(&self) -> Option<u64> {
        let clients = self.clients.iter();
        clients.map(|client| client.connection.deadline()).min()
    }

    /// Forgets all connections: the network they were on is gone.
    pub fn clear(&mut self) {
        self.clients.clear();
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.clients.len()
    }
}

#[cfg(test)]
mod tests;
