//! The cards that Wharf is tested with.

/// A card, as QEMU has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Nic {
    /// Wharf's name of it, for the command line and the headings.
    pub name: &'static str,
    /// QEMU's name of it.
    pub device: &'static str,
    /// The name of its chip.
    pub chip: &'static str,
    /// Its PCI vendor and device numbers, as Wharf prints them.
    pub id: &'static str,
    /// The type of machine it is tested in, unless a case is about another.
    pub machine: &'static str,
    /// Bytes to which a shorter frame is lengthened, with zeros, before it is sent; 0: not
    /// at all. The lab's 9 bytes are no Ethernet frame: QEMU's E100 sends them as they are,
    /// its 82576 drops what is shorter than 14 bytes, so that its driver pads.
    pub padded_to: usize,
    /// Whether QEMU's card tells its driver when the cable is pulled.
    pub tells_link: bool,
}

/// All of them, in the order in which they are tested.
pub const ALL: &[Nic] = &[
    Nic {
        name: "e100",
        device: "i82559er",
        chip: "Intel 82559ER",
        id: "8086:1209",
        machine: "pc",
        padded_to: 0,
        tells_link: false,
    },
    Nic {
        name: "igb",
        device: "igb",
        chip: "Intel 82576",
        id: "8086:10c9",
        machine: "q35",
        padded_to: 60,
        tells_link: true,
    },
];

impl Nic {
    /// The cards that `--nic name` asks for; `None` if there is no such card.
    pub fn named(name: &str) -> Option<&'static [Nic]> {
        match name {
            "all" => Some(ALL),
            _ => ALL
                .iter()
                .find(|nic| nic.name == name)
                .map(std::slice::from_ref),
        }
    }

    /// The line that a boot prints when it switches the card on, in the lab's slot.
    pub fn enabled(&self) -> String {
        format!("PCI function 00:03.0 ({}) enabled", self.id)
    }

    /// The line that tells of the card among the PCI functions, in the lab's slot.
    pub fn found(&self) -> String {
        let id = self.id;
        format!("PCI: 00:03.0: {id}: class: 2.0 (Network controller) irq: 11")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_found_by_name_and_introduce_themselves() {
        let names = |asked| Nic::named(asked).map(|n| n.iter().map(|n| n.name).collect::<Vec<_>>());
        assert_eq!(names("igb"), Some(vec!["igb"]));
        assert_eq!(names("all"), Some(vec!["e100", "igb"]));
        assert_eq!(names("igb9"), None);
        assert_eq!(
            ALL[0].enabled(),
            "PCI function 00:03.0 (8086:1209) enabled" // the lab's line
        );
        assert!(ALL[1].found().contains("00:03.0: 8086:10c9:"));
    }
}
