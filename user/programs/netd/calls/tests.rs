//! Calls of this process, beside those of others, whose kernel the test plays.
#![allow(unsafe_code)]

use super::*;
use abi::Syscall;
use std::cell::RefCell;
use std::rc::Rc;

const REQUEST: &[u8] = b"request";

#[test]
fn what_the_program_lends_is_read_and_written_where_it_lies() {
    let (body, mut area) = (*b"0123456789", [0; 6]);
    let mut leases = [Lent::Write(&mut area), Lent::Read(&body)];
    let (mut calls, message) = Calls::with_own(REQUEST, &mut leases).unwrap();
    assert_eq!((message.token, message.sender), (OWN_TOKEN, OWN_PID));
    assert_eq!(message.request(), REQUEST);
    let lent = &message.leases[..message.lease_count as usize];
    let lent: Vec<_> = lent.iter().map(|info| (info.len, info.writable)).collect();
    assert_eq!(lent, [(6, true), (10, false)]);

    let mut some = [0; 4];
    assert_eq!(calls.read(OWN_TOKEN, 1, 3, &mut some), Ok(4));
    assert_eq!(&some, b"3456");
    // As much as there is, and nothing from outside.
    assert_eq!(calls.read(OWN_TOKEN, 1, 8, &mut some), Ok(2));
    assert_eq!(calls.read(OWN_TOKEN, 1, 10, &mut some), Ok(0));
    for (lease, offset) in [(1, 11), (1, usize::MAX), (2, 0), (255, 0)] {
        let outside = calls.read(OWN_TOKEN, lease, offset, &mut some);
        assert_eq!(outside, Err(Error::BadAddress), "{lease} {offset}");
    }
    assert_eq!(calls.write(OWN_TOKEN, 4, b"xyz"), Ok(2));
    assert_eq!(calls.write(OWN_TOKEN, 7, b"x"), Err(Error::BadAddress));
    assert_eq!(calls.read(OWN_TOKEN, 0, 4, &mut some), Ok(2));
    assert_eq!(&area, b"\0\0\0\0xy");
}

#[test]
fn what_is_lent_to_be_read_is_not_written() {
    let mut leases = [Lent::Read(b"constant")];
    let (mut calls, _) = Calls::with_own(REQUEST, &mut leases).unwrap();
    assert_eq!(calls.write(OWN_TOKEN, 0, b"x"), Err(Error::BadAddress));
}

#[test]
fn the_answer_is_there_once_and_cut_to_the_room_for_it() {
    let (mut calls, _) = Calls::with_own(REQUEST, &mut []).unwrap();
    let mut answer = [0; MESSAGE_MAX];
    assert_eq!(calls.answered(&mut answer), None);
    calls.answer_here(OWN_TOKEN, Answer(3), b"abc");
    assert_eq!(calls.answered(&mut answer), Some(Ok(HERE + 3)));
    assert_eq!(Answer::from_bytes(&answer), Ok(Answer(3)));
    assert_eq!(&answer[HERE..HERE + 3], b"abc");
    assert_eq!(calls.answered(&mut answer), None);

    calls.answer(OWN_TOKEN, Err(Error::ConnectionReset));
    assert_eq!(
        calls.answered(&mut answer),
        Some(Err(Error::ConnectionReset))
    );
    calls.answer(OWN_TOKEN, Ok(Answer(7)));
    assert_eq!(calls.answered(&mut answer[..2]), Some(Ok(2)));
}

#[test]
fn too_much_is_refused() {
    let long = [0; MESSAGE_MAX + 1];
    let refused = |request: &[u8], leases: &mut [Lent<'_>]| Calls::with_own(request, leases).err();
    assert_eq!(refused(&long, &mut []), Some(Error::TooLong));
    assert_eq!(refused(&long[1..], &mut []), None);
    let mut many = [
        Lent::Read(b""),
        Lent::Read(b""),
        Lent::Read(b""),
        Lent::Read(b""),
    ];
    assert_eq!(refused(REQUEST, &mut many), Some(Error::InvalidArgument));
    assert_eq!(refused(REQUEST, &mut many[1..]), None);
}

#[test]
fn others_calls_go_through_the_kernel_whether_or_not_there_is_one_of_our_own() {
    const THEIRS: u64 = 77;
    let entered = Rc::new(RefCell::new(Vec::new()));
    let log = entered.clone();
    fake::install(move |call, arguments| {
        log.borrow_mut().push((call, arguments[0]));
        Ok(1)
    });
    let mut area = [9; 4];
    let mut leases = [Lent::Write(&mut area)];
    let (with_own, _) = Calls::with_own(REQUEST, &mut leases).unwrap();
    for mut calls in [Calls::default(), with_own] {
        assert_eq!(calls.read(THEIRS, 0, 0, &mut [0; 4]), Ok(1));
        assert_eq!(calls.write(THEIRS, 0, b"theirs"), Ok(1));
        calls.answer(THEIRS, Ok(Answer(0)));
        assert_eq!(calls.watch(Pid(5)), Ok(()));
        assert_eq!(
            entered.borrow_mut().drain(..).collect::<Vec<_>>(),
            [
                (Syscall::LeaseRead, THEIRS),
                (Syscall::LeaseWrite, THEIRS),
                (Syscall::Reply, THEIRS),
                (Syscall::Watch, 5)
            ]
        );
        // Nobody has to tell of our own end.
        assert_eq!(calls.watch(OWN_PID), Ok(()));
        assert_eq!(calls.answered(&mut []), None);
        assert!(entered.borrow().is_empty());
    }
    assert_eq!(area, [9; 4]);
}
