//! What happens without memory: of each call, each allocation fails in turn, of the kernel's heap
//! and of frames. The call must end in an error, with nothing leaked and all as before, so that it
//! does when it is made again with memory.
#![allow(unsafe_code)]

use crate::endpoint::Refusal;
use crate::process::{Machine, Registers, State, Table};
use crate::ramdisk::Ramdisk;
use crate::space::tests::Model;
use crate::space::{Physical, Piece, Shown, Space};
use crate::spawn::Grant;
use crate::{elf, ramdisk};
use abi::endpoint::Filter;
use abi::ipc::{Call, Exit, FOREVER, Lease, MESSAGE_MAX, Pid, Received, wait};
use abi::layout::Places;
use abi::limits::Limits;
use abi::syscall::GROW_MAX;
use abi::{Error, Result, error};
use nic::e100::E100;
use nic::igb::{self, Igb, InterruptMode};
use nic::model::{self, Pace, e100};
use nic::{Bus, BusAddr, Filters, Nic, SendOptions};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Debug;

/// The host's allocator, which this thread may have fail.
struct Failing;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

thread_local! {
    /// How many more allocations of this thread succeed.
    static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
    /// One has failed.
    static HAS_FAILED: Cell<bool> = const { Cell::new(false) };
    /// Bytes that this thread has allocated and not freed.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: it is the system's allocator, or none.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has lost these before its last allocation.
        let left = LEFT.try_with(|left| {
            let now = left.get();
            left.set(if now == u32::MAX {
                now
            } else {
                now.saturating_sub(1)
            });
            now
        });
        if left == Ok(0) {
            let _ = HAS_FAILED.try_with(|has| has.set(true));
            return std::ptr::null_mut();
        }
        let _ = HELD.try_with(|held| held.set(held.get() + layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get() - layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Does something for which only so many allocations succeed; whether it wanted more, too.
fn with_allocations<T>(count: u32, run: impl FnOnce() -> T) -> (T, bool) {
    HAS_FAILED.set(false);
    LEFT.set(count);
    let result = run();
    LEFT.set(u32::MAX);
    (result, HAS_FAILED.get())
}

/// Does something of which the allocations are a model's, and neither fail nor count.
pub(crate) fn sheltered<T>(run: impl FnOnce() -> T) -> T {
    let (left, held) = (LEFT.replace(u32::MAX), HELD.get());
    let result = run();
    LEFT.set(left);
    HELD.set(held);
    result
}

/// Programs' memory over the model.
pub(crate) struct Programs(Model);

impl Programs {
    fn pieces(
        &self,
        space: &Space<Model>,
        (address, len): (u64, usize),
        write: bool,
        mut each: impl FnMut(u64, std::ops::Range<usize>),
    ) -> Result<()> {
        for at in 0..len {
            let address = address.checked_add(at as u64).ok_or(Error::BadAddress)?;
            let here = space.user_page(address, write).ok_or(Error::BadAddress)?;
            each(here, at..at + 1);
        }
        Ok(())
    }
}

impl Machine for Programs {
    type Space = Space<Model>;

    fn new_space(&self) -> Result<Self::Space> {
        Space::new(self.0.clone())
    }

    fn add_memory(&self, space: &mut Self::Space, piece: &Piece) -> Result<()> {
        space.add_memory(piece)
    }

    fn memory(&self, space: &Self::Space) -> u64 {
        space.memory()
    }

    fn set_limit(&self, space: &mut Self::Space, bytes: u64) {
        space.set_limit(bytes);
    }

    fn show(&self, space: &mut Self::Space, pieces: [Shown; 3]) -> Result<()> {
        space.show(pieces)
    }

    fn charge(&self, space: &mut Self::Space, bytes: u64) -> Result<()> {
        space.charge(bytes)
    }

    fn entry_registers(&self, entry: u64, stack: u64) -> Registers {
        Registers {
            rip: entry,
            rsp: stack,
            ..Registers::default()
        }
    }

    fn read(&self, space: &Self::Space, address: u64, buffer: &mut [u8]) -> Result<()> {
        self.pieces(space, (address, buffer.len()), false, |here, range| {
            self.0.read(here, &mut buffer[range]);
        })
    }

    fn write(&self, space: &Self::Space, address: u64, bytes: &[u8]) -> Result<()> {
        self.pieces(space, (address, bytes.len()), true, |here, range| {
            self.0.write_at(here, &bytes[range]);
        })
    }

    fn can_write(&self, space: &Self::Space, address: u64, len: usize) -> Result<()> {
        self.pieces(space, (address, len), true, |_, _| {})
    }

    fn copy(&self, from: (&Self::Space, u64), to: (&Self::Space, u64), len: usize) -> Result<()> {
        for at in 0..len as u64 {
            let mut byte = [0];
            self.read(from.0, from.1 + at, &mut byte)?;
            self.write(to.0, to.1 + at, &byte)?;
        }
        Ok(())
    }
}

pub(crate) struct World {
    pub(crate) table: Table<Programs>,
    pub(crate) ramdisk: Ramdisk<'static>,
    model: Model,
}

/// Where programs keep what they pass to the kernel: on their stacks, from here on.
const HERE: u64 = PLACES.stack_end - 0x1000;
/// Where they are.
const PLACES: Places = Places::random(0x0123_4567_89ab_cdef);

/// What the first program may have, and what its children may.
pub(crate) const ALL: Grant<'static> = Grant {
    limits: Limits::of_machine(1 << 30),
    names: "",
    cards: 0,
    flags: 0,
};
const PART: Grant<'static> = Grant {
    limits: Limits::PROGRAM,
    ..ALL
};

impl World {
    pub(crate) fn new() -> Self {
        let archive = ramdisk::tests::Archive::new().file("bin/child", &elf::tests::program());
        let model = Model::new(400);
        World {
            table: Table::new(Programs(model.clone()), 1000),
            ramdisk: Ramdisk::new(archive.end().leak()).expect("a sound archive"),
            model,
        }
    }

    fn spawn(&mut self, parent: Option<Pid>) -> Result<Pid> {
        let World { table, ramdisk, .. } = self;
        let grant = match parent {
            None => ALL,
            Some(_) => PART,
        };
        let texts = ("/bin/child", "with arguments");
        table.spawn(ramdisk, texts, parent, (&grant, PLACES))
    }

    /// All of it that a program could tell.
    fn state(&self) -> impl PartialEq + Debug + use<> {
        let names = ["one", "two"].map(|name| self.table.lookup(name));
        let processes = self.table.living();
        let processes: Vec<(Pid, State, u64, Option<u64>)> = processes
            .map(|p| (p.pid, p.state, p.heap_end, p.space.as_ref().map(Space::top)))
            .collect();
        (self.model.free(), names, processes)
    }

    fn pid(&self, number: usize) -> Pid {
        self.table.living().nth(number).expect("so many live").pid
    }

    fn poke(&mut self, pid: Pid, address: u64, bytes: &[u8]) {
        let space = self
            .table
            .get(pid)
            .and_then(|process| process.space.as_ref());
        let written = self
            .table
            .machine()
            .write(space.expect("alive"), address, bytes);
        written.expect("its stack");
    }

    /// The message that a server has received.
    fn token(&self, server: Pid) -> u64 {
        let space = self
            .table
            .get(server)
            .and_then(|process| process.space.as_ref());
        let mut bytes = [0; Received::SIZE];
        let read = self
            .table
            .machine()
            .read(space.expect("alive"), HERE, &mut bytes);
        read.expect("its stack");
        match Received::from_bytes(&bytes) {
            Ok(Received::Message(message)) => message.token,
            other => panic!("{other:?}"),
        }
    }

    /// The result that a sleeper finds.
    fn result(&self, pid: Pid) -> Result<u64> {
        let process = self.table.get(pid).expect("alive");
        assert_eq!(process.state, State::Ready);
        error::from_register(process.registers.rax)
    }

    /// Ends all processes, the youngest first; the frames that nobody has then.
    fn end_all(&mut self) -> u64 {
        let mut living: Vec<Pid> = self.table.living().map(|process| process.pid).collect();
        while let Some(pid) = living.pop() {
            self.table.end(pid, Exit::Killed).expect("alive");
        }
        self.model.free()
    }
}

/// What an allocation can be refused of.
#[derive(Clone, Copy, Debug)]
enum Of {
    Heap,
    Frames,
}

/// Has each allocation of a call fail in turn, until the call is done: first the heap's, then, in
/// another world, frames'. Returns how often it was refused.
fn refuse_each(prepare: impl Fn(&mut World), call: impl Fn(&mut World) -> Result<()>) -> [u32; 2] {
    [Of::Heap, Of::Frames].map(|of| {
        let mut world = World::new();
        let (all, held) = (world.model.free(), HELD.get());
        prepare(&mut world);
        let mut refused = 0;
        loop {
            let before = world.state();
            let held = HELD.get();
            let (result, has_failed) = match of {
                Of::Heap => with_allocations(refused, || call(&mut world)),
                Of::Frames => {
                    world.model.leave_free(refused.into());
                    let result = call(&mut world);
                    world.model.leave_free(world.model.free());
                    (result, result.is_err())
                }
            };
            if !has_failed {
                assert_eq!(result, Ok(()), "{of:?}");
                break;
            }
            assert_eq!(result, Err(Error::NoMemory), "{refused} of {of:?}");
            assert_eq!(HELD.get(), held, "{refused} of {of:?}");
            assert_eq!(world.state(), before, "{refused} of {of:?}");
            refused += 1;
            assert!(refused < 1000, "it never has enough");
        }
        assert_eq!(world.end_all(), all, "{of:?}");
        assert_eq!(HELD.get(), held, "{of:?}");
        refused
    })
}

fn nobody(_: &mut World) {}

fn one(world: &mut World) {
    world.spawn(None).expect("memory");
}

#[test]
fn a_program_is_started_whole_or_not_at_all() {
    let [heap, frames] = refuse_each(nobody, |world| world.spawn(None).map(drop));
    // Its image and stack; their tables, and the three above both.
    assert_eq!((heap, frames), (0, 5 + 16 + 2 + 3));
    let spawned = refuse_each(one, |world| {
        let parent = world.pid(0);
        world.spawn(Some(parent)).map(drop)
    });
    assert_eq!(spawned, [heap, frames]);
}

#[test]
fn a_heap_grows_by_all_or_nothing() {
    let grown = |bytes: u64| {
        refuse_each(one, |world| {
            let pid = world.pid(0);
            world.table.grow_heap(pid, bytes).map(drop)
        })
    };
    // A heap has a table of its own.
    assert_eq!(grown(1), [0, 1 + 1]);
    assert_eq!(grown(100 * 4096), [0, 100 + 1]);
    assert_eq!(grown(0), [0, 0]);
    let mut world = World::new();
    one(&mut world);
    let pid = world.pid(0);
    for bytes in [GROW_MAX + 1, 1 << 60, u64::MAX] {
        assert_eq!(world.table.grow_heap(pid, bytes), Err(Error::TooLong));
    }
    // No more than it may have, though there is more.
    let mut small = World::new();
    one(&mut small);
    let parent = small.pid(0);
    let child = small.spawn(Some(parent)).expect("memory");
    let refused = small.table.grow_heap(child, GROW_MAX);
    assert_eq!(refused, Err(Error::QuotaExceeded));
}

#[test]
fn a_name_that_cannot_be_kept_is_not_registered() {
    let refused = refuse_each(one, |world| {
        let pid = world.pid(0);
        world.table.register(pid, "one")
    });
    assert_eq!(refused, [1, 0]);
}

/// Whoever runs already needs no memory to talk, to sleep, to be told and to end.
#[test]
fn everything_else_goes_on_without_any_memory() {
    let mut world = World::new();
    let all = world.model.free();
    for parent in [None, Some(0), Some(0)] {
        let parent = parent.map(|number| world.pid(number));
        world.spawn(parent).expect("memory");
    }
    let [server, client, third] = [0, 1, 2].map(|number| world.pid(number));
    world.table.register(server, "one").expect("memory");
    world.table.watch(client, server).expect("memory");
    world.poke(client, HERE, b"a request, and what is lent");
    world.model.leave_free(0);
    let (_, has_failed) = with_allocations(0, || {
        let call = Call {
            target: server,
            lease_count: 1,
            request: (HERE, 9),
            answer: (HERE, MESSAGE_MAX as u64),
            deadline: FOREVER,
            leases: [Lease {
                address: HERE,
                len: 16,
                writable: true,
            }; 3],
        };
        let World { table, model, .. } = &mut world;
        assert_eq!(model.available(), 0);
        assert_eq!(table.lookup("one"), Ok(server));
        for caller in [client, third] {
            table.call(caller, &call, 0).expect("a sound call");
        }
        let mask = wait::MESSAGE | wait::DEATH | wait::USER;
        assert_eq!(table.wait(server, mask, FOREVER, HERE, 0), Ok(Some(true)));
        let token = world.token(server);
        let table = &mut world.table;
        for to_caller in [false, true] {
            let there = (HERE + 0x400, 16);
            let copied = table.lease_copy(server, token, (0, 0), there, to_caller);
            assert_eq!(copied, Ok(16));
        }
        table.reply(server, token, 0, (HERE, 5)).expect("a caller");
        assert_eq!(world.result(client), Ok(5));
        let table = &mut world.table;
        let bit = wait::USER & wait::USER.wrapping_neg();
        assert_eq!(table.notify(server, bit, false), Ok(false));
        assert_eq!(table.wait(client, mask, 10, HERE, 0), Ok(None));
        table.expire(10);
        assert!(table.schedule(true).is_some() && table.has_ready());
        // The third, which has called, dies, and then the server.
        table.end(third, Exit::Killed).expect("alive");
        assert_eq!(table.wait(server, mask, FOREVER, HERE, 0), Ok(Some(true)));
        table.end(server, Exit::Code(0)).expect("alive");
        assert_eq!(table.wait(client, mask, FOREVER, HERE, 0), Ok(Some(false)));
        table.end(client, Exit::Code(0)).expect("alive");
    });
    assert!(!has_failed);
    assert_eq!(world.model.free(), all);
}

/// Has each allocation of a driver's making fail in turn, over a new bus each time; returns the
/// driver, and how many they are.
fn refuse_driver<B, N>(
    bus: impl Fn() -> B,
    new: impl Fn(B) -> core::result::Result<N, nic::Error>,
) -> (N, u32) {
    let mut refused = 0;
    loop {
        let bus = bus();
        let held = HELD.get();
        match with_allocations(refused, || new(bus)) {
            (result, false) => return (result.expect("a sound card"), refused),
            (Ok(_), true) => panic!("it did without"),
            (Err(error), true) => assert_eq!(error, nic::Error::NoMemory),
        }
        assert!(HELD.get() <= held, "{refused}");
        refused += 1;
    }
}

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

/// A model's bus, where what the model allocates is not the driver's.
struct Sheltered<B>(B);

impl<B: Bus> Sheltered<B> {
    fn model<T>(&mut self, access: impl FnOnce(&mut B) -> T) -> T {
        sheltered(|| access(&mut self.0))
    }
}

impl<B: Bus> Bus for Sheltered<B> {
    fn read8(&mut self, register: u32) -> u8 {
        self.model(|bus| bus.read8(register))
    }

    fn read16(&mut self, register: u32) -> u16 {
        self.model(|bus| bus.read16(register))
    }

    fn read32(&mut self, register: u32) -> u32 {
        self.model(|bus| bus.read32(register))
    }

    fn write8(&mut self, register: u32, value: u8) {
        self.model(|bus| bus.write8(register, value));
    }

    fn write16(&mut self, register: u32, value: u16) {
        self.model(|bus| bus.write16(register, value));
    }

    fn write32(&mut self, register: u32, value: u32) {
        self.model(|bus| bus.write32(register, value));
    }

    fn arena_len(&self) -> usize {
        self.0.arena_len()
    }

    fn bus_addr(&self, offset: usize) -> BusAddr {
        self.0.bus_addr(offset)
    }

    fn load16(&mut self, offset: usize) -> u16 {
        self.model(|bus| bus.load16(offset))
    }

    fn load32(&mut self, offset: usize) -> u32 {
        self.model(|bus| bus.load32(offset))
    }

    fn store16(&mut self, offset: usize, value: u16) {
        self.model(|bus| bus.store16(offset, value));
    }

    fn store32(&mut self, offset: usize, value: u32) {
        self.model(|bus| bus.store32(offset, value));
    }

    fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        self.model(|bus| bus.copy_in(offset, bytes));
    }

    fn copy_out(&mut self, offset: usize, bytes: &mut [u8]) {
        self.model(|bus| bus.copy_out(offset, bytes));
    }

    fn fence(&mut self) {
        self.model(B::fence);
    }

    fn delay_us(&mut self, us: u32) {
        self.model(|bus| bus.delay_us(us));
    }
}

