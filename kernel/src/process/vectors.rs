//! The vector registers of a process that does not run.

/// The x87 and SSE state, as `fxsave64` writes it (Intel SDM vol. 1, §10.5.1).
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct FpuState(pub [u8; 512]);

impl FpuState {
    /// All data registers clear, and the control words of a new process.
    pub const CLEAR: Self = {
        let words = ControlWords::NEW;
        let mut area = [0; 512];
        [area[0], area[1]] = words.x87.to_le_bytes();
        [area[24], area[25], area[26], area[27]] = words.mxcsr.to_le_bytes();
        FpuState(area)
    };

    /// The control words in it.
    pub fn control_words(&self) -> ControlWords {
        let area = &self.0;
        ControlWords {
            x87: u16::from_le_bytes([area[0], area[1]]),
            mxcsr: u32::from_le_bytes([area[24], area[25], area[26], area[27]]),
        }
    }

    /// Changes the control words in it.
    pub fn set_control_words(&mut self, words: ControlWords) {
        self.0[0..2].copy_from_slice(&words.x87.to_le_bytes());
        self.0[24..28].copy_from_slice(&words.mxcsr.to_le_bytes());
    }
}

/// The part of the vector state that a system call preserves (see [`abi::syscall`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlWords {
    /// The x87 control word.
    pub x87: u16,
    /// MXCSR.
    pub mxcsr: u32,
}

impl ControlWords {
    /// All exceptions masked, round to nearest, as the psABI asks of a new process.
    pub const NEW: Self = ControlWords {
        x87: 0x037f,
        mxcsr: 0x1f80,
    };
}

/// The vector state of a process that does not run.
///
/// Most processes sleep in a system call, which preserves the control words only. So a switch from one such
/// process to the next copies no registers.
pub struct Vectors {
    area: FpuState,
    words: ControlWords,
    is_kept: bool,
}

impl Vectors {
    /// The state of a new process. It counts as interrupted before its first instruction, so that all its
    /// general registers are restored, too.
    pub(super) fn new() -> Self {
        Vectors {
            area: FpuState::CLEAR,
            words: ControlWords::NEW,
            is_kept: true,
        }
    }

    /// The process was interrupted.
    pub fn keep(&mut self, state: &FpuState) {
        self.area = *state;
        self.is_kept = true;
    }

    /// The process is in a system call.
    pub fn clear(&mut self, words: ControlWords) {
        self.words = words;
        self.is_kept = false;
    }

    /// What the process goes on with: its whole state, or clear data registers and these control words.
    pub fn state(&self) -> core::result::Result<&FpuState, ControlWords> {
        match self.is_kept {
            true => Ok(&self.area),
            false => Err(self.words),
        }
    }
}
