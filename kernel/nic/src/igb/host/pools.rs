//! What the card is told of its pools: who gets which frame, and who may send what (82576 datasheet
//! §7.10.3).
//!
//! Pool n is VF n's, and the one behind those of the VFs is the PF's. A frame goes to the pools of its
//! station address; to all, if it is for all; to those that have joined some group, if it is for a group
//! that any has joined, since the card has one table of groups (MTA). A frame with a tag goes to whoever
//! has joined its VLAN, and one with number 0, which says its priority alone, goes where it would go
//! without a tag.

use crate::igb::csr::Csr;
use crate::igb::filters::{FilterState, TABLE};
use crate::igb::mail::{GROUPS, LONG_EXTRA};
use crate::igb::queue::Queue;
use crate::igb::regs;
use crate::{Bus, Error, MacAddress};

/// Entries of the table of VLANs (VLVF). The first is for number 0.
const VLANS: usize = 32;

/// Whose a VLAN is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vlan {
    number: u16,
    pool: usize,
}

/// What the pools want, as the card was told.
pub struct Pools {
    /// The PF's pool, and so many VFs.
    pub own: usize,
    frame_max: usize,
    vlans: [Option<Vlan>; VLANS - 1],
    /// Groups of each VF: bits of the multicast table.
    groups: [([u16; GROUPS], usize); regs::POOLS - 1],
    /// The longest frames of each VF, with checksum and tag, if they may be longer than usual.
    longest: [Option<u32>; regs::POOLS - 1],
    /// The PF has two queues; it is in groups.
    own_spreads: bool,
    own_groups: bool,
    /// The multicast table, as the card has it.
    multicast: [u32; TABLE],
    /// Pools that receive and send, one bit each.
    working: u32,
}

impl Pools {
    pub fn new(vfs: usize, queues: usize, frame_max: usize) -> Self {
        Pools {
            own: vfs,
            frame_max,
            vlans: [None; VLANS - 1],
            groups: [([0; GROUPS], 0); regs::POOLS - 1],
            longest: [None; regs::POOLS - 1],
            own_spreads: queues > 1,
            own_groups: false,
            multicast: [0; TABLE],
            working: 0,
        }
    }

    /// The bit of the PF's pool in an address register.
    pub fn own_bit(&self) -> u32 {
        regs::RAH_POOL << self.own
    }

    /// Whether the PF's filters ask for no VLAN that is a VF's, and not for too many.
    ///
    /// # Errors
    /// [`Error::BadVlan`], [`Error::TooMany`].
    pub fn check(&self, filters: &FilterState) -> Result<(), Error> {
        let (count, max) = (
            filters.vlans().filter(|&vlan| vlan != 0).count(),
            self.vlan_share(),
        );
        if count > max {
            return Err(Error::TooMany { count, max });
        }
        let is_others = |&vlan: &u16| {
            let taken = self
                .vlans
                .iter()
                .flatten()
                .find(|taken| taken.number == vlan);
            taken.is_some_and(|taken| taken.pool != self.own)
        };
        match filters.vlans().find(is_others) {
            Some(vlan) => Err(Error::BadVlan { vlan }),
            None => Ok(()),
        }
    }

    /// How many VLANs a function may have, so that there are as many for each other.
    fn vlan_share(&self) -> usize {
        (VLANS - 1) / (self.own + 1)
    }

    /// Tells a card that was reset how pools work. Nobody receives or sends before it is let.
    pub fn start<B: Bus>(&mut self, csr: &mut Csr<B>) {
        self.working = 0;
        self.allow(csr);
        for vf in 0..self.own {
            self.forget(vf);
        }
        for word in 0..TABLE as u32 {
            // No unicast address is hashed, and no group is in the table.
            csr.write(regs::UTA + 4 * word, 0);
            csr.write(regs::MTA + 4 * word, 0);
        }
        self.multicast = [0; TABLE];
        // A queue that is full must not hold up the other functions'.
        csr.write(regs::QDE, 0xffff);
        csr.write(regs::RPLOLR, regs::VMOLR_STRVLAN | regs::VMOLR_STRCRC);
        // The MAC puts tags in, before the switch looks for them.
        csr.write(regs::DTXCTL, regs::DTXCTL_ADDS_VLAN);
    }

