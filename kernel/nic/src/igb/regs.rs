//! The registers (82576 datasheet §8), as far as the driver uses them: 32 bits each.
//!
//! QEMU answers the interrupt cause registers at their old offsets only, so those are used.

/// Device control.
pub const CTRL: u32 = 0x0000;
/// Device status.
pub const STATUS: u32 = 0x0008;
/// EEPROM control and data.
pub const EECD: u32 = 0x0010;
/// EEPROM read.
pub const EERD: u32 = 0x0014;
/// Management interface to the transceiver.
pub const MDIC: u32 = 0x0020;
/// EtherType of VLAN tags.
pub const VET: u32 = 0x0038;
/// Interrupt causes; read or write 1 to clear.
pub const ICR: u32 = 0x00c0;
/// Interrupt mask, set.
pub const IMS: u32 = 0x00d0;
/// Interrupt mask, clear.
pub const IMC: u32 = 0x00d8;
/// Receive control.
pub const RCTL: u32 = 0x0100;
/// Transmit control.
pub const TCTL: u32 = 0x0400;
/// Extended (per vector) interrupt mask, set.
pub const EIMS: u32 = 0x1524;
/// Extended interrupt mask, clear.
pub const EIMC: u32 = 0x1528;
/// Extended causes that a message clears.
pub const EIAC: u32 = 0x152c;
/// Extended causes that a message masks.
pub const EIAM: u32 = 0x1530;
/// General purpose interrupt enable.
pub const GPIE: u32 = 0x1514;
/// Extended interrupt causes; write 1 to clear (a read clears all).
pub const EICR: u32 = 0x1580;
/// Causes that belong to no queue: their vector is in bits 15:8.
pub const IVAR_MISC: u32 = 0x1740;
/// Receive checksum control.
pub const RXCSUM: u32 = 0x5000;
/// Longest packet to receive.
pub const RLPML: u32 = 0x5004;
/// Multicast table, 128 words.
pub const MTA: u32 = 0x5200;
/// VLAN filter table, 128 words.
pub const VFTA: u32 = 0x5600;
/// Queues that receive packets: how they are spread.
pub const MRQC: u32 = 0x5818;
/// Redirection table of the hash, 128 bytes.
pub const RETA: u32 = 0x5c00;
/// Key of the hash, 40 bytes.
pub const RSSRK: u32 = 0x5c80;

/// Extended device control.
pub const CTRL_EXT: u32 = 0x0018;
/// Mailbox events of the VFs: requests (7:0), acknowledgements (23:16); write 1 to clear.
pub const MBVFICR: u32 = 0x0c80;
/// Whose mailbox events interrupt.
pub const MBVFIMR: u32 = 0x0c84;
/// VFs that were reset; write 1 to clear.
pub const VFLRE: u32 = 0x0c88;
/// Pools that receive.
pub const VFRE: u32 = 0x0c8c;
/// Pools that send.
pub const VFTE: u32 = 0x0c90;
/// Queues that drop frames when they are full.
pub const QDE: u32 = 0x2408;
/// Switch between the pools; sources that are watched: MAC (7:0), VLAN (15:8).
pub const DTXSWC: u32 = 0x3500;
/// Transmit control of the DMA engine.
pub const DTXCTL: u32 = 0x3590;
/// How pools work.
pub const VT_CTL: u32 = 0x581c;
/// What is done to frames that go to several pools: the bits of VMOLR.
pub const RPLOLR: u32 = 0x5af0;
/// Unicast table, 128 words.
pub const UTA: u32 = 0xa000;
/// A VF's side of its mailbox, as the VF sees it, and the mailbox.
pub const V2P_MAILBOX: u32 = 0x0c40;
pub const VF_VMBMEM: u32 = 0x0800;

/// Pools of queues: each of a VF, or of the PF.
pub const POOLS: usize = 8;

/// The PF's side of a VF's mailbox.
pub const fn p2v_mailbox(vf: usize) -> u32 {
    0x0c00 + 4 * vf as u32
}

