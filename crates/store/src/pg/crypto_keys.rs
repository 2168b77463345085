use std::sync::Arc;
use std::time::Instant;

use app_audit::{Act, SubjectKind};
use app_authz::token::{Change, CryptoKey, Feature, KeyStore, Rotation, Secret};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::Serialize;

use super::PgStore;
use super::acts::note_in;
use super::connect::Connection;
use super::schema::dbcrypt_keys;
use super::sql::Sql;
use super::tables::Need;
use super::values::Moment;
use super::writes::Lent;
use crate::facts::Question;
use crate::{EncryptionKeys, Error};

impl KeyStore for PgStore {
    type Error = Error;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Error> {
        let rows = self.reads.ask(Question::Keys, async |connection: Arc<Connection>| {
            let sql = &connection.tables.keys().read;
            let read = ReadKeys { sql, feature: feature.as_str() };
            read.load::<Row>(&mut &connection.inner).await
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
        let (mut work, mut tries) = (Some((plan, act)), 0);
        loop {
            let mut connection = self.writes.get().await?;
            let began = Instant::now();
            let outcome = match self.rotate_over(&mut connection, feature, &mut work).await {
                Err(Fault::Own(error)) => return Err(error),
                Err(Fault::Statement(error)) => Err(error),
                Ok(changes) => Ok(changes),
            };
            if work.is_none() {
                return connection.judge(outcome, began).await;
            }
            // Nothing was planned yet. The tables may have changed since the connection was opened,
            // so another one is tried.
            if let Some(changes) = connection.done(outcome, began, &mut tries).await? {
                return Ok(changes);
            }
            connection.retire();
        }
    }

    /// Rotates keys in one transaction; takes the work when it has the keys
    async fn rotate_over<P>(
        &self,
        connection: &mut Lent<'_>,
        feature: Feature,
        work: &mut Option<(P, Option<Act>)>,
    ) -> Result<usize, Fault>
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
    {
        let tables = connection.tables();
        connection
            .transaction(async |connection| {
                // Read committed and not repeatable read: the snapshot of the latter would be
                // taken by the wait for the lock, before the changes of its holder are visible.
                // The lock alone keeps other rotations out.
                connection.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
                let texts = tables.keys();
                let lock = ReadKeys { sql: &texts.lock, feature: feature.as_str() };
                let rows = lock.load::<Row>(connection).await?.into_iter();
                let rows = rows.map(|row| read(feature, row, &self.encryption_keys).0);
                let Some((plan, act)) = work.take() else { return Ok(0) };
                let changes = plan(&rows.collect::<Vec<_>>());
                for change in &changes {
                    apply(change, texts, &self.encryption_keys, connection).await?;
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

/// Why keys were not rotated: a statement failed, which is yet to be judged, or something else
enum Fault {
    Statement(DieselError),
    Own(Error),
}

impl From<DieselError> for Fault {
    fn from(error: DieselError) -> Self {
        Self::Statement(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

/// A key with which the keys of app tokens are encrypted
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
    /// and cannot be stored if none of its keys is known. Without a control plane, in the table
    /// `authd_crypto_keys`, they are encrypted with the preferred one of
    /// [`Options::encryption_keys`](super::Options::encryption_keys), if there are any.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] without the right to read `dbcrypt_keys`; [`Error::Unavailable`].
    pub async fn active_encryption_keys(&self) -> Result<Vec<ActiveKey>, Error> {
        let digests = self.reads.run(async |connection: Arc<Connection>| {
            let preferred = || self.encryption_keys.preferred().map(str::to_owned);
            match connection.tables.has_own_keys() {
                true => Ok(preferred().into_iter().collect()),
                false => active_digests().load::<String>(&mut &connection.inner).await,
            }
        });
        let key =
            |digest: String| ActiveKey { is_known: self.encryption_keys.contains(&digest), digest };
        Ok(digests.await?.into_iter().map(key).collect())
    }
}

/// The statements over a table of keys
#[derive(Debug)]
pub(super) struct KeyTexts {
    is_owned: bool,
    read: Sql,
    lock: Sql,
    insert: Sql,
    clear: Sql,
    end: Sql,
}

impl KeyTexts {
    /// Those over the control plane's table, or over authd's own
    pub(super) fn new(is_owned: bool) -> Self {
        let text = |file, variant| {
            let owned = if is_owned { "owned" } else { "" };
            Sql::plain_with(file, &[owned, variant])
        };
        Self {
            is_owned,
            read: text(include_str!("sql/read_keys.sql"), ""),
            lock: text(include_str!("sql/read_keys.sql"), "locked"),
            insert: text(include_str!("sql/insert_key.sql"), ""),
            clear: text(include_str!("sql/clear_key.sql"), ""),
            end: text(include_str!("sql/end_key.sql"), ""),
        }
    }

    pub(super) const fn is_owned(&self) -> bool {
        self.is_owned
    }
}

statement! {
    /// Reads the keys of a feature: `read_keys.sql`
    struct ReadKeys<'a> of several texts {
        feature: &'static str as Text,
    } -> (Integer, Nullable<Text>, Nullable<Text>, Timestamptz, Nullable<Timestamptz>)
}

statement! {
    /// Adds a key: `insert_key.sql`
    struct InsertKey<'a> of several texts {
        feature: &'static str as Text,
        sequence: i32 as Integer,
        secret: Option<String> as Nullable<Text>,
        secret_key_id: Option<String> as Nullable<Text>,
        starts_at: Moment as Timestamptz,
        deletes_at: Option<Moment> as Nullable<Timestamptz>,
    }
}

statement! {
    /// Clears a key: `clear_key.sql`
    struct ClearKey<'a> of several texts {
        feature: &'static str as Text,
        sequence: i32 as Integer,
    }
}

statement! {
    /// Sets the end of a key: `end_key.sql`
    struct EndKey<'a> of several texts {
        deletes_at: Moment as Timestamptz,
        feature: &'static str as Text,
        sequence: i32 as Integer,
    }
}

/// A key as it is stored
#[derive(Queryable)]
struct Row {
    sequence: i32,
    secret: Option<String>,
    /// The digest of the key with which the secret is encrypted
    secret_key_id: Option<String>,
    starts_at: Moment,
    deletes_at: Option<Moment>,
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
    texts: &KeyTexts,
    keys: &EncryptionKeys,
    connection: &mut AsyncPgConnection,
) -> Result<(), Fault> {
    match change {
        Change::Clear { feature, sequence } => {
            let (feature, sequence) = (feature.as_str(), *sequence);
            let clear = ClearKey { sql: &texts.clear, feature, sequence };
            clear.execute(connection).await?;
        }
        Change::End { feature, sequence, deletes_at } => {
            let (feature, sequence) = (feature.as_str(), *sequence);
            let deletes_at = Moment(*deletes_at);
            let end = EndKey { sql: &texts.end, deletes_at, feature, sequence };
            end.execute(connection).await?;
        }
        Change::Insert(key) => {
            let (secret, secret_key_id) = match &key.secret {
                Some(secret) => {
                    let (secret, key_id) = seal(secret, texts, keys, connection).await?;
                    (Some(secret), key_id)
                }
                None => (None, None),
            };
            let insert = InsertKey {
                sql: &texts.insert,
                feature: key.feature.as_str(),
                sequence: key.sequence,
                secret,
                secret_key_id,
                starts_at: Moment(key.starts_at),
                deletes_at: key.deletes_at.map(Moment),
            };
            insert.execute(connection).await?;
        }
    }
    Ok(())
}

/// A secret as it is stored, and the digest of the key with which it is encrypted
///
/// Beside a control plane the secret is encrypted if the control plane's own list has keys;
/// authd's setting does not decide. A control plane without keys could not read an encrypted
/// row, and one with keys does not expect secrets in plain text. In authd's own table the setting
/// decides.
async fn seal(
    secret: &Secret,
    texts: &KeyTexts,
    keys: &EncryptionKeys,
    connection: &mut AsyncPgConnection,
) -> Result<(String, Option<String>), Fault> {
    if let Some(reason) = secret.unreadable_reason() {
        return Err(Error::invalid_row(reason).into());
    }
    let digest = if texts.is_owned {
        keys.preferred()
    } else {
        let active: Vec<String> = active_digests().load(connection).await?;
        let missing = |newest: &String| Error::MissingEncryptionKey { digest: newest.clone() };
        match &active[..] {
            [newest, ..] => Some(keys.first_of(&active).ok_or_else(|| missing(newest))?),
            [] => None,
        }
    };
    let Some(digest) = digest else { return Ok((secret.to_hex(), None)) };
    Ok((keys.encrypt(&secret.to_hex(), digest)?, Some(digest.to_owned())))
}

/// The rights that reading keys needs; in authd's own table, those to the same columns
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
