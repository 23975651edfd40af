//! The network server of one card: `netd` or `netd,CARD[,ip=A.B.C.D/BITS][,gw=A.B.C.D]`.
//! It is the loop around the state machine in the `net` package, and nothing else.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::socket::{Answer, Request};
use alloc::string::String;
use alloc::vec::Vec;
use net::{Config, Kernel, Server, phy};
use user::ipc::{self, Message, Received, mask};
use user::nic::{Card, Features, NicInfo, SendOptions};
use user::start::Context;
use user::{Error, Pid, Result, args, nicstat, println, sys, time};

user::entry!(main);

const EVENTS: u32 =
    mask::MESSAGE | mask::DEATH | mask::NIC_RECEIVE | mask::NIC_TRANSMIT | mask::NIC_LINK;
/// The most that a frame to be cut has: what a socket may have to send, and its headers.
const SEGMENT_MAX: usize = 64 * 1024;
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
    let device = Frames::new(card, &info);
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
                Received::Message(message) => {
                    if !asks_for_card(&message, &server.device_mut().sender.card) {
                        server.request(&message, now, &mut Calls);
                    }
                }
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

/// Answers a call that is about the card, of which the state machine knows nothing;
/// returns whether it was one.
fn asks_for_card(message: &Message, card: &Card) -> bool {
    if Request::from_bytes(message.request()) != Ok(Request::Card) {
        return false;
    }
    Calls.answer(message.token, describe(message, card).map(Answer::Count));
    true
}

/// Writes the card's description into the lease; returns how many bytes.
fn describe(message: &Message, card: &Card) -> Result<u32> {
    let text = nicstat::describe(&card.info()?, &card.statistics()?);
    let lent = match message.lease_count {
        0 => 0,
        _ => usize::try_from(message.leases[0].len).unwrap_or(usize::MAX),
    };
    let text = nicstat::whole_lines(&text, lent);
    match Calls.write(message.token, 0, text.as_bytes())? {
        count if count == text.len() => Ok(count as u32),
        _ => Err(Error::BadAddress),
    }
}

/// The kernel's part in serving a call.
struct Calls;

impl Kernel for Calls {
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
    features: Features,
    sender: Sender,
}

/// The transmitting half. smoltcp must not fail to send once it was told that there is
/// room, and the kernel tells only when a frame is given to it. So a frame that found the
/// ring full is held, and until it is gone there is no room.
struct Sender {
    card: Card,
    /// The card fills in the checksums of TCP.
    checksums: bool,
    frame: Vec<u8>,
    /// The frame in the buffer that found no room.
    held: Option<Held>,
    /// Frames were queued that the card has not been told about.
    queued: bool,
    failure: Option<Error>,
}

/// A frame on its way.
#[derive(Clone, Copy)]
struct Held {
    len: usize,
    options: SendOptions,
}

impl Frames {
    fn new(card: Card, info: &NicInfo) -> Self {
        let frame_max = usize::from(info.frame_max);
        let features = info.features;
        Frames {
            received: alloc::vec![0; frame_max],
            features,
            sender: Sender {
                card,
                checksums: features.checksums,
                frame: alloc::vec![0; frame_max.max(segment_max(features))],
                held: None,
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
        if core::mem::take(&mut self.sender.queued)
            && let Err(error) = self.sender.card.flush()
        {
            self.sender.failed(error);
        }
        self.sender.failure.map_or(Ok(()), Err)
    }
}

/// Longest frame that the card is given to cut: no socket has more to send at once.
fn segment_max(features: Features) -> usize {
    (features.segment_max as usize).min(SEGMENT_MAX)
}

impl Sender {
    fn has_room(&mut self) -> bool {
        if let Some(held) = self.held.take() {
            self.send(held);
        }
        self.held.is_none()
    }

    /// Sends what is in the buffer.
    fn send(&mut self, frame: Held) {
        let sent = self.card.send_with(&self.frame[..frame.len], frame.options);
        match sent {
            Ok(()) => self.queued = true,
            Err(Error::WouldBlock) => self.held = Some(frame),
            // The stack's mistake, not the card's: as if it were lost.
            Err(Error::BadFrame) => {}
            Err(error) => self.failed(error),
        }
    }

    /// A broken card is a cable without a peer: frames get lost, connections wait. The
    /// kernel mends it, and notifies.
    fn failed(&mut self, error: Error) {
        if error != Error::DeviceFailed {
            self.failure = Some(error);
        }
    }
}

impl phy::Device for Frames {
    type RxToken<'a> = Frame<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: phy::Instant) -> Option<(Frame<'_>, Room<'_>)> {
        loop {
            if !self.sender.has_room() {
                return None;
            }
            let received = match self.sender.card.receive_with(&mut self.received) {
                Ok(received) => received,
                Err(Error::WouldBlock) => return None,
                Err(error) => {
                    self.sender.failed(error);
                    return None;
                }
            };
            let len = (received.len as usize).min(self.received.len());
            // A card without offloads leaves all checksums to smoltcp.
            let verified = !self.features.checksums || received.checksums_right;
            if verified || phy::is_acceptable(&self.received[..len]) {
                let room = Room {
                    sender: &mut self.sender,
                    segment_size: 0,
                };
                return Some((Frame(&self.received[..len]), room));
            }
        }
    }

    fn transmit(&mut self, _: phy::Instant) -> Option<Room<'_>> {
        self.sender.has_room().then_some(Room {
            sender: &mut self.sender,
            segment_size: 0,
        })
    }

    fn capabilities(&self) -> phy::DeviceCapabilities {
        let mut capabilities = phy::DeviceCapabilities::default();
        capabilities.medium = phy::Medium::Ethernet;
        capabilities.max_transmission_unit = self.received.len();
        if self.features.checksums {
            phy::announce(&mut capabilities, segment_max(self.features));
        }
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
struct Room<'a> {
    sender: &'a mut Sender,
    /// Payload of the segments that the card cuts it into; 0: it is sent as it is.
    segment_size: u16,
}

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let frame = &mut self.sender.frame[..len];
        let result = f(frame);
        let options = SendOptions {
            more: true,
            checksums: self.sender.checksums && phy::is_tcp(frame),
            segment_size: self.segment_size,
        };
        self.sender.send(Held { len, options });
        result
    }

    fn set_meta(&mut self, meta: phy::PacketMeta) {
        self.segment_size = meta.segmentation_offload_size.map_or(0, |size| size.get());
    }
}
