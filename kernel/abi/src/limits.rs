//! What a program may have at the most, what it has, and what it may do.
//!
//! The limits of a program are a part of its parent's: [`Syscall::Spawn`](crate::Syscall::Spawn)
//! takes them from the parent, which has so much less while the child lives, and they come back
//! with the child's end. So what all programs may have together is never more than there is, and
//! what a program was given is there when it wants it. The first program begins with all that
//! the kernel does not keep for itself. To ask for more than is left is
//! [`Error::QuotaExceeded`](crate::Error::QuotaExceeded). `docs/limits.md` describes limits for users.

use crate::socket::Handle;
use crate::wire::{Name, Reader, Wire, Writer};
use crate::{Pid, Result};

crate::numbered! {
    /// A resource that programs share, and of which each has a limit.
    #[repr(u8)]
    pub enum Resource {
        /// Bytes of memory: pages and the tables that lead to them.
        Memory = 0 => "memory",
        /// The process itself and its descendants, until their parents have been told of their ends.
        Processes = 1 => "processes",
        /// Endpoints, registered names, and watched processes, until the program has been told of their
        /// ends.
        Handles = 2 => "handles",
        /// Sockets of network servers.
        Sockets = 3 => "sockets",
        /// Processes that the program has notified and that have not looked at it since.
        Notifications = 4 => "notifications",
    }
}

/// Bytes of memory for each socket of the machine: with half of its memory a network server can have as many.
const MEMORY_PER_SOCKET: u64 = 4 << 10;
/// The least number of sockets.
const SOCKETS_MIN: u64 = 512;

/// An amount of each resource: a limit, or what is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits([u64; Resource::COUNT]);

impl Limits {
    /// Nothing.
    pub const NONE: Self = Limits([0; Resource::COUNT]);

    /// What a program gets if nothing is said: enough for one that starts no other.
    pub const PROGRAM: Self = Limits([768 << 10, 1, 8, 32, 4]);

    /// What there is for all programs together, on a machine with so many bytes of memory for
    /// them: what the first program begins with.
    pub const fn of_machine(memory: u64) -> Self {
        let mut sockets = memory / MEMORY_PER_SOCKET;
        if sockets < SOCKETS_MIN {
            sockets = SOCKETS_MIN;
        }
        if sockets > 1 << Handle::SLOT_BITS {
            sockets = 1 << Handle::SLOT_BITS;
        }
        Limits([memory, ProcessInfo::COUNT_MAX as u64, 1024, sockets, 256])
    }

    /// The amount of one resource.
    pub const fn get(&self, resource: Resource) -> u64 {
        self.0[resource as usize]
    }

    /// The same amounts but for one.
    #[must_use]
    pub const fn with(mut self, resource: Resource, amount: u64) -> Self {
        self.0[resource as usize] = amount;
        self
    }

    /// The sum, resource by resource; `None` if one is more than a number can say.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let mut sum = *self;
        for (amount, more) in sum.0.iter_mut().zip(other.0) {
            *amount = amount.checked_add(more)?;
        }
        Some(sum)
    }

    /// The difference, resource by resource; where `other` is more, nothing is left.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = *self;
        for (amount, less) in left.0.iter_mut().zip(other.0) {
            *amount = amount.saturating_sub(less);
        }
        left
    }

    /// A quarter of each, rounded down.
    #[must_use]
    pub fn quarter(&self) -> Self {
        Limits(self.0.map(|amount| amount / 4))
    }

    /// The lesser of both, resource by resource.
    #[must_use]
    pub fn at_most(&self, other: &Self) -> Self {
        let mut least = *self;
        for (amount, other) in least.0.iter_mut().zip(other.0) {
            *amount = other.min(*amount);
        }
        least
    }

    /// Whether `other` is within it, resource by resource.
    pub fn covers(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(other.0)
            .all(|(limit, other)| other <= *limit)
    }
}

impl Wire for Limits {
    const SIZE: usize = <[u64; Resource::COUNT]>::SIZE;

    fn write(&self, writer: &mut Writer<'_>) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Wire::read(reader).map(Limits)
    }
}

crate::record! {
    /// The argument of [`Syscall::Spawn`](crate::Syscall::Spawn). What a later version adds comes
    /// behind the rest, and the length that is passed with it says which version it is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Spawn {
        /// Address and length of the program's path in the ramdisk.
        pub path: (u64, u64),
        /// Address and length of the arguments.
        pub arguments: (u64, u64),
        /// Address and length of the service names that the child may register, separated by
        /// spaces. They are some of the parent's; the name `*` stands for all, and the first program
        /// has it.
        pub names: (u64, u64),
        /// What the child may have, taken from what the parent has left.
        pub limits: Limits,
        /// The cards that the child may attach, a bit each; some of the parent's.
        pub cards: u64,
        /// [`spawn`]'s bits.
        pub flags: u64,
    }
}

