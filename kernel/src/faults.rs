//! Reports of a program's exception, by which its author can mend it, and of the kernel's own panics.

use crate::arch::cpu;
use crate::arch::frame::{self, Frame};
use crate::console;
use crate::user_memory::UserMemory;
use abi::exit::exception_name;
use abi::ipc::Pid;
use abi::layout::IMAGE_END;
use core::fmt::{self, Display, Write};
use kernel::process::{Machine, Registers, Table};
use kernel::ramdisk::Ramdisk;
use kernel::symbols::Symbols;
use spin::Once;

/// The most callers that a backtrace names.
const DEPTH_MAX: usize = 16;
/// Where programs are in the ramdisk.
const PROGRAMS: &str = "bin/";
/// Path of the names of the kernel's functions in the ramdisk: of an ELF file that has nothing else.
const KERNEL_PATH: &str = "boot/symbols";

/// That file, for the kernel's own backtrace.
static KERNEL_FILE: Once<&'static [u8]> = Once::new();

/// Page fault error code bits (Intel SDM vol. 3, §4.7).
const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const FETCH: u64 = 1 << 4;

/// Remembers where the kernel's symbols are.
pub fn init(ramdisk: &Ramdisk<'static>) {
    if let Some(file) = ramdisk.file(KERNEL_PATH) {
        KERNEL_FILE.call_once(|| file);
    }
}

/// The cause in words: which exception, and for a page fault, what touched which address.
struct Cause<'a>(&'a Registers);

impl Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PAGE_FAULT: u64 = 14;
        const WITH_ERROR_CODE: [u64; 7] = [10, 11, 12, 13, 17, 21, 30];
        let Registers {
            vector, error_code, ..
        } = *self.0;
        f.write_str(exception_name(vector as u8))?;
        if vector == PAGE_FAULT {
            let access = match error_code {
                code if code & FETCH != 0 => "execution of",
                code if code & WRITE != 0 => "write to",
                _ => "read of",
            };
            let reason = match error_code & PRESENT {
                0 => "not mapped",
                _ => "not permitted",
            };
            let address = frame::fault_address();
            write!(f, ": {access} {address:#x}, {reason}")?;
        } else if WITH_ERROR_CODE.contains(&vector) && error_code != 0 {
            write!(f, ", error code {error_code:#x}")?;
        }
        Ok(())
    }
}

/// An address, with the function it is in if the file has symbols.
struct Place<'a> {
    file: Option<&'a [u8]>,
    address: u64,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.address)?;
        let symbols = self.file.and_then(Symbols::new);
        match symbols.and_then(|symbols| symbols.find(self.address)) {
            Some(symbol) => write!(f, " in {symbol}"),
            None => Ok(()),
        }
    }
}

/// Follows the chain of frame pointers: at each, the caller's pointer and return address.
/// `read` fetches two words; the chain must rise, so it ends.
fn callers(
    mut frame_pointer: u64,
    mut read: impl FnMut(u64) -> Option<[u64; 2]>,
) -> impl Iterator<Item = u64> {
    core::iter::from_fn(move || {
        let [next, return_address] = read(frame_pointer)?;
        frame_pointer = if next > frame_pointer { next } else { 0 };
        // The call is before the address it returns to, perhaps in another function.
        return_address.checked_sub(1)
    })
    .take(DEPTH_MAX)
}

/// Reports the exception of a program that is about to be ended for it, unless it is mute.
pub fn report(
    table: &Table<UserMemory>,
    ramdisk: &Ramdisk<'static>,
    pid: Pid,
    registers: &Registers,
) {
    let Some(process) = table.get(pid).filter(|process| !process.is_mute) else {
        return;
    };
    let path = || PROGRAMS.bytes().chain(process.name.bytes());
    let file = ramdisk.files().find(|file| file.path().eq(path()));
    let file = file.map(|file| file.data);
    log::error!(
        "{} (pid {pid}) is ended: {}",
        process.name,
        Cause(registers)
    );
    // Addresses are shown as they are in the ELF file, where gdb and nm find them.
    let image = process.places.image;
    let place = |at: u64| Place {
        file,
        address: at
            .checked_sub(image)
            .filter(|at| *at < IMAGE_END)
            .unwrap_or(at),
    };
    log::info!("    at {}", place(registers.rip));
    let read = |address| {
        let mut words = [0; 16];
        let space = process.space.as_ref()?;
        table.machine().read(space, address, &mut words).ok()?;
        let (low, high) = words.split_at(8);
        Some([low, high].map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())))
    };
    for address in callers(registers.rbp, read).filter(|address| *address != 0) {
        log::info!("    by {}", place(address));
    }
    log::info!("    its image was at {image:#x}; the other programs go on");
}

/// The kernel itself did wrong: says so and stops.
pub fn kernel_fault(frame: &Frame) -> ! {
    let registers = &frame.registers;
    stop(
        &format_args!("exception in the kernel: {}", Cause(registers)),
        registers.rip,
        registers.rbp,
    )
}

/// A Rust panic of the kernel: says so and stops.
pub fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    stop(&info, 0, cpu::frame_pointer())
}

fn stop(what: &dyn Display, at: u64, frame_pointer: u64) -> ! {
    let file = KERNEL_FILE.get().copied();
    console::seize();
    let mut console = console::Console;
    let _ = writeln!(console, "\nkernel panic: {what}");
    if at != 0 {
        let _ = writeln!(console, "    at {}", Place { file, address: at });
    }
    for address in callers(frame_pointer, cpu::read_kernel_stack) {
        let _ = writeln!(console, "    by {}", Place { file, address });
    }
    let _ = writeln!(console, "halted; leave QEMU with Ctrl-a x");
    cpu::halt_forever()
}
