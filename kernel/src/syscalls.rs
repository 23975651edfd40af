//! The system calls: from registers to typed arguments, and to the part of the kernel that does the work.
//!
//! Every number, pointer and length comes from a program and is checked here or where it
//! is used; the worst a program can do is to be told [`Error`].

use crate::arch::{cpu, paging};
use crate::console;
use crate::kernel::{Kernel, Outcome};
use abi::account::Stage;
use abi::endpoint::{FILTERS_MAX, Filter};
use abi::ipc::{Call, Exit, Pid};
use abi::layout::PAGE_SIZE;
use abi::limits::{Grant, Spawn, spawn};
use abi::nic::SendOptions;
use abi::syscall::{PRINT_MAX, RANDOM_MAX, STRING_MAX};
use abi::{Error, Result, Syscall};
use kernel::clock::MILLISECOND_NS;
use kernel::endpoint::{Own, Refusal};
use kernel::process::Registers;
use placement::Places;

/// Text of a program, copied out of its memory.
struct Text {
    bytes: [u8; STRING_MAX],
    len: usize,
}

impl Text {
    fn as_str(&self) -> Result<&str> {
        core::str::from_utf8(&self.bytes[..self.len]).map_err(|_| Error::InvalidArgument)
    }
}

impl Kernel {
    /// Does the system call in `registers` for the process that has the processor.
    pub fn syscall(&mut self, registers: &Registers) -> Outcome {
        let Some(pid) = self.table.current() else {
            return Outcome::Ended;
        };
        let Some(call) = Syscall::from_number(registers.rax) else {
            return Outcome::Return(Err(Error::NoSuchCall));
        };
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let [a, b, c, d] = arguments;
        let result = match call {
            Syscall::Yield => return Outcome::Yield,
            Syscall::Call => match self.call(pid, a) {
                Ok(()) => return Outcome::Sleep,
                Err(error) => Err(error),
            },
            Syscall::Wait => match self.wait(pid, (a, b, c), d.checked_sub(1)) {
                Ok(None) => return Outcome::Sleep,
                Ok(Some(more)) => Ok(more.into()),
                Err(error) => Err(error),
            },
            Syscall::Reply => self.table.reply(pid, a, b, (c, d)).map(|()| 0),
            Syscall::LeaseRead | Syscall::LeaseWrite => {
                let lease = ((b & 0xff) as usize, b >> 8);
                let to_caller = call == Syscall::LeaseWrite;
                self.table.lease_copy(pid, a, lease, (c, d), to_caller)
            }
            Syscall::NicExchange => {
                let (table, accounts) = (&mut self.table, &mut self.accounts);
                self.cards.exchange(a, (pid, false), table, accounts)
            }
            _ => return self.other_syscall(pid, call, arguments),
        };
        Outcome::Return(result)
    }

