//! From the wire to the network server and back: the models of both cards, their drivers, an exchange
//! as the kernel does it, and what is between that and the stack.
#![allow(unsafe_code)]

use super::*;
use crate::netd::Calls;
use abi::Syscall;
use abi::batch::{self, End, Event, HERE, OPERATIONS_MAX, Operation, Part, Tell, area_min, padded};
use abi::exchange::{self, Received, Send, WORDS};
use abi::ipc::MESSAGE_MAX;
use abi::socket::{Address, Answer, Handle, Request};
use core::net::SocketAddr;
use net::phy::{Device, LookAhead as _, TxToken};
use net::{Config, Server};
use nic::e100::E100;
use nic::igb::{Igb, InterruptMode};
use nic::model::e100::{Behaviour as E100Behaviour, E100Model};
use nic::model::igb::{Behaviour as IgbBehaviour, IgbModel};
use nic::model::traffic::{self, Ends};
use nic::model::{Model, Pace};
use nic::{FrameArea, Nic, Outgoing};
use runtime::sys::Lent;
use std::boxed::Box;
use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

const ENDS: Ends = Ends {
    mac: [0x52, 0x54, 0x00, 0x12, 0x34, 0x56],
    ip: [10, 0, 2, 15],
    peer_mac: [0x52, 0x55, 10, 0, 2, 2],
    peer_ip: [10, 0, 2, 2],
};

/// The kernel's part: the driver, and what it shows to the card's owner.
struct Kernel {
    nic: Box<dyn Nic>,
    model: Rc<dyn Model>,
    area: FrameArea,
    transmit: NonNull<u8>,
    receive: NonNull<u8>,
    /// What the card has sent.
    wire: Vec<Vec<u8>>,
}

impl Kernel {
    /// What the kernel's exchange does, in its order (`kernel/src/endpoint/exchange.rs`).
    fn exchange(&mut self, area: &mut [u32; WORDS]) -> runtime::Result<u64> {
        let mut result = Ok(0);
        for index in 0..area[exchange::RETURN_COUNT] as usize {
            let buffer = area[exchange::return_at(index)] as u16;
            self.nic.return_buffer(buffer).expect("it was lent");
        }
        let sends = area[exchange::SEND_COUNT] as usize;
        for index in 0..sends {
            let first = exchange::send_at(index);
            let send = Send::from_words(core::array::from_fn(|word| area[first + word]));
            if let Err(error) = self.send(&send) {
                self.nic.drop_buffer(send.buffer).expect("it was taken");
                result = Err(error);
            }
        }
        area[exchange::SENT] = sends as u32;
        self.work();
        let mut taken = 0;
        let memory = self.area.memory;
        let (small, large) = (memory.small.1 as usize, memory.large.1 as usize);
        for (wanted, len) in [
            (exchange::SMALL_WANTED, small),
            (exchange::LARGE_WANTED, large),
        ] {
            let mut numbers = vec![0; area[wanted] as usize];
            let count = match numbers.len() {
                0 => 0,
                _ => self.nic.take_buffers(len, &mut numbers).expect("it works"),
            };
            for &number in &numbers[..count] {
                area[exchange::taken_at(taken)] = number.into();
                taken += 1;
            }
        }
        area[exchange::TAKEN] = taken as u32;
        self.receive(area);
        area[exchange::WOKEN] = 0;
        result
    }

    fn send(&mut self, send: &Send) -> runtime::Result<()> {
        let (offset, room) = self.area.buffer(send.buffer).expect("a buffer");
        let len = send.len as usize;
        let shown = offset - self.area.transmit.start;
        // SAFETY: the process has no slice of it during the call.
        let bytes = unsafe {
            let start = self.transmit.add(shown);
            core::slice::from_raw_parts(start.as_ptr(), len.min(room))
        };
        self.model.copy_in(offset, bytes);
        let frame = Outgoing {
            buffer: send.buffer,
            len,
            options: nic::SendOptions {
                checksums: send.options.checksums,
                segment_size: send.options.segment_size,
                vlan: send.options.vlan,
            },
            tail: None,
        };
        loop {
            match self.nic.send_buffers(&[frame]).1 {
                Ok(()) => return Ok(()),
                Err(nic::Error::WouldBlock) => self.work(),
                Err(_) => return Err(Error::BadFrame),
            }
        }
    }

