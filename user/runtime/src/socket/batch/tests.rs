//! The call that a batch becomes, seen by a network server that the test plays.

use super::super::tests::{PEER, area, network, opening};
use super::*;
use crate::socket::{TcpListener, any};
use abi::batch::{Event as Wire, NOT_OF_THIS_CALL, Operation, Part, Send};
use abi::socket::{Answer, Handle};
use std::cell::Cell;
use std::rc::Rc;

const A: Handle = Handle(0x5001);
const B: Handle = Handle(0x5002);
/// What the server makes.
const LISTENER: Handle = Handle(0x8001);

#[test]
fn operations_are_lent_and_events_come_back() {
    network(true, move |served| match served.request {
        Request::Batch {
            operations: 5,
            timeout_ms,
        } => {
            assert_eq!(timeout_ms, 250);
            assert_eq!(served.read(2), b"the source");
            let send = Send {
                socket: A,
                inline: 5,
                part: Part { offset: 4, len: 6 },
                receive: 100,
                end: End::Stays,
                tell: Tell::Later,
            };
            let expected = [
                (
                    Operation::Accept {
                        socket: LISTENER,
                        count: 9,
                        receive: 4096,
                    },
                    &b""[..],
                ),
                (Operation::Receive { socket: B, max: 7 }, b""),
                (Operation::Send(send), b"head "),
                (
                    Operation::SendTo {
                        socket: B,
                        address: PEER.into(),
                        inline: 4,
                    },
                    b"ping",
                ),
                (Operation::Close { socket: B }, b""),
            ];
            let expected = expected.map(|(operation, bytes)| (operation, bytes.to_vec()));
            assert_eq!(served.operations(), expected);
            let accepted = Wire::Accepted {
                listener: LISTENER,
                socket: Handle(77),
                peer: PEER.into(),
            };
            let received = Wire::Received { socket: B, len: 3 };
            let events = area(&[(accepted, b""), (received, b"abc")]);
            served.write(0, &events);
            Ok(Answer(events.len() as u32))
        }
        _ => opening(served),
    });
    let listener = TcpListener::bind(any(80)).unwrap();
    let source: &'static [u8] = b"the source";
    let mut batch = Batch::new(listener.server(), 0, source);
    let operations = batch.operations();
    assert!(operations.is_empty());
    operations.accept(listener.handle(), 9, 4096).unwrap();
    operations.receive(B, 7).unwrap();
    let then = Then::receive(100);
    operations.send(A, b"head ", &source[4..], then).unwrap();
    assert_eq!(
        operations.send_with(A, |out| {
            out.extend(b"never mind");
            None
        }),
        Ok(false)
    );
    let foreign: &'static [u8] = b"not of the source";
    let refused = operations.send(A, b"head", foreign, then);
    assert_eq!(refused, Err(Error::BadAddress));
    operations.send_to(B, b"ping", PEER.into()).unwrap();
    operations.close(B).unwrap();
    assert_eq!(operations.len(), 5);
    let (events, operations) = batch.wait(250).unwrap();
    assert!(operations.is_empty());
    assert_eq!(
        events.collect::<Vec<_>>(),
        [
            Event::Accepted {
                listener: LISTENER,
                socket: Handle(77),
                peer: PEER.into()
            },
            Event::Received {
                socket: B,
                bytes: b"abc"
            }
        ]
    );
}

#[test]
fn what_was_cut_comes_back_as_bytes() {
    let source: &'static [u8] = b"a source of bodies";
    let mut done = Operations::new(source);
    done.send(A, b"head", &source[2..8], Then::close()).unwrap();
    done.send_to(B, b"datagram", PEER.into()).unwrap();
    let cut = |socket, operation, count| {
        let event = Wire::Cut {
            socket,
            operation,
            count,
        };
        (event, &b""[..])
    };
    let area = area(&[
        cut(A, 0, 1),
        cut(A, 0, 6),
        cut(B, 1, 0),
        cut(A, NOT_OF_THIS_CALL, 9),
        // A server that lies.
        cut(A, 0, u32::MAX),
        cut(A, 2, 0),
    ]);
    let rest = |count, head, body| Event::Cut {
        socket: A,
        count,
        head,
        body,
    };
    let events: Vec<_> = Events::new(&area, &done).collect();
    assert_eq!(
        events,
        [
            rest(1, b"ead", b"source"),
            rest(6, b"", b"urce"),
            Event::Unsent {
                socket: B,
                to: PEER.into(),
                bytes: b"datagram"
            },
            rest(9, b"", b""),
            rest(u32::MAX as usize, b"", b""),
            rest(0, b"", b""),
        ]
    );
}

#[test]
fn a_server_that_lies_is_not_believed() {
    let done = Operations::new(&[]);
    let mut bytes = area(&[(Wire::Received { socket: A, len: 5 }, b"12345")]);
    bytes.extend(area(&[(Wire::Room { socket: A }, b"")]));
    let heard = |bytes: &[u8]| Events::new(bytes, &done).count();
    assert_eq!(heard(&bytes), 2);
    // Cut short, longer than the area, of no kind.
    assert_eq!(heard(&bytes[..30]), 0);
    bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(heard(&bytes), 0);
    bytes[0] = 99;
    assert_eq!(heard(&bytes), 0);

    let count = Rc::new(Cell::new(u32::MAX));
    let lie = count.clone();
    network(true, move |served| match served.request {
        Request::Batch { operations: 0, .. } if lie.get() == 0 => Err(Error::PeerDied),
        Request::Batch { operations: 0, .. } => Ok(Answer(lie.get())),
        _ => opening(served),
    });
    let listener = TcpListener::bind(any(80)).unwrap();
    let mut batch = Batch::new(listener.server(), 0, &[]);
    assert_eq!(batch.wait(0).err(), Some(Error::Malformed));
    count.set(0);
    assert_eq!(batch.wait(0).err(), Some(Error::PeerDied));
}

#[test]
fn there_may_be_so_many_operations_and_no_more() {
    let mut operations = Operations::new(&[]);
    for _ in 0..OPERATIONS_MAX {
        operations.progress(A).unwrap();
    }
    let full = Err(Error::TooLong);
    assert_eq!(operations.receive(A, 1), full);
    assert_eq!(operations.receive_from(A, 1, 1), full);
    assert_eq!(operations.send_to(A, b"x", PEER.into()), full);
    assert_eq!(operations.send(A, b"x", &[], Then::close()), full);
    assert_eq!(operations.len(), OPERATIONS_MAX);
}
