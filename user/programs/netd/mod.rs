//! The network server of one stack: the loop around the state machine of the `net` package.
//!
//! The program `netd` is this and nothing else, and serves other programs. With `with=` it has a service
//! in the same process, and serves the calls of that, too ([`Own`]).

mod calls;
mod frames;
mod own;

pub use calls::Calls;
pub use own::Own;

use abi::ipc::Message;
use abi::limits::Resource;
use abi::service::Stack;
use abi::socket::Request;
use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;
use frames::Frames;
use net::{Config, Limits, Server};
use runtime::ipc::{self, Event, Inbox};
use runtime::nic::{self, Card, Filter, MacAddress};
use runtime::start::{Context, Failure};
use runtime::{Error, Result, println, process, random, start, sys, time};

/// Events taken before the card is served again.
const BATCH: usize = 32;

/// Stands for the station address until the card has told it.
const UNKNOWN: MacAddress = [2, 0, 0, 0, 0, 0];

/// Programs open their sockets within this time of a start of the server.
const OPENING: Duration = Duration::from_secs(1);

/// What the arguments of a network server say of its network.
#[derive(Default)]
pub struct Settings {
    /// The words `ip=A.B.C.D/BITS`, `gw=A.B.C.D` and `ipv6=off`, each with a space behind it.
    words: String,
    /// A station address of its own on a card that it shares.
    station: Option<MacAddress>,
    /// The VLAN whose tag all its frames have.
    vlan: Option<u16>,
    /// It has all of its card, though the stack has a name.
    is_whole: bool,
}

