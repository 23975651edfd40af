//! From the octets of a stranger to lines that any terminal can be shown.

use alloc::string::String;
use alloc::vec::Vec;

/// The most octets of a line, without its end. What is over is cut off.
pub const LINE_MAX: usize = 512;

/// Telnet's commands (RFC 854), as far as octets follow them.
mod telnet {
    pub const END_OF_SUBNEGOTIATION: u8 = 240;
    pub const SUBNEGOTIATION: u8 = 250;
    pub const WILL: u8 = 251;
    pub const DONT: u8 = 254;
    pub const IAC: u8 = 255;
}

/// A line, fit to be shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Without its end; at most three times [`LINE_MAX`] octets.
    pub text: String,
    /// Whether there was more of it than [`LINE_MAX`].
    pub was_cut: bool,
}

/// What came of some octets.
#[derive(Debug, PartialEq, Eq)]
pub enum Fed {
    /// A line has ended.
    Line(Line),
    /// As many octets as a line may have were taken, and none has ended.
    Much,
    /// All were taken.
    All,
}

/// Where in telnet's language the next octet is.
#[derive(Debug, Default)]
enum State {
    #[default]
    Text,
    /// Behind IAC.
    Command,
    /// Behind WILL, WON'T, DO or DON'T.
    Choice,
    /// Between IAC SB and IAC SE.
    Subnegotiation,
    /// There, behind IAC.
    SubnegotiationCommand,
}

/// The line that is being received.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    line: Vec<u8>,
    was_cut: bool,
    /// Octets since the last line, or the last [`Fed::Much`].
    taken: usize,
}

impl Decoder {
    /// Takes octets until there is something to say; returns how many, and that.
    pub fn feed(&mut self, octets: &[u8]) -> (usize, Fed) {
        for (at, &octet) in octets.iter().enumerate() {
            self.taken += 1;
            if self.take(octet) {
                return (at + 1, Fed::Line(self.end()));
            }
            // The line's end is CR LF at the most.
            if self.taken == LINE_MAX + 2 {
                self.taken = 0;
                return (at + 1, Fed::Much);
            }
        }
        (octets.len(), Fed::All)
    }

    /// Ends the line; what was taken of it is there, even if it has no end.
    pub fn end(&mut self) -> Line {
        self.taken = 0;
        let was_cut = core::mem::take(&mut self.was_cut);
        let text = clean(&core::mem::take(&mut self.line), was_cut);
        Line { text, was_cut }
    }

    /// Takes one octet; returns whether it ends a line.
    fn take(&mut self, octet: u8) -> bool {
        self.state = match (&self.state, octet) {
            (State::Text, b'\n') => return true,
            (State::Text, telnet::IAC) => State::Command,
            (State::Text, _) => {
                if self.line.len() < LINE_MAX {
                    self.line.push(octet);
                } else {
                    // CR belongs to the line's end.
                    self.was_cut |= octet != b'\r';
                }
                State::Text
            }
            (State::Command, telnet::SUBNEGOTIATION)
            | (State::SubnegotiationCommand, telnet::IAC) => State::Subnegotiation,
            (State::Command, telnet::WILL..=telnet::DONT) => State::Choice,
            (State::Command | State::Choice, _) => State::Text,
            (State::SubnegotiationCommand, telnet::END_OF_SUBNEGOTIATION) => State::Text,
            (State::Subnegotiation, telnet::IAC) => State::SubnegotiationCommand,
            (State::Subnegotiation | State::SubnegotiationCommand, _) => State::Subnegotiation,
        };
        false
    }
}

