use std::sync::Arc;

use app_audit::{Act, SubjectKind};
use app_authz::token::{Change, CryptoKey, Feature, KeyStore, Rotation, Secret};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::Serialize;

use super::PgStore;
use super::acts::note_in;
use super::connect::Connection;
use super::schema::sql_types::CryptoKeyFeature;
use super::schema::{crypto_keys, dbcrypt_keys};
use super::tables::Need;
use super::values::Moment;
use crate::facts::Question;
use crate::{EncryptionKeys, Error};

impl KeyStore for PgStore {
    type Error = Error;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Error> {
        let rows = self.reads.ask(Question::Keys, async |connection: Arc<Connection>| {
            of_feature(feature)
                .filter(crypto_keys::secret.is_not_null())
                // In the order of the primary key, so that its index is read although nothing is
                // looked up in it. On read connections any other plan counts as so expensive
                // that PostgreSQL would compile it first.
                .order((crypto_keys::feature.desc(), crypto_keys::sequence.desc()))
                .select(Row::as_select())
                .load(&mut &connection.inner)
                .await
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
        self.rotate_recorded(feature, plan, None).await
    }
}

impl PgStore {
    /// Changes the keys of a feature, and records it in the same transaction as this act, with the
    /// name of the feature and the changes
    ///
    /// Nothing is recorded if nothing changes, or beside a control plane whose database has no
    /// table of acts.
    ///
    /// # Errors
    ///
    /// Those of [`Rotation::rotate`].
    pub async fn rotate_recorded<P>(
        &self,
        feature: Feature,
        plan: P,
        act: Option<Act>,
    ) -> Result<usize, Error>
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
    {
        let mut connection = self.writes.get().await?;
        let tables = connection.tables();
        connection
            .transaction(async |connection| {
                // Read committed and not repeatable read: the snapshot of the latter would be
                // taken by the wait for the lock, before the changes of its holder are visible.
                // The lock alone keeps other rotations out.
                connection.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
                let rows: Vec<Row> = of_feature(feature)
                    .order((crypto_keys::feature, crypto_keys::sequence))
                    .select(Row::as_select())
                    .for_update()
                    .load(connection)
                    .await?;
                let rows = rows.into_iter().map(|row| read(feature, row, &self.encryption_keys).0);
                let changes = plan(&rows.collect::<Vec<_>>());
                for change in &changes {
                    apply(change, &self.encryption_keys, connection).await?;
                }
                if let Some(act) = act.filter(|_| !changes.is_empty()) {
                    let described: Vec<_> = changes.iter().map(describe).collect();
                    let act = act
                        .subject(SubjectKind::Keys, feature.as_str())
                        .detail("changes", &described.join(", "));
                    note_in(&act, &tables, connection).await?;
                }
                Ok(changes.len())
            })
            .await
    }
}

/// A key with which the control plane encrypts
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActiveKey {
    /// The digest under which the control plane lists the key
    pub digest: String,
    /// Whether the key is among [`Options::encryption_keys`](super::Options::encryption_keys)
    pub is_known: bool,
}

impl PgStore {
    /// Returns the keys with which the control plane encrypts, the newest first; an empty list
    /// if it does not encrypt
    ///
    /// If it encrypts, new keys are stored encrypted with the preferred one of the known keys,
    /// and cannot be stored if none of its keys is known.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] without the right to read `dbcrypt_keys`; [`Error::Unavailable`].
    pub async fn active_encryption_keys(&self) -> Result<Vec<ActiveKey>, Error> {
        let digests = self.reads.run(async |connection: Arc<Connection>| {
            active_digests().load::<String>(&mut &connection.inner).await
        });
        let key =
            |digest: String| ActiveKey { is_known: self.encryption_keys.contains(&digest), digest };
        Ok(digests.await?.into_iter().map(key).collect())
    }
}

/// A key as it is stored
#[derive(Queryable, Selectable)]
#[diesel(table_name = crypto_keys, check_for_backend(Pg))]
struct Row {
    sequence: i32,
    secret: Option<String>,
    /// The digest of the key with which the secret is encrypted
    secret_key_id: Option<String>,
    starts_at: Moment,
    deletes_at: Option<Moment>,
}

/// The keys of a feature
///
/// Features are compared as texts: the type in the database may have labels that are not known
/// here, and may lack some that are.
#[diesel::dsl::auto_type]
fn of_feature(feature: Feature) -> _ {
    let name: &'static str = feature.as_str();
    crypto_keys::table.filter(crypto_keys::feature.cast::<Text>().eq(name))
}

/// The digests of the keys with which the control plane encrypts, the newest first
#[diesel::dsl::auto_type]
fn active_digests() -> _ {
    dbcrypt_keys::table
        .filter(dbcrypt_keys::active_key_digest.is_not_null())
        .order(dbcrypt_keys::number.desc())
        .select(dbcrypt_keys::active_key_digest.assume_not_null())
}

/// Reads the key of a row; the error says why its secret cannot be read
fn read(feature: Feature, row: Row, keys: &EncryptionKeys) -> (CryptoKey, Option<Error>) {
    // An empty digest means the same to the control plane as none.
    let digest = row.secret_key_id.filter(|digest| !digest.is_empty());
    let decrypted = row.secret.map(|secret| match digest {
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
    let key = CryptoKey::new(feature, row.sequence, secret, row.starts_at.0);
    (key.with_deletes_at(row.deletes_at.map(|Moment(end)| end)), fault)
}

/// A change as the audit names it
fn describe(change: &Change) -> String {
    match change {
        Change::Clear { sequence, .. } => format!("key {sequence} cleared"),
        Change::End { sequence, .. } => format!("key {sequence} ended"),
        Change::Insert(key) => format!("key {} created", key.sequence),
    }
}

/// Carries out one change of a rotation
async fn apply(
    change: &Change,
    keys: &EncryptionKeys,
    connection: &mut AsyncPgConnection,
) -> Result<(), Error> {
    match change {
        Change::Clear { feature, sequence } => {
            // The digest is cleared as well: otherwise the control plane could not revoke the
            // key that encrypted the secret.
            diesel::update(of_feature(*feature).filter(crypto_keys::sequence.eq(sequence)))
                .set((
                    crypto_keys::secret.eq(None::<String>),
                    crypto_keys::secret_key_id.eq(None::<String>),
                ))
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
            let feature = key.feature.as_str().into_sql::<Text>();
            diesel::insert_into(crypto_keys::table)
                .values((
                    crypto_keys::feature.eq(feature.fallible_cast::<CryptoKeyFeature>()),
                    crypto_keys::sequence.eq(key.sequence),
                    crypto_keys::secret.eq(secret),
                    crypto_keys::secret_key_id.eq(key_id),
                    crypto_keys::starts_at.eq(Moment(key.starts_at)),
                    crypto_keys::deletes_at.eq(key.deletes_at.map(Moment)),
                ))
                .execute(connection)
                .await?;
        }
        Change::End { feature, sequence, deletes_at } => {
            diesel::update(of_feature(*feature).filter(crypto_keys::sequence.eq(sequence)))
                .set(crypto_keys::deletes_at.eq(Moment(*deletes_at)))
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}

/// A secret as it is stored, and the digest of the key with which it is encrypted
///
/// The secret is encrypted if the control plane's own list has keys; authd's setting does not
/// decide. A control plane without keys could not read an encrypted row, and one with keys
/// does not expect secrets in plain text.
async fn seal(
    secret: &Secret,
    keys: &EncryptionKeys,
    connection: &mut AsyncPgConnection,
) -> Result<(String, Option<String>), Error> {
    if let Some(reason) = secret.unreadable_reason() {
        return Err(Error::invalid_row(reason));
    }
    let active: Vec<String> = active_digests().load(connection).await?;
    let [newest, ..] = &active[..] else { return Ok((secret.to_hex(), None)) };
    let Some(digest) = keys.first_of(&active) else {
        return Err(Error::MissingEncryptionKey { digest: newest.clone() });
    };
    Ok((keys.encrypt(&secret.to_hex(), digest)?, Some(digest.to_owned())))
}

/// The rights that reading keys needs
pub(super) const KEYS: &[Need] =
    &[Need::select("crypto_keys", "feature sequence secret secret_key_id starts_at deletes_at")];

/// The rights that a rotation needs, even if nothing is due
pub(super) const ROTATION: &[Need] = &[
    Need::select("crypto_keys", "feature sequence secret secret_key_id starts_at deletes_at"),
    Need::insert("crypto_keys", "feature sequence secret secret_key_id starts_at deletes_at"),
    Need::update("crypto_keys", "secret secret_key_id deletes_at"),
    Need::select("dbcrypt_keys", "number active_key_digest"),
];

/// "authdkey" in ASCII
const LOCK: i64 = 0x6175_7468_646b_6579;
