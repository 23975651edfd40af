use std::string::ToString;
use std::vec::Vec;

use bootloader_api::config::Mapping;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind, Optional};
use bootloader_api::{BootInfo, BootloaderConfig};
use tar_no_std::TarArchiveRef;
use x86_64::PhysAddr;
use x86_64::structures::paging::{PageTableFlags, PhysFrame};

use super::model::{DATA, Elf, Leaf, Model, TEXT, leaf_at, tar};
use crate::error::Error;
use crate::handoff::{Handoff, Module, RawRegion};
use crate::load::{Loaded, Machine, REGIONS_OFFSET, load};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MODULE: u64 = 8 * MIB;
const SWITCH: u64 = MIB + 0x4000;
const PHYSICAL: u64 = 0xffff_8000_0000_0000;

/// A machine about to boot.
struct Setup {
    ram: u64,
    above: u64,
    module: Option<(u64, Vec<u8>)>,
    cmdline: &'static [u8],
    huge_pages: bool,
}

/// What came of it.
struct Booted {
    model: Model,
    kernel: Loaded,
    leaves: Vec<Leaf>,
    module: Vec<u8>,
}

fn config() -> BootloaderConfig {
    let mut config = BootloaderConfig::new_default();
    config.kernel_stack_size = 10_000;
    config.mappings.physical_memory = Some(Mapping::FixedAddress(PHYSICAL));
    config
}

impl Setup {
    fn new(config: &BootloaderConfig) -> Self {
        let kernel = Elf::small(config).build();
        let files: [(&str, &[u8]); 2] = [("boot/kernel", &kernel), ("bin/x", &[0x42; 10_000])];
        Self {
            ram: 16 * MIB,
            above: 0,
            module: Some((MODULE, tar(&files))),
            cmdline: b"run=hello",
            huge_pages: false,
        }
    }

    fn load(&self, model: &mut Model) -> Result<Loaded, Error> {
        let raw = |start, len, kind| RawRegion { start, len, kind };
        let module = self.module.as_ref();
        let handoff = Handoff {
            memory_map: [
                raw(0, 0x9fc00, 1),
                raw(0xf0000, 0x10000, 2),
                raw(MIB, self.ram - MIB, 1),
                raw(4 * GIB - 0x40000, 0x40000, 2),
                raw(4 * GIB, self.above, 1),
            ]
            .into_iter()
            .collect(),
            rsdp: Some(0xf5678),
            cmdline: self.cmdline,
            module: module.map(|(addr, bytes)| Module { addr: *addr, bytes }),
            in_use: core::iter::once(MIB..MIB + 0x2c000).collect(),
        };
        let machine = Machine {
            switch_page: PhysFrame::containing_address(PhysAddr::new(SWITCH)),
            huge_pages: self.huge_pages,
        };
        load(&handoff, machine, model)
    }

    fn boot(self) -> Booted {
        let mut model = Model::default();
        let kernel = self.load(&mut model).expect("it boots");
        let recursive = boot_info(&kernel).recursive_index.into_option();
        let leaves = model.leaves(kernel.page_table, recursive);
        let (_, module) = self.module.expect("it has a module");
        Booted {
            model,
            kernel,
            leaves,
            module,
        }
    }

    fn refusal(&self) -> std::string::String {
        let mut model = Model::default();
        let error = self.load(&mut model).expect_err("it must not boot");
        error.to_string()
    }
}

fn boot_info(kernel: &Loaded) -> BootInfo {
    let regions: &'static mut [MemoryRegion] = kernel.regions.to_vec().leak();
    let mut info = BootInfo::new(regions.into());
    kernel.fill(&mut info);
    info
}

impl Booted {
    /// What the kernel reads at `virt`.
    fn read(&self, virt: u64, len: u64) -> Vec<u8> {
        let byte = |virt: u64| {
            let leaf = leaf_at(&self.leaves, virt).expect("mapped");
            let phys = leaf.phys + (virt - leaf.virt);
            match self.model.pages.get(&(phys & !4095)) {
                Some(page) => page[(phys & 4095) as usize],
                None => self.module[(phys - MODULE) as usize],
            }
        };
        (virt..virt + len).map(byte).collect()
    }

