//! The world of the tests: a wire with faults, a peer, and a kernel made of maps.

use crate::phy;
use crate::phy::{Checksum, Device, DeviceCapabilities, LookAhead};
use crate::tests::offload;
use crate::{Config, Ipc, Server};
use abi::batch::HERE_MAX;
use abi::ipc::{LEASES_MAX, LeaseInfo, MESSAGE_MAX, Message};
use abi::nic::Segmentation;
use abi::socket::Answer;
use abi::{Error, Pid, Result};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::vec;
use std::vec::Vec;

pub const SERVER_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub const PEER_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
pub const SERVER_IP: [u8; 4] = [10, 0, 2, 15];
pub const PEER_IP: [u8; 4] = [10, 0, 2, 2];
pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;

/// A card: a transmit ring of `room` frames, and what has arrived.
pub struct Nic {
    pub arrived: VecDeque<Vec<u8>>,
    pub sent: VecDeque<Vec<u8>>,
    pub room: usize,
    /// How many of what has arrived can be seen at once.
    pub sight: usize,
    /// What it cuts into segments. If anything, it fills in the checksums of TCP, too.
    pub segmentation: Segmentation,
}

pub struct Arrived(Vec<u8>);
pub struct Room<'a> {
    sent: &'a mut VecDeque<Vec<u8>>,
    segmentation: Segmentation,
    size: Option<usize>,
}

impl phy::RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let longest = match self.size {
            None => 1514,
            Some(_) => self.segmentation.frame_max as usize,
        };
        assert!(len <= longest, "a frame of {len} octets");
        // A ring's buffers hold old frames: nothing may rely on zeros.
        let mut frame = vec![0xee; len];
        let result = f(&mut frame);
        match self.segmentation.frame_max {
            0 => self.sent.push_back(frame),
            _ => self
                .sent
                .extend(offload::sent(frame, self.size, self.segmentation)),
        }
        result
    }

    fn set_meta(&mut self, meta: phy::PacketMeta) {
        self.size = meta.segmentation_offload_size.map(|size| size.get().into());
        assert!(self.size.is_none() || self.segmentation.frame_max > 0);
    }
}

impl Device for Nic {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Room<'_>)> {
        if self.sent.len() >= self.room {
            return None;
        }
        Some((Arrived(self.arrived.pop_front()?), self.room_for_one()))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        (self.sent.len() < self.room).then(|| self.room_for_one())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities.checksum.tcp = Checksum::Both;
        if self.segmentation.frame_max > 0 {
            phy::announce(&mut capabilities);
        }
        capabilities
    }
}

impl Nic {
    fn room_for_one(&mut self) -> Room<'_> {
        Room {
            sent: &mut self.sent,
            segmentation: self.segmentation,
            size: None,
        }
    }
}

impl LookAhead for Nic {
    fn segmentation(&self) -> Segmentation {
        self.segmentation
    }

    fn sees(&mut self, wanted: usize) -> bool {
        wanted <= self.sight.min(self.arrived.len())
    }

    fn frame(&self, index: usize) -> &[u8] {
        self.arrived.get(index).map_or(&[], |frame| frame)
    }

    fn skip(&mut self) {
        self.arrived.pop_front();
    }
}

pub fn nic(room: usize) -> Nic {
    Nic {
        arrived: VecDeque::new(),
        sent: VecDeque::new(),
        room,
        sight: 2,
        segmentation: Segmentation::default(),
    }
}

/// Seeded chance (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

struct Lent {
    client: Pid,
    /// The first may be writable.
    leases: [Vec<u8>; LEASES_MAX],
    writable: bool,
}

/// The kernel: lent memory by token, answers by token.
#[derive(Default)]
pub struct FakeKernel {
    lent: BTreeMap<u64, Lent>,
    answers: BTreeMap<u64, (Result<Answer>, Vec<u8>)>,
    pub watched: BTreeSet<Pid>,
    pub dead: BTreeSet<Pid>,
    /// How often lent memory was read or written.
    pub copies: u64,
    /// The memory lent is not what it seemed.
    pub refuse_writes: bool,
    /// How many sockets a process may have, if it is not told otherwise.
    pub quota: Option<usize>,
    /// How many each is said to have.
    pub charged: BTreeMap<Pid, usize>,
}

