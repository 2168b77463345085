//! A control plane that encrypts some of its columns

#![allow(clippy::unwrap_used, reason = "helpers outside of `#[test]` functions")]

use std::time::{Duration, SystemTime};

use app_authz::credential::{SessionToken, Sessions};
use app_authz::token::{Change, CryptoKey, Feature, KeyStore, Rotation, Secret, rotate};
use openssl::base64::{decode_block, encode_block};
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use store::fleet::{Fleet, LoginType, UserLink};
use store::{EncryptionKeys, Error, Options, PgStore};
use testkit::{Database, Release, Rows};

/// A key of the control plane, with the digest that it has there
struct Key {
    bytes: [u8; 32],
    digest: &'static str,
}

/// Digests by `printf aes256gcm | cat - KEY | sha256sum | head -c 7`
const OLD: Key = Key { bytes: [1; 32], digest: "39d228e" };
const NEW: Key = Key { bytes: [2; 32], digest: "8da534f" };

const FEATURE: Feature = Feature::WorkspaceAppsToken;

impl Key {
    /// As the control plane does, by another library than the store's
    fn encrypt(&self, text: &str) -> String {
        let (nonce, mut tag) = ([9; 12], [0; 16]);
        let cipher = Cipher::aes_256_gcm();
        let sealed =
            encrypt_aead(cipher, &self.bytes, Some(&nonce), &[], text.as_bytes(), &mut tag);
        encode_block(&[&nonce[..], &sealed.unwrap(), &tag].concat())
    }

    fn decrypt(&self, value: &str) -> String {
        let bytes = decode_block(value).unwrap();
        let (nonce, rest) = bytes.split_at(12);
        let (sealed, tag) = rest.split_at(rest.len() - 16);
        let text = decrypt_aead(Cipher::aes_256_gcm(), &self.bytes, Some(nonce), &[], sealed, tag);
        String::from_utf8(text.unwrap()).unwrap()
    }
}

/// A database whose control plane has these keys, the oldest first
async fn database(keys: &[&Key]) -> Database {
    with_keys(Database::new().await, keys).await
}

async fn with_keys(database: Database, keys: &[&Key]) -> Database {
    for (n, key) in keys.iter().enumerate() {
        let (digest, test) = (key.digest, key.encrypt("coder"));
        database
            .sql(&format!(
                "INSERT INTO dbcrypt_keys (number, active_key_digest, test)
                 VALUES ({n}, '{digest}', '{test}')"
            ))
            .await;
    }
    database
}

/// Stores the secret of a key that began at that time, in the clear without a key
async fn add(database: &Database, sequence: i32, secret: &str, key: Option<&Key>) {
    let secret = key.map_or_else(|| secret.to_owned(), |key| key.encrypt(secret));
    let digest = key.map_or_else(|| "NULL".to_owned(), |key| format!("'{}'", key.digest));
    database
        .sql(&format!(
            "INSERT INTO crypto_keys (feature, sequence, secret, secret_key_id, starts_at)
             VALUES ('workspace_apps_token', {sequence}, '{secret}', {digest}, to_timestamp(0))"
        ))
        .await;
}

async fn store(database: &Database, keys: &[&Key]) -> PgStore {
    let texts: Vec<String> = keys.iter().map(|key| encode_block(&key.bytes)).collect();
    let keys = EncryptionKeys::from_base64(&texts).unwrap();
    PgStore::connect(database.url(), &Options::default().encryption_keys(keys)).await.unwrap()
}

/// When a key that began at the epoch is due to be rotated
fn after_forty_days() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(40 * 86_400)
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(64)
}

fn sequences_and_secrets(keys: &[CryptoKey]) -> Vec<(i32, &[u8])> {
    keys.iter().map(|key| (key.sequence, key.secret.as_ref().unwrap().reveal())).collect()
}

fn missing(key: &Key) -> Error {
    Error::MissingEncryptionKey { digest: key.digest.to_owned() }
}

#[tokio::test]
async fn secrets_are_read_with_the_keys_that_encrypted_them() {
    let database = database(&[&OLD, &NEW]).await;
    // In the clear, as from before the control plane encrypted.
    add(&database, 1, &hex(0x11), None).await;
    add(&database, 2, &hex(0x22), Some(&OLD)).await;
    add(&database, 3, &hex(0x33), Some(&NEW)).await;
    let keys = store(&database, &[&NEW, &OLD]).await.keys(FEATURE).await.unwrap();
    assert_eq!(
        sequences_and_secrets(&keys),
        [(3, &[0x33; 64][..]), (2, &[0x22; 64]), (1, &[0x11; 64])]
    );
}

