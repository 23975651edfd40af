//! Processes talk, lend, sleep and die over a memory of 4 KiB each.

mod bounds;

use crate::limits::{Rights, SERVERS_MAX};
use crate::process::{Machine, Registers, Start, State, Table};
use crate::space::{Region, Shown};
use abi::ipc::{Call, Exit, FOREVER, Lease, MESSAGE_MAX, Message, Pid, Received, wait};
use abi::limits::{Grant, Limits, Resource};
use abi::{Error, Result, error};
use placement::Places;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

const BASE: u64 = 0x40_0000;
const SIZE: usize = 4096;
/// Counts of the table's clock.
const MILLISECOND: u64 = 1000;
/// Where each process keeps its `Received`, its request, its answer, and what it lends.
const EVENT: u64 = BASE;
const REQUEST: u64 = BASE + 0x400;
const ANSWER: u64 = BASE + 0x600;
const LENT: u64 = BASE + 0x800;

/// 4 KiB at [`BASE`]; the last quarter is read-only. Counts how many are alive.
struct Space {
    bytes: RefCell<Vec<u8>>,
    alive: Rc<Cell<usize>>,
    /// How large it may be.
    limit: u64,
}

impl Drop for Space {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

struct Model;

impl Space {
    fn range(&self, address: u64, len: usize, write: bool) -> Result<std::ops::Range<usize>> {
        let limit = if write { SIZE * 3 / 4 } else { SIZE } as u64;
        let start = address.checked_sub(BASE).ok_or(Error::BadAddress)?;
        let end = start.checked_add(len as u64).ok_or(Error::BadAddress)?;
        let inside = end <= limit;
        inside
            .then_some(start as usize..end as usize)
            .ok_or(Error::BadAddress)
    }
}

impl Machine for Model {
    type Space = Space;

    // No test here starts a program: see `spawn.rs`.
    fn new_space(&self) -> Result<Space> {
        Err(Error::NoMemory)
    }

    fn add_memory(&self, _: &mut Space, _: &Region) -> Result<()> {
        Err(Error::NoMemory)
    }

    fn entry_registers(&self, _: u64, _: u64) -> Registers {
        Registers::default()
    }

    fn read(&self, space: &Space, address: u64, buffer: &mut [u8]) -> Result<()> {
        let range = space.range(address, buffer.len(), false)?;
        buffer.copy_from_slice(&space.bytes.borrow()[range]);
        Ok(())
    }

    fn write(&self, space: &Space, address: u64, bytes: &[u8]) -> Result<()> {
        let range = space.range(address, bytes.len(), true)?;
        space.bytes.borrow_mut()[range].copy_from_slice(bytes);
        Ok(())
    }

    fn can_write(&self, space: &Space, address: u64, len: usize) -> Result<()> {
        space.range(address, len, true).map(|_| ())
    }

    fn copy(&self, from: (&Space, u64), to: (&Space, u64), len: usize) -> Result<()> {
        let mut bytes = vec![0; len];
        self.read(from.0, from.1, &mut bytes)?;
        self.write(to.0, to.1, &bytes)
    }

    fn memory(&self, _space: &Space) -> u64 {
        SIZE as u64
    }

    fn set_limit(&self, space: &mut Space, bytes: u64) {
        space.limit = bytes;
    }

    fn show(&self, _: &mut Space, _: [Shown; 3]) -> Result<()> {
        Err(Error::NoMemory)
    }

    fn charge(&self, _: &mut Space, _: u64) -> Result<()> {
        Err(Error::QuotaExceeded)
    }
}

/// What a process of these tests begins with if it has no parent.
const PLENTY: Limits = Limits::PROGRAM
    .with(Resource::Memory, 1 << 30)
    .with(Resource::Processes, 1000)
    .with(Resource::Handles, 1000)
    .with(Resource::Sockets, 1000)
    .with(Resource::Notifications, 1000);
/// And what its children are given.
const LESS: Limits = Limits::PROGRAM.with(Resource::Processes, 10);
/// And theirs.
const SCANTY: Limits = Limits::NONE
    .with(Resource::Memory, SIZE as u64)
    .with(Resource::Processes, 1);

struct World {
    table: Table<Model>,
    alive: Rc<Cell<usize>>,
}

impl World {
    fn new() -> Self {
        World {
            table: Table::new(Model, MILLISECOND),
            alive: Rc::default(),
        }
    }

    fn add(&mut self, parent: Option<Pid>) -> Pid {
        self.try_add(parent).expect("room in the table")
    }

    fn try_add(&mut self, parent: Option<Pid>) -> Result<Pid> {
        match parent {
            None => self.start(None, PLENTY, Rights::all()),
            Some(pid) if self.table.left(pid).covers(&LESS) => {
                self.start(parent, LESS, Rights::default())
            }
            Some(_) => self.start(parent, SCANTY, Rights::default()),
        }
    }