/// The text in these octets: controls are left out, what is no UTF-8 becomes U+FFFD.
fn clean(octets: &[u8], was_cut: bool) -> String {
    let mut text = String::new();
    let mut chunks = octets.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => text.push(' '),
                _ if is_control(c) => {}
                _ => text.push(c),
            }
        }
        // The cut may have gone through a character.
        let is_halved = was_cut && chunks.peek().is_none();
        if !chunk.invalid().is_empty() && !is_halved {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Whether a character does something to a terminal, or to the order of the text around it: C0, DEL
/// and C1; separators of lines and paragraphs; and the controls of bidirectional text (UAX #9),
/// after which a name could be shown behind what somebody else has said.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}' | '\u{2029}'
            | '\u{61c}' | '\u{200e}' | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines in these octets, fed in pieces of this length.
    fn lines(octets: &[u8], piece: usize) -> Vec<Line> {
        let mut decoder = Decoder::default();
        let mut lines = Vec::new();
        for mut piece in octets.chunks(piece) {
            while !piece.is_empty() {
                let (count, fed) = decoder.feed(piece);
                piece = &piece[count..];
                if let Fed::Line(line) = fed {
                    lines.push(line);
                }
            }
        }
        lines
    }

    fn texts(octets: &[u8]) -> Vec<String> {
        let all = lines(octets, 1000);
        for piece in 1..8 {
            assert_eq!(lines(octets, piece), all);
        }
        all.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_end_with_lf_or_cr_lf_in_whatever_pieces_they_come() {
        assert_eq!(
            texts(b"one\ntwo\r\n\n  three \nrest"),
            ["one", "two", "", "  three"]
        );
    }

    #[test]
    fn nothing_that_controls_a_terminal_comes_through() {
        // All of C0 but LF, DEL, and all of C1.
        let mut octets: Vec<u8> = (0..0x20).filter(|&octet| octet != b'\n').collect();
        octets.extend(b"\x7f");
        for c1 in '\u{80}'..='\u{9f}' {
            octets.extend(c1.encode_utf8(&mut [0; 4]).bytes());
        }
        octets.extend(b".\n");
        assert_eq!(texts(&octets), [" ."], "a tab is a space");
        assert_eq!(texts(b"\x1b[2J\x1b]0;owned\x07\n"), ["[2J]0;owned"]);
        // C1 as single octets is no UTF-8.
        assert_eq!(texts(b"a\x9b31mb\n"), ["a\u{fffd}31mb"]);
        let bidi = "a\u{202e}b\u{2066}c\u{2069}d\u{200f}e\u{61c}f\u{2028}g\n";
        assert_eq!(texts(bidi.as_bytes()), ["abcdefg"]);
    }

    #[test]
    fn unicode_passes_and_what_is_none_is_marked() {
        let text = "grüße, 世界, עברית, 👩‍🚀";
        assert_eq!(texts(format!("{text}\r\n").as_bytes()), [text]);
        assert_eq!(texts(b"a\xc3(\xe4\xb8\n"), ["a\u{fffd}(\u{fffd}"]);
        // Too long a form, a surrogate, and too high.
        let wrong = b"\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80\n";
        assert!(texts(wrong)[0].chars().all(|c| c == ' ' || c == '\u{fffd}'));
    }

    #[test]
    fn what_telnet_says_to_telnet_is_not_said_to_people() {
        let negotiation =
            b"\xff\xfb\x1f\xff\xfd\x0a\xff\xfa\x1f\0\x0a\xff\xff\0\x18\xff\xf0hi\xff\xf1!\n";
        assert_eq!(texts(negotiation), ["hi!"]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_its_rest_forgotten() {
        let exact = [&[b'x'; LINE_MAX][..], b"\r\nnext\n"].concat();
        let all = lines(&exact, 100);
        assert_eq!((all[0].text.len(), all[0].was_cut), (LINE_MAX, false));
        let long = format!("{}é{}\nnext\n", "x".repeat(LINE_MAX - 1), "y".repeat(2000));
        let all = lines(long.as_bytes(), 100);
        assert_eq!(all[0].text, "x".repeat(LINE_MAX - 1));
        assert!(all[0].was_cut && !all[1].was_cut);
        assert_eq!(all[1].text, "next");
    }

    #[test]
    fn octets_without_an_end_are_counted_and_not_kept() {
        let mut decoder = Decoder::default();
        let flood = [b'x'; 10 * (LINE_MAX + 2)];
        let (mut at, mut much) = (0, 0);
        while at < flood.len() {
            let (count, fed) = decoder.feed(&flood[at..]);
            at += count;
            much += usize::from(fed == Fed::Much);
        }
        assert_eq!((much, decoder.line.len()), (10, LINE_MAX));
        assert!(decoder.line.capacity() < 2 * LINE_MAX);
    }
}
