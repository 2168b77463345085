use std::io::Cursor;
use std::pin::pin;

use futures_util::SinkExt;
use uuid::Uuid;

use super::{PgImport, columns, failed};
use crate::Error;
use crate::fleet::{CopyRow, with_tables};
use crate::import::{Rows, Table, Wanted, column};

/// What was staged for a table
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) rows: u64,
    /// The columns that every row keeps where it exists, as a bit each
    pub(super) all_keep: u32,
    /// The columns that some row keeps
    pub(super) some_keep: u32,
    /// Columns of the rows that this database's table does not have
    pub(super) missing: u32,
}

macro_rules! copy {
    ($($table:ident: $row:ident as $variant:ident by $($key:literal)+;)*) => {
        impl PgImport<'_> {
            /// Copies rows into the temporary tables, which are created at the first of them
            pub(super) async fn copy(&mut self, rows: &Rows) -> Result<(), Error> {
                let Rows { $($table,)* exactly, .. } = rows;
                $(self.copy_rows(Table::$variant, $table).await?;)*
                for ((table, column), owners) in exactly {
                    self.copy_owners(*table, column, owners).await?;
                }
                Ok(())
            }
        }
    };
}

with_tables!(copy);

impl PgImport<'_> {
    async fn copy_rows<R: CopyRow + Sync>(
        &mut self,
        table: Table,
        rows: &[Wanted<R>],
    ) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        if !self.staged.contains_key(&table) {
            let staged = self.create(table).await?;
            self.staged.insert(table, staged);
        }
        let copy = format!("COPY {} FROM STDIN", name(table));
        let mut parts = rows.chunks(ROWS_PER_MESSAGE).map(|rows| {
            let mut text = String::new();
            for Wanted { row, keep, entry } in rows {
                text.push_str(&entry.to_string());
                text.push('\t');
                text.push_str(&keep.to_string());
                row.write(&mut text);
                text.push('\n');
            }
            text
        });
        self.send(&copy, &mut parts).await?;
        if let Some(staged) = self.staged.get_mut(&table) {
            staged.rows += u64::try_from(rows.len()).unwrap_or(u64::MAX);
            for row in rows {
                staged.all_keep &= row.keep;
                staged.some_keep |= row.keep;
            }
        }
        Ok(())
    }

    async fn copy_owners(
        &mut self,
        table: Table,
        column: &'static str,
        owners: &[Uuid],
    ) -> Result<(), Error> {
        if !self.owners.contains_key(&(table, column)) {
            let name = owners_name(table, column);
            let create = format!("CREATE TEMP TABLE {name} (owner uuid) ON COMMIT DROP");
            self.client.batch_execute(&create).await.map_err(failed)?;
        }
        let copy = format!("COPY {} FROM STDIN", owners_name(table, column));
        let mut parts = owners.chunks(ROWS_PER_MESSAGE).map(|owners| {
            owners.iter().flat_map(|owner| [owner.to_string(), "\n".to_owned()]).collect()
        });
        self.send(&copy, &mut parts).await?;
        let count = u64::try_from(owners.len()).unwrap_or(u64::MAX);
        *self.owners.entry((table, column)).or_default() += count;
        Ok(())
    }

    /// Creates the temporary table for the rows of a table
    ///
    /// Its columns have the types of the table's. A column that the table does not have is text.
    async fn create(&self, table: Table) -> Result<Staged, Error> {
        let found = columns(&self.client, table).await?;
        let mut missing = 0;
        let mut columns = String::new();
        for (n, field) in table.fields().iter().enumerate() {
            let column = column(field);
            columns.push_str(&if found.contains(column) {
                format!(", \"{column}\"")
            } else {
                missing |= 1 << n;
                format!(", NULL::text AS \"{column}\"")
            });
        }
        let create = format!(
            "CREATE TEMP TABLE {} ON COMMIT DROP AS
             SELECT 0 AS {ENTRY}, 0::bigint AS {KEEP}{columns} FROM {} WITH NO DATA",
            name(table),
            table.name()
        );
        self.client.batch_execute(&create).await.map_err(failed)?;
        Ok(Staged { rows: 0, all_keep: u32::MAX, some_keep: 0, missing })
    }

    async fn send(
        &self,
        copy: &str,
        parts: &mut (impl Iterator<Item = String> + Send),
    ) -> Result<(), Error> {
        let sink = self.client.copy_in::<_, Cursor<Vec<u8>>>(copy).await.map_err(failed)?;
        let mut sink = pin!(sink);
        for part in parts {
            sink.send(Cursor::new(part.into_bytes())).await.map_err(failed)?;
        }
        sink.close().await.map_err(failed)
    }
}

/// The temporary table for the rows of a table
pub(super) fn name(table: Table) -> String {
    format!("authd_import_{}", table.name())
}

/// The temporary table for the owners whose rows are removed unless they are imported
pub(super) fn owners_name(table: Table, column: &str) -> String {
    format!("authd_import_owners_{}_{column}", table.name())
}

/// The column with the number of the entry that a row is from
pub(super) const ENTRY: &str = "\"#entry\"";

/// The column with the bits of the columns that keep their values
pub(super) const KEEP: &str = "\"#keep\"";

const ROWS_PER_MESSAGE: usize = 500;