/// All that a driver does after it was made it does without memory, but for the self-test, which
/// says so.
fn works_without_memory(nic: &mut dyn Nic, arrive: impl Fn(&[u8]), settle: impl Fn()) {
    let mut without = |what: &str, run: &mut dyn FnMut(&mut dyn Nic)| {
        let ((), has_failed) = with_allocations(0, || run(nic));
        assert!(!has_failed, "{what} allocates");
    };
    let head = [MAC, [0x52, 0x55, 10, 0, 2, 2]].concat();
    let frame: Vec<u8> = head
        .into_iter()
        .chain([0x88, 0xb5])
        .chain([7; 1000])
        .collect();
    for _ in 0..2 {
        without("start", &mut |nic| nic.start().expect("a sound card"));
        settle();
        without("tick", &mut |nic| _ = nic.tick());
        // Often enough for each ring to go round, and to be full at times.
        let (mut sent, mut received) = (0, 0);
        for round in 0..1500 {
            if round % 3 == 0 {
                arrive(&frame);
            }
            without("send", &mut |nic| {
                sent += u32::from(
                    nic.send(&frame, &SendOptions::default(), round % 5 > 0)
                        .is_ok(),
                )
            });
            if round % 50 == 0 {
                settle();
            }
            without("interrupt", &mut |nic| _ = nic.on_interrupt(None));
            without("receive", &mut |nic| {
                let mut buffer = [0; 2048];
                if round % 2 == 0 {
                    received += u32::from(nic.receive(&mut buffer).is_ok());
                } else if let Ok(piece) = nic.receive_piece(true) {
                    received += 1;
                    nic.return_buffer(piece.buffer).expect("it was lent");
                }
                if let Ok(buffer) = nic.take_buffer(frame.len()) {
                    nic.drop_buffer(buffer).expect("it was taken");
                }
            });
        }
        assert!(sent > 400 && received > 400, "{sent} {received}");
        without("filters", &mut |nic| {
            _ = nic.set_filters(&Filters::default())
        });
        without("statistics", &mut |nic| nic.statistics(&mut |_, _| {}));
        without("stop", &mut |nic| nic.stop());
    }
    let (tested, has_failed) = with_allocations(0, || nic.self_test());
    let refused = if has_failed {
        nic::Error::NoMemory
    } else {
        nic::Error::Unsupported
    };
    assert_eq!(tested, Err(refused));
}

