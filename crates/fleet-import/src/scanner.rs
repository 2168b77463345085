//! Finds where the values of a JSON text begin and end, without reading them
//!
//! A value that ends where the scanner says may still be invalid; serde reads it afterwards.

use std::io::{self, Read, Seek, SeekFrom};

use super::document_error::DocumentError;
use super::read_error::ReadError;

/// A JSON text and a position in it
#[derive(Debug)]
pub(crate) struct Scanner<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The next byte in the buffer
    at: usize,
    /// The position in the text of the end of the buffer
    end: u64,
    /// The number of the line, from 1
    pub(crate) line: u64,
}

/// A position in a text
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    offset: u64,
    line: u64,
}

impl<R: Read + Seek> Scanner<R> {
    pub(crate) const fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), at: 0, end: 0, line: 1 }
    }

    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    pub(crate) const fn place(&self) -> Place {
        Place { offset: self.offset(), line: self.line }
    }

    /// The number of bytes before the position
    pub(crate) const fn offset(&self) -> u64 {
        // The buffer has at most 64 KiB.
        #[allow(clippy::as_conversions, reason = "`try_from` is not const")]
        let rest = (self.buffer.len() - self.at) as u64;
        self.end - rest
    }

    pub(crate) fn go_to(&mut self, place: Place) -> Result<(), ReadError> {
        self.end = self.reader.seek(SeekFrom::Start(place.offset))?;
        self.line = place.line;
        self.buffer.clear();
        self.at = 0;
        Ok(())
    }

    /// The next byte that is not white space, which is not consumed
    pub(crate) fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        loop {
            if !self.fill()? {
                return Ok(None);
            }
            match self.buffer.get(self.at) {
                Some(b'\n') => self.line += 1,
                Some(b' ' | b'\t' | b'\r') => {}
                byte => return Ok(byte.copied()),
            }
            self.at += 1;
        }
    }

    /// Consumes the next byte that is not white space if it is `byte`
    pub(crate) fn next_if(&mut self, byte: u8) -> Result<bool, ReadError> {
        let found = self.peek()? == Some(byte);
        if found {
            self.at += 1;
        }
        Ok(found)
    }

    /// Skips a byte order mark, which some editors begin a file with
    pub(crate) fn skip_mark(&mut self) -> Result<(), ReadError> {
        if self.fill()? && self.buffer.get(self.at..).unwrap_or_default().starts_with(MARK) {
            self.at += MARK.len();
        }
        Ok(())
    }

    /// Skips one value, and appends its text to `kept`; fails if that has more than `most` bytes
    pub(crate) fn value(&mut self, kept: &mut Vec<u8>, most: usize) -> Result<(), ReadError> {
        self.peek()?;
        let mut state = State::default();
        loop {
            if !self.fill()? {
                return match state.is_complete() {
                    true => Ok(()),
                    false => Err(self.error("EOF while parsing a value")),
                };
            }
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let (length, lines, ended) = state.take(rest);
            let taken = rest.get(..length).unwrap_or_default();
            if kept.len() + taken.len() > most {
                return Err(self.error(format_args!("an entry is larger than {} MiB", most >> 20)));
            }
            kept.extend_from_slice(taken);
            self.at += length;
            self.line += lines;
            match ended {
                Some(Ok(())) => return Ok(()),
                Some(Err(reason)) => return Err(self.error(reason)),
                None => {}
            }
        }
    }

    /// An error at the current line
    pub(crate) fn error(&self, reason: impl std::fmt::Display) -> ReadError {
        let reason = format!("{reason} at line {}", self.line);
        ReadError::Document(DocumentError::new("", reason))
    }

    /// Returns whether there is another byte
    fn fill(&mut self) -> io::Result<bool> {
        if self.at < self.buffer.len() {
            return Ok(true);
        }
        self.buffer.resize(BUFFER, 0);
        self.at = 0;
        let read = loop {
            match self.reader.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        self.end += u64::try_from(read?).unwrap_or_default();
        Ok(!self.buffer.is_empty())
    }
}

