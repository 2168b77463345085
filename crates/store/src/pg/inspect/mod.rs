#![expect(clippy::disallowed_methods, reason = "an operator asks, and no visitor")]

mod live;
mod rights;
mod server;
mod tables;

use std::time::SystemTime;

use app_authz::token::{Feature, KeyStore, Secret};
use diesel_async::SimpleAsyncConnection;
use tokio::time::timeout;

use self::rights::Rights;
use super::PgStore;
use super::connect::{Connection, Purpose};
use super::migrate::Recorded;
use super::pooling::Pooling;
use super::tables::Task as Known;
use crate::Error;
use crate::inspection::{Asked, Encryption, Inspection, Keys, Part, Tables, Task};

/// The clock to compare the database's with
type Clock<'a> = &'a (dyn Fn() -> SystemTime + Send + Sync);

impl PgStore {
    /// Checks whether the database allows the parts of authd that are on
    ///
    /// `clock` is compared with the database's clock. All statements only read. Once a connection
    /// is open, they take at most five statement timeouts in total. Anything that is missing is
    /// part of the result, and not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Query`].
    pub async fn inspect(&self, asked: &Asked, clock: Clock<'_>) -> Result<Inspection, Error> {
        let connection = self.connector.connect(Purpose::Read).await?;
        let longest = 5 * self.connector.options().statement_timeout;
        let looked = timeout(longest, self.look_with(&connection, asked, clock)).await;
        looked.map_err(|_| {
            Error::unavailable(format!("no answer within {} s", longest.as_secs_f32()))
        })?
    }

    async fn look_with(
        &self,
        connection: &Connection,
        asked: &Asked,
        clock: Clock<'_>,
    ) -> Result<Inspection, Error> {
        let (known, connection) = (&connection.tables, &connection.inner);
        let (catalog, generation) = (known.catalog(), known.generation());
        let pooling = if self.is_pooled() { self.pooling().await? } else { Pooling::None };
        let mut session = connection;
        // A pooler may assign another connection to each transaction.
        session.batch_execute("BEGIN TRANSACTION READ ONLY").await?;
        let server = self.server(connection, pooling, clock).await?;
        let asked_for: Vec<&Known> =
            Known::ALL.iter().filter(|known| asked.has(known.part)).collect();
        let needs = asked_for.iter().flat_map(|known| known.needs(catalog, generation));
        let rights = Rights::load(needs, catalog, connection).await?;
        let tasks: Vec<Task> = asked_for
            .iter()
            .map(|known| {
                let mut lacks = known.missing(catalog, generation);
                lacks.extend(rights.missing(&known.needs(catalog, generation)));
                Task { name: known.name, part: known.part, lacks }
            })
            .collect();
        let recorded = Recorded::read(connection).await?;
        let (schema, search_path) = tables::place(connection).await?;
        let tables = Tables {
            owner: recorded.owner()?,
            schema,
            search_path,
            generation,
            migration: tables::migration(connection).await?,
            elsewhere: tables::elsewhere(&tasks, connection).await?,
            hidden_rows: tables::hidden_rows(&asked_for, known, connection).await?,
            pending: recorded.pending()?,
            audit_months: match catalog.has_audit_months() {
                true => tables::audit_months(connection).await?,
                false => None,
            },
        };
        let sign_in_index = tables::index(catalog, connection).await?;
        session.batch_execute("ROLLBACK").await?;

        let of_apps = tasks.iter().filter(|task| task.part == Part::Apps);
        let may_read_keys = of_apps.clone().count() > 0
            && of_apps.flat_map(|task| &task.lacks).all(|lack| !lack.is_of_keys());
        let keys = if may_read_keys { self.look_at_keys().await? } else { Vec::new() };
        let mut of_rotation = tasks.iter().filter(|task| task.part == Part::KeyRotation);
        let encryption = match of_rotation.next() {
            Some(rotation) if rotation.lacks.is_empty() => Some(Encryption {
                active: self.active_encryption_keys().await?,
                has_keys: !self.encryption_keys.is_empty(),
            }),
            _ => None,
        };
        Ok(Inspection { server, tables, tasks, sign_in_index, keys, encryption })
    }

    /// Checks whether the keys of app access can be read, by reading them
    async fn look_at_keys(&self) -> Result<Vec<Keys>, Error> {
        let mut all = Vec::new();
        for feature in [Feature::WorkspaceAppsToken, Feature::WorkspaceAppsApiKey] {
            let (readable, problem) = match self.keys(feature).await {
                Ok(keys) => {
                    let secrets = || keys.iter().filter_map(|key| key.secret.as_ref());
                    let problem = secrets().find_map(Secret::unreadable_reason).map(str::to_owned);
                    let readable = secrets().filter(|secret| secret.unreadable_reason().is_none());
                    (readable.count(), problem)
                }
                Err(
                    error @ (Error::Query { .. } | Error::Tables(_) | Error::Unavailable { .. }),
                ) => {
                    return Err(error);
                }
                Err(error) => (0, Some(error.to_string())),
            };
            all.push(Keys { feature, readable, problem });
        }
        Ok(all)
    }
}
