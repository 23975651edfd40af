//! The network server as the tests of programs play it: what [`abi::batch`] promises, over
//! queues whose other end is the test.

use abi::Error;
use abi::batch::{End, Event, NOT_OF_THIS_CALL, Operation, padded};
use abi::socket::{Address, Handle};
use core::net::{IpAddr, Ipv4Addr};
use runtime::socket::batch::{Operations, Tell, Then};
use std::collections::{BTreeMap, VecDeque};

/// A client of the program, and the other end of its connection.
pub struct Line {
    to_program: VecDeque<u8>,
    from_program: Vec<u8>,
    peer_finished: bool,
    room: usize,
    most: usize,
    reset: bool,
    /// The program has ended its direction.
    pub finished: bool,
    /// The program has given the handle back.
    pub closed: bool,
    armed: usize,
    send: Option<Pending>,
    wants_room: bool,
    moved_at: u64,
}

struct Pending {
    operation: u16,
    bytes: Vec<u8>,
    inline: usize,
    sent: usize,
    then: Then,
    waited: bool,
    fresh: bool,
}

impl Line {
    /// A client that takes everything.
    pub fn new() -> Self {
        Line {
            to_program: VecDeque::new(),
            from_program: Vec::new(),
            peer_finished: false,
            room: usize::MAX,
            most: usize::MAX,
            reset: false,
            finished: false,
            closed: false,
            armed: 0,
            send: None,
            wants_room: false,
            moved_at: 0,
        }
    }

    /// The client sends.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.to_program.extend(bytes.as_ref());
    }

    /// The client ends its direction.
    pub fn end(&mut self) {
        self.peer_finished = true;
    }

    /// The client takes this much and no more.
    pub fn take(&mut self, room: usize) {
        self.room = room;
    }

    /// No more than this is delivered, or leaves, at once.
    pub fn trickle(&mut self, most: usize) {
        self.most = most;
    }

    /// The client resets the connection.
    pub fn reset(&mut self) {
        self.reset = true;
    }

    /// What the program has sent since the last call.
    pub fn received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.from_program)
    }

    /// Bytes the program has not heard.
    pub fn unread(&self) -> usize {
        self.to_program.len()
    }

    /// Whether all that the program handed over is queued.
    pub fn is_sent(&self) -> bool {
        self.send.is_none() && !self.wants_room
    }

    /// The most bytes the program wants to hear.
    pub fn armed(&self) -> usize {
        self.armed
    }
}

/// The sockets of one program.
pub struct Network {
    pub now: u64,
    /// Every call returns at once, as if other sockets had something to say.
    pub busy: bool,
    lines: BTreeMap<Handle, Line>,
    backlog: VecDeque<Handle>,
    accepting: (u16, usize),
    next: u32,
    /// Datagrams on their way in, those that have left, how many may, and how many are wanted.
    pub inward: VecDeque<(Vec<u8>, Address)>,
    pub outward: Vec<(Vec<u8>, Address)>,
    pub datagram_room: usize,
    wanted: u16,
    unsent: Vec<(u16, Vec<u8>, Address)>,
    /// The most bytes that were handed over with a send, not counting its body.
    pub longest_head: usize,
    area: Vec<u8>,
    news: bool,
    moved: bool,
}

pub const LISTENER: Handle = Handle(1 << Handle::SLOT_BITS);
pub const DATAGRAMS: Handle = Handle(1 << Handle::SLOT_BITS | 1);
pub const PEER: Address = Address::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2)), 999);

impl Network {
    pub fn new() -> Self {
        Network {
            now: 0,
            busy: false,
            lines: BTreeMap::new(),
            backlog: VecDeque::new(),
            accepting: (0, 0),
            next: 2,
            inward: VecDeque::new(),
            outward: Vec::new(),
            datagram_room: usize::MAX,
            wanted: 0,
            unsent: Vec::new(),
            longest_head: 0,
            area: Vec::new(),
            news: false,
            moved: false,
        }
    }

    /// A client connects.
    pub fn connect(&mut self) -> Handle {
        let handle = Handle(1 << Handle::SLOT_BITS | self.next);
        self.next += 1;
        self.lines.insert(handle, Line::new());
        self.backlog.push_back(handle);
        handle
    }