impl Ipc for FakeKernel {
    fn read(&mut self, token: u64, lease: u8, offset: usize, into: &mut [u8]) -> Result<usize> {
        let lent = self.lent.get(&token).ok_or(Error::PeerDied)?;
        let memory = &lent.leases[usize::from(lease)];
        // As the kernel: short at the end of the lease.
        let memory = memory.get(offset..).unwrap_or(&[]);
        let count = into.len().min(memory.len());
        into[..count].copy_from_slice(&memory[..count]);
        self.copies += 1;
        Ok(count)
    }

    fn write(&mut self, token: u64, offset: usize, from: &[u8]) -> Result<usize> {
        let lent = self.lent.get_mut(&token).ok_or(Error::PeerDied)?;
        let end = offset.checked_add(from.len()).ok_or(Error::BadAddress)?;
        let place = &mut lent.leases[0];
        let place = place.get_mut(offset..end).ok_or(Error::BadAddress)?;
        self.copies += 1;
        if !lent.writable || self.refuse_writes {
            return Err(Error::BadAddress);
        }
        place.copy_from_slice(from);
        Ok(from.len())
    }

    fn answer(&mut self, token: u64, answer: Result<Answer>) {
        let lent = self.lent.remove(&token);
        let lent = lent.expect("a call is answered once, while its caller lives");
        assert!(!self.dead.contains(&lent.client));
        let [memory, ..] = lent.leases;
        self.answers.insert(token, (answer, memory));
    }

    fn answer_here(&mut self, token: u64, answer: Answer, events: &[u8]) {
        // Where programs put them.
        assert!(events.len() <= HERE_MAX);
        let lent = self.lent.get_mut(&token).unwrap();
        lent.leases[0][..events.len()].copy_from_slice(events);
        self.answer(token, Ok(answer));
    }

    fn watch(&mut self, client: Pid) -> Result<()> {
        if self.dead.contains(&client) {
            return Err(Error::NotFound);
        }
        assert!(self.watched.insert(client), "watched twice");
        Ok(())
    }

    fn charge(&mut self, client: Pid, sockets: usize) -> Result<()> {
        if self.dead.contains(&client) {
            return Err(Error::NotFound);
        }
        if self.quota.is_some_and(|quota| sockets > quota) {
            return Err(Error::QuotaExceeded);
        }
        self.charged.insert(client, sockets);
        Ok(())
    }
}

/// What the wire does to frames, in percent.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub loss: u64,
    pub duplication: u64,
    pub reordering: u64,
    pub corruption: u64,
}

/// The other machine: smoltcp as it comes.
pub struct Peer {
    pub nic: Nic,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
}

impl Peer {
    pub fn new() -> Self {
        let mut nic = nic(usize::MAX);
        let mut config = smoltcp::iface::Config::new(EthernetAddress(PEER_MAC).into());
        config.random_seed = 77;
        let mut interface = Interface::new(config, &mut nic, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::Ipv4(Ipv4Address::from(PEER_IP)), 24);
            addresses.push(address).unwrap();
        });
        Peer {
            nic,
            interface,
            sockets: SocketSet::new(Vec::new()),
        }
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn tcp_socket() -> tcp::Socket<'static> {
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        // So that it learns of an end whose FIN and RST were lost.
        socket.set_keep_alive(Some(smoltcp::time::Duration::from_secs(100)));
        socket
    }

    pub fn connect(&mut self, local: u16, port: u16) -> SocketHandle {
        let handle = self.sockets.add(Self::tcp_socket());
        let to = (IpAddress::Ipv4(Ipv4Address::from(SERVER_IP)), port);
        let socket: &mut tcp::Socket = self.sockets.get_mut(handle);
        socket.connect(self.interface.context(), to, local).unwrap();
        handle
    }

    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let handle = self.sockets.add(Self::tcp_socket());
        self.tcp(handle).listen(port).unwrap();
        handle
    }

    pub fn open_udp(&mut self, port: u16) -> SocketHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 128 << 10]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }
}

