//! What the wrappers make of the kernel's answers.

use super::*;

/// Whatever the kernel answers, no wrapper makes a value of it that is none.
#[test]
fn an_error_stays_an_error() {
    fake::install(|_, _| Err(Error::NoSuchCall));
    let refused = Err(Error::NoSuchCall);
    assert_eq!(yield_now(), refused.map(|_: ()| ()));
    for value in [time_msec(), clock_ns(), free_memory()] {
        assert_eq!(value, refused.map(|_: ()| 0));
    }
    assert_eq!(random(&mut [0; 8]), Err(Error::NoSuchCall));
    assert_eq!(grow_heap(1), Err(Error::NoSuchCall));
    assert_eq!(clock(), Err(Error::NoSuchCall));
    assert_eq!(print(b"x"), Err(Error::NoSuchCall));
    assert_eq!(
        spawn("bin/hello", "", &Grant::default()),
        Err(Error::NoSuchCall)
    );
    assert_eq!(lookup("net0"), Err(Error::NoSuchCall));
    assert_eq!(mute(Pid(1), true), Err(Error::NoSuchCall));
    assert_eq!(charge(Pid(3), 1), Err(Error::NoSuchCall));
}

#[test]
fn a_number_that_is_no_pid_is_no_pid() {
    fake::install(|_, _| Ok(1 << 32 | 7));
    assert_eq!(
        spawn("bin/hello", "", &Grant::default()),
        Err(Error::Malformed)
    );
    assert_eq!(lookup("net0"), Err(Error::Malformed));
}
