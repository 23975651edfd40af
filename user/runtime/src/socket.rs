//! Sockets, with the names and habits of `std::net`, as requests to a network server.
//!
//! A socket belongs to the server that made it. When that server dies, every call on the
//! socket says [`Error::PeerDied`]; binding or connecting again finds the next server.

use crate::start;
use crate::sys::{self, Lent};
use crate::{Error, Pid, Result};
use abi::ipc::MESSAGE_MAX;
use abi::service::{self, Stack};
use abi::socket::{Answer, Kind, Request};
use alloc::string::String;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

pub mod batch;
pub mod own;
mod poll;
mod table;

pub use abi::socket::{Address, Direction, Handle, POLL_FOREVER, POLL_MAX, poll as events};
pub use poll::{PollSet, Pollable};
pub use table::Table;

/// Connections that may wait for [`TcpListener::accept`], if the caller does not say.
const DEFAULT_BACKLOG: u16 = 128;
/// Room for a server's status lines, in bytes.
const STATUS_MAX: usize = 8192;
/// Room for the text of [`Server::card`], in bytes.
pub const CARD_MAX: usize = 8192;

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
        let answer = self.request(request, &mut [Lent::Write(&mut text)])?;
        text.truncate(count(answer)?);
        String::from_utf8(text).map_err(|_| Error::Malformed)
    }

    /// Listens at `address`; port 0 lets the server choose.
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::AddressNotAvailable`], [`Error::NoMemory`].
    pub fn listen(&self, address: SocketAddr, backlog: u16) -> Result<TcpListener> {
        let socket = self.socket(Kind::Stream)?;
        socket.bind(address)?;
        socket.done(Request::Listen {
            socket: socket.handle,
            backlog,
        })?;
        Ok(TcpListener { socket })
    }

    /// Connects to `address` and waits until the connection stands.
    ///
    /// # Errors
    /// [`Error::ConnectionRefused`], [`Error::TimedOut`], [`Error::Unreachable`],
    /// [`Error::NoMemory`].
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        let socket = self.socket(Kind::Stream)?;
        socket.connect(address)?;
        Ok(TcpStream { socket })
    }

    /// A datagram socket at `address`; port 0 lets the server choose.
    ///
    /// # Errors
    /// As [`Server::listen`].
    pub fn datagram(&self, address: SocketAddr) -> Result<UdpSocket> {
        let socket = self.socket(Kind::Datagram)?;
        socket.bind(address)?;
        Ok(UdpSocket { socket })
    }

    fn socket(&self, kind: Kind) -> Result<Socket> {
        match self.request(Request::Socket { kind }, &mut [])? {
            Answer::Socket(handle) => Ok(Socket {
                server: *self,
                handle,
            }),
            _ => Err(Error::Malformed),
        }
    }

    fn request(&self, request: Request, leases: &mut [Lent<'_>]) -> Result<Answer> {
        let mut answer = [0; MESSAGE_MAX];
        match self.call(&request.to_bytes(), &mut answer, leases) {
            Ok(0) => Ok(Answer::Done),
            Ok(len) => Answer::from_bytes(&answer[..len]),
            Err(error) => Err(error),
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

fn count(answer: Answer) -> Result<usize> {
    match answer {
        Answer::Count(count) => Ok(count as usize),
        _ => Err(Error::Malformed),
    }
}

/// A handle at a server; closed when dropped.
#[derive(Debug)]
struct Socket {
    server: Server,
    handle: Handle,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A server that is gone has closed it already.
        let _ = self.done(Request::Close {
            socket: self.handle,
        });
    }
}

impl Socket {
    fn done(&self, request: Request) -> Result<()> {
        self.server.request(request, &mut []).map(|_| ())
    }

    fn bind(&self, address: SocketAddr) -> Result<()> {
        let socket = self.handle;
        self.done(Request::Bind { socket, address })
    }

    fn connect(&self, address: SocketAddr) -> Result<()> {
        let socket = self.handle;
        self.done(Request::Connect { socket, address })
    }

    fn send(&self, leases: &mut [Lent<'_>]) -> Result<usize> {
        let socket = self.handle;
        count(self.server.request(Request::Send { socket }, leases)?)
    }

    fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        let room = buffer.len();
        let socket = self.handle;
        let answer = self
            .server
            .request(Request::Recv { socket }, &mut [Lent::Write(buffer)])?;
        Ok(count(answer)?.min(room))
    }

    fn set_nonblocking(&self, on: bool) -> Result<()> {
        let socket = self.handle;
        self.done(Request::SetNonBlocking { socket, on })
    }

    fn address(&self, request: Request) -> Result<SocketAddr> {
        match self.server.request(request, &mut [])? {
            Answer::Address(address) => Ok(address),
            _ => Err(Error::Malformed),
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        let socket = self.handle;
        self.address(Request::LocalAddress { socket })
    }

    fn peer_addr(&self) -> Result<SocketAddr> {
        let socket = self.handle;
        self.address(Request::PeerAddress { socket })
    }
}

/// A port on every address of the stack, of IPv4 and of IPv6.
pub const fn any(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// A TCP socket that waits for connections.
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket,
}

impl TcpListener {
    /// Listens at `address` of the first card.
    ///
    /// # Errors
    /// As [`Server::ours`] and [`Server::listen`].
    pub fn bind(address: SocketAddr) -> Result<TcpListener> {
        Server::ours()?.listen(address, DEFAULT_BACKLOG)
    }

    /// Takes the next connection. The stream blocks, whatever the listener does.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if the listener is non-blocking and none waits.
    pub fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        let server = self.socket.server;
        let socket = self.socket.handle;
        match server.request(Request::Accept { socket }, &mut [])? {
            Answer::Accepted(handle, peer) => {
                let socket = Socket { server, handle };
                Ok((TcpStream { socket }, peer))
            }
            _ => Err(Error::Malformed),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`Error::PeerDied`].
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The network server it belongs to.
    pub fn server(&self) -> Server {
        self.socket.server
    }

    /// Its number there, for [`batch`].
    pub fn handle(&self) -> Handle {
        self.socket.handle
    }

    /// Whether [`TcpListener::accept`] answers [`Error::WouldBlock`] instead of waiting.
    ///
    /// # Errors
    /// [`Error::PeerDied`].
    pub fn set_nonblocking(&self, on: bool) -> Result<()> {
        self.socket.set_nonblocking(on)
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpStream {
    socket: Socket,
}

impl TcpStream {
    /// Connects from the first card.
    ///
    /// # Errors
    /// As [`Server::ours`] and [`Server::connect`].
    pub fn connect(address: SocketAddr) -> Result<TcpStream> {
        Server::ours()?.connect(address)
    }

    /// Takes what has arrived, at most the buffer's length; 0 is the end of the stream.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if non-blocking and there is nothing,
    /// [`Error::ConnectionReset`], [`Error::NotConnected`], [`Error::PeerDied`].
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        self.socket.recv(buffer)
    }

    /// Queues bytes for sending; returns how many were taken.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if non-blocking and there is no room, [`Error::BrokenPipe`],
    /// [`Error::ConnectionReset`], [`Error::NotConnected`], [`Error::PeerDied`].
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        self.socket.send(&mut [Lent::Read(bytes)])
    }

    /// As [`TcpStream::write`], of two pieces one after the other in one request. It may
    /// take the first only.
    ///
    /// # Errors
    /// As there.
    pub fn write_vectored(&self, first: &[u8], second: &[u8]) -> Result<usize> {
        match (first, second) {
            (only, []) | ([], only) => self.write(only),
            _ => self
                .socket
                .send(&mut [Lent::Read(first), Lent::Read(second)]),
        }
    }

    /// Queues all bytes of a blocking stream.
    ///
    /// # Errors
    /// As [`TcpStream::write`].
    pub fn write_all(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let taken = self.write(bytes)?;
            bytes = bytes.get(taken..).ok_or(Error::Malformed)?;
        }
        Ok(())
    }

    /// Ends one or both directions.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::PeerDied`].
    pub fn shutdown(&self, direction: Direction) -> Result<()> {
        let socket = self.socket.handle;
        self.socket.done(Request::Shutdown { socket, direction })
    }

    /// This end's address.
    ///
    /// # Errors
    /// [`Error::PeerDied`].
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The other end's address.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::PeerDied`].
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Whether calls answer [`Error::WouldBlock`] instead of waiting.
    ///
    /// # Errors
    /// [`Error::PeerDied`].
    pub fn set_nonblocking(&self, on: bool) -> Result<()> {
        self.socket.set_nonblocking(on)
    }
}

