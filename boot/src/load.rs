//! From [`Handoff`] to a kernel that only needs to be jumped to.

use core::mem::{align_of, size_of};
use core::ops::Range;

use bootloader_api::BootInfo;
use bootloader_api::config::Mapping;
use bootloader_api::info::{MemoryRegion, Optional, TlsTemplate};
use heapless::Vec;
use x86_64::structures::paging::{PageTableFlags, PhysFrame};

use crate::archive::{self, CmdlineMember};
use crate::error::Error;
use crate::handoff::{Handoff, MAX_IN_USE, Module};
use crate::kernel::{Kernel, Segment};
use crate::layout::{Layout, PAGE, Request};
use crate::memory_map::{Frames, MAX_REGIONS, MemoryMap, Regions};
use crate::paging::{self, MapError, Mapper, Memory, PageSize};

/// Where the memory regions are, in bytes after the [`BootInfo`].
pub const REGIONS_OFFSET: u64 =
    size_of::<BootInfo>().next_multiple_of(align_of::<MemoryRegion>()) as u64;
/// Room for the [`BootInfo`] and the regions.
const BOOT_INFO_LEN: u64 =
    (REGIONS_OFFSET + (MAX_REGIONS * size_of::<MemoryRegion>()) as u64).next_multiple_of(PAGE);

const CODE: PageTableFlags = PageTableFlags::PRESENT;
const READ_ONLY: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::NO_EXECUTE);
const DATA: PageTableFlags = READ_ONLY.union(PageTableFlags::WRITABLE);

/// What the machine's side of the boot stage has to offer.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// The page of code that switches page tables: stays mapped at its physical address.
    pub switch_page: PhysFrame,
    /// Whether the CPU has 1 GiB pages.
    pub huge_pages: bool,
}

/// A kernel in memory. All addresses but the table's are virtual ones of its address space.
#[derive(Debug)]
pub struct Loaded {
    /// The level 4 page table.
    pub page_table: PhysFrame,
    /// The kernel's `_start`.
    pub entry: u64,
    /// Its stack; an unmapped page is below.
    pub stack: Range<u64>,
    /// Where the [`BootInfo`] goes, with [`Loaded::regions`] at [`REGIONS_OFFSET`].
    pub boot_info: u64,
    /// The memory map for the kernel.
    pub regions: Regions,
    physical_memory: Option<u64>,
    recursive_index: Option<u16>,
    rsdp: Option<u64>,
    tls: Option<TlsTemplate>,
    ramdisk: Range<u64>,
    file: Range<u64>,
}

impl Loaded {
    /// Sets every field of `info` but the memory regions.
    pub fn fill(&self, info: &mut BootInfo) {
        info.framebuffer = Optional::None;
        info.physical_memory_offset = self.physical_memory.into();
        info.recursive_index = self.recursive_index.into();
        info.rsdp_addr = self.rsdp.into();
        info.tls_template = self.tls.into();
        info.ramdisk_addr = Optional::Some(self.ramdisk.start);
        info.ramdisk_len = self.ramdisk.end - self.ramdisk.start;
        info.kernel_addr = self.file.start;
        info.kernel_len = self.file.end - self.file.start;
        // What was added to the file's addresses: nothing.
        info.kernel_image_offset = 0;
        info.kernel_stack_bottom = self.stack.start;
        info.kernel_stack_len = self.stack.end - self.stack.start;
    }
}

