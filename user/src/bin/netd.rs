//! The network server of one card: `netd` or `netd,CARD[,ip=A.B.C.D/BITS][,gw=A.B.C.D]`.
//! It is the loop around the state machine in the `net` package, and nothing else.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::socket::Answer;
use alloc::string::String;
use alloc::vec::Vec;
use net::{Config, Server, phy};
use user::ipc::{self, Received, mask};
use user::nic::Card;
use user::start::Context;
use user::{Error, Pid, Result, args, println, sys, time};

user::entry!(main);

const EVENTS: u32 =
    mask::MESSAGE | mask::DEATH | mask::NIC_RECEIVE | mask::NIC_TRANSMIT | mask::NIC_LINK;
/// Events taken before the card is served again.
const BATCH: usize = 32;

fn main() -> core::result::Result<(), String> {
    let number = args::parsed(0, "card number", 0)?;
    let card = Card::attach(number).context("cannot attach the card")?;
    let info = card.info().context("cannot describe the card")?;
    let seed = sys::random() ^ sys::random() << 1;
    let words: String = args::all().flat_map(|word| [word, " "]).collect();
    let config = Config::from_command_line(&words, info.mac, seed).unwrap_or_else(|error| {
        println!("netd: {error}; going on without");
        Config::new(info.mac, seed)
    });
    let device = Frames::new(card, info.frame_max.into());
    let mut server =
        Server::new(config, device, time::clock_ns()).map_err(|error| alloc::format!("{error}"))?;

    let name = abi::service::network_server(number);
    let name = core::str::from_utf8(&name).unwrap_or("net");
    ipc::register(name).context("cannot register")?;
    println!("netd: {name} is {}/{}", config.address, config.prefix_len);
    serve(&mut server).context("the card failed")
}

/// Serves until the card fails.
fn serve(server: &mut Server<Frames>) -> Result<()> {
    let mut more = false;
    let mut now = time::clock_ns();
    loop {
        let mut deadline = match more {
            true => 0,
            false => server.deadline(now),
        };
        for event in 0..BATCH {
            let received = ipc::wait(EVENTS, deadline)?;
            if event == 0 {
                now = time::clock_ns();
            }
            match received {
                Received::Message(message) => server.request(&message, now, &mut Calls),
                Received::Death(client, _) => server.client_died(client, now),
                // Frames, room or a link: the poll below looks for all of them.
                Received::Notification(_) => {}
                Received::TimedOut => break,
            }
            deadline = 0;
        }
        server.device_mut().resume();
        more = server.poll(now, &mut Calls);
        server.device_mut().flush()?;
    }
}

/// The kernel's part in serving a call.
struct Calls;

impl net::Kernel for Calls {
    fn read(&mut self, token: u64, lease: u8, offset: usize, into: &mut [u8]) -> Result<usize> {
        ipc::lease_read(token, lease, offset as u64, into)
    }

    fn write(&mut self, token: u64, offset: usize, from: &[u8]) -> Result<usize> {
        ipc::lease_write(token, 0, offset as u64, from)
    }

    fn answer(&mut self, token: u64, answer: Result<Answer>) {
        let bytes = answer.map(|answer| answer.to_bytes());
        // A client that has died meanwhile needs no answer.
        let _ = ipc::reply(
            token,
            bytes.as_ref().map(|bytes| &bytes[..]).map_err(|&e| e),
        );
    }

    fn watch(&mut self, client: Pid) -> Result<()> {
        sys::watch(client)
    }
}

/// The card as smoltcp sees it.
struct Frames {
    received: Vec<u8>,
    sender: Sender,
}

/// The transmitting half. smoltcp must not fail to send once it was told that there is
/// room, and the kernel tells only when a frame is given to it. So a frame that found the
/// ring full is held, and until it is gone there is no room.
struct Sender {
    card: Card,
    frame: Vec<u8>,
    /// The length of the frame that is held; 0 if none is.
    held: usize,
    /// Frames were queued that the card has not been told about.
    queued: bool,
    failure: Option<Error>,
}

impl Frames {
    fn new(card: Card, frame_max: usize) -> Self {
        Frames {
            received: alloc::vec![0; frame_max],
            sender: Sender {
                card,
                frame: alloc::vec![0; frame_max],
                held: 0,
                queued: false,
                failure: None,
            },
        }
    }

    /// Sends the frame that is held, if there is room now.
    fn resume(&mut self) {
        self.sender.has_room();
    }

    /// Tells the card about all frames of a poll.
    fn flush(&mut self) -> Result<()> {
        if core::mem::take(&mut self.sender.queued) {
            self.sender.card.flush()?;
        }
        self.sender.failure.map_or(Ok(()), Err)
    }
}

impl Sender {
    fn has_room(&mut self) -> bool {
        if self.held > 0 {
            self.send(self.held);
        }
        self.held == 0
    }

    fn send(&mut self, len: usize) {
        self.held = 0;
        match self.card.send(&self.frame[..len], true) {
            Ok(()) => self.queued = true,
            Err(Error::WouldBlock) => self.held = len,
            // The stack's mistake, not the card's: as if it were lost.
            Err(Error::BadFrame) => {}
            Err(error) => self.failure = Some(error),
        }
    }
}

impl phy::Device for Frames {
    type RxToken<'a> = Frame<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: phy::Instant) -> Option<(Frame<'_>, Room<'_>)> {
        if !self.sender.has_room() {
            return None;
        }
        match self.sender.card.receive(&mut self.received) {
            Ok(len) => {
                let len = len.min(self.received.len());
                Some((Frame(&self.received[..len]), Room(&mut self.sender)))
            }
            Err(Error::WouldBlock) => None,
            Err(error) => {
                self.sender.failure = Some(error);
                None
            }
        }
    }

    fn transmit(&mut self, _: phy::Instant) -> Option<Room<'_>> {
        self.sender.has_room().then_some(Room(&mut self.sender))
    }

    fn capabilities(&self) -> phy::DeviceCapabilities {
        let mut capabilities = phy::DeviceCapabilities::default();
        capabilities.medium = phy::Medium::Ethernet;
        capabilities.max_transmission_unit = self.received.len();
        capabilities
    }
}

/// A received frame.
struct Frame<'a>(&'a [u8]);

impl phy::RxToken for Frame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for one frame.
struct Room<'a>(&'a mut Sender);

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let result = f(&mut self.0.frame[..len]);
        self.0.send(len);
        result
    }
}
