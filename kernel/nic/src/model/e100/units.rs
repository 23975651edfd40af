//! The command unit and the receive unit of the model, in steps small enough that the driver can
//! get between any two of them.

use super::{Behaviour, Card, Incoming};
use alloc::vec::Vec;

const C: u16 = 0x8000;
const OK: u16 = 0x2000;
const EL: u16 = 0x8000;
const S: u16 = 0x4000;
const I: u16 = 0x2000;
const SF: u16 = 0x0008;
/// In the counts of a transmit block.
const EOF: u32 = 1 << 15;
const CX: u8 = 0x80;
const FR: u8 = 0x40;
const CNA: u8 = 0x20;
const RNR: u8 = 0x10;
/// QEMU's bound on one START or RESUME.
const QEMU_BLOCKS: usize = 16;

/// Position of the counters in the dump.
const TX_GOOD: usize = 0;
const RX_GOOD: usize = 9;
const RX_RESOURCE_ERRORS: usize = 12;
const RX_SHORT_FRAMES: usize = 15;
/// The shortest frame on a wire, and the longest without a VLAN tag, without their checksums.
const SHORTEST: usize = 60;
const LONGEST: usize = 1514;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CuState {
    #[default]
    Idle,
    Suspended,
    Active,
}

/// What the command unit does next with its block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Fetch,
    Execute,
    Complete,
    Advance,
}

#[derive(Debug, Default)]
pub struct CommandUnit {
    pub state: CuState,
    pub block: u64,
    phase: Phase,
    command: u16,
    /// RESUME came while active: look at S again before suspending.
    resume_pending: bool,
    pub frames: Vec<Vec<u8>>,
    pub configured: bool,
    /// The bytes of the last CONFIGURE.
    pub configuration: [u8; 22],
    pub mac: Option<[u8; 6]>,
    pub multicast_set: bool,
    /// Command codes executed, in order.
    pub executed: Vec<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuState {
    #[default]
    Idle,
    NoResources,
    Ready,
}

/// A frame on its way into a descriptor.
#[derive(Debug)]
struct Filling {
    frame: Incoming,
    command: u16,
    step: u8,
}

#[derive(Debug, Default)]
pub struct ReceiveUnit {
    pub state: RuState,
    pub next: u64,
    filling: Option<Filling>,
}

impl Card {
    /// One step of one unit. False if there was nothing to do.
    pub(super) fn step(&mut self) -> bool {
        // QEMU's command unit stands still between doorbells, even where it says "active".
        let command = self.behaviour == Behaviour::Silicon;
        if self.rng.one_in(2) && self.receive_step() {
            return true;
        }
        command && self.command_step() || self.receive_step()
    }

    pub(super) fn cu_start(&mut self, pointer: u32) {
        assert_ne!(
            self.cu.state,
            CuState::Active,
            "CU START while active (OSDM 6.3.2.2)"
        );
        self.cu.block = u64::from(pointer);
        self.cu_run();
    }

    pub(super) fn cu_resume(&mut self) {
        let block = self.cu.block;
        match (self.behaviour, self.cu.state) {
            (_, CuState::Idle) => panic!("CU RESUME while idle (OSDM 6.3.2.2)"),
            // QEMU has the link of the last block at hand and looks at nothing.
            (Behaviour::Qemu, CuState::Suspended) => {
                self.cu.block = self.link(block);
                self.cu_run();
            }
            (Behaviour::Qemu, CuState::Active) => self.cu_run(),
            (Behaviour::Silicon, CuState::Active) => self.cu.resume_pending = true,
            (Behaviour::Silicon, CuState::Suspended) => {
                if self.command_word(block) & S == 0 {
                    self.cu.block = self.link(block);
                    self.cu_run();
                } else {
                    // A card that moves by itself may have got here before the driver's RESUME.
                    assert!(
                        self.moves_by_itself(),
                        "CU RESUME without a new block after the suspended one"
                    );
                }
            }
        }
    }

    fn cu_run(&mut self) {
        self.cu.state = CuState::Active;
        self.cu.phase = Phase::Fetch;
        self.cu.resume_pending = false;
        // QEMU's command unit is synchronous; so is a card that only moves on doorbells.
        let synchronous = self.behaviour == Behaviour::Qemu || !self.moves_by_itself();
        let mut blocks = 0;
        while synchronous && self.cu.state == CuState::Active {
            if self.behaviour == Behaviour::Qemu && blocks == QEMU_BLOCKS {
                return;
            }
            blocks += usize::from(self.cu.phase == Phase::Advance);
            self.command_step();
        }
    }

