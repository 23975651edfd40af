//! What the kernel itself reads from its command line; the rest is for `init`.

use crate::ramdisk::Ramdisk;

/// How cards interrupt, best first: a card that lacks the wish gets the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Irq {
    /// Messages, one for each part of the card.
    #[default]
    MsiX,
    /// One message.
    Msi,
    /// The card's line, which it may share.
    Intx,
}

/// The options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `nic.irq=msix|msi|intx`.
    pub irq: Irq,
    /// `nic.selftest`: cards that can send a frame to themselves do so when attached.
    pub self_test: bool,
}

impl Options {
    /// Reads them; tells `complain` of each value that makes no sense and is passed over.
    pub fn read<'a>(ramdisk: &Ramdisk<'a>, mut complain: impl FnMut(&'a str)) -> Self {
        let mut options = Options::default();
        for value in ramdisk.option("nic.irq") {
            match value {
                "msix" => options.irq = Irq::MsiX,
                "msi" => options.irq = Irq::Msi,
                "intx" => options.irq = Irq::Intx,
                other => complain(other),
            }
        }
        options.self_test = ramdisk.option("nic.selftest").next().is_some();
        options
    }
}