/// A word of a VF's mailbox, as the PF sees it.
pub const fn vmbmem(vf: usize, word: usize) -> u32 {
    0x0800 + 64 * vf as u32 + 4 * word as u32
}

/// What a pool receives, and what is done to it.
pub const fn vmolr(pool: usize) -> u32 {
    0x5ad0 + 4 * pool as u32
}

/// A VLAN (11:0), and the pools that are in it.
pub const fn vlvf(entry: u32) -> u32 {
    0x5d00 + 4 * entry
}

/// CTRL_EXT: the PF's reset is done.
pub const CTRL_EXT_PFRSTD: u32 = 1 << 14;
/// MBVFICR: where the acknowledgements are.
pub const MBVFICR_ACK_SHIFT: u32 = 16;
/// P2VMAILBOX: a message is there.
pub const P2V_STS: u32 = 1;
/// P2VMAILBOX: the VF's message was read.
pub const P2V_ACK: u32 = 1 << 1;
/// P2VMAILBOX: the PF has the lock.
pub const P2V_PFU: u32 = 1 << 3;
/// P2VMAILBOX: the VF loses the lock, and what it has asked for is forgotten.
pub const P2V_RVFU: u32 = 1 << 4;
/// V2PMAILBOX: a message is there.
pub const V2P_REQ: u32 = 1;
/// V2PMAILBOX: the PF's message was read.
pub const V2P_ACK: u32 = 1 << 1;
/// V2PMAILBOX: the VF has the lock.
pub const V2P_VFU: u32 = 1 << 2;
/// V2PMAILBOX: the PF has sent a message; a read clears it.
pub const V2P_PFSTS: u32 = 1 << 4;
/// V2PMAILBOX: the PF has read the VF's message; a read clears it.
pub const V2P_PFACK: u32 = 1 << 5;
/// V2PMAILBOX: the PF is in reset.
pub const V2P_RSTI: u32 = 1 << 6;
/// V2PMAILBOX: the PF's reset is done; a read clears it.
pub const V2P_RSTD: u32 = 1 << 7;
/// DTXSWC: frames between pools do not go out and come back.
pub const DTXSWC_LOOPBACK: u32 = 1 << 31;
/// DTXCTL: the MAC adds tags.
pub const DTXCTL_ADDS_VLAN: u32 = 1 << 4;
/// VT_CTL: position of the pool that gets what is for none.
pub const VT_CTL_DEF_POOL_SHIFT: u32 = 7;
/// VT_CTL: what is for none is dropped.
pub const VT_CTL_DIS_DEF_POOL: u32 = 1 << 29;
/// VT_CTL: frames for several pools are stored several times.
pub const VT_CTL_REPLICATES: u32 = 1 << 30;
/// VMOLR: longer frames, up to bits 13:0.
pub const VMOLR_LPE: u32 = 1 << 16;
/// VMOLR: spread by hash over the two queues of the pool.
pub const VMOLR_RSSE: u32 = 1 << 17;
/// VMOLR: frames to groups by table.
pub const VMOLR_ROMPE: u32 = 1 << 25;
/// VMOLR: take tags out.
pub const VMOLR_STRVLAN: u32 = 1 << 30;
/// VMOLR: strip the checksum of the frame.
pub const VMOLR_STRCRC: u32 = 1 << 31;
/// VMOLR: those two, frames without a tag, and frames to all.
pub const VMOLR_USUAL: u32 = VMOLR_STRVLAN | VMOLR_STRCRC | 1 << 24 | 1 << 27;
/// VLVF: the entry counts; where its pools are.
pub const VLVF_ENABLE: u32 = 1 << 31;
pub const VLVF_POOLS_SHIFT: u32 = 12;
/// RAH: the first pool of the address.
pub const RAH_POOL: u32 = 1 << 18;
/// DCA control of a queue; from the base of a queue.
pub const DCA_CTRL: u32 = 0x14;
/// Where heads are written back to (transmit).
pub const TDWBAL: u32 = 0x38;
pub const TDWBAH: u32 = 0x3c;
/// ICR: a mailbox, or the reset of a VF.
pub const ICR_VMMB: u32 = 1 << 8;

