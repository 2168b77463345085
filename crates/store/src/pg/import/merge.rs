//! The statements that apply staged rows

use tokio_postgres::SimpleQueryRow;

use super::stage::{ENTRY, KEEP, Staged, name, owners_name};
use super::{PgImport, failed};
use crate::Error;
use crate::import::{Counts, Details, Outcome, Table, column};

impl PgImport<'_> {
    /// Removes what is left out of lists, then changes and adds rows, table by table
    pub(super) async fn merge(
        &mut self,
        details: Details,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Outcome, Error> {
        let create = format!(
            "CREATE TEMP TABLE {CHANGES} (
                 n int GENERATED ALWAYS AS IDENTITY, name text, before jsonb, after jsonb, keep bigint
             ) ON COMMIT DROP"
        );
        self.client.batch_execute(&create).await.map_err(failed)?;
        // Without statistics, the planner takes a temporary table for a small one.
        for table in self.staged.keys() {
            let analyze = format!("ANALYZE {}", name(*table));
            self.client.batch_execute(&analyze).await.map_err(failed)?;
            self.check_keys(*table).await?;
        }
        let mut outcome = Outcome::default();
        let limit = match details {
            Details::All => String::new(),
            Details::First(rows) => format!("LIMIT {rows}"),
        };
        for (table, column) in self.owners.keys() {
            let removed = self.remove(*table, column, &limit).await?;
            outcome.tables.entry(*table).or_default().removed += removed;
        }
        let mut compared = 0;
        for (table, staged) in &self.staged {
            let merge = Merge { table: *table, staged };
            let counts = self.merge_table(&merge, &limit).await?;
            let of_table = outcome.tables.entry(*table).or_default();
            of_table.added = counts.added;
            of_table.changed = counts.changed;
            of_table.unchanged = staged.rows.saturating_sub(counts.added + counts.changed);
            compared += staged.rows;
            progress(compared);
        }
        let differ = outcome.tables.iter().filter(|(_, counts)| counts.differences() > 0);
        self.reported = differ.map(|(table, _)| *table).rev().collect();
        Ok(outcome)
    }

    /// Fails if two staged rows have one key: which of them is to be stored is not known
    async fn check_keys(&self, table: Table) -> Result<(), Error> {
        let keys = table.key().join(", ");
        let twice = format!(
            "SELECT max({ENTRY}), concat_ws(' ', {keys}) FROM {} GROUP BY {keys}
             HAVING count(*) > 1 ORDER BY 1 LIMIT 1",
            name(table)
        );
        match self.rows(&twice).await?.first() {
            None => Ok(()),
            Some(row) => Err(Error::RepeatedRow {
                table: table.name(),
                key: row.get(1).unwrap_or_default().to_owned(),
                entry: row.get(0).and_then(|entry| entry.parse().ok()).unwrap_or_default(),
            }),
        }
    }

    async fn remove(&self, table: Table, column: &str, limit: &str) -> Result<u64, Error> {
        let owners = owners_name(table, column);
        let unless = match self.staged.contains_key(&table) {
            true => {
                format!("AND NOT EXISTS (SELECT FROM {} s WHERE {})", name(table), on(table, "s"))
            }
            false => String::new(),
        };
        let remove = format!(
            "WITH removed AS (
                 DELETE FROM {table} t WHERE {column} IN (SELECT owner FROM {owners}) {unless}
                 RETURNING t.*
             ), reported AS (
                 INSERT INTO {CHANGES} (name, before)
                 SELECT '{table}', to_jsonb(removed) FROM removed {limit}
             )
             SELECT count(*) FROM removed",
            table = table.name()
        );
        self.client.batch_execute(&format!("ANALYZE {owners}")).await.map_err(failed)?;
        Ok(number(self.rows(&remove).await?.first(), 0))
    }

    async fn merge_table(&self, merge: &Merge<'_>, limit: &str) -> Result<Counts, Error> {
        let counted = self.rows(&merge.count()).await?;
        let (added, changed) = (number(counted.first(), 0), number(counted.first(), 1));
        let mut counts = Counts::default();
        if added + changed == 0 {
            return Ok(counts);
        }
        if let Some(column) = merge.lost_column() {
            let table = merge.table.name();
            return Err(Error::query(format!("the table `{table}` has no column `{column}`")));
        }
        let run =
            async |statement: String| self.client.execute(&statement, &[]).await.map_err(failed);
        // Changes first: a new row may take the name that another one has had.
        if changed > 0 {
            run(merge.report_changed(limit)).await?;
            counts.changed = run(merge.update()).await?;
        }
        if added > 0 {
            run(merge.report_added(limit)).await?;
            counts.added = run(merge.insert()).await?;
        }
        Ok(counts)
    }
}

