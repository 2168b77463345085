use std::time::{Duration, SystemTime};

use app_authz::token::{Change, Feature, rotate};
use chrono::{DateTime, Utc};
use store::fleet::{CryptoKey, Fleet, Hidden, KeyFeature};

contract! {
    since V2_24;

    fn keys_with_a_secret_are_found_by_feature(store, fleet: keys) {
        let found = store.keys(Feature::WorkspaceAppsToken).await.unwrap();
        let sequences: Vec<_> = found.iter().map(|key| key.sequence).collect();
        assert_eq!(sequences, [3, 2]);
        let row = &fleet.crypto_keys[1];
        assert_eq!(found[1].feature, Feature::WorkspaceAppsToken);
        assert_eq!(found[1].starts_at, SystemTime::from(row.starts_at));
        assert_eq!(found[1].deletes_at, row.deletes_at.map(SystemTime::from));
        assert_eq!(found[1].secret.as_ref().unwrap().reveal(), [2; 64]);
        let found = store.keys(Feature::WorkspaceAppsApiKey).await.unwrap();
        assert_eq!(found.iter().map(|key| key.sequence).collect::<Vec<_>>(), [1]);
        assert!(store.keys(Feature::TailnetResume).await.unwrap().is_empty());
    }

    fn a_rotation_sees_all_rows_of_its_feature_and_does_what_is_planned(store, _fleet: keys) {
        let now = at(40);
        let feature = Feature::WorkspaceAppsToken;
        let mut planned = Vec::new();
        let changes = store
            .rotate(feature, |rows| {
                assert_eq!(rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), [1, 2, 3]);
                assert!(rows[0].secret.is_none());
                planned = rotate(feature, rows, now.into(), |bytes| bytes.fill(4));
                planned.clone()
            })
            .await
            .unwrap();
        assert_eq!(changes, 3, "the ended key is cleared, the due one ends, and one is new");
        assert_eq!(planned.len(), 3);
        let found = store.keys(feature).await.unwrap();
        assert_eq!(found.iter().map(|key| key.sequence).collect::<Vec<_>>(), [4, 3]);
        assert_eq!(found[0].secret.as_ref().unwrap().reveal(), [4; 64]);
        assert_eq!(found[0].starts_at, SystemTime::from(now + Duration::from_secs(30 * 60)));
        assert!(found[1].deletes_at.is_some());
        let again = store.rotate(feature, |rows| rotate(feature, rows, now.into(), |_| {})).await;
        assert_eq!(again, Ok(0));
    }

    fn a_rotation_happens_whole_or_not_at_all(store, _fleet: keys) {
        let feature = Feature::WorkspaceAppsToken;
        let before = store.keys(feature).await.unwrap();
        let plan = |rows: &[_]| {
            vec![Change::Clear { feature, sequence: 3 }, Change::Insert(Clone::clone(&rows[1]))]
        };
        assert!(store.rotate(feature, plan).await.is_err(), "the sequence is taken");
        assert_eq!(store.keys(feature).await.unwrap(), before);
    }

    fn only_registered_proxies_are_known(store, fleet: proxies) {
        let proxies = store.proxies().await.unwrap();
        let names: Vec<_> = proxies.iter().map(|proxy| &*proxy.name).collect();
        assert_eq!(names, ["oslo", "sydney"]);
        let row = &fleet.workspace_proxies[0];
        assert_eq!(proxies[1].id, row.id);
        assert_eq!(proxies[1].url, row.url);
        assert_eq!(proxies[1].wildcard_hostname, row.wildcard_hostname);
        assert_eq!(proxies[1].secret_digest, row.token_hashed_secret.0);
    }
}

/// A cleared key, one that has ended and one that is about to, and one of another feature
fn keys() -> Fleet {
    let mut fleet = Fleet::default();
    for (feature, sequence, secret, starts, deletes) in [
        (KeyFeature::WorkspaceAppsToken, 1, None, 0, Some(1)),
        (KeyFeature::WorkspaceAppsToken, 2, Some("02".repeat(64)), 0, Some(35)),
        (KeyFeature::WorkspaceAppsToken, 3, Some("03".repeat(64)), 5, None),
        (KeyFeature::WorkspaceAppsApiKey, 1, Some("01".repeat(32)), 0, None),
    ] {
        fleet.crypto_keys.push(CryptoKey {
            feature,
            sequence,
            secret: secret.map(Hidden),
            starts_at: at(starts),
            deletes_at: deletes.map(at),
        });
    }
    fleet
}

fn proxies() -> Fleet {
    let mut fleet = Fleet::default();
    fleet.proxy("sydney", "https://sydney.example.com", "*.sydney.example.com");
    fleet.proxy("oslo", "", "");
    fleet.proxy("gone", "https://gone.example.com", "");
    fleet.workspace_proxies[2].deleted = true;
    fleet
}

/// A day of some month
fn at(day: u64) -> DateTime<Utc> {
    DateTime::from(SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000 + day * 86_400))
}
