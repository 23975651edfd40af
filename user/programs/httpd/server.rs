//! All connections, and what they share.

use super::connection::{Connection, Context, Flow, News, RECEIVE_MAX};
use super::site::Site;
use super::status::Counters;
use alloc::boxed::Box;
use alloc::string::String;
use runtime::Result;
use runtime::socket::batch::{Event, Operations};
use runtime::socket::{Handle, Table};

/// The most connections at a time; the network server may have room for fewer.
pub const CLIENTS_MAX: usize = 16_384;
/// The most bytes that all connections together keep; those that have kept some for longest give
/// way to others.
const HELD_MAX: usize = 4 << 20;
/// How long none is taken after the network server had no room.
const PAUSE_NS: u64 = 100_000_000;
/// All connections are looked at for those whose time is up, but not more often than that takes,
/// in nanoseconds for each: a tenth of a second for 10,000.
const LOOK_NS: u64 = 10_000;
/// Connections taken in one turn, so that the others have theirs.
const ACCEPTS: usize = 32;

/// A web server over the sockets of one batch.
pub struct Server<'a> {
    site: Site<'a>,
    counters: Counters,
    clients: Table<Connection<'a>>,
    network: Box<dyn Fn() -> String>,
    /// Connections that the network may still give us.
    granted: usize,
    /// Bytes that all connections keep.
    held: usize,
    /// None is taken before.
    paused_until: u64,
    /// How many there may be.
    places: usize,
    /// No connection's deadline is earlier.
    earliest: u64,
}

impl<'a> Server<'a> {
    /// A server of `site`. `network` tells the network server's state, in lines of
    /// "name value", for the status page.
    pub fn new(site: Site<'a>, network: impl Fn() -> String + 'static) -> Self {
        Server {
            site,
            counters: Counters::default(),
            clients: Table::new(),
            network: Box::new(network),
            granted: 0,
            held: 0,
            paused_until: 0,
            places: CLIENTS_MAX,
            earliest: u64::MAX,
        }
    }

    /// How many new connections could be served: if all places are taken, one in that of
    /// one that gives way.
    fn room(&self, now: u64) -> usize {
        match self.places.saturating_sub(self.clients.len()) {
            _ if now < self.paused_until => 0,
            0 => self.clients.iter().any(|(_, c)| c.may_give_way(now)).into(),
            free => free.min(ACCEPTS),
        }
    }

    /// Before each wait: ends the connections whose time is up, and says how many new ones
    /// are welcome at `listener`.
    ///
    /// # Errors
    /// [`runtime::Error::TooLong`], which the bounds of this server do not let happen.
    pub fn prepare(
        &mut self,
        listener: Handle,
        operations: &mut Operations<'a>,
        now: u64,
    ) -> Result<()> {
        if self.earliest <= now {
            self.expire(operations, now);
        }
        if self.paused_until <= now {
            self.paused_until = 0;
        }
        let room = self.room(now);
        // Not for each that comes: half is enough to go on with.
        if self.granted > room || self.granted * 2 < room {
            operations.accept(listener, room, RECEIVE_MAX)?;
            self.granted = room;
        }
        Ok(())
    }

    fn expire(&mut self, operations: &mut Operations<'a>, now: u64) {
        let due = |(handle, client): (Handle, &Connection<'_>)| {
            (client.deadline() <= now).then_some(handle)
        };
        let due: alloc::vec::Vec<Handle> = self.clients.iter().filter_map(due).collect();
        for handle in due {
            self.tell(handle, News::Expired, operations, now);
        }
        let deadlines = self.clients.iter().map(|(_, c)| c.deadline());
        let pause = self.clients.len() as u64 * LOOK_NS;
        self.earliest = deadlines.min().map_or(u64::MAX, |at| at.max(now + pause));
    }

    /// When to [`Server::prepare`] though nothing happens.
    pub fn deadline(&self) -> Option<u64> {
        let resumes = match self.paused_until {
            0 => u64::MAX,
            at => at,
        };
        Some(self.earliest.min(resumes)).filter(|&at| at != u64::MAX)
    }

    /// Takes note of what has happened, and does what follows.
    pub fn hear(&mut self, event: Event<'_, 'a>, operations: &mut Operations<'a>, now: u64) {
        if let Event::Accepted { socket, .. } = event {
            self.accept(socket, operations, now);
        } else if let Some((socket, news)) = News::of(event) {
            if matches!(news, News::Failed) && self.clients.get_mut(socket).is_none() {
                // The listener, which takes no more until it is asked to: there was no room.
                self.granted = 0;
                if !self.evict(operations, now) {
                    self.paused_until = now + PAUSE_NS;
                }
            }
            self.tell(socket, news, operations, now);
        }
    }

    fn tell(
        &mut self,
        handle: Handle,
        news: News<'_, 'a>,
        operations: &mut Operations<'a>,
        now: u64,
    ) {
        let open = self.clients.len();
        let Some(connection) = self.clients.get_mut(handle) else {
            return;
        };
        let mut context = Context {
            site: &self.site,
            counters: &mut self.counters,
            open,
            now,
            network: &self.network,
            operations,
        };
        self.held -= connection.held();
        match connection.hear(news, &mut context) {
            Flow::Open => {
                self.held += connection.held();
                self.earliest = self.earliest.min(connection.deadline());
            }
            Flow::Closed => drop(self.clients.remove(handle)),
        }
        while self.held > HELD_MAX {
            let all = self.clients.iter();
            let holding = all.filter(|(_, client)| client.held() > 0);
            let Some((victim, _)) = holding.min_by_key(|(_, client)| client.since()) else {
                break;
            };
            self.close(victim, operations);
        }
    }

    /// Closes a connection to the benefit of others.
    fn close(&mut self, victim: Handle, operations: &mut Operations<'a>) {
        if let Some(client) = self.clients.remove(victim) {
            self.held -= client.held();
        }
        // As in Connection::hear: there is room for this.
        let _ = operations.close(victim);
        self.counters.evicted += 1;
    }

    /// Takes a new connection. Without a free place the one that gives way first is closed, or
    /// the new one if none does.
    fn accept(&mut self, handle: Handle, operations: &mut Operations<'a>, now: u64) {
        self.counters.accepted += 1;
        self.granted = self.granted.saturating_sub(1);
        if self.clients.len() >= self.places && !self.evict(operations, now) {
            // As in Connection::hear: there is room for this.
            let _ = operations.close(handle);
            return;
        }
        let connection = Connection::new(handle, now);
        self.earliest = self.earliest.min(connection.deadline());
        self.clients.insert(handle, connection);
    }

    /// Closes the connection that gives way first, if one does.
    fn evict(&mut self, operations: &mut Operations<'a>, now: u64) -> bool {
        let all = self.clients.iter();
        let some = all.filter(|(_, client)| client.gives_way(now));
        let Some((victim, _)) = some.min_by_key(|(_, client)| client.rank()) else {
            return false;
        };
        self.close(victim, operations);
        true
    }

    /// Forgets all connections: the network they were on is gone.
    pub fn clear(&mut self) {
        self.clients.clear();
        self.held = 0;
        (self.granted, self.earliest, self.paused_until) = (0, u64::MAX, 0);
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
