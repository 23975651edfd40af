//! The attacks of `make soak`, for a few rounds each, always of the same seed.

use crate::soak::briefly;
use crate::suite::Case;

pub const CASES: &[Case] = &[
    Case::new("attack: 2300 frames changed by a seed", |bench| {
        briefly(bench, "mutated:", 6)
    }),
    Case::new("attack: floods of six kinds", |bench| {
        briefly(bench, "floods:", 6)
    }),
    Case::new("attack: 60 hostile ends of TCP", |bench| {
        briefly(bench, "peers:", 5)
    }),
    Case::new("attack: 64 hostile HTTP requests", |bench| {
        briefly(bench, "requests:", 4)
    }),
    Case::new("attack: 80,000 senseless calls, half cut off", |bench| {
        briefly(bench, "calls:", 1)
    }),
    Case::new("attack: a hostile owner of the card", |bench| {
        briefly(bench, "exchanges:", 1)
    }),
    Case::new("attack: hostile lenders and borrowers", |bench| {
        briefly(bench, "leases:", 1)
    }),
    Case::new("attack: eight pauses of the machine", |bench| {
        briefly(bench, "pauses:", 2)
    }),
    Case::new("attack: ten flaps of the cable", |bench| {
        briefly(bench, "flaps:", 1)
    }),
    Case::new("attack: three resets of the machine", |bench| {
        briefly(bench, "resets:", 3)
    }),
    Case::new("attack: four kinds of processor", |bench| {
        briefly(bench, "processors:", 4)
    })
    .once(),
];
