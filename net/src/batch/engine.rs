//! What serves batches: the programs that make them, and the sockets that they are about.

use crate::batch::clients::Clients;
use crate::ipc::Ipc;
use crate::phy::Device;
use crate::sockets::Sockets;
use alloc::vec::Vec;

/// What is kept of batches from call to call.
#[derive(Default)]
pub(crate) struct Batches {
    /// Who makes batches.
    pub clients: Clients,
    /// Operations on their way from lent memory.
    pub window: Vec<u8>,
    /// A datagram on its way from lent memory to a queue.
    pub scratch: Vec<u8>,
    /// A batch gave the stack something to send, or room to tell of.
    pub moved: bool,
    /// The last poll answered a call.
    pub answered: bool,
    /// How often a batch looked at a socket.
    pub sockets_served: u64,
}

/// Serves batches on these sockets, at this time.
pub(crate) struct Engine<'a, D: Device, I: Ipc> {
    pub sockets: &'a mut Sockets<D>,
    pub batches: &'a mut Batches,
    pub now: u64,
    pub ipc: &'a mut I,
}
