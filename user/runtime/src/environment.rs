//! What a program is told when it starts.

use spin::Once;

/// What the kernel hands a program, and what the program says of itself.
pub(crate) struct Environment {
    pub name: &'static str,
    pub args: &'static str,
    pub ramdisk: &'static [u8],
}

pub(crate) static ENVIRONMENT: Once<Environment> = Once::new();

/// The program's name, as in `bin/NAME`.
pub fn name() -> &'static str {
    ENVIRONMENT
        .get()
        .map_or("?", |environment| environment.name)
}

/// The argument string, unparsed; [`crate::args`] takes it apart.
pub fn raw_args() -> &'static str {
    ENVIRONMENT.get().map_or("", |environment| environment.args)
}

/// The tar that is mapped into every program; [`crate::ramdisk`] reads it.
pub fn raw_ramdisk() -> &'static [u8] {
    ENVIRONMENT
        .get()
        .map_or(&[], |environment| environment.ramdisk)
}
