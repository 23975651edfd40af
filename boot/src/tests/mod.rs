//! The boot stage on the host: its parts, and whole boots into modelled memory.

mod archive;
mod kernel;
mod layout;
mod load;
mod memory_map;
mod model;
mod pvh;
