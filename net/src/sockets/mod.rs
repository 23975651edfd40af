//! The sockets of programs: who has which ([`handles`]), over the stack's connections and ports.
//!
//! What a socket is, and how one is made, is in [`kinds`]; what its program wants of it now, in
//! [`interest`]. The engine that does what programs ask for ([`crate::batch`]) is above.

pub(crate) mod addresses;
pub(crate) mod handles;
pub(crate) mod interest;
pub(crate) mod kinds;
mod ports;

use crate::config::Config;
use crate::ipc::Ipc;
use crate::phy::{Device, LookAhead};
use crate::sockets::handles::Handles;
use crate::sockets::ports::Ports;
use crate::stack::Stack;
use abi::{Pid, Result};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// All sockets on one stack.
pub(crate) struct Sockets<D: Device> {
    pub stack: Stack<D>,
    pub handles: Handles,
    ports: Ports,
    /// The clients whose end the kernel will tell.
    watched: BTreeSet<Pid>,
}

impl<D: Device> Sockets<D> {
    #[cold]
    pub fn new(config: Config, device: D, now: u64) -> Self
    where
        D: LookAhead,
    {
        Sockets {
            stack: Stack::new(config, device, now),
            handles: Handles::new(config.limits),
            ports: Ports::new(&config.secret),
            watched: BTreeSet::new(),
        }
    }

    /// How many clients have left something with us.
    pub fn clients(&self) -> usize {
        self.watched.len()
    }

    /// Sees to it that the end of a client that leaves something with us is told to us.
    pub fn watch(&mut self, client: Pid, ipc: &mut impl Ipc) -> Result<()> {
        if !self.watched.contains(&client) {
            ipc.watch(client)?;
            self.watched.insert(client);
        }
        Ok(())
    }

    /// A client has ended: its sockets are freed and its connections reset.
    #[cold]
    pub fn client_died(&mut self, client: Pid, now: u64) {
        self.watched.remove(&client);
        let handles: Vec<_> = self.handles.of(client).collect();
        for handle in handles {
            if let Ok(socket) = self.handles.remove(handle, client) {
                self.free(socket.kind, now, true);
            }
        }
    }
}
