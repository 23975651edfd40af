//! What a program wants to hear of a socket, and what it is sending.

use abi::batch::{End, Event, NOT_OF_THIS_CALL, OPERATIONS, Part, SOURCE, Send, Tell};
use abi::socket::Handle;

/// What the owner of one socket wants to hear of it.
#[derive(Default)]
pub(crate) struct Armed {
    /// The handle is in its owner's ready queue.
    pub queued: bool,
    /// Whether the connection came to be is to be told.
    pub connecting: bool,
    /// How many connections, or datagrams, or deliveries of a stream's bytes (one).
    pub count: u16,
    /// The most octets of a delivery; of a listener's, what its connections are armed with.
    pub max: u32,
    /// The send of a stream that is under way.
    pub send: Option<Sending>,
    /// A send was cut for want of room: its end is to be told.
    pub room: bool,
    /// Datagrams of the present call that wait for room.
    pub unsent: u16,
    /// When the last octet of a send was queued.
    pub moved_at: u64,
}

impl Armed {
    /// Whether a change of the socket may lead to an event.
    pub fn wants_news(&self) -> bool {
        self.count > 0 || self.send.is_some() || self.room || self.unsent > 0 || self.connecting
    }
}

/// A send that is not over.
#[derive(Clone, Copy)]
pub(crate) struct Sending {
    /// Where the octets in lease 1 begin, and how many they are.
    pub inline: (usize, usize),
    pub part: Part,
    /// How many of both are queued.
    pub sent: usize,
    /// The operation's number, while `fresh`.
    pub operation: u16,
    /// It is of the present call, and its outcome has room in the answer.
    pub fresh: bool,
    /// It did not fit at once.
    pub waited: bool,
    pub receive: u32,
    pub end: End,
    pub tell: Tell,
}

impl Sending {
    /// A send whose octets are at `offset` of lease 1.
    pub fn new(send: &Send, offset: usize, operation: u16) -> Self {
        Sending {
            inline: (offset, send.inline as usize),
            part: send.part,
            sent: 0,
            operation,
            fresh: true,
            waited: false,
            receive: send.receive,
            end: send.end,
            tell: send.tell,
        }
    }

    /// How many octets are not queued.
    pub fn left(&self) -> usize {
        self.inline.1 + self.part.len as usize - self.sent
    }

    /// How many of those in lease 1 are not queued.
    pub fn inline_left(&self) -> usize {
        self.inline.1.saturating_sub(self.sent)
    }

    /// Where the next octet is, and how many follow it there.
    pub fn place(&self) -> ((u8, usize), usize) {
        match self.inline_left() {
            0 => {
                let done = self.sent - self.inline.1;
                ((SOURCE, self.part.offset as usize + done), self.left())
            }
            left => ((OPERATIONS, self.inline.0 + self.sent), left),
        }
    }

    /// The event of its early end.
    pub fn cut(&self, socket: Handle) -> Event {
        Event::Cut {
            socket,
            operation: match self.fresh {
                true => self.operation,
                false => NOT_OF_THIS_CALL,
            },
            count: self.sent as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_wants_news_that_has_asked_for_any_and_else_costs_nothing() {
        let send = Send {
            socket: Handle(1),
            inline: 0,
            part: Part::default(),
            receive: 0,
            end: End::Stays,
            tell: Tell::Later,
        };
        let changes: [fn(&mut Armed, Sending); 5] = [
            |armed, _| armed.connecting = true,
            |armed, _| armed.count = 1,
            |armed, send| armed.send = Some(send),
            |armed, _| armed.room = true,
            |armed, _| armed.unsent = 1,
        ];
        assert!(!Armed::default().wants_news());
        for change in changes {
            let mut armed = Armed::default();
            change(&mut armed, Sending::new(&send, 0, 0));
            assert!(armed.wants_news());
        }
    }
}
