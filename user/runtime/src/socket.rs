//! Sockets, with the names and habits of `std::net`: each call is a batch of one operation ([`batch`]).
//!
//! A socket belongs to the server that made it. When that server dies, every call on the
//! socket says [`Error::PeerDied`]; binding or connecting again finds the next server.
//!
//! No call of a socket leaves anything behind that the server would tell of later: what was asked for and
//! did not come in time is taken back. So the calls of several sockets do not get in each other's way. A
//! program that has many sockets at once makes batches of its own, and, once it waits for their events, makes no
//! call of these types on the same server: the events would be told to that call.

use crate::start;
use crate::sys::{self, Lent};
use crate::{Error, Pid, Result, time};
use abi::batch::{NO_TIMEOUT, area_min, padded};
use abi::service::{self, Stack};
use abi::socket::{Answer, Request};
use alloc::string::String;
use batch::{Batch, Event, Operations};
use core::cell::Cell;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;

pub mod batch;
mod datagram;
pub mod own;
mod stream;
mod table;

pub use abi::socket::{Address, Direction, Handle};
pub use datagram::UdpSocket;
pub use stream::{TcpListener, TcpStream};
pub use table::Table;

/// Room for a server's status lines, in bytes.
const STATUS_MAX: usize = 8192;
/// Room for the text of [`Server::card`], in bytes.
pub const CARD_MAX: usize = 12 * 1024;

/// A network server: one IP stack on one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    place: Place,
}

/// Where a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Process(Pid),
    /// In this process.
    Here,
}

impl Server {
    /// The server of the stack that this program was started for.
    ///
    /// # Errors
    /// As [`Server::of`].
    pub fn ours() -> Result<Server> {
        Server::of(start::stack())
    }

    /// The server of a stack. If it is not running, `init` is asked to start it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is neither, or no such stack; what `init` says.
    pub fn of(stack: Stack) -> Result<Server> {
        if let Some(own) = own::of(stack) {
            return Ok(own);
        }
        match Server::running(stack) {
            Err(Error::NotFound) => {}
            result => return result,
        }
        let init = sys::lookup(service::INIT)?;
        let request = service::Request::NetworkServer { stack };
        let mut pid = [0; 4];
        match sys::call(init, &request.to_bytes(), &mut pid, &mut [])? {
            4 => Ok(Server::in_process(Pid(u32::from_le_bytes(pid)))),
            _ => Err(Error::Malformed),
        }
    }

    /// The server of a stack, if it is running.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is not.
    pub fn running(stack: Stack) -> Result<Server> {
        sys::lookup(stack.service().as_str()).map(Server::in_process)
    }

    const fn in_process(pid: Pid) -> Self {
        Server {
            place: Place::Process(pid),
        }
    }

    /// The server's state, as lines of "name value".
    ///
    /// # Errors
    /// [`Error::PeerDied`].
    pub fn status(&self) -> Result<String> {
        self.text(Request::Status, STATUS_MAX)
    }

    /// The server's card and its counters, as lines of "name value", which `programs::nicstat`
    /// reads.
    ///
    /// # Errors
    /// [`Error::PeerDied`], [`Error::DeviceFailed`]; [`Error::NotSupported`] of a server
    /// without a card.
    pub fn card(&self) -> Result<String> {
        self.text(Request::Card, CARD_MAX)
    }

    fn text(&self, request: Request, room: usize) -> Result<String> {
        let mut text = alloc::vec![0; room];
        let mut answer = [0; Answer::SIZE];
        let lent = &mut [Lent::Write(&mut text)];
        self.call(&request.to_bytes(), &mut answer, lent)?;
        text.truncate(Answer::from_bytes(&answer)?.0 as usize);
        String::from_utf8(text).map_err(|_| Error::Malformed)
    }