    /// Does the system calls that are not needed for each message or frame. They are apart, so that the
    /// code of the others is on few pages.
    #[inline(never)]
    fn other_syscall(&mut self, pid: Pid, call: Syscall, [a, b, c, d]: [u64; 4]) -> Outcome {
        let result = match call {
            Syscall::Exit => {
                self.end(pid, Exit::Code(a as u32));
                return Outcome::Ended;
            }
            Syscall::Print => self.print(pid, a, b),
            Syscall::TimeMsec => Ok(self.timer.now() / MILLISECOND_NS),
            Syscall::Clock => {
                let clock = self.timer.clock().to_bytes();
                self.write(pid, a, &clock).map(|()| 0)
            }
            Syscall::FreeMemory => Ok(paging::free_frames() * PAGE_SIZE),
            Syscall::ClockNs => Ok(self.timer.now()),
            Syscall::Random => self.random(pid, a, b),
            Syscall::GrowHeap => self.table.grow_heap(pid, a),
            Syscall::Notify => return Outcome::Reschedule(self.notify(pid, a, b)),
            Syscall::Spawn => {
                let child = self.spawn_for(pid, (a, b));
                return Outcome::Reschedule(child);
            }
            Syscall::Kill => self.kill(pid, a),
            Syscall::Mute => self.mute(pid, a, b),
            Syscall::Processes => self.processes(pid, (a, b)),
            Syscall::Charge => self.table.charge(pid, pid_argument(a), b).map(|()| 0),
            Syscall::Watch => self.table.watch(pid, pid_argument(a)).map(|()| 0),
            Syscall::Register => self.register(pid, a, b),
            Syscall::Lookup => self.lookup(pid, a, b),
            Syscall::NicAttach => self.attach(pid, a, (b, c)),
            Syscall::NicInfo => self.cards.info(a, pid, &self.table, b),
            Syscall::NicSend => {
                let options = SendOptions::from_register(d);
                self.cards.send(a, pid, &mut self.table, (b, c), options)
            }
            Syscall::NicReceive => self.cards.receive(a, pid, &mut self.table, (b, c)),
            Syscall::NicFlush => self.cards.flush(a, pid, &mut self.table),
            Syscall::NicStatistics => self.cards.statistics(a, pid, &self.table, (b, c)),
            Syscall::NicMap => self.cards.map(a, pid, &mut self.table, b),
            Syscall::NicFilter => self.cards.filter(a, pid, &self.table, (b, c)),
            Syscall::NicRefilter => self.refilter(pid, a, (b, c)),
            Syscall::Cards => {
                let cards = self.cards.infos().map(|info| info.to_bytes());
                self.write_records(pid, (a, b), cards)
            }
            Syscall::Accounts => {
                let lines = self.account().map(|line| line.to_bytes());
                self.write_records(pid, (a, b), lines)
            }
            Syscall::Yield
            | Syscall::Call
            | Syscall::Wait
            | Syscall::Reply
            | Syscall::LeaseRead
            | Syscall::LeaseWrite
            | Syscall::NicExchange => Err(Error::NoSuchCall),
        };
        Outcome::Return(result)
    }

    fn call(&mut self, pid: Pid, pointer: u64) -> Result<()> {
        let mut bytes = [0; Call::SIZE];
        self.read(pid, pointer, &mut bytes)?;
        let call = Call::from_bytes(&bytes)?;
        if call.deadline == abi::ipc::FOREVER {
            return self.table.call(pid, &call, 0);
        }
        let now = self.timer.now();
        self.table.call(pid, &call, now)?;
        self.timer.arm(call.deadline, now);
        Ok(())
    }

    fn attach(&mut self, pid: Pid, card: u64, (from, len): (u64, u64)) -> Result<u64> {
        self.table.check_card(pid, card, len == 0)?;
        let filters = self.read_filters(pid, (from, len))?;
        let Kernel {
            cards, table, pic, ..
        } = self;
        let switch_on = |irq| pic.set_enabled(irq, true);
        let attached = cards.attach(card, pid, &filters, table, switch_on);
        let number = attached.or_else(|refusal| self.tell_refusal(pid, from, refusal))?;
        Ok(number.into())
    }

    fn refilter(&mut self, pid: Pid, endpoint: u64, (from, len): (u64, u64)) -> Result<u64> {
        let filters = self.read_filters(pid, (from, len))?;
        let done = self.cards.refilter(endpoint, pid, &self.table, &filters);
        done.or_else(|refusal| self.tell_refusal(pid, from, refusal))?;
        Ok(0)
    }

    /// The filters at an address of a process.
    fn read_filters(&self, pid: Pid, (from, len): (u64, u64)) -> Result<Own> {
        let count = len / Filter::SIZE as u64;
        if count > FILTERS_MAX as u64 {
            return Err(Error::TooLong);
        }
        if len % Filter::SIZE as u64 != 0 {
            return Err(Error::Malformed);
        }
        let mut filters = Own::new();
        for from in (from..).step_by(Filter::SIZE).take(count as usize) {
            let mut bytes = [0; Filter::SIZE];
            self.read(pid, from, &mut bytes)?;
            let added = filters.push(Filter::from_bytes(&bytes)?);
            added.map_err(|_| Error::TooLong)?;
        }
        Ok(filters)
    }