#[tokio::test]
async fn an_empty_digest_is_none() {
    let database = database(&[]).await;
    add(&database, 1, &hex(0x11), None).await;
    database.sql("ALTER TABLE crypto_keys DROP CONSTRAINT crypto_keys_secret_key_id_fkey").await;
    database.sql("UPDATE crypto_keys SET secret_key_id = ''").await;
    let keys = store(&database, &[]).await.keys(FEATURE).await.unwrap();
    assert_eq!(sequences_and_secrets(&keys), [(1, &[0x11; 64][..])]);
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_passed_over_while_another_can() {
    let database = database(&[&OLD, &NEW]).await;
    add(&database, 1, &hex(0x11), Some(&OLD)).await;
    add(&database, 2, &hex(0x22), Some(&NEW)).await;
    for (known, sequence, unreadable, digest) in
        [(&NEW, 2, 1, OLD.digest), (&OLD, 1, 2, NEW.digest)]
    {
        let keys = store(&database, &[known]).await.keys(FEATURE).await.unwrap();
        let reason =
            |key: &CryptoKey| key.secret.as_ref().unwrap().unreadable_reason().map(str::to_owned);
        let (good, bad): (Vec<_>, Vec<_>) = keys.iter().partition(|key| reason(key).is_none());
        assert_eq!((good[0].sequence, bad[0].sequence, keys.len()), (sequence, unreadable, 2));
        assert!(bad[0].secret.as_ref().unwrap().reveal().is_empty());
        let reason = reason(bad[0]).unwrap();
        assert!(reason.contains(&format!("the key with digest `{digest}` is not")), "{reason}");
    }
}

#[tokio::test]
async fn where_no_secret_can_be_read_the_missing_key_is_named() {
    let database = database(&[&OLD, &NEW]).await;
    add(&database, 1, &hex(0x11), Some(&OLD)).await;
    let unrelated = Key { bytes: [3; 32], digest: "" };
    for keys in [&[][..], &[&NEW], &[&unrelated, &NEW]] {
        let error = store(&database, keys).await.keys(FEATURE).await.unwrap_err();
        assert_eq!(error, missing(&OLD));
        let message = error.to_string();
        assert!(message.contains(OLD.digest), "{message}");
        assert!(message.contains("--external-token-encryption-keys"), "{message}");
    }
    add(&database, 2, &hex(0x22), Some(&NEW)).await;
    let error = store(&database, &[]).await.keys(FEATURE).await.unwrap_err();
    assert_eq!(error, missing(&NEW), "of the newest");
    // Nothing is wrong with a feature that has no keys, or a key that is gone.
    let store = store(&database, &[]).await;
    assert_eq!(store.keys(Feature::WorkspaceAppsApiKey).await, Ok(Vec::new()));
    database.sql("UPDATE crypto_keys SET secret = NULL").await;
    assert_eq!(store.keys(FEATURE).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_secret_that_was_changed_is_not_taken() {
    let database = database(&[&OLD]).await;
    let value = OLD.encrypt(&hex(0x11));
    let flipped = format!("{}A{}", &value[..40], &value[41..]);
    for (stored, problem) in [
        (&*flipped, "cannot be decrypted"),
        (&value[..40], "cannot be decrypted"),
        (&value[..8], "too short"),
        ("", "too short"),
        (&hex(0x11)[..127], "not base64"),
        (&*OLD.encrypt("no hex"), "a key is not valid"),
    ] {
        database.sql("DELETE FROM crypto_keys").await;
        add(&database, 1, "", Some(&OLD)).await;
        database.sql(&format!("UPDATE crypto_keys SET secret = '{stored}'")).await;
        let error = store(&database, &[&OLD]).await.keys(FEATURE).await.unwrap_err();
        let Error::InvalidRow { reason } = &error else { panic!("{stored}: {error}") };
        assert!(reason.to_string().contains(problem), "{stored}: {reason}");
        assert!(stored.is_empty() || !reason.to_string().contains(stored), "{reason}");
    }
}

#[tokio::test]
async fn a_new_key_is_encrypted_as_the_control_plane_would() {
    let insert = |_: &[CryptoKey]| {
        let key = CryptoKey::new(FEATURE, 1, Secret::new([0x44; 64]), SystemTime::UNIX_EPOCH);
        vec![Change::Insert(key)]
    };
    for (theirs, ours, expected) in [
        // The preferred of ours that the control plane has.
        (&[&OLD][..], &[&OLD][..], Some(&OLD)),
        (&[&OLD, &NEW], &[&NEW, &OLD], Some(&NEW)),
        (&[&OLD, &NEW], &[&OLD], Some(&OLD)),
        (&[&OLD], &[&NEW, &OLD], Some(&OLD)),
        // A control plane that does not encrypt could not read it.
        (&[], &[&NEW], None),
        (&[], &[], None),
    ] {
        let database = database(theirs).await;
        let store = store(&database, ours).await;
        assert_eq!(store.rotate(FEATURE, insert).await, Ok(1));
        let row = database.sql("SELECT secret, secret_key_id FROM crypto_keys").await;
        let (secret, digest) = row[0].split_once('|').unwrap();
        match expected {
            Some(key) => {
                assert_eq!((key.decrypt(secret), digest), (hex(0x44), key.digest));
            }
            None => assert_eq!((secret, digest), (&*hex(0x44), "")),
        }
        let keys = store.keys(FEATURE).await.unwrap();
        assert_eq!(sequences_and_secrets(&keys), [(1, &[0x44; 64][..])]);
    }
    for (ours, newest) in [(&[][..], &NEW), (&[&Key { bytes: [3; 32], digest: "" }], &NEW)] {
        let database = database(&[&OLD, &NEW]).await;
        let refused = store(&database, ours).await.rotate(FEATURE, insert).await;
        assert_eq!(refused, Err(missing(newest)), "never in the clear");
        assert_eq!(database.sql("SELECT count(*) FROM crypto_keys").await, ["0"]);
    }
}

#[tokio::test]
async fn a_revoked_key_encrypts_nothing() {
    let database = database(&[&OLD, &NEW]).await;
    let revoke = "UPDATE dbcrypt_keys SET active_key_digest = NULL,
                      revoked_key_digest = active_key_digest WHERE number = 0";
    add(&database, 1, &hex(0x11), Some(&OLD)).await;
    assert!(database.try_sql(revoke).await.is_err(), "a row names it");
    let store = store(&database, &[&OLD, &NEW]).await;
    let active = async || {
        let keys = store.active_encryption_keys().await.unwrap();
        keys.into_iter().map(|key| (key.digest, key.is_known)).collect::<Vec<_>>()
    };
    let known = |key: &Key| (key.digest.to_owned(), true);
    assert_eq!(active().await, [known(&NEW), known(&OLD)]);

    let clear = |_: &[CryptoKey]| vec![Change::Clear { feature: FEATURE, sequence: 1 }];
    store.rotate(FEATURE, clear).await.unwrap();
    database.sql(revoke).await;
    assert_eq!(active().await, [known(&NEW)]);
    let plan =
        |rows: &[CryptoKey]| rotate(FEATURE, rows, after_forty_days(), |secret| secret.fill(5));
    assert_eq!(store.rotate(FEATURE, plan).await, Ok(1));
    let row =
        database.sql("SELECT sequence, secret_key_id FROM crypto_keys WHERE sequence = 2").await;
    assert_eq!(row, [format!("2|{}", NEW.digest)]);
    assert_eq!(store.keys(FEATURE).await.unwrap().len(), 1);
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_rotated_like_others() {
    let database = database(&[&OLD]).await;
    add(&database, 1, &hex(0x11), Some(&OLD)).await;
    let store = store(&database, &[]).await;
    let begin = SystemTime::UNIX_EPOCH;
    let plan = |days: u64| {
        move |rows: &[CryptoKey]| {
            assert!(rows[0].secret.as_ref().unwrap().unreadable_reason().is_some());
            rotate(FEATURE, rows, begin + Duration::from_secs(days * 86_400), |_| {})
        }
    };
    assert_eq!(store.rotate(FEATURE, plan(29)).await, Ok(0), "nothing is due");
    assert_eq!(store.rotate(FEATURE, plan(30)).await, Err(missing(&OLD)), "a successor is");
    assert_eq!(database.sql("SELECT deletes_at IS NULL FROM crypto_keys").await, ["t"]);

    // It is never written back as if it had been read.
    let copy = |rows: &[CryptoKey]| {
        let mut copied = rows[0].clone();
        copied.sequence = 2;
        vec![Change::Insert(copied)]
    };
    assert!(matches!(store.rotate(FEATURE, copy).await, Err(Error::InvalidRow { .. })));
    database.sql("UPDATE crypto_keys SET deletes_at = to_timestamp(1)").await;
    let clear = |rows: &[CryptoKey]| {
        let mut changes = plan(1)(rows);
        changes.truncate(1);
        changes
    };
    assert_eq!(store.rotate(FEATURE, clear).await, Ok(1));
    let row = database.sql("SELECT secret IS NULL, secret_key_id IS NULL FROM crypto_keys").await;
    assert_eq!(row, ["t|t"]);
}

/// As `nats_ca` since migration 533 of the control plane
#[tokio::test]
async fn kinds_of_keys_that_are_not_known_are_left_alone() {
    let database = database(&[&OLD]).await;
    database.sql("ALTER TYPE crypto_key_feature ADD VALUE 'nats_ca'").await;
    database
        .sql(
            "INSERT INTO crypto_keys (feature, sequence, secret, starts_at)
             VALUES ('nats_ca', 1, '-----BEGIN CERTIFICATE-----', now())",
        )
        .await;
    add(&database, 1, &hex(0x11), Some(&OLD)).await;
    let store = store(&database, &[&OLD]).await;
    // Rows of other kinds are not locked either.
    let busy = database.hold("SELECT FROM crypto_keys WHERE feature = 'nats_ca' FOR UPDATE").await;
    let plan =
        |rows: &[CryptoKey]| rotate(FEATURE, rows, after_forty_days(), |secret| secret.fill(6));
    assert_eq!(store.rotate(FEATURE, plan).await, Ok(2));
    busy.commit().await;
    assert_eq!(store.keys(FEATURE).await.unwrap().len(), 2);
    let row = database.sql("SELECT secret FROM crypto_keys WHERE feature = 'nats_ca'").await;
    assert_eq!(row, ["-----BEGIN CERTIFICATE-----"]);
}

/// Somebody with a session that began at a provider
fn linked() -> (Fleet, SessionToken) {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let session = fleet.session(alice);
    fleet.api_keys[0].login_type = LoginType::Oidc;
    fleet.user_links.push(UserLink {
        user_id: alice,
        login_type: LoginType::Oidc,
        oauth_refresh_token: Default::default(),
        oauth_expiry: fleet.users[0].created_at,
    });
    (fleet, session)
}

#[tokio::test]
async fn a_refresh_token_is_empty_or_not_whether_it_can_be_read_or_not() {
    let database = database(&[&OLD]).await;
    let (fleet, session) = linked();
    let stores = [store(&database, &[]).await, store(&database, &[&OLD]).await];
    stores[0].load(&fleet).await.unwrap();
    let tokens = [session];
    let long = "é".repeat(500);
    for token in ["", "a", "ab", "abc", "abcd", "=", &"x".repeat(38), &"x".repeat(40), &long] {
        for (value, digest) in [
            (OLD.encrypt(token), format!("'{}'", OLD.digest)),
            (token.to_owned(), "NULL".to_owned()),
        ] {
            database
                .sql(&format!(
                    "UPDATE user_links SET oauth_refresh_token = '{value}',
                         oauth_refresh_token_key_id = {digest}"
                ))
                .await;
            for store in &stores {
                let holders = store.holders(&tokens).await.unwrap();
                let link = holders[0].link.unwrap();
                assert_eq!(link.can_refresh, !token.is_empty(), "`{token}` as {value}, {digest}");
                assert!(link.expires_at.is_some());
            }
        }
    }
}

#[tokio::test]
async fn every_release_keeps_its_keys_in_one_way() {
    for release in Release::FIRST_WITH_APPS.and_later() {
        let database = with_keys(Database::of_release(*release).await, &[&OLD]).await;
        let (fleet, session) = linked();
        database.load(Rows::of(&fleet)).await.unwrap();
        let (token, digest) = (OLD.encrypt(""), OLD.digest);
        database
            .sql(&format!(
                "UPDATE user_links SET oauth_refresh_token = '{token}',
                     oauth_refresh_token_key_id = '{digest}'"
            ))
            .await;
        add(&database, 1, &hex(0x11), Some(&OLD)).await;

        let store = store(&database, &[&OLD]).await;
        let holders = store.holders(&[session]).await.unwrap();
        assert!(!holders[0].link.unwrap().can_refresh, "{release:?}");
        let plan = |rows: &[CryptoKey]| {
            rotate(FEATURE, rows, after_forty_days(), |secret| secret.fill(0x22))
        };
        assert_eq!(store.rotate(FEATURE, plan).await, Ok(2), "{release:?}");
        let keys = store.keys(FEATURE).await.unwrap();
        let expected = [(2, &[0x22; 64][..]), (1, &[0x11; 64])];
        assert_eq!(sequences_and_secrets(&keys), expected, "{release:?}");
        let written = "SELECT count(*) FROM crypto_keys WHERE secret_key_id = '39d228e'";
        assert_eq!(database.sql(written).await, ["2"], "{release:?}");
    }
}
