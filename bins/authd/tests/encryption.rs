//! `authd serve` and `authd keys` beside a control plane that encrypts its keys

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Stdio;
use std::time::Duration;

use openssl::base64::{decode_block, encode_block};
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use testkit::Database;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// The bytes of a key, and its digest in `dbcrypt_keys`:
/// `printf aes256gcm | cat - KEY | sha256sum | head -c 7`
const KEY: ([u8; 32], &str) = ([1; 32], "39d228e");
const OTHER: ([u8; 32], &str) = ([2; 32], "8da534f");

const SETTING: &str = "AUTHD_EXTERNAL_TOKEN_ENCRYPTION_KEYS";

fn encrypt(text: &str) -> String {
    let (nonce, mut tag) = ([9; 12], [0; 16]);
    let cipher = Cipher::aes_256_gcm();
    let sealed = encrypt_aead(cipher, &KEY.0, Some(&nonce), &[], text.as_bytes(), &mut tag);
    encode_block(&[&nonce[..], &sealed.unwrap(), &tag].concat())
}

fn decrypt(value: &str) -> String {
    let bytes = decode_block(value).unwrap();
    let (nonce, rest) = bytes.split_at(12);
    let (sealed, tag) = rest.split_at(rest.len() - 16);
    let text = decrypt_aead(Cipher::aes_256_gcm(), &KEY.0, Some(nonce), &[], sealed, tag);
    String::from_utf8(text.unwrap()).unwrap()
}

/// A control plane that encrypts with the one key, and has made its keys today
async fn encrypted() -> Database {
    let database = Database::new().await;
    let (digest, test) = (KEY.1, encrypt("coder"));
    database
        .sql(&format!(
            "INSERT INTO dbcrypt_keys (number, active_key_digest, test)
             VALUES (1, '{digest}', '{test}')"
        ))
        .await;
    for (feature, len) in [("workspace_apps_token", 64), ("workspace_apps_api_key", 32)] {
        let secret = encrypt(&"5c".repeat(len));
        database
            .sql(&format!(
                "INSERT INTO crypto_keys (feature, sequence, secret, secret_key_id, starts_at)
                 VALUES ('{feature}', 1, '{secret}', '{digest}', now())"
            ))
            .await;
    }
    database
}

fn authd(database: &Database, args: &[&str], keys: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.args(args).args(["--database-url", database.url()]);
    command.env_remove(SETTING).kill_on_drop(true);
    if let Some(keys) = keys {
        command.env(SETTING, keys);
    }
    command
}

/// Status, output and errors of a command that ends
async fn run(mut command: Command) -> (Option<i32>, String, String) {
    let output = timeout(Duration::from_secs(60), command.output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const SERVE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--access-url", "http://a.example"];

#[tokio::test]
async fn the_start_names_the_key_that_is_missing() {
    let database = encrypted().await;
    let other = encode_block(&OTHER.0);
    for keys in [None, Some(&*other), Some("")] {
        let (status, _, told) = run(authd(&database, &SERVE, keys)).await;
        assert_eq!(status, Some(1), "{told}");
        let sentence = "the control plane encrypts its keys (`crypto_keys`); the key with digest \
                        `39d228e` is not among --external-token-encryption-keys";
        assert!(told.contains(sentence), "{told}");
        assert!(!told.contains(&other) && !told.contains("migrate"), "{told}");
    }
    let (status, _, told) = run(authd(&database, &SERVE, Some("aHVudGVyMg=="))).await;
    assert_eq!(status, Some(2));
    assert!(told.contains("encryption key 1 of 1 has 7 bytes instead of 32"), "{told}");
    assert!(!told.contains("aHVudGVyMg"), "{told}");
}

/// The first line of the log that contains one of the texts, with those before it
async fn log_until(mut command: Command, texts: &[&str]) -> String {
    command.stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut log = String::new();
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            log.extend([line.as_str(), "\n"]);
            if texts.iter().any(|text| line.contains(text)) {
                return;
            }
        }
        panic!("it ended");
    };
    timeout(Duration::from_secs(60), read).await.unwrap();
    log
}

