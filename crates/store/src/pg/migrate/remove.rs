use diesel::connection::Connection;
use diesel::migration::Result;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use serde::Serialize;

use super::record::{self, Session};
use super::{CONTROL_PLANE, OWNED, versions};
use crate::Error;
use crate::pg::PgStore;

/// A table or type that authd created
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Owned {
    /// The name, such as `authd_audit_log`
    pub name: String,
    /// The number of rows, if it is a table
    pub rows: Option<usize>,
}

impl PgStore {
    /// Lists the tables and types that authd created for itself, which all have its prefix
    ///
    /// # Errors
    ///
    /// [`Error::Migration`], [`Error::Unavailable`].
    pub async fn owned(&self) -> std::result::Result<Vec<Owned>, Error> {
        self.with_session(owned).await
    }

    /// Drops what authd created beside a control plane, in one transaction, and returns what that
    /// was
    ///
    /// The control plane's schema is then as it was before authd. Rows of the audit log are lost.
    ///
    /// # Errors
    ///
    /// [`Error::NoControlPlane`] if there is no control plane; [`Error::Migration`], after which
    /// nothing has changed; [`Error::Unavailable`].
    pub async fn remove_owned(&self) -> std::result::Result<Vec<Owned>, Error> {
        let removed = self.with_session(|session| {
            session.transaction(|session| {
                record::take_over(session)?;
                let recorded = record::recorded(session)?;
                if versions([CONTROL_PLANE])?.iter().any(|version| recorded.contains(version)) {
                    return Ok(None);
                }
                let before = owned(session)?;
                record::revert(&OWNED, session)?;
                record::drop_if_empty(session)?;
                let after = owned(session)?;
                Ok(Some(before.into_iter().filter(|owned| !after.contains(owned)).collect()))
            })
        });
        removed.await?.ok_or(Error::NoControlPlane)
    }
}

fn owned(session: &mut Session) -> Result<Vec<Owned>> {
    let named = Named::load(session)?;
    let owned = |Named { name, is_table }| {
        let rows = if is_table { Some(record::count(&name, None, session)?) } else { None };
        Ok(Owned { name, rows })
    };
    named.into_iter().map(owned).collect()
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    is_table: bool,
}

impl Named {
    /// Names consist of letters and underscores, so they are safe in a statement
    #[expect(clippy::disallowed_methods, reason = "asked once in a migration")]
    fn load(session: &mut Session) -> QueryResult<Vec<Self>> {
        diesel::sql_query(
            "SELECT relname::text AS name, true AS is_table FROM pg_class
             WHERE relname ~ '^authd_[a-z_]+$' AND relkind IN ('r', 'p') AND NOT relispartition
                 AND pg_table_is_visible(oid)
             UNION ALL
             SELECT typname::text, false FROM pg_type
             WHERE typname ~ '^authd_[a-z_]+$' AND typtype = 'e' AND pg_type_is_visible(oid)
             ORDER BY 2 DESC, 1",
        )
        .load(session)
    }
}
