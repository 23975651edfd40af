//! What a program is told when it starts.

use abi::service::Stack;
use spin::Once;

/// What the kernel hands a program, and what the program says of itself.
pub(crate) struct Environment {
    pub name: &'static str,
    pub args: &'static str,
    pub stack: Stack,
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

/// The stack that the program was started for: the last argument says it, as `stack=NAME`, which is no
/// argument of the program's own.
pub fn stack() -> Stack {
    let environment = ENVIRONMENT.get();
    environment.map_or(Stack::FIRST, |environment| environment.stack)
}

/// Arguments without the stack, and the stack. What cannot be the name of one stays an argument.
pub(crate) fn split_stack(args: &str) -> (&str, Stack) {
    let (rest, last) = args.rsplit_once(',').unwrap_or(("", args));
    match last.strip_prefix("stack=").map(str::parse) {
        Some(Ok(stack)) => (rest, stack),
        _ => (args, Stack::FIRST),
    }
}

/// The tar that is mapped into every program; [`crate::ramdisk`] reads it.
pub fn raw_ramdisk() -> &'static [u8] {
    ENVIRONMENT
        .get()
        .map_or(&[], |environment| environment.ramdisk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_is_the_last_argument_and_not_the_programs() {
        let web: Stack = "web".parse().unwrap();
        assert_eq!(split_stack("stack=web"), ("", web));
        assert_eq!(split_stack("80,fast,stack=web"), ("80,fast", web));
        for other in ["", "80", "stack=web,80", "80,stack=", "stack=A"] {
            assert_eq!(split_stack(other), (other, Stack::FIRST));
        }
    }
}