    fn work(&mut self) {
        self.nic.flush().expect("it works");
        self.model.settle();
        self.wire.extend(self.model.take_sent());
    }

    fn receive(&mut self, area: &mut [u32; WORDS]) {
        let mut received = 0;
        let wanted = area[exchange::RECEIVE_WANTED] as usize;
        // A driver looks for frames once its card has interrupted for them.
        self.nic.on_interrupt(None);
        let (model, frames, shown) = (&self.model, &self.area, self.receive);
        let mut take = |piece: &nic::Piece| {
            let mut bytes = vec![0; piece.len];
            model.copy_out(frames.receive.start + piece.offset, &mut bytes);
            // SAFETY: the buffer was the card's until now.
            unsafe { fake::write(shown.as_ptr() as u64 + piece.offset as u64, &bytes) };
            let words = Received {
                buffer: piece.buffer,
                offset: piece.offset as u32,
                len: piece.len as u32,
                more: piece.more,
                continues: piece.continues,
                checksums_right: piece.info.header_checksum && piece.info.transport_checksum,
                vlan: piece.info.vlan,
            }
            .to_words();
            let first = exchange::received_at(received);
            area[first..first + words.len()].copy_from_slice(&words);
            received += 1;
        };
        if wanted > 0 {
            let done = self.nic.receive_pieces(true, wanted, &mut take);
            done.expect("it works");
        }
        area[exchange::RECEIVED] = received as u32;
    }

    fn statistics(&mut self) -> Vec<Counter> {
        let mut counters = Vec::new();
        self.nic
            .statistics(&mut |name, value| counters.push(Counter::new(name, value)));
        counters
    }
}

/// A network server with an echo service over UDP, and its card.
struct Host {
    kernel: Rc<RefCell<Kernel>>,
    server: Server<Frames>,
    socket: Handle,
    now: u64,
}

impl Host {
    fn e100(behaviour: E100Behaviour) -> Host {
        let model = E100Model::new(behaviour, Pace::Doorbell, 1, ENDS.mac);
        let mut nic = E100::new(model.bus()).expect("a sound card");
        nic.start().expect("a sound card");
        Host::new(Box::new(nic), Rc::new(model), None)
    }

    fn igb(behaviour: IgbBehaviour, vlan: Option<u16>) -> Host {
        let config = nic::igb::Config::small(InterruptMode::Intx);
        let arena = config.arena_size().expect("it is sound");
        let mode = config.interrupts;
        let model = IgbModel::new(behaviour, Pace::Doorbell, 1, ENDS.mac, arena, mode);
        let mut nic = Igb::new(model.bus(), config).expect("a sound card");
        nic.start().expect("a sound card");
        Host::new(Box::new(nic), Rc::new(model), vlan)
    }

    fn new(nic: Box<dyn Nic>, model: Rc<dyn Model>, vlan: Option<u16>) -> Host {
        let frames = nic.frame_area();
        let (described, features) = (frames.memory, nic.facts().features);
        // As the kernel's, it stays for good.
        let shown =
            |len: usize| NonNull::from(Box::leak(vec![0_u8; len].into_boxed_slice())).cast();
        let (transmit, receive) = (shown(frames.transmit.len()), shown(frames.receive.len()));
        let area = NonNull::from(Box::leak(Box::new([0; WORDS])));
        let frame_max = nic.facts().frame_max;
        model.settle();
        let kernel = Rc::new(RefCell::new(Kernel {
            nic,
            model,
            area: frames,
            transmit,
            receive,
            wire: Vec::new(),
        }));
        fake::install(|call, _| match call {
            Syscall::NicAttach => Ok(0),
            _ => panic!("{call:?}"),
        });
        let card = Card::attach(0).expect("it is free");
        // SAFETY: it is the kernel above that hands over buffers.
        let mapped = unsafe { Mapped::at(card, described, area, [transmit, receive]) };
        let frames = Frames {
            mapped,
            ahead: 0,
            features,
            frame_max,
            vlan,
            failure: None,
            drops: Drops::default(),
        };
        let config = Config::from_command_line("ip=10.0.2.15/24 ipv6=off", ENDS.mac, [1; 32])
            .expect("sound");
        let server = Server::new(config, frames, 0).expect("sound");
        let mut host = Host {
            kernel,
            server,
            socket: Handle(0),
            now: 1_000_000_000,
        };
        let address = any(7);
        host.socket = host.open(Operation::Bind { address });
        host
    }

