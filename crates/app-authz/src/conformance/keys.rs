use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use super::rows::{at, proxy_token};
use super::{Broken, Checked, Rows, holds, rules, same, worked};
use crate::proxy::Proxies;
use crate::token::{Change, CryptoKey, Feature, KeyStore, Rotation, rotate};

rules! {
    $
    /// A rule that every implementation of [`KeyStore`] and [`Rotation`] keeps
    KeysRule of KeyStore, Rotation;
    /// Checks all rules of [`KeyStore`] and [`Rotation`], each with an implementation of its own
    /// that `make` returns
    fn keys;
    /// Makes a test of each rule of [`KeyStore`](crate::token::KeyStore) and
    /// [`Rotation`](crate::token::Rotation)
    macro keys_conformance;

    /// The keys of a feature that have a secret are found, as they are stored
    ByFeature = keys_with_a_secret_are_found_by_feature over keys,
    /// A rotation sees all rows of its feature, cleared ones too, and makes the planned changes
    Planned = a_rotation_sees_all_rows_and_does_what_is_planned over keys,
    /// A feature without keys gets its first
    First = a_feature_without_keys_gets_its_first over nothing,
    /// A rotation happens whole or not at all
    Whole = a_rotation_happens_whole_or_not_at_all over keys,
    /// Of replicas that rotate at the same time, one creates the successor
    Replicas = of_many_replicas_one_rotates over keys,
}

rules! {
    $
    /// A rule that every implementation of [`Proxies`] keeps
    ProxiesRule of Proxies;
    /// Checks all rules of [`Proxies`], each with an implementation of its own that `make` returns
    fn proxies;
    /// Makes a test of each rule of [`Proxies`](crate::proxy::Proxies)
    macro proxies_conformance;

    /// The proxies that are not deleted are known, as they are stored
    Registered = only_registered_proxies_are_known over proxies,
    /// A proxy has its own token, and no other
    Token = a_proxy_has_its_own_token over proxies,
}

const FEATURE: Feature = Feature::WorkspaceAppsToken;

/// When the second key has ended and the third is due
fn due() -> SystemTime {
    at(40 * 86_400)
}

async fn keys_with_a_secret_are_found_by_feature(store: &impl KeyStore) -> Checked {
    let rows = Rows::keys().crypto_keys;
    for feature in [FEATURE, Feature::WorkspaceAppsApiKey, Feature::TailnetResume] {
        let expected = rows.iter().filter(|row| row.feature == feature && row.secret.is_some());
        let expected: Vec<_> = expected.cloned().collect();
        same(&found(store, feature).await?, &expected, feature.as_str())?;
    }
    Ok(())
}

async fn a_rotation_sees_all_rows_and_does_what_is_planned(
    store: &(impl KeyStore + Rotation),
) -> Checked {
    let mut seen = Vec::new();
    let changes = store.rotate(FEATURE, |rows| {
        seen = rows.to_vec();
        rotate(FEATURE, rows, due(), |bytes| bytes.fill(4))
    });
    // The ended key is cleared, the due one ends, and one is new.
    same(&worked(changes.await, "a rotation")?, &3, "the number of changes")?;
    seen.sort_by_key(|row| row.sequence);
    let rows = Rows::keys().crypto_keys.into_iter().filter(|row| row.feature == FEATURE);
    same(&seen, &rows.collect::<Vec<_>>(), "the rows that the plan sees")?;

    let after = found(store, FEATURE).await?;
    let [old, new] = &after[..] else { return Err(format!("the keys after it: {after:?}")) };
    same(&(old.sequence, new.sequence), &(3, 4), "the keys after it")?;
    holds(old.deletes_at.is_some(), "the key that is due ends")?;
    let secret = new.secret.as_ref().map(|secret| secret.reveal().to_vec());
    same(&secret, &Some(vec![4; 64]), "the secret of the new key")?;
    same(&new.starts_at, &(due() + Duration::from_secs(30 * 60)), "the start of the new key")?;
    let again = store.rotate(FEATURE, |rows| rotate(FEATURE, rows, due(), |_| {})).await;
    same(&worked(again, "a second rotation")?, &0, "the changes of a second rotation")?;
    let other = found(store, Feature::WorkspaceAppsApiKey).await?;
    same(&other.len(), &1, "the keys of another feature")
}

