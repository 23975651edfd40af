//! Cards, endpoints and their owners over models of cards and of programs' memory.

pub mod frames;
