use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use diesel::result::QueryResult;
use diesel::sql_types::{Array, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{Right, Tables, Task};
use crate::Error;
use crate::inspection::{Asked, Lack};
use crate::pg::PgStore;
use crate::pg::connect::Purpose;

/// The fewest rights that a role needs, as statements that grant them
///
/// `Display` prints SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grants {
    /// The statements, without semicolons
    pub statements: Vec<String>,
    /// Tasks that these tables do not support with any rights, and what they lack
    pub unfit: Vec<(&'static str, Vec<Lack>)>,
}

impl PgStore {
    /// Returns the fewest rights that `role` needs for the parts of authd that are on, with the
    /// tables as they are now
    ///
    /// Does not check whether the role exists, and which rights it has already.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    pub async fn grants(&self, asked: &Asked, role: &str) -> Result<Grants, Error> {
        let connection = self.connector.connect(Purpose::Read).await?;
        let (tables, connection) = (&connection.tables, &connection.inner);
        let (mut rights, mut unfit) = (Rights::default(), Vec::new());
        for task in Task::ALL.iter().filter(|task| asked.has(task.part)) {
            let missing = task.missing(tables.catalog(), tables.generation());
            if missing.is_empty() {
                rights.add(task, tables);
            } else {
                unfit.push((task.name, missing));
            }
        }
        let places = Place::load(&rights.tables(), connection).await?;
        Ok(Grants { statements: rights.statements(&places, role), unfit })
    }
}

/// The columns, by table and right
#[derive(Default)]
struct Rights(BTreeMap<&'static str, BTreeMap<Right, BTreeSet<&'static str>>>);

impl Rights {
    fn add(&mut self, task: &Task, tables: &Tables) {
        for need in task.needs(tables.catalog(), tables.generation()) {
            let rights = self.0.entry(need.table).or_default();
            rights.entry(need.right).or_default().extend(need.columns());
        }
    }

    fn tables(&self) -> Vec<&str> {
        // `authd check` reads these as well.
        self.0.keys().copied().chain(RECORDS.map(|(table, _)| table)).collect()
    }

    fn statements(mut self, places: &[Place], role: &str) -> Vec<String> {
        for (table, columns) in RECORDS {
            let rights = self.0.entry(table).or_default();
            rights.entry(Right::Select).or_default().extend(columns);
        }
        let role = quoted(role);
        let schemas: BTreeSet<&str> = places.iter().map(|place| &*place.schema).collect();
        let schemas = schemas
            .into_iter()
            .map(|schema| format!("GRANT USAGE ON SCHEMA {} TO {role}", quoted(schema)));
        let tables = places.iter().filter_map(|Place { name, schema }| {
            let rights = self.0.get(&**name)?;
            let rights: Vec<String> =
                rights.iter().map(|(right, columns)| spelled(*right, columns)).collect();
            Some(format!(
                "GRANT {} ON {}.{name} TO {role}",
                rights.join(",\n      "),
                quoted(schema)
            ))
        });
        schemas.chain(tables).collect()
    }
}

fn spelled(right: Right, columns: &BTreeSet<&str>) -> String {
    match right {
        Right::Delete => right.to_string(),
        _ => {
            let columns: Vec<&str> = columns.iter().copied().collect();
            format!("{right} ({})", columns.join(", "))
        }
    }
}

/// Quotes an identifier, which may be any text
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, missing) in &self.unfit {
            let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
            writeln!(
                f,
                "-- {name}: nothing to grant, as these are missing: {}",
                missing.join(", ")
            )?;
        }
        self.statements.iter().try_for_each(|statement| writeln!(f, "{statement};"))
    }
}

/// A table and its schema
#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    schema: String,
}

impl Place {
    #[expect(clippy::disallowed_methods, reason = "an operator asks, and no visitor")]
    async fn load(tables: &[&str], mut connection: &AsyncPgConnection) -> QueryResult<Vec<Self>> {
        sql_query(
            "SELECT relname::text AS name, nspname::text AS schema
             FROM unnest($1) AS asked (name)
             JOIN pg_class c ON c.oid = to_regclass(asked.name)
             JOIN pg_namespace n ON n.oid = c.relnamespace
             ORDER BY 1",
        )
        .bind::<Array<Text>, _>(tables)
        .load(&mut connection)
        .await
    }
}

/// The tables in which authd and the control plane record migrations
const RECORDS: [(&str, &[&str]); 2] =
    [("authd_schema_migrations", &["version"]), ("schema_migrations", &["version", "dirty"])];
