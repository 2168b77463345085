//! `authd token` and `authd keys`: operators create, list and revoke tokens and keys

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::{Duration, SystemTime};

use app_authz::credential::{NewKey, SessionToken, Sessions, Terms, authenticate};
use app_authz::proxy::Proxies;
use app_authz::proxy::ProxyToken;
use app_authz::rbac::ScopeName;
use app_authz::token::{Feature, Hs512Key, KeyRing, KeyStore};
use common::command::on as authd;
use store::fleet::Fleet;
use testkit::Database;

async fn with_alice() -> Database {
    let database = Database::new().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    fleet.user("Alice", acme);
    fleet.proxy("sydney", "https://sydney.example.com", "");
    database.store().await.load(&fleet).await.unwrap();
    database
}

#[expect(clippy::disallowed_methods, reason = "the command reads the clock too")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[tokio::test]
async fn tables_contain_no_control_characters_and_wrong_arguments_are_reported() {
    let database = with_alice().await;
    let made = authd(&database, &["token", "create", "--user", "alice", "--name", "a\u{1b}[2Jb"]);
    assert_eq!(made.await.0, Some(0));
    let (_, printed, _) = authd(&database, &["token", "list"]).await;
    assert!(printed.contains("a\u{fffd}[2Jb") && !printed.contains('\u{1b}'), "{printed}");

    let (status, _, stderr) = authd(&database, &["token", "create"]).await;
    assert_eq!(status, Some(2));
    assert!(stderr.contains("--user <NAME>|--proxy <NAME>"), "{stderr}");
    let both = ["token", "create", "--user", "alice", "--proxy", "sydney"];
    let (status, _, stderr) = authd(&database, &both).await;
    assert_eq!(status, Some(2));
    assert!(stderr.contains("cannot be used with"), "{stderr}");
}

#[tokio::test]
async fn a_token_is_created_listed_without_its_secret_and_revoked() {
    let database = with_alice().await;
    let store = database.store().await;
    let args = ["token", "create", "--user", "alice", "--scope", "application_connect"];
    let (status, printed, _) = authd(&database, &args).await;
    assert_eq!(status, Some(0));
    let token: SessionToken = printed.trim().parse().unwrap();
    let [holder] = &store.holders(std::slice::from_ref(&token)).await.unwrap()[..] else {
        panic!()
    };
    assert!(authenticate(&token, Some(holder), Terms::default(), now()).is_ok());
    assert_eq!(holder.key.scopes, [ScopeName::ApplicationConnect]);

    for args in [&["token", "list"][..], &["token", "list", "--user", "ALICE"]] {
        let (status, printed, _) = authd(&database, args).await;
        assert_eq!((status, printed.lines().count()), (Some(0), 2), "{printed}");
        assert!(printed.contains(token.id()) && printed.contains("Alice"), "{printed}");
        assert!(!printed.contains(&token.reveal()[11..]), "{printed}");
    }
    assert_eq!(authd(&database, &["token", "revoke", token.reveal()]).await.0, Some(0));
    assert!(store.holders(std::slice::from_ref(&token)).await.unwrap().is_empty());
    let (status, _, stderr) = authd(&database, &["token", "revoke", token.id()]).await;
    assert_eq!(status, Some(2));
    assert!(stderr.contains(&format!("the token `{}` does not exist", token.id())), "{stderr}");
}

