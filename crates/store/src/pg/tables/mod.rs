//! What authd needs of the tables, and how that differs between their generations
//!
//! A connection reads the catalog when it opens and makes the texts of its statements from that.
//! Only when a statement fails is the catalog read again to see whether the tables have changed.
//! A column that is gone makes each statement fail that reads it, and a [guard](super::sql) does
//! so for a column that was added.

mod catalog;
mod generation;
mod grants;
mod need;
mod statement;
mod task;

use diesel::QueryResult;

pub(super) use self::catalog::Catalog;
use self::catalog::{KEYS, OWN_KEYS};
pub use self::generation::Generation;
pub(super) use self::generation::Mark;
pub use self::grants::Grants;
pub(super) use self::need::Need;
pub use self::need::Right;
pub(super) use self::statement::Statement;
pub(super) use self::task::Task;
use super::audit_log::NAMES;
use super::crypto_keys::KeyTexts;
use super::sql::Sql;
use crate::error::Unfit;

/// The tables as one connection found them, with the text of each statement for them
#[derive(Debug)]
pub(super) struct Tables {
    catalog: Catalog,
    generation: Generation,
    texts: Vec<(Statement, Result<Sql, Unfit>)>,
    note_visits: [Sql; 4],
    /// Without and with the mirror
    replay_visits: [Sql; 2],
    workspaces_page: Sql,
    keys: KeyTexts,
}

impl Tables {
    pub(super) fn new(catalog: Catalog) -> Self {
        let generation = Generation::of(&catalog);
        let text = |statement: Statement| {
            let fits = statement.fits(&catalog, generation);
            (statement, fits.map(|()| Sql::new(statement.file(), generation, &[])))
        };
        let note_visits = |variants: &[&str]| {
            Sql::new(include_str!("../sql/note_visits.sql"), generation, variants)
        };
        Self {
            texts: Statement::ALL.into_iter().map(text).collect(),
            note_visits: [
                note_visits(&[]),
                note_visits(&["careful"]),
                note_visits(&["mirrored"]),
                note_visits(&["careful", "mirrored"]),
            ],
            replay_visits: [note_visits(&["replayed"]), note_visits(&["replayed", "mirrored"])],
            workspaces_page: Sql::new(include_str!("../sql/workspaces_page.sql"), generation, &[]),
            keys: KeyTexts::new(catalog.has_own_keys()),
            catalog,
            generation,
        }
    }

    pub(super) const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// The text of a statement for these tables
    ///
    /// # Errors
    ///
    /// An error of diesel that carries [`Unfit`].
    pub(super) fn sql(&self, statement: Statement) -> QueryResult<&Sql> {
        let text = self.texts.iter().find(|(of, _)| *of == statement);
        let (_, text) = text.ok_or(diesel::NotFound)?;
        let unfit = |unfit: &Unfit| diesel::result::Error::QueryBuilderError(unfit.clone().into());
        text.as_ref().map_err(unfit)
    }

    /// The text of the statement that notes visits
    ///
    /// It is mirrored only if the control plane has a table for that.
    pub(super) fn note_visits(&self, careful: bool, mirrored: bool) -> &Sql {
        let [plain, carefully, with_mirror, carefully_with_mirror] = &self.note_visits;
        match (careful, mirrored && self.catalog.has_table(self.mirror())) {
            (false, false) => plain,
            (true, false) => carefully,
            (false, true) => with_mirror,
            (true, true) => carefully_with_mirror,
        }
    }

    /// The text of the statement that notes visits of the past, mirrored as others are
    pub(super) fn replay_visits(&self, mirrored: bool) -> &Sql {
        let [plain, with_mirror] = &self.replay_visits;
        match mirrored && self.catalog.has_table(self.mirror()) {
            true => with_mirror,
            false => plain,
        }
    }

    /// Where the control plane's own page looks for visits
    fn mirror(&self) -> &'static str {
        if self.generation < Generation::V2_25 { "audit_logs" } else { "connection_logs" }
    }

    /// The text of the statement that reads a page of workspaces
    pub(super) const fn workspaces_page(&self) -> &Sql {
        &self.workspaces_page
    }

    /// The texts of the statements over the keys of app tokens
    pub(super) const fn keys(&self) -> &KeyTexts {
        &self.keys
    }

    /// Whether the keys of app tokens are in authd's own table
    pub(super) const fn has_own_keys(&self) -> bool {
        self.keys.is_owned()
    }

    /// Whether a control plane's tables say which names users and workspaces have
    ///
    /// A program that embeds the store may have other tables of these names.
    pub(super) fn have_names(&self) -> bool {
        let has_all =
            |need: &Need| need.columns().all(|of| self.catalog.has_column(need.table, of));
        let is_uuid = |table| self.catalog.type_of(table, "id") == Some("uuid");
        NAMES.iter().all(has_all) && is_uuid("users") && is_uuid("workspaces")
    }

    /// Whether workspaces have access lists
    pub(super) fn have_access_lists(&self) -> bool {
        self.generation >= Generation::V2_26
    }

    /// Checks that authd's own tables exist, for the tasks that need no others, and a table of keys
    pub(super) fn have_own(&self) -> Result<(), Unfit> {
        let unfit =
            |question, missing| Err(Unfit { question, missing, generation: self.generation });
        for task in &Task::ALL {
            let lacks = task.missing(&self.catalog, self.generation);
            let needs = task.needs(&self.catalog, self.generation);
            if let Some(lack) = lacks.first().filter(|_| needs.iter().all(Need::is_of_own_table)) {
                return unfit(task.name, lack.to_string());
            }
        }
        match [KEYS, OWN_KEYS].into_iter().any(|table| self.catalog.has_table(table)) {
            true => Ok(()),
            false => unfit("the keys of app tokens", format!("table {OWN_KEYS}")),
        }
    }

    /// Whether these tables fit each of the statements
    pub(super) fn fit(&self, statements: &[Statement]) -> Result<(), Unfit> {
        let asked = self.texts.iter().filter(|(statement, _)| statements.contains(statement));
        let unfit = asked.filter_map(|(_, text)| text.as_ref().err()).next();
        unfit.map_or(Ok(()), |unfit| Err(unfit.clone()))
    }
}
