//! Imports a document into a store, a part at a time

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::mem;

use app_audit::Act;
use chrono::{DateTime, Utc};
use store::import::{Details, Difference, Import, Outcome, Session};

use super::document::{Group, Organization, Proxy, Role, Template, User, Workspace};
use super::document_error::DocumentError;
use super::names::Unknown;
use super::progress::Progress;
use super::read_error::ReadError;
use super::rows::{Entry, Writer};
use super::section::Section;
use super::source::Source;
use super::warnings::Warning;

/// How to import
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the import is undone at its end
    pub dry_run: bool,
    /// Which differences are reported
    pub details: Details,
    /// The date of new rows
    pub now: DateTime<Utc>,
    /// The act as which an import that changes rows is recorded; `None` to record none
    pub act: Option<Act>,
}

/// What an import reports while it runs
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// How far it is
    Progress(Progress),
    /// An entry is stored and can never work
    Warning(Warning),
    /// A row differs
    Difference(Difference),
}

/// Imports a document, all or nothing
///
/// Names that are not in the document are those of entries in the database. An entry without an id
/// gets the id of the organization, user, group or template of its name in the database, or else
/// one that is derived from its name. At most a few hundred entries are in memory at a time, and
/// the names of all organizations, users, groups, roles, templates and proxies.
///
/// Blocks while it reads the document. Differences are reported before the import has ended, so
/// they are final only when this returns.
///
/// # Errors
///
/// [`ImportError`]. Nothing was changed, except perhaps if the connection to the database ended
/// together with the transaction.
pub async fn import<S: Import, R: Read + Seek + Send>(
    store: &S,
    source: Source<R>,
    options: Options,
    mut report: impl FnMut(Event) + Send,
) -> Result<Outcome, ImportError> {
    let session = store.begin_import(options.dry_run).await?;
    let mut run =
        Run { session, writer: Writer::new(options.now), source, staged: 0, report: &mut report };
    run.section::<Organization>().await?;
    run.section::<User>().await?;
    run.section::<Group>().await?;
    run.section::<Role>().await?;
    run.section::<Template>().await?;
    run.section::<Workspace>().await?;
    run.section::<Proxy>().await?;
    let Run { mut session, staged, .. } = run;

    let compared = |rows| report(Event::Progress(Progress::comparing(rows, staged)));
    let outcome = session.apply(options.details, compared).await.map_err(repeated)?;
    loop {
        let page = session.differences().await?;
        if page.is_empty() {
            break;
        }
        page.into_iter().for_each(|difference| report(Event::Difference(difference)));
    }
    session.finish(options.act).await?;
    Ok(outcome)
}

/// An import that is under way
struct Run<'a, S, R, F> {
    session: S,
    writer: Writer,
    source: Source<R>,
    /// The number of rows that the session has
    staged: u64,
    report: &'a mut F,
}

impl<S: Session, R: Read + Seek + Send, F: FnMut(Event) + Send> Run<'_, S, R, F> {
    /// Stages the rows of one list
    async fn section<E: Entry>(&mut self) -> Result<(), ImportError> {
        let size = self.source.size();
        let mut entries = self.source.entries(E::SECTION, E::list)?;
        loop {
            let part: Vec<(u32, E)> = entries.part()?;
            if part.is_empty() {
                return Ok(());
            }
            for ask in [E::ask, E::ask_within] {
                let mut unknown = Unknown::default();
                part.iter().for_each(|(_, entry)| ask(entry, &self.writer.names, &mut unknown));
                look_up(unknown, &mut self.session, &mut self.writer).await?;
            }
            let mut warnings = Vec::new();
            for (n, entry) in &part {
                entry.warn(*n, &mut warnings);
                entry.write(*n, &mut self.writer)?;
            }
            warnings.into_iter().for_each(|warning| (self.report)(Event::Warning(warning)));
            let rows = mem::take(&mut self.writer.rows);
            self.session.stage(&rows).await?;
            self.staged += u64::try_from(rows.len()).unwrap_or(u64::MAX);
            let progress = Progress::reading(entries.offset(), size, self.staged);
            (self.report)(Event::Progress(progress));
        }
    }
}

/// Asks the database for the names that the document does not have
async fn look_up<S: Session>(
    unknown: Unknown,
    session: &mut S,
    writer: &mut Writer,
) -> Result<(), ImportError> {
    let mut questions: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (kind, with_deleted, name) in unknown.names {
        questions.entry((kind, with_deleted)).or_default().push(name);
    }
    for ((kind, with_deleted), names) in questions {
        let Some(named) = kind.named() else { continue };
        let ids = session.find(named, &names, with_deleted).await?;
        for (name, id) in names.into_iter().zip(ids) {
            if let Some(id) = id {
                writer.names.found(kind, name, id);
            }
        }
    }
    Ok(())
}

/// Two entries with one key are a mistake of the document
fn repeated(error: store::Error) -> ImportError {
    match error {
        store::Error::RepeatedRow { table, key, entry } => {
            let path = format!("{}[{entry}]", Section::of_table(table).name());
            let reason = format!("another row of {table} has the key {key}");
            ImportError::Document(DocumentError::new(path, reason))
        }
        error => ImportError::Store(error),
    }
}

/// Why an import failed
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The document is not valid
    #[error(transparent)]
    Document(DocumentError),
    /// The document cannot be read
    #[error("the document cannot be read")]
    Io(#[source] std::io::Error),
    /// The store failed, or refused the rows
    #[error("the store failed")]
    Store(#[from] store::Error),
}

impl From<DocumentError> for ImportError {
    fn from(error: DocumentError) -> Self {
        Self::Document(error)
    }
}

impl From<ReadError> for ImportError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Document(error) => Self::Document(error),
            ReadError::Io(error) => Self::Io(error),
        }
    }
}
