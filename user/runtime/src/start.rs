//! From the kernel's first instruction in a program to its `main`, and how it ends.
#![allow(unsafe_code)]

use crate::environment::{ENVIRONMENT, Environment, split_stack};
use crate::{Error, console};
use abi::exit;
use alloc::string::String;
use core::panic::PanicInfo;

pub use crate::environment::{name, raw_args, raw_ramdisk, stack};
pub use abi::service::Stack;

/// What `main` may return: it becomes the exit code, and an error also a printed line.
pub trait Termination {
    /// The exit code.
    fn report(self) -> u32;
}

impl Termination for () {
    fn report(self) -> u32 {
        exit::DONE
    }
}

/// An exit code as it is.
impl Termination for u32 {
    fn report(self) -> u32 {
        self
    }
}

impl Termination for crate::Result<()> {
    fn report(self) -> u32 {
        match self {
            Ok(()) => exit::DONE,
            Err(error) => failed(&error),
        }
    }
}

/// For programs that explain what they were doing.
impl Termination for core::result::Result<(), String> {
    fn report(self) -> u32 {
        match self {
            Ok(()) => exit::DONE,
            Err(explanation) => failed(&explanation),
        }
    }
}

/// Why a program ends before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What went wrong. Started again, the program may do better.
    Now(String),
    /// What this machine lacks, so that the program can never do its work here.
    Always(String),
}

impl From<String> for Failure {
    fn from(explanation: String) -> Self {
        Failure::Now(explanation)
    }
}

impl Termination for core::result::Result<(), Failure> {
    fn report(self) -> u32 {
        match self {
            Ok(()) => exit::DONE,
            Err(Failure::Now(explanation)) => failed(&explanation),
            Err(Failure::Always(explanation)) => {
                failed(&explanation);
                exit::IN_VAIN
            }
        }
    }
}

fn failed(reason: &dyn core::fmt::Display) -> u32 {
    crate::println!("{}: {reason}", name());
    exit::FAILED
}

/// Adds what was being done to an error, for a `main` that returns
/// `Result<(), String>`.
pub trait Context<T> {
    /// `what: the error`.
    ///
    /// # Errors
    /// The same, in words.
    fn context(self, what: &str) -> core::result::Result<T, String>;
}

impl<T> Context<T> for core::result::Result<T, Error> {
    fn context(self, what: &str) -> core::result::Result<T, String> {
        self.map_err(|error| alloc::format!("{what}: {error}"))
    }
}

/// Ends the program; what was printed without a line end is printed first.
pub fn exit(code: u32) -> ! {
    console::flush();
    crate::sys::exit(code)
}

/// Names a program's usage text and its main function: `runtime::entry!(USAGE, main);`. With a
/// third function between them, `runtime::entry!(USAGE, options, main);`, the program takes
/// arguments: that reads them from an [`Args`](crate::args::Args), and `main` is given what it
/// has made of them. `main` may return anything that is [`Termination`].
#[macro_export]
macro_rules! entry {
    ($usage:expr, $main:path) => {
        $crate::entry!(@ $usage, |_| Ok(()), |()| $main());
    };
    ($usage:expr, $options:path, $main:path) => {
        $crate::entry!(@ $usage, $options, $main);
    };
    (@ $usage:expr, $options:expr, $main:expr) => {
        $crate::abi::c_memory_functions!();

        #[global_allocator]
        static HEAP: $crate::heap::Growing = $crate::heap::Growing::empty();

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::start::panicked(info)
        }

        /// The landing pads of prebuilt `alloc` name it; nothing here unwinds.
        #[unsafe(no_mangle)]
        extern "C" fn _Unwind_Resume() -> ! {
            $crate::sys::exit($crate::abi::exit::PANICKED)
        }

        /// # Safety
        /// As [`syscall`]($crate::sys::syscall).
        #[unsafe(no_mangle)]
        unsafe fn wharf_kernel(number: u64, arguments: [u64; 4]) -> u64 {
            // SAFETY: as promised by the caller.
            unsafe { $crate::sys::syscall(number, arguments) }
        }

        /// Where the kernel enters a program: `rdi`, `rsi` are the arguments' address and
        /// length, `rdx`, `rcx` the ramdisk's. Ends the chain of frames for backtraces and
        /// aligns the stack as the System V ABI wants it before a call.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        extern "C" fn _start() -> ! {
            core::arch::naked_asm!(
                // For a debugger: it has no caller, so a backtrace ends with it.
                ".cfi_startproc",
                ".cfi_undefined rip",
                "xor ebp, ebp",
                "and rsp, -16",
                "call {start}",
                "ud2",
                ".cfi_endproc",
                start = sym wharf_program,
            )
        }

        extern "C" fn wharf_program(
            args: *const u8,
            args_len: usize,
            tar: *const u8,
            tar_len: usize,
        ) -> ! {
            // A function and not a closure, for its name in backtraces.
            fn run() -> u32 {
                match $crate::args::read($usage, $options) {
                    Ok(options) => $crate::start::Termination::report(($main)(options)),
                    Err(code) => code,
                }
            }
            let handed = [(args, args_len), (tar, tar_len)];
            // SAFETY: the kernel maps both read-only for the life of the process; a length of
            // zero may come with any address.
            unsafe { $crate::start::begin(env!("CARGO_BIN_NAME"), run, handed) }
        }
    };
}

/// Begins a program: it knows its name, its arguments and its ramdisk from now on; and ends with
/// what `main` returns.
///
/// # Safety
/// Addresses and lengths of arguments and ramdisk: where the length is not 0, so many bytes are
/// readable there as long as the process lives.
pub unsafe fn begin(
    name: &'static str,
    main: fn() -> u32,
    [args, ramdisk]: [(*const u8, usize); 2],
) -> ! {
    // SAFETY: the caller's contract.
    let (args, ramdisk) = unsafe { (slice(args), slice(ramdisk)) };
    let text = core::str::from_utf8(args);
    let (args, stack) = split_stack(text.unwrap_or_default());
    ENVIRONMENT.call_once(|| Environment {
        name,
        args,
        stack,
        ramdisk,
    });
    console::start_log();
    exit(match text {
        Ok(_) => main(),
        Err(error) => {
            crate::println!("{name}: the arguments: {error}");
            exit::BAD_USAGE
        }
    })
}

/// # Safety
/// If the length is not 0, the address is readable for so many bytes as long as we live.
unsafe fn slice((address, len): (*const u8, usize)) -> &'static [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's contract.
    unsafe { core::slice::from_raw_parts(address, len) }
}

/// Says what happened, past any half-printed line, and ends the process.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    console::print_last_words(format_args!("{}: {info}", name()));
    crate::sys::exit(exit::PANICKED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_main_returns_becomes_the_exit_code() {
        assert_eq!(().report(), 0);
        assert_eq!(7.report(), 7);
        assert_eq!(Ok::<(), Error>(()).report(), 0);
        assert_eq!(Err::<(), Error>(Error::Busy).report(), 1);
        assert_eq!(Err(Failure::Now("no".into())).report(), exit::FAILED);
        assert_eq!(Err(Failure::Always("no".into())).report(), exit::IN_VAIN);
        let failed: core::result::Result<(), Error> = Err(Error::Busy);
        assert_eq!(
            failed.context("bind to port 7"),
            Err("bind to port 7: busy".to_string())
        );
    }
}
