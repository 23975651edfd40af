//! Linux tuned for latency: programs that wait look at the card themselves for a while, and
//! the card interrupts for each frame at once. It is what an administrator does who wants
//! short round trips; it costs rates, since the processor is kept from other work.

use nix::errno::Errno;
use nix::libc;
use std::ffi::c_char;
use std::io::Error;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// How long a program that waits looks at the card before it sleeps, in microseconds
/// (Linux, Documentation/admin-guide/sysctl/net.rst, which recommends 50 to 100).
const BUSY: &str = "100";

/// What is set to it: for `poll` and `epoll_wait`, and for a `read` of a socket that is made
/// from then on.
const BUSY_SETTINGS: [&str; 2] = ["busy_poll", "busy_read"];

/// Commands of `SIOCETHTOOL` (`linux/ethtool.h`).
const ETHTOOL_GCOALESCE: u32 = 0xe;
const ETHTOOL_SCOALESCE: u32 = 0xf;

/// `struct ethtool_coalesce` (`linux/ethtool.h`): the command, `rx_coalesce_usecs`, and 21 more
/// settings, of 32 bits each.
type Coalesce = [u32; 23];
const RX_USECS: usize = 1;

/// Tunes this machine's sockets and the interface of this name; says what was done. Sockets
/// that are made before are not affected by all of it.
///
/// # Errors
/// If the system refuses, or has not done what it was told. That a card has no moderation
/// of interrupts, as the E100, is no error: then there is none to switch off.
pub fn tune(interface: &str) -> Result<String, Error> {
    for name in BUSY_SETTINGS {
        std::fs::write(format!("/proc/sys/net/core/{name}"), BUSY)?;
    }
    let usecs = interrupt_at_once(interface)?;
    Ok(match usecs {
        Some((now, before)) => {
            format!("busy polling {BUSY} us, rx-usecs {now} instead of {before}")
        }
        None => format!("busy polling {BUSY} us, no rx-usecs to set"),
    })
}

/// The shortest delay that igbvf can set, which it says instead of 0.
const SHORTEST: u32 = 1;

/// Has the card interrupt for each received frame without delay. Returns the microseconds
/// that are set now, and those before; `None` if the card's driver has no such setting.
fn interrupt_at_once(interface: &str) -> Result<Option<(u32, u32)>, Error> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut coalesce: Coalesce = [0; 23];
    coalesce[0] = ETHTOOL_GCOALESCE;
    match ethtool(socket.as_fd(), interface, &mut coalesce) {
        Err(Errno::EOPNOTSUPP) => return Ok(None),
        other => other?,
    }
    let before = coalesce[RX_USECS];
    coalesce[0] = ETHTOOL_SCOALESCE;
    coalesce[RX_USECS] = 0;
    ethtool(socket.as_fd(), interface, &mut coalesce)?;
    coalesce = [0; 23];
    coalesce[0] = ETHTOOL_GCOALESCE;
    coalesce[RX_USECS] = before;
    ethtool(socket.as_fd(), interface, &mut coalesce)?;
    match coalesce[RX_USECS] {
        now @ ..=SHORTEST => Ok(Some((now, before))),
        usecs => Err(Error::other(format!("rx-usecs is still {usecs}"))),
    }
}

/// One command to the driver of the interface of this name, which may write its answer over it.
fn ethtool(socket: BorrowedFd, interface: &str, coalesce: &mut Coalesce) -> Result<(), Errno> {
    let mut name = [0; libc::IFNAMSIZ];
    if interface.len() >= name.len() {
        return Err(Errno::ENODEV); // no name is that long, with the zero at its end
    }
    for (place, byte) in name.iter_mut().zip(interface.bytes()) {
        *place = byte as c_char;
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: coalesce.as_mut_ptr().cast(),
        },
    };
    // SAFETY: the kernel reads the request and, through its pointer, reads and writes one
    // `struct ethtool_coalesce`, which is as large as `Coalesce`; both outlive the call, and
    // nobody else has them.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_as_large_as_the_kernels_structure() {
        // `struct ethtool_coalesce` has 23 members of type __u32.
        assert_eq!(size_of::<Coalesce>(), 92);
    }

    #[test]
    fn an_interface_without_moderation_is_left_as_it_is() {
        assert_eq!(interrupt_at_once("lo").unwrap(), None);
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        for name in ["no-such-card", "a-name-that-no-interface-can-have"] {
            let error = interrupt_at_once(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::ENODEV as i32), "{name}");
        }
    }
}
