//! The network server of one card: `netd` or
//! `netd,CARD[,ip=A.B.C.D/BITS][,gw=A.B.C.D][,vlan=NUMBER]`.
//! It is the loop around the state machine in the `net` package, and nothing else.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::batch::{HERE, HERE_MAX};
use abi::socket::{Answer, Request};
use alloc::boxed::Box;
use alloc::string::String;
use net::{Config, Kernel, Server, phy};
use user::ipc::{self, Event, Inbox, MESSAGE_MAX, Message, mask};
use user::nic::{Card, Features, Filters, Incoming, Mapped, NicInfo};
use user::nic::{Receiving, SendOptions, Sending};
use user::start::Context;
use user::{Error, Pid, Result, args, nicstat, println, sys, time};

user::entry!(main);

const EVENTS: u32 =
    mask::MESSAGE | mask::DEATH | mask::NIC_RECEIVE | mask::NIC_TRANSMIT | mask::NIC_LINK;
/// Events taken before the card is served again.
const BATCH: usize = 32;
/// Received frames looked at together.
const AHEAD: usize = 16;

fn main() -> core::result::Result<(), String> {
    let number = args::parsed(0, "card number", 0)?;
    let card = Card::attach(number).context("cannot attach the card")?;
    let info = card.info().context("cannot describe the card")?;
    let seed = sys::random() ^ sys::random() << 1;
    let words: String = args::all().flat_map(|word| [word, " "]).collect();
    let mut config = Config::from_command_line(&words, info.mac, seed).unwrap_or_else(|error| {
        println!("netd: {error}; going on without");
        Config::new(info.mac, seed)
    });
    config.limits.memory = memory(sys::free_memory());
    let device = Frames::new(card, &info, vlan(&words)?)?;
    let server =
        Server::new(config, device, time::clock_ns()).map_err(|error| alloc::format!("{error}"))?;
    // It is not dropped before the process ends, which needs no code then.
    let server = Box::leak(Box::new(server));

    let name = abi::service::network_server(number);
    let name = core::str::from_utf8(&name).unwrap_or("net");
    ipc::register(name).context("cannot register")?;
    println!("netd: {name} is {}/{}", config.address, config.prefix_len);
    serve(server).context("the card failed")
}

/// How much of the free memory, in bytes, may be buffers: half, and what all sockets could use
/// at the most.
fn memory(free: u64) -> usize {
    const MOST: u64 = 64 << 20;
    usize::try_from((free / 2).min(MOST)).unwrap_or(0)
}

/// The VLAN that the words name, if they do.
fn vlan(words: &str) -> core::result::Result<Option<u16>, String> {
    let mut words = words.split(' ');
    let Some(number) = words.find_map(|word| word.strip_prefix("vlan=")) else {
        return Ok(None);
    };
    let number = number
        .parse()
        .ok()
        .filter(|number| (1..=4094).contains(number));
    number
        .map(Some)
        .ok_or("vlan= wants a number from 1 to 4094".into())
}

/// Serves until the card is taken away.
fn serve(server: &mut Server<Frames>) -> Result<()> {
    let mut inbox = Inbox::default();
    let mut now = time::clock_ns();
    let mut more = false;
    // A call was answered, and nobody is known to have run since.
    let mut answered = false;
    loop {
        let mut deadline = match more {
            true => 0,
            false => server.deadline(now),
        };
        for event in 0..BATCH {
            let (received, waiting) = match event {
                0 => {
                    let told = server.device_mut().wait(more, deadline, &mut inbox)?;
                    now = time::clock_ns();
                    told
                }
                _ => server.device_mut().look(deadline, &mut inbox)?,
            };
            match received {
                Event::Message => {
                    answered = false;
                    let message = inbox.message();
                    match Request::is_card(message.request()) {
                        true => describe(message, server.device_mut().mapped.card()),
                        false => server.request(message, now, &mut Calls),
                    }
                }
                Event::Death(client, _) => server.client_died(client, now),
                // Frames, room or a link: the poll below looks for all.
                Event::Notification(_) | Event::TimedOut => {}
            }
            if !waiting {
                break;
            }
            deadline = 0;
        }
        more |= server.device_mut().has_frame();
        if more && answered {
            // Frames are worth nothing to programs that never run.
            sys::yield_now();
            answered = false;
            continue;
        }
        more = server.poll(now, &mut Calls);
        answered |= server.has_answered();
    }
}