/// Moderation of a vector.
pub const fn eitr(vector: u32) -> u32 {
    0x1680 + 4 * vector
}

/// Vectors of the queues `n` and `n + 8`.
pub const fn ivar(n: u32) -> u32 {
    0x1700 + 4 * n
}

/// Low half of a receive address.
pub const fn ral(n: u32) -> u32 {
    if n < 16 {
        0x5400 + 8 * n
    } else {
        0x54e0 + 8 * (n - 16)
    }
}

/// High half of a receive address, with [`RAH_AV`].
pub const fn rah(n: u32) -> u32 {
    ral(n) + 4
}

/// Receive addresses: the station's, and 23 more.
pub const RECEIVE_ADDRESSES: u32 = 24;

/// Where the registers of a function's queues are: those of its first queue for each direction, and how
/// far those of the next are from them.
#[derive(Clone, Copy)]
pub struct Queues {
    pub receive: u32,
    pub transmit: u32,
    pub stride: u32,
}

/// The queues of the physical function.
pub const QUEUES: Queues = Queues {
    receive: 0xc000,
    transmit: 0xe000,
    stride: 0x40,
};

/// The queues of a pool.
pub const fn queues_of(pool: usize) -> Queues {
    let first = QUEUES.stride * pool as u32;
    Queues {
        receive: QUEUES.receive + first,
        transmit: QUEUES.transmit + first,
        stride: QUEUES.stride * POOLS as u32,
    }
}

/// The queues of a virtual function, as it sees them.
pub const VF_QUEUES: Queues = Queues {
    receive: 0x2800,
    transmit: 0x3800,
    stride: 0x100,
};

/// Ring address, low half; from the base of a queue.
pub const DBAL: u32 = 0x00;
/// Ring address, high half.
pub const DBAH: u32 = 0x04;
/// Ring length in bytes.
pub const DLEN: u32 = 0x08;
/// Split and replication control (receive).
pub const SRRCTL: u32 = 0x0c;
/// The card's place in the ring.
pub const DH: u32 = 0x10;
/// The first descriptor that is not the card's.
pub const DT: u32 = 0x18;
/// Descriptor control.
pub const DCTL: u32 = 0x28;

/// CTRL: full duplex.
pub const CTRL_FD: u32 = 1;
/// CTRL: stop being bus master.
pub const CTRL_GIO_MASTER_DISABLE: u32 = 1 << 2;
/// CTRL: set link up.
pub const CTRL_SLU: u32 = 1 << 6;
/// CTRL: speed and duplex are forced, not the transceiver's (bits 12:11).
pub const CTRL_FORCE: u32 = 3 << 11;
/// CTRL: reset; clears itself.
pub const CTRL_RST: u32 = 1 << 26;
/// CTRL: take VLAN tags out of received frames, and put them into sent ones.
pub const CTRL_VME: u32 = 1 << 30;

/// STATUS: full duplex.
pub const STATUS_FD: u32 = 1;
/// STATUS: link up.
pub const STATUS_LU: u32 = 1 << 1;
/// STATUS: this is the second function of the chip (LAN ID, bits 3:2).
pub const STATUS_LAN_B: u32 = 1 << 2;
/// STATUS: speed, 10, 100, or 1000 Mb/s (bits 7:6).
pub const STATUS_SPEED_SHIFT: u32 = 6;
/// STATUS: requests of the card as bus master are still under way.
pub const STATUS_GIO_MASTER: u32 = 1 << 19;

/// EECD: the card has loaded itself from the EEPROM.
pub const EECD_AUTO_RD: u32 = 1 << 9;

/// EERD: start.
pub const EERD_START: u32 = 1;
/// EERD: done.
pub const EERD_DONE: u32 = 1 << 1;