async fn a_feature_without_keys_gets_its_first(store: &(impl KeyStore + Rotation)) -> Checked {
    let changes = store.rotate(FEATURE, |rows| rotate(FEATURE, rows, due(), |bytes| bytes.fill(5)));
    same(&worked(changes.await, "the first rotation")?, &1, "the changes of the first rotation")?;
    let keys = found(store, FEATURE).await?;
    let keys: Vec<_> = keys.iter().map(|key| (key.sequence, key.starts_at)).collect();
    same(&keys, &vec![(1, due())], "the first key")
}

async fn a_rotation_happens_whole_or_not_at_all(store: &(impl KeyStore + Rotation)) -> Checked {
    let before = found(store, FEATURE).await?;
    let failed = store.rotate(FEATURE, |rows| {
        let mut changes = vec![Change::Clear { feature: FEATURE, sequence: 3 }];
        // The sequence is taken.
        changes.extend(rows.iter().find(|row| row.sequence == 2).cloned().map(Change::Insert));
        changes
    });
    holds(failed.await.is_err(), "a sequence is not used twice")?;
    same(&found(store, FEATURE).await?, &before, "the keys after a rotation that failed")
}

async fn of_many_replicas_one_rotates(store: &(impl KeyStore + Rotation)) -> Checked {
    let plan = |rows: &[CryptoKey]| rotate(FEATURE, rows, due(), |bytes| bytes.fill(6));
    let (mut first, mut second) =
        (pin!(store.rotate(FEATURE, plan)), pin!(store.rotate(FEATURE, plan)));
    let (mut one, mut other) = (None, None);
    std::future::poll_fn(|context| {
        if one.is_none()
            && let Poll::Ready(answer) = first.as_mut().poll(context)
        {
            one = Some(answer);
        }
        if other.is_none()
            && let Poll::Ready(answer) = second.as_mut().poll(context)
        {
            other = Some(answer);
        }
        if one.is_some() && other.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // One may fail, for example because the database found a conflict; its caller tries again.
    let changes: usize = [one, other].into_iter().flatten().map(Result::unwrap_or_default).sum();
    same(&changes, &3, "the number of changes of both")?;
    let sequences: Vec<_> = found(store, FEATURE).await?.iter().map(|key| key.sequence).collect();
    same(&sequences, &vec![3, 4], "the keys after both")
}

async fn only_registered_proxies_are_known(store: &impl Proxies) -> Checked {
    let mut found = worked(store.proxies().await, "the question for proxies")?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let rows = Rows::proxies().proxies.into_iter().filter(|row| !row.is_deleted);
    let mut expected: Vec<_> = rows.map(|row| row.proxy).collect();
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    same(&found, &expected, "the proxies")
}

async fn a_proxy_has_its_own_token(store: &impl Proxies) -> Checked {
    let found = worked(store.proxies().await, "the question for proxies")?;
    for (n, name) in [(1, Some("sydney")), (2, Some("oslo")), (3, None)] {
        let bearers: Vec<_> = found.iter().filter(|proxy| proxy.bears(&proxy_token(n))).collect();
        let names: Vec<_> = bearers.iter().map(|proxy| &*proxy.name).collect();
        same(&names, &name.into_iter().collect::<Vec<_>>(), "the proxies with a token")?;
    }
    Ok(())
}

/// The keys of a feature, the oldest first
async fn found(store: &impl KeyStore, feature: Feature) -> Result<Vec<CryptoKey>, String> {
    let mut keys = worked(store.keys(feature).await, "the question for keys")?;
    keys.sort_by_key(|key| key.sequence);
    Ok(keys)
}