    /// Lets a pool receive and send, or not.
    pub fn let_work<B: Bus>(&mut self, csr: &mut Csr<B>, pool: usize, works: bool) {
        self.working = self.working & !(1 << pool) | u32::from(works) << pool;
        self.allow(csr);
    }

    fn allow<B: Bus>(&self, csr: &mut Csr<B>) {
        csr.write(regs::VFTE, self.working);
        csr.write(regs::VFRE, self.working);
        // The VFs send in their own name, and in their own VLANs; who gets it, the card decides. One that
        // works alone needs no switch: QEMU's cuts all segments itself, which a tap takes whole.
        let vfs = (1 << self.own) - 1;
        let is_alone = self.working.count_ones() < 2;
        let switch = if is_alone { 0 } else { regs::DTXSWC_LOOPBACK };
        csr.write(regs::DTXSWC, switch | vfs | vfs << 8);
    }

    /// Lets a VF receive frames of this length, with checksum and tag; false if it may not want that.
    pub fn limit<B: Bus>(&mut self, csr: &mut Csr<B>, vf: usize, longest: u32) -> bool {
        let lengths = 60 + LONG_EXTRA..=self.frame_max + LONG_EXTRA;
        let may = lengths.contains(&(longest as usize));
        if may {
            self.longest[vf] = Some(longest);
            self.tell_pool(csr, vf);
        }
        may
    }

    /// Tells the card what a pool receives (VMOLR).
    fn tell_pool<B: Bus>(&self, csr: &mut Csr<B>, pool: usize) {
        let (longest, groups, spreads) = match pool == self.own {
            true => {
                let longest = (self.frame_max + LONG_EXTRA) as u32;
                (Some(longest), self.own_groups, self.own_spreads)
            }
            false => (self.longest[pool], self.groups[pool].1 > 0, false),
        };
        let mut control = regs::VMOLR_USUAL;
        control |= longest.map_or(0, |longest| longest | regs::VMOLR_LPE);
        control |= if groups { regs::VMOLR_ROMPE } else { 0 };
        control |= if spreads { regs::VMOLR_RSSE } else { 0 };
        csr.write(regs::vmolr(pool), control);
    }

    /// Tells the card of the PF's filters, all but its addresses. It has promiscuous filters, too: then it
    /// gets what is for nobody here (the default pool), and all groups.
    pub fn apply<B: Bus>(&mut self, csr: &mut Csr<B>, filters: &FilterState) {
        let control = filters.control();
        let everything = control & regs::RCTL_UPE != 0;
        let default = if everything {
            0
        } else {
            regs::VT_CTL_DIS_DEF_POOL
        };
        let own = (self.own as u32) << regs::VT_CTL_DEF_POOL_SHIFT;
        csr.write(regs::VT_CTL, own | default | regs::VT_CTL_REPLICATES);
        for place in self.vlans.iter_mut() {
            if place.is_some_and(|vlan| vlan.pool == self.own) {
                *place = None;
            }
        }
        for number in filters.vlans().filter(|&number| number != 0) {
            self.join(number, self.own);
        }
        self.tell_vlans(csr);
        self.tell_groups(csr, filters);
    }