/// Loads the kernel of the boot module into `memory`.
pub fn load<M: Memory>(
    handoff: &Handoff<'_>,
    machine: Machine,
    memory: &mut M,
) -> Result<Loaded, Error> {
    let module = handoff.module.ok_or(Error::NoModule)?;
    let map = memory_map(handoff, &module)?;
    let file = archive::find_kernel(module.bytes)?;
    let kernel = Kernel::parse(file)?;
    let cmdline = CmdlineMember::new(handoff.cmdline);
    let places = Places::find(&kernel, &map, &module, &cmdline)?;

    let mut frames = Frames::new(&map);
    let too_little = |short_by: u64| too_little_memory(&map, short_by);
    let needed = places.frames_needed(&kernel);
    if needed > frames.left() {
        return Err(too_little(needed - frames.left()));
    }
    let failed = |why| match why {
        MapError::OutOfFrames => too_little(1),
        MapError::Taken => Error::Placement {
            what: "boot stage",
            addr: None,
            why: "its page is in the way",
        },
    };

    let mut mapper = Mapper::new(memory, &mut frames).map_err(failed)?;
    // The segments last: their table and those of physical memory, which the kernel has in use
    // all the time, are neighbours then, and their colours differ: see the crate `placement`.
    let recursive_index = places
        .map_all(&mut mapper, &module, &cmdline, machine)
        .map_err(failed)?;
    for segment in &kernel.segments {
        load_segment(&mut mapper, segment).map_err(failed)?;
    }
    let page_table = mapper.root();

    // The tar member's data is a slice of the module's.
    let offset = file.as_ptr().addr() - module.bytes.as_ptr().addr();
    let file_start = module.addr + offset as u64;
    Ok(Loaded {
        page_table,
        entry: kernel.entry,
        stack: places.stack,
        boot_info: places.boot_info,
        regions: frames.regions(),
        physical_memory: places.physical.map(|physical| physical.start),
        recursive_index,
        rsdp: handoff.rsdp,
        tls: kernel.tls,
        ramdisk: places.module.start - cmdline.len() as u64
            ..places.module.start + module.bytes.len() as u64,
        file: file_start..file_start + file.len() as u64,
    })
}

/// The memory map, with the module in use; checks that the module is where it can be used.
fn memory_map(handoff: &Handoff<'_>, module: &Module<'_>) -> Result<MemoryMap, Error> {
    let (addr, len) = (module.addr, module.bytes.len() as u64);
    let wrong = |why| Err(Error::Module { addr, len, why });
    let range = addr..addr + len;
    let mut in_use: Vec<Range<u64>, { MAX_IN_USE + 1 }> = handoff.in_use.iter().cloned().collect();
    if in_use
        .iter()
        .any(|other| range.start < other.end && other.start < range.end)
    {
        return wrong("lies over the boot stage's memory");
    }
    if !addr.is_multiple_of(PAGE) {
        return wrong("is not page-aligned");
    }
    in_use.extend([range.clone()]);
    let map = MemoryMap::new(&handoff.memory_map, &in_use);
    if len == 0 {
        return wrong("is empty");
    }
    if !map.is_ram_in_use(&range) {
        return wrong("is not in RAM");
    }
    Ok(map)
}

fn too_little_memory(map: &MemoryMap, frames_short: u64) -> Error {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let found_mib = mib(map.ram());
    Error::TooLittleMemory {
        found_mib,
        needed_mib: found_mib + mib(frames_short * PAGE),
    }
}

/// Where everything but the kernel's image goes.
#[derive(Debug)]
struct Places {
    stack: Range<u64>,
    boot_info: u64,
    cmdline: Range<u64>,
    module: Range<u64>,
    physical: Option<Range<u64>>,
    recursive: Option<u64>,
}

impl Places {
    fn find(
        kernel: &Kernel<'_>,
        map: &MemoryMap,
        module: &Module<'_>,
        cmdline: &CmdlineMember<'_>,
    ) -> Result<Self, Error> {
        let config = &kernel.config;
        let mappings = &config.mappings;
        let mut layout = Layout::new(mappings.dynamic_range_start, mappings.dynamic_range_end);
        for segment in &kernel.segments {
            layout.claim("kernel", segment.pages())?;
        }

        let stack_len = config.kernel_stack_size.next_multiple_of(PAGE);
        let cmdline_len = (cmdline.len() as u64).next_multiple_of(PAGE);
        let module_len = (module.bytes.len() as u64).next_multiple_of(PAGE);
        let request = |what, mapping, len, align| Request {
            what,
            mapping,
            len,
            align,
        };
        let optional = |what, mapping: Option<Mapping>, len, align| match mapping {
            Some(mapping) => request(what, mapping, len, align),
            None => request(what, Mapping::Dynamic, 0, align),
        };
        // With its guard page, as BootloaderConfig has it.
        let stack = request("stack", mappings.kernel_stack, PAGE + stack_len, PAGE);
        let boot_info = request("BootInfo", mappings.boot_info, BOOT_INFO_LEN, PAGE);
        let ramdisk = request(
            "ramdisk",
            mappings.ramdisk_memory,
            cmdline_len + module_len,
            PAGE,
        );
        let align = match mappings.physical_memory {
            Some(Mapping::FixedAddress(_)) => PageSize::Large,
            _ => PageSize::Huge,
        };
        let physical_len = map.mapping_end().next_multiple_of(align.bytes());
        let physical = optional(
            "physical memory",
            mappings.physical_memory,
            physical_len,
            align.bytes(),
        );
        let recursive = optional(
            "recursive page tables",
            mappings.page_table_recursive,
            1 << 39,
            1 << 39,
        );
        let [stack, boot_info, ramdisk, physical, recursive] =
            layout.place(&[stack, boot_info, ramdisk, physical, recursive])?;

        let (stack, module) = (stack + PAGE, ramdisk + cmdline_len);
        Ok(Self {
            stack: stack..stack + stack_len,
            boot_info,
            cmdline: ramdisk..module,
            module: module..module + module_len,
            physical: mappings
                .physical_memory
                .map(|_| physical..physical + physical_len),
            recursive: mappings.page_table_recursive.map(|_| recursive),
        })
    }

