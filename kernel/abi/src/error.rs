//! One error type for system calls and for servers' replies.

crate::numbered! {
    /// Why a system call or a request to a server was refused or failed.
    ///
    /// The names are POSIX's in words (`EWOULDBLOCK` is [`Error::WouldBlock`]). On the
    /// wire and in registers an error is its number; a system call returns it negated.
    #[repr(u16)]
    pub enum Error {
        /// No such system call or operation (`ENOSYS`).
        NoSuchCall = 1 => "no such call",
        /// An argument has a value that the call does not take (`EINVAL`).
        InvalidArgument = 2 => "invalid argument",
        /// A pointer and length that are not the caller's readable or writable memory (`EFAULT`).
        BadAddress = 3 => "bad address",
        /// A socket, token or card number that the caller does not own (`EBADF`).
        BadHandle = 4 => "bad handle",
        /// Memory, or a bounded table, is used up for all (`ENOMEM`).
        NoMemory = 5 => "out of memory",
        /// No file, process or service of that name or number (`ENOENT`, `ESRCH`).
        NotFound = 6 => "not found",
        /// The caller may not do that (`EPERM`).
        NotPermitted = 7 => "not permitted",
        /// It would have to wait: try again after a notification (`EWOULDBLOCK`).
        WouldBlock = 8 => "would block",
        /// The deadline passed first (`ETIMEDOUT`).
        TimedOut = 9 => "timed out",
        /// The process called, or the one being answered, has ended, now or before
        /// (`EOWNERDEAD`).
        PeerDied = 10 => "peer died",
        /// Somebody else holds it (`EBUSY`).
        Busy = 11 => "busy",
        /// The file is not a program this machine can run (`ENOEXEC`).
        NotExecutable = 12 => "not an executable for this machine",
        /// Longer than the limit of the call (`EMSGSIZE`).
        TooLong = 13 => "too long",
        /// A zero-length frame or one that cannot be sent as it is (`EINVAL`).
        BadFrame = 14 => "bad frame",
        /// The device failed or was reset under the request (`EIO`).
        DeviceFailed = 15 => "device failed",
        /// The local address is in use (`EADDRINUSE`).
        AddressInUse = 16 => "address in use",
        /// Not an address of this machine (`EADDRNOTAVAIL`).
        AddressNotAvailable = 17 => "address not available",
        /// The socket has no peer (`ENOTCONN`).
        NotConnected = 18 => "not connected",
        /// The socket already has a peer or is being connected (`EISCONN`, `EALREADY`).
        AlreadyConnected = 19 => "already connected",
        /// The peer refused the connection (`ECONNREFUSED`).
        ConnectionRefused = 20 => "connection refused",
        /// The connection was reset by the peer (`ECONNRESET`).
        ConnectionReset = 21 => "connection reset by peer",
        /// Sending after the sending side was shut down or the peer is gone (`EPIPE`).
        BrokenPipe = 22 => "broken pipe",
        /// No route to that address, or its neighbour does not answer (`ENETUNREACH`,
        /// `EHOSTUNREACH`).
        Unreachable = 23 => "unreachable",
        /// The call does not fit this kind of socket (`EOPNOTSUPP`).
        NotSupported = 24 => "not supported",
        /// A message that does not decode (`EPROTO`).
        Malformed = 25 => "malformed message",
        /// The process called waits for the caller, itself or through others: neither would ever
        /// go on (`EDEADLK`).
        Deadlock = 26 => "deadlock",
        /// The limits of the calling process leave no room for it (`EDQUOT`); see
        /// [`crate::limits`].
        QuotaExceeded = 27 => "quota exceeded",
        /// A frame that the filter describes is another endpoint's (`EADDRINUSE`); see
        /// [`crate::endpoint`].
        FilterOverlaps = 28 => "filter overlaps another's",
    }
}

/// The result of a system call or request.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// The error with this number; [`Error::Malformed`] for a number that is none.
    pub fn from_wire(number: u16) -> Error {
        Error::from_number(number).unwrap_or(Error::Malformed)
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Error {}

/// What a system call leaves in `rax`: a value of at most `i64::MAX`, or an error's
/// number negated.
pub fn to_register(result: Result<u64>) -> u64 {
    match result {
        Ok(value) => value & (i64::MAX as u64),
        Err(error) => (-i64::from(error.number())) as u64,
    }
}

/// The inverse of [`to_register`].
pub fn from_register(register: u64) -> Result<u64> {
    match register as i64 {
        value if value >= 0 => Ok(register),
        value => Err(Error::from_wire(
            u16::try_from(value.unsigned_abs()).unwrap_or(0),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_register() {
        for (index, error) in Error::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(error.number()), index + 1);
            assert_eq!(from_register(to_register(Err(error))), Err(error));
        }
        assert_eq!(from_register(to_register(Ok(0))), Ok(0));
        assert_eq!(from_register(to_register(Ok(1 << 40))), Ok(1 << 40));
    }

    #[test]
    fn a_number_that_is_no_error_is_malformed() {
        assert_eq!(Error::from_wire(0), Error::Malformed);
        assert_eq!(Error::from_wire(999), Error::Malformed);
        assert_eq!(from_register(i64::MIN as u64), Err(Error::Malformed));
    }
}
