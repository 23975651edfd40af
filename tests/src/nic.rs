//! The cards that Wharf is tested with: those of `scripts/cards`.

use std::sync::LazyLock;

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
    /// at all.
    pub padded_to: usize,
    /// Whether QEMU's card tells its driver when the cable is pulled.
    pub tells_link: bool,
    /// What the kernel command line says so that a virtual function is card 0; nothing for a card.
    pub words: &'static str,
}

/// All cards, in the order in which they are tested: those of `scripts/cards`.
pub static ALL: LazyLock<Vec<Nic>> = LazyLock::new(|| rows(|nic| !nic.is_virtual()));

/// The virtual functions of `scripts/cards`, which `all` does not mean.
pub static FUNCTIONS: LazyLock<Vec<Nic>> = LazyLock::new(|| rows(Nic::is_virtual));

fn rows(wanted: impl Fn(&Nic) -> bool) -> Vec<Nic> {
    let lines = include_str!("../../scripts/cards").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| Nic::read(line).unwrap_or_else(|| panic!("scripts/cards: {line:?}")))
        .filter(wanted)
        .collect()
}

/// What `--nic` can be, for a person: the cards' names, and `all`.
pub fn names() -> String {
    let names = ALL.iter().chain(FUNCTIONS.iter()).map(|nic| nic.name);
    let names = names.chain(["all"]);
    names.collect::<Vec<_>>().join(", ")
}

impl Nic {
    /// A line of `scripts/cards`.
    fn read(line: &'static str) -> Option<Nic> {
        let mut rest = line;
        let mut column = || {
            let (word, after) = rest.split_once(char::is_whitespace)?;
            rest = after.trim_start();
            Some(word)
        };
        let (name, device, id, machine) = (column()?, column()?, column()?, column()?);
        let (place, padded_to, link, words) = (column()?, column()?, column()?, column()?);
        let padded_to = padded_to.parse().ok()?;
        let known = ["slot", "port"].contains(&place) && ["told", "silent"].contains(&link);
        known.then_some(Nic {
            name,
            device,
            chip: rest,
            id,
            machine,
            padded_to,
            tells_link: link == "told",
            words: if words == "-" { "" } else { words },
        })
    }

    /// The cards that `--nic name` asks for; `None` if there is no such card.
    pub fn named(name: &str) -> Option<&'static [Nic]> {
        match name {
            "all" => Some(&ALL),
            _ => ALL
                .iter()
                .chain(FUNCTIONS.iter())
                .find(|nic| nic.name == name)
                .map(std::slice::from_ref),
        }
    }

    /// Whether it is a virtual function of a card.
    pub fn is_virtual(&self) -> bool {
        !self.words.is_empty()
    }

    /// The name of the card that it is, or is a virtual function of.
    pub fn physical(&self) -> &'static str {
        let card = ALL.iter().find(|nic| nic.device == self.device);
        card.map_or(self.name, |nic| nic.name)
    }

    /// Where it is on PCI: in the lab's slot, or as the first virtual function of the card behind the root
    /// port there.
    pub fn address(&self) -> &'static str {
        if self.is_virtual() {
            "01:10.0"
        } else {
            "00:03.0"
        }
    }

    /// The line that a boot prints when it switches the card on.
    pub fn enabled(&self) -> String {
        let (id, address) = (self.id, self.address());
        format!("PCI function {address} ({id}) enabled")
    }

    /// The line that tells of the card among the PCI functions.
    pub fn found(&self) -> String {
        let (id, address) = (self.id, self.address());
        // A virtual function has no line to interrupt by.
        let irq = match self.is_virtual() {
            true => "irq: 0: virtual function 0 of 01:00.0",
            false => "irq: 11",
        };
        format!("PCI: {address}: {id}: class: 2.0 (Network controller) {irq}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::repository;

    #[test]
    fn cards_are_found_by_name_and_introduce_themselves() {
        for nic in ALL.iter().chain(FUNCTIONS.iter()) {
            assert_eq!(Nic::named(nic.name), Some(std::slice::from_ref(nic)));
            assert!(names().contains(nic.name), "{}", names());
            assert!(nic.found().contains(nic.id) && nic.enabled().contains(nic.id));
        }
        assert_eq!(Nic::named("all"), Some(&ALL[..]));
        assert_eq!(Nic::named("igb9"), None);
        assert_eq!(FUNCTIONS[0].physical(), "igb");
        // The lab's line.
        let lab = "PCI function 00:03.0 (8086:1209) enabled";
        assert!(ALL.iter().any(|nic| nic.enabled() == lab));
    }

    #[test]
    fn a_line_that_is_no_card_is_none() {
        let card = Nic::read("x  y 1:2 pc slot 60 told -  Some chip").unwrap();
        assert_eq!((card.padded_to, card.chip), (60, "Some chip"));
        assert!(card.tells_link && !card.is_virtual());
        let function = Nic::read("x y 1:2 pc port 60 told nic.x Some chip").unwrap();
        assert_eq!((function.words, function.is_virtual()), ("nic.x", true));
        for line in [
            "",
            "x y 1:2 pc slot 60 told -",
            "x y 1:2 pc door 60 told - z",
            "x y 1:2 pc slot sixty told - z",
            "x y 1:2 pc slot 60 tells - z",
        ] {
            assert!(Nic::read(line).is_none(), "{line}");
        }
    }

    /// The places that README tells of: those that a card needs to be driven.
    #[test]
    fn each_card_is_in_all_places_that_need_it() {
        let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
        let attach = read("kernel/src/attach.rs");
        let [library, model] =
            ["lib.rs", "model/mod.rs"].map(|file| read(&format!("kernel/nic/src/{file}")));
        let rows = attach.matches("name: \"").count();
        assert_eq!(rows, ALL.len(), "rows of DRIVERS, and cards");
        for nic in ALL.iter() {
            let name = nic.name;
            let (vendor, device) = nic.id.split_once(':').unwrap();
            for (file, words) in [
                (&attach, format!("name: \"{name}\"")),
                (&attach, format!("id: (0x{vendor}, 0x{device})")),
                (&library, format!("pub mod {name};")),
                (&model, format!("pub mod {name};")),
            ] {
                assert!(file.contains(&words), "{name}: no {words:?}");
            }
        }
        let virtuals = read("kernel/src/attach/virtual_functions.rs");
        for Nic { name, chip, .. } in FUNCTIONS.iter() {
            assert!(virtuals.contains(&format!("(\"{name}\", \"{chip}\")")));
            assert!(library.contains(&format!("pub mod {name};")));
        }
    }
}