    /// From now on system calls go to this host's kernel.
    fn play(&self) {
        let kernel = self.kernel.clone();
        fake::install(move |call, arguments| {
            let mut kernel = kernel.borrow_mut();
            match (call, arguments) {
                (Syscall::NicExchange, [0, area, ..]) => {
                    // SAFETY: `Mapped` has borrowed the area for the call.
                    kernel.exchange(unsafe { &mut *(area as *mut [u32; WORDS]) })
                }
                (Syscall::NicStatistics, [0, buffer, ..]) => {
                    let counters = kernel.statistics();
                    let bytes: Vec<u8> = counters.iter().flat_map(Counter::to_bytes).collect();
                    // SAFETY: the caller has room for the most there can be.
                    unsafe { fake::write(buffer, &bytes) };
                    Ok(counters.len() as u64)
                }
                other => panic!("{other:?}"),
            }
        });
    }

    /// Has an operation done, with these octets behind it; returns the event that came of it at once.
    fn call(&mut self, operation: Operation, octets: &[u8]) -> Option<(Event, Vec<u8>)> {
        self.play();
        let request = Request::Batch {
            operations: 1,
            timeout_ms: 0,
        };
        let operations = [&operation.to_bytes(), octets].concat();
        let mut area = vec![0; area_min(OPERATIONS_MAX)];
        let leases = &mut [Lent::Write(&mut area), Lent::Read(&operations)];
        let message = request.to_bytes();
        let (mut calls, message) = Calls::with_own(&message, leases).expect("short");
        self.server.request(&message, self.now, &mut calls);
        while self.server.poll(self.now, &mut calls) {}
        let mut answer = [0; MESSAGE_MAX];
        let len = calls.answered(&mut answer).expect("it only looks");
        let len = len.expect("an answer");
        let Answer(count) = Answer::from_bytes(&answer[..len]).expect("an answer");
        let events = match &answer[HERE..len] {
            [] => &area[..count as usize],
            here => here,
        };
        let (event, behind) = events.split_first_chunk()?;
        let event = Event::from_bytes(event).expect("an event");
        assert_eq!(behind.len(), padded(event.inline()), "one event");
        Some((event, behind[..event.inline()].to_vec()))
    }

    fn open(&mut self, operation: Operation) -> Handle {
        match self.call(operation, &[]) {
            Some((Event::Opened { socket, .. }, _)) => socket,
            other => panic!("{other:?}"),
        }
    }

    /// What is answered to frames that come in.
    fn answers(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        for frame in frames {
            self.kernel.borrow().model.arrive(frame);
        }
        // As the wake-up would.
        self.server.device_mut().mapped.receiving.look_again();
        self.now += 1_000_000;
        self.play();
        while self.server.poll(self.now, &mut Calls::default()) {}
        let socket = self.socket;
        let receive = Operation::ReceiveFrom {
            socket,
            count: 1,
            max: 2048,
        };
        while let Some((event, octets)) = self.call(receive, &[]) {
            let Event::Datagram { from, len, .. } = event else {
                panic!("{event:?}");
            };
            let echo = Operation::SendTo {
                socket,
                address: from,
                inline: len,
            };
            assert_eq!(self.call(echo, &octets), None);
        }
        let cancel = Operation::Cancel { socket };
        assert_eq!(self.call(cancel, &[]), None);
        self.server.device_mut().flush();
        core::mem::take(&mut self.kernel.borrow_mut().wire)
    }

    fn count(&mut self, wanted: &str) -> u64 {
        self.play();
        let counters = self.server.device_mut().counters().expect("it works");
        let found = counters
            .iter()
            .find(|counter| counter.name.as_str() == wanted);
        found.unwrap_or_else(|| panic!("no {wanted}")).value
    }
}

/// A port of every address.
fn any(port: u16) -> Address {
    SocketAddr::from(([0; 4], port)).into()
}

/// Asks everybody who has the host's address.
fn question() -> Vec<u8> {
    let mut frame = [
        &[0xff; 6][..],
        &ENDS.peer_mac,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
    ]
    .concat();
    frame.extend(ENDS.peer_mac);
    frame.extend(ENDS.peer_ip);
    frame.extend([0; 6]);
    frame.extend(ENDS.ip);
    frame.resize(60, 0);
    frame
}