#[test]
fn a_card_without_memory_is_not_driven_and_one_that_is_needs_no_more() {
    for pace in Pace::ALL {
        let one = e100::E100Model::new(e100::Behaviour::Silicon, pace, 1, MAC);
        let (mut nic, refused) = refuse_driver(|| Sheltered(one.bus()), E100::new);
        assert_eq!(refused, 2);
        works_without_memory(&mut nic, |frame| one.arrive(frame), || one.settle());

        let mode = InterruptMode::Intx;
        let config = igb::Config::small(mode);
        let arena = config.arena_size().expect("a sound configuration");
        let behaviour = model::igb::Behaviour::Silicon;
        let one = model::igb::IgbModel::new(behaviour, pace, 1, MAC, arena, mode);
        let new = |bus| Igb::new(bus, config);
        let (mut nic, refused) = refuse_driver(|| Sheltered(one.bus()), new);
        // Four for the buffers, two for each ring, one for the rings of each direction.
        assert_eq!(refused, 4 + 4 + 2);
        let settle = || {
            one.elapse(500_000);
            one.settle();
        };
        works_without_memory(&mut nic, |frame| one.arrive(frame), settle);
    }
}

/// A switch, its filters and a tenant's buffers take heap and frames; the owner of a whole card takes
/// none.
#[test]
fn a_part_of_a_card_is_given_whole_or_not_at_all() {
    use crate::endpoint::tests::{self, PLENTY};
    let one = e100::E100Model::new(e100::Behaviour::Silicon, Pace::Doorbell, 1, MAC);
    let nic = E100::new(Sheltered(one.bus())).expect("a sound card");
    let nic = Box::leak(Box::new(nic));
    let ramdisk_at = one.bus().bus_addr(0);
    let mut world = tests::World::new(nic, ramdisk_at, one, || false);
    let filter = |host| Filter {
        address: Some(tests::frames::v4(host)),
        ..Filter::default()
    };
    // Room in the table of endpoints stays.
    let others = [1, 2].map(|host| (host, world.start(PLENTY)));
    for (host, other) in others {
        world.attach(other, &[filter(host)]).expect("memory");
    }
    world.end(others[1].1);
    let counts = [true, false].map(|has_tenant| {
        if !has_tenant {
            world.end(others[0].1);
        }
        let pid = world.start(PLENTY);
        let mut refused = 0;
        loop {
            let (pieces, held) = (tests::pieces(), HELD.get());
            let used = world.table.used(pid);
            let (attached, has_failed) = with_allocations(refused, || {
                let table = &mut world.table;
                world.cards.attach(0, pid, &[filter(3)], table, |_| ())
            });
            if !has_failed {
                assert_eq!(attached, Ok(0));
                world.end(pid);
                return refused;
            }
            assert_eq!(attached, Err(Refusal::Wrong(Error::NoMemory)));
            assert_eq!((tests::pieces(), HELD.get()), (pieces, held), "{refused}");
            assert_eq!(world.table.used(pid), used);
            refused += 1;
        }
    });
    // Two for buffers to send from and two for those to receive into; room for filters, and two for
    // frames on their way, which the other tenants have brought along.
    assert_eq!(counts, [4, 4 + 1 + 2]);
    let pid = world.start(PLENTY);
    let (attached, has_failed) = with_allocations(0, || {
        world.cards.attach(0, pid, &[], &mut world.table, |_| ())
    });
    assert_eq!((attached, has_failed), (Ok(0), false));
}
