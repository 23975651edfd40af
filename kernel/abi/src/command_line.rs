//! The words of the kernel command line. The kernel reads some of them, `init` the others,
//! and each passes over those of the other: so both know the whole list.

/// How the names of the kernel's own words begin; all others are for `init`.
pub const KERNEL_PREFIX: &str = "nic.";

/// All words there are, for people: what is said of a word that is none of them.
pub const WORDS: &str = "run=NAME[,ARG...], limits=RESOURCE:AMOUNT[,...], ip=A.B.C.D/BITS, gw=A.B.C.D, \
    inside=echosrv|httpd, nic.irq=msix|msi|intx, nic.moderation=MICROSECONDS, nic.jumbo and \
    nic.selftest";