    fn command_step(&mut self) -> bool {
        if self.cu.state != CuState::Active {
            return false;
        }
        let block = self.cu.block;
        match self.cu.phase {
            Phase::Fetch => {
                let status = self.memory.load16(self.memory.offset(block, 16));
                assert!(
                    status & C == 0 || self.behaviour == Behaviour::Qemu,
                    "the card ran into a block that is not new: {block:#x}"
                );
                self.cu.command = self.command_word(block);
                self.cu.phase = Phase::Execute;
            }
            Phase::Execute => {
                self.execute(block);
                self.cu.phase = Phase::Complete;
            }
            Phase::Complete => {
                let offset = self.memory.offset(block, 16);
                let old = match self.behaviour {
                    Behaviour::Qemu => self.memory.load16(offset),
                    Behaviour::Silicon => 0,
                };
                let ok = if self.defects.blocks_fail { 0 } else { OK };
                self.memory.store16(offset, old | C | ok);
                self.cu.phase = Phase::Advance;
            }
            Phase::Advance => self.advance(block),
        }
        true
    }

    fn advance(&mut self, block: u64) {
        // A chip may have read S with the rest of the block, or look at it only now.
        let late = self.behaviour == Behaviour::Silicon && self.rng.one_in(2);
        let again = core::mem::take(&mut self.cu.resume_pending);
        let command = if late || again {
            self.command_word(block)
        } else {
            self.cu.command
        };
        let mut causes = 0;
        if command & I != 0 {
            causes |= CX;
        }
        if command & EL != 0 {
            self.cu.state = CuState::Idle;
            causes |= CNA;
        } else if command & S != 0 {
            self.cu.state = CuState::Suspended;
            causes |= CNA;
        } else {
            self.cu.block = self.link(block);
            self.cu.phase = Phase::Fetch;
        }
        self.raise(causes);
    }

    fn execute(&mut self, block: u64) {
        let code = self.cu.command & 7;
        self.cu.executed.push(code);
        let offset = self.memory.offset(block, 16);
        match code {
            1 => self.cu.mac = Some(self.memory.bytes(offset + 8, 6).try_into().expect("6")),
            2 => {
                let bytes = self.memory.bytes(offset + 8, 22);
                assert_eq!(bytes[0] & 0x3f, 22, "CONFIGURE byte count");
                assert_eq!(
                    bytes[6] & 0x32,
                    0x32,
                    "CONFIGURE byte 6: standard TCB, counters"
                );
                assert_eq!(bytes[18] & 0x04, 0, "CONFIGURE byte 18: CRC transfer");
                self.cu.configuration = bytes.try_into().expect("22");
                self.cu.configured = true;
            }
            3 => self.cu.multicast_set = true,
            4 => self.transmit(offset),
            code => panic!("command {code} in block {block:#x} is not modelled"),
        }
    }

    fn transmit(&mut self, offset: usize) {
        assert!(self.cu.configured, "transmit before CONFIGURE");
        assert!(self.cu.mac.is_some(), "transmit before IA SETUP");
        let tbd_array = self.memory.load32(offset + 8);
        let counts = self.memory.load32(offset + 12);
        assert_ne!(
            counts >> 16 & 0xff,
            0,
            "transmit threshold 0 (OSDM 6.4.2.5)"
        );
        let is_flexible = self.cu.command & SF != 0;
        let mut frame = Vec::new();
        if is_flexible {
            assert_eq!(counts & 0xffff, 0, "bytes in the block, in flexible mode");
        } else {
            assert_eq!(tbd_array, 0xffff_ffff, "TBD array without SF");
            assert_eq!(counts >> 24, 0, "descriptors without SF");
            assert_ne!(counts & EOF, 0, "the frame is to end in the block");
            let len = (counts & 0x3fff) as usize;
            frame.extend_from_slice(self.memory.bytes(offset + 16, len));
        }
        for index in 0..u64::from(counts >> 24) {
            let tbd = self.memory.offset(u64::from(tbd_array) + 8 * index, 8);
            let size = self.memory.load32(tbd + 4);
            let len = (size & 0x3fff) as usize;
            let data = self.memory.offset(self.memory.load32(tbd).into(), len);
            frame.extend_from_slice(self.memory.bytes(data, len));
            if size & 1 << 16 != 0 {
                break;
            }
        }
        assert!(!frame.is_empty(), "a frame of no bytes wedges QEMU");
        assert!(frame.len() <= 1514, "frame too long: {}", frame.len());
        self.counters[TX_GOOD] += 1;
        self.cu.frames.push(frame);
    }

