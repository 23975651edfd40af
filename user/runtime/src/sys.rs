//! The system calls as safe functions, one each. The other modules give them shape.
//!
//! Everything here has one unsafe thing in common: it passes addresses to the kernel.
//! The kernel writes only into the buffers named by a call and only until it returns, so
//! a borrow for the time of the call is enough to make it sound.
#![allow(unsafe_code)]

use abi::account::Account;
use abi::clock::Clock;
use abi::error::from_register;
use abi::exchange;
use abi::ipc::Received;
use abi::limits::{Grant, ProcessInfo, Spawn};
use abi::wire::{Reader, Wire};
use abi::{Error, Pid, Result, Syscall};
use alloc::vec::Vec;

mod nic;

pub use nic::{
    nic_attach, nic_cards, nic_exchange, nic_filter, nic_flush, nic_info, nic_map, nic_receive,
    nic_refilter, nic_send, nic_statistics,
};

/// Memory lent to a server for the time of a call.
#[derive(Debug)]
pub enum Lent<'a> {
    /// The server may read it.
    Read(&'a [u8]),
    /// The server may read and write it.
    Write(&'a mut [u8]),
}

unsafe extern "Rust" {
    /// The kernel: [`crate::entry!`] makes it [`syscall`] in a program, and in a test it is one
    /// that the test plays (crate `fake`).
    ///
    /// # Safety
    /// Every address among the arguments is valid for what the call does with it.
    fn wharf_kernel(number: u64, arguments: [u64; 4]) -> u64;
}

/// Enters the kernel with any number, for programs that do wrong on purpose.
///
/// # Errors
/// What the kernel answers.
///
/// # Safety
/// Every address among the arguments that the kernel may write to is the caller's alone.
pub unsafe fn enter_raw(number: u64, arguments: [u64; 4]) -> Result<u64> {
    // SAFETY: as promised by the caller.
    from_register(unsafe { wharf_kernel(number, arguments) })
}

/// Enters the kernel.
///
/// # Safety
/// Every address among the arguments is valid for what `call` does with it.
unsafe fn enter(call: Syscall, arguments: [u64; 4]) -> u64 {
    // SAFETY: as promised by the caller.
    unsafe { wharf_kernel(call as u64, arguments) }
}

/// The `syscall` instruction.
///
/// # Safety
/// As [`enter_raw`].
#[inline]
pub unsafe fn syscall(number: u64, [a, b, c, d]: [u64; 4]) -> u64 {
    let result;
    // SAFETY: the caller vouches for the addresses. The kernel keeps all general
    // registers but rax, rcx and r11, and no vector or x87 data register (abi::syscall).
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            lateout("rcx") _, lateout("r11") _,
            lateout("xmm0") _, lateout("xmm1") _, lateout("xmm2") _, lateout("xmm3") _,
            lateout("xmm4") _, lateout("xmm5") _, lateout("xmm6") _, lateout("xmm7") _,
            lateout("xmm8") _, lateout("xmm9") _, lateout("xmm10") _, lateout("xmm11") _,
            lateout("xmm12") _, lateout("xmm13") _, lateout("xmm14") _, lateout("xmm15") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            options(nostack),
        );
    }
    result
}

fn call0(call: Syscall) -> Result<u64> {
    call4(call, [0; 4])
}

/// A call none of whose arguments is an address that the kernel writes to.
fn call4(call: Syscall, arguments: [u64; 4]) -> Result<u64> {
    // SAFETY: addresses, where there are any, come from slices borrowed by our callers,
    // which the kernel only reads.
    from_register(unsafe { enter(call, arguments) })
}

