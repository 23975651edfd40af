//! 82576: batches of advanced descriptors, one write of the tail for each. Only the last of
//! a batch is written back.

use crate::{frame, pci::Bars, serial};

const RING: usize = 256;
const BATCH: usize = 16;

static mut DESCRIPTORS: Descriptors = Descriptors([[0; 2]; RING]);
static mut FRAME: [u8; frame::MAX] = [0; frame::MAX];

#[repr(C, align(128))]
struct Descriptors([[u64; 2]; RING]);

/// A descriptor's command and type (82576 datasheet §7.2.2.3): advanced data, extended; the end of a
/// frame, with a checksum.
const DATA: u64 = 0x3 << 20 | 0x23 << 24;
/// Report status.
const REPORT: u64 = 0x8 << 24;

/// Registers of transmission and their bits (§8.12), and of interrupts.
const IMC: u64 = 0xd8;
const TCTL: u64 = 0x400;
const TCTL_EN: u32 = 1 << 1;
const TDBAL: u64 = 0xe000;
const TDBAH: u64 = 0xe004;
const TDLEN: u64 = 0xe008;
const TDH: u64 = 0xe010;
const TDT: u64 = 0xe018;
const TXDCTL: u64 = 0xe028;
const TXDCTL_ENABLE: u32 = 1 << 25;

/// Sends frames of `size` bytes.
pub fn send_for_ever(bars: Bars, size: usize) -> ! {
    let write = |register: u64, value: u32| {
        let address = (bars.memory + register) as *mut u32;
        // SAFETY: the card's registers are mapped there (below 4 GiB), and nothing else is.
        // What they make the card do concerns only the ring and the frame.
        unsafe { address.write_volatile(value) };
    };
    let frame = &raw mut FRAME;
    // SAFETY: the only reference to the frame, which the card does not know yet.
    frame::fill(&mut unsafe { &mut *frame }[..size]);
    let ring = (&raw mut DESCRIPTORS).cast::<[u64; 2]>();
    write(IMC, !0);
    write(TXDCTL, 0);
    write(TDBAL, ring as u32);
    write(TDBAH, 0);
    write(TDLEN, (RING * 16) as u32);
    write(TDH, 0);
    write(TDT, 0);
    write(TCTL, TCTL_EN);
    write(TXDCTL, TXDCTL_ENABLE);
    serial::print("floor: sending\r\n");
    let mut at = 0;
    loop {
        for number in 1..=BATCH {
            let report = if number == BATCH { REPORT } else { 0 };
            let words = [
                frame as u64,
                size as u64 | DATA | report | (size as u64) << 46, // with the length of it all
            ];
            // SAFETY: the descriptor is in the ring, and not the card's until the tail is
            // behind it; under QEMU it is the driver's again when that write returns.
            unsafe { ring.wrapping_add(at).write_volatile(words) };
            at = (at + 1) % RING;
        }
        write(TDT, at as u32);
    }
}
