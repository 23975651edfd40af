//! The words of the kernel command line. The kernel reads some of them, `init` the others,
//! and each passes over those of the other: so both know the whole list.

/// Whether a word is one of the kernel's own, or would be if it were right; all others are for
/// `init`.
pub fn is_kernels(word: &str) -> bool {
    let (name, _) = word.split_once('=').unwrap_or((word, ""));
    matches!(name, "layout" | "iommu") || name.starts_with("nic.")
}

/// All words there are, for people: what is said of a word that is none of them.
pub const WORDS: &str = "run=NAME[,ARG...], limits=RESOURCE:AMOUNT[,...], ip=A.B.C.D/BITS, gw=A.B.C.D, \
    inside=echosrv|httpd, stack=NAME[,card=N|,vf=N][,ip=...][,gw=...][,mac=STATION][,run=NAME][,inside=...], nic.irq=msix|msi|intx, nic.moderation=MICROSECONDS, nic.jumbo, nic.vfs=0..7[,first], \
    nic.selftest, layout=fixed and iommu=off";