    pub(super) fn ru_start(&mut self, pointer: u32) {
        assert_ne!(
            self.ru.state,
            RuState::Ready,
            "RU START while ready (OSDM 6.3.2.2)"
        );
        assert!(self.cu.configured, "RU START before CONFIGURE");
        self.ru.next = u64::from(pointer);
        self.ru.state = RuState::Ready;
        // A card may fetch what it fills next, and what that leads to, at once.
        self.check_end_of_list();
        if !self.moves_by_itself() {
            while self.receive_step() {}
        }
    }

    /// The frame that is being stored is stored: QEMU does that under the lock that a register
    /// access needs too.
    pub(super) fn finish_frame(&mut self) {
        while self.ru.filling.is_some() {
            self.receive_step();
        }
    }

    pub(super) fn receive_step(&mut self) -> bool {
        if let Some(mut filling) = self.ru.filling.take() {
            if !self.fill(&mut filling) {
                self.ru.filling = Some(filling);
            }
            return true;
        }
        if self.incoming.is_empty() {
            return false;
        }
        if self.gap > 0 {
            self.gap -= 1;
            return true;
        }
        let frame = self.incoming.pop_front().expect("not empty");
        if self.moves_by_itself() {
            // Back to back, or close, or far apart.
            let most = [1, 8, 100][self.rng.below(3)];
            self.gap = self.rng.below(most);
        }
        if !self.wants(&frame.bytes) {
            self.dropped += 1;
            return true;
        }
        if self.ru.state != RuState::Ready {
            self.counters[RX_RESOURCE_ERRORS] += 1;
            self.dropped += 1;
            if self.behaviour == Behaviour::Qemu {
                self.raise(RNR);
            }
            return true;
        }
        let offset = self.memory.offset(self.ru.next, 16);
        let status = self.memory.load16(offset);
        assert!(
            status & C == 0,
            "the card overwrites a frame that nobody has read: {:#x}",
            self.ru.next
        );
        let size = self.memory.load16(offset + 14);
        let mut frame = frame;
        if frame.bytes.len() > size.into() {
            // What does not fit is lost, and only silicon says so.
            frame.bytes.truncate(size.into());
            frame.good &= self.behaviour == Behaviour::Qemu;
        }
        let command = self.command_word(self.ru.next);
        self.ru.filling = Some(Filling {
            frame,
            command,
            step: 0,
        });
        true
    }

    /// Whether the frame is for this station, and of a length that CONFIGURE lets through. (No test
    /// sets a multicast list: no group is wanted.)
    fn wants(&mut self, bytes: &[u8]) -> bool {
        if !self.cu.configured {
            return true;
        }
        let [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            byte_7,
            ..,
            byte_15,
            _,
            _,
            byte_18,
            _,
            _,
            byte_21,
        ] = self.cu.configuration;
        if bytes.len() < SHORTEST && byte_7 & 1 != 0 && !self.defects.keeps_short {
            // QEMU has lengthened it before.
            self.counters[RX_SHORT_FRAMES] += 1;
            return false;
        }
        // QEMU measures as if a checksum came with each frame.
        let longest = match self.behaviour {
            Behaviour::Silicon => LONGEST,
            Behaviour::Qemu => LONGEST + 4,
        };
        if bytes.len() > longest && byte_18 & 1 << 3 == 0 {
            return false;
        }
        let to = &bytes[..6];
        let to_me = self.cu.mac.is_some_and(|mac| to == mac);
        let all_groups = byte_21 & 1 << 3 != 0 && to[0] & 1 != 0;
        to_me || to == [0xff; 6] || all_groups || byte_15 & 1 != 0
    }