    pub fn line(&mut self, handle: Handle) -> &mut Line {
        self.lines.get_mut(&handle).unwrap()
    }

    /// How many more connections the program takes.
    pub fn accepting(&self) -> usize {
        self.accepting.0.into()
    }

    /// A call, or the one that waits if there is one; `operations` are done and emptied
    /// unless one does. Returns the events and the operations of that call, or `None` if it
    /// waits. With `timeout`, it does not.
    pub fn call<'s>(
        &mut self,
        parked: &mut Option<Operations<'s>>,
        operations: &mut Operations<'s>,
        timeout: bool,
    ) -> Option<(Vec<u8>, Operations<'s>)> {
        let done = parked.take().unwrap_or_else(|| {
            let done = std::mem::replace(operations, Operations::new(operations.source()));
            for number in 0..done.len() as u16 {
                let (operation, inline) = done.get(number).unwrap();
                self.operate(number, operation, inline, done.source());
            }
            done
        });
        assert!(operations.is_empty(), "a program that waits does nothing");
        // As long as something moves.
        self.moved = true;
        while std::mem::take(&mut self.moved) && !self.news {
            self.look();
        }
        if !(self.news || self.busy || timeout) {
            *parked = Some(done);
            return None;
        }
        self.end_sends();
        self.news = false;
        Some((std::mem::take(&mut self.area), done))
    }

    fn say(&mut self, event: &Event, bytes: &[u8]) {
        self.area.extend(event.to_bytes());
        self.area.extend(bytes);
        self.area.resize(padded(self.area.len()), 0);
    }

    fn tell(&mut self, event: &Event, bytes: &[u8]) {
        self.say(event, bytes);
        self.news = true;
    }

    fn operate(&mut self, number: u16, operation: Operation, inline: &[u8], source: &[u8]) {
        match operation {
            Operation::Accept {
                socket,
                count,
                receive,
            } => {
                assert_eq!(socket, LISTENER);
                self.accepting = (count, receive as usize);
            }
            Operation::Receive { socket, max } => {
                let line = self.line(socket);
                assert!(!line.closed && line.send.is_none() && max > 0);
                line.armed = max as usize;
            }
            Operation::Send(send) => {
                self.longest_head = self.longest_head.max(inline.len());
                let now = self.now;
                let line = self.line(send.socket);
                assert!(!line.closed && !line.finished, "sending after the end");
                assert!(line.send.is_none(), "a second send");
                let end = (send.part.offset + send.part.len) as usize;
                let mut bytes = inline.to_vec();
                bytes.extend(&source[send.part.offset as usize..end]);
                line.send = Some(Pending {
                    operation: number,
                    bytes,
                    inline: inline.len(),
                    sent: 0,
                    then: Then {
                        receive: send.receive as usize,
                        end: send.end,
                        tell: send.tell,
                    },
                    waited: false,
                    fresh: true,
                });
                (line.armed, line.wants_room, line.moved_at) = (0, false, now);
                self.go_on(send.socket);
            }
            Operation::SendTo {
                socket, address, ..
            } => {
                assert_eq!(socket, DATAGRAMS);
                if address.port == 0 {
                    let error = Error::InvalidArgument;
                    let operation = number;
                    let event = Event::Failed {
                        socket,
                        operation,
                        error,
                    };
                    return self.tell(&event, &[]);
                }
                self.unsent.push((number, inline.to_vec(), address));
            }
            Operation::ReceiveFrom { socket, count, .. } => {
                assert_eq!(socket, DATAGRAMS);
                self.wanted = count;
            }
            Operation::Close { socket } => {
                let line = self.line(socket);
                assert!(!line.closed, "closed twice");
                (line.closed, line.send, line.armed) = (true, None, 0);
            }
            Operation::Progress { socket } => {
                let now = self.now;
                let line = self.line(socket);
                let event = Event::Progress {
                    socket,
                    count: line.send.as_ref().map_or(0, |send| send.sent as u32),
                    idle_ms: ((now - line.moved_at) / 1_000_000) as u32,
                };
                self.tell(&event, &[]);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Goes on with a send.
    fn go_on(&mut self, socket: Handle) {
        let now = self.now;
        let line = self.lines.get_mut(&socket).unwrap();
        let Some(send) = &mut line.send else {
            return;
        };
        if line.reset {
            let operation = if send.fresh {
                send.operation
            } else {
                NOT_OF_THIS_CALL
            };
            line.send = None;
            let error = Error::ConnectionReset;
            let event = Event::Failed {
                socket,
                operation,
                error,
            };
            return self.tell(&event, &[]);
        }
        let count = (send.bytes.len() - send.sent).min(line.room).min(line.most);
        line.from_program
            .extend(&send.bytes[send.sent..send.sent + count]);
        send.sent += count;
        if line.room != usize::MAX {
            line.room -= count;
        }
        if count > 0 {
            line.moved_at = now;
            self.moved = true;
        }
        if send.sent < send.bytes.len() {
            send.waited = true;
            return;
        }
        let (then, waited) = (send.then, send.waited);
        line.send = None;
        line.armed = then.receive;
        line.finished |= then.end != End::Stays;
        line.closed |= then.end == End::Close;
        let event = match then.end {
            End::Close => Event::Closed { socket },
            _ => Event::Sent { socket, waited },
        };
        if then.tell != Tell::Never || then.end == End::Close {
            self.say(&event, &[]);
            self.news |= waited || then.tell == Tell::Now;
        }
    }

    fn look(&mut self) {
        while self.accepting.0 > 0
            && let Some(socket) = self.backlog.pop_front()
        {
            self.accepting.0 -= 1;
            let receive = self.accepting.1;
            self.line(socket).armed = receive;
            let event = Event::Accepted {
                listener: LISTENER,
                socket,
                peer: PEER,
            };
            self.tell(&event, &[]);
        }
        let sockets: Vec<Handle> = self.lines.keys().copied().collect();
        for socket in sockets {
            self.go_on(socket);
            self.deliver(socket);
        }
        while self.datagram_room > 0 && !self.unsent.is_empty() {
            let (_, bytes, to) = self.unsent.remove(0);
            if self.datagram_room != usize::MAX {
                self.datagram_room -= 1;
            }
            self.outward.push((bytes, to));
        }
        while self.unsent.is_empty()
            && self.wanted > 0
            && let Some((bytes, from)) = self.inward.pop_front()
        {
            self.wanted -= 1;
            let event = Event::Datagram {
                socket: DATAGRAMS,
                from,
                len: bytes.len() as u32,
            };
            self.tell(&event, &bytes);
        }
    }

    fn deliver(&mut self, socket: Handle) {
        let line = self.lines.get_mut(&socket).unwrap();
        if line.wants_room && (line.room > 0 || line.reset) {
            line.wants_room = false;
            self.tell(&Event::Room { socket }, &[]);
            return;
        }
        if line.armed == 0 || line.send.is_some() {
            return;
        }
        if line.reset {
            line.armed = 0;
            let event = Event::Failed {
                socket,
                operation: NOT_OF_THIS_CALL,
                error: Error::ConnectionReset,
            };
            return self.tell(&event, &[]);
        }
        let count = line.armed.min(line.most).min(line.to_program.len());
        if count > 0 {
            line.armed = 0;
            let bytes: Vec<u8> = line.to_program.drain(..count).collect();
            let len = count as u32;
            self.tell(&Event::Received { socket, len }, &bytes);
        } else if line.peer_finished {
            line.armed = 0;
            self.tell(&Event::Ended { socket }, &[]);
        }
    }

    /// The call returns.
    fn end_sends(&mut self) {
        let mut cut = Vec::new();
        for (&socket, line) in &mut self.lines {
            let Some(send) = &mut line.send else {
                continue;
            };
            if send.sent < send.inline {
                let (operation, count) = (send.operation, send.sent as u32);
                assert!(send.fresh);
                cut.push(Event::Cut {
                    socket,
                    operation,
                    count,
                });
                (line.send, line.wants_room) = (None, true);
            } else {
                send.fresh = false;
            }
        }
        for (operation, ..) in self.unsent.drain(..) {
            let socket = DATAGRAMS;
            cut.push(Event::Cut {
                socket,
                operation,
                count: 0,
            });
        }
        for event in cut {
            self.say(&event, &[]);
        }
    }
}
