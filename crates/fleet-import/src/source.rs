//! Documents, read an entry at a time

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::{mem, vec};

use serde::de::DeserializeOwned;

use super::document::Document;
use super::document_error::DocumentError;
use super::read_error::ReadError;
use super::scanner::{Place, Scanner};
use super::section::Section;

/// A document that is being imported: a JSON file that is read an entry at a time, or a document
/// in memory
///
/// A JSON file may have any size, and is read twice: once to find its lists, which may be in any
/// order, and once for their entries. An entry has at most 16 MiB.
#[derive(Debug)]
pub struct Source<R>(Kind<R>);

#[derive(Debug)]
enum Kind<R> {
    Json { scanner: Scanner<R>, sections: BTreeMap<Section, Place>, size: u64 },
    Whole(Document),
}

impl<R: Read + Seek> Source<R> {
    /// Opens a document: JSON if it begins like an object, else TOML
    ///
    /// The lists of a JSON document are found, and their entries are not read yet. A TOML document
    /// has at most 16 MiB, and is read.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn open(reader: R) -> Result<Self, ReadError> {
        let mut scanner = Scanner::new(reader);
        scanner.skip_mark()?;
        if scanner.peek()? == Some(b'{') {
            return Self::json(scanner);
        }
        let mut reader = scanner.into_inner();
        reader.seek(SeekFrom::Start(0))?;
        let mut text = Vec::new();
        let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX);
        reader.take(limit + 1).read_to_end(&mut text)?;
        if text.len() > LARGEST {
            let reason = format!("a TOML document has at most {} MiB", LARGEST >> 20);
            return Err(DocumentError::new("", reason).into());
        }
        let text = std::str::from_utf8(&text).map_err(|_| DocumentError::not_text())?;
        Ok(Self(Kind::Whole(Document::parse(text)?)))
    }

    fn json(mut scanner: Scanner<R>) -> Result<Self, ReadError> {
        let mut sections = BTreeMap::new();
        let mut text = Vec::new();
        scanner.next_if(b'{')?;
        let mut more = !scanner.next_if(b'}')?;
        while more {
            if scanner.peek()? == Some(b'}') {
                return Err(scanner.error("trailing comma"));
            }
            text.clear();
            if scanner.peek()?.is_some_and(|byte| byte != b'"') {
                return Err(scanner.error("key must be a string"));
            }
            scanner.value(&mut text, LARGEST)?;
            let section = section(&text).map_err(|reason| scanner.error(reason))?;
            if !scanner.next_if(b':')? {
                return Err(scanner.error("expected `:`"));
            }
            if !scanner.next_if(b'[')? {
                let reason = format!("{}: expected a list", section.name());
                return Err(scanner.error(reason));
            }
            if sections.insert(section, scanner.place()).is_some() {
                return Err(scanner.error(format_args!("duplicate field `{}`", section.name())));
            }
            let mut first = true;
            while scanner.begin_entry(first)? {
                first = false;
                text.clear();
                scanner.value(&mut text, LARGEST)?;
            }
            more = scanner.next_if(b',')?;
            if !more && !scanner.next_if(b'}')? {
                let end = scanner.peek()?.is_none();
                let reason =
                    if end { "EOF while parsing an object" } else { "expected `,` or `}`" };
                return Err(scanner.error(reason));
            }
        }
        if scanner.peek()?.is_some() {
            return Err(scanner.error("trailing characters"));
        }
        let size = scanner.offset();
        Ok(Self(Kind::Json { scanner, sections, size }))
    }

    /// The entries of a list; `list` is that list of a document in memory
    pub(crate) fn entries<E>(
        &mut self,
        section: Section,
        list: impl FnOnce(&mut Document) -> &mut Vec<E>,
    ) -> Result<Entries<'_, R, E>, ReadError> {
        let reading = match &mut self.0 {
            Kind::Whole(document) => Reading::Whole(mem::take(list(document)).into_iter()),
            Kind::Json { scanner, sections, .. } => match sections.get(&section) {
                Some(place) => {
                    scanner.go_to(*place)?;
                    Reading::Json(scanner)
                }
                None => Reading::Whole(Vec::new().into_iter()),
            },
        };
        Ok(Entries { reading, section, next: 0, ended: false, text: Vec::new() })
    }

    /// The size of a document that is read an entry at a time, in bytes; else 0
    pub(crate) const fn size(&self) -> u64 {
        match &self.0 {
            Kind::Json { size, .. } => *size,
            Kind::Whole(_) => 0,
        }
    }
}