    fn start(&mut self, parent: Option<Pid>, limits: Limits, rights: Rights) -> Result<Pid> {
        self.alive.set(self.alive.get() + 1);
        let space = Space {
            bytes: RefCell::new(vec![0; SIZE]),
            alive: self.alive.clone(),
            limit: 0,
        };
        self.table.add(Start {
            name: "test",
            space,
            registers: Registers::default(),
            places: Places::FIXED,
            parent,
            limits,
            rights,
            is_mute: false,
        })
    }

    fn poke(&mut self, pid: Pid, address: u64, bytes: &[u8]) {
        let process = self.table.get(pid).expect("alive");
        let space = process.space.as_ref().expect("alive");
        Model.write(space, address, bytes).expect("a good address");
    }

    fn peek<const N: usize>(&self, pid: Pid, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let process = self.table.get(pid).expect("alive");
        let space = process.space.as_ref().expect("alive");
        Model
            .read(space, address, &mut bytes)
            .expect("a good address");
        bytes
    }

    /// The result a sleeper finds when it wakes; fails if it still sleeps.
    fn result(&self, pid: Pid) -> Result<u64> {
        let process = self.table.get(pid).expect("alive");
        assert_eq!(process.state, State::Ready, "{pid} sleeps");
        error::from_register(process.registers.rax)
    }

    fn wait(&mut self, pid: Pid, mask: u32) -> Option<Received> {
        let event = self.table.wait(pid, mask, FOREVER, EVENT, 0);
        event.expect("a good buffer").map(|_| self.event(pid))
    }

    fn event(&self, pid: Pid) -> Received {
        Received::from_bytes(&self.peek(pid, EVENT)).expect("well formed")
    }

    fn message(&self, pid: Pid) -> Message {
        match self.event(pid) {
            Received::Message(message) => message,
            other => panic!("{other:?} is no message"),
        }
    }

    fn call(&mut self, from: Pid, to: Pid, request: &[u8]) -> Result<()> {
        self.poke(from, REQUEST, request);
        self.table.call(from, &call_to(to, request.len() as u64), 0)
    }

    fn answer(&mut self, server: Pid, token: u64, bytes: &[u8]) -> Result<()> {
        self.poke(server, ANSWER, bytes);
        self.table
            .reply(server, token, 0, (ANSWER, bytes.len() as u64))
    }
}

fn call_to(target: Pid, len: u64) -> Call {
    call_until(target, len, FOREVER)
}

fn call_until(target: Pid, len: u64, deadline: u64) -> Call {
    Call {
        target,
        lease_count: 1,
        request: (REQUEST, len),
        answer: (ANSWER, MESSAGE_MAX as u64),
        deadline,
        leases: [
            Lease {
                address: LENT,
                len: 16,
                writable: true,
            },
            Lease::default(),
            Lease::default(),
        ],
    }
}

#[test]
fn a_waiting_server_gets_the_call_and_the_caller_its_answer() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    assert_eq!(world.wait(server, wait::MESSAGE), None);
    world.call(client, server, b"ping").unwrap();
    assert_eq!(world.result(server), Ok(0));
    let message = world.message(server);
    assert_eq!(message.request(), b"ping");
    assert_eq!((message.sender, message.lease_count), (client, 1));
    assert_eq!(message.leases[0].len, 16);

    world.answer(server, message.token, b"pong!").unwrap();
    assert_eq!(world.result(client), Ok(5));
    assert_eq!(&world.peek::<5>(client, ANSWER), b"pong!");
    let again = world.answer(server, message.token, b"twice");
    assert_eq!(again, Err(Error::BadHandle));
}

#[test]
fn a_call_that_could_never_be_answered_is_refused() {
    let mut world = World::new();
    let ring: Vec<Pid> = (0..4).map(|_| world.add(None)).collect();
    let [first, second, third, last] = ring[..] else {
        panic!("four");
    };
    world.call(first, second, b"").unwrap();
    assert_eq!(world.call(second, first, b""), Err(Error::Deadlock));
    world.call(second, third, b"").unwrap();
    world.call(third, last, b"").unwrap();
    for waits in [first, second, third] {
        assert_eq!(world.call(last, waits, b""), Err(Error::Deadlock));
    }
    // Received or not, which is the same to who waits.
    world.wait(last, wait::MESSAGE);
    assert_eq!(world.call(last, first, b""), Err(Error::Deadlock));
    let token = world.message(last).token;
    world.answer(last, token, b"").unwrap();
    // Now the third can go on, and answer: a call to it is one that waits, no more.
    world.call(last, third, b"").unwrap();
    assert_eq!(world.call(third, last, b""), Err(Error::Deadlock));
    // Who called the dead is told so, and can be called.
    world.table.end(second, Exit::Killed).unwrap();
    assert_eq!(world.result(first), Err(Error::PeerDied));
    world.call(third, first, b"").unwrap();
}