/// Answers a call that is about the card, of which the state machine knows nothing.
#[cold]
fn describe(message: &Message, card: &Card) {
    Calls.answer(message.token, description(message, card).map(Answer::Count));
}

/// Writes the card's description into the lease; returns how many bytes.
fn description(message: &Message, card: &Card) -> Result<u32> {
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

    fn answer_here(&mut self, token: u64, answer: Answer, events: &[u8]) {
        let mut bytes = [0; MESSAGE_MAX];
        bytes[..Answer::SIZE].copy_from_slice(&answer.to_bytes());
        let len = HERE + events.len().min(HERE_MAX);
        bytes[HERE..len].copy_from_slice(&events[..len - HERE]);
        // As above.
        let _ = ipc::reply(token, Ok(&bytes[..len]));
    }

    fn watch(&mut self, client: Pid) -> Result<()> {
        sys::watch(client)
    }
}

/// The card as smoltcp sees it.
struct Frames {
    mapped: Mapped,
    /// How many of the frames that wait were looked at, and are for us: the first ones.
    ahead: usize,
    features: Features,
    frame_max: usize,
    /// The VLAN it is in: all its frames have this tag, and no others are its own.
    vlan: Option<u16>,
    failure: Option<Error>,
}

impl Frames {
    fn new(card: Card, info: &NicInfo, vlan: Option<u16>) -> core::result::Result<Self, String> {
        if let Some(vlan) = vlan {
            let filters = Filters {
                vlans: Some(alloc::vec![vlan]),
                ..Filters::default()
            };
            card.set_filters(&filters)
                .context("the card has no VLANs")?;
        }
        Ok(Frames {
            mapped: Mapped::new(card).context("cannot map the card's buffers")?,
            ahead: 0,
            features: info.features,
            frame_max: info.frame_max.into(),
            vlan,
            failure: None,
        })
    }

    /// Whether frames are at hand.
    fn has_frame(&self) -> bool {
        self.mapped.receiving.has_frame()
    }

    /// Has all frames sent and waits for an event; if there is not `more` to do, also for the
    /// next frame, which it then has already.
    fn wait(&mut self, more: bool, deadline: u64, inbox: &mut Inbox) -> Result<(Event, bool)> {
        let Mapped {
            receiving, sending, ..
        } = &self.mapped;
        let arm = !more && !receiving.has_frame();
        if arm || sending.has_queued() || receiving.owes_many() {
            match self.mapped.wait(arm, (EVENTS, deadline), inbox) {
                Ok(told) => return Ok(told),
                Err(error) => self.failed(error),
            }
        }
        match self.failure {
            Some(error) => Err(error),
            None => self.look(deadline, inbox),
        }
    }

    /// Waits for an event, and leaves the card alone.
    fn look(&mut self, deadline: u64, inbox: &mut Inbox) -> Result<(Event, bool)> {
        let told = inbox.wait(EVENTS, deadline)?;
        if let (Event::Notification(events), _) = told
            && events & mask::NIC_RECEIVE != 0
        {
            self.mapped.receiving.look_again();
        }
        Ok(told)
    }

    fn exchange(&mut self) {
        if let Err(error) = self.mapped.exchange(false) {
            self.failed(error);
        }
    }

    fn failed(&mut self, error: Error) {
        match error {
            // The frames are lost; the card is mended and will tell.
            Error::DeviceFailed => {}
            // The stack's mistake, not the card's: as if it were lost.
            Error::BadFrame | Error::NotSupported => {}
            error => self.failure = Some(error),
        }
    }

    /// Whether there are buffers for a frame, taking some if need be.
    fn has_room(&mut self) -> bool {
        let sending = &self.mapped.sending;
        if sending.has_batch() || !sending.has_buffers() {
            self.exchange();
        }
        self.mapped.sending.has_buffers()
    }

    /// The next frame for us.
    fn next(&mut self) -> Option<Incoming> {
        if let Some(ahead) = self.ahead.checked_sub(1) {
            self.ahead = ahead;
            return self.mapped.receiving.take();
        }
        loop {
            let Some(frame) = self.mapped.receiving.take() else {
                if !self.mapped.receiving.may_have_more() {
                    return None;
                }
                self.exchange();
                if !self.mapped.receiving.has_frame() {
                    return None;
                }
                continue;
            };
            let right = frame.checksums_right();
            let receiving = &self.mapped.receiving;
            if self.is_ours(frame.vlan(), right, receiving.bytes(&frame)) {
                return Some(frame);
            }
            self.mapped.receiving.give_back(frame);
        }
    }