    /// Why filters were refused: the error, and, where the first of them is, the other's.
    fn tell_refusal<R>(&self, pid: Pid, from: u64, refusal: Refusal) -> Result<R> {
        match refusal {
            Refusal::Wrong(error) => Err(error),
            Refusal::Overlaps(other) => {
                self.write(pid, from, &other.to_bytes())?;
                Err(Error::FilterOverlaps)
            }
        }
    }

    fn wait(
        &mut self,
        pid: Pid,
        (mask, mut deadline, buffer): (u64, u64, u64),
        endpoint: Option<u64>,
    ) -> Result<Option<bool>> {
        let mask = u32::try_from(mask).map_err(|_| Error::InvalidArgument)?;
        if let Some(number) = endpoint {
            let before = self.accounts.enter(Stage::Receive);
            let (table, accounts) = (&mut self.table, &mut self.accounts);
            let received = self.cards.exchange(number, (pid, true), table, accounts);
            self.accounts.back(before);
            if received? > 0 {
                deadline = 0;
            }
        }
        let now = self.timer.now();
        let event = self.table.wait(pid, mask, deadline, buffer, now)?;
        if event.is_none() {
            self.cards.sleeps(pid, endpoint, &self.table);
            if deadline != abi::ipc::FOREVER {
                self.timer.arm(deadline, now);
            }
        }
        Ok(event)
    }

    fn print(&mut self, pid: Pid, pointer: u64, len: u64) -> Result<u64> {
        let mut bytes = [0; PRINT_MAX];
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(PRINT_MAX);
        self.read(pid, pointer, &mut bytes[..len])?;
        if !self.table.alive(pid)?.is_mute {
            console::write_bytes(&bytes[..len]);
        }
        Ok(len as u64)
    }

    fn random(&mut self, pid: Pid, pointer: u64, len: u64) -> Result<u64> {
        let mut bytes = [0; RANDOM_MAX];
        let len = usize::try_from(len).map_err(|_| Error::TooLong)?;
        let bytes = bytes.get_mut(..len).ok_or(Error::TooLong)?;
        self.random.fill(cpu::timestamp(), bytes);
        self.write(pid, pointer, bytes).map(|()| 0)
    }

    fn notify(&mut self, sender: Pid, pid: u64, bits: u64) -> Result<u64> {
        let bits = u32::try_from(bits).map_err(|_| Error::InvalidArgument)?;
        if bits & !abi::ipc::wait::USER != 0 {
            return Err(Error::InvalidArgument);
        }
        let pid = pid_argument(pid);
        self.table.notify_from(sender, pid, bits).map(|()| 0)
    }

    fn kill(&mut self, pid: Pid, child: u64) -> Result<u64> {
        let child = pid_argument(child);
        self.table.check_child(pid, child)?;
        self.end(child, Exit::Killed);
        Ok(0)
    }

    fn mute(&mut self, pid: Pid, child: u64, on: u64) -> Result<u64> {
        let child = pid_argument(child);
        self.table.check_child(pid, child)?;
        let process = self.table.get_mut(child).ok_or(Error::NotFound)?;
        process.is_mute = flag(on)?;
        Ok(0)
    }

    fn register(&mut self, pid: Pid, pointer: u64, len: u64) -> Result<u64> {
        let name = self.text(pid, (pointer, len))?;
        self.table.register(pid, name.as_str()?).map(|()| 0)
    }

    fn lookup(&mut self, pid: Pid, pointer: u64, len: u64) -> Result<u64> {
        let name = self.text(pid, (pointer, len))?;
        self.table
            .lookup(name.as_str()?)
            .map(|found| u64::from(found.0))
    }