/// A UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
}

impl UdpSocket {
    /// A socket at `address` of the first card.
    ///
    /// # Errors
    /// As [`Server::ours`] and [`Server::datagram`].
    pub fn bind(address: SocketAddr) -> Result<UdpSocket> {
        Server::ours()?.datagram(address)
    }

    /// Its number at its network server, for [`batch`].
    pub fn handle(&self) -> Handle {
        self.socket.handle
    }

    /// Sets the peer of [`UdpSocket::send`]; datagrams of others are not received.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::PeerDied`].
    pub fn connect(&self, address: SocketAddr) -> Result<()> {
        self.socket.connect(address)
    }

    /// Sends one datagram to the peer.
    ///
    /// # Errors
    /// [`Error::NotConnected`], and as [`UdpSocket::send_to`].
    pub fn send(&self, datagram: &[u8]) -> Result<usize> {
        self.socket.send(&mut [Lent::Read(datagram)])
    }

    /// Takes one datagram of the peer; what does not fit is lost.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], [`Error::PeerDied`].
    pub fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        self.recv_from(buffer).map(|(len, _)| len)
    }

    /// Sends one datagram to `address`.
    ///
    /// # Errors
    /// [`Error::WouldBlock`], [`Error::TooLong`], [`Error::Unreachable`],
    /// [`Error::PeerDied`].
    pub fn send_to(&self, datagram: &[u8], address: SocketAddr) -> Result<usize> {
        let socket = self.socket.handle;
        let request = Request::SendTo { socket, address };
        let answer = self
            .socket
            .server
            .request(request, &mut [Lent::Read(datagram)])?;
        count(answer)
    }

    /// Takes one datagram and its sender; what does not fit is lost.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if non-blocking and there is none, [`Error::PeerDied`].
    pub fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        let room = buffer.len();
        let socket = self.socket.handle;
        let answer = self
            .socket
            .server
            .request(Request::RecvFrom { socket }, &mut [Lent::Write(buffer)])?;
        match answer {
            Answer::Datagram(len, sender) => Ok(((len as usize).min(room), sender)),
            _ => Err(Error::Malformed),
        }
    }

    /// This end's address.
    ///
    /// # Errors
    /// [`Error::PeerDied`].
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Whether calls answer [`Error::WouldBlock`] instead of waiting.
    ///
    /// # Errors
    /// [`Error::PeerDied`].
    pub fn set_nonblocking(&self, on: bool) -> Result<()> {
        self.socket.set_nonblocking(on)
    }
}

#[cfg(test)]
mod tests;
