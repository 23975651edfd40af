//! Receive-side scaling: which flow goes to which queue (§7.1.2.8).

use super::config::Config;
use super::csr::Csr;
use super::regs;
use crate::Bus;

/// Has the card verify checksums, and spread flows over the queues (§7.1.2.8).
pub fn spread<B: Bus>(csr: &mut Csr<B>, config: &Config) {
    let checksums = regs::RXCSUM_IPOFLD | regs::RXCSUM_TUOFLD;
    csr.write(regs::RXCSUM, checksums | regs::RXCSUM_PCSD);
    for (register, word) in (regs::RSSRK..)
        .step_by(4)
        .zip(config.hash_key.as_chunks().0)
    {
        csr.write(register, u32::from_le_bytes(*word));
    }
    for word in 0..32usize {
        let queue = |byte| ((4 * word + byte) % config.queues) as u8;
        let entries = u32::from_le_bytes([0, 1, 2, 3].map(queue));
        csr.write(regs::RETA + 4 * word as u32, entries);
    }
    csr.write(regs::MRQC, regs::MRQC_RSS | regs::MRQC_FIELDS);
}