    /// At most how many frames it takes to have all this, with the kernel and page tables.
    fn frames_needed(&self, kernel: &Kernel<'_>) -> u64 {
        let small = |range: &Range<u64>| {
            let len = range.end - range.start;
            len / PAGE + paging::tables_for(len, PageSize::Small)
        };
        let segments: u64 = kernel.segments.iter().map(|s| small(&s.pages())).sum();
        let module = self.module.end - self.module.start;
        let physical = self.physical.as_ref().map_or(0, |p| p.end - p.start);
        let fresh = [
            &self.stack,
            &(self.boot_info..self.boot_info + BOOT_INFO_LEN),
            &self.cmdline,
        ];
        let root_and_switch = 1 + paging::tables_for(PAGE, PageSize::Small);
        segments
            + fresh.into_iter().map(small).sum::<u64>()
            + paging::tables_for(module, PageSize::Small)
            + paging::tables_for(physical, PageSize::Large)
            + root_and_switch
    }

    /// Maps all this; answers the recursive index.
    fn map_all<M: Memory>(
        &self,
        mapper: &mut Mapper<'_, '_, M>,
        module: &Module<'_>,
        cmdline: &CmdlineMember<'_>,
        machine: Machine,
    ) -> Result<Option<u16>, MapError> {
        for page in pages(&self.stack) {
            mapper.map_fresh(page, DATA)?;
        }
        for page in pages(&(self.boot_info..self.boot_info + BOOT_INFO_LEN)) {
            mapper.map_fresh(page, DATA)?;
        }
        let member = self.module.start - cmdline.len() as u64;
        for page in pages(&self.cmdline) {
            let bytes = mapper.map_fresh(page, READ_ONLY)?;
            bytes.fill(0);
            cmdline.lay(bytes, page, member);
        }
        mapper.map(self.module.clone(), module.addr, PageSize::Small, READ_ONLY)?;
        if let Some(physical) = &self.physical {
            let size = match (physical.start | physical.end) % PageSize::Huge.bytes() {
                0 if machine.huge_pages => PageSize::Huge,
                _ => PageSize::Large,
            };
            mapper.map(physical.clone(), 0, size, DATA)?;
        }
        let index = match self.recursive {
            Some(at) => Some(mapper.map_recursively(at)?),
            None => None,
        };
        let switch = machine.switch_page.start_address().as_u64();
        mapper.map(switch..switch + PAGE, switch, PageSize::Small, CODE)?;
        Ok(index)
    }
}

fn load_segment<M: Memory>(
    mapper: &mut Mapper<'_, '_, M>,
    segment: &Segment<'_>,
) -> Result<(), MapError> {
    let flags = match (segment.executable, segment.writable) {
        (true, _) => CODE,
        (false, true) => DATA,
        (false, false) => READ_ONLY,
    };
    let data = segment.start..segment.start + segment.data.len() as u64;
    for page in pages(&segment.pages()) {
        let bytes = mapper.map_fresh(page, flags)?;
        if page < data.start || data.end < page + PAGE {
            bytes.fill(0);
        }
        archive::lay(bytes, page, segment.data, segment.start);
    }
    Ok(())
}

/// The addresses of the pages in `range`.
fn pages(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    range.clone().step_by(PAGE as usize)
}