/// MDIC: write cycle.
pub const MDIC_WRITE: u32 = 1 << 26;
/// MDIC: read cycle.
pub const MDIC_READ: u32 = 2 << 26;
/// MDIC: the cycle is over.
pub const MDIC_READY: u32 = 1 << 28;
/// MDIC: nobody answered.
pub const MDIC_ERROR: u32 = 1 << 30;

/// ICR: a transmit descriptor was written back.
pub const ICR_TXDW: u32 = 1;
/// ICR: the link changed.
pub const ICR_LSC: u32 = 1 << 2;
/// ICR: a receive descriptor was written back.
pub const ICR_RXDW: u32 = 1 << 7;
/// ICR: the line is asserted.
pub const ICR_INT_ASSERTED: u32 = 1 << 31;

/// GPIE: reading the causes clears them, whatever the mask.
pub const GPIE_NSICR: u32 = 1;
/// GPIE: a vector per cause.
pub const GPIE_MSIX: u32 = 1 << 4;
/// GPIE: obey EIAM.
pub const GPIE_EIAME: u32 = 1 << 30;
/// GPIE: pending bits of the MSI-X table work.
pub const GPIE_PBA: u32 = 1 << 31;

/// IVAR: the entry counts.
pub const IVAR_VALID: u32 = 0x80;

/// RCTL: receive.
pub const RCTL_EN: u32 = 1 << 1;
/// RCTL: frames to any station.
pub const RCTL_UPE: u32 = 1 << 3;
/// RCTL: frames to any group.
pub const RCTL_MPE: u32 = 1 << 4;
/// RCTL: long frames, up to RLPML.
pub const RCTL_LPE: u32 = 1 << 5;
/// RCTL: what is sent is received, by the MAC, and not put on the wire.
pub const RCTL_LBM_MAC: u32 = 1 << 6;
/// RCTL: frames to all.
pub const RCTL_BAM: u32 = 1 << 15;
/// RCTL: use the VLAN filter.
pub const RCTL_VFE: u32 = 1 << 18;
/// RCTL: strip the checksum of the frame.
pub const RCTL_SECRC: u32 = 1 << 26;

/// TCTL: transmit.
pub const TCTL_EN: u32 = 1 << 1;
/// TCTL: pad short frames.
pub const TCTL_PSP: u32 = 1 << 3;

/// SRRCTL: advanced descriptors, one buffer each.
pub const SRRCTL_ADVANCED: u32 = 1 << 25;
/// SRRCTL: a full queue drops its frames and does not hold up the others.
pub const SRRCTL_DROP_EN: u32 = 1 << 31;

/// DCTL: the queue is enabled.
pub const DCTL_ENABLE: u32 = 1 << 25;
/// RXDCTL: fetch in groups of 8, write back at once (thresholds PTHRESH, HTHRESH, WTHRESH).
pub const RXDCTL_THRESHOLDS: u32 = 8 | 8 << 8 | 1 << 16;
/// TXDCTL: the same, with a host threshold of 1.
pub const TXDCTL_THRESHOLDS: u32 = 8 | 1 << 8 | 1 << 16;

/// RXCSUM: verify IPv4 header checksums.
pub const RXCSUM_IPOFLD: u32 = 1 << 8;
/// RXCSUM: verify TCP and UDP checksums.
pub const RXCSUM_TUOFLD: u32 = 1 << 9;
/// RXCSUM: the descriptor holds the hash, not a packet checksum.
pub const RXCSUM_PCSD: u32 = 1 << 13;

/// MRQC: spread by hash.
pub const MRQC_RSS: u32 = 2;
/// MRQC: to pools by address and VLAN; and spread by hash over the two queues of each, too.
pub const MRQC_VMDQ: u32 = 3;
pub const MRQC_VMDQ_RSS: u32 = 5;
/// MRQC: hash TCP/IPv4, IPv4, TCP/IPv6 with extensions, IPv6, TCP/IPv6, UDP/IPv4, UDP/IPv6.
pub const MRQC_FIELDS: u32 = 1 << 16 | 1 << 17 | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23;

/// RAH: the address counts.
pub const RAH_AV: u32 = 1 << 31;
