//! Keys: which one signs, how they rotate, and how they are fetched

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod fetch;

use std::time::{Duration, SystemTime};

use app_authz::Error;
use app_authz::token::{
    Change, CryptoKey, Feature, Hs512Key, KeyRing, SealKey, Secret, TokenError, replace, rotate,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn key(sequence: i32, starts_at: SystemTime, deletes_at: Option<SystemTime>) -> CryptoKey {
    let secret = Some(Secret::new([u8::try_from(sequence).unwrap(); 64]));
    CryptoKey::new(Feature::WorkspaceAppsToken, sequence, secret, starts_at)
        .with_deletes_at(deletes_at)
}

fn cleared(sequence: i32, deletes_at: SystemTime) -> CryptoKey {
    with_secret(key(sequence, deletes_at - MONTH, Some(deletes_at)), None)
}

fn with_secret(mut key: CryptoKey, secret: Option<Secret>) -> CryptoKey {
    key.secret = secret;
    key
}

fn for_feature(feature: Feature, mut key: CryptoKey) -> CryptoKey {
    key.feature = feature;
    key
}

fn signing(rows: &[CryptoKey], at: SystemTime) -> Result<i32, Error> {
    KeyRing::<Hs512Key>::new(rows)?.signing(at).map(|(sequence, _)| sequence)
}

// scenario 63, 64
#[test]
fn the_highest_key_that_may_sign_signs() {
    let rows = [key(3, now() + MINUTE, None), key(2, now(), None), key(1, now() - HOUR, None)];
    assert_eq!(signing(&rows, now()), Ok(2));
    assert_eq!(signing(&rows, now() + MINUTE), Ok(3));
    assert_eq!(signing(&rows, now() - MINUTE), Ok(1));
    assert_eq!(signing(&rows, now() - HOUR - MINUTE), Err(Error::NoSigningKey));
    let ring = KeyRing::<Hs512Key>::new(&rows).unwrap();
    for (at, since) in [
        (now(), Some(now())),
        (now() + HOUR, Some(now() + MINUTE)),
        (now() - MINUTE, Some(now() - HOUR)),
        (now() - HOUR - MINUTE, None),
    ] {
        assert_eq!(ring.signing_since(at), since);
    }
    let turned: Vec<CryptoKey> = rows.into_iter().rev().collect();
    assert_eq!(signing(&turned, now()), Ok(2));
    assert_eq!(signing(&[], now()), Err(Error::NoSigningKey));

    let ended = key(2, now() - HOUR, Some(now()));
    assert_eq!(signing(&[ended, key(1, now() - HOUR, None)], now()), Ok(1));
    assert_eq!(signing(&[cleared(2, now() + HOUR)], now()), Err(Error::NoSigningKey));
    let other = for_feature(Feature::TailnetResume, key(1, now(), None));
    assert_eq!(signing(&[other], now()), Err(Error::NoSigningKey));
}

#[test]
fn a_key_that_cannot_be_read_is_skipped_and_listed() {
    let unreadable = |key| with_secret(key, Some(Secret::unreadable("encrypted")));
    let rows = [unreadable(key(3, now(), None)), key(2, now(), None)];
    let ring = KeyRing::<Hs512Key>::new(&rows).unwrap();
    assert_eq!(ring.signing(now()).unwrap().0, 2);
    assert_eq!(ring.verifying(3, now()).unwrap_err(), TokenError::UnknownKey(3));
    assert_eq!(ring.unreadable().collect::<Vec<_>>(), [(3, "encrypted")]);
    assert_eq!(signing(&rows[..1], now()), Err(Error::NoSigningKey));
    let seals = KeyRing::<SealKey>::new(&rows).unwrap();
    assert_eq!(seals.unreadable().count(), 0, "the rows are of another feature");

    let secret = rows[0].secret.as_ref().unwrap();
    assert_eq!(secret.unreadable_reason(), Some("encrypted"));
    assert!(secret.reveal().is_empty() && secret.to_hex().is_empty());
    assert_ne!(*secret, Secret::new([]));
    assert_eq!(rows[1].secret.as_ref().unwrap().unreadable_reason(), None);
}

#[test]
fn a_key_that_cannot_be_read_is_rotated_like_any_other() {
    for deletes_at in [None, Some(now()), Some(now() + HOUR)] {
        for starts_at in [now() - MONTH, now() - MONTH + HOUR, now() - HOUR] {
            let readable = key(4, starts_at, deletes_at);
            let secret = Some(Secret::unreadable("encrypted"));
            let unreadable = with_secret(readable.clone(), secret);
            assert_eq!(rotated(&[unreadable], now()), rotated(&[readable], now()));
        }
    }
}

// scenario 66, 67
#[test]
fn a_key_verifies_before_its_start_but_not_after_its_end() {
    let rows = [key(2, now() + HOUR, None), key(1, now() - HOUR, Some(now() + MINUTE))];
    let ring = KeyRing::<Hs512Key>::new(&rows).unwrap();
    let good = |sequence, at| ring.verifying(sequence, at).is_ok();
    assert!(good(2, now()) && good(1, now()));
    assert!(good(1, now() + MINUTE - Duration::from_nanos(1)) && !good(1, now() + MINUTE));
    assert_eq!(ring.verifying(3, now()).unwrap_err(), TokenError::UnknownKey(3));
    assert!(ring.knows(1) && !ring.knows(3));
}

// scenario 79
#[test]
fn a_secret_fits_its_feature() {
    for &feature in Feature::ALL {
        assert_eq!(feature.as_str().parse(), Ok(feature));
        let changes = rotate(feature, &[], now(), |bytes| bytes.fill(1));
        let [Change::Insert(made)] = &changes[..] else { panic!("{changes:?}") };
        let length = if feature == Feature::WorkspaceAppsApiKey { 32 } else { 64 };
        assert_eq!(made.secret.as_ref().unwrap().reveal(), vec![1; length]);
    }
    let unknown = Err(Error::UnknownFeature("later".to_owned()));
    assert_eq!("later".parse::<Feature>(), unknown);

    let with = |secret: &[u8]| with_secret(key(1, now(), None), Some(Secret::new(secret)));
    assert_eq!(signing(&[with(&[1; 63])], now()), Err(Error::InvalidSecret));
    assert_eq!(signing(&[with(&[])], now()), Err(Error::InvalidSecret));
    let seal = for_feature(Feature::WorkspaceAppsApiKey, with(&[1; 64]));
    assert_eq!(KeyRing::<SealKey>::new(&[seal]).unwrap_err(), Error::InvalidSecret);

    let secret = Secret::from_hex("00fFa9").unwrap();
    assert_eq!((secret.reveal(), &*secret.to_hex()), (&[0, 255, 169][..], "00ffa9"));
    for bad in ["0", "0g", "é", "+1", " 1"] {
        assert_eq!(Secret::from_hex(bad), Err(Error::InvalidSecret), "{bad}");
    }
}

fn rotated(rows: &[CryptoKey], at: SystemTime) -> Vec<Change> {
    rotate(Feature::WorkspaceAppsToken, rows, at, |bytes| bytes.fill(42))
}

/// Applies the changes, as a store does
fn apply(rows: &mut Vec<CryptoKey>, changes: Vec<Change>) {
    for change in changes {
        let row = |rows: &mut Vec<CryptoKey>, sequence| {
            rows.iter().position(|row| row.sequence == sequence).unwrap()
        };
        match change {
            Change::Insert(row) => {
                assert!(rows.iter().all(|other| other.sequence != row.sequence));
                rows.push(row);
            }
            Change::Clear { sequence, .. } => {
                let at = row(rows, sequence);
                rows[at].secret = None;
            }
            Change::End { sequence, deletes_at, .. } => {
                let at = row(rows, sequence);
                rows[at].deletes_at = Some(deletes_at);
            }
        }
    }
}

#[test]
fn a_key_outlives_the_last_token_it_signed() {
    for (feature, lifetime) in [
        (Feature::WorkspaceAppsToken, MINUTE),
        (Feature::WorkspaceAppsApiKey, MINUTE),
        (Feature::OidcConvert, 5 * MINUTE),
        (Feature::TailnetResume, 24 * HOUR),
    ] {
        let old = for_feature(feature, key(1, now() - MONTH + HOUR, None));
        let changes = rotate(feature, &[old], now(), |bytes| bytes.fill(42));
        let deletes_at = now() + HOUR + HOUR + lifetime;
        assert_eq!(changes.last(), Some(&Change::End { feature, sequence: 1, deletes_at }));
    }
}

fn inserted(changes: &[Change]) -> Option<(i32, SystemTime)> {
    changes.iter().find_map(|change| match change {
        Change::Insert(row) => Some((row.sequence, row.starts_at)),
        _ => None,
    })
}

// scenario 73
#[test]
fn a_key_gets_a_successor_in_its_last_hour() {
    let mut rows = vec![key(1, now(), None)];
    let end = now() + MONTH;
    assert_eq!(rotated(&rows, end - HOUR - Duration::from_secs(1)), []);

    let changes = rotated(&rows, end - HOUR);
    assert_eq!(inserted(&changes), Some((2, end)));
    let deletes_at = end + HOUR + MINUTE;
    let ends = Change::End { feature: Feature::WorkspaceAppsToken, sequence: 1, deletes_at };
    assert!(changes.contains(&ends) && changes.len() == 2);
    apply(&mut rows, changes);

    assert_eq!(signing(&rows, end - MINUTE), Ok(1));
    assert_eq!(signing(&rows, end), Ok(2));
    for at in [end - MINUTE, end, end + HOUR, deletes_at - Duration::from_nanos(1)] {
        assert_eq!(rotated(&rows, at), []);
    }
    let changes = rotated(&rows, deletes_at);
    assert_eq!(changes, [Change::Clear { feature: Feature::WorkspaceAppsToken, sequence: 1 }]);
    apply(&mut rows, changes);
    assert!(rows.len() == 2 && rows[0].secret.is_none());
    assert_eq!(rotated(&rows, deletes_at + HOUR), []);
}

// scenario 75, 76, 78, 81, 82
#[test]
fn one_key_has_no_end_and_no_sequence_is_used_twice() {
    let feature = Feature::WorkspaceAppsToken;
    let only_ending = [key(1, now() - HOUR, Some(now() + HOUR))];
    assert_eq!(inserted(&rotated(&only_ending, now())), Some((2, now())));
    assert_eq!(inserted(&rotated(&[cleared(7, now() - HOUR)], now())), Some((8, now())));
    let past = [key(3, now() - MONTH, Some(now()))];
    let changes = rotated(&past, now());
    assert_eq!(changes[0], Change::Clear { feature, sequence: 3 });
    assert_eq!(inserted(&changes), Some((4, now())));

    let expiring = [key(1, now() - MONTH, None)];
    assert_eq!(inserted(&rotated(&expiring, now())), Some((2, now() + 30 * MINUTE)));

    let expired = [key(1, now() - MONTH - 2 * HOUR, None), cleared(2, now() - HOUR)];
    let changes = rotated(&expired, now());
    assert_eq!(inserted(&changes), Some((3, now() + 30 * MINUTE)));
    let deletes_at = now() + 30 * MINUTE + HOUR + MINUTE;
    assert!(changes.contains(&Change::End { feature, sequence: 1, deletes_at }));

    // Two keys that are due need one successor, and none if one exists.
    let two = [key(1, now() - MONTH, None), key(2, now() - MONTH, None)];
    let changes = rotated(&two, now());
    assert_eq!(changes.iter().filter(|c| matches!(c, Change::Insert(_))).count(), 1);
    let succeeded = [key(1, now() - MONTH, None), key(2, now() - HOUR, None)];
    assert_eq!(inserted(&rotated(&succeeded, now())), None);
    assert_eq!(rotated(&succeeded, now()).len(), 1);

    // Rows of other features are ignored.
    let other = [for_feature(Feature::OidcConvert, key(9, now(), None))];
    assert_eq!(inserted(&rotated(&other, now())), Some((1, now())));
}

#[test]
fn a_key_may_sign_at_any_time_in_a_year_of_rotation() {
    let mut rows = Vec::new();
    let mut at = now();
    let end = now() + 12 * MONTH;
    while at < end {
        let changes = rotated(&rows, at);
        apply(&mut rows, changes);
        let sequence = signing(&rows, at).unwrap();
        let ring = KeyRing::<Hs512Key>::new(&rows).unwrap();
        // A token that is signed now can be verified until it expires.
        assert!(ring.verifying(sequence, at + 2 * MINUTE).is_ok());
        assert!(rows.iter().filter(|row| row.secret.is_some()).count() <= 2);
        at += 10 * MINUTE;
    }
    assert!((12..=14).contains(&rows.len()), "{}", rows.len());
}

#[test]
fn a_replaced_key_signs_until_replicas_know_its_successor() {
    let mut rows = vec![key(1, now(), None)];
    let at = now() + HOUR;
    let feature = Feature::WorkspaceAppsToken;
    let changes = replace(feature, &rows, at, false, |bytes| bytes.fill(7));
    apply(&mut rows, changes);
    assert_eq!(signing(&rows, at), Ok(1));
    assert_eq!(signing(&rows, at + 30 * MINUTE), Ok(2));
    let ring = KeyRing::<Hs512Key>::new(&rows).unwrap();
    let end = at + 30 * MINUTE + HOUR + MINUTE;
    assert!(ring.verifying(1, end - MINUTE).is_ok() && ring.verifying(1, end).is_err());
    assert_eq!(rotated(&rows, at), [], "the rotation that follows finds nothing to do");
}

#[test]
fn a_compromised_key_is_cleared_at_once() {
    let mut rows = vec![
        key(1, now() - HOUR, Some(now() + HOUR)),
        key(2, now(), None),
        key(3, now() + HOUR, None),
    ];
    let at = now() + MINUTE;
    let feature = Feature::WorkspaceAppsToken;
    let changes = replace(feature, &rows, at, true, |bytes| bytes.fill(7));
    apply(&mut rows, changes);
    assert_eq!(signing(&rows, at), Ok(4));
    let secrets: Vec<_> = rows.iter().map(|row| row.secret.is_some()).collect();
    assert_eq!(secrets, [false, false, false, true]);
    assert_eq!(rotated(&rows, at), []);
}
