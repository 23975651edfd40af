//! The tables of QEMU's q35 machine as SeaBIOS leaves them, and damaged ones.

use alloc::vec;
use std::string::ToString;

use super::*;

/// Physical memory with holes: pieces of it by address.
#[derive(Clone)]
struct Memory(Vec<(u64, Vec<u8>)>);

impl PhysicalMemory for Memory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.0.iter().any(|(start, bytes)| {
            address
                .checked_sub(*start)
                .and_then(|offset| bytes.get(usize::try_from(offset).ok()?..))
                .and_then(|rest| rest.get(..buffer.len()))
                .map(|bytes| buffer.copy_from_slice(bytes))
                .is_some()
        })
    }
}

impl Memory {
    fn piece(&mut self, address: u64) -> &mut Vec<u8> {
        let piece = self.0.iter_mut().find(|(start, _)| *start == address);
        &mut piece.expect("a piece there").1
    }
}

const RSDP: u64 = 0xf5230;
const RSDT: u64 = 0x03fe_35d0;
const MCFG: u64 = 0x03fe_356c;

/// RSDP, RSDT and MCFG recorded from QEMU 10.0.2 `-machine q35 -m 64`.
fn q35() -> Memory {
    let hex = |digits: &str| -> Vec<u8> {
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
            .collect()
    };
    Memory(vec![
        (RSDP, hex("52534420505452204c424f4348532000d035fe03")),
        (
            RSDT,
            hex(
                "52534454380000000148424f434853204258504320202020010000004258504301000000\
                 c833fe03bc34fe033435fe036c35fe03a835fe03",
            ),
        ),
        (
            MCFG,
            hex(
                "4d4346473c000000018c424f4348532042585043202020200100000042585043010000000\
                 000000000000000000000b000000000000000ff00000000",
            ),
        ),
    ])
}

/// Makes the sum over a table 0 again.
fn mend(table: &mut [u8], checksum_at: usize) {
    table[checksum_at] = 0;
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    table[checksum_at] = sum.wrapping_neg();
}

#[test]
fn q35_has_one_window_of_256_buses() {
    let windows = ecam_windows(&q35(), RSDP).expect("MCFG");
    assert_eq!(
        windows,
        [EcamWindow {
            base: 0xb000_0000,
            segment: 0,
            first_bus: 0,
            last_bus: 255,
        }]
    );
    assert_eq!(windows[0].bus(0xff), Some(0xbff0_0000));
}

#[test]
fn version_2_uses_the_xsdt() {
    let mut memory = q35();
    let rsdp = memory.piece(RSDP);
    rsdp[15] = 2;
    rsdp[16..20].fill(0xee); // no RSDT to fall back on
    mend(rsdp, 8);
    rsdp.extend(36u32.to_le_bytes());
    rsdp.extend(0x5000u64.to_le_bytes());
    rsdp.extend([0; 4]);
    mend(rsdp, 32);
    let mut xsdt = memory.piece(RSDT)[..36].to_vec();
    xsdt[..4].copy_from_slice(b"XSDT");
    xsdt[4] = 36 + 16;
    xsdt.extend(0xdead_beef_0000u64.to_le_bytes()); // not readable: passed over
    xsdt.extend(MCFG.to_le_bytes());
    mend(&mut xsdt, 9);
    memory.0.push((0x5000, xsdt));
    assert_eq!(ecam_windows(&memory, RSDP).expect("MCFG").len(), 1);

    // The second checksum counts.
    memory.piece(RSDP)[33] = 1;
    assert_eq!(ecam_windows(&memory, RSDP), Err(AcpiError::NoRsdp(RSDP)));
}

#[test]
fn a_window_has_its_own_buses_only() {
    let window = EcamWindow {
        base: 0xb000_0000,
        segment: 0,
        first_bus: 0x40,
        last_bus: 0x7f,
    };
    assert_eq!(window.bus(0x40), Some(0xb400_0000));
    assert_eq!(window.bus(0x7f), Some(0xb7f0_0000));
    assert_eq!((window.bus(0x3f), window.bus(0x80)), (None, None));
}

#[test]
fn a_machine_without_mcfg_says_so() {
    let mut memory = q35();
    let rsdt = memory.piece(RSDT);
    rsdt[4] -= 8; // MCFG and what follows it
    rsdt.truncate(36 + 12);
    mend(rsdt, 9);
    let error = ecam_windows(&memory, RSDP).expect_err("no MCFG");
    assert_eq!(error.to_string(), "ACPI: no table MCFG");
}

#[test]
fn any_flipped_bit_is_noticed_or_harmless() {
    let whole = ecam_windows(&q35(), RSDP).expect("MCFG");
    for table in 0..3 {
        for byte in 0..q35().0[table].1.len() {
            for bit in 0..8 {
                let mut memory = q35();
                memory.0[table].1[byte] ^= 1 << bit;
                let result = ecam_windows(&memory, RSDP);
                assert!(result.is_err(), "table {table}, byte {byte}: {result:?}");
                assert!(!result.unwrap_err().to_string().is_empty());
            }
        }
    }
    assert_eq!(whole.len(), 1);
}

#[test]
fn lengths_and_windows_are_bounded() {
    let mut memory = q35();
    memory.piece(MCFG)[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        ecam_windows(&memory, RSDP),
        Err(AcpiError::BadLength(*b"MCFG", u32::MAX))
    );
    memory.piece(MCFG)[4..8].copy_from_slice(&35u32.to_le_bytes());
    assert_eq!(
        ecam_windows(&memory, RSDP),
        Err(AcpiError::BadLength(*b"MCFG", 35))
    );
    // Longer than what is there.
    memory.piece(MCFG)[4..8].copy_from_slice(&4096u32.to_le_bytes());
    assert!(matches!(
        ecam_windows(&memory, RSDP),
        Err(AcpiError::Unreadable(_))
    ));

    for base in [u64::MAX, PHYSICAL_END, PHYSICAL_END - 0xff0_0000] {
        let mut memory = q35();
        let mcfg = memory.piece(MCFG);
        mcfg[44..52].copy_from_slice(&base.to_le_bytes());
        mend(mcfg, 9);
        assert_eq!(ecam_windows(&memory, RSDP), Err(AcpiError::BadWindow(base)));
    }
    let mut memory = q35();
    let mcfg = memory.piece(MCFG);
    mcfg[54] = 9;
    mcfg[55] = 8;
    mend(mcfg, 9);
    assert!(matches!(
        ecam_windows(&memory, RSDP),
        Err(AcpiError::BadWindow(_))
    ));
}

#[test]
fn addresses_at_the_end_of_the_space_are_refused() {
    for rsdp in [0, u64::MAX, u64::MAX - 7] {
        assert!(ecam_windows(&q35(), rsdp).is_err());
    }
    let mut memory = q35();
    memory.0.push((u64::MAX - 7, b"RSD PTR ".to_vec()));
    assert!(matches!(
        ecam_windows(&memory, u64::MAX - 7),
        Err(AcpiError::Unreadable(_))
    ));
}