#[test]
fn calls_queue_in_order_and_are_answered_in_any() {
    let mut world = World::new();
    let server = world.add(None);
    let clients: Vec<Pid> = (0..5).map(|_| world.add(None)).collect();
    for (number, &client) in clients.iter().enumerate() {
        world.call(client, server, &[number as u8]).unwrap();
    }
    let tokens: Vec<u64> = (0..5)
        .map(|number| match world.wait(server, wait::MESSAGE) {
            Some(Received::Message(message)) => {
                assert_eq!(message.request(), [number]);
                message.token
            }
            other => panic!("{other:?}"),
        })
        .collect();
    for (&client, &token) in clients.iter().zip(&tokens).rev() {
        world.answer(server, token, &[1, 2]).unwrap();
        assert_eq!(world.result(client), Ok(2));
    }
}

#[test]
fn no_token_is_zero_though_the_count_of_calls_goes_round() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    world.table.get_mut(client).unwrap().calls_made = u32::MAX - 1;
    for count in [u32::MAX, 1, 2] {
        world.call(client, server, b"").unwrap();
        let Some(Received::Message(message)) = world.wait(server, wait::MESSAGE) else {
            panic!("a call came");
        };
        assert_eq!(message.token, u64::from(client.0) << 32 | u64::from(count));
        world.answer(server, message.token, b"").unwrap();
        assert_eq!(world.result(client), Ok(0));
    }
}

#[test]
fn a_server_answers_with_an_error() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    world.wait(server, wait::MESSAGE);
    world.call(client, server, b"").unwrap();
    let token = world.message(server).token;
    let status = u64::from(Error::ConnectionRefused.number());
    world.table.reply(server, token, status, (0, 0)).unwrap();
    assert_eq!(world.result(client), Err(Error::ConnectionRefused));
}

#[test]
fn bad_calls_are_refused_before_anybody_sleeps() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    let good = call_to(server, 4);
    let long = Call {
        request: (REQUEST, MESSAGE_MAX as u64 + 1),
        ..good
    };
    let elsewhere = Call {
        request: (0xffff_8000_0000_0000, 4),
        ..good
    };
    let nobody = call_to(Pid::new(9, 9), 4);
    for (call, refusal) in [
        (long, Error::TooLong),
        (elsewhere, Error::BadAddress),
        (nobody, Error::NotFound),
        (call_to(client, 4), Error::InvalidArgument),
    ] {
        assert_eq!(world.table.call(client, &call, 0), Err(refusal));
        assert_eq!(world.table.get(client).unwrap().state, State::Ready);
    }
}

#[test]
fn answers_that_do_not_fit_fail_both_sides() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    world.wait(server, wait::MESSAGE);
    let mut call = call_to(server, 0);
    call.answer = (ANSWER, 2);
    world.table.call(client, &call, 0).unwrap();
    let token = world.message(server).token;
    assert_eq!(world.answer(server, token, b"long"), Err(Error::TooLong));
    assert_eq!(world.result(client), Err(Error::TooLong));

    world.wait(server, wait::MESSAGE);
    call.answer = (BASE + SIZE as u64 - 4, 4);
    world.table.call(client, &call, 0).unwrap();
    let token = world.message(server).token;
    assert_eq!(world.answer(server, token, b"read"), Ok(()));
    assert_eq!(world.result(client), Err(Error::BadAddress));
}

#[test]
fn leases_are_bounded_by_what_was_lent() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    world.poke(client, LENT, b"0123456789abcdefSECRET");
    world.wait(server, wait::MESSAGE);
    world.call(client, server, b"").unwrap();
    let token = world.message(server).token;
    let mut copy = |lease, range, write| world.table.lease_copy(server, token, lease, range, write);

    assert_eq!(copy((0, 10), (LENT, 100), false), Ok(6));
    assert_eq!(copy((0, 16), (LENT, 100), false), Ok(0));
    assert_eq!(copy((0, u64::MAX), (LENT, 1), false), Ok(0));
    assert_eq!(copy((0, 4), (LENT, 2), true), Ok(2));
    assert_eq!(copy((1, 0), (LENT, 1), false), Err(Error::InvalidArgument));
    assert_eq!(copy((0, 0), (1 << 47, 1), false), Err(Error::BadAddress));
    assert_eq!(&world.peek::<6>(server, LENT), b"abcdef");
    assert_eq!(&world.peek::<22>(client, LENT), b"0123ab6789abcdefSECRET");

    world.answer(server, token, b"").unwrap();
    let late = world
        .table
        .lease_copy(server, token, (0, 0), (LENT, 1), false);
    assert_eq!(late, Err(Error::BadHandle));
}

