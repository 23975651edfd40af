//! The system calls, by number.
//!
//! Calling convention: number in `rax`, arguments in `rdi`, `rsi`, `rdx`, `r10`;
//! the `syscall` instruction clobbers `rcx` and `r11`. The result is in `rax`, as
//! [`crate::error::to_register`] writes it. All general registers but these three
//! are preserved; vector and x87 data registers are not (they come back zero or
//! unchanged), while MXCSR and the x87 control word are.

crate::numbered! {
    /// A system call. The list of arguments names them in register order.
    #[repr(u64)]
    pub enum Syscall {
        /// `(code)`: ends the calling process. Never returns.
        Exit = 0,
        /// `()`: lets the other runnable processes run first.
        Yield = 1,
        /// `(ptr, len)`: writes up to [`PRINT_MAX`] bytes to the console; returns how many.
        Print = 2,
        /// `()`: milliseconds since the kernel started.
        TimeMsec = 3,
        /// `()`: monotonic nanoseconds since the kernel started.
        ClockNs = 4,
        /// `(ptr, len)`: fills up to [`RANDOM_MAX`] bytes with random numbers, fit for keys as far
        /// as the machine has something that an attacker does not know.
        /// [`crate::Error::TooLong`] for more.
        Random = 5,
        /// `(bytes)`: grows the heap by that much, rounded up to pages; returns its old end.
        /// Zero asks for the end without growing. [`crate::Error::TooLong`] for more than
        /// [`GROW_MAX`] at once.
        GrowHeap = 6,
        /// `(&Call)`: sends a message and waits for the answer, at most until the call's
        /// deadline; returns its length. [`crate::Error::Deadlock`] if that one waits for the
        /// caller's answer, itself or through others.
        Call = 7,
        /// `(token, status, ptr, len)`: answers a call. `status` 0 delivers the bytes, any
        /// other is an error number that the caller's [`Syscall::Call`] returns.
        Reply = 8,
        /// `(mask, deadline_ns, &mut Received, 0 or endpoint + 1)`: waits for any event in `mask` (see
        /// [`crate::ipc::wait`]), at most until `deadline_ns` of [`Syscall::ClockNs`]
        /// ([`crate::ipc::FOREVER`]: without end). A deadline in the past only looks. Returns 1
        /// if more events of the mask were there, 0 if not. With an endpoint it does
        /// [`Syscall::NicExchange`] first, whose error it returns at once; when that gives
        /// received frames, it only looks.
        Wait = 9,
        /// `(token, lease | offset << 8, ptr, len)`: copies from memory lent with a call
        /// that is not answered yet; returns how many bytes, at most [`LEASE_MAX`].
        LeaseRead = 10,
        /// `(token, lease | offset << 8, ptr, len)`: copies into memory lent writable.
        LeaseWrite = 11,
        /// `(pid, bits)`: sets notification bits of another process.
        Notify = 12,
        /// `(ptr, len)`: starts a program of the ramdisk as a child, as the
        /// [`crate::limits::Spawn`] says; returns its pid. Its end comes to the parent as a death
        /// event.
        Spawn = 13,
        /// `(pid)`: ends a child of the caller.
        Kill = 14,
        /// `(pid)`: asks for a death event when that process ends.
        Watch = 15,
        /// `(name_ptr, name_len)`: makes the caller findable under a service name, which it was
        /// allowed to when it was started.
        Register = 16,
        /// `(name_ptr, name_len)`: the pid of the process registered under that name.
        Lookup = 17,
        /// `(card, ptr, len)`: takes an endpoint of the card for the calling process, with
        /// [`crate::endpoint::Filter`]s; with none it is the whole card. Returns the endpoint's
        /// number, which all other calls take. [`crate::Error::Busy`] if the card, or a part that
        /// is to be the whole, is taken; [`crate::Error::FilterOverlaps`] if a frame that one of the
        /// filters describes is another endpoint's: the other's filter is then where the first was;
        /// [`crate::Error::NotSupported`] for a station that the card cannot receive for.
        NicAttach = 18,
        /// `(endpoint, \&mut NicInfo)`: name, MAC address, link and limits of an endpoint.
        NicInfo = 19,
        /// `(endpoint, ptr, len, options)`: queues one frame; see [`crate::nic::SendOptions`] for
        /// what the card is asked to do. With `more` the card need not be
        /// told yet: more frames or a [`Syscall::NicFlush`] follow. A full ring is
        /// [`crate::Error::WouldBlock`], followed by [`crate::ipc::wait::NIC_TRANSMIT`].
        NicSend = 20,
        /// `(endpoint, ptr, cap)`: takes the next received frame; returns a
        /// [`crate::nic::ReceivedFrame`].
        /// [`crate::Error::WouldBlock`] if there is none, then [`crate::ipc::wait::NIC_RECEIVE`].
        NicReceive = 21,
        /// `(endpoint)`: tells the card about all queued frames (one doorbell for a batch).
        NicFlush = 22,
        /// `(endpoint, ptr, cap)`: writes [`crate::nic::Counter`]s; returns how many.
        NicStatistics = 23,
        /// `(endpoint, ptr, len)`: chooses which frames are received, besides those to the station
        /// and to all; see [`crate::nic::Filters`] for the bytes. Until the next such call or
        /// the end of the process. Of a part of a card it takes groups alone, at most
        /// [`crate::endpoint::GROUPS_MAX`]; the card receives what any of its endpoints wants.
        /// [`crate::Error::Busy`] if they were changed too often within a second.
        NicFilter = 24,
        /// `(endpoint, &mut FrameMemory)`: shows the caller the endpoint's frame buffers and an exchange
        /// area; returns where that is, see [`crate::layout::nic_window`] and [`crate::exchange`].
        NicMap = 25,
        /// `(endpoint, area)`: hands frames and buffers over, both ways, as the area says; `area` is
        /// its address, as a witness that the caller lets go of it for the time of the call.
        /// Returns how many pieces were received.
        /// [`crate::Error::DeviceFailed`] if the card does not work: what was to be sent is lost
        /// then, and a wake-up follows when it works again.
        NicExchange = 26,
        /// `(ptr, cap)`: writes [`crate::account::Account`]s, those of the stages and then those
        /// of the processes; returns how many.
        Accounts = 27,
        /// `(&mut Clock)`: how the time-stamp counter tells the time of [`Syscall::ClockNs`]; see
        /// [`crate::clock::Clock`].
        Clock = 28,
        /// `()`: bytes of memory that nobody has.
        FreeMemory = 29,
        /// `(pid, on)`: with `on` 1, what a child of the caller prints is dropped, and so is the
        /// kernel's report of a fault of that child; with 0 the child is heard again.
        Mute = 30,
        /// `(ptr, cap)`: writes a [`crate::limits::ProcessInfo`] of the caller, and then of each
        /// other process, at most `cap`; returns how many.
        Processes = 31,
        /// `(pid, sockets)`: a server says how many sockets the process has at it, from which its
        /// limit is seen to hold: [`crate::Error::QuotaExceeded`] if they would be too many.
        Charge = 32,
        /// `(ptr, cap)`: writes a [`crate::nic::NicInfo`] of each card as a whole, in the order of their
        /// numbers, at most `cap`; returns how many.
        Cards = 33,
        /// `(endpoint, ptr, len)`: gives a part of a card other [`crate::endpoint::Filter`]s instead of
        /// those that it has, all or none. Errors are those of [`Syscall::NicAttach`];
        /// [`crate::Error::NotSupported`] for a whole card.
        NicRefilter = 34,
    }
}

/// The most that one [`Syscall::Print`] writes, in bytes. Nobody else runs meanwhile.
pub const PRINT_MAX: usize = 256;

/// The most by which one [`Syscall::GrowHeap`] grows a heap, in bytes: to clear that takes a
/// fraction of a millisecond, in which nobody else runs.
pub const GROW_MAX: u64 = 1 << 20;

/// The most that one [`Syscall::LeaseRead`] or [`Syscall::LeaseWrite`] copies, in bytes, for the
/// same reason.
pub const LEASE_MAX: u64 = 1 << 20;

/// The most that one [`Syscall::Random`] fills, in bytes.
pub const RANDOM_MAX: usize = 64;

/// Longest program path, argument string or service name, in bytes.
pub const STRING_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_count_is_a_call_and_no_other() {
        for (number, call) in Syscall::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, number);
            assert_eq!(Syscall::from_number(number as u64), Some(call));
        }
        assert_eq!(Syscall::from_number(Syscall::ALL.len() as u64), None);
        assert_eq!(Syscall::from_number(u64::MAX), None);
    }
}
