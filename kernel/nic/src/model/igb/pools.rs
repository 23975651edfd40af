//! VMDq: which pools get a frame, and the switch between them (datasheet §7.10.3).
//!
//! ```text
//!   pool 0 (VF 0)   pool 1 (VF 1)  ...  the PF's pool
//!        \              |              /
//!         `------ the switch ---------'     unicast that a pool takes stays inside
//!                       |                   what is for a group goes everywhere
//!                    the wire
//! ```

use super::frames::{Incoming, be16};
use super::functions::{Function, POOLS, VFRE, VFTE};
use super::{Behaviour, Card};
use crate::MacAddress;

const MRQC: u32 = 0x5818;
const VT_CTL: u32 = 0x581c;
const DTXSWC: u32 = 0x3500;
const QDE: u32 = 0x2408;
const UTA: u32 = 0xa000;
const MTA: u32 = 0x5200;
const RPLOLR: u32 = 0x5af0;
/// VMOLR: long frames, spread over two queues, frames without tag, groups by table, all, all groups, tags
/// are taken out.
const LPE: u32 = 1 << 16;
const RSSE: u32 = 1 << 17;
const AUPE: u32 = 1 << 24;
const ROMPE: u32 = 1 << 25;
const ROPE: u32 = 1 << 26;
const BAM: u32 = 1 << 27;
const MPME: u32 = 1 << 28;
const STRVLAN: u32 = 1 << 30;

/// What is counted of a pool (§8.18.75 to §8.18.79).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    frames_in: u32,
    frames_out: u32,
    octets_in: u32,
    octets_out: u32,
    multicasts: u32,
}

impl Counters {
    pub fn sent(&mut self, octets: usize) {
        self.frames_out = self.frames_out.wrapping_add(1);
        self.octets_out = self.octets_out.wrapping_add(octets as u32);
    }

    pub fn received(&mut self, bytes: &[u8]) {
        self.frames_in = self.frames_in.wrapping_add(1);
        self.octets_in = self.octets_in.wrapping_add(bytes.len() as u32 + 4);
        let is_multicast = bytes[0] & 1 != 0 && bytes[..6] != [0xff; 6];
        self.multicasts = self.multicasts.wrapping_add(is_multicast.into());
    }

    /// As a VF reads it: it is not cleared then. `None` if there is none of that register.
    pub fn read(&self, register: u32) -> Option<u32> {
        Some(match register {
            0xf10 => self.frames_in,
            0xf14 => self.frames_out,
            0xf18 => self.octets_in,
            0xf34 => self.octets_out,
            0xf3c => self.multicasts,
            _ => return None,
        })
    }
}

/// Receive addresses, by the register of their lower half.
pub(super) fn receive_addresses() -> impl Iterator<Item = u32> {
    let first = (0..16).map(|number| 0x5400 + 8 * number);
    first.chain((0..8).map(|number| 0x54e0 + 8 * number))
}

impl Card {
    fn vmolr(&self, pool: usize) -> u32 {
        self.register(0x5ad0 + 4 * pool as u32)
    }

    fn pools_with(&self, bit: u32) -> u32 {
        let pools = (0..POOLS).filter(|&pool| self.vmolr(pool) & bit != 0);
        pools.fold(0, |all, pool| all | 1 << pool)
    }

    /// Whether frames go to pools.
    pub(super) fn has_pools(&self) -> bool {
        self.register(MRQC) & 1 != 0
    }

    /// Whether a queue's pool, and its function, may send.
    pub(super) fn may_send(&self, queue: usize) -> bool {
        let pool_may = self.register(VFTE) >> (queue % POOLS) & 1 != 0;
        (pool_may || !self.has_pools()) && self.is_master(queue)
    }

    /// Whether a full queue drops its frames, by the PF's will.
    pub(super) fn drops_by_pf(&self, queue: usize) -> bool {
        self.register(QDE) >> queue & 1 != 0
    }

    /// The pools of this address.
    pub(super) fn matching_pools(&self, mac: &MacAddress) -> u32 {
        let low = u32::from_le_bytes([mac[0], mac[1], mac[2], mac[3]]);
        let high = u32::from_le_bytes([mac[4], mac[5], 0, 0x80]);
        receive_addresses()
            .filter(|&at| self.register(at) == low)
            .map(|at| self.register(at + 4))
            .filter(|found| found & 0x8000_ffff == high)
            .fold(0, |pools, found| pools | found >> 18 & 0xff)
    }

    /// The pools that have joined a VLAN.
    fn vlan_pools(&self, vlan: u32) -> u32 {
        (0..32)
            .map(|entry| self.register(0x5d00 + 4 * entry))
            .filter(|entry| entry >> 31 != 0 && entry & 0xfff == vlan)
            .fold(0, |pools, entry| pools | entry >> 12 & 0xff)
    }

