//! The Wharf kernel, ring 0. Read [`main`] aloud: it is the boot, in order.
#![no_std]
#![no_main]

extern crate alloc;

mod arch;
mod attach;
mod console;
mod dma;
mod faults;
mod kernel;
mod mmio;
mod syscalls;
mod user_memory;

use crate::arch::messages::Messages;
use crate::arch::{
    boot_memory, cmos, cpu, gdt, heap, iommu, paging, pci, pic::Pic, space, timer::Timer, traps,
};
use crate::attach::Attaching;
use crate::kernel::Kernel;
use crate::user_memory::UserMemory;
use ::kernel::account::Accounts;
use ::kernel::clock::SECOND_NS;
use ::kernel::idle::{HaltPoll, LastPoll};
use ::kernel::options::Options;
use ::kernel::pci::NETWORK;
use ::kernel::process::Table;
use ::kernel::random::Random;
use ::kernel::spawn::RESERVE_FRAMES;
use abi::command_line::WORDS;
use abi::limits::{Grant, Limits};
use alloc::vec::Vec;
use bootloader_api::config::{BootloaderConfig, Mapping};
use bootloader_api::info::{BootInfo, MemoryRegionKind};

abi::c_memory_functions!();

/// What the boot stage is asked for.
const CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.kernel_stack_size = 64 * 1024;
    config.mappings.physical_memory = Some(Mapping::FixedAddress(paging::PHYSICAL_START));
    config.mappings.dynamic_range_start = Some(paging::BOOT_START);
    config
};
bootloader_api::entry_point!(main, config = &CONFIG);

/// The program that starts the others.
const INIT: &str = "bin/init";

fn main(boot: &'static mut BootInfo) -> ! {
    console::init();
    log::info!("Wharf {} on x86_64", env!("CARGO_PKG_VERSION"));

    let mut random = Random::new(cpu::generators(), |name, fault| {
        log::warn!("{name} {fault}: random numbers come from elsewhere");
    });
    random.absorb_words(&[cpu::timestamp()]);
    random.absorb(&cmos::date());

    let regions = boot.memory_regions.iter();
    for region in regions.clone() {
        random.absorb_words(&[region.start, region.end]);
    }
    let of = |kind| regions.clone().filter(move |region| region.kind == kind);
    let (usable, others) = (
        of(MemoryRegionKind::Usable),
        of(MemoryRegionKind::Bootloader),
    );
    let end = usable.clone().chain(others).map(|region| region.end).max();
    let usable = usable.map(|region| (region.start, region.end));
    must(paging::init_frames(usable, end.unwrap_or(0)));
    traps::init();
    must(paging::init_kernel_table(
        gdt::guard_pages(),
        boot_memory::code(),
    ));
    heap::init();
    let protections = cpu::enable_protections();
    let ramdisk = must(boot_memory::ramdisk(boot));
    let files = ramdisk.bytes();
    must(space::share_ramdisk(files).map_err(|_| "no memory for the ramdisk's table"));
    faults::init(&ramdisk);
    let mut timer = must(Timer::start(&mut random));
    let mut pic = Pic::new();
    log::info!(
        "memory: {} KiB free; ramdisk: {} KiB; protections: {}",
        paging::free_frames() * 4,
        files.len() / 1024,
        protections.join(" ").trim_end(),
    );
    log::info!("clock: {} MHz", timer.mhz());
    random.absorb(ramdisk.command_line().as_bytes());

    let mut config = pci::Config::new(boot.rsdp_addr.into_option());
    if let Some(error) = config.lack() {
        log::warn!(
            "no PCI: the ports of mechanism 1 do not answer, and {error}; QEMU: use -M pc or q35"
        );
    }
    let scan = ::kernel::pci::scan(&mut config);
    for function in &scan.functions {
        log::info!("{function}");
        if function.class == NETWORK {
            log::info!("    {}", function.resources());
        }
    }
    for problem in &scan.problems {
        log::warn!("{problem}");
    }
    random.absorb_words(&[cpu::timestamp()]);
    let options = Options::read(ramdisk.command_line(), |word| {
        log::warn!("command line: `{word}` is unknown; there are {WORDS}");
    });
    iommu::start(
        boot.rsdp_addr.into_option(),
        options.is_iommu_off,
        paging::physical_runs(files),
    );
    let cards = attach::attach_all(
        &scan.functions,
        Attaching {
            config,
            messages: Messages::new(timer.apic_id()),
            options,
            has_lines: pic.is_there(),
            is_first: true,
            vfs: 0,
        },
        files,
    );
    if let Err(problem) = boot_memory::check_enough() {
        log::error!("{problem}; halted");
        cpu::halt_forever();
    }
    for irq in cards.irqs() {
        pic.set_enabled(irq, true);
    }

    for mac in cards.macs() {
        random.absorb(&mac);
    }
    random.absorb_words(&[cpu::timestamp()]);
    let sources: Vec<_> = random.generators().chain(["the boot's times"]).collect();
    log::info!("random numbers: from {}", sources.join(", "));

    let next_tick = timer.now() + SECOND_NS;
    timer.arm(next_tick, timer.now());
    let mut kernel = Kernel {
        table: Table::new(UserMemory, u64::from(timer.mhz()) * 1000),
        cards,
        ramdisk,
        random,
        fixed_layout: options.fixed_layout,
        timer,
        pic,
        next_tick,
        halt_poll: HaltPoll::default(),
        last_poll: LastPoll::default(),
        accounts: Accounts::new(),
    };
    let grant = Grant {
        limits: Limits::of_machine(free_for_programs()),
        ..Grant::default()
    };
    if let Err(error) = kernel.spawn(INIT, "", None, &grant) {
        panic!("{INIT} cannot be started: {error}; is it in the ramdisk? (make image)");
    }
    kernel::install(kernel);
    traps::start()
}

/// Bytes of memory that programs may have: what the kernel has not taken, nor may need.
fn free_for_programs() -> u64 {
    paging::free_frames().saturating_sub(RESERVE_FRAMES) * abi::layout::PAGE_SIZE
}

/// What the boot cannot go on without.
fn must<T>(result: Result<T, &'static str>) -> T {
    result.unwrap_or_else(|problem| panic!("{problem}"))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    faults::panicked(info)
}
