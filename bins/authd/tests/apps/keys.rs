//! Keys for proxies that verify app tokens themselves

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_authz::token::{CryptoKey, EddsaPublicKey, Feature, Hs512Key, KeyRing, LEEWAY, Secret};
use authd_http::{AppsConfig, Limits, MaintenanceSettings, Service, Signing};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use identity_fetch::Identity;
use openssl::base64::encode_block;
use openssl::symm::{Cipher, encrypt_aead};
use serde_json::Value;
use store::{EncryptionKeys, Options, PgStore};
use testkit::Database;

use crate::world::{DASHBOARD, Plan, World, by_path, header, text};

const KEYS: &str = "/api/v2/workspaceproxies/me/crypto-keys";
const JWKS: &str = "/api/v2/workspaceproxies/jwks.json";

async fn keys(world: &World, feature: &str) -> testkit::net::Answer {
    let proxy = world.proxy.reveal();
    let path = format!("{KEYS}?feature={feature}");
    world.send("GET", &path, &[("coder-external-proxy-token", &*proxy)], "").await
}

async fn token(world: &World) -> String {
    let visit = by_path("alice", "dev", "agent", "owner", world.token("alice"));
    let answer = world.issue(visit).await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["signed_token_str"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_proxy_verifies_with_the_keys_it_fetches() {
    let plan = Plan::new();
    let now = plan.now;
    let world = plan.serve().await;
    let answer = keys(&world, "workspace_apps_token").await;
    assert_eq!(answer.status, StatusCode::OK);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let [key] = &body["crypto_keys"].as_array().unwrap()[..] else { panic!("{body}") };
    assert_eq!(key["feature"], "workspace_apps_token");
    assert_eq!(key["deletes_at"], Value::Null);
    let secret = key["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 128);
    let row = CryptoKey::new(
        Feature::WorkspaceAppsToken,
        i32::try_from(key["sequence"].as_i64().unwrap()).unwrap(),
        Secret::from_hex(secret).unwrap(),
        now,
    );
    let ring = KeyRing::<Hs512Key>::new(&[row]).unwrap();
    ring.verify(&token(&world).await, now, LEEWAY).unwrap();

    let seals = keys(&world, "workspace_apps_api_key").await;
    assert_eq!(seals.status, StatusCode::OK);
    for other in ["oidc_convert", "tailnet_resume", "", "workspace_apps"] {
        assert_eq!(keys(&world, other).await.status, StatusCode::BAD_REQUEST, "{other}");
    }
    assert_eq!(world.send("GET", JWKS, &[], "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn under_eddsa_only_public_keys_are_served() {
    let mut plan = Plan::new();
    plan.config.signing = Signing::Eddsa;
    let now = plan.now;
    let world = plan.serve().await;
    let answer = world.send("GET", JWKS, &[], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(header(&answer, "content-type"), "application/jwk-set+json");
    let ring = KeyRing::<EddsaPublicKey>::from_jwks(&text(&answer)).unwrap();
    ring.verify(&token(&world).await, now, LEEWAY).unwrap();
    let refused = keys(&world, "workspace_apps_token").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(text(&refused).contains("jwks.json"));
    assert_eq!(keys(&world, "workspace_apps_api_key").await.status, StatusCode::OK);
}

/// The bytes of a key of the control plane, and the digest that it has there:
/// `printf aes256gcm | cat - KEY | sha256sum | head -c 7`
type EncryptionKey = ([u8; 32], &'static str);

const AT_HAND: EncryptionKey = ([1; 32], "39d228e");
const ELSEWHERE: EncryptionKey = ([2; 32], "8da534f");

/// Feature, sequence, the byte that its secret repeats, and what encrypts it
type Row = (Feature, i32, u8, Option<EncryptionKey>);

/// As the control plane stores a secret under external token encryption
fn encrypt((key, _): EncryptionKey, text: &str) -> String {
    let (nonce, mut tag) = ([9; 12], [0; 16]);
    let cipher = Cipher::aes_256_gcm();
    let sealed = encrypt_aead(cipher, &key, Some(&nonce), &[], text.as_bytes(), &mut tag);
    encode_block(&[&nonce[..], &sealed.unwrap(), &tag].concat())
}

/// A database of a control plane that encrypts, with keys that it made an hour before `now`
async fn encrypted(now: SystemTime, rows: &[Row]) -> Database {
    let database = Database::new().await;
    for (n, key) in [ELSEWHERE, AT_HAND].into_iter().enumerate() {
        let (digest, test) = (key.1, encrypt(key, "coder"));
        database
            .sql(&format!(
                "INSERT INTO dbcrypt_keys (number, active_key_digest, test)
                 VALUES ({n}, '{digest}', '{test}')"
            ))
            .await;
    }
    let start = now.duration_since(SystemTime::UNIX_EPOCH).unwrap() - Duration::from_secs(3600);
    for (feature, sequence, byte, key) in rows {
        let hex = format!("{byte:02x}").repeat(feature.secret_len());
        let (secret, digest) = match *key {
            Some(key) => (encrypt(key, &hex), format!("'{}'", key.1)),
            None => (hex, "NULL".to_owned()),
        };
        let (feature, start) = (feature.as_str(), start.as_secs());
        database
            .sql(&format!(
                "INSERT INTO crypto_keys (feature, sequence, secret, secret_key_id, starts_at)
                 VALUES ('{feature}', {sequence}, '{secret}', {digest}, to_timestamp({start}))"
            ))
            .await;
    }
    database
}

fn plan() -> Plan {
    let keys = EncryptionKeys::from_base64(&[encode_block(&AT_HAND.0)]).unwrap();
    Plan { options: Options::default().encryption_keys(keys), ..Plan::new() }
}

/// The app tokens' key of that byte, as the control plane has it
fn ring(now: SystemTime, sequence: i32, byte: u8) -> KeyRing<Hs512Key> {
    let key = CryptoKey::new(
        Feature::WorkspaceAppsToken,
        sequence,
        Secret::new([byte; 64]),
        now - Duration::from_secs(3600),
    );
    KeyRing::new(&[key]).unwrap()
}

#[tokio::test]
async fn an_encrypted_control_planes_keys_sign_and_verify() {
    let plan = plan();
    let now = plan.now;
    let rows = [
        (Feature::WorkspaceAppsToken, 7, 0x11, Some(AT_HAND)),
        (Feature::WorkspaceAppsApiKey, 3, 0x22, Some(AT_HAND)),
    ];
    let database = encrypted(now, &rows).await;
    let world = plan.serve_from(database).await;
    let stored = world.database.sql("SELECT count(*) FROM crypto_keys").await;
    assert_eq!(stored, ["2"], "no successor was due");

    let token = token(&world).await;
    ring(now, 7, 0x11).verify(&token, now, LEEWAY).unwrap();
    assert!(ring(now, 7, 0x12).verify(&token, now, LEEWAY).is_err());
    let host = DASHBOARD.strip_prefix("https://").unwrap();
    let cookie = format!("coder_signed_app_token={token}");
    let headers = [("cookie", &*cookie)];
    let visit = world.visit(host, "/@alice/dev.agent/apps/owner/", &headers);
    let (answer, statements) = world.counted(visit).await;
    assert_eq!((answer.status, statements), (StatusCode::OK, 0), "the token is enough");

    for (feature, sequence, secret) in [
        ("workspace_apps_token", 7, "11".repeat(64)),
        ("workspace_apps_api_key", 3, "22".repeat(32)),
    ] {
        let body: Value = serde_json::from_slice(&keys(&world, feature).await.body).unwrap();
        let [key] = &body["crypto_keys"].as_array().unwrap()[..] else { panic!("{body}") };
        assert_eq!((&key["sequence"], &key["secret"]), (&sequence.into(), &secret.into()));
    }
}

/// A newer key under an unknown encryption key is skipped, here and by proxies
#[tokio::test]
async fn an_unreadable_key_does_not_affect_the_others() {
    let plan = plan();
    let now = plan.now;
    let rows = [
        (Feature::WorkspaceAppsToken, 7, 0x11, Some(AT_HAND)),
        (Feature::WorkspaceAppsToken, 8, 0x33, Some(ELSEWHERE)),
        (Feature::WorkspaceAppsApiKey, 3, 0x22, Some(AT_HAND)),
    ];
    let database = encrypted(now, &rows).await;
    let world = plan.serve_from(database).await;
    ring(now, 7, 0x11).verify(&token(&world).await, now, LEEWAY).unwrap();
    let answer = keys(&world, "workspace_apps_token").await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let [key] = &body["crypto_keys"].as_array().unwrap()[..] else { panic!("{body}") };
    assert_eq!(key["sequence"], 7);
}

/// A replica that cannot write keys uses those that others rotate
#[tokio::test]
async fn keys_are_fetched_even_if_they_cannot_be_rotated() {
    let mut plan = Plan::new();
    plan.config.agent_inactive_timeout = Duration::from_secs(3600);
    let now = plan.now;
    let rows = [
        (Feature::WorkspaceAppsToken, 7, 0x11, None),
        (Feature::WorkspaceAppsApiKey, 3, 0x22, None),
    ];
    let database = encrypted(now, &rows).await;
    let world = plan.serve_from(database).await;
    ring(now, 7, 0x11).verify(&token(&world).await, now, LEEWAY).unwrap();

    world
        .database
        .sql(
            "INSERT INTO crypto_keys (feature, sequence, secret, starts_at)
             SELECT feature, 8, repeat('33', 64), starts_at - interval '30 days'
             FROM crypto_keys WHERE sequence = 7;
             UPDATE crypto_keys SET secret = NULL WHERE sequence = 7",
        )
        .await;
    world.move_clock(601);
    let error = world.app.maintain_keys(true).await.unwrap_err().to_string();
    assert!(
        error.contains(&format!("the key with digest `{}` is not among", AT_HAND.1)),
        "{error}"
    );
    let now = now + Duration::from_secs(601);
    ring(now, 8, 0x33).verify(&token(&world).await, now, LEEWAY).unwrap();
}

/// The first creation fails, as it does while a database is being set up
#[tokio::test]
async fn keys_that_cannot_be_made_are_tried_again_within_seconds() {
    let database = Database::new().await;
    let store = Arc::new(PgStore::connect(database.url(), &Options::default()).await.unwrap());
    database.sql("ALTER TABLE crypto_keys RENAME COLUMN secret TO hidden").await;
    let began = std::time::Instant::now();
    let clock: authd_http::Clock = Arc::new(move || SystemTime::UNIX_EPOCH + began.elapsed());
    let config = AppsConfig::new(DASHBOARD.parse().unwrap());
    let service =
        Service::over(&store, Identity::builtin(), Default::default(), Limits::default(), clock)
            .with_apps(store, config);
    let maintenance = service.maintain(MaintenanceSettings::default()).await;
    let (status, body) = ready(&service).await;
    assert!(status == 503 && body.contains("The keys of app access are missing."), "{body}");
    database.sql("ALTER TABLE crypto_keys RENAME COLUMN hidden TO secret").await;
    // Keys are otherwise maintained every ten minutes.
    let is_ready = tokio::time::timeout(Duration::from_secs(60), async {
        while ready(&service).await != (200, "ready\n".to_owned()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(is_ready.await.is_ok());
    maintenance.finish().await;
}

#[tokio::test]
async fn without_keys_the_server_is_not_ready() {
    let database = Database::new().await;
    let store = Arc::new(PgStore::connect(database.url(), &Options::default()).await.unwrap());
    let clock: authd_http::Clock = Arc::new(|| SystemTime::UNIX_EPOCH);
    let config = AppsConfig::new(DASHBOARD.parse().unwrap());
    let service =
        Service::over(&store, Identity::builtin(), Default::default(), Limits::default(), clock)
            .with_apps(store, config);
    let (status, body) = ready(&service).await;
    assert!(status == 503 && body.contains("The keys of app access are missing."), "{body}");
    service.maintain_keys(true).await.unwrap();
    assert_eq!(ready(&service).await, (200, "ready\n".to_owned()));
}

async fn ready(service: &Service) -> (u16, String) {
    let request = hyper::Request::get("/readyz").body(Full::<Bytes>::default()).unwrap();
    let answer = service.answer(request).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