    /// Looks at the first frames that wait, as far as they are for us. Returns whether
    /// `wanted` are there.
    #[inline(never)]
    fn look_ahead(&mut self, wanted: usize) -> bool {
        let receiving = &self.mapped.receiving;
        if !receiving.has_frame() && receiving.may_have_more() {
            self.exchange();
        }
        // One alone need not be looked at twice.
        if self.mapped.receiving.count() < wanted {
            return false;
        }
        while self.ahead < AHEAD
            && let Some((frame, bytes)) = self.mapped.receiving.see(self.ahead)
            && self.is_ours(frame.vlan, frame.checksums_right, bytes)
        {
            self.ahead += 1;
        }
        self.ahead >= wanted
    }

    /// Whether a frame is for us, and not damaged.
    fn is_ours(&self, tag: Option<u16>, checksums_right: bool, bytes: &[u8]) -> bool {
        // A tag of priority 0 and number 0 means no VLAN (IEEE 802.1Q §6.9).
        let vlan = tag.map(|tag| tag & 0xfff).filter(|&number| number != 0);
        // A card without offloads leaves all checksums to the stack.
        let verified = !self.features.checksums || checksums_right;
        vlan == self.vlan && (verified || phy::is_acceptable(bytes))
    }
}

impl phy::Device for Frames {
    type RxToken<'a> = Frame<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: phy::Instant) -> Option<(Frame<'_>, Room<'_>)> {
        // smoltcp must not fail to answer what it was given.
        if !self.has_room() {
            return None;
        }
        let frame = self.next()?;
        let Mapped {
            receiving, sending, ..
        } = &mut self.mapped;
        let frame = Frame {
            receiving,
            frame: Some(frame),
        };
        Some((frame, Room::new(sending, self.features, self.vlan)))
    }

    fn transmit(&mut self, _: phy::Instant) -> Option<Room<'_>> {
        let has_room = self.has_room();
        let sending = &mut self.mapped.sending;
        has_room.then(|| Room::new(sending, self.features, self.vlan))
    }

    fn capabilities(&self) -> phy::DeviceCapabilities {
        let mut capabilities = phy::DeviceCapabilities::default();
        capabilities.medium = phy::Medium::Ethernet;
        capabilities.max_transmission_unit = self.frame_max;
        if self.features.checksums {
            phy::announce(&mut capabilities, self.features.segment_max as usize);
        }
        capabilities
    }
}

impl phy::Card for Frames {
    #[inline]
    fn sees(&mut self, wanted: usize) -> bool {
        self.ahead >= wanted || self.look_ahead(wanted)
    }

    fn frame(&self, index: usize) -> &[u8] {
        let frame = self.mapped.receiving.see(index);
        frame.map_or(&[], |(_, bytes)| bytes)
    }

    fn skip(&mut self) {
        if let Some(ahead) = self.ahead.checked_sub(1) {
            self.ahead = ahead;
            self.mapped.receiving.skip();
        }
    }
}

/// A received frame, where the card has put it.
struct Frame<'a> {
    receiving: &'a mut Receiving,
    frame: Option<Incoming>,
}

impl phy::RxToken for Frame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(match &self.frame {
            Some(frame) => self.receiving.bytes(frame),
            None => &[],
        })
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            self.receiving.give_back(frame);
        }
    }
}

/// Room for one frame, where the card sends it from.
struct Room<'a> {
    sending: &'a mut Sending,
    /// The card fills in the checksums of TCP.
    checksums: bool,
    options: SendOptions,
}

impl<'a> Room<'a> {
    fn new(sending: &'a mut Sending, features: Features, vlan: Option<u16>) -> Self {
        Room {
            sending,
            checksums: features.checksums,
            options: SendOptions {
                vlan,
                ..SendOptions::default()
            },
        }
    }
}

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Some(mut buffer) = self.sending.take(len) else {
            // There was one of each size, and smoltcp knows the longest: it is lost.
            return f(&mut alloc::vec![0; len]);
        };
        let frame = self.sending.bytes_mut(&mut buffer, len);
        let result = f(frame);
        let options = SendOptions {
            checksums: self.checksums && phy::is_tcp(frame),
            ..self.options
        };
        self.sending.queue(buffer, len, options, None);
        result
    }

    fn set_meta(&mut self, meta: phy::PacketMeta) {
        let size = meta.segmentation_offload_size;
        self.options.segment_size = size.map_or(0, |size| size.get());
    }
}
