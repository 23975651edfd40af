//! The machine's remapping units (`kernel::iommu`): their registers, and frames for their tables.

use super::paging;
use super::pci::Physical;
use super::timer;
use crate::mmio::Mmio;
use abi::layout::PAGE_SIZE;
use alloc::vec::Vec;
use core::arch::x86_64::_mm_clflush;
use kernel::acpi::AcpiError;
use kernel::iommu::{self, Dmar, Error, Fault, Frames, Iommu, NONE, Registers, Unit};
use kernel::pci::Address;
use kernel::runs::Runs;
use spin::Mutex;
use x86_64::PhysAddr;

/// Units of this PCI segment, the one that configuration space is read of.
const SEGMENT: u16 = 0;
/// Bytes of a line of the processor's caches.
const LINE: usize = 64;

static IOMMU: Mutex<Option<Iommu<TableFrames, Port>>> = Mutex::new(None);

/// Turns on the units that ACPI names, before any card may use memory, and says so, or that there are none.
/// All cards may read the ramdisk.
#[cold]
pub fn start(rsdp: Option<u64>, is_off: bool, ramdisk: Runs) {
    if is_off {
        log::info!("IOMMU off: {NONE}");
        return;
    }
    let dmar = match Dmar::read(&Physical, rsdp.unwrap_or(0)) {
        Ok(dmar) => dmar,
        Err(error) => {
            if !matches!(error, AcpiError::NoTable(_) | AcpiError::NoRsdp(_)) {
                log::warn!("{error}");
            }
            log::info!("no IOMMU: {NONE}");
            return;
        }
    };
    let mut units = Vec::new();
    for place in dmar.units.iter().filter(|place| place.segment == SEGMENT) {
        let registers = PhysAddr::new(place.base);
        let port = paging::map_device(registers, place.len).map(|mmio| Port(mmio, place.len));
        match port
            .ok_or(Error::NoMemory)
            .and_then(|port| Unit::new(port, place.base))
        {
            Ok(unit) => units.push(unit),
            Err(error) => log::error!("{}", iommu::left_out(place.base, error)),
        }
    }
    match Iommu::start(units, TableFrames, ramdisk) {
        Ok(iommu) => {
            iommu.introduce(&dmar);
            *IOMMU.lock() = Some(iommu);
        }
        Err(error) => log::error!("no IOMMU: {error}: {NONE}"),
    }
}

/// Gives a function memory, if there is somebody who would keep it from it.
///
/// # Errors
/// Why it has been given nothing.
#[cold]
pub fn give(function: Address, start: u64, len: usize) -> Result<(), Error> {
    match IOMMU.lock().as_mut() {
        Some(iommu) => iommu.give(function, start, len),
        None => Ok(()),
    }
}

/// Takes everything from a function that it was given.
#[cold]
pub fn take_back(function: Address) {
    if let Some(iommu) = IOMMU.lock().as_mut() {
        iommu.take_back(function);
    }
}

/// Tells of DMA that was stopped since the last time.
#[cold]
pub fn faults(tell: &mut dyn FnMut(Fault)) {
    if let Some(iommu) = IOMMU.lock().as_mut() {
        iommu.faults(tell);
    }
}

/// The registers of a unit, and how many bytes they are.
struct Port(Mmio, usize);

impl Registers for Port {
    fn size(&self) -> usize {
        self.1
    }

    fn read(&mut self, offset: usize) -> u32 {
        self.0.read(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.0.write(offset, value);
    }

    fn pause(&mut self) {
        timer::delay_us(10);
    }
}

/// Frames that are tables for units and nothing else.
struct TableFrames;

impl Frames for TableFrames {
    fn take(&mut self) -> Option<u64> {
        let frame = paging::zeroed_frame()?.start_address();
        for line in (0..PAGE_SIZE as usize).step_by(LINE) {
            // SAFETY: the frame is mapped.
            unsafe { _mm_clflush(paging::physical(frame).add(line)) };
        }
        Some(frame.as_u64())
    }

    fn give_back(&mut self, frame: u64) {
        paging::free_run(PhysAddr::new(frame), PAGE_SIZE as usize);
    }

    fn read(&self, frame: u64, index: usize) -> u64 {
        // SAFETY: inside the frame (see `word`); units never write to it.
        unsafe { word(frame, index).read_volatile() }
    }

    fn write(&mut self, frame: u64, index: usize, entry: u64) {
        let word = word(frame, index);
        // SAFETY: inside the frame (see `word`), to which no reference exists.
        unsafe {
            word.write_volatile(entry);
            _mm_clflush(word.cast());
        }
    }
}

/// Where a word of a frame is seen.
fn word(frame: u64, index: usize) -> *mut u64 {
    assert!(index < PAGE_SIZE as usize / size_of::<u64>());
    paging::physical(PhysAddr::new(frame))
        .cast::<u64>()
        .wrapping_add(index)
}
