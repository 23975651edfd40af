//! What the tests need of a machine: memory, a page walk, tar and ELF files, chance.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use bootloader_api::BootloaderConfig;
use elf::abi;
use x86_64::structures::paging::{PageTable, PageTableFlags, PhysFrame};

use crate::paging::Memory;

/// The text and data addresses of [`Elf::small`].
pub const TEXT: u64 = 0xffff_ffff_8000_1000;
pub const DATA: u64 = 0xffff_ffff_8000_3000;

/// Physical memory that is full of rubbish at first, and knows a table from a page.
#[derive(Default)]
pub struct Model {
    pub tables: BTreeMap<u64, Box<PageTable>>,
    pub pages: BTreeMap<u64, Box<[u8; 4096]>>,
}

impl Memory for Model {
    fn table(&mut self, frame: PhysFrame) -> &mut PageTable {
        let addr = frame.start_address().as_u64();
        assert!(!self.pages.contains_key(&addr), "a page became a table");
        self.tables.entry(addr).or_insert_with(|| {
            let mut rubbish = Box::new(PageTable::new());
            for entry in rubbish.iter_mut() {
                entry.set_addr(frame.start_address(), PageTableFlags::all());
            }
            rubbish
        })
    }

    fn bytes(&mut self, frame: PhysFrame) -> &mut [u8; 4096] {
        let addr = frame.start_address().as_u64();
        assert!(!self.tables.contains_key(&addr), "a table became a page");
        self.pages
            .entry(addr)
            .or_insert_with(|| Box::new([0xa5; 4096]))
    }
}

/// A leaf of the page tables.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    pub virt: u64,
    pub phys: u64,
    pub len: u64,
    pub flags: PageTableFlags,
}

impl Model {
    /// All that is mapped, in ascending order, but for what goes through the level 4 entry
    /// `recursive`.
    pub fn leaves(&self, root: PhysFrame, recursive: Option<u16>) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        let root = root.start_address().as_u64();
        self.walk(root, 39, 0, recursive, &mut leaves);
        leaves
    }

    fn walk(&self, table: u64, shift: u32, base: u64, skip: Option<u16>, out: &mut Vec<Leaf>) {
        for (index, entry) in self.tables[&table].iter().enumerate() {
            let flags = entry.flags();
            if !flags.contains(PageTableFlags::PRESENT) || skip == Some(index as u16) {
                continue;
            }
            let mut virt = base | (index as u64) << shift;
            if shift == 39 && index >= 256 {
                virt |= 0xffff << 48;
            }
            let phys = entry.addr().as_u64();
            if shift == 12 || flags.contains(PageTableFlags::HUGE_PAGE) {
                out.push(Leaf {
                    virt,
                    phys,
                    len: 1 << shift,
                    flags,
                });
            } else {
                self.walk(phys, shift - 9, virt, None, out);
            }
        }
    }
}

/// The leaf that maps `virt`.
pub fn leaf_at(leaves: &[Leaf], virt: u64) -> Option<Leaf> {
    let mut found = leaves
        .iter()
        .filter(|leaf| leaf.virt <= virt && virt - leaf.virt < leaf.len);
    found.next().copied()
}

/// A tar archive, by hand: headers of the tests' own making.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, data) in files {
        archive.extend(header(name, data.len()));
        archive.extend_from_slice(data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn header(name: &str, len: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, "0000644\0");
    put(124, &std::format!("{len:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    let sum: String = std::format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(sum.as_bytes());
    header
}

/// A program header to be, with its data.
#[derive(Clone)]
pub struct Header {
    pub kind: u32,
    pub flags: u32,
    pub addr: u64,
    pub data: Vec<u8>,
    pub mem_len: u64,
    /// Instead of where the data is and how long.
    pub file_range: Option<(u64, u64)>,
}

impl Header {
    pub fn load(flags: u32, addr: u64, data: Vec<u8>, mem_len: u64) -> Self {
        Self {
            kind: abi::PT_LOAD,
            flags,
            addr,
            data,
            mem_len,
            file_range: None,
        }
    }
}

/// An ELF file to be.
#[derive(Clone)]
pub struct Elf {
    pub kind: u16,
    pub machine: u16,
    pub entry: u64,
    pub headers: Vec<Header>,
    pub config: Option<Vec<u8>>,
}

impl Elf {
    /// A kernel of two segments: one page of text, and data with a page and a half of bss.
    pub fn small(config: &BootloaderConfig) -> Self {
        let text = (0..4096u32).map(|i| (i % 251) as u8).collect();
        let data = std::vec![0x77; 100];
        Self {
            kind: abi::ET_EXEC,
            machine: abi::EM_X86_64,
            entry: TEXT + 16,
            headers: std::vec![
                Header::load(abi::PF_R | abi::PF_X, TEXT, text, 4096),
                Header::load(abi::PF_R | abi::PF_W, DATA + 8, data, 6144),
            ],
            config: Some(config.serialize().to_vec()),
        }
    }

    pub fn build(&self) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.bootloader-config\0.shstrtab\0";
        let count = self.headers.len();
        let mut data_at = 64 + 56 * count as u64;
        let mut table = Vec::new();
        let mut data: Vec<u8> = Vec::new();
        for header in &self.headers {
            let len = header.data.len() as u64;
            let (offset, file_len) = header.file_range.unwrap_or((data_at, len));
            table.extend(header.kind.to_le_bytes());
            table.extend(header.flags.to_le_bytes());
            for field in [
                offset,
                header.addr,
                header.addr,
                file_len,
                header.mem_len,
                4096,
            ] {
                table.extend(field.to_le_bytes());
            }
            data.extend(&header.data);
            data_at += len;
        }
        let config = self.config.clone().unwrap_or_default();
        let names_at = data_at + config.len() as u64;
        let sections_at = names_at + NAMES.len() as u64;

        let mut file = Vec::from(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend(self.kind.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        for field in [self.entry, 64, sections_at] {
            file.extend(field.to_le_bytes());
        }
        file.extend(0u32.to_le_bytes());
        for field in [64, 56, count as u16, 64, 3, 2] {
            file.extend(field.to_le_bytes());
        }
        file.extend(table);
        file.extend(data);
        file.extend(&config);
        file.extend(NAMES);
        file.extend([0; 64]);
        let config_name = if self.config.is_some() { 1 } else { 20 };
        for (name, kind, at, len) in [
            (config_name, abi::SHT_PROGBITS, data_at, config.len() as u64),
            (20, abi::SHT_STRTAB, names_at, NAMES.len() as u64),
        ] {
            file.extend(u32::to_le_bytes(name));
            file.extend(kind.to_le_bytes());
            for field in [0, 0, at, len, 0, 1, 0] {
                file.extend(u64::to_le_bytes(field));
            }
        }
        file
    }
}

/// Reproducible chance (xorshift64*).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}
