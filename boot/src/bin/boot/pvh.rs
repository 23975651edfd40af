//! The way in by PVH: the note that names it, and the call from its 32-bit code.

use crate::physical;

core::arch::global_asm!(include_str!("pvh.s"), entry = sym enter);

/// Called once by `pvh.s`, in long mode, with what the loader had in `ebx`.
extern "C" fn enter(start_info: u64) -> ! {
    // SAFETY: `handoff` lists in `in_use` and `module` what it has been shown, and the library
    // takes no frame from there.
    let memory = |addr, len| unsafe { physical::show(addr, len) };
    crate::start(boot::pvh::handoff(start_info, physical::image(), memory))
}