/// Everything.
pub struct World {
    pub now: u64,
    pub server: Server<Nic>,
    pub kernel: FakeKernel,
    pub peer: Peer,
    pub faults: Faults,
    pub chance: Chance,
    /// Frames on the wire: when they arrive, in which order, whether at the server.
    wire: BTreeMap<(u64, u64), (bool, Vec<u8>)>,
    next_frame: u64,
    next_token: u64,
    /// How many frames the server sent.
    pub frames_sent: u64,
    /// If set, the server's card sends at most so many frames per millisecond.
    pub slow_card: Option<usize>,
    /// How often, in percent, connections are made dormant when something happens.
    pub lull: u64,
    pub made_dormant: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with(Config::new(SERVER_MAC, seed))
    }

    /// A world whose connections all have short buffers, so that tests fill them.
    pub fn with(mut config: Config) -> Self {
        let limits = &mut config.limits;
        limits.tcp_receive_large = limits.tcp_receive;
        limits.tcp_transmit_large = limits.tcp_transmit;
        Self::as_configured(config)
    }

    pub fn as_configured(config: Config) -> Self {
        let now = 5 * SECOND;
        World {
            now,
            server: Server::new(config, nic(64), now).unwrap(),
            kernel: FakeKernel::default(),
            peer: Peer::new(),
            faults: Faults::default(),
            chance: Chance(config.secret.seed()),
            wire: BTreeMap::new(),
            next_frame: 0,
            next_token: 1,
            frames_sent: 0,
            slow_card: None,
            lull: 0,
            made_dormant: 0,
        }
    }

    // --- the wire ---------------------------------------------------------------------

    fn put(&mut self, to_server: bool, mut frame: Vec<u8>) {
        let faults = self.faults;
        if self.chance.percent(faults.loss) {
            return;
        }
        if self.chance.percent(faults.corruption) {
            let at = self.chance.below(frame.len() as u64) as usize;
            frame[at] ^= 1 << self.chance.below(8);
        }
        let copies = 1 + u64::from(self.chance.percent(faults.duplication));
        for _ in 0..copies {
            let mut delay = 100_000;
            if self.chance.percent(faults.reordering) {
                delay += self.chance.below(3 * MS);
            }
            self.next_frame += 1;
            let key = (self.now + delay, self.next_frame);
            self.wire.insert(key, (to_server, frame.clone()));
        }
    }

    fn collect(&mut self) {
        let burst = self.slow_card.unwrap_or(usize::MAX);
        for _ in 0..burst {
            let Some(frame) = self.server.device_mut().sent.pop_front() else {
                break;
            };
            self.frames_sent += 1;
            self.put(false, frame);
        }
        while let Some(frame) = self.peer.nic.sent.pop_front() {
            self.put(true, frame);
        }
    }

    /// Delivers what is due and polls everybody at this moment.
    pub fn act(&mut self) {
        while let Some((&key, _)) = self.wire.first_key_value()
            && key.0 <= self.now
        {
            let (to_server, frame) = self.wire.remove(&key).unwrap();
            match to_server {
                true => self.server.device_mut().arrived.push_back(frame),
                false => self.peer.nic.arrived.push_back(frame),
            }
        }
        let mut rounds = 0;
        while self.server.poll(self.now, &mut self.kernel) {
            self.collect();
            rounds += 1;
            assert!(rounds < 10_000, "the server never has enough");
        }
        if self.lull > 0 && self.chance.percent(self.lull) {
            self.made_dormant += self.server.sockets.stack.make_all_dormant(self.now);
        }
        self.server.sockets.stack.audit(self.now);
        let stamp = Instant::from_micros((self.now / 1000) as i64);
        let Peer {
            nic,
            interface,
            sockets,
        } = &mut self.peer;
        interface.poll(stamp, nic, sockets);
        self.collect();
        assert!(
            self.server.deadline(self.now) > self.now,
            "the server would spin"
        );
    }

    /// Lets time pass to the next event, or to `until` if that is earlier.
    fn advance(&mut self, until: u64) {
        let stamp = Instant::from_micros((self.now / 1000) as i64);
        let server = self.server.deadline(self.now);
        let peer = self.peer.interface.poll_at(stamp, &self.peer.sockets);
        let peer = peer.map_or(u64::MAX, |at| at.total_micros() as u64 * 1000);
        let wire = self
            .wire
            .first_key_value()
            .map_or(u64::MAX, |(key, _)| key.0);
        let mut next = server.min(wire).min(peer.max(self.now + 1000));
        if self.slow_card.is_some() && !self.server.device_mut().sent.is_empty() {
            next = next.min(self.now + MS);
        }
        self.now = next.min(until);
    }

    /// Lets time pass.
    pub fn pass(&mut self, duration: u64) {
        let until = self.now + duration;
        while self.now < until {
            self.act();
            self.advance(until);
        }
        self.act();
    }

    /// Lets time pass until `done`, at most `limit`. Panics then.
    pub fn until(&mut self, limit: u64, what: &str, mut done: impl FnMut(&mut World) -> bool) {
        let end = self.now + limit;
        loop {
            self.act();
            if done(self) {
                return;
            }
            assert!(self.now < end, "not within {} ms: {what}", limit / MS);
            self.advance(end);
        }
    }

    /// Puts a frame into the server's card at once.
    pub fn inject(&mut self, frame: &[u8]) {
        self.server.device_mut().arrived.push_back(frame.to_vec());
    }

    /// Polls the server alone and takes what it sent.
    pub fn frames(&mut self) -> Vec<Vec<u8>> {
        while self.server.poll(self.now, &mut self.kernel) {}
        self.server.device_mut().sent.drain(..).collect()
    }

    // --- calls ------------------------------------------------------------------------

    /// Calls with these octets as the request; the token names the answer.
    pub fn call_raw(&mut self, client: Pid, request: &[u8], lent: Option<(&[u8], bool)>) -> u64 {
        let (memory, writable) = lent.unwrap_or((&[], false));
        let count = u32::from(lent.is_some());
        self.call_leases(client, request, [memory, &[], &[]], count, writable)
    }

    /// Calls with the first `count` of these leases.
    pub fn call_leases(
        &mut self,
        client: Pid,
        request: &[u8],
        lent: [&[u8]; LEASES_MAX],
        count: u32,
        writable: bool,
    ) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let mut payload = [0; MESSAGE_MAX];
        payload[..request.len()].copy_from_slice(request);
        let mut leases = lent.map(|memory| LeaseInfo {
            len: memory.len() as u64,
            writable: false,
        });
        leases[0].writable = writable;
        let message = Message {
            token,
            sender: client,
            lease_count: count,
            leases,
            len: request.len() as u32,
            payload,
        };
        let lent = Lent {
            client,
            leases: lent.map(<[u8]>::to_vec),
            writable,
        };
        self.kernel.lent.insert(token, lent);
        self.server.request(&message, self.now, &mut self.kernel);
        token
    }

    /// The answer, if there is one.
    pub fn answer(&mut self, token: u64) -> Option<(Result<Answer>, Vec<u8>)> {
        self.kernel.answers.remove(&token)
    }

    /// Ends a process, as the kernel would.
    pub fn die(&mut self, client: Pid) {
        self.kernel.dead.insert(client);
        self.kernel.lent.retain(|_, lent| lent.client != client);
        if self.kernel.watched.remove(&client) {
            self.server.client_died(client, self.now);
        }
    }

    /// A line of the server's status.
    pub fn figure(&self, name: &str) -> u64 {
        let text = self.server.status();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    }

    /// Asserts that nothing is left of any client.
    pub fn assert_empty(&mut self) {
        for name in [
            "sockets",
            "connections",
            "datagram_ports",
            "buffer_octets",
            "waiting_calls",
        ] {
            assert_eq!(self.figure(name), 0, "{name}");
        }
    }
}
