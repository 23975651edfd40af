//! Receive-side scaling: which flow goes to which queue (§7.1.2.8).

use super::csr::Csr;
use super::regs;
use crate::Bus;

/// The key of the hash: that of Microsoft's specification of receive-side scaling, for which test vectors
/// exist.
pub const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Has the card verify checksums, and spread flows over so many queues: of the card, or of the PF's pool.
pub fn spread<B: Bus>(csr: &mut Csr<B>, queues: usize, has_pools: bool) {
    let checksums = regs::RXCSUM_IPOFLD | regs::RXCSUM_TUOFLD;
    csr.write(regs::RXCSUM, checksums | regs::RXCSUM_PCSD);
    for (register, word) in (regs::RSSRK..).step_by(4).zip(KEY.as_chunks().0) {
        csr.write(register, u32::from_le_bytes(*word));
    }
    for word in 0..32usize {
        // The second queue of a pool is the eighth behind the first (§7.10.3.2).
        let apart = if has_pools { regs::POOLS } else { 1 };
        let queue = |byte| ((4 * word + byte) % queues * apart) as u8;
        let entries = u32::from_le_bytes([0, 1, 2, 3].map(queue));
        csr.write(regs::RETA + 4 * word as u32, entries);
    }
    let mode = match (has_pools, queues) {
        (false, _) => regs::MRQC_RSS,
        (true, 1) => regs::MRQC_VMDQ,
        (true, _) => regs::MRQC_VMDQ_RSS,
    };
    csr.write(regs::MRQC, mode | regs::MRQC_FIELDS);
}