/// The statements for one table
struct Merge<'a> {
    table: Table,
    staged: &'a Staged,
}

impl Merge<'_> {
    /// The columns whose bits are not in `left_out`, each with its bit
    fn columns(&self, left_out: u32) -> impl Iterator<Item = (&'static str, u32)> {
        let fields = self.table.fields().iter().enumerate();
        let columns = fields.map(|(n, field)| (column(field), 1_u32 << n));
        columns.filter(move |(_, bit)| left_out & bit == 0)
    }

    /// The columns that some staged row may change
    fn compared(&self) -> Vec<(&'static str, u32)> {
        let key = self.table.key();
        let left_out = self.staged.all_keep | self.staged.missing;
        self.columns(left_out).filter(|(column, _)| !key.contains(column)).collect()
    }

    /// A condition: the existing row `t` differs from the staged row `s`
    fn differ(&self) -> String {
        let compared = self.compared();
        if compared.is_empty() {
            return "false".to_owned();
        }
        let differ = |(column, bit): &(&str, u32)| {
            let differ = format!("t.\"{column}\" IS DISTINCT FROM s.\"{column}\"");
            match self.staged.some_keep & bit == 0 {
                true => differ,
                false => format!("(s.{KEEP} & {bit} = 0 AND {differ})"),
            }
        };
        format!("({})", compared.iter().map(differ).collect::<Vec<_>>().join(" OR "))
    }

    /// Returns how many rows are missing and how many differ
    fn count(&self) -> String {
        let key = self.table.key().first().copied().unwrap_or_default();
        format!(
            "SELECT count(*) FILTER (WHERE t.{key} IS NULL),
                    count(*) FILTER (WHERE t.{key} IS NOT NULL AND {})
             FROM {} s LEFT JOIN {} t ON {}",
            self.differ(),
            name(self.table),
            self.table.name(),
            on(self.table, "s")
        )
    }

    fn report_changed(&self, limit: &str) -> String {
        format!(
            "INSERT INTO {CHANGES} (name, before, after, keep)
             SELECT '{table}', to_jsonb(t), to_jsonb(s), s.{KEEP}
             FROM {} s JOIN {table} t ON {} WHERE {} {limit}",
            name(self.table),
            on(self.table, "s"),
            self.differ(),
            table = self.table.name()
        )
    }

    fn update(&self) -> String {
        let set = |(column, bit): &(&str, u32)| match self.staged.some_keep & bit == 0 {
            true => format!("\"{column}\" = s.\"{column}\""),
            false => format!(
                "\"{column}\" = CASE WHEN s.{KEEP} & {bit} = 0
                 THEN s.\"{column}\" ELSE t.\"{column}\" END"
            ),
        };
        let sets: Vec<_> = self.compared().iter().map(set).collect();
        format!(
            "UPDATE {} t SET {} FROM {} s WHERE {} AND {}",
            self.table.name(),
            sets.join(", "),
            name(self.table),
            on(self.table, "s"),
            self.differ()
        )
    }

    fn report_added(&self, limit: &str) -> String {
        format!(
            "INSERT INTO {CHANGES} (name, after) SELECT '{table}', to_jsonb(s) FROM {} s
             WHERE NOT EXISTS (SELECT FROM {table} t WHERE {}) {limit}",
            name(self.table),
            on(self.table, "s"),
            table = self.table.name()
        )
    }

    fn insert(&self) -> String {
        let columns: Vec<_> = self.columns(self.staged.missing).collect();
        let list = |alias: &str| {
            let columns = columns.iter().map(|(column, _)| format!("{alias}\"{column}\""));
            columns.collect::<Vec<_>>().join(", ")
        };
        format!(
            "INSERT INTO {table} ({}) SELECT {} FROM {} s
             WHERE NOT EXISTS (SELECT FROM {table} t WHERE {})",
            list(""),
            list("s."),
            name(self.table),
            on(self.table, "s"),
            table = self.table.name()
        )
    }

    /// A column that the table does not have, and whose values would be lost
    fn lost_column(&self) -> Option<&'static str> {
        let missing = self.staged.missing & !self.staged.all_keep;
        self.columns(!missing).map(|(column, _)| column).next()
    }
}

/// A condition: the existing row `t` and the other row have one key
fn on(table: Table, other: &str) -> String {
    let same = |column: &&str| format!("t.{column} = {other}.{column}");
    table.key().iter().map(same).collect::<Vec<_>>().join(" AND ")
}

fn number(row: Option<&SimpleQueryRow>, column: usize) -> u64 {
    row.and_then(|row| row.get(column)).and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// The temporary table of differences
pub(super) const CHANGES: &str = "authd_import_changes";