    /// Notes that a pool joins a VLAN; false if it is another's, or there is no room.
    pub fn join(&mut self, number: u16, pool: usize) -> bool {
        let share = self.vlan_share();
        let taken = || self.vlans.iter().flatten();
        if let Some(vlan) = taken().find(|vlan| vlan.number == number) {
            return vlan.pool == pool;
        }
        if taken().filter(|vlan| vlan.pool == pool).count() >= share {
            return false;
        }
        match self.vlans.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(Vlan { number, pool }),
            None => return false,
        }
        true
    }

    /// Notes that a pool leaves a VLAN; false if it was not in it.
    pub fn leave(&mut self, number: u16, pool: usize) -> bool {
        let left = Some(Vlan { number, pool });
        let place = self.vlans.iter_mut().find(|place| **place == left);
        place.map(|place| *place = None).is_some()
    }

    /// Tells the card of all VLANs (VLVF, VFTA).
    pub fn tell_vlans<B: Bus>(&self, csr: &mut Csr<B>) {
        let all = (1 << (self.own + 1)) - 1;
        let mut table = [0u32; TABLE];
        table[0] = 1;
        csr.write(
            regs::vlvf(0),
            regs::VLVF_ENABLE | all << regs::VLVF_POOLS_SHIFT,
        );
        for (entry, vlan) in (1..).zip(&self.vlans) {
            let value = vlan.map_or(0, |Vlan { number, pool }| {
                table[usize::from(number / 32)] |= 1 << (number % 32);
                regs::VLVF_ENABLE | 1 << (regs::VLVF_POOLS_SHIFT + pool as u32) | u32::from(number)
            });
            csr.write(regs::vlvf(entry), value);
        }
        for (register, word) in (regs::VFTA..).step_by(4).zip(table) {
            csr.write(register, word);
        }
    }

    /// Notes the groups of a VF, and tells the card.
    pub fn set_groups<B: Bus>(
        &mut self,
        csr: &mut Csr<B>,
        vf: usize,
        groups: ([u16; GROUPS], usize),
        filters: &FilterState,
    ) {
        self.groups[vf] = groups;
        self.tell_groups(csr, filters);
    }

    /// Tells the card who is in which groups (MTA, VMOLR).
    fn tell_groups<B: Bus>(&mut self, csr: &mut Csr<B>, filters: &FilterState) {
        let takes_all = filters.control() & regs::RCTL_MPE != 0;
        let mut table = match takes_all {
            true => [u32::MAX; TABLE],
            false => *filters.groups(),
        };
        self.own_groups = table.iter().any(|&word| word != 0);
        for (groups, count) in &self.groups {
            for &group in &groups[..*count] {
                table[usize::from(group / 32)] |= 1 << (group % 32);
            }
        }
        let told = self.multicast.iter_mut().zip(table);
        for (register, (told, word)) in (regs::MTA..).step_by(4).zip(told) {
            if *told != word {
                *told = word;
                csr.write(register, word);
            }
        }
        for pool in 0..=self.own {
            self.tell_pool(csr, pool);
        }
    }

    /// Lets a VF that was reset work, at this station address. Nothing is left of what its last owner has
    /// told its queues: the card keeps where heads are written back to, in the memory of that owner, and
    /// QEMU ORs the vectors of the next one to those of the last one.
    pub fn admit<B: Bus>(&mut self, csr: &mut Csr<B>, vf: usize, mac: MacAddress) {
        let queues = regs::queues_of(vf);
        for number in [0, 1] {
            let receive = Queue::new(queues.receive, queues.stride, number);
            let transmit = Queue::new(queues.transmit, queues.stride, number);
            receive.write(csr, regs::SRRCTL, 0);
            transmit.write(csr, regs::DCA_CTRL, 0);
            transmit.write(csr, regs::TDWBAL, 0);
            transmit.write(csr, regs::TDWBAH, 0);
        }
        csr.write(regs::ivar(vf as u32), 0);
        self.tell_pool(csr, vf);
        tell_address(csr, vf, Some(mac));
        self.let_work(csr, vf, true);
    }

    /// Ends the work of a VF.
    pub fn dismiss<B: Bus>(&mut self, csr: &mut Csr<B>, vf: usize, filters: &FilterState) {
        self.let_work(csr, vf, false);
        tell_address(csr, vf, None);
        self.forget(vf);
        self.tell_vlans(csr);
        self.tell_groups(csr, filters);
    }

    /// Forgets what a VF wants.
    pub fn forget(&mut self, vf: usize) {
        (self.groups[vf].1, self.longest[vf]) = (0, None);
        for place in self.vlans.iter_mut() {
            if place.is_some_and(|vlan| vlan.pool == vf) {
                *place = None;
            }
        }
    }
}

/// Tells the card of a VF's station address: the last registers are the VFs'.
fn tell_address<B: Bus>(csr: &mut Csr<B>, vf: usize, mac: Option<MacAddress>) {
    let number = regs::RECEIVE_ADDRESSES - 1 - vf as u32;
    csr.set_address(number, mac, regs::RAH_POOL << vf);
}