    fn spawn_for(&mut self, pid: Pid, (pointer, len): (u64, u64)) -> Result<u64> {
        let mut bytes = [0; Spawn::SIZE];
        if len != Spawn::SIZE as u64 {
            return Err(Error::Malformed);
        }
        self.read(pid, pointer, &mut bytes)?;
        let Spawn {
            path,
            arguments,
            names,
            limits,
            cards,
            flags,
        } = Spawn::from_bytes(&bytes)?;
        if flags & !spawn::ALL != 0 {
            return Err(Error::InvalidArgument);
        }
        let path = self.text(pid, path)?;
        let arguments = self.text(pid, arguments)?;
        let names = self.text(pid, names)?;
        let grant = Grant {
            limits,
            names: names.as_str()?,
            cards,
            flags,
        };
        let child = self.spawn(path.as_str()?, arguments.as_str()?, Some(pid), &grant)?;
        Ok(u64::from(child.0))
    }

    /// Starts the program at `path` of the ramdisk, with these arguments, at places
    /// of its own.
    ///
    /// # Errors
    /// Those of [`kernel::process::Table::spawn`].
    pub fn spawn(
        &mut self,
        path: &str,
        arguments: &str,
        parent: Option<Pid>,
        grant: &Grant<'_>,
    ) -> Result<Pid> {
        let mut bits = [0; 8];
        self.random.fill(cpu::timestamp(), &mut bits);
        let places = match self.fixed_layout {
            true => Places::FIXED,
            false => Places::random(u64::from_le_bytes(bits)),
        };
        self.table
            .spawn(&self.ramdisk, (path, arguments), parent, (grant, places))
    }

    fn processes(&self, pid: Pid, array: (u64, u64)) -> Result<u64> {
        let clock = self.timer.clock();
        let cpu_ns = |pid| {
            let account = self.accounts.process(pid, "");
            clock.duration_ns(account.user + account.kernel)
        };
        let (own, others) = (self.table.info(pid, cpu_ns), self.table.infos(cpu_ns));
        let all = own.into_iter().chain(others.filter(|info| info.pid != pid));
        self.write_records(pid, array, all.map(|info| info.to_bytes()))
    }

    /// Writes records of `N` bytes into the program's array at `to`, which has room for `capacity` of
    /// them. Returns how many were written.
    fn write_records<const N: usize>(
        &self,
        pid: Pid,
        (to, capacity): (u64, u64),
        records: impl Iterator<Item = [u8; N]>,
    ) -> Result<u64> {
        let mut count = 0;
        for record in records.take(usize::try_from(capacity).unwrap_or(usize::MAX)) {
            let to = to.checked_add(count * N as u64);
            self.write(pid, to.ok_or(Error::BadAddress)?, &record)?;
            count += 1;
        }
        Ok(count)
    }

    fn text(&self, pid: Pid, (pointer, len): (u64, u64)) -> Result<Text> {
        let mut bytes = [0; STRING_MAX];
        if len > STRING_MAX as u64 {
            return Err(Error::TooLong);
        }
        let len = len as usize;
        self.read(pid, pointer, &mut bytes[..len])?;
        Ok(Text { bytes, len })
    }

    fn write(&self, pid: Pid, pointer: u64, bytes: &[u8]) -> Result<()> {
        self.table.write(pid, pointer, bytes)
    }

    fn read(&self, pid: Pid, pointer: u64, buffer: &mut [u8]) -> Result<()> {
        self.table.read(pid, pointer, buffer)
    }
}

/// A truth value in a register.
fn flag(word: u64) -> Result<bool> {
    match word {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::InvalidArgument),
    }
}

fn pid_argument(word: u64) -> Pid {
    // No pid has its upper half set, so a hostile word becomes a pid that is none.
    Pid(u32::try_from(word).unwrap_or(u32::MAX))
}