#[test]
fn a_lease_that_is_not_writable_is_not_written_and_nobody_else_may_use_it() {
    let mut world = World::new();
    let (server, client, thief) = (world.add(None), world.add(None), world.add(None));
    let mut call = call_to(server, 0);
    call.leases[0].writable = false;
    world.table.call(client, &call, 0).unwrap();
    // Not received yet: even the server has no right to it.
    let token = u64::from(client.0) << 32 | 1;
    let copy = |world: &mut World, who, write| {
        world.table.lease_copy(who, token, (0, 0), (LENT, 1), write)
    };
    assert_eq!(copy(&mut world, server, false), Err(Error::BadHandle));
    world.wait(server, wait::MESSAGE);
    assert_eq!(copy(&mut world, server, false), Ok(1));
    assert_eq!(copy(&mut world, server, true), Err(Error::NotPermitted));
    assert_eq!(copy(&mut world, thief, false), Err(Error::BadHandle));
    assert_eq!(world.answer(thief, token, b""), Err(Error::BadHandle));
}

#[test]
fn notifications_are_kept_until_waited_for_and_only_those() {
    let mut world = World::new();
    let pid = world.add(None);
    world.table.notify(pid, 0b0011_0000_0000, false).unwrap();
    assert_eq!(
        world.wait(pid, 0b0001_0000_0000),
        Some(Received::Notification(0b0001_0000_0000))
    );
    assert_eq!(world.wait(pid, 0b0001_0000_0000), None);
    assert_eq!(world.table.notify(pid, 0b0100_0000_0000, false), Ok(false));
    assert_eq!(world.table.notify(pid, 0b0001_0000_0000, true), Ok(true));
    assert_eq!(world.event(pid), Received::Notification(0b0001_0000_0000));
    assert_eq!(
        world.wait(pid, wait::USER),
        Some(Received::Notification(0b0110_0000_0000))
    );
}

#[test]
fn notifications_and_messages_take_turns() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    let mask = wait::MESSAGE | wait::NIC_RECEIVE;
    world.call(client, server, b"").unwrap();
    world.table.notify(server, wait::NIC_RECEIVE, true).unwrap();
    let first = world.wait(server, mask).unwrap();
    world.table.notify(server, wait::NIC_RECEIVE, true).unwrap();
    let second = world.wait(server, mask).unwrap();
    assert_eq!(first, Received::Notification(wait::NIC_RECEIVE));
    assert!(matches!(second, Received::Message(_)), "{second:?}");
    assert_eq!(world.wait(server, mask), Some(first));
}

#[test]
fn a_wait_says_whether_more_is_there() {
    let mut world = World::new();
    let (server, client) = (world.add(None), world.add(None));
    let mask = wait::MESSAGE | wait::NIC_RECEIVE;
    let look = |world: &mut World| world.table.wait(server, mask, 0, EVENT, 0);
    world.call(client, server, b"").unwrap();
    world.table.notify(server, wait::NIC_RECEIVE, true).unwrap();
    // What is not waited for is not there.
    world.table.notify(server, wait::NIC_LINK, true).unwrap();
    assert_eq!(look(&mut world), Ok(Some(true)));
    assert_eq!(look(&mut world), Ok(Some(false)));
    assert_eq!(world.table.wait(server, mask, FOREVER, EVENT, 0), Ok(None));
    world.table.notify(server, wait::NIC_RECEIVE, true).unwrap();
    assert_eq!(world.result(server), Ok(0));
}

#[test]
fn deadlines_expire_in_time_and_a_past_one_only_looks() {
    let mut world = World::new();
    let (a, b) = (world.add(None), world.add(None));
    assert_eq!(
        world.table.wait(a, wait::USER, 5, EVENT, 5),
        Ok(Some(false))
    );
    assert_eq!(world.event(a), Received::TimedOut);
    assert_eq!(world.table.wait(a, wait::USER, 100, EVENT, 5), Ok(None));
    assert_eq!(world.table.wait(b, 0, 200, EVENT, 5), Ok(None));
    assert_eq!(world.table.next_deadline(), 100);
    world.table.expire(99);
    assert_eq!(world.table.next_deadline(), 100);
    world.table.expire(100);
    assert_eq!(world.result(a), Ok(0));
    assert_eq!(world.table.next_deadline(), 200);
    world.table.expire(u64::MAX - 1);
    assert_eq!(world.result(b), Ok(0));
    assert_eq!(world.table.next_deadline(), FOREVER);
}

#[test]
fn a_bad_event_buffer_is_refused_and_loses_nothing() {
    let mut world = World::new();
    let pid = world.add(None);
    world.table.notify(pid, 1 << 8, false).unwrap();
    let read_only = BASE + SIZE as u64 - Received::SIZE as u64;
    for buffer in [0, read_only, u64::MAX - 3] {
        let refused = world.table.wait(pid, wait::USER, FOREVER, buffer, 0);
        assert_eq!(refused, Err(Error::BadAddress));
    }
    assert_eq!(
        world.wait(pid, wait::USER),
        Some(Received::Notification(1 << 8))
    );
}