impl From<Document> for Source<std::io::Empty> {
    fn from(document: Document) -> Self {
        Self(Kind::Whole(document))
    }
}

/// The entries of a list that were not read yet
pub(crate) struct Entries<'a, R, E> {
    reading: Reading<'a, R, E>,
    section: Section,
    /// The number of the next entry, from 0
    next: u32,
    ended: bool,
    text: Vec<u8>,
}

enum Reading<'a, R, E> {
    Json(&'a mut Scanner<R>),
    Whole(vec::IntoIter<E>),
}

impl<R: Read + Seek, E: DeserializeOwned> Entries<'_, R, E> {
    /// The next entries with their numbers: a few hundred, or fewer if they are large; none at the
    /// end
    pub(crate) fn part(&mut self) -> Result<Vec<(u32, E)>, ReadError> {
        let mut part = Vec::new();
        let mut size = 0;
        while !self.ended && part.len() < ENTRIES && size < BYTES {
            let entry = match &mut self.reading {
                Reading::Whole(entries) => match entries.next() {
                    Some(entry) => entry,
                    None => break,
                },
                Reading::Json(scanner) => {
                    if !scanner.begin_entry(self.next == 0)? {
                        self.ended = true;
                        break;
                    }
                    scanner.peek()?;
                    let line = scanner.line;
                    self.text.clear();
                    scanner.value(&mut self.text, LARGEST)?;
                    size += self.text.len();
                    let path = format!("{}[{}]", self.section.name(), self.next);
                    parse(&self.text, &path, line)?
                }
            };
            part.push((self.next, entry));
            self.next += 1;
        }
        Ok(part)
    }

    /// The position in the text
    pub(crate) const fn offset(&self) -> u64
    where
        R: Read + Seek,
    {
        match &self.reading {
            Reading::Json(scanner) => scanner.offset(),
            Reading::Whole(_) => 0,
        }
    }
}

impl<R: Read + Seek> Scanner<R> {
    /// Returns whether the list has another entry; consumes its end otherwise
    fn begin_entry(&mut self, first: bool) -> Result<bool, ReadError> {
        if self.next_if(b']')? {
            return Ok(false);
        }
        if !first {
            if !self.next_if(b',')? {
                let end = self.peek()?.is_none();
                let reason = if end { "EOF while parsing a list" } else { "expected `,` or `]`" };
                return Err(self.error(reason));
            }
            if self.peek()? == Some(b']') {
                return Err(self.error("trailing comma"));
            }
        }
        if self.peek()?.is_none() {
            return Err(self.error("EOF while parsing a list"));
        }
        Ok(true)
    }
}

/// Reads one entry, whose text begins on a line of the document
fn parse<E: DeserializeOwned>(text: &[u8], path: &str, line: u64) -> Result<E, DocumentError> {
    let json = &mut serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut *json)
        .map_err(|error| {
            let within = error.path().to_string();
            let path = match &*within {
                "." | "?" => path.to_owned(),
                within if within.starts_with('[') => format!("{path}{within}"),
                within => format!("{path}.{within}"),
            };
            DocumentError::new(path, at_line(error.inner(), line))
        })
        .and_then(|entry| {
            let end = json.end().map_err(|error| DocumentError::new(path, at_line(&error, line)));
            end.map(|()| entry)
        })
}

/// The text of an error, with the line in the document instead of that in the entry
fn at_line(error: &serde_json::Error, line: u64) -> String {
    let within = u64::try_from(error.line()).unwrap_or_default();
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    format!("{reason} at line {}", line + within.saturating_sub(1))
}

fn section(key: &[u8]) -> Result<Section, String> {
    let name: String = serde_json::from_slice(key).map_err(|_| "a key is not valid".to_owned())?;
    Section::of_name(&name).ok_or_else(|| {
        let known: Vec<_> = Section::ALL.map(|section| format!("`{}`", section.name())).into();
        format!("unknown field `{}`, expected one of {}", name.escape_debug(), known.join(", "))
    })
}

/// The largest entry of a JSON document, and the largest TOML document
const LARGEST: usize = 16 << 20;

/// The most entries that are read at once
const ENTRIES: usize = 500;

/// The most bytes after which no further entry is read at once
const BYTES: usize = 512 << 10;
