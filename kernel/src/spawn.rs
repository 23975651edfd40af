//! Starting programs, and the memory that they get later.
//!
//! Each function here is the body of one system call. The kernel keeps nothing on its heap for a
//! program: a process has its place in the table, and the rest of it is frames. A call for which
//! there is no memory has changed nothing.

use crate::elf::Program;
use crate::process::{Machine, Registers, Table};
use crate::ramdisk::Ramdisk;
use crate::space::Piece;
use abi::ipc::Pid;
use abi::layout::{self, PAGE_SIZE, Places, STACK_SIZE};
use abi::{Error, Result};

/// Frames kept back from programs' heaps, so that the kernel can still start a program
/// that helps (256 KiB).
const RESERVE_FRAMES: u64 = 64;

impl<M: Machine> Table<M> {
    /// `Syscall::Spawn`: starts the program at `path` of the ramdisk, at these places. A child of a process that
    /// mutes its children is mute.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotExecutable`], [`Error::NoMemory`], [`Error::TooLong`] for
    /// arguments that do not fit on the stack.
    pub fn spawn(
        &mut self,
        ramdisk: &Ramdisk<'static>,
        path: &str,
        arguments: &str,
        parent: Option<Pid>,
        places: Places,
    ) -> Result<Pid> {
        let file = ramdisk.find(path).ok_or(Error::NotFound)?;
        let program = Program::parse(file.data).map_err(|error| {
            log::warn!("{path} is no program: {error}");
            Error::NotExecutable
        })?;
        let mut space = self.machine.new_space()?;
        for segment in program.segments() {
            let piece = Piece {
                address: places.image + segment.virtual_address,
                len: segment.memory_size,
                data: segment.data,
                writable: segment.writable,
                executable: segment.executable,
            };
            self.machine.add_memory(&mut space, &piece, 0)?;
        }
        for at in program.relocations() {
            self.relocate(&space, places.image + at, places.image)?;
        }
        let stack = memory(places.stack_end - STACK_SIZE, STACK_SIZE);
        self.machine.add_memory(&mut space, &stack, 0)?;
        // The arguments lie at the end of the stack; below them it is aligned as the
        // psABI wants it before a call.
        let text = places.stack_end - arguments.len() as u64;
        let written = self.machine.write(&space, text, arguments.as_bytes());
        written.map_err(|_| Error::TooLong)?;
        let bytes = ramdisk.bytes();
        let page_offset = bytes.as_ptr() as u64 % PAGE_SIZE;
        let registers = Registers {
            rdi: text,
            rsi: arguments.len() as u64,
            rdx: layout::RAMDISK_START + page_offset,
            rcx: bytes.len() as u64,
            ..self
                .machine
                .entry_registers(places.image + program.entry(), text & !15)
        };
        let child = self.add(file.path.file_name(), space, registers, places, parent)?;
        let is_mute = parent
            .and_then(|parent| self.get(parent))
            .is_some_and(|parent| parent.mutes_children);
        if let Some(child) = self.get_mut(child) {
            child.is_mute = is_mute;
        }
        Ok(child)
    }

    /// Adds to the word at an address of a program's data.
    fn relocate(&self, space: &M::Space, at: u64, added: u64) -> Result<()> {
        let mut word = [0; 8];
        self.machine.read(space, at, &mut word)?;
        let moved = u64::from_le_bytes(word).wrapping_add(added);
        self.machine.write(space, at, &moved.to_le_bytes())
    }

    /// `Syscall::GrowHeap`: by `bytes`, rounded up to pages. Returns the heap's old end.
    ///
    /// # Errors
    /// [`Error::NoMemory`], [`Error::InvalidArgument`] for more bytes than there are addresses.
    pub fn grow_heap(&mut self, pid: Pid, bytes: u64) -> Result<u64> {
        let bytes = bytes.checked_next_multiple_of(PAGE_SIZE);
        let bytes = bytes.ok_or(Error::InvalidArgument)?;
        let slot = self.slots.get_mut(pid.slot()).and_then(Option::as_mut);
        let process = slot.filter(|process| process.pid == pid);
        let process = process.ok_or(Error::NotFound)?;
        let end = process.heap_end;
        if bytes == 0 {
            return Ok(end);
        }
        if bytes > process.places.heap_max - end {
            return Err(Error::NoMemory);
        }
        let space = process.space.as_mut().ok_or(Error::NotFound)?;
        self.machine
            .add_memory(space, &memory(end, bytes), RESERVE_FRAMES)?;
        process.heap_end = end + bytes;
        Ok(end)
    }
}

/// Zeroed memory to read and write.
fn memory(address: u64, len: u64) -> Piece<'static> {
    Piece {
        address,
        len,
        data: &[],
        writable: true,
        executable: false,
    }
}

#[cfg(test)]
mod tests;