#[test]
fn a_dying_server_ends_all_its_calls() {
    let mut world = World::new();
    let server = world.add(None);
    let (received, queued) = (world.add(None), world.add(None));
    world.wait(server, wait::MESSAGE);
    world.call(received, server, b"").unwrap();
    world.call(queued, server, b"").unwrap();
    world.table.end(server, Exit::Fault(14)).unwrap();
    assert_eq!(world.result(received), Err(Error::PeerDied));
    assert_eq!(world.result(queued), Err(Error::PeerDied));
    let late = world.call(queued, server, b"");
    assert_eq!(late, Err(Error::PeerDied));
    assert_eq!(world.alive.get(), 2);
}

#[test]
fn a_dying_client_leaves_no_call_behind() {
    let mut world = World::new();
    let server = world.add(None);
    let (received, queued) = (world.add(None), world.add(None));
    world.wait(server, wait::MESSAGE);
    world.call(received, server, b"").unwrap();
    world.call(queued, server, b"").unwrap();
    let token = world.message(server).token;
    world.table.end(received, Exit::Killed).unwrap();
    world.table.end(queued, Exit::Killed).unwrap();
    assert_eq!(world.answer(server, token, b""), Err(Error::PeerDied));
    let lease = world
        .table
        .lease_copy(server, token, (0, 0), (LENT, 1), true);
    assert_eq!(lease, Err(Error::PeerDied));
    assert_eq!(world.wait(server, wait::MESSAGE), None);
}

#[test]
fn deaths_come_to_the_parent_and_to_watchers_and_then_the_number_is_free() {
    let mut world = World::new();
    let parent = world.add(None);
    let (child, watcher) = (world.add(Some(parent)), world.add(None));
    world.table.watch(watcher, child).unwrap();
    assert_eq!(world.wait(parent, wait::DEATH), None);
    world.table.end(child, Exit::Code(7)).unwrap();
    let death = Received::Death(child, Exit::Code(7));
    assert_eq!(world.event(parent), death);
    // The parent knows; a watcher that does not look keeps no place in the table.
    assert!(world.table.get(child).is_none());
    assert_eq!(world.table.end(child, Exit::Killed), Err(Error::PeerDied));
    let next = world.add(None);
    assert_eq!(next.slot(), child.slot());
    assert_ne!(next, child);
    assert_eq!(world.wait(watcher, wait::DEATH), Some(death));
    assert_eq!(world.table.watch(watcher, child), Err(Error::PeerDied));
}

#[test]
fn a_parent_that_dies_untold_releases_the_number() {
    let mut world = World::new();
    let parent = world.add(None);
    let child = world.add(Some(parent));
    let grandchild = world.add(Some(child));
    world.table.end(grandchild, Exit::Killed).unwrap();
    assert!(world.table.get(grandchild).is_some());
    world.table.end(child, Exit::Killed).unwrap();
    assert!(world.table.get(grandchild).is_none());
    let told = world.wait(parent, wait::DEATH);
    assert_eq!(told, Some(Received::Death(child, Exit::Killed)));
    assert!(world.table.get(child).is_none());
}

#[test]
fn orphans_are_adopted_by_the_first_process() {
    let mut world = World::new();
    let first = world.add(None);
    let parent = world.add(Some(first));
    let orphan = world.add(Some(parent));
    world.table.end(parent, Exit::Code(0)).unwrap();
    assert_eq!(world.table.check_child(first, orphan), Ok(()));
    world.wait(first, wait::DEATH);
    world.table.end(orphan, Exit::Code(3)).unwrap();
    let told = world.wait(first, wait::DEATH);
    assert_eq!(told, Some(Received::Death(orphan, Exit::Code(3))));
}

#[test]
fn who_adopts_a_process_that_it_watched_is_told_of_its_end_once() {
    let mut world = World::new();
    let first = world.add(None);
    let parent = world.add(Some(first));
    let (orphan, other) = (world.add(Some(parent)), world.add(None));
    world.table.watch(first, orphan).unwrap();
    world.table.watch(first, other).unwrap();
    for pid in [parent, orphan, other] {
        world.table.end(pid, Exit::Killed).unwrap();
        let told = world.wait(first, wait::DEATH);
        assert_eq!(told, Some(Received::Death(pid, Exit::Killed)));
    }
    assert_eq!(world.wait(first, wait::DEATH), None);
}

#[test]
fn a_death_wakes_the_parent_and_who_watches() {
    let mut world = World::new();
    let first = world.add(None);
    let [parent, watcher] = [(); 2].map(|()| world.add(Some(first)));
    let child = world.add(Some(parent));
    world.table.watch(watcher, child).unwrap();
    for pid in [parent, watcher] {
        assert_eq!(world.wait(pid, wait::DEATH), None);
    }
    world.table.end(child, Exit::Killed).unwrap();
    for pid in [parent, watcher] {
        assert_eq!(world.result(pid), Ok(0));
        assert_eq!(world.event(pid), Received::Death(child, Exit::Killed));
    }
}

