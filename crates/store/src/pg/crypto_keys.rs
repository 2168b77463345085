use std::sync::Arc;

use app_authz::token::{Change, CryptoKey, Feature, KeyStore, Rotation, Secret};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::PgStore;
use super::connect::Connection;
use super::tables::Need;
use super::values::{Label, Moment};
use crate::Error;

impl KeyStore for PgStore {
    type Error = Error;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Error> {
        let rows = self.reads.run(async |connection: Arc<Connection>| {
            OfFeature(feature.as_str()).load::<Row>(&mut &connection.inner).await
        });
        rows.await?.into_iter().map(read).collect()
    }
}

impl Rotation for PgStore {
    type Error = Error;

    async fn rotate<P>(&self, feature: Feature, plan: P) -> Result<usize, Error>
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
    {
        let mut connection = self.writes.get().await?;
        connection
            .transaction(async |connection| {
                // Read committed and not repeatable read, whose snapshot would be taken
                // by the wait for the lock, before the holder's changes are there to be
                // seen. Whoever holds the lock is alone anyway.
                connection.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
                let rows: Vec<Row> = ForUpdate.load(connection).await?;
                let rows = rows.into_iter().map(read);
                let mut rows = rows.collect::<Result<Vec<_>, Error>>()?;
                rows.retain(|row| row.feature == feature);
                let changes = plan(&rows);
                for change in &changes {
                    apply(change, connection).await?;
                }
                Ok(changes.len())
            })
            .await
    }
}

/// Feature, sequence, secret, start and end
type Row = (Label<Feature>, i32, Option<String>, Moment, Option<Moment>);
type Columns = (Text, Integer, Nullable<Text>, Timestamptz, Nullable<Timestamptz>);

fn read(
    (Label(feature), sequence, secret, starts_at, deletes_at): Row,
) -> Result<CryptoKey, Error> {
    let secret = secret.map(|hex| Secret::from_hex(&hex)).transpose();
    Ok(CryptoKey {
        feature,
        sequence,
        secret: secret.map_err(Error::invalid_row)?,
        starts_at: starts_at.0,
        deletes_at: deletes_at.map(|Moment(end)| end),
    })
}

/// The keys of a feature that are not deleted
///
/// Features are compared as texts: the type may have labels that are not known here, and
/// lack some that are.
#[derive(QueryId)]
struct OfFeature(&'static str);

impl QueryFragment<Pg> for OfFeature {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT feature::text, sequence, secret, starts_at, deletes_at FROM crypto_keys
WHERE feature::text = ",
        );
        out.push_bind_param::<Text, _>(self.0)?;
        out.push_sql(" AND secret IS NOT NULL ORDER BY sequence DESC");
        Ok(())
    }
}

impl Query for OfFeature {
    type SqlType = Columns;
}

/// All rows of the table, which nobody shall change meanwhile
#[derive(QueryId)]
struct ForUpdate;

impl QueryFragment<Pg> for ForUpdate {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT feature::text, sequence, secret, starts_at, deletes_at FROM crypto_keys
ORDER BY feature, sequence FOR UPDATE",
        );
        Ok(())
    }
}

impl Query for ForUpdate {
    type SqlType = Columns;
}

/// Carries out one change of a rotation
///
/// Once a month at most, so that these statements need no place among the prepared ones.
#[allow(clippy::disallowed_methods, reason = "too rare to be worth preparing")]
async fn apply(change: &Change, connection: &mut AsyncPgConnection) -> QueryResult<usize> {
    match change {
        Change::Clear { feature, sequence } => {
            diesel::sql_query(
                "UPDATE crypto_keys SET secret = NULL WHERE feature::text = $1 AND sequence = $2",
            )
            .bind::<Text, _>(feature.as_str())
            .bind::<Integer, _>(sequence)
            .execute(connection)
            .await
        }
        Change::Insert(key) => {
            diesel::sql_query(
                "INSERT INTO crypto_keys (feature, sequence, secret, starts_at, deletes_at)
                 VALUES ($1::crypto_key_feature, $2, $3, $4, $5)",
            )
            .bind::<Text, _>(key.feature.as_str())
            .bind::<Integer, _>(key.sequence)
            .bind::<Nullable<Text>, _>(key.secret.as_ref().map(Secret::to_hex))
            .bind::<Timestamptz, _>(Moment(key.starts_at))
            .bind::<Nullable<Timestamptz>, _>(key.deletes_at.map(Moment))
            .execute(connection)
            .await
        }
        Change::End { feature, sequence, deletes_at } => {
            diesel::sql_query(
                "UPDATE crypto_keys SET deletes_at = $3 WHERE feature::text = $1 AND sequence = $2",
            )
            .bind::<Text, _>(feature.as_str())
            .bind::<Integer, _>(sequence)
            .bind::<Timestamptz, _>(Moment(*deletes_at))
            .execute(connection)
            .await
        }
    }
}

/// The rights that reading keys takes
pub(super) const KEYS: &[Need] =
    &[Need::select("crypto_keys", "feature sequence secret starts_at deletes_at")];

/// The rights that a rotation takes, even if nothing is due
pub(super) const ROTATION: &[Need] = &[
    Need::select("crypto_keys", "feature sequence secret starts_at deletes_at"),
    Need::insert("crypto_keys", "feature sequence secret starts_at deletes_at"),
    Need::update("crypto_keys", "secret deletes_at"),
];

/// "authdkey" in ASCII
const LOCK: i64 = 0x6175_7468_646b_6579;
