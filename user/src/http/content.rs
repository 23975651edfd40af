//! The content that may follow a request's head: it is discarded, within a bound
//! (RFC 9112 §6, §7.1).

use httparse::Status as Parsed;

/// The most content that is discarded for one request, in bytes, chunk lines included.
pub const CONTENT_MAX: u64 = 64 * 1024;
/// The longest line of a chunk (size and extensions) or of the trailer section.
const LINE_MAX: usize = 1024;

/// Content that has not all arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// None is left: the next byte is the next request's.
    Done,
    /// This many bytes are left.
    Length(u64),
    /// Chunks; how much may still come.
    Chunked {
        /// Where in the chunks we are.
        at: Chunk,
        /// What is left of [`CONTENT_MAX`].
        budget: u64,
    },
}

/// A place within chunked content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Before a chunk's size.
    Size,
    /// Within its data and the line end after it: this many bytes are left.
    Data(u64),
    /// In the trailer section, which an empty line ends.
    Trailer,
}

/// Why the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Content {
    /// Chunked content of which nothing has arrived.
    pub const CHUNKED: Content = Content::Chunked {
        at: Chunk::Size,
        budget: CONTENT_MAX,
    };

    /// Takes what it can of `input`; returns how many bytes.
    ///
    /// # Errors
    /// [`Unreadable`] if the chunks are malformed or longer than the bound.
    pub fn discard(&mut self, input: &[u8]) -> Result<usize, Unreadable> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let step = match self {
                Content::Done => 0,
                Content::Length(left) => {
                    let step = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= step as u64;
                    if *left == 0 {
                        *self = Content::Done;
                    }
                    step
                }
                Content::Chunked { at, budget } => {
                    let step = at.advance(rest)?;
                    *budget = budget.checked_sub(step.0 as u64).ok_or(Unreadable)?;
                    if step.1 {
                        *self = Content::Done;
                    }
                    step.0
                }
            };
            taken += step;
            if step == 0 {
                return Ok(taken);
            }
        }
    }
}

impl Chunk {
    /// Takes one step; returns how many bytes, and whether this was the end.
    fn advance(&mut self, input: &[u8]) -> Result<(usize, bool), Unreadable> {
        match self {
            // httparse takes a line without digits for a size of 0.
            Chunk::Size if input.first().is_some_and(|b| !b.is_ascii_hexdigit()) => Err(Unreadable),
            Chunk::Size => match httparse::parse_chunk_size(input) {
                Ok(Parsed::Complete((line, 0))) => {
                    *self = Chunk::Trailer;
                    Ok((line, false))
                }
                Ok(Parsed::Complete((line, size))) => {
                    // The data's own line end belongs to it.
                    *self = Chunk::Data(size.checked_add(2).ok_or(Unreadable)?);
                    Ok((line, false))
                }
                Ok(Parsed::Partial) if input.len() <= LINE_MAX => Ok((0, false)),
                _ => Err(Unreadable),
            },
            Chunk::Data(left) => {
                let step = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= step as u64;
                if *left == 0 {
                    *self = Chunk::Size;
                }
                Ok((step, false))
            }
            Chunk::Trailer => match input.iter().position(|&byte| byte == b'\n') {
                Some(end) => Ok((end + 1, matches!(&input[..end], b"" | b"\r"))),
                None if input.len() <= LINE_MAX => Ok((0, false)),
                None => Err(Unreadable),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `step` bytes as a connection's buffer would; returns how
    /// many bytes belonged to the content.
    fn feed(mut content: Content, input: &[u8], step: usize) -> Result<usize, Unreadable> {
        let (mut taken, mut arrived) = (0, 0);
        while content != Content::Done {
            assert!(arrived < input.len(), "wants more than there is");
            arrived = (arrived + step).min(input.len());
            taken += content.discard(&input[taken..arrived])?;
        }
        Ok(taken)
    }

    #[test]
    fn a_length_is_taken_and_no_more() {
        for step in [1, 2, 7, 100] {
            assert_eq!(feed(Content::Length(10), b"0123456789GET /", step), Ok(10));
        }
    }

    #[test]
    fn chunks_are_taken_to_their_end() {
        let chunks = b"5\r\nhello\r\nA;name=\"v\"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
        let mut input = chunks.to_vec();
        input.extend_from_slice(b"GET / HTTP/1.1\r\n");
        for step in 1..input.len() {
            assert_eq!(
                feed(Content::CHUNKED, &input, step),
                Ok(chunks.len()),
                "{step}"
            );
        }
        assert_eq!(feed(Content::CHUNKED, b"0\r\n\r\n", 1), Ok(5));
    }

    #[test]
    fn malformed_and_endless_chunks_are_refused() {
        for input in [&b"g\r\n"[..], b"-1\r\n", b"\r\n", b"fffffffffffffffff\r\n"] {
            assert_eq!(
                feed(Content::CHUNKED, input, 100),
                Err(Unreadable),
                "{input:?}"
            );
        }
        assert_eq!(
            feed(Content::CHUNKED, b"ffffffffffffffff\r\n", 100),
            Err(Unreadable)
        );
        let long = [b"1;".to_vec(), vec![b'x'; 2000]].concat();
        assert_eq!(feed(Content::CHUNKED, &long, 10), Err(Unreadable));
        let trailers = [b"0\r\n".to_vec(), vec![b'x'; 2000]].concat();
        assert_eq!(feed(Content::CHUNKED, &trailers, 10), Err(Unreadable));
        let flood = b"1\r\nx\r\n".repeat(100_000);
        assert_eq!(feed(Content::CHUNKED, &flood, 512), Err(Unreadable));
        let flood = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(100_000)].concat();
        assert_eq!(feed(Content::CHUNKED, &flood, 512), Err(Unreadable));
    }
}
