//! The content that may follow a request's head: it is discarded, within a bound
//! (RFC 9112 §6, §7.1). Chunks are read strictly by their grammar: a reader in front of us
//! that is strict must not see another end than we do.

use super::response::Status;
use super::syntax::{after_quoted_string, after_token, after_whitespace, is_value_byte};

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
    /// Within its data: this many bytes are left.
    Data(u64),
    /// Before the CRLF that follows its data.
    DataEnd,
    /// In the trailer section, which an empty line ends.
    Trailer,
}

impl Content {
    /// Chunked content of which nothing has arrived.
    pub const CHUNKED: Content = Content::Chunked {
        at: Chunk::Size,
        budget: CONTENT_MAX,
    };

    /// Takes what it can of `input`; returns how many bytes.
    ///
    /// # Errors
    /// The status to refuse the message with, if its chunks are malformed or longer than the
    /// bounds. Where it ends is then not known, so the connection cannot be used again.
    pub fn discard(&mut self, input: &[u8]) -> Result<usize, Status> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let step = match self {
                Content::Done => 0,
                Content::Length(left) => {
                    let step = take(left, rest);
                    if *left == 0 {
                        *self = Content::Done;
                    }
                    step
                }
                Content::Chunked { at, budget } => {
                    let step = at.advance(rest, *budget)?;
                    let left = budget.checked_sub(step.0 as u64);
                    *budget = left.ok_or(Status::CONTENT_TOO_LARGE)?;
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

/// Takes what there is of the `left` bytes; returns how many.
fn take(left: &mut u64, input: &[u8]) -> usize {
    let step = input
        .len()
        .min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= step as u64;
    step
}

impl Chunk {
    /// Takes one step, if the bytes for it have all come; returns how many it took, and
    /// whether this was the end. No chunk may be larger than `most`.
    fn advance(&mut self, input: &[u8], most: u64) -> Result<(usize, bool), Status> {
        let (step, next) = match self {
            Chunk::Size => {
                let Some(line) = line(input, Status::CONTENT_TOO_LARGE)? else {
                    return Ok((0, false));
                };
                let next = match size(line).ok_or(Status::BAD_REQUEST)? {
                    0 => Chunk::Trailer,
                    // Other readers may have wrapped it.
                    u64::MAX => return Err(Status::BAD_REQUEST),
                    size if size > most => return Err(Status::CONTENT_TOO_LARGE),
                    size => Chunk::Data(size),
                };
                (line.len() + 2, next)
            }
            Chunk::Data(left) => {
                let step = take(left, input);
                let next = if *left == 0 {
                    Chunk::DataEnd
                } else {
                    Chunk::Data(*left)
                };
                (step, next)
            }
            Chunk::DataEnd => match input {
                [b'\r', b'\n', ..] => (2, Chunk::Size),
                [] | [b'\r'] => return Ok((0, false)),
                _ => return Err(Status::BAD_REQUEST),
            },
            Chunk::Trailer => match line(input, Status::FIELDS_TOO_LARGE)? {
                None => return Ok((0, false)),
                Some([]) => return Ok((2, true)),
                Some(line) if is_field(line) => (line.len() + 2, Chunk::Trailer),
                Some(_) => return Err(Status::BAD_REQUEST),
            },
        };
        *self = next;
        Ok((step, false))
    }
}

/// The line at the start of `input`, without the CRLF that must end it; `None` if it has not
/// all come. One that is longer than [`LINE_MAX`] is refused with `too_long`.
fn line(input: &[u8], too_long: Status) -> Result<Option<&[u8]>, Status> {
    let end = input.iter().take(LINE_MAX).position(|&byte| byte == b'\n');
    match end {
        Some(end) => match input[..end].strip_suffix(b"\r") {
            Some(line) => Ok(Some(line)),
            None => Err(Status::BAD_REQUEST),
        },
        None if input.len() < LINE_MAX => Ok(None),
        None => Err(too_long),
    }
}

/// The size in `chunk-size [ chunk-ext ]` (RFC 9112 §7.1, §7.1.1); too large a one is as
/// large as can be. `None` if the line is anything else.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, mut rest) = line.split_at_checked(digits.count())?;
    // chunk-ext = *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )
    while !rest.is_empty() {
        let name = after_whitespace(rest).strip_prefix(b";")?;
        rest = after_token(after_whitespace(name))?;
        if let Some(value) = after_whitespace(rest).strip_prefix(b"=") {
            let value = after_whitespace(value);
            rest = after_quoted_string(value).or_else(|| after_token(value))?;
        }
    }
    let size = digits.iter().fold(0u64, |size, &byte| {
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        size.saturating_mul(16).saturating_add(digit.into())
    });
    (!digits.is_empty()).then_some(size)
}

/// Whether a line is `token ":" value` (RFC 9112 §5).
fn is_field(line: &[u8]) -> bool {
    match after_token(line) {
        Some([b':', value @ ..]) => value.iter().all(|&byte| is_value_byte(byte)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `step` bytes as a connection's buffer would; returns how
    /// many bytes belonged to the content.
    fn feed(mut content: Content, input: &[u8], step: usize) -> Result<usize, Status> {
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
        let feed = |input: &[u8]| feed(Content::CHUNKED, input, 100);
        for input in [
            &b"g\r\n"[..],
            b"-1\r\n",
            b"\r\n",
            b"5\n",
            b"1\r\nx\n",
            b"0\r\na\r\n",
        ] {
            assert_eq!(feed(input), Err(Status::BAD_REQUEST), "{input:?}");
        }
        let wide = b"fffffffffffffffff\r\n";
        assert_eq!(feed(wide), Err(Status::BAD_REQUEST));
        for input in [&b"fffffffffffffffe\r\n"[..], b"10001\r\n"] {
            assert_eq!(feed(input), Err(Status::CONTENT_TOO_LARGE), "{input:?}");
        }
        let long = [b"1;".to_vec(), vec![b'x'; 2000]].concat();
        assert_eq!(feed(&long), Err(Status::CONTENT_TOO_LARGE));
        let trailers = [b"0\r\n".to_vec(), vec![b'x'; 2000]].concat();
        assert_eq!(feed(&trailers), Err(Status::FIELDS_TOO_LARGE));
        let flood = b"1\r\nx\r\n".repeat(100_000);
        assert_eq!(feed(&flood), Err(Status::CONTENT_TOO_LARGE));
        let flood = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(100_000)].concat();
        assert_eq!(feed(&flood), Err(Status::CONTENT_TOO_LARGE));
    }

    /// Whatever the bytes, and however they are cut, the same end is found.
    #[test]
    fn noise_has_one_reading() {
        let mut seed = 5u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        let mut done = 0;
        for _ in 0..20_000 {
            let pieces: [&[u8]; 9] = [
                b"0",
                b"2",
                b"\r\n",
                b"\r",
                b"\n",
                b"ab",
                b";a",
                b"=\"b\"",
                b"0\r\n\r\n",
            ];
            let count = random(9);
            let mut input: Vec<u8> = b"2\r\nab\r\n".to_vec();
            input.extend((0..count).flat_map(|_| pieces[random(9)]));
            let mut whole = Content::CHUNKED;
            let taken = whole.discard(&input);
            let (mut cut, mut at) = (Content::CHUNKED, 0);
            let mut last = Ok(0);
            for end in 1..=input.len() {
                last = cut.discard(&input[at..end]);
                match last {
                    Ok(step) => at += step,
                    Err(_) => break,
                }
            }
            match taken {
                Ok(taken) => assert_eq!((taken, whole), (at, cut), "{input:?}"),
                Err(status) => assert_eq!(last, Err(status), "{input:?}"),
            }
            done += usize::from(whole == Content::Done);
        }
        assert!(done > 2000 && done < 10_000, "{done}");
    }
}
