//! A frame from one tenant of a card to another. The card does not see it, so what it would have done on
//! the way is done here: lengths and checksums, and long segments are cut.

use super::headers::{ETHERNET, HEADERS_MAX, IPV4, IPV6, TCP, UDP};
use super::memory::Shared;
use super::tenant::Tenant;
use nic::{Error, Facts, Outgoing, ReceiveInfo};

/// TCP flags that only the last segment of a long one has, FIN and PSH, and that only the first one has,
/// CWR (RFC 3168 §6.1.2).
const LAST_ONLY: u8 = 0x01 | 0x08;
const FIRST_ONLY: u8 = 0x80;

/// Extension headers of IPv6, behind which drivers do not look either.
const EXTENSIONS: [u8; 9] = [0, 43, 44, 50, 51, 60, 135, 139, 140];

/// A frame on its way.
pub struct Passing {
    /// Its first bytes; so many of them are changed, and those of each frame that comes of it.
    head: [u8; HEADERS_MAX],
    changed: usize,
    /// Bytes behind those, and how many of them go into each.
    rest: usize,
    size: usize,
    /// Where the header of TCP or UDP is, if there is an IP packet to be completed.
    body: Option<usize>,
    is_tcp: bool,
    info: ReceiveInfo,
}

impl Passing {
    /// The frame that starts at `start` in the card's arena, as its sender wants it.
    ///
    /// # Errors
    /// Those with which the card refuses to send it. [`Error::Unsupported`] for a tail: the kernel does
    /// not read it.
    pub fn new(
        memory: &impl Shared,
        start: usize,
        frame: &Outgoing,
        facts: &Facts,
    ) -> Result<Self, Error> {
        let len = frame.len;
        let wanted = &frame.options;
        let cuts = wanted.segment_size > 0;
        let longest = match cuts {
            true => facts.features.segmentation.frame_max as usize,
            false => facts.frame_max,
        };
        if frame.tail.is_some() || !wanted.is_none() && !facts.features.checksums {
            return Err(Error::Unsupported);
        }
        if len > longest {
            return Err(Error::BadLength { len });
        }
        let mut head = [0; HEADERS_MAX];
        memory.get(start, &mut head[..len.min(HEADERS_MAX)]);
        let mut passing = Passing {
            head,
            changed: 0,
            rest: len,
            size: len,
            body: None,
            is_tcp: false,
            info: ReceiveInfo::default(),
        };
        let is_ip = matches!(passing.word(12), IPV4 | IPV6);
        if cuts || wanted.checksums && is_ip {
            passing.complete(frame, facts)?;
        }
        Ok(passing)
    }

    /// Finds what is to be completed.
    fn complete(&mut self, frame: &Outgoing, facts: &Facts) -> Result<(), Error> {
        let (body, end, protocol) = match self.word(12) {
            IPV4 => {
                let header = usize::from(self.head[ETHERNET] & 0xf) * 4;
                let is_fragment = self.word(ETHERNET + 6) & 0x3fff != 0;
                if header < 20 || is_fragment {
                    return Err(Error::BadHeaders);
                }
                let end = ETHERNET + usize::from(self.word(ETHERNET + 2));
                (ETHERNET + header, end, self.head[ETHERNET + 9])
            }
            IPV6 => {
                let body = ETHERNET + 40;
                if EXTENSIONS.contains(&self.head[ETHERNET + 6]) {
                    return Err(Error::BadHeaders);
                }
                let end = body + usize::from(self.word(ETHERNET + 4));
                (body, end, self.head[ETHERNET + 6])
            }
            _ => return Err(Error::BadHeaders),
        };
        self.is_tcp = protocol == TCP;
        let has_sum = self.is_tcp || protocol == UDP;
        let payload = match self.is_tcp {
            true => body + usize::from(self.head[body + 12] >> 4) * 4,
            false => body,
        };
        if end > frame.len || end < payload || payload > HEADERS_MAX {
            return Err(Error::BadHeaders);
        }
        (self.changed, self.rest, self.size) = (payload, end - payload, end - payload);
        self.body = Some(body);
        let size = usize::from(frame.options.segment_size);
        if size > 0 {
            if !self.is_tcp || payload < body + 20 {
                return Err(Error::BadHeaders);
            }
            if !facts.features.segmentation.takes(payload, size) {
                let len = payload + size;
                return Err(Error::BadLength { len });
            }
            self.size = size;
        }
        // It was on no wire, where it could have been damaged, and the sum is not needed any more.
        self.info.header_checksum = true;
        self.info.transport_checksum = has_sum;
        Ok(())
    }

    /// Gives it to a tenant.
    pub fn deliver<M: Shared>(&self, memory: &M, start: usize, tenant: &mut Tenant<M>) {
        let mut done = 0;
        loop {
            let count = self.size.min(self.rest - done);
            let head = self.head_of(done, count);
            let changed = self.changed;
            tenant.deliver_passed(changed + count, self.info, |to, at| {
                to.put(at, &head[..changed]);
                to.copy(at + changed, memory, start + changed + done, count);
            });
            done += count;
            if done >= self.rest {
                break;
            }
        }
    }

    /// The head of the frame that has `count` bytes of the rest, from `done` on.
    fn head_of(&self, done: usize, count: usize) -> [u8; HEADERS_MAX] {
        let mut head = self.head;
        let Some(body) = self.body else {
            return head;
        };
        let mut set =
            |at: usize, value: u16| head[at..at + 2].copy_from_slice(&value.to_be_bytes());
        let end = self.changed + count;
        match self.word(12) {
            IPV4 => {
                let number = done.checked_div(self.size).unwrap_or(0) as u16;
                set(ETHERNET + 2, (end - ETHERNET) as u16);
                let number = self.word(ETHERNET + 4).wrapping_add(number);
                set(ETHERNET + 4, number);
                set(ETHERNET + 10, 0);
                let sum = checksum(&head[ETHERNET..body]);
                head[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
            }
            _ => set(ETHERNET + 4, (end - body) as u16),
        }
        if self.is_tcp && self.size < self.rest {
            let [sequence, flags] = [body + 4, body + 13];
            let first = u32::from(self.word(sequence)) << 16 | u32::from(self.word(sequence + 2));
            let own = first.wrapping_add(done as u32);
            head[sequence..sequence + 4].copy_from_slice(&own.to_be_bytes());
            if done > 0 {
                head[flags] &= !FIRST_ONLY;
            }
            if done + count < self.rest {
                head[flags] &= !LAST_ONLY;
            }
        }
        head
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.head[at], self.head[at + 1]])
    }
}

/// The checksum of an IPv4 header, whose own field is 0 (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let (words, _) = header.as_chunks();
    let sum: u32 = words
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