#[test]
fn names_belong_to_the_living() {
    let mut world = World::new();
    let (a, b) = (world.add(None), world.add(None));
    assert_eq!(world.table.lookup("net0"), Err(Error::NotFound));
    world.table.register(a, "net0").unwrap();
    assert_eq!(world.table.register(a, "net0"), Ok(()));
    assert_eq!(world.table.register(b, "net0"), Err(Error::Busy));
    assert_eq!(world.table.lookup("net0"), Ok(a));
    world.table.end(a, Exit::Killed).unwrap();
    assert_eq!(world.table.register(b, "net0"), Ok(()));
    assert_eq!(world.table.check_child(a, b), Err(Error::NotPermitted));
}

#[test]
fn the_ready_take_turns_and_the_full_table_refuses() {
    let mut world = World::new();
    let (a, b) = (world.add(None), world.add(None));
    assert_eq!(world.table.schedule(false), Some(a));
    assert_eq!(world.table.schedule(false), Some(a));
    assert_eq!(world.table.schedule(true), Some(b));
    assert_eq!(world.table.schedule(true), Some(a));
    world.table.end(a, Exit::Killed).unwrap();
    assert_eq!(world.table.schedule(false), Some(b));
    world.table.wait(b, 0, FOREVER, EVENT, 0).unwrap();
    assert_eq!(world.table.schedule(false), None);
    while world.try_add(None).is_ok() {}
    assert_eq!(world.table.living().count(), crate::limits::PROCESS_MAX);
    assert_eq!(world.alive.get(), crate::limits::PROCESS_MAX);
    assert_eq!(world.try_add(None), Err(Error::NoMemory));
}

#[test]
fn a_call_ends_at_its_deadline_and_the_late_answer_does_no_harm() {
    let mut world = World::new();
    let (server, received, queued) = (world.add(None), world.add(None), world.add(None));
    let past = call_until(server, 0, 7);
    assert_eq!(world.table.call(received, &past, 7), Err(Error::TimedOut));
    assert_eq!(world.wait(server, wait::MESSAGE), None);
    for client in [received, queued] {
        let call = call_until(server, 0, 100);
        world.table.call(client, &call, 7).unwrap();
    }
    let token = world.message(server).token;
    assert_eq!(world.table.next_deadline(), 100);
    world.table.expire(99);
    assert_eq!(world.table.next_deadline(), 100);
    world.table.expire(100);
    assert_eq!(world.result(received), Err(Error::TimedOut));
    assert_eq!(world.result(queued), Err(Error::TimedOut));
    assert_eq!(world.table.next_deadline(), FOREVER);
    // The server never hears of what it has not received, and what was lent is lent no more.
    assert_eq!(world.wait(server, wait::MESSAGE), None);
    world.poke(received, ANSWER, b"mine");
    assert_eq!(world.answer(server, token, b"late"), Err(Error::BadHandle));
    let copy = world
        .table
        .lease_copy(server, token, (0, 0), (LENT, 1), true);
    assert_eq!(copy, Err(Error::BadHandle));
    assert_eq!(&world.peek::<4>(received, ANSWER), b"mine");
    // The next call is another one.
    world.call(received, server, b"again").unwrap();
    let next = world.message(server).token;
    assert_ne!(next, token);
    assert_eq!(world.answer(server, token, b"late"), Err(Error::BadHandle));
    assert_eq!(world.answer(server, next, b"good"), Ok(()));
    assert_eq!(world.result(received), Ok(4));
}

#[test]
fn a_name_is_registered_by_right_only() {
    let mut world = World::new();
    let init = world.add(None);
    let server = Rights {
        names: "net0 net1".into(),
        ..Rights::default()
    };
    let server = world.start(Some(init), LESS, server).unwrap();
    let imposter = world.add(Some(init));
    for name in ["net0", "junk", "", "net0 net1", "*"] {
        let refused = world.table.register(imposter, name);
        assert_eq!(refused, Err(Error::NotPermitted), "{name}");
    }
    assert_eq!(world.table.register(server, "net0"), Ok(()));
    assert_eq!(
        world.table.register(server, "init"),
        Err(Error::NotPermitted)
    );
    // Not even once its owner is gone.
    world.table.end(server, Exit::Killed).unwrap();
    assert_eq!(
        world.table.register(imposter, "net0"),
        Err(Error::NotPermitted)
    );
    assert_eq!(world.table.lookup("net0"), Err(Error::NotFound));
    let grant = Grant {
        limits: Limits::NONE,
        names: "net0",
        ..Grant::default()
    };
    let given = world.table.rights_of_child(imposter, &grant);
    assert_eq!(given, Err(Error::NotPermitted));
}