impl Settings {
    /// Takes a word of the arguments in, if it is `ip=`, `gw=`, `ipv6=`, `mac=`, `vlan=` or `whole`; returns
    /// whether it is.
    ///
    /// # Errors
    /// In words, if what is behind it makes no sense.
    pub fn take(&mut self, word: &str) -> core::result::Result<bool, String> {
        match word.split_once('=') {
            Some(("ip" | "gw" | "ipv6", _)) => {
                self.words.push_str(word);
                self.words.push(' ');
            }
            Some(("mac", text)) => {
                let wanted = "mac= wants 02:00:00:00:00:01 or the like";
                self.station = Some(nic::station(text).ok_or(wanted)?);
            }
            Some(("vlan", text)) => {
                let number = text.parse().ok();
                let number = number.filter(|number| (1..=4094).contains(number));
                self.vlan = Some(number.ok_or("vlan= wants a number from 1 to 4094")?);
            }
            None if word == "whole" => self.is_whole = true,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A network server and the card it serves.
pub struct Network {
    /// Apart, because it is large, and moving it is copying.
    server: Box<Server<Frames>>,
    inbox: Inbox,
    now: u64,
    /// The last poll left work.
    more: bool,
    /// A call was answered, and nobody is known to have run since.
    answered: bool,
}

impl Network {
    /// Attaches card `number`, of which a stack with a name takes the frames to its address only, and
    /// registers as the stack's server.
    ///
    /// # Errors
    /// In words; [`Failure::Always`] if there is no such card, or the address is another stack's.
    pub fn start(
        number: u8,
        stack: Stack,
        settings: &Settings,
    ) -> core::result::Result<Self, Failure> {
        let Settings {
            words,
            station,
            vlan,
            is_whole,
        } = settings;
        let shares = stack.card().is_none() && !is_whole;
        if station.is_some() && !shares {
            return Err(Failure::Always(
                "mac= is for a card that several stacks share".into(),
            ));
        }
        let secret = random::secret().context("no random numbers")?;
        let mut config =
            Config::from_command_line(words, UNKNOWN, secret).unwrap_or_else(|error| {
                println!("{}: {error}; going on without", start::name());
                Config::new(UNKNOWN, secret)
            });
        let card = match shares {
            true => share(number, *station, &config),
            false => take(number),
        }?;
        let info = card.info().context("cannot describe the card")?;
        config.mac = info.mac;
        config.shares_station = shares;
        // The filter of a stack that shares its card has its IPv4 address alone.
        config.ipv6 &= !shares;
        config.timers.opening = OPENING;
        let own = process::own().context("the limits")?;
        let left = own.own_limits().minus(&own.used);
        let memory = memory(left.get(Resource::Memory));
        config.limits = Limits::of_memory(memory);
        let device = Frames::new(card, &info, *vlan, &config.groups())?;
        let server = Server::new(config, device, time::clock_ns())
            .map_err(|error| alloc::format!("{error}"))?;

        let name = stack.service();
        let name = name.as_str();
        ipc::register(name).context("cannot register")?;
        println!(
            "{}: {name} is {}/{}",
            start::name(),
            config.address,
            config.prefix_len
        );
        Ok(Network {
            server: Box::new(server),
            inbox: Inbox::default(),
            now: time::clock_ns(),
            more: false,
            answered: false,
        })
    }

    /// Serves other processes until the card is taken away.
    ///
    /// # Errors
    /// [`Error::BadHandle`] if the card is not ours any more.
    pub fn serve(&mut self) -> Result<()> {
        let mut calls = Calls::default();
        loop {
            self.wait(&mut calls)?;
            self.poll(&mut calls);
        }
    }

    /// Waits for the next thing to do, unless there is something, and hears what other
    /// processes ask for. [`Network::poll`] must follow.
    ///
    /// # Errors
    /// [`runtime::Error::BadHandle`] if the card is not ours any more.
    #[inline]
    pub fn wait(&mut self, calls: &mut Calls<'_, '_>) -> Result<()> {
        loop {
            let mut deadline = match self.more {
                true => 0,
                false => self.server.deadline(self.now),
            };
            for event in 0..BATCH {
                let device = self.server.device_mut();
                let (received, waiting) = match event {
                    0 => {
                        let told = device.wait(self.more, deadline, &mut self.inbox)?;
                        self.now = time::clock_ns();
                        told
                    }
                    _ => device.look(deadline, &mut self.inbox)?,
                };
                match received {
                    Event::Message => {
                        self.answered = false;
                        let message = self.inbox.message();
                        match Request::is_card(message.request()) {
                            true => calls.describe(message, device),
                            false => self.server.request(message, self.now, calls),
                        }
                    }
                    Event::Death(client, _) => self.server.client_died(client, self.now),
                    // Frames, room or a link: the poll looks for all.
                    Event::Notification(_) | Event::TimedOut => {}
                }
                if !waiting {
                    break;
                }
                deadline = 0;
            }
            self.more |= self.server.device_mut().has_frame();
            if !(self.more && self.answered) {
                return Ok(());
            }
            // Frames are worth nothing to programs that never run.
            sys::yield_now()?;
            self.answered = false;
        }
    }

    /// Receives, sends, and answers the calls that became possible.
    #[inline]
    pub fn poll(&mut self, calls: &mut Calls<'_, '_>) {
        self.more = self.server.poll(self.now, calls);
        self.answered |= self.server.has_answered();
        if let Some(station) = self.server.take_claimant() {
            self.tell_of(station);
        }
    }

    /// Tells people that another station claims our address.
    #[cold]
    fn tell_of(&self, [a, b, c, d, e, f]: abi::nic::MacAddress) {
        println!(
            "{}: {} is also claimed by {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}",
            start::name(),
            self.server.config().address
        );
    }

    /// Serves a call of this process, as far as that goes at once; [`Network::poll`] must follow.
    pub fn request(&mut self, message: &Message, calls: &mut Calls<'_, '_>) {
        self.now = time::clock_ns();
        self.answered = false;
        match Request::is_card(message.request()) {
            true => calls.describe(message, self.server.device_mut()),
            false => self.server.request(message, self.now, calls),
        }
    }

    /// Has the card send what it would be given by the next wait only.
    pub fn flush(&mut self) {
        self.server.device_mut().flush();
    }
}

/// Takes a whole card.
fn take(number: u8) -> core::result::Result<Card, Failure> {
    Card::attach(number).map_err(|error| untaken(number, error))
}

/// Takes a stack's part of a card.
fn share(
    number: u8,
    station: Option<MacAddress>,
    config: &Config,
) -> core::result::Result<Card, Failure> {
    let mut filters = [Filter {
        station,
        address: Some(config.address.into()),
        ..Filter::default()
    }];
    Card::share(number, &mut filters).map_err(|error| match error {
        Error::FilterOverlaps => Failure::Always(alloc::format!(
            "frames to {} of card {number} are another stack's",
            config.address
        )),
        Error::NotSupported => Failure::Always(alloc::format!(
            "mac=: card {number} receives nothing for other stations"
        )),
        error => untaken(number, error),
    })
}

/// Why there is no card.
fn untaken(number: u8, error: Error) -> Failure {
    match error {
        Error::NotFound => Failure::Always(alloc::format!(
            "there is no card {number}; what the kernel has found is among its first lines"
        )),
        error => Failure::Now(alloc::format!("cannot attach card {number}: {error}")),
    }
}

/// How much of the memory that this program may still have, in bytes, may be buffers: half, and
/// what all sockets could use at the most. Tables are the other half.
fn memory(left: u64) -> usize {
    const MOST: u64 = 64 << 20;
    usize::try_from((left / 2).min(MOST)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_make_no_sense_are_named() {
        let mut settings = Settings::default();
        for word in [
            "ip=10.0.2.16/24",
            "mac=02:00:00:00:00:07",
            "vlan=4094",
            "gw=none",
            "ipv6=off",
            "whole",
        ] {
            assert_eq!(settings.take(word), Ok(true));
        }
        assert_eq!(settings.words, "ip=10.0.2.16/24 gw=none ipv6=off ");
        assert_eq!(settings.station, Some([2, 0, 0, 0, 0, 7]));
        assert_eq!(settings.vlan, Some(4094));
        assert!(settings.is_whole);
        assert_eq!(settings.take("with=httpd"), Ok(false));
        for wrong in ["mac=02:00", "vlan=0", "vlan=4095", "vlan="] {
            assert!(settings.take(wrong).is_err(), "{wrong}");
        }
    }
}
