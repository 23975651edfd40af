//! What the kernel itself reads from its command line; the rest is for `init`.

use abi::command_line::is_kernels;

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

/// The 82576 has 8 pools of queues, of which the physical function needs one.
const VFS_MAX: u8 = 7;

/// The options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `nic.irq=msix|msi|intx`.
    pub irq: Irq,
    /// `nic.selftest`: cards that can send a frame to themselves do so when attached.
    pub self_test: bool,
    /// `nic.jumbo`: cards that can, carry frames with 9000 bytes of payload.
    pub jumbo: bool,
    /// `nic.moderation=US`: least time between two interrupts of a card that can moderate
    /// them, in microseconds. 0, the default, moderates nothing.
    pub moderation_us: u16,
    /// `nic.vfs=N[,first]`: how many virtual functions each card that has some turns on, 0 to 7.
    pub vfs: u8,
    /// With `first` they are counted before all other cards, and not behind them: what runs on card 0
    /// runs on a virtual function then.
    pub vfs_first: bool,
    /// `layout=fixed`: programs are where they were linked, and the rest always at the same
    /// places, for a debugger.
    pub fixed_layout: bool,
    /// `iommu=off`: cards reach all memory, as on a machine without an IOMMU.
    pub is_iommu_off: bool,
}

impl Options {
    /// Reads them from words `name` or `name=value`. Tells `complain` of each word that is
    /// one of ours and makes no sense; it is passed over.
    pub fn read<'a>(command_line: &'a str, mut complain: impl FnMut(&'a str)) -> Self {
        let mut options = Options::default();
        for word in command_line.split_ascii_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("nic.irq", "msix") => options.irq = Irq::MsiX,
                ("nic.irq", "msi") => options.irq = Irq::Msi,
                ("nic.irq", "intx") => options.irq = Irq::Intx,
                ("nic.selftest", "") => options.self_test = true,
                ("nic.jumbo", "") => options.jumbo = true,
                ("nic.moderation", value) if value.parse::<u16>().is_ok() => {
                    options.moderation_us = value.parse().unwrap_or(0);
                }
                ("nic.vfs", value) => match vfs(value) {
                    Some(vfs) => (options.vfs, options.vfs_first) = vfs,
                    None => complain(word),
                },
                ("iommu", "off") => options.is_iommu_off = true,
                ("layout", "fixed") => options.fixed_layout = true,
                _ if is_kernels(word) => complain(word),
                _ => {}
            }
        }
        options
    }
}

/// How many virtual functions, and whether they come first.
fn vfs(value: &str) -> Option<(u8, bool)> {
    let (count, is_first) = match value.split_once(',') {
        None => (value, false),
        Some((count, "first")) => (count, true),
        Some(_) => return None,
    };
    let count = count.parse().ok()?;
    (count <= VFS_MAX).then_some((count, is_first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Options, Vec<&str>) {
        let mut complaints = Vec::new();
        let options = Options::read(line, |word| complaints.push(word));
        (options, complaints)
    }

    #[test]
    fn nothing_said_is_the_best_and_others_words_are_theirs() {
        let (options, complaints) = read("run=hello,nic.irq=msi ip=10.0.2.15/24 irq=intx");
        assert_eq!((options, complaints.len()), (Options::default(), 0));
        assert_eq!(options.irq, Irq::MsiX);
    }

    #[test]
    fn what_is_said_is_done() {
        let (options, complaints) = read(
            "nic.irq=msi nic.selftest nic.jumbo nic.moderation=250 nic.irq=intx nic.vfs=7,first layout=fixed iommu=off",
        );
        assert!(complaints.is_empty());
        let said = Options {
            irq: Irq::Intx,
            self_test: true,
            jumbo: true,
            moderation_us: 250,
            vfs: 7,
            vfs_first: true,
            fixed_layout: true,
            is_iommu_off: true,
        };
        assert_eq!(options, said);
    }

    #[test]
    fn nonsense_is_complained_of_and_changes_nothing() {
        let line = "nic.irq=fast nic.irq nic.selftest=2 nic.moderation=-1 nic.moderation nic.vfs=8 nic.vfs nic.vfs=2,last nic.x=1 \
                    layout=random layout iommu=on iommu";
        let (options, complaints) = read(line);
        assert_eq!(options, Options::default());
        assert_eq!(complaints.join(" "), line);
    }
}
