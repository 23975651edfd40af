//! What Wharf is measured against inside Linux: the barest server that is still right. One
//! thread, one epoll set: TCP echo, UDP echo, and the files of a directory over HTTP/1.1.
//!
//! It makes as few system calls as such a server can: per event one read, and one write for
//! all that the read asked for; nothing is allocated or opened per request.

mod connection;
mod reflect;
mod site;
mod tune;

pub use reflect::reflected;
pub use site::Site;
pub use tune::tune;

use connection::{Connection, Next, Service};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};
use std::io::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

/// Datagrams answered and events taken at once.
const BATCH: usize = 64;

/// The ports to serve on; 0 lets the system choose.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// TCP and UDP echo.
    pub echo: u16,
    /// HTTP.
    pub http: u16,
}

/// What an event's token stands for.
enum Entry {
    Listener(TcpListener, Service),
    Datagrams(UdpSocket),
    Connection(Connection),
}

/// The server.
pub struct Server {
    epoll: Epoll,
    /// Indexed by token; `None` is free, and in `free`.
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    site: Option<Site>,
    scratch: Vec<u8>,
}

impl Server {
    /// Binds the ports: echo, and HTTP if there is something to serve.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn bind(ports: Ports, site: Option<Site>) -> Result<Server, Error> {
        let mut server = Server {
            epoll: Epoll::new(EpollCreateFlags::empty())?,
            entries: Vec::new(),
            free: Vec::new(),
            site,
            scratch: vec![0; 64 << 10],
        };
        let echo = server.listen(ports.echo, Service::Echo)?;
        let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, echo.port()))?;
        datagrams.set_nonblocking(true)?;
        server.add(Entry::Datagrams(datagrams))?;
        if server.site.is_some() {
            server.listen(ports.http, Service::Http)?;
        }
        Ok(server)
    }

    /// The addresses of the listeners: echo, and HTTP if it is served.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let listeners = self.entries.iter().flatten();
        listeners
            .filter_map(|entry| match entry {
                Entry::Listener(listener, _) => listener.local_addr().ok(),
                _ => None,
            })
            .collect()
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// If epoll itself fails.
    pub fn run(&mut self) -> Result<(), Error> {
        let mut events = [EpollEvent::empty(); BATCH];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => 0,
                other => other?,
            };
            for event in &events[..count] {
                self.serve(event.data() as usize);
            }
        }
    }

    fn listen(&mut self, port: u16, service: Service) -> Result<SocketAddr, Error> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        listener.set_nonblocking(true)?;
        // std listens with a backlog of 128; a second call changes it.
        listen(&listener, Backlog::new(1024)?)?;
        // What is accepted inherits it; without it an answer in two segments waits.
        setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
        let address = listener.local_addr()?;
        self.add(Entry::Listener(listener, service))?;
        Ok(address)
    }

    fn add(&mut self, entry: Entry) -> Result<(), Error> {
        let token = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        let fd = match &entry {
            Entry::Listener(listener, _) => listener.as_fd(),
            Entry::Datagrams(socket) => socket.as_fd(),
            Entry::Connection(connection) => connection.as_fd(),
        };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token as u64);
        let added = self.epoll.add(fd, event);
        if added.is_ok() {
            self.entries[token] = Some(entry);
        } else {
            self.free.push(token);
        }
        Ok(added?)
    }

    fn serve(&mut self, token: usize) {
        match self.entries.get_mut(token) {
            Some(Some(Entry::Listener(listener, service))) => {
                let service = *service;
                let mut accepted = Vec::new();
                while let Ok((stream, _)) = listener.accept() {
                    accepted.push(stream);
                }
                for stream in accepted {
                    // No room for one more: it is closed, the others are served.
                    let _ = self.add(Entry::Connection(Connection::new(stream, service)));
                }
            }
            Some(Some(Entry::Datagrams(socket))) => {
                for _ in 0..BATCH {
                    let Ok((len, from)) = socket.recv_from(&mut self.scratch) else {
                        break;
                    };
                    // As on any network, an answer may get lost.
                    let _ = socket.send_to(&self.scratch[..len], from);
                }
            }
            Some(Some(Entry::Connection(connection))) => {
                let next = connection.serve(&mut self.scratch, self.site.as_ref());
                let flags = match next {
                    Next::Same => return,
                    Next::Read => EpollFlags::EPOLLIN,
                    Next::Write => EpollFlags::EPOLLOUT,
                    Next::Close => {
                        // Closing takes it out of the epoll set.
                        self.entries[token] = None;
                        self.free.push(token);
                        return;
                    }
                };
                let mut event = EpollEvent::new(flags, token as u64);
                // It cannot fail for a socket that is in the set.
                let _ = self.epoll.modify(connection.as_fd(), &mut event);
            }
            // Closed by an earlier event of the same batch.
            Some(None) | None => {}
        }
    }
}

#[cfg(test)]
mod tests;