#[test]
fn both_cards_have_the_same_answers_to_any_frame() {
    for (silicon, seed) in [(false, 5), (true, 5), (false, 82), (true, 6)] {
        let mut hosts = match silicon {
            false => [
                Host::e100(E100Behaviour::Qemu),
                Host::igb(IgbBehaviour::Qemu, None),
            ],
            true => [
                Host::e100(E100Behaviour::Silicon),
                Host::igb(IgbBehaviour::Silicon, None),
            ],
        };
        for host in &mut hosts {
            assert_eq!(host.answers(&[question()]).len(), 1);
        }
        let mut answered = 0;
        for sample in traffic::samples(seed, &ENDS, 2000) {
            // Silicon discards what is too short, QEMU's cards fill it up.
            let lost = silicon && sample.frames.iter().any(|frame| frame.len() < 60);
            let [first, second] = &mut hosts;
            let [first, second] = [first, second].map(|host| {
                let answers = host.answers(&sample.frames).into_iter();
                answers.map(traffic::comparable).collect::<Vec<_>>()
            });
            assert_eq!(first, second, "{}", sample.what);
            match sample.answer {
                traffic::Answer::Yes => assert_eq!(first.is_empty(), lost, "{}", sample.what),
                traffic::Answer::No => assert!(first.is_empty(), "{}", sample.what),
                traffic::Answer::Either => {}
            }
            answered += usize::from(!first.is_empty());
        }
        assert!(answered > 300, "{answered}");
        let [first, second] = &mut hosts;
        let vlan = first.count("rx_dropped_vlan");
        assert!(vlan > 100);
        assert_eq!(second.count("rx_dropped_vlan"), vlan);
        // Without offloads the stack verifies.
        assert_eq!(first.count("rx_dropped_checksum"), 0);
        assert!(second.count("rx_dropped_checksum") > 5);
        for host in &mut hosts {
            assert_eq!(host.count("tx_dropped"), 0);
            assert_eq!(host.count("rx_dropped_piece"), 0);
        }
    }
}

#[test]
fn a_server_in_a_vlan_hears_and_speaks_only_in_it() {
    let mut host = Host::igb(IgbBehaviour::Qemu, Some(7));
    let untagged = question();
    let tagged = |tag: u16| {
        let mut frame = untagged.clone();
        let [high, low] = tag.to_be_bytes();
        frame.splice(12..12, [0x81, 0, high, low]);
        frame
    };
    let mut answers = |frame: Vec<u8>| host.answers(&[frame]);
    for other in [question(), tagged(0), tagged(0xe000), tagged(8)] {
        assert_eq!(answers(other), Vec::<Vec<u8>>::new());
    }
    for own in [tagged(7), tagged(0x6007)] {
        let answer = answers(own).remove(0);
        assert_eq!(answer[12..18], [0x81, 0, 0, 7, 8, 6]);
    }
    assert_eq!(host.count("rx_dropped_vlan"), 4);
}

#[test]
fn a_frame_that_no_buffer_holds_is_lost_and_counted() {
    for mut host in [
        Host::e100(E100Behaviour::Qemu),
        Host::igb(IgbBehaviour::Qemu, None),
    ] {
        host.play();
        let frames = host.server.device_mut();
        let room = frames.transmit(net::phy::Instant::ZERO).expect("room");
        room.consume(70_000, |frame| assert_eq!(frame.len(), 70_000));
        assert_eq!(host.count("tx_dropped_no_buffer"), 1);
        assert_eq!(host.count("tx_frames"), 0);
    }
}

#[test]
fn a_frame_that_the_driver_refuses_is_dropped_and_counted() {
    let mut host = Host::igb(IgbBehaviour::Qemu, None);
    host.play();
    let frames = host.server.device_mut();
    let limits = frames.segmentation();
    let mut room = frames.transmit(net::phy::Instant::ZERO).expect("room");
    room.options.segment_size = limits.payload_min - 1;
    room.consume(3000, |frame| frame.fill(0));
    frames.flush();
    assert_eq!(host.count("tx_bad_headers"), 1);
    assert_eq!(host.count("tx_dropped"), 1);
    assert_eq!(host.count("tx_dropped_no_buffer"), 0);
}