#[tokio::test]
async fn it_starts_with_the_key_and_says_what_it_could_not_write() {
    let database = encrypted().await;
    let (key, other) = (encode_block(&KEY.0), encode_block(&OTHER.0));
    for keys in [key.clone(), format!("{other}, {key}")] {
        let log = log_until(authd(&database, &SERVE, Some(&keys)), &["listening"]).await;
        assert!(!log.contains("encrypt"), "{log}");
        assert!(!log.contains(&key) && !log.contains(&other), "{log}");
    }
    // Keys in the clear, as from before, are read; no other could be made.
    database.sql("UPDATE crypto_keys SET secret = repeat('5c', 64), secret_key_id = NULL").await;
    database
        .sql(
            "UPDATE crypto_keys SET secret = repeat('5c', 32)
             WHERE feature = 'workspace_apps_api_key'",
        )
        .await;
    let log = log_until(authd(&database, &SERVE, None), &["listening"]).await;
    assert!(log.contains("the control plane encrypts with a key that is not among"), "{log}");
    assert!(log.contains("39d228e"), "{log}");

    database.sql("DELETE FROM dbcrypt_keys").await;
    let log = log_until(authd(&database, &SERVE, Some(&key)), &["listening"]).await;
    assert!(log.contains("but the control plane does not encrypt"), "{log}");
}

/// An operator lists keys to find out what is wrong
#[tokio::test]
async fn keys_that_cannot_be_read_are_listed_with_the_digest() {
    let database = encrypted().await;
    let (status, listed, told) = run(authd(&database, &["keys", "list"], None)).await;
    assert_eq!(status, Some(0), "{told}");
    for (line, feature) in
        listed.lines().skip(1).zip(["workspace_apps_token", "workspace_apps_api_key"])
    {
        assert!(line.starts_with(feature) && line.contains(" unreadable "), "{listed}");
        assert!(line.contains("the key with digest `39d228e` is not among"), "{listed}");
    }
    let key = encode_block(&KEY.0);
    let (_, listed, _) = run(authd(&database, &["keys", "list"], Some(&key))).await;
    assert_eq!(listed.matches(" signing ").count(), 2, "{listed}");
    assert!(!listed.contains("5c5c") && !listed.contains("39d228e"), "{listed}");
}

#[tokio::test]
async fn keys_are_replaced_encrypted_or_not_at_all() {
    let database = encrypted().await;
    let (status, _, told) = run(authd(&database, &["keys", "rotate"], None)).await;
    assert_eq!(status, Some(0), "nothing is due: {told}");
    let force = ["keys", "rotate", "--force"];
    let (status, _, told) = run(authd(&database, &force, None)).await;
    assert_eq!(status, Some(1));
    assert!(told.contains("the key with digest `39d228e` is not among"), "{told}");
    assert_eq!(database.sql("SELECT count(*) FROM crypto_keys").await, ["2"]);

    let key = encode_block(&KEY.0);
    let (status, _, told) = run(authd(&database, &force, Some(&key))).await;
    assert_eq!(status, Some(0), "{told}");
    let rows = "SELECT secret_key_id, secret FROM crypto_keys WHERE sequence = 2";
    let rows = database.sql(rows).await;
    assert_eq!(rows.len(), 2);
    for row in rows {
        let (digest, secret) = row.split_once('|').unwrap();
        let hex = decrypt(secret);
        assert_eq!(digest, KEY.1);
        assert!(hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && hex.len() >= 64);
    }
}

#[tokio::test]
async fn help_shows_no_keys() {
    let key = encode_block(&KEY.0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.args(["serve", "--help"]).env(SETTING, &key);
    let (status, help, _) = run(command).await;
    assert_eq!(status, Some(0));
    assert!(help.contains(SETTING) && !help.contains(&key), "{help}");
}
