use std::sync::Arc;

use app_authz::token::{Change, CryptoKey, Feature, KeyStore, Rotation, Secret};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::Serialize;

use super::PgStore;
use super::connect::Connection;
use super::tables::Need;
use super::values::Moment;
use crate::{EncryptionKeys, Error};

impl KeyStore for PgStore {
    type Error = Error;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Error> {
        let rows = self.reads.run(async |connection: Arc<Connection>| {
            OfFeature(feature.as_str()).load::<Row>(&mut &connection.inner).await
        });
        let (mut keys, mut newest_fault) = (Vec::new(), None);
        for row in rows.await? {
            let (key, fault) = read(feature, row, &self.encryption_keys);
            keys.push(key);
            newest_fault = newest_fault.or(fault);
        }
        let is_readable = |secret: &Secret| secret.unreadable_reason().is_none();
        match newest_fault {
            Some(fault) if !keys.iter().flat_map(|key| &key.secret).any(is_readable) => Err(fault),
            _ => Ok(keys),
        }
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
                let rows: Vec<Row> = ForUpdate(feature.as_str()).load(connection).await?;
                let rows = rows.into_iter().map(|row| read(feature, row, &self.encryption_keys).0);
                let changes = plan(&rows.collect::<Vec<_>>());
                for change in &changes {
                    apply(change, &self.encryption_keys, connection).await?;
                }
                Ok(changes.len())
            })
            .await
    }
}

/// A key that the control plane encrypts with
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActiveKey {
    /// The digest under which the control plane has the key
    pub digest: String,
    /// Whether the key is among [`Options::encryption_keys`](super::Options::encryption_keys)
    pub is_known: bool,
}

impl PgStore {
    /// The keys that the control plane encrypts with, the newest first; none if it does not
    /// encrypt
    ///
    /// If it does, new keys are stored encrypted, with the preferred one of the keys that are
    /// known, and cannot be made if none is.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] without the right to read `dbcrypt_keys`; [`Error::Unavailable`].
    pub async fn active_encryption_keys(&self) -> Result<Vec<ActiveKey>, Error> {
        let digests = self.reads.run(async |connection: Arc<Connection>| {
            ActiveDigests.load::<String>(&mut &connection.inner).await
        });
        let key =
            |digest: String| ActiveKey { is_known: self.encryption_keys.contains(&digest), digest };
        Ok(digests.await?.into_iter().map(key).collect())
    }
}

/// Sequence, secret, the digest of the key it is encrypted with, start and end
type Row = (i32, Option<String>, Option<String>, Moment, Option<Moment>);
type Columns = (Integer, Nullable<Text>, Nullable<Text>, Timestamptz, Nullable<Timestamptz>);

/// The key of a row, and why its secret cannot be read, if it cannot
fn read(
    feature: Feature,
    (sequence, secret, key_id, starts_at, deletes_at): Row,
    keys: &EncryptionKeys,
) -> (CryptoKey, Option<Error>) {
    // The control plane takes an empty digest for none.
    let digest = key_id.filter(|digest| !digest.is_empty());
    let decrypted = secret.map(|secret| match digest {
        Some(digest) => keys.decrypt(&secret, &digest),
        None => Ok(secret),
    });
    let secret =
        decrypted.map(|hex| hex.and_then(|hex| Secret::from_hex(&hex).map_err(Error::invalid_row)));
    let (secret, fault) = match secret {
        Some(Err(fault)) => (Some(Secret::unreadable(fault.to_string())), Some(fault)),
        Some(Ok(secret)) => (Some(secret), None),
        None => (None, None),
    };
    let key = CryptoKey {
        feature,
        sequence,
        secret,
        starts_at: starts_at.0,
        deletes_at: deletes_at.map(|Moment(end)| end),
    };
    (key, fault)
}

/// The keys of a feature that are not deleted
///
/// Features are compared as texts: the type may have labels that are not known here, and
/// lack some that are. The order is that of the primary key, whose index is then read
/// although nothing is looked up in it: the read connections price any other plan so high
/// that PostgreSQL would compile it first.
#[derive(QueryId)]
struct OfFeature(&'static str);

impl QueryFragment<Pg> for OfFeature {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT sequence, secret, secret_key_id, starts_at, deletes_at FROM crypto_keys
WHERE feature::text = ",
        );
        out.push_bind_param::<Text, _>(self.0)?;
        out.push_sql(" AND secret IS NOT NULL ORDER BY feature DESC, sequence DESC");
        Ok(())
    }
}

impl Query for OfFeature {
    type SqlType = Columns;
}

