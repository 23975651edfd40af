//! From power-on to the first page, and with how little memory that still works.

use super::guest::{Role, Running, Start};
use super::lab::Lab;
use super::metric::{Guest, WireKind};
use crate::{Failure, Outcome};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, recv, send, socket,
};
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A new connection is tried so often: QEMU's user network accepts one before the guest is
/// there to answer it, and sends its SYN again only after seconds.
const AGAIN: Duration = Duration::from_millis(10);

/// How long one is given.
const PATIENCE: Duration = Duration::from_secs(1);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n";

struct Attempt {
    fd: OwnedFd,
    since: Instant,
    asked: bool,
}

/// Waits until the guest says that it serves, then asks for a page until one comes; returns
/// the time since power-on.
///
/// # Errors
/// If none comes within `limit`, or the guest ends.
pub fn first_page(running: &mut Running, limit: Duration) -> Outcome<Duration> {
    running.wait_ready(limit)?;
    let address = v4(running.http)?;
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut next = Instant::now();
    while running.power_on.elapsed() < limit {
        let now = Instant::now();
        if now >= next {
            next = now + AGAIN;
            attempts.retain(|attempt| now - attempt.since < PATIENCE);
            attempts.extend(begin(address));
            if running.has_ended() {
                return Err("QEMU has ended".into());
            }
        }
        let mut fds: Vec<PollFd> = attempts
            .iter()
            .map(|attempt| {
                let wanted = if attempt.asked {
                    PollFlags::POLLIN
                } else {
                    PollFlags::POLLOUT
                };
                PollFd::new(attempt.fd.as_fd(), wanted)
            })
            .collect();
        let _ = poll(&mut fds, 2_u8); // interrupted: it is called again
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut ready = ready.into_iter();
        let mut answered = false;
        attempts.retain_mut(|attempt| match (ready.next(), attempt.asked) {
            (Some(true), false) => {
                attempt.asked = send(attempt.fd.as_raw_fd(), REQUEST, MsgFlags::MSG_NOSIGNAL)
                    == Ok(REQUEST.len());
                attempt.asked
            }
            (Some(true), true) => {
                let mut answer = [0; 4096];
                let len = recv(attempt.fd.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT);
                answered |= len.is_ok() && answer.starts_with(b"HTTP/1.1 200 ");
                false
            }
            _ => true,
        });
        if answered {
            return Ok(running.power_on.elapsed());
        }
    }
    Err(Failure(format!("no page within {} s", limit.as_secs())))
}

/// Begins to connect; `None` if the system refuses, which the next attempt may mend.
fn begin(address: SocketAddrV4) -> Option<Attempt> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None).ok()?;
    match connect(fd.as_raw_fd(), &SockaddrIn::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Some(Attempt {
            fd,
            since: Instant::now(),
            asked: false,
        }),
        Err(_) => None,
    }
}

/// The address as what it is.
///
/// # Errors
/// If it is an IPv6 address, which no guest has.
pub fn v4(address: SocketAddr) -> Outcome<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err("an IPv6 address".into()),
    }
}

/// The least memory in MiB with which the guest serves its page, by bisection.
///
/// # Errors
/// If it does not serve with `enough`.
pub fn least_memory(lab: &Lab, guest: Guest, enough: u32, limit: Duration) -> Outcome<u32> {
    let serves = |memory| {
        let start = Start {
            guest,
            role: Role::PLAIN,
            wire: WireKind::User,
            memory,
        };
        let mut running = Running::start(lab, &start)?;
        Ok(first_page(&mut running, limit).is_ok())
    };
    if !serves(enough)? {
        return Err(Failure(format!("it does not serve with {enough} MiB")));
    }
    bisect(0, enough, serves)
}

/// The least number above `not` that is `good`, given that `good_at` is and that all above
/// a good one are.
fn bisect(
    mut not: u32,
    mut good_at: u32,
    mut good: impl FnMut(u32) -> Outcome<bool>,
) -> Outcome<u32> {
    while good_at - not > 1 {
        let middle = not + (good_at - not) / 2;
        if good(middle)? {
            good_at = middle;
        } else {
            not = middle;
        }
    }
    Ok(good_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_finds_the_edge_and_passes_failures_on() {
        for edge in [1, 2, 6, 63, 64] {
            assert_eq!(bisect(0, 64, |memory| Ok(memory >= edge)), Ok(edge));
        }
        assert!(bisect(0, 64, |_| Err("no QEMU".into())).is_err());
    }
}