#[tokio::test]
async fn revoking_a_session_says_what_ends_with_it() {
    let database = with_alice().await;
    let store = database.store().await;
    let alice = store.user_named("alice").await.unwrap().unwrap();
    let (status, printed, _) = authd(&database, &["token", "create", "--user", "alice"]).await;
    assert_eq!(status, Some(0));
    let session: SessionToken = printed.trim().parse().unwrap();
    let mut made = Vec::new();
    for number in 1..=2 {
        let token = SessionToken::generate(|bytes| bytes.fill(number * 4));
        let key = NewKey::new(&token, alice, now(), now() + Duration::from_secs(60))
            .with_scope(ScopeName::ApplicationConnect)
            .with_lifetime(Duration::from_secs(60))
            .with_parent(session.id());
        store.insert(&key).await.unwrap();
        made.push(token);
    }
    let (_, listed, _) = authd(&database, &["token", "list"]).await;
    for token in &made {
        let line = listed.lines().find(|line| line.starts_with(token.id())).unwrap();
        assert!(line.contains(&format!(" {} ", session.id())), "{listed}");
    }
    let first = listed.lines().find(|line| line.starts_with(session.id())).unwrap();
    assert!(first.contains(" -  "), "{listed}");

    let (status, printed, _) = authd(&database, &["token", "revoke", session.id()]).await;
    assert_eq!(status, Some(0));
    let ended = format!("ended: session {}, and 2 for apps that were made from it", session.id());
    assert!(printed.starts_with(&ended), "{printed}");
    assert!(printed.contains("expires at 2"), "{printed}");
    let (_, listed, _) = authd(&database, &["token", "list"]).await;
    assert_eq!(listed.lines().count(), 1, "{listed}");
}

#[tokio::test]
async fn a_proxy_authenticates_with_its_newest_token_only() {
    let database = with_alice().await;
    let store = database.store().await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let (status, printed, _) =
            authd(&database, &["token", "create", "--proxy", "Sydney"]).await;
        assert_eq!(status, Some(0));
        tokens.push(printed.trim().parse::<ProxyToken>().unwrap());
    }
    let [proxy] = &store.proxies().await.unwrap()[..] else { panic!() };
    assert!(!proxy.bears(&tokens[0]) && proxy.bears(&tokens[1]));
}

#[tokio::test]
async fn an_unknown_user_or_proxy_gets_no_token() {
    let database = with_alice().await;
    for (args, why) in [
        (&["--user", "bob"][..], "the user `bob` does not exist"),
        (&["--proxy", "perth"], "the proxy `perth` does not exist"),
        (&[], "--user <NAME>"),
        (&["--user", "alice", "--lifetime-hours", "0"], "0 is not in 1..=876600"),
    ] {
        let args = [&["token", "create"], args].concat();
        let (status, printed, stderr) = authd(&database, &args).await;
        assert_eq!((status, printed.as_str()), (Some(2), ""));
        assert!(stderr.contains(why), "{stderr}");
    }
    assert_eq!(database.sql("SELECT count(*) FROM api_keys").await, ["0"]);
}

#[tokio::test]
async fn keys_are_created_listed_and_replaced() {
    let database = with_alice().await;
    let store = database.store().await;
    let (status, printed, _) = authd(&database, &["keys", "rotate"]).await;
    assert_eq!(status, Some(0));
    assert!(printed.contains("workspace_apps_token: key 1 signs from "), "{printed}");
    assert!(printed.contains("workspace_apps_api_key: key 1 signs from "), "{printed}");
    let (_, printed, _) = authd(&database, &["keys", "rotate"]).await;
    assert_eq!(printed.matches("nothing is due").count(), 2, "{printed}");

    let signing = async || {
        let rows = store.keys(Feature::WorkspaceAppsToken).await.unwrap();
        KeyRing::<Hs512Key>::new(&rows).unwrap().signing(now()).map(|(sequence, _)| sequence)
    };
    assert_eq!(signing().await, Ok(1));
    authd(&database, &["keys", "rotate", "--force"]).await;
    assert_eq!(signing().await, Ok(1), "until the successor is known");
    authd(&database, &["keys", "rotate", "--compromised"]).await;
    assert_eq!(signing().await, Ok(3));

    let (_, listed, _) = authd(&database, &["keys", "list"]).await;
    let states: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(states[1], ["workspace_apps_token", "3", "signing"]);
    assert_eq!(states[2], ["workspace_apps_token", "2", "cleared"]);
    let secrets = database.sql("SELECT secret FROM crypto_keys WHERE secret IS NOT NULL").await;
    assert_eq!(secrets.len(), 2);
    assert!(secrets.iter().all(|secret| !listed.contains(secret.as_str())));
}
