use std::collections::{BTreeMap, BTreeSet};

use diesel::result::QueryResult;
use diesel::sql_types::{Array, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::inspection::Lack;
use crate::pg::tables::{Catalog, Need, Right};

/// The needed rights that this user does not have, by right, table and column; the column is empty
/// for a right to rows
pub(super) struct Rights(BTreeSet<(&'static str, String, String)>);

impl Rights {
    /// Checks, in one statement, the rights to those tables and columns of `needs` that exist
    pub(super) async fn load(
        needs: impl IntoIterator<Item = Need>,
        catalog: &Catalog,
        mut connection: &AsyncPgConnection,
    ) -> QueryResult<Self> {
        let asked: BTreeSet<_> = needs.into_iter().flat_map(|need| parts(&need)).collect();
        let is_there = |(_, table, column): &(Right, &str, &str)| match *column {
            "" => catalog.has_table(table),
            column => catalog.has_column(table, column),
        };
        let asked: Vec<_> = asked.into_iter().filter(is_there).collect();
        let rights: Vec<&str> = asked.iter().map(|(right, ..)| right.as_str()).collect();
        let tables: Vec<&str> = asked.iter().map(|(_, table, _)| *table).collect();
        let columns: Vec<&str> = asked.iter().map(|(.., column)| *column).collect();
        let refused: Vec<Refused> = sql_query(
            "SELECT asked.privilege, asked.name, asked.part
             FROM unnest($1, $2, $3) AS asked (privilege, name, part)
             WHERE NOT CASE asked.part
                 WHEN '' THEN has_table_privilege(to_regclass(asked.name), asked.privilege)
                 ELSE has_column_privilege(to_regclass(asked.name), asked.part, asked.privilege)
             END",
        )
        .bind::<Array<Text>, _>(rights)
        .bind::<Array<Text>, _>(tables)
        .bind::<Array<Text>, _>(columns)
        .load(&mut connection)
        .await?;
        let known = [Right::Select, Right::Insert, Right::Update, Right::Delete];
        let refused = refused.into_iter().filter_map(|row| {
            let right = known.iter().find(|right| right.as_str() == row.privilege)?;
            Some((right.as_str(), row.name, row.part))
        });
        Ok(Self(refused.collect()))
    }

    /// The rights among `needs` that are missing, by right and table
    pub(super) fn missing(&self, needs: &[Need]) -> Vec<Lack> {
        let mut missing: BTreeMap<(&str, Right), BTreeSet<&str>> = BTreeMap::new();
        for (right, table, column) in needs.iter().flat_map(parts) {
            if self.0.contains(&(right.as_str(), table.to_owned(), column.to_owned())) {
                missing.entry((table, right)).or_default().insert(column);
            }
        }
        let lack = |((table, right), columns): ((_, _), BTreeSet<&'static str>)| Lack::Right {
            right,
            table,
            columns: columns.into_iter().filter(|column| !column.is_empty()).collect(),
        };
        missing.into_iter().map(lack).collect()
    }
}

/// The right to each column of a need, or to rows
fn parts(need: &Need) -> Vec<(Right, &'static str, &'static str)> {
    let of = |column| (need.right, need.table, column);
    match need.right {
        Right::Delete => vec![of("")],
        _ => need.columns().map(of).collect(),
    }
}

#[derive(QueryableByName)]
struct Refused {
    #[diesel(sql_type = Text)]
    privilege: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    part: String,
}
