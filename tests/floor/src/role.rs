//! What the guest is started for: the kernel command line.

use crate::frame;

/// Its roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To send frames of this size for ever.
    Send(usize),
    /// To answer ARP, ICMP echo and UDP echo for ever.
    Answer,
}

impl Role {
    /// Longest command line that means something.
    pub const LINE: usize = 8;

    /// `answer`, or the size of the frames to send; without either frames of 60 bytes are
    /// sent. `None` if it is something else.
    pub fn parse(line: &[u8]) -> Option<Role> {
        match line {
            b"answer" => Some(Role::Answer),
            b"" => Some(Role::Send(60)),
            number => {
                let number = core::str::from_utf8(number).ok()?;
                let size: usize = number.parse().ok()?;
                Some(Role::Send(size.clamp(frame::HEADERS, frame::MAX)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_an_answer_or_nothing_is_asked_for() {
        for (line, role) in [
            (&b"answer"[..], Some(Role::Answer)),
            (b"", Some(Role::Send(60))),
            (b"1514", Some(Role::Send(1514))),
            (b"1", Some(Role::Send(frame::HEADERS))),
            (b"9999", Some(Role::Send(frame::MAX))),
            (b"answers", None),
            (b"-60", None),
            (b"\xff", None),
        ] {
            assert_eq!(Role::parse(line), role);
            assert!(line.len() <= Role::LINE);
        }
    }
}