/// The bits of [`Spawn::flags`].
pub mod spawn {
    /// What the child prints is dropped, as by [`Syscall::Mute`](crate::Syscall::Mute).
    pub const MUTE: u64 = 1 << 0;
    /// The child serves others: it has the processor before programs that do not, and it may
    /// [`Charge`](crate::Syscall::Charge) them. Only a parent that is a server itself may say so.
    pub const SERVER: u64 = 1 << 1;
    /// Of the cards that the child may attach, it may have parts only, by filters; and so may its own
    /// children.
    pub const PARTS: u64 = 1 << 2;
    /// All of them.
    pub const ALL: u64 = MUTE | SERVER | PARTS;
}

/// What a program that is started may have and do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// What it may have, taken from what its parent has left.
    pub limits: Limits,
    /// The service names that it may register: see [`Spawn::names`].
    pub names: &'a str,
    /// The cards that it may attach, a bit each.
    pub cards: u64,
    /// [`spawn`]'s bits.
    pub flags: u64,
}

impl Default for Grant<'_> {
    /// What is enough for a program that serves nobody, and no right.
    fn default() -> Self {
        Grant {
            limits: Limits::PROGRAM,
            names: "",
            cards: 0,
            flags: 0,
        }
    }
}

crate::numbered! {
    /// What a process is doing.
    #[repr(u8)]
    pub enum Activity {
        /// It has the processor.
        Running = 0 => "running",
        /// It wants the processor.
        Ready = 1 => "ready",
        /// It sleeps in [`Syscall::Call`](crate::Syscall::Call).
        Calling = 2 => "calling",
        /// It sleeps in [`Syscall::Wait`](crate::Syscall::Wait).
        Waiting = 3 => "waiting",
        /// It has ended, and its parent has not heard of it.
        Ended = 4 => "ended",
    }
}

crate::record! {
    /// A process, as [`Syscall::Processes`](crate::Syscall::Processes) describes it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ProcessInfo {
        /// Its number.
        pub pid: Pid,
        /// The process that is told of its end; for the first program its own number.
        pub parent: Pid,
        /// What it is doing.
        pub activity: Activity,
        /// Whether it was started as a server: see [`spawn::SERVER`].
        pub is_server: bool,
        /// The program's name.
        pub name: Name<16>,
        /// What it may have, with what it has given to its children.
        pub limits: Limits,
        /// What it has given to its children, which they use or not.
        pub given: Limits,
        /// What it uses itself.
        pub used: Limits,
        /// Nanoseconds that it has had the processor, with the kernel's work for it.
        pub cpu_ns: u64,
    }
}

impl ProcessInfo {
    /// The most processes there are.
    pub const COUNT_MAX: usize = 64;

    /// What it may have, without what it has given to its children.
    pub fn own_limits(&self) -> Limits {
        self.limits.minus(&self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn amounts_are_added_and_taken_away_resource_by_resource() {
        let some = Limits::NONE.with(Resource::Memory, 100);
        let more = some.with(Resource::Sockets, 5);
        assert_eq!(more.minus(&some), Limits::NONE.with(Resource::Sockets, 5));
        assert_eq!(some.minus(&more), Limits::NONE);
        assert_eq!(
            some.plus(&more).map(|sum| sum.get(Resource::Memory)),
            Some(200)
        );
        assert!(more.covers(&some) && !some.covers(&more));
        assert_eq!(some.at_most(&more), some);
        let all = some.with(Resource::Handles, u64::MAX);
        assert_eq!(all.plus(&Limits::PROGRAM), None);
    }

    #[test]
    fn spawn_round_trip() {
        let spawn = Spawn {
            path: (1, 2),
            arguments: (3, 4),
            names: (5, 6),
            limits: Limits::PROGRAM,
            cards: 9,
            flags: spawn::ALL,
        };
        let bytes = spawn.to_bytes();
        assert_eq!(Spawn::from_bytes(&bytes), Ok(spawn));
        assert_eq!(Spawn::from_bytes(&bytes[1..]), Err(Error::Malformed));
    }

    #[test]
    fn process_info_round_trip() {
        let info = ProcessInfo {
            pid: Pid(0x105),
            parent: Pid(0),
            activity: Activity::Calling,
            is_server: true,
            name: Name::new("httpd"),
            limits: Limits::PROGRAM,
            given: Limits::NONE.with(Resource::Memory, 1000),
            used: Limits::NONE.with(Resource::Sockets, 3),
            cpu_ns: 77,
        };
        let mut bytes = info.to_bytes();
        assert_eq!(ProcessInfo::from_bytes(&bytes), Ok(info));
        assert_eq!(info.name.as_str(), "httpd");
        assert_eq!(info.own_limits().get(Resource::Memory), (768 << 10) - 1000);
        bytes[8] = Activity::COUNT as u8;
        assert_eq!(ProcessInfo::from_bytes(&bytes), Err(Error::Malformed));
    }
}