/// How much of a value has been seen
#[derive(Default)]
struct State {
    /// The brackets that end what was begun
    open: Vec<u8>,
    in_string: bool,
    escaped: bool,
    /// Whether a number or a word has begun
    in_scalar: bool,
}

impl State {
    /// Takes the part of `bytes` that belongs to the value
    ///
    /// Returns its length, the number of lines that end in it, and whether the value ends there.
    fn take(&mut self, bytes: &[u8]) -> (usize, u64, Option<Result<(), &'static str>>) {
        let mut lines = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b'\n' {
                lines += 1;
            }
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.open.is_empty() {
                            return (at + 1, lines, Some(Ok(())));
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b',' | b']' | b'}' | b':' if self.open.is_empty() => {
                    let ended = if self.in_scalar { Ok(()) } else { Err("expected value") };
                    return (at, lines, Some(ended));
                }
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    if self.open.len() == DEEPEST {
                        return (at, lines, Some(Err("recursion limit exceeded")));
                    }
                    self.open.push(if *byte == b'{' { b'}' } else { b']' });
                }
                b'}' | b']' => {
                    if self.open.pop() != Some(*byte) {
                        return (at, lines, Some(Err("a bracket closes what it did not open")));
                    }
                    if self.open.is_empty() {
                        return (at + 1, lines, Some(Ok(())));
                    }
                }
                _ if self.open.is_empty() => self.in_scalar = true,
                _ => {}
            }
        }
        (bytes.len(), lines, None)
    }

    const fn is_complete(&self) -> bool {
        self.in_scalar && self.open.is_empty() && !self.in_string
    }
}

const MARK: &[u8] = "\u{feff}".as_bytes();

const BUFFER: usize = 64 << 10;

/// As deep as serde_json reads
const DEEPEST: usize = 127;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Reads a few bytes at a time
    struct Slow<'a>(Cursor<&'a [u8]>, usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    impl Seek for Slow<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn a_value_ends_where_it_ends_however_it_is_read() {
        for (text, expected) in [
            (" {\"a\": [1, {\"b\": \"}]\\\"\"}]} ,", Some("{\"a\": [1, {\"b\": \"}]\\\"\"}]}")),
            ("\n\n[[],{}]]", Some("[[],{}]")),
            ("17, 4", Some("17")),
            ("true", Some("true")),
            ("\"a,\\\\\",", Some("\"a,\\\\\"")),
            ("{\"a\": ]", None),
            ("{", None),
            ("\"abc", None),
            (",", None),
            ("", None),
            ("{\"too\": \"long for twenty-nine bytes\"}", None),
        ] {
            for step in [1, 2, 3, 100] {
                let mut scanner = Scanner::new(Slow(Cursor::new(text.as_bytes()), step));
                let mut value = Vec::new();
                let found = scanner.value(&mut value, 29).is_ok();
                let found = found.then(|| std::str::from_utf8(&value).unwrap());
                assert_eq!(found, expected, "{text}, {step} at a time");
                if found.is_some() {
                    let rest = &text.as_bytes()[usize::try_from(scanner.offset()).unwrap()..];
                    assert!(text.as_bytes().ends_with(rest) && !rest.starts_with(b"}"));
                }
            }
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        let mut scanner = Scanner::new(Cursor::new(deep.as_bytes()));
        assert!(scanner.value(&mut Vec::new(), 1000).is_err());
    }

    #[test]
    fn a_place_is_found_again_with_its_line() {
        let text = "\u{feff}[1,\n2,\n\n3]";
        let mut scanner = Scanner::new(Cursor::new(text.as_bytes()));
        scanner.skip_mark().unwrap();
        assert!(scanner.next_if(b'[').unwrap());
        scanner.value(&mut Vec::new(), 9).unwrap();
        assert!(scanner.next_if(b',').unwrap());
        let place = scanner.place();
        while scanner.peek().unwrap().is_some_and(|byte| byte != b'3') {
            scanner.value(&mut Vec::new(), 9).unwrap();
            scanner.next_if(b',').unwrap();
        }
        assert_eq!(scanner.line, 4);
        scanner.go_to(place).unwrap();
        assert_eq!((scanner.peek().unwrap(), scanner.line), (Some(b'2'), 2));
    }
}