/// A call that makes the kernel fill `buffer`, given as arguments `at` and `at + 1`.
fn call_filling(
    call: Syscall,
    mut arguments: [u64; 4],
    at: usize,
    buffer: &mut [u8],
) -> Result<u64> {
    arguments[at] = buffer.as_mut_ptr() as u64;
    if let Some(len) = arguments.get_mut(at + 1) {
        *len = buffer.len() as u64;
    }
    // SAFETY: the buffer is borrowed exclusively until the call returns.
    from_register(unsafe { enter(call, arguments) })
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

/// A pid that the kernel has answered with.
fn pid(value: u64) -> Result<Pid> {
    u32::try_from(value).map(Pid).map_err(|_| Error::Malformed)
}

/// Ends this process.
pub fn exit(code: u32) -> ! {
    // The kernel does not return. If another version's did, there would be nobody left to
    // tell: the processor then ends the program, which the console shows.
    let _ = call4(Syscall::Exit, [code.into(), 0, 0, 0]);
    // SAFETY: an undefined instruction has no effect but its exception.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}

/// Lets the other runnable processes run first.
///
/// # Errors
/// As the kernel answers; none is expected.
pub fn yield_now() -> Result<()> {
    call0(Syscall::Yield).map(|_| ())
}

/// Writes up to [`abi::syscall::PRINT_MAX`] bytes to the console; returns how many.
///
/// # Errors
/// As the kernel answers; none is expected.
pub fn print(text: &[u8]) -> Result<usize> {
    let len = text.len() as u64;
    call4(Syscall::Print, [address(text), len, 0, 0]).map(|count| count as usize)
}

/// Milliseconds since the kernel started.
///
/// # Errors
/// As the kernel answers; none is expected.
pub fn time_msec() -> Result<u64> {
    call0(Syscall::TimeMsec)
}

/// Monotonic nanoseconds since the kernel started.
///
/// # Errors
/// As the kernel answers; none is expected.
pub fn clock_ns() -> Result<u64> {
    call0(Syscall::ClockNs)
}

/// Bytes of memory that nobody has.
///
/// # Errors
/// As the kernel answers; none is expected.
pub fn free_memory() -> Result<u64> {
    call0(Syscall::FreeMemory)
}

/// How the time-stamp counter tells the time of [`clock_ns`].
///
/// # Errors
/// As the kernel answers; none is expected.
pub fn clock() -> Result<Clock> {
    let mut clock = [0; Clock::SIZE];
    call_filling(Syscall::Clock, [0; 4], 0, &mut clock)?;
    Clock::from_bytes(&clock)
}

/// The time-stamp counter.
pub fn timestamp() -> u64 {
    // SAFETY: every x86_64 processor has the counter, and the kernel lets programs read it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Fills up to [`abi::syscall::RANDOM_MAX`] bytes with random numbers.
///
/// # Errors
/// [`Error::TooLong`] for more.
pub fn random(buffer: &mut [u8]) -> Result<()> {
    call_filling(Syscall::Random, [0; 4], 0, buffer).map(|_| ())
}

/// Grows the heap by `bytes`, rounded up to pages; returns where the new part begins.
///
/// # Errors
/// [`Error::QuotaExceeded`] if this program may not have so much, [`Error::TooLong`] for more than
/// [`abi::syscall::GROW_MAX`] at once, [`Error::NoMemory`].
pub fn grow_heap(bytes: usize) -> Result<u64> {
    call4(Syscall::GrowHeap, [bytes as u64, 0, 0, 0])
}

/// Sends `request` to `target`, lends it `leases`, and waits for the answer; returns the
/// answer's length.
///
/// # Errors
/// What the server answered, [`Error::PeerDied`] or [`Error::NotFound`] if it is gone,
/// [`Error::TooLong`] for a long request, [`Error::InvalidArgument`] for more than
/// [`abi::ipc::LEASES_MAX`] leases.
pub fn call(
    target: Pid,
    request: &[u8],
    answer: &mut [u8],
    leases: &mut [Lent<'_>],
) -> Result<usize> {
    call_until(target, request, answer, leases, abi::ipc::FOREVER)
}

/// As [`call`], but waits until `deadline_ns` of [`clock_ns`] at the most. What the server answers
/// after that is lost, and its memory is lent no more.
///
/// # Errors
/// Also [`Error::TimedOut`].
pub fn call_until(
    target: Pid,
    request: &[u8],
    answer: &mut [u8],
    leases: &mut [Lent<'_>],
    deadline_ns: u64,
) -> Result<usize> {
    let mut lent = [abi::ipc::Lease::default(); abi::ipc::LEASES_MAX];
    if leases.len() > lent.len() {
        return Err(Error::InvalidArgument);
    }
    for (slot, lease) in lent.iter_mut().zip(leases.iter_mut()) {
        *slot = match lease {
            Lent::Read(bytes) => abi::ipc::Lease {
                address: address(bytes),
                len: bytes.len() as u64,
                writable: false,
            },
            Lent::Write(bytes) => abi::ipc::Lease {
                address: bytes.as_mut_ptr() as u64,
                len: bytes.len() as u64,
                writable: true,
            },
        };
    }
    let call = abi::ipc::Call {
        target,
        lease_count: leases.len() as u32,
        request: (address(request), request.len() as u64),
        answer: (answer.as_mut_ptr() as u64, answer.len() as u64),
        deadline: deadline_ns,
        leases: lent,
    }
    .to_bytes();
    // SAFETY: the answer buffer and the writable leases are borrowed exclusively, the
    // rest is borrowed, all until the call returns; the kernel ends a loan with the call.
    from_register(unsafe { enter(Syscall::Call, [address(&call), 0, 0, 0]) })
        .map(|len| (len as usize).min(answer.len()))
}

/// Answers the call named by `token`: with bytes, or with an error.
///
/// # Errors
/// [`Error::BadHandle`] if there is no such call (any more), [`Error::PeerDied`].
pub fn reply(token: u64, answer: Result<&[u8]>) -> Result<()> {
    let (status, bytes) = match answer {
        Ok(bytes) => (0, bytes),
        Err(error) => (u64::from(error.number()), &[][..]),
    };
    let arguments = [token, status, address(bytes), bytes.len() as u64];
    call4(Syscall::Reply, arguments).map(|_| ())
}

/// Waits for an event in `mask` (see [`abi::ipc::wait`]) until `deadline_ns` of
/// [`clock_ns`]; [`abi::ipc::FOREVER`] waits without end, a deadline in the past only looks.
///
/// # Errors
/// [`Error::Malformed`] if the kernel speaks another version of the protocol.
pub fn wait(mask: u32, deadline_ns: u64) -> Result<Received> {
    let mut bytes = [0; Received::SIZE];
    wait_into(mask, deadline_ns, &mut bytes)?;
    Received::from_bytes(&bytes)
}

/// As [`wait`], with [`Received`]'s bytes in a place that is the caller's; returns whether
/// more events of the mask were there.
///
/// # Errors
/// None is expected.
pub fn wait_into(mask: u32, deadline_ns: u64, bytes: &mut [u8; Received::SIZE]) -> Result<bool> {
    wait_after(0, mask, deadline_ns, bytes)
}

/// As [`wait_into`], and exchanges frames and buffers with an attached card before, as
/// [`nic_exchange`] does, and when the card wakes it.
///
/// # Errors
/// As [`nic_exchange`], without having waited.
pub fn wait_exchanging(
    mask: u32,
    deadline_ns: u64,
    bytes: &mut [u8; Received::SIZE],
    (card, _area): (u8, &mut [u32; exchange::WORDS]),
) -> Result<bool> {
    // The area is the card's: the kernel knows where it is.
    wait_after(u64::from(card) + 1, mask, deadline_ns, bytes)
}

/// The call of both: `card` is 0 or a card's number and 1.
fn wait_after(
    card: u64,
    mask: u32,
    deadline_ns: u64,
    bytes: &mut [u8; Received::SIZE],
) -> Result<bool> {
    // Wait takes no length: the size is the protocol's.
    let arguments = [mask.into(), deadline_ns, bytes.as_mut_ptr() as u64, card];
    // SAFETY: the bytes are borrowed exclusively until the call returns, and so is a card's
    // exchange area by who names one. The kernel writes nowhere else but into buffers that are
    // not this process's meanwhile.
    from_register(unsafe { enter(Syscall::Wait, arguments) }).map(|more| more != 0)
}

/// Copies from `offset` of a lease of an unanswered call; returns how many bytes.
///
/// # Errors
/// [`Error::BadHandle`] for no such call or lease, [`Error::InvalidArgument`] for an
/// offset outside of it.
pub fn lease_read(token: u64, lease: u8, offset: u64, into: &mut [u8]) -> Result<usize> {
    let place = u64::from(lease) | offset << 8;
    call_filling(Syscall::LeaseRead, [token, place, 0, 0], 2, into).map(|count| count as usize)
}

/// Copies to `offset` of a writable lease of an unanswered call; returns how many bytes.
///
/// # Errors
/// As [`lease_read`], and [`Error::NotPermitted`] if it was lent for reading only.
pub fn lease_write(token: u64, lease: u8, offset: u64, from: &[u8]) -> Result<usize> {
    let place = u64::from(lease) | offset << 8;
    let arguments = [token, place, address(from), from.len() as u64];
    call4(Syscall::LeaseWrite, arguments).map(|count| count as usize)
}

/// Sets notification bits of another process.
///
/// # Errors
/// [`Error::NotFound`] if there is none, [`Error::InvalidArgument`] for bits that are not
/// [`abi::ipc::wait::USER`], [`Error::QuotaExceeded`] if too many that were notified have not looked.
pub fn notify(target: Pid, bits: u32) -> Result<()> {
    call4(Syscall::Notify, [target.0.into(), bits.into(), 0, 0]).map(|_| ())
}

/// Starts the program at `path` of the ramdisk as a child, which may have and do what `grant` says.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotExecutable`], [`Error::TooLong`]; [`Error::QuotaExceeded`] if
/// the caller has not so much left, [`Error::NotPermitted`] if it has not such rights,
/// [`Error::NoMemory`].
pub fn spawn(path: &str, args: &str, grant: &Grant<'_>) -> Result<Pid> {
    let place = |text: &str| (address(text.as_bytes()), text.len() as u64);
    let spawn = Spawn {
        path: place(path),
        arguments: place(args),
        names: place(grant.names),
        limits: grant.limits,
        cards: grant.cards,
        flags: grant.flags,
    }
    .to_bytes();
    let arguments = [address(&spawn), spawn.len() as u64, 0, 0];
    call4(Syscall::Spawn, arguments).and_then(pid)
}

/// Ends a child.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotPermitted`] if it is not a child of the caller.
pub fn kill(pid: Pid) -> Result<()> {
    call4(Syscall::Kill, [pid.0.into(), 0, 0, 0]).map(|_| ())
}

/// Drops what a child prints from now on, or, if `on` is false, lets it be heard again.
///
/// # Errors
/// As [`kill`].
pub fn mute(child: Pid, on: bool) -> Result<()> {
    call4(Syscall::Mute, [child.0.into(), on.into(), 0, 0]).map(|_| ())
}

/// Asks for a death event when that process ends.
///
/// # Errors
/// [`Error::NotFound`] if it has ended already, [`Error::QuotaExceeded`].
pub fn watch(pid: Pid) -> Result<()> {
    call4(Syscall::Watch, [pid.0.into(), 0, 0, 0]).map(|_| ())
}

/// Makes this process findable as `name`.
///
/// # Errors
/// [`Error::NotPermitted`] if its parent has not given it that name, [`Error::Busy`] if the name is
/// taken, [`Error::QuotaExceeded`], [`Error::NoMemory`].
pub fn register(name: &str) -> Result<()> {
    let name = name.as_bytes();
    call4(Syscall::Register, [address(name), name.len() as u64, 0, 0]).map(|_| ())
}

/// The process registered as `name`.
///
/// # Errors
/// [`Error::NotFound`].
pub fn lookup(name: &str) -> Result<Pid> {
    let name = name.as_bytes();
    call4(Syscall::Lookup, [address(name), name.len() as u64, 0, 0]).and_then(pid)
}

/// The account of the processor's time: its stages, then all processes.
///
/// # Errors
/// [`Error::Malformed`] from another version's kernel.
pub fn accounts() -> Result<Vec<Account>> {
    records(Syscall::Accounts, [0; 4], 0, Account::COUNT_MAX)
}

/// The first `count` processes, of which this one comes before the others.
///
/// # Errors
/// [`Error::Malformed`] from another version's kernel.
pub fn processes(count: usize) -> Result<Vec<ProcessInfo>> {
    records(Syscall::Processes, [0; 4], 0, count)
}

/// A call that makes the kernel write up to `capacity` records, to an address and for a capacity that are
/// arguments `at` and `at + 1`; returns those that it wrote.
fn records<T: Wire>(
    call: Syscall,
    mut arguments: [u64; 4],
    at: usize,
    capacity: usize,
) -> Result<Vec<T>> {
    let mut bytes = alloc::vec![0; capacity * T::SIZE];
    arguments[at] = bytes.as_mut_ptr() as u64;
    arguments[at + 1] = capacity as u64;
    // SAFETY: the buffer is borrowed exclusively until the call returns, and holds that many.
    let count = from_register(unsafe { enter(call, arguments) })? as usize;
    let mut reader = Reader::new(&bytes);
    (0..count.min(capacity))
        .map(|_| T::read(&mut reader))
        .collect()
}

/// Says how many sockets a client has at this server.
///
/// # Errors
/// [`Error::QuotaExceeded`] if it may not have so many: what was said before holds;
/// [`Error::NotPermitted`] to who is no server, [`Error::NotFound`].
pub fn charge(client: Pid, sockets: usize) -> Result<()> {
    call4(Syscall::Charge, [client.0.into(), sockets as u64, 0, 0]).map(|_| ())
}

#[cfg(test)]
mod tests;
