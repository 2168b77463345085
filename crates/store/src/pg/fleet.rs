use diesel::result::QueryResult;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::{PgStore, schema};
use crate::Error;
use crate::fleet::{Fleet, with_tables};

impl PgStore {
    /// Adds all rows of `fleet`, or none
    ///
    /// # Errors
    ///
    /// [`Error::Query`] if a key exists already; [`Error::Unavailable`].
    pub async fn load(&self, fleet: &Fleet) -> Result<(), Error> {
        let mut connection = self.writes.get().await?;
        connection.transaction(async |connection| insert(fleet, connection).await).await?;
        Ok(())
    }
}

macro_rules! insert {
    ($($table:ident: $row:ident as $variant:ident by $($key:literal)+;)*) => {
        async fn insert(fleet: &Fleet, connection: &mut AsyncPgConnection) -> QueryResult<()> {
            $(for rows in fleet.$table.chunks(ROWS_PER_STATEMENT) {
                diesel::insert_into(schema::$table::table)
                    .values(rows)
                    .execute(connection)
                    .await?;
            })*
            Ok(())
        }
    };
}

with_tables!(insert);

/// A statement can have 65,535 parameters, and the widest row has 13 columns
const ROWS_PER_STATEMENT: usize = 1_000;