/// Sum of words in ones' complement (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A segment of the peer without data, from port 5000 to port 80; a SYN says how long ours may be.
fn segment(flags: u8, seq: u32, ack: u32, mss: u16) -> Vec<u8> {
    let mut tcp = [5000_u16, 80].map(u16::to_be_bytes).concat();
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    let option: &[u8] = &[2, 4, (mss >> 8) as u8, mss as u8];
    let option = if flags & 2 != 0 { option } else { &[] };
    tcp.extend([
        (5 + option.len() as u8 / 4) << 4,
        flags,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    tcp.extend(option);
    let len = (tcp.len() as u16).to_be_bytes();
    let check = !sum(&[&ENDS.peer_ip, &ENDS.ip, &[0, 6], &len, &tcp]);
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    let total = (20 + tcp.len() as u16).to_be_bytes();
    let mut ip = [&[0x45, 0], &total[..], &[0, 0, 0x40, 0, 64, 6, 0, 0]].concat();
    ip.extend(ENDS.peer_ip);
    ip.extend(ENDS.ip);
    let check = !sum(&[&ip]);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    let mut frame = [&ENDS.mac[..], &ENDS.peer_mac, &[8, 0], &ip, &tcp].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The sequence number and data of a segment to the peer, whose checksums are verified.
fn read(frame: &[u8]) -> (u32, Vec<u8>) {
    let ip = &frame[14..34];
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let tcp = &frame[34..14 + total];
    assert_eq!((sum(&[ip]), ip[9]), (0xffff, 6));
    let len = (tcp.len() as u16).to_be_bytes();
    let whole = sum(&[&ENDS.peer_ip, &ENDS.ip, &[0, 6], &len, tcp]);
    assert_eq!(whole, 0xffff, "a checksum of TCP");
    let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    (seq, tcp[usize::from(tcp[12] >> 4) * 4..].to_vec())
}

/// All octets reach a peer with this MSS, through the driver and its card.
fn reaches(mut host: Host, mss: u16) {
    const ACK: u8 = 0x10;
    let (address, backlog) = (any(80), 1);
    let listener = host.open(Operation::Listen { address, backlog });
    host.answers(&[question()]);
    let answer = host.answers(&[segment(2, 1000, 0, mss)]).remove(0);
    let first = read(&answer).0.wrapping_add(1);
    host.answers(&[segment(ACK, 1001, first, mss)]);
    let accept = Operation::Accept {
        socket: listener,
        count: 1,
        receive: 0,
    };
    let Some((Event::Accepted { socket, .. }, _)) = host.call(accept, &[]) else {
        panic!("no connection");
    };
    let file: Vec<u8> = (0..20_000_u32)
        .map(|at| (at * 31 + at / 251) as u8)
        .collect();
    let (mut given, mut got) = (0, Vec::new());
    for _ in 0..5_000 {
        if given < file.len() {
            let some = &file[given..];
            let send = Operation::Send(batch::Send {
                socket,
                inline: some.len() as u32,
                part: Part::default(),
                receive: 0,
                end: End::Stays,
                tell: Tell::Now,
            });
            given += match host.call(send, some) {
                Some((Event::Sent { .. }, _)) => some.len(),
                Some((Event::Cut { count, .. }, _)) => count as usize,
                // There was no room, and now there is some.
                Some((Event::Room { .. }, _)) => 0,
                other => panic!("{other:?}"),
            };
        }
        let ack = segment(ACK, 1001, first.wrapping_add(got.len() as u32), mss);
        for frame in host.answers(&[ack]) {
            let (seq, data) = read(&frame);
            assert!(
                data.len() <= usize::from(mss).max(48),
                "{} octets",
                data.len()
            );
            if seq == first.wrapping_add(got.len() as u32) {
                got.extend(data);
            }
        }
        if got.len() == file.len() {
            break;
        }
    }
    assert!(got == file, "MSS {mss}: {} octets", got.len());
    for counter in [
        "tx_bad_length",
        "tx_bad_headers",
        "tx_unsupported",
        "tx_dropped",
    ] {
        assert_eq!(host.count(counter), 0, "{counter}");
    }
}

#[test]
fn peers_with_any_mss_get_their_data_by_either_card() {
    for mss in (1..=70).chain([100, 536, 1460]) {
        reaches(Host::e100(E100Behaviour::Qemu), mss);
        reaches(Host::igb(IgbBehaviour::Qemu, None), mss);
        reaches(Host::igb(IgbBehaviour::Silicon, None), mss);
    }
}