    fn flags(&self, virt: u64) -> Option<PageTableFlags> {
        leaf_at(&self.leaves, virt).map(|leaf| leaf.flags)
    }

    fn kind(&self, phys: u64) -> Option<MemoryRegionKind> {
        let mut regions = self.kernel.regions.iter();
        let region = regions.find(|r| r.start <= phys && phys < r.end);
        region.map(|r| r.kind)
    }
}

const WRITABLE: PageTableFlags = PageTableFlags::WRITABLE;
const NO_EXECUTE: PageTableFlags = PageTableFlags::NO_EXECUTE;

#[test]
fn the_kernel_is_where_it_was_linked_with_its_permissions() {
    let booted = Setup::new(&config()).boot();
    assert_eq!(booted.kernel.entry, TEXT + 16);
    let text: Vec<u8> = (0..4096u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(booted.read(TEXT, 4096), text);
    let mut data = std::vec![0; 8];
    data.extend([0x77; 100]);
    data.resize(8192, 0);
    assert_eq!(
        booted.read(DATA, 8192),
        data,
        "what is not in the file is zero"
    );

    let flags = |virt| booted.flags(virt).map(|f| f & (WRITABLE | NO_EXECUTE));
    assert_eq!(flags(TEXT), Some(PageTableFlags::empty()));
    assert_eq!(flags(DATA), Some(WRITABLE | NO_EXECUTE));
    assert_eq!(flags(DATA + 4096), Some(WRITABLE | NO_EXECUTE));
    for unmapped in [TEXT - 1, TEXT + 4096, DATA + 8192, 0, MIB] {
        assert_eq!(flags(unmapped), None, "{unmapped:#x}");
    }
    for leaf in &booted.leaves {
        let both = leaf.flags.contains(WRITABLE) && !leaf.flags.contains(NO_EXECUTE);
        assert!(!both, "writable and executable: {leaf:x?}");
        assert!(!leaf.flags.contains(PageTableFlags::USER_ACCESSIBLE));
    }
    let low: Vec<_> = booted.leaves.iter().filter(|l| l.virt < 1 << 47).collect();
    assert_eq!(low.len(), 1, "of the lower half, the switch page only");
    assert_eq!(
        (low[0].virt, low[0].phys, low[0].len),
        (SWITCH, SWITCH, 4096)
    );
    assert!(
        !low[0]
            .flags
            .intersects(WRITABLE | NO_EXECUTE | PageTableFlags::GLOBAL)
    );
}

#[test]
fn the_stack_has_a_guard_page() {
    let mut config = config();
    let fixed = 0xffff_a000_0000_0000;
    config.mappings.kernel_stack = Mapping::FixedAddress(fixed);
    let booted = Setup::new(&config).boot();
    assert_eq!(booted.kernel.stack, fixed + 4096..fixed + 4096 + 12288);
    assert_eq!(booted.flags(fixed), None);
    for page in booted.kernel.stack.clone().step_by(4096) {
        let flags = booted.flags(page).expect("mapped");
        assert!(flags.contains(WRITABLE | NO_EXECUTE));
    }
    assert_eq!(booted.flags(booted.kernel.stack.end), None);
}

#[test]
fn the_ramdisk_is_one_archive_with_the_command_line_first() {
    for cmdline in [&b""[..], b"run=hello", &[b'y'; 3584], &[b'z'; 4095]] {
        let mut setup = Setup::new(&config());
        setup.cmdline = cmdline;
        let booted = setup.boot();
        let info = boot_info(&booted.kernel);
        let start = info.ramdisk_addr.into_option().expect("a ramdisk");
        let disk = booted.read(start, info.ramdisk_len);
        let archive = TarArchiveRef::new(&disk).expect("an archive");
        let files: Vec<_> = archive.entries().collect();
        let names: Vec<_> = files.iter().map(|file| file.filename()).collect();
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        assert_eq!(names, [Ok("cmdline"), Ok("boot/kernel"), Ok("bin/x")]);
        assert_eq!(files[0].data(), cmdline);
        assert_eq!(files[2].data(), [0x42; 10_000]);

        let flags = booted.flags(start).expect("mapped");
        assert!(flags.contains(NO_EXECUTE) && !flags.contains(WRITABLE));
        let before = booted.read(start & !4095, start & 4095);
        assert!(before.iter().all(|&byte| byte == 0), "no rubbish before it");
    }
}

#[test]
fn boot_info_is_complete() {
    let booted = Setup::new(&config()).boot();
    let info = boot_info(&booted.kernel);
    assert_eq!(info.api_version, Default::default());
    assert_eq!(info.physical_memory_offset, Optional::Some(PHYSICAL));
    assert_eq!(info.recursive_index, Optional::None);
    assert_eq!(info.rsdp_addr, Optional::Some(0xf5678));
    assert_eq!(info.tls_template, Optional::None);
    assert!(info.framebuffer.into_option().is_none());
    assert_eq!(info.kernel_image_offset, 0);
    assert_eq!(info.kernel_stack_bottom, booted.kernel.stack.start);
    assert_eq!(info.kernel_stack_len, 12288);
    let start = (info.kernel_addr - MODULE) as usize;
    let file = &booted.module[start..start + info.kernel_len as usize];
    assert_eq!(file, Elf::small(&config()).build());

    let room = booted.kernel.boot_info
        ..booted.kernel.boot_info
            + REGIONS_OFFSET
            + (size_of::<MemoryRegion>() * booted.kernel.regions.len()) as u64;
    for page in room.step_by(4096) {
        assert!(booted.flags(page).expect("mapped").contains(WRITABLE));
    }
}

#[test]
fn the_memory_map_names_all_that_is_in_use() {
    let booted = Setup::new(&config()).boot();
    let used = booted.model.tables.keys().chain(booted.model.pages.keys());
    let module_end = MODULE + booted.module.len() as u64;
    for &phys in used.chain(&[MIB, SWITCH, MODULE, module_end - 1, 0, 0x9e000]) {
        let kind = booted.kind(phys);
        assert_eq!(kind, Some(MemoryRegionKind::Bootloader), "{phys:#x}");
    }
    assert_eq!(booted.kind(0xf0000), Some(MemoryRegionKind::UnknownBios(2)));
    assert_eq!(booted.kind(0xa0000), None);
    assert_eq!(booted.kind(16 * MIB), None);
    let free: u64 = booted
        .kernel
        .regions
        .iter()
        .filter(|r| r.kind == MemoryRegionKind::Usable)
        .map(|r| r.end - r.start)
        .sum();
    let frames = (booted.model.tables.len() + booted.model.pages.len()) as u64;
    let module = booted.module.len().next_multiple_of(4096) as u64;
    assert_eq!(free, 15 * MIB - 0x2c000 - module - frames * 4096);
}

#[test]
fn physical_memory_is_mapped_whole_in_large_pages() {
    for (huge_pages, above, end, size) in [
        (false, 0, 4 * GIB, 2 * MIB),
        (true, 0, 4 * GIB, GIB),
        (false, 5 * GIB, 9 * GIB, 2 * MIB),
        (true, 5 * GIB, 9 * GIB, GIB),
        (true, GIB + 2 * MIB, 5 * GIB + 2 * MIB, 2 * MIB),
    ] {
        let mut setup = Setup::new(&config());
        setup.huge_pages = huge_pages;
        setup.above = above;
        let booted = setup.boot();
        let leaves = booted.leaves.iter();
        let physical: Vec<_> = leaves
            .filter(|l| (PHYSICAL..PHYSICAL + (1 << 39)).contains(&l.virt))
            .filter(|l| l.len > 4096)
            .collect();
        let mut next = 0;
        for leaf in physical {
            assert_eq!(
                (leaf.phys, leaf.virt, leaf.len),
                (next, PHYSICAL + next, size)
            );
            assert!(leaf.flags.contains(WRITABLE | NO_EXECUTE));
            next += leaf.len;
        }
        assert_eq!(next, end);
        let free_above = booted.kind(4 * GIB);
        assert_eq!(free_above, (above != 0).then_some(MemoryRegionKind::Usable));
    }
}

#[test]
fn dynamic_places_do_not_meet() {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config.mappings.page_table_recursive = Some(Mapping::Dynamic);
    let booted = Setup::new(&config).boot();
    let info = boot_info(&booted.kernel);
    let index = info.recursive_index.into_option().expect("recursive");
    let root = booted.kernel.page_table;
    let table = &booted.model.tables[&root.start_address().as_u64()];
    assert_eq!(table[usize::from(index)].frame(), Ok(root));
    assert!(info.physical_memory_offset.into_option().is_some());
    for pair in booted.leaves.windows(2) {
        assert!(pair[0].virt + pair[0].len <= pair[1].virt, "{pair:x?}");
    }

    config.mappings.dynamic_range_start = Some(0xffff_c000_0000_0000);
    config.mappings.dynamic_range_end = Some(0xffff_d000_0000_0000);
    let booted = Setup::new(&config).boot();
    let range = 0xffff_c000_0000_0000..0xffff_d000_0000_0000;
    for leaf in &booted.leaves {
        let is_own_choice = leaf.virt != SWITCH && leaf.virt < TEXT;
        assert!(!is_own_choice || range.contains(&leaf.virt), "{leaf:x?}");
    }
}

#[test]
fn recursive_tables_go_where_they_are_asked_for() {
    let mut config = config();
    config.mappings.page_table_recursive = Some(Mapping::FixedAddress(0xffff_ff00_0000_0000));
    let info = boot_info(&Setup::new(&config).boot().kernel);
    assert_eq!(info.recursive_index, Optional::Some(510));
    for (addr, why) in [
        (0xffff_ff00_0000_1000, "aligned"),
        (0xffff_ff80_0000_0000, "end of the address space"),
        (PHYSICAL, "taken"),
    ] {
        config.mappings.page_table_recursive = Some(Mapping::FixedAddress(addr));
        let text = Setup::new(&config).refusal();
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn modules_that_cannot_be_used_are_refused() {
    let refused = |change: fn(&mut Setup), why: &str| {
        let mut setup = Setup::new(&config());
        change(&mut setup);
        let text = setup.refusal();
        assert!(text.contains(why) && !text.contains('\n'), "{text}");
    };
    let at = |addr: u64, setup: &mut Setup| {
        if let Some(module) = &mut setup.module {
            module.0 = addr;
        }
    };
    refused(|s| s.module = None, "-initrd");
    refused(|s| s.module = Some((MODULE, std::vec![])), "empty");
    refused(
        |s| s.module = Some((MODULE, std::vec![1; 2048])),
        "not a tar",
    );
    let mut setup = Setup::new(&config());
    for (addr, why) in [
        (MODULE + 512, "page-aligned"),
        (16 * MIB - 4096, "not in RAM"),
        (64 * MIB, "not in RAM"),
        (0xf0000, "not in RAM"),
        (MIB - 4096, "boot stage's memory"),
        (MIB + 0x2b000, "boot stage's memory"),
    ] {
        at(addr, &mut setup);
        let text = setup.refusal();
        assert!(text.contains(why), "{addr:#x}: {text}");
    }
}

#[test]
fn too_little_memory_says_how_much_is_enough() {
    let mut refused = 0;
    for pages in (0..1000).step_by(3) {
        let mut setup = Setup::new(&config());
        // The module right behind the boot stage, RAM for a few pages more.
        let module = MIB + 0x2c000;
        let len = setup.module.as_ref().expect("a module").1.len() as u64;
        if let Some((addr, _)) = &mut setup.module {
            *addr = module;
        }
        setup.ram = module + len.next_multiple_of(4096) + pages * 4096;
        let mut model = Model::default();
        match setup.load(&mut model) {
            Ok(_) => continue,
            Err(Error::TooLittleMemory {
                found_mib,
                needed_mib,
            }) => {
                refused += 1;
                assert!(model.tables.is_empty(), "found out before anything is done");
                assert_eq!(found_mib, (setup.ram - 0x61000).div_ceil(MIB));
                assert!(needed_mib > found_mib);
                setup.ram += (needed_mib - found_mib) * MIB;
                assert!(setup.load(&mut model).is_ok(), "that is not enough");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!((5..200).contains(&refused), "{refused}");
}
