mod people;
mod workspaces;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use store::import::Rows;
use uuid::Uuid;

pub(crate) use self::workspaces::FOREVER;
use super::document::Document;
use super::document_error::DocumentError;
use super::names::{Kind, Names, Path, Unknown};
use super::section::Section;
use super::warnings::Warning;

/// An entry of a document
pub(crate) trait Entry: DeserializeOwned + Send {
    const SECTION: Section;

    /// The list of such entries in a document
    fn list(document: &mut Document) -> &mut Vec<Self>;

    /// Asks for the names of organizations and users that the entry contains
    fn ask(&self, _names: &Names, _unknown: &mut Unknown) {}

    /// Asks for other names, once those of [`ask`](Self::ask) are known
    fn ask_within(&self, _names: &Names, _unknown: &mut Unknown) {}

    /// Adds the rows of the entry with number `n`
    fn write(&self, n: u32, writer: &mut Writer) -> Result<(), DocumentError>;

    /// Adds what can never work
    fn warn(&self, _n: u32, _warnings: &mut Vec<Warning>) {}
}

impl Document {
    /// The rows that the document describes; new rows are dated `now`
    ///
    /// All names must be in the document. [`import`](crate::import()) also finds names in a
    /// database.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] if a name is empty, is not unique, or refers to an unknown entry, or if
    /// a value is not usable.
    pub fn rows(&self, now: DateTime<Utc>) -> Result<Rows, DocumentError> {
        let mut writer = Writer::new(now);
        writer.entries(&self.organizations)?;
        writer.entries(&self.users)?;
        writer.entries(&self.groups)?;
        writer.entries(&self.roles)?;
        writer.entries(&self.templates)?;
        writer.entries(&self.workspaces)?;
        writer.entries(&self.proxies)?;
        Ok(writer.rows)
    }
}

/// Collects the rows of entries
pub(crate) struct Writer {
    pub(crate) rows: Rows,
    pub(crate) names: Names,
    now: DateTime<Utc>,
}

impl Writer {
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        Self { rows: Rows::default(), names: Names::default(), now }
    }

    fn entries<E: Entry>(&mut self, entries: &[E]) -> Result<(), DocumentError> {
        (0..).zip(entries).try_for_each(|(n, entry)| entry.write(n, self))
    }

    fn organization(&self, path: &str, name: &str) -> Result<Uuid, DocumentError> {
        self.names.find(&format!("{path}.organization"), organization(name))
    }

    fn user_id(&self, path: &str, name: &str) -> Result<Uuid, DocumentError> {
        self.names.find(path, user(&name.to_lowercase()))
    }
}

const fn organization(name: &str) -> Path<'_> {
    Path::new(Kind::Organization, None, name)
}

const fn user(name_in_lower_case: &str) -> Path<'_> {
    Path::new(Kind::User, None, name_in_lower_case)
}