    /// The pools that get a frame, from the wire or from a pool.
    pub(super) fn pools(&self, bytes: &[u8], from: Option<usize>) -> u32 {
        let is_silicon = self.behaviour == Behaviour::Silicon;
        let mac = [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]];
        let is_group = mac[0] & 1 != 0;
        let mut pools = if mac == [0xff; 6] {
            self.pools_with(BAM)
        } else {
            self.matching_pools(&mac)
        };
        if pools == 0 && mac != [0xff; 6] {
            let bit = (u32::from(mac[5]) << 8 | u32::from(mac[4])) >> 4 & 0xfff;
            let (table, takes) = match is_group {
                true => (MTA, ROMPE),
                false if is_silicon => (UTA, ROPE),
                false => (UTA, ROMPE),
            };
            if self.register(table + bit / 32 * 4) >> (bit % 32) & 1 != 0 {
                pools = self.pools_with(takes);
            }
            if is_group && is_silicon {
                pools |= self.pools_with(MPME);
            }
        }
        let filters = self.register(0x100) & 1 << 18 != 0;
        if be16(bytes, 12) == 0x8100 {
            if filters {
                pools &= self.vlan_pools((be16(bytes, 14) & 0xfff).into());
            }
        } else if filters || is_silicon {
            pools &= self.pools_with(AUPE);
        }
        let control = self.register(VT_CTL);
        if !is_group && pools == 0 && from.is_none() && control & 1 << 29 == 0 {
            pools = 1 << (control >> 7 & 7);
        }
        if let Some(sender) = from
            && is_silicon
        {
            // It does not get its own back.
            pools &= !(1 << sender);
        }
        let tag = if be16(bytes, 12) == 0x8100 { 4 } else { 0 };
        for pool in 0..POOLS {
            let control = self.vmolr(pool);
            let longest = match control & LPE {
                0 => 1514 + tag,
                _ => (control as usize & 0x3fff) - 4,
            };
            if bytes.len() > longest {
                pools &= !(1 << pool);
            }
        }
        pools & self.register(VFRE)
    }

    /// The queue of a pool that gets a frame with this entry of the redirection table.
    pub(super) fn queue_in_pool(&self, pool: usize, entry: usize) -> usize {
        let spreads = self.vmolr(pool) & RSSE != 0 && self.behaviour == Behaviour::Silicon;
        if spreads { pool | entry & POOLS } else { pool }
    }

    /// Whether tags are taken out of a pool's frame.
    pub(super) fn strips(&self, pool: usize, bytes: &[u8]) -> bool {
        let control = match bytes[0] & 1 {
            0 => self.vmolr(pool),
            _ => self.register(RPLOLR),
        };
        control & STRVLAN != 0
    }

    /// What is sent goes to pools, if it is for them. True if it goes to the wire, too.
    pub(super) fn switch(&mut self, queue: usize, bytes: &[u8]) -> bool {
        if !self.has_pools() {
            return true;
        }
        let pool = queue % POOLS;
        let control = self.register(DTXSWC);
        // QEMU does not look.
        if self.behaviour == Behaviour::Silicon && self.is_spoofed(pool, bytes) {
            self.spoofed += 1;
            return false;
        }
        if control >> 31 == 0 {
            return true;
        }
        let mac = [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]];
        let stays = mac[0] & 1 == 0 && self.matching_pools(&mac) != 0;
        if stays || mac[0] & 1 != 0 {
            let from = Some(pool);
            self.incoming.push_back(Incoming {
                from,
                ..Incoming::new(bytes, false)
            });
        }
        !stays
    }

    /// Whether a pool that is watched sends in another's name (§7.10.3.7).
    fn is_spoofed(&self, pool: usize, bytes: &[u8]) -> bool {
        let control = self.register(DTXSWC);
        let source = [6, 7, 8, 9, 10, 11].map(|at: usize| bytes[at]);
        if control >> pool & 1 != 0 && self.matching_pools(&source) >> pool & 1 == 0 {
            return true;
        }
        let vlan = u32::from(be16(bytes, 14) & 0xfff);
        be16(bytes, 12) == 0x8100
            && control >> (8 + pool) & 1 != 0
            && self.vlan_pools(vlan) >> pool & 1 == 0
    }

    /// Writes a register of pools and switch; false if it is none.
    pub(super) fn write_pools(&mut self, register: u32, value: u32) -> bool {
        match register {
            VT_CTL | DTXSWC | QDE | RPLOLR | 0x3590 | 0x5ad0..=0x5aef | 0x5d00..=0x5d7f => {}
            UTA..=0xa1ff => {}
            _ => return false,
        }
        assert!(!self.vf_arenas.is_empty(), "pools of a card without VFs");
        *self.register_mut(register) = value;
        true
    }

    /// A VF's queue, seen from its own registers: the queue's base, and the offset from it.
    pub(super) fn seen_by(function: Function, register: u32) -> Option<(u32, u32)> {
        let (base, offset) = match function {
            Function::Physical => (register & !0x3f, register & 0x3f),
            Function::Virtual(vf) => {
                let queue = vf as u32 + (register >> 8 & 1) * POOLS as u32;
                let base = match register & !0x13f {
                    0x2800 => 0xc000,
                    0x3800 => 0xe000,
                    _ => return None,
                };
                (base + 0x40 * queue, register & 0x3f)
            }
        };
        matches!(base, 0xc000..=0xc3ff | 0xe000..=0xe3ff).then_some((base, offset))
    }
}