    /// One step of storing a frame; true after the last. Silicon writes the status last, QEMU
    /// first, and the end-of-frame bits of the count only silicon.
    fn fill(&mut self, filling: &mut Filling) -> bool {
        let next = self.ru.next;
        let offset = self.memory.offset(next, 16);
        let bytes = &filling.frame.bytes;
        let qemu = self.behaviour == Behaviour::Qemu;
        let order = if qemu { [2, 1, 0] } else { [0, 1, 2] };
        match order.get(usize::from(filling.step)) {
            Some(0) => {
                let data = self.memory.offset(next + 16, bytes.len());
                self.memory
                    .bytes_mut(data, bytes.len())
                    .copy_from_slice(bytes);
            }
            Some(1) => {
                let marks = if qemu { 0 } else { 0xc000 };
                self.memory.store16(offset + 12, bytes.len() as u16 | marks);
            }
            Some(_) => {
                // A chip may have read EL with the rest, or look at it only now, as with S.
                if !qemu && self.rng.one_in(2) {
                    filling.command = self.command_word(next);
                }
                let status = if filling.frame.good { C | OK } else { C };
                self.memory.store16(offset, status);
            }
            None => {
                let mut causes = FR;
                self.ru.next = self.link(next);
                if filling.command & EL != 0 {
                    self.ru.state = RuState::NoResources;
                    causes |= RNR;
                }
                if filling.frame.good {
                    self.counters[RX_GOOD] += 1;
                    self.delivered
                        .push(core::mem::take(&mut filling.frame.bytes));
                }
                self.raise(causes);
                return true;
            }
        }
        filling.step += 1;
        false
    }

    /// Panics if a store of the driver hits what is the card's. Free are only the command words,
    /// to take S or EL away.
    pub(super) fn check_store(&self, offset: usize, len: usize) {
        let hits = |address: u64, size: usize, whole: usize| {
            let start = self.memory.offset(address, whole);
            let command_only = offset == start + 2 && len == 2;
            offset < start + size && start < offset + len && !command_only
        };
        if self.cu.state != CuState::Idle {
            // A suspended unit will look at its block's S and link again; an active one, besides,
            // at its data.
            let busy = self.cu.state == CuState::Active && self.cu.phase != Phase::Advance;
            let (block, stored) = (self.memory.offset(self.cu.block, 32), len);
            let command = self.memory.load16(block + 2);
            // Commands but those of flexible mode have their argument in the block.
            let argument = (self.memory.load16(block + 12) & 0x3fff) as usize;
            let sends = command & 7 == 4 && command & SF != 0;
            let size = match (busy, command & (7 | SF)) {
                (false, _) => 8,
                (true, 4) => 16 + argument,
                (true, _) => 32,
            };
            assert!(
                !hits(self.cu.block, size, 32),
                "the driver writes into the command block that the card is at"
            );
            for tbd in [block + 16, block + 24]
                .into_iter()
                .filter(|_| busy && sends)
            {
                let [data, size] = [0, 4].map(|at| self.memory.load32(tbd + at));
                let len = (size & 0x3fff) as usize;
                let data = self.memory.offset(data.into(), len);
                assert!(
                    offset >= data + len || data >= offset + stored,
                    "the driver writes into the frame that the card is at"
                );
                if size & 1 << 16 != 0 {
                    break;
                }
            }
        }
        if self.ru.state == RuState::Ready {
            let descriptor = self.memory.offset(self.ru.next, 16);
            let size = usize::from(self.memory.load16(descriptor + 14));
            // Silicon is done with a descriptor once it has set C, QEMU has then just begun.
            let complete = self.memory.load16(descriptor) & C != 0;
            let done = complete && self.behaviour == Behaviour::Silicon;
            assert!(
                done || !hits(self.ru.next, 16 + size, 16),
                "the driver writes into the descriptor that the card fills next"
            );
        }
    }

    /// Panics if the receive unit could run into frames that nobody has read.
    fn check_end_of_list(&self) {
        let mut descriptor = self.ru.next;
        // The one being filled may have its C already.
        let mut filling = self.ru.filling.is_some();
        let mut walked = 0;
        while self.ru.state == RuState::Ready && self.command_word(descriptor) & EL == 0 {
            walked += 1;
            assert!(walked < 10_000, "a ring without an end of list");
            let status = self.memory.load16(self.memory.offset(descriptor, 16));
            assert!(
                filling || status & C == 0,
                "the end of the list is gone before a new one is marked"
            );
            filling = false;
            descriptor = self.link(descriptor);
        }
    }

    /// [`Card::check_end_of_list`] now and then: it walks round the whole ring.
    pub(super) fn seldom_check_end_of_list(&mut self) {
        if self.rng.one_in(16) {
            self.check_end_of_list();
        }
    }

    fn link(&self, block: u64) -> u64 {
        self.memory.load32(self.memory.offset(block, 16) + 4).into()
    }

    fn command_word(&self, block: u64) -> u16 {
        self.memory.load16(self.memory.offset(block, 16) + 2)
    }
}