#[test]
fn handles_are_names_cards_and_watched_processes() {
    let mut world = World::new();
    let init = world.add(None);
    let others: Vec<Pid> = (0..3).map(|_| world.add(Some(init))).collect();
    let limits = LESS.with(Resource::Handles, 3);
    let rights = Rights {
        names: "a b c".into(),
        cards: 0b1,
        ..Rights::default()
    };
    let pid = world.start(Some(init), limits, rights).unwrap();
    assert_eq!(
        world.table.check_card(pid, 1, true),
        Err(Error::NotPermitted)
    );
    assert_eq!(world.table.check_card(pid, 0, true), Ok(()));
    assert_eq!(world.table.check_endpoint(pid), Ok(0));
    world.table.add_endpoint(pid, 3);
    assert_eq!(world.table.endpoint(pid, 0), Ok(3));
    assert_eq!(world.table.endpoint(pid, 1), Err(Error::BadHandle));
    world.table.register(pid, "a").unwrap();
    world.table.watch(pid, others[0]).unwrap();
    assert_eq!(world.table.register(pid, "b"), Err(Error::QuotaExceeded));
    assert_eq!(
        world.table.check_card(pid, 0, true),
        Err(Error::QuotaExceeded)
    );
    assert_eq!(world.table.watch(pid, others[1]), Err(Error::QuotaExceeded));
    // What it has it can ask for again.
    assert_eq!(world.table.watch(pid, others[0]), Ok(()));
    assert_eq!(world.table.register(pid, "a"), Ok(()));
    // An end that it has not heard of counts until it has.
    world.table.end(others[0], Exit::Code(3)).unwrap();
    assert_eq!(world.table.watch(pid, others[1]), Err(Error::QuotaExceeded));
    let death = Received::Death(others[0], Exit::Code(3));
    assert_eq!(world.wait(pid, wait::DEATH), Some(death));
    assert_eq!(world.table.watch(pid, others[1]), Ok(()));
}

#[test]
fn ended_children_count_until_their_parent_looks() {
    let mut world = World::new();
    let init = world.add(None);
    let limits = LESS
        .with(Resource::Processes, 3)
        .with(Resource::Memory, 5 << 20);
    let parent = world.start(Some(init), limits, Rights::default()).unwrap();
    let child = Limits::PROGRAM;
    for _ in 0..2 {
        let pid = world.start(Some(parent), child, Rights::default()).unwrap();
        world.table.end(pid, Exit::Code(0)).unwrap();
    }
    // Their memory is back, their places are not.
    assert_eq!(
        world.table.left(parent).get(Resource::Memory),
        (5 << 20) - SIZE as u64
    );
    let third = world.start(Some(parent), child, Rights::default());
    assert_eq!(third, Err(Error::QuotaExceeded));
    assert!(world.wait(parent, wait::DEATH).is_some());
    assert!(world.start(Some(parent), child, Rights::default()).is_ok());
    world.table.end(parent, Exit::Killed).unwrap();
    assert!(world.wait(init, wait::DEATH).is_some());
    let used = world.table.used(init);
    // The one that lives is the first process's now.
    let left = PLENTY.minus(&used).minus(&child);
    assert_eq!(world.table.left(init), left);
}

#[test]
fn an_address_space_is_told_what_its_process_has_not_given_away() {
    let mut world = World::new();
    let init = world.add(None);
    let limit = |world: &World, pid| {
        let process = world.table.get(pid).unwrap();
        process.space.as_ref().unwrap().limit
    };
    assert_eq!(limit(&world, init), 1 << 30);
    let child = world.add(Some(init));
    assert_eq!(limit(&world, init), (1 << 30) - (768 << 10));
    assert_eq!(limit(&world, child), 768 << 10);
    world.table.end(child, Exit::Killed).unwrap();
    assert_eq!(limit(&world, init), 1 << 30);
}

#[test]
fn sockets_are_charged_by_servers_only_and_go_with_them() {
    let mut world = World::new();
    let init = world.add(None);
    let limits = LESS.with(Resource::Sockets, 10);
    let client = world.start(Some(init), limits, Rights::default()).unwrap();
    let server = Rights {
        is_server: true,
        ..Rights::default()
    };
    let [one, other] = [(); 2].map(|()| world.start(Some(init), LESS, server.clone()).unwrap());
    let mut charge = |server, count| world.table.charge(server, client, count);
    assert_eq!(charge(client, 1), Err(Error::NotPermitted));
    assert_eq!(charge(one, 8), Ok(()));
    assert_eq!(charge(one, 11), Err(Error::QuotaExceeded));
    assert_eq!(charge(other, 3), Err(Error::QuotaExceeded));
    assert_eq!(charge(other, 2), Ok(()));
    assert_eq!(charge(one, 9), Err(Error::QuotaExceeded));
    assert_eq!(charge(one, 8), Ok(()));
    assert_eq!(charge(one, u64::MAX), Err(Error::QuotaExceeded));
    // It cannot give away what it has in use.
    let child = Limits::PROGRAM.with(Resource::Sockets, 1);
    let given = world.start(Some(client), child, Rights::default());
    assert_eq!(given, Err(Error::QuotaExceeded));
    world.table.end(one, Exit::Killed).unwrap();
    assert_eq!(world.table.used(client).get(Resource::Sockets), 2);
    assert_eq!(world.table.charge(other, client, 10), Ok(()));
    assert_eq!(world.table.charge(other, client, 0), Ok(()));
    assert_eq!(world.table.used(client).get(Resource::Sockets), 0);
    // A server at which it has none any more is none of those few at which it may have some.
    for _ in 0..=SERVERS_MAX {
        let server = world.start(Some(init), SCANTY, server.clone()).unwrap();
        assert_eq!(world.table.charge(server, client, 1), Ok(()));
        assert_eq!(world.table.charge(server, client, 0), Ok(()));
    }
}

