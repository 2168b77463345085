//! What authd asks of the tables, and how that differs between their generations
//!
//! A connection reads the catalog when it opens and makes its statements from that. Whether
//! the tables have changed since is asked only when a statement fails. A column that has gone
//! makes each statement fail that reads it, and a [guard](text::Text) does so for a column that
//! has come.

mod catalog;
mod generation;
mod grants;
mod need;
mod question;
mod task;
mod text;

pub(super) use self::catalog::Catalog;
pub use self::generation::Generation;
pub use self::grants::Grants;
pub(super) use self::need::Need;
pub use self::need::Right;
pub(super) use self::question::Question;
pub(super) use self::task::Task;
use self::text::Text;
pub(super) use self::text::push;
use diesel::QueryResult;

use crate::error::Unfit;

/// The tables as one connection found them, with the text of each statement for them
#[derive(Debug)]
pub(super) struct Tables {
    catalog: Catalog,
    generation: Generation,
    texts: Vec<(Question, Result<Text, Unfit>)>,
}

impl Tables {
    pub(super) fn new(catalog: Catalog) -> Self {
        let generation = Generation::of(&catalog);
        let text = |question: Question| {
            let fits = question.fits(&catalog, generation);
            (question, fits.map(|()| Text::new(&question.template(), generation)))
        };
        let texts = Question::ALL.into_iter().map(text).collect();
        Self { texts, catalog, generation }
    }

    pub(super) const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// The statement that puts `question` to these tables, cut where its parameters stand
    ///
    /// # Errors
    ///
    /// An error of diesel that carries [`Unfit`].
    pub(super) fn text(&self, question: Question) -> QueryResult<&[String]> {
        let text = self.texts.iter().find(|(of, _)| *of == question);
        let (_, text) = text.ok_or(diesel::NotFound)?;
        let unfit = |unfit: &Unfit| diesel::result::Error::QueryBuilderError(unfit.clone().into());
        text.as_ref().map(Text::pieces).map_err(unfit)
    }

    /// What stands in a `FROM` for workspaces with their access lists, which workspaces of
    /// releases before v2.26 do not have
    ///
    /// For questions that nothing but access lists depends on: a connection that does not
    /// know of them yet reads fewer workspaces than it may.
    pub(super) fn workspaces(&self) -> &'static str {
        if self.generation >= Generation::V2_26 { "workspaces" } else { WITHOUT_LISTS }
    }

    /// Whether each of the questions can be put to these tables
    pub(super) fn answer(&self, questions: &[Question]) -> Result<(), Unfit> {
        let asked = self.texts.iter().filter(|(question, _)| questions.contains(question));
        let unfit = asked.filter_map(|(_, text)| text.as_ref().err()).next();
        unfit.map_or(Ok(()), |unfit| Err(unfit.clone()))
    }
}

const WITHOUT_LISTS: &str = "\
(SELECT id, name, owner_id, organization_id, dormant_at, deleted,
            '{}'::jsonb AS user_acl, '{}'::jsonb AS group_acl FROM workspaces)";
