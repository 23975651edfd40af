//! `make bench`: Wharf and Linux, side by side on the same emulated cards.

pub mod files;
