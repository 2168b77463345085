use std::cmp::Reverse;

use app_authz::token::{Change, CryptoKey, Feature, KeyStore, Rotation, Secret};

use super::MemoryStore;
use crate::fleet::{self, Hidden, KeyFeature};
use crate::{Error, domain};

impl KeyStore for MemoryStore {
    type Error = Error;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Error> {
        let mut keys = read(&self.read().crypto_keys)?;
        keys.retain(|key| key.feature == feature && key.secret.is_some());
        keys.sort_unstable_by_key(|key| Reverse(key.sequence));
        Ok(keys)
    }
}

impl Rotation for MemoryStore {
    type Error = Error;

    async fn rotate<P>(&self, feature: Feature, plan: P) -> Result<usize, Error>
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
    {
        let mut tables = self.write();
        let mut rows = read(&tables.crypto_keys)?;
        rows.retain(|row| row.feature == feature);
        rows.sort_unstable_by_key(|row| row.sequence);
        let changes = plan(&rows);
        // All of them or none, as in a transaction.
        let mut keys = tables.crypto_keys.clone();
        for change in &changes {
            apply(change, &mut keys)?;
        }
        tables.crypto_keys = keys;
        Ok(changes.len())
    }
}

fn read(rows: &[fleet::CryptoKey]) -> Result<Vec<CryptoKey>, Error> {
    let key = |row: &fleet::CryptoKey| {
        let secret = row.secret.as_ref().map(|hex| Secret::from_hex(&hex.0)).transpose();
        let secret = secret.map_err(Error::invalid_row)?;
        let key = CryptoKey::new(row.feature.into(), row.sequence, secret, row.starts_at.into());
        Ok(key.with_deletes_at(row.deletes_at.map(Into::into)))
    };
    rows.iter().map(key).collect()
}

fn apply(change: &Change, keys: &mut Vec<fleet::CryptoKey>) -> Result<(), Error> {
    match change {
        Change::Clear { feature, sequence } => {
            of(keys, *feature, *sequence).for_each(|key| key.secret = None);
        }
        Change::Insert(key) => {
            if of(keys, key.feature, key.sequence).next().is_some() {
                return Err(Error::query("a key of that sequence is there already"));
            }
            keys.push(fleet::CryptoKey {
                feature: KeyFeature::of_label(key.feature.as_str()).ok_or_else(|| {
                    Error::query(format!("no key can be for `{}`", key.feature.as_str()))
                })?,
                sequence: key.sequence,
                secret: key.secret.as_ref().map(|secret| Hidden(secret.to_hex())),
                starts_at: domain::stored_time(key.starts_at),
                deletes_at: key.deletes_at.map(domain::stored_time),
            });
        }
        Change::End { feature, sequence, deletes_at } => {
            let end = domain::stored_time(*deletes_at);
            of(keys, *feature, *sequence).for_each(|key| key.deletes_at = Some(end));
        }
    }
    Ok(())
}

fn of(
    keys: &mut [fleet::CryptoKey],
    feature: Feature,
    sequence: i32,
) -> impl Iterator<Item = &mut fleet::CryptoKey> {
    keys.iter_mut()
        .filter(move |key| key.feature.as_str() == feature.as_str() && key.sequence == sequence)
}