#[test]
fn notifications_are_bounded_until_they_are_looked_at() {
    let mut world = World::new();
    let init = world.add(None);
    let others: Vec<Pid> = (0..3).map(|_| world.add(Some(init))).collect();
    let limits = LESS.with(Resource::Notifications, 2);
    let pid = world.start(Some(init), limits, Rights::default()).unwrap();
    let notify = |world: &mut World, to: Pid| world.table.notify_from(pid, to, 1 << 8);
    assert_eq!(notify(&mut world, others[0]), Ok(()));
    assert_eq!(notify(&mut world, others[1]), Ok(()));
    assert_eq!(notify(&mut world, others[1]), Ok(()));
    assert_eq!(notify(&mut world, others[2]), Err(Error::QuotaExceeded));
    let told = Some(Received::Notification(1 << 8));
    assert_eq!(world.wait(others[0], wait::USER), told);
    assert_eq!(notify(&mut world, others[2]), Ok(()));
    world.table.end(others[1], Exit::Killed).unwrap();
    assert_eq!(world.table.used(pid).get(Resource::Notifications), 1);
    // Who waits for it has it at once.
    assert_eq!(world.wait(others[0], wait::USER), None);
    assert_eq!(notify(&mut world, others[0]), Ok(()));
    assert_eq!(world.table.used(pid).get(Resource::Notifications), 1);
}

#[test]
fn notifications_end_with_who_sent_them_and_with_who_has_them() {
    let mut world = World::new();
    let init = world.add(None);
    let [to, one, other] = [(); 3].map(|()| world.add(Some(init)));
    let owed = |world: &World, pid| world.table.used(pid).get(Resource::Notifications);
    for from in [one, other] {
        world.table.notify_from(from, to, 1 << 8).unwrap();
    }
    world.table.end(one, Exit::Killed).unwrap();
    assert_eq!(owed(&world, other), 1);
    // Who gets the number of who has died owes nothing.
    world.wait(init, wait::DEATH);
    let next = world.add(Some(init));
    assert_eq!((next.slot(), owed(&world, next)), (one.slot(), 0));
    world.table.end(to, Exit::Killed).unwrap();
    assert!(world.table.get(to).is_some(), "its parent was not told");
    assert_eq!(owed(&world, other), 0);
}

/// Random processes do random things; whatever happens, nothing panics, the books balance,
/// and when all have ended all memory is free.
#[test]
fn a_thousand_hostile_steps() {
    for seed in 0..200u64 {
        let mut world = World::new();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut pids = vec![world.add(None)];
        for _ in 0..1000 {
            let pid = pids[random(pids.len() as u64) as usize];
            let other = pids[random(pids.len() as u64) as usize];
            let running = world
                .table
                .alive(pid)
                .is_ok_and(|process| process.state == State::Ready);
            let token = u64::from(other.0) << 32 | random(4);
            match random(10) {
                0 if pids.len() < 100 => pids.extend(world.try_add(Some(pid))),
                1 if random(4) == 0 => _ = world.table.end(pid, Exit::Killed),
                2 => _ = world.table.notify(pid, random(1 << 32) as u32, true),
                3 => world.table.expire(random(1000)),
                4 if running => {
                    _ = world
                        .table
                        .call(pid, &call_until(other, random(200), random(1000)), 0)
                }
                5 | 6 if running => {
                    let mask = random(1 << 32) as u32 | wait::MESSAGE;
                    _ = world
                        .table
                        .wait(pid, mask, random(1000), EVENT, random(1000));
                }
                7 if running => {
                    let answer = (ANSWER, random(200));
                    _ = world.table.reply(pid, token, random(3), answer);
                }
                8 if running => {
                    _ = world.table.lease_copy(
                        pid,
                        token,
                        (random(3) as usize, random(20)),
                        (LENT, random(40)),
                        random(2) == 0,
                    )
                }
                _ => _ = world.table.watch(pid, other),
            }
            world.table.set_now(random(1 << 40));
            world.table.schedule(random(2) == 0);
        }
        for pid in pids {
            let _ = world.table.end(pid, Exit::Killed);
        }
        assert_eq!((world.alive.get(), world.table.living().count()), (0, 0));
        assert_eq!(world.table.schedule(true), None);
    }
}
