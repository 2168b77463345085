use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use app_authz::UserId;
use app_authz::credential::{
    KeyHolder, KeyUpdate, LoginType, NewKey, OtherSessions, SessionToken, Sessions, Terms,
    authenticate,
};
use app_authz::rbac::{AllowList, ScopeName};
use store::fleet::{Fleet, KeyScope};
use store::{Error, MemoryStore};
use testkit::{Database, Release, Rows};
use uuid::Uuid;

use crate::{session, sessions};

contract! {
    since V2_24;

    fn of_updates_from_one_reading_the_first_counts(store, _fleet: two_users) {
        let read = one(&store, 0).await;
        for minutes in [60, 61, 62] {
            let used = read.key.last_used + Duration::from_secs(60 * minutes);
            let update = KeyUpdate { last_used: Some(used), expires_at: None };
            store.update(&read.key, update, None).await.unwrap();
        }
        let first = read.key.last_used + Duration::from_secs(60 * 60);
        assert_eq!(one(&store, 0).await.key.last_used, first);
    }

    fn logging_out_ends_the_session_and_those_for_apps(store, fleet: two_users) {
        let key = one(&store, 0).await.key;
        store.log_out(&key, OtherSessions::EndOfApps).await.unwrap();
        assert_eq!(left(&store, &fleet).await, ["0000000001", "alicesecnd", "bobforapps"]);
    }

    fn a_session_can_end_alone(store, fleet: two_users) {
        let key = one(&store, 0).await.key;
        store.log_out(&key, OtherSessions::Keep).await.unwrap();
        assert_eq!(
            left(&store, &fleet).await,
            ["0000000001", "alicesecnd", "aliceapps1", "aliceapps2", "bobforapps"]
        );
    }

    fn a_new_key_is_good_at_once(store, fleet: two_users) {
        let token = SessionToken::generate(|bytes| bytes.fill(8));
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_750_000_000_123_456);
        let user = UserId(fleet.users[0].id);
        let key = NewKey::new(&token, user, now, now + Duration::from_secs(60))
            .with_login_type(LoginType::Token)
            .with_scope(ScopeName::ApplicationConnect)
            .with_lifetime(Duration::from_secs(3_600))
            .with_ip("2001:db8::1".parse::<IpAddr>().unwrap())
            .with_name("laptop");
        store.insert(&key).await.unwrap();
        let holders = store.holders(std::slice::from_ref(&token)).await.unwrap();
        let stored = &holders[0].key;
        assert_eq!((stored.last_used, stored.expires_at), (now, key.expires_at));
        assert_eq!((stored.lifetime, stored.login_type), (key.lifetime, LoginType::Token));
        assert_eq!(stored.scopes, [ScopeName::ApplicationConnect]);
        assert_eq!(stored.allow_list, AllowList::everything());
        assert!(authenticate(&token, holders.first(), Terms::default(), now).is_ok());

        let other = SessionToken::generate(|bytes| bytes.fill(12));
        let nothing = AllowList::default();
        let but = |change: fn(&mut NewKey<'_>)| {
            let mut key = key.clone();
            (key.token, key.name) = (&other, "x");
            change(&mut key);
            key
        };
        let of = |user| {
            let mut key = but(|_| {});
            key.user = UserId(user);
            key
        };
        for (refused, why) in [
            (key.clone().with_name("other"), "the id is taken"),
            (but(|key| key.name = "laptop"), "the name is taken"),
            (of(Uuid::new_v4()), "the user is unknown"),
            (of(fleet.users[2].id), "the user is deleted"),
            (but(|key| key.scope = ScopeName::NoUserData), "it is a scope of agents alone"),
            (but(|_| {}).with_allow_list(&nothing), "it is good for no object"),
        ] {
            assert!(store.insert(&refused).await.is_err(), "{why}");
        }
        assert!(store.holders(std::slice::from_ref(&other)).await.unwrap().is_empty());
        let fine = but(|key| key.name = "laptop").with_login_type(LoginType::Password);
        store.insert(&fine).await.unwrap();
    }
}

/// A key is stored with the objects that it is limited to, or not at all
#[tokio::test]
async fn a_new_key_keeps_its_limits_where_there_are_any() {
    let fleet = two_users();
    let memory = MemoryStore::default();
    memory.load(&fleet);
    add_limited_key(&memory, &fleet).await.unwrap();

    let own = Database::new().await.store().await;
    own.load(&fleet).await.unwrap();
    add_limited_key(&own, &fleet).await.unwrap();

    for release in Release::FIRST_WITH_APPS.and_later() {
        let database = Database::lent(*release, Rows::of(&fleet)).await.unwrap();
        let added = add_limited_key(&database.store().await, &fleet).await;
        assert_eq!(added.is_ok(), *release >= Release::V2_27, "{release}: {added:?}");
    }
}

/// Adds a key of Alice's that is limited to two objects, and reads it
async fn add_limited_key(store: &impl Sessions<Error = Error>, fleet: &Fleet) -> Result<(), Error> {
    let token = SessionToken::generate(|bytes| bytes.fill(9));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000);
    let entries = [format!("workspace:{}", Uuid::from_u128(7)), "api_key:*".to_owned()];
    let allow_list = AllowList::parse(entries).unwrap();
    let key = NewKey::new(&token, UserId(fleet.users[0].id), now, now)
        .with_scope(ScopeName::ApplicationConnect)
        .with_allow_list(&allow_list)
        .with_lifetime(Duration::ZERO);
    let added = store.insert(&key).await;
    let stored = store.holders(&[token]).await.unwrap();
    assert_eq!(stored.len(), usize::from(added.is_ok()));
    assert!(stored.iter().all(|holder| holder.key.allow_list == allow_list));
    added
}

/// Which of the fleet's sessions are still good
async fn left<'a>(store: &impl Sessions<Error = Error>, fleet: &'a Fleet) -> Vec<&'a str> {
    let mut left = Vec::new();
    for row in &fleet.api_keys {
        if !store.holders(&[token(&row.id)]).await.unwrap().is_empty() {
            left.push(&*row.id);
        }
    }
    left
}

async fn one(store: &impl Sessions<Error = Error>, user: usize) -> KeyHolder {
    store.holders(&[session(user)]).await.unwrap().remove(0)
}

/// A token of that id
fn token(id: &str) -> SessionToken {
    format!("{id}-{:022}", 0).parse().unwrap()
}

/// Alice and Bob with sessions, further ones and such for apps, and a deleted user
fn two_users() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let bob = fleet.user("bob", acme);
    sessions(&mut fleet);
    for (user, id, scope) in [
        (alice, "alicesecnd", KeyScope::all()),
        (alice, "aliceapps1", KeyScope::application_connect()),
        (alice, "aliceapps2", KeyScope::application_connect()),
        (bob, "bobforapps", KeyScope::application_connect()),
    ] {
        fleet.session(user);
        let row = fleet.api_keys.last_mut().unwrap();
        row.id = id.to_owned();
        row.scopes = vec![scope];
    }
    fleet.user("ghost", acme);
    fleet.users[2].deleted = true;
    fleet
}
