//! The attacks of `make soak`, for a few rounds each, always of the same seed. Those in which the
//! card has little part run with one.

use crate::soak::briefly;
use crate::suite::Case;

pub const CASES: &[Case] = &[
    Case::new("attack: 1150 frames changed by a seed", |bench| {
        briefly(bench, "mutated:", 3)
    }),
    Case::new("attack: two floods", |bench| briefly(bench, "floods:", 2)),
    Case::new("attack: 24 hostile ends of TCP", |bench| {
        briefly(bench, "peers:", 2)
    }),
    Case::new("attack: a hostile owner of the card", |bench| {
        briefly(bench, "exchanges:", 1)
    }),
    Case::new("attack: one of sixteen tenants is hostile", |bench| {
        briefly(bench, "tenants:", 1)
    }),
    Case::new("attack: ten flaps of the cable", |bench| {
        briefly(bench, "flaps:", 1)
    }),
    Case::new("attack: 64 hostile HTTP requests", |bench| {
        briefly(bench, "requests:", 4)
    })
    .once(),
    Case::new("attack: 40,000 senseless calls, half cut off", |bench| {
        briefly(bench, "calls:", 1)
    })
    .once(),
    Case::new("attack: hostile lenders and borrowers", |bench| {
        briefly(bench, "leases:", 1)
    })
    .once(),
    Case::new("attack: four pauses of the machine", |bench| {
        briefly(bench, "pauses:", 1)
    })
    .once(),
    Case::new("attack: two resets of the machine", |bench| {
        briefly(bench, "resets:", 2)
    })
    .once(),
    Case::new("attack: two kinds of processor", |bench| {
        briefly(bench, "processors:", 2)
    })
    .once(),
];