    /// Listens at `address`; port 0 lets the server choose.
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::AddressNotAvailable`], [`Error::NoMemory`].
    pub fn listen(&self, address: SocketAddr, backlog: u32) -> Result<TcpListener> {
        self.open(|operations| operations.listen(address.into(), backlog))
            .map(TcpListener::of)
    }

    /// Connects to `address` and waits until the connection stands.
    ///
    /// # Errors
    /// [`Error::ConnectionRefused`], [`Error::TimedOut`], [`Error::Unreachable`],
    /// [`Error::NoMemory`].
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        let mut opened = None;
        let connect = |operations: &mut Operations<'_>| operations.connect(address.into());
        let connected = self.perform(0, None, connect, |event| match event {
            Event::Opened { socket, local } => {
                opened = Some((socket, local));
                None
            }
            Event::Connected { .. } => Some(()),
            _ => None,
        });
        let socket = opened.map(|(handle, local)| self.socket(handle, local.to_socket_addr()));
        // If it has failed, it is closed here.
        connected?;
        Ok(TcpStream::of(socket.ok_or(Error::Malformed)?, address))
    }

    /// A datagram socket at `address`; port 0 lets the server choose.
    ///
    /// # Errors
    /// As [`Server::listen`].
    pub fn datagram(&self, address: SocketAddr) -> Result<UdpSocket> {
        self.open(|operations| operations.bind(address.into()))
            .map(UdpSocket::of)
    }

    /// Has a socket made.
    fn open(&self, open: impl FnOnce(&mut Operations<'_>) -> Result<()>) -> Result<Socket> {
        let opened = self.perform(0, None, open, |event| match event {
            Event::Opened { socket, local } => Some((socket, local.to_socket_addr())),
            _ => None,
        })?;
        let (handle, local) = opened.ok_or(Error::Malformed)?;
        Ok(self.socket(handle, local))
    }

    fn socket(&self, handle: Handle, local: SocketAddr) -> Socket {
        Socket {
            server: *self,
            handle,
            local,
            non_blocking: Cell::new(false),
            read_timeout: Cell::new(None),
        }
    }

    /// Has one operation done, and waits for the event of which `hear` says something; `None` if it is not
    /// there in time. An event can bring so many bytes.
    fn perform<R>(
        &self,
        bytes: usize,
        until: Until,
        operate: impl FnOnce(&mut Operations<'_>) -> Result<()>,
        mut hear: impl FnMut(Event<'_, '_>) -> Option<R>,
    ) -> Result<Option<R>> {
        let mut batch = Batch::with_area(*self, area_min(1) + padded(bytes), &[]);
        operate(batch.operations())?;
        loop {
            let left = match until {
                None => NO_TIMEOUT,
                NOW => 0,
                until => batch::timeout_ms(until, time::clock_ns()),
            };
            let (events, _) = batch.wait(left)?;
            for event in events {
                if let Event::Failed { error, .. } = event {
                    return Err(error);
                }
                if let Some(heard) = hear(event) {
                    return Ok(Some(heard));
                }
            }
            if left == 0 {
                return Ok(None);
            }
        }
    }

    /// As [`sys::call`].
    fn call(&self, request: &[u8], answer: &mut [u8], leases: &mut [Lent<'_>]) -> Result<usize> {
        match self.place {
            Place::Process(pid) => sys::call(pid, request, answer, leases),
            Place::Here => own::call(request, answer, leases),
        }
    }
}

/// How long a call waits: as by [`time::clock_ns`], or for ever.
type Until = Option<u64>;
/// It only looks.
const NOW: Until = Some(0);

/// A handle at a server; closed when dropped.
#[derive(Debug)]
struct Socket {
    server: Server,
    handle: Handle,
    local: SocketAddr,
    non_blocking: Cell<bool>,
    read_timeout: Cell<Option<Duration>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A server that is gone has closed it already.
        let _ = self.at_once(|operations| operations.close(self.handle));
    }
}

impl Socket {
    /// Has an operation done of which nothing is told but its failure.
    fn at_once(&self, operate: impl FnOnce(&mut Operations<'_>) -> Result<()>) -> Result<()> {
        let nothing = |_: Event<'_, '_>| None::<()>;
        self.server.perform(0, NOW, operate, nothing).map(|_| ())
    }

    /// How long a call that sends waits.
    fn until_sent(&self) -> Until {
        match self.non_blocking.get() {
            true => NOW,
            false => None,
        }
    }

    /// How long a call that receives waits.
    fn until_received(&self) -> Until {
        match (self.non_blocking.get(), self.read_timeout.get()) {
            (true, _) => NOW,
            (false, None) => None,
            (false, Some(timeout)) => {
                let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
                Some(time::clock_ns().saturating_add(timeout))
            }
        }
    }

    /// Arms the socket, and waits for what comes. If it does not come in time, the socket is not armed any more.
    fn receive<R>(
        &self,
        bytes: usize,
        until: Until,
        arm: impl FnOnce(&mut Operations<'_>) -> Result<()>,
        hear: impl FnMut(Event<'_, '_>) -> Option<R>,
    ) -> Result<R> {
        if let Some(heard) = self.server.perform(bytes, until, arm, hear)? {
            return Ok(heard);
        }
        self.at_once(|operations| operations.cancel(self.handle))?;
        Err(match until {
            NOW => Error::WouldBlock,
            _ => Error::TimedOut,
        })
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(Error::InvalidArgument);
        }
        self.read_timeout.set(timeout);
        Ok(())
    }
}

/// A port on every address of the stack, of IPv4 and of IPv6.
pub const fn any(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

#[cfg(test)]
mod tests;