/// All rows of a feature, which nobody shall change meanwhile
#[derive(QueryId)]
struct ForUpdate(&'static str);

impl QueryFragment<Pg> for ForUpdate {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT sequence, secret, secret_key_id, starts_at, deletes_at FROM crypto_keys
WHERE feature::text = ",
        );
        out.push_bind_param::<Text, _>(self.0)?;
        out.push_sql(" ORDER BY feature, sequence FOR UPDATE");
        Ok(())
    }
}

impl Query for ForUpdate {
    type SqlType = Columns;
}

/// The digests of the keys that the control plane encrypts with, the newest first
#[derive(QueryId)]
struct ActiveDigests;

impl QueryFragment<Pg> for ActiveDigests {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT active_key_digest FROM dbcrypt_keys
WHERE active_key_digest IS NOT NULL ORDER BY number DESC",
        );
        Ok(())
    }
}

impl Query for ActiveDigests {
    type SqlType = Text;
}

/// Carries out one change of a rotation
///
/// Once a month at most, so that these statements need no place among the prepared ones.
#[allow(clippy::disallowed_methods, reason = "too rare to be worth preparing")]
async fn apply(
    change: &Change,
    keys: &EncryptionKeys,
    connection: &mut AsyncPgConnection,
) -> Result<(), Error> {
    match change {
        Change::Clear { feature, sequence } => {
            // The digest goes, too: with it the row would keep the control plane from
            // revoking the key that encrypted it.
            diesel::sql_query(
                "UPDATE crypto_keys SET secret = NULL, secret_key_id = NULL
                 WHERE feature::text = $1 AND sequence = $2",
            )
            .bind::<Text, _>(feature.as_str())
            .bind::<Integer, _>(sequence)
            .execute(connection)
            .await?;
        }
        Change::Insert(key) => {
            let (secret, key_id) = match &key.secret {
                Some(secret) => {
                    let (secret, key_id) = seal(secret, keys, connection).await?;
                    (Some(secret), key_id)
                }
                None => (None, None),
            };
            diesel::sql_query(
                "INSERT INTO crypto_keys
                     (feature, sequence, secret, secret_key_id, starts_at, deletes_at)
                 VALUES ($1::crypto_key_feature, $2, $3, $4, $5, $6)",
            )
            .bind::<Text, _>(key.feature.as_str())
            .bind::<Integer, _>(key.sequence)
            .bind::<Nullable<Text>, _>(secret)
            .bind::<Nullable<Text>, _>(key_id)
            .bind::<Timestamptz, _>(Moment(key.starts_at))
            .bind::<Nullable<Timestamptz>, _>(key.deletes_at.map(Moment))
            .execute(connection)
            .await?;
        }
        Change::End { feature, sequence, deletes_at } => {
            diesel::sql_query(
                "UPDATE crypto_keys SET deletes_at = $3 WHERE feature::text = $1 AND sequence = $2",
            )
            .bind::<Text, _>(feature.as_str())
            .bind::<Integer, _>(sequence)
            .bind::<Timestamptz, _>(Moment(*deletes_at))
            .execute(connection)
            .await?;
        }
    }
    Ok(())
}

/// A secret as the table is to have it, with the digest of the key it is encrypted with
///
/// It is encrypted if the control plane encrypts. Its own list of keys decides that and not
/// the setting: a control plane without keys could not read the row, and one with keys does
/// not expect secrets in the clear.
async fn seal(
    secret: &Secret,
    keys: &EncryptionKeys,
    connection: &mut AsyncPgConnection,
) -> Result<(String, Option<String>), Error> {
    if let Some(reason) = secret.unreadable_reason() {
        return Err(Error::invalid_row(reason));
    }
    let active: Vec<String> = ActiveDigests.load(connection).await?;
    let [newest, ..] = &active[..] else { return Ok((secret.to_hex(), None)) };
    let Some(digest) = keys.first_of(&active) else {
        return Err(Error::MissingEncryptionKey { digest: newest.clone() });
    };
    Ok((keys.encrypt(&secret.to_hex(), digest)?, Some(digest.to_owned())))
}

/// The rights that reading keys takes
pub(super) const KEYS: &[Need] =
    &[Need::select("crypto_keys", "feature sequence secret secret_key_id starts_at deletes_at")];

/// The rights that a rotation takes, even if nothing is due
pub(super) const ROTATION: &[Need] = &[
    Need::select("crypto_keys", "feature sequence secret secret_key_id starts_at deletes_at"),
    Need::insert("crypto_keys", "feature sequence secret secret_key_id starts_at deletes_at"),
    Need::update("crypto_keys", "secret secret_key_id deletes_at"),
    Need::select("dbcrypt_keys", "number active_key_digest"),
];

/// "authdkey" in ASCII
const LOCK: i64 = 0x6175_7468_646b_6579;
