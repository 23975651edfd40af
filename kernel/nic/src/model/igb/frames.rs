//! What the card knows of frames: headers, sums, the hash. Written against the standards, and not
//! with the driver's code, so that neither can agree with the other in error.

use alloc::vec::Vec;

/// A frame on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub bytes: Vec<u8>,
    pub damaged: bool,
    /// The pool that has sent it; `None` if it came by the wire.
    pub from: Option<usize>,
}

impl Incoming {
    pub(super) fn new(bytes: &[u8], damaged: bool) -> Self {
        let bytes = bytes.to_vec();
        Incoming {
            bytes,
            damaged,
            from: None,
        }
    }
}

/// A frame taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub ip: usize,
    pub version: u8,
    pub protocol: u8,
    /// Where the TCP or UDP header starts, and the packet ends.
    pub l4: usize,
    pub end: usize,
    pub fragment: bool,
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// `None` if this is no IP packet that is whole.
pub(super) fn view(frame: &[u8]) -> Option<View> {
    if frame.len() < 14 {
        return None;
    }
    let tagged = be16(frame, 12) == 0x8100 && frame.len() >= 18;
    let ip = if tagged { 18 } else { 14 };
    match be16(frame, ip - 2) {
        0x0800 if frame.len() >= ip + 20 => {
            let l4 = ip + usize::from(frame[ip] & 15) * 4;
            let end = ip + usize::from(be16(frame, ip + 2));
            (l4 >= ip + 20 && l4 <= frame.len()).then_some(View {
                ip,
                version: 4,
                protocol: frame[ip + 9],
                l4,
                end: end.min(frame.len()),
                fragment: be16(frame, ip + 6) & 0x3fff != 0,
            })
        }
        0x86dd if frame.len() >= ip + 40 => Some(View {
            ip,
            version: 6,
            protocol: frame[ip + 6],
            l4: ip + 40,
            end: (ip + 40 + usize::from(be16(frame, ip + 4))).min(frame.len()),
            fragment: false,
        }),
        _ => None,
    }
}

/// Sum of 16-bit words in ones' complement.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

pub(super) fn add(a: u16, b: u16) -> u16 {
    let sum = u32::from(a) + u32::from(b);
    (sum + (sum >> 16)) as u16
}

impl View {
    fn addresses<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        match self.version {
            4 => &frame[self.ip + 12..self.ip + 20],
            _ => &frame[self.ip + 8..self.ip + 40],
        }
    }

    /// Sum of the pseudo header with this length.
    pub(super) fn pseudo(&self, frame: &[u8], len: usize) -> u16 {
        let rest = add(u16::from(self.protocol), sum(&(len as u32).to_be_bytes()));
        add(sum(self.addresses(frame)), rest)
    }

    /// Where the checksum of TCP or UDP is.
    pub(super) fn checksum_at(&self) -> Option<usize> {
        match self.protocol {
            6 => Some(self.l4 + 16),
            17 => Some(self.l4 + 6),
            _ => None,
        }
        .filter(|at| !self.fragment && at + 2 <= self.end)
    }

    /// Puts the right checksums into a frame.
    pub(super) fn fill_in(&self, frame: &mut [u8]) {
        if self.version == 4 {
            put16(frame, self.ip + 10, 0);
            let header = !sum(&frame[self.ip..self.l4]);
            put16(frame, self.ip + 10, header);
        }
        if let Some(at) = self.checksum_at() {
            put16(frame, at, 0);
            let pseudo = self.pseudo(frame, self.end - self.l4);
            let value = !add(pseudo, sum(&frame[self.l4..self.end]));
            put16(frame, at, if value == 0 { 0xffff } else { value });
        }
    }

    pub(super) fn ipv4_good(&self, frame: &[u8]) -> Option<bool> {
        (self.version == 4).then(|| sum(&frame[self.ip..self.l4]) == 0xffff)
    }

    pub(super) fn transport_good(&self, frame: &[u8]) -> Option<bool> {
        let at = self.checksum_at()?;
        if self.protocol == 17 && be16(frame, at) == 0 {
            return None;
        }
        let pseudo = self.pseudo(frame, self.end - self.l4);
        Some(add(pseudo, sum(&frame[self.l4..self.end])) == 0xffff)
    }

    /// Which headers are there, as the card writes it (§7.1.5.2): IPv4, IPv4 with options, IPv6, IPv6 with
    /// extension headers, TCP, UDP; a bit each, from the fourth on.
    pub(super) fn kind(&self) -> u32 {
        let is_extended = matches!(self.protocol, 0 | 43 | 44 | 51 | 60);
        let network = match (self.version, self.l4 - self.ip) {
            (4, 20) => 1 << 4,
            (4, _) => 1 << 5,
            (_, _) if is_extended => 1 << 7,
            _ => 1 << 6,
        };
        let transport = match self.protocol {
            6 if !self.fragment => 1 << 8,
            17 if !self.fragment => 1 << 9,
            _ => 0,
        };
        network | transport
    }

    /// What is hashed of the frame, and the type of that.
    pub(super) fn hash_input(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut input = self.addresses(frame).to_vec();
        let ported = matches!(self.protocol, 6 | 17) && !self.fragment && self.end >= self.l4 + 4;
        if ported {
            input.extend(&frame[self.l4..self.l4 + 4]);
        }
        let kind = match (self.version, self.protocol) {
            (4, 6) if ported => 1,
            (4, 17) if ported => 7,
            (4, _) => 2,
            (_, 6) if ported => 3,
            (_, 17) if ported => 8,
            _ => 5,
        };
        (kind, input)
    }
}

/// The Toeplitz hash: for each set bit of the input, the 32 bits of the key that start there.
pub(super) fn toeplitz(key: &[u8; 40], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], index: usize| u32::from(bytes[index / 8] >> (7 - index % 8) & 1);
    let mut hash = 0;
    for index in (0..input.len() * 8).filter(|&index| bit(input, index) == 1) {
        let window = (0..32).fold(0, |window, ahead| window << 1 | bit(key, index + ahead));
        hash ^= window;
    }
    hash
}
