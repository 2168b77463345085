//! Users and sessions of an OpenID provider, in memory and on tables of our own
//!
//! A control plane signs its users in itself, so its tables are not tried.

use std::time::{Duration, SystemTime};

use app_authz::UserId;
use app_authz::credential::{KeyHolder, NewKey, SessionToken, Terms, authenticate};
use app_authz::rbac::ScopeName;
use store::fleet::{Fleet, LoginType, UserStatus};
use store::import::Session as _;
use store::provider::{ProviderSessions, ProviderSignIn, ProviderSignOut, SignInRefusal, SignedIn};
use store::{MemoryStore, Store};
use testkit::Database;
use uuid::Uuid;

const ISSUER: &str = "https://id.example";

/// Runs a check over both stores
macro_rules! stores {
    ($(fn $name:ident($store:ident, $fleet:ident: $make:expr) $body:block)*) => {
        $(mod $name {
            use super::*;

            async fn check<S: Store>($store: S, $fleet: Fleet) $body

            #[tokio::test]
            async fn in_memory() {
                let make: fn() -> Fleet = $make;
                let fleet = make();
                let store = MemoryStore::default();
                store.load(&fleet);
                check(store, fleet).await;
            }

            #[tokio::test]
            async fn in_postgres() {
                let make: fn() -> Fleet = $make;
                let fleet = make();
                let store = Database::new().await.store().await;
                store.load(&fleet).await.unwrap();
                check(store, fleet).await;
            }
        })*
    };
}

stores! {
    fn a_first_sign_in_creates_a_user_and_a_later_one_finds_it(store, fleet: team) {
        let first = session(1);
        let asked = ProviderSignIn { allows_new: true, ..sign_in("u-1", "dora", &first) };
        let new = store.provider_sign_in(&asked).await.unwrap().unwrap();
        let SignedIn { user, is_new, .. } = new;
        assert!(is_new && user.0 == asked.new_user);
        let holder = holder(&store, &first).await.unwrap();
        assert_eq!((holder.key.user, &*holder.username), (user, "dora"));
        assert!(authenticate(&first, Some(&holder), Terms::default(), now()).is_ok());
        assert!(
            holder.roles.iter().any(|(role, _)| role.to_string().contains(&home(&fleet))),
            "a member of the default organization: {:?}", holder.roles
        );

        // By another name and address, without permission to create a user.
        let second = session(2);
        let later = ProviderSignIn {
            roles: Some(vec!["auditor".to_owned()]),
            ..sign_in("u-1", "else", &second)
        };
        let found = store.provider_sign_in(&later).await.unwrap().unwrap();
        assert_eq!((found.user, found.is_new), (user, false));
        let holder = self::holder(&store, &second).await.unwrap();
        assert_eq!(&*holder.username, "dora");
        assert!(holder.roles.iter().any(|(role, _)| role.to_string() == "auditor"));
        // Roles that are not given stay.
        let third = session(3);
        store.provider_sign_in(&sign_in("u-1", "dora", &third)).await.unwrap().unwrap();
        let holder = self::holder(&store, &third).await.unwrap();
        assert!(holder.roles.iter().any(|(role, _)| role.to_string() == "auditor"));
        // The same subject elsewhere is another user.
        let token = session(4);
        let elsewhere = ProviderSignIn {
            issuer: "https://other.example", ..sign_in("u-1", "zoe", &token)
        };
        let refused = store.provider_sign_in(&elsewhere).await.unwrap();
        assert_eq!(refused, Err(SignInRefusal::Unknown));
        assert!(self::holder(&store, &token).await.is_none());
    }

    fn a_name_that_is_taken_gets_a_suffix(store, _fleet: team) {
        let token = session(1);
        let asked = ProviderSignIn {
            allows_new: true, email: "new@example.com", ..sign_in("u-1", "ALICE", &token)
        };
        store.provider_sign_in(&asked).await.unwrap().unwrap();
        let name = &holder(&store, &token).await.unwrap().username;
        assert_eq!(**name, format!("ALICE-{}", &asked.new_user.to_string()[..8]));
    }

    fn imported_users_are_found_by_address_once_and_only_those_of_a_provider(store, fleet: team) {
        let token = session(1);
        let asked = |name: &'static str, subject| sign_in(subject, name, &token);
        // alice signs in with a password, and bob at a provider.
        for allows_new in [false, true] {
            let asked = ProviderSignIn { allows_new, links_by_email: true, ..asked("alice", "u-1") };
            let refused = store.provider_sign_in(&asked).await.unwrap();
            assert_eq!(refused, Err(SignInRefusal::OtherUser));
        }
        let refused = store.provider_sign_in(&asked("BOB", "u-2")).await.unwrap();
        assert_eq!(refused, Err(SignInRefusal::OtherUser), "the address does not count");
        let linking = ProviderSignIn { links_by_email: true, ..asked("BOB", "u-2") };
        let found = store.provider_sign_in(&linking).await.unwrap().unwrap();
        assert_eq!(found.user, user(&fleet, "bob"));
        // Another subject with the address, or the name.
        let token = session(2);
        let other = ProviderSignIn { links_by_email: true, ..sign_in("u-3", "bob", &token) };
        let refused = store.provider_sign_in(&other).await.unwrap();
        assert_eq!(refused, Err(SignInRefusal::OtherUser));
    }

    fn suspended_users_are_refused_and_dormant_ones_wake(store, fleet: || {
        let mut fleet = team();
        for (name, status) in [("bob", UserStatus::Suspended), ("carol", UserStatus::Dormant)] {
            let user = fleet.users.iter_mut().find(|user| user.username == name).unwrap();
            user.status = status;
        }
        fleet
    }) {
        let (bob, carol) = (session(1), session(2));
        let asked = |subject, name, token| ProviderSignIn {
            links_by_email: true, allows_new: true, ..sign_in(subject, name, token)
        };
        let refused = store.provider_sign_in(&asked("u-1", "bob", &bob)).await.unwrap();
        assert_eq!(refused, Err(SignInRefusal::Suspended(user(&fleet, "bob"))));
        assert!(holder(&store, &bob).await.is_none());
        store.provider_sign_in(&asked("u-2", "carol", &carol)).await.unwrap().unwrap();
        let holder = holder(&store, &carol).await.unwrap();
        assert!(authenticate(&carol, Some(&holder), Terms::default(), now()).is_ok());
    }

    fn groups_are_those_of_the_claim_if_there_is_one(store, fleet: team) {
        let names = async |groups: Option<&[&str]>, n| {
            let token = session(n);
            let asked = ProviderSignIn {
                links_by_email: true,
                groups: groups.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
                ..sign_in("u-1", "bob", &token)
            };
            store.provider_sign_in(&asked).await.unwrap().unwrap();
            let held = holder(&store, &token).await.unwrap().groups;
            let name = |id: Uuid| fleet.groups.iter().find(|group| group.id == id);
            let mut names: Vec<_> =
                held.iter().filter_map(|id| name(id.0)).map(|group| &*group.name).collect();
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(names(None, 1).await, "crew elsewhere");
        assert_eq!(names(Some(&["makers", "unknown", "others"]), 2).await, "elsewhere makers");
        assert_eq!(names(Some(&["makers", "crew"]), 3).await, "crew elsewhere makers");
        assert_eq!(names(Some(&[]), 4).await, "elsewhere");
        assert_eq!(names(None, 5).await, "elsewhere");
    }

    fn a_provider_ends_sessions_and_those_that_were_made_from_them(store, fleet: team) {
        let mut tokens = Vec::new();
        for (n, sid) in [(1, Some("s-1")), (2, Some("s-2")), (3, None)] {
            let token = session(n);
            let asked = ProviderSignIn {
                session: sid, links_by_email: true, ..sign_in("u-1", "bob", &token)
            };
            store.provider_sign_in(&asked).await.unwrap().unwrap();
            tokens.push(token);
        }
        let bob = user(&fleet, "bob");
        let made = session(9);
        let lasting = now() + Duration::from_secs(60);
        let key = NewKey::new(&made, bob, now(), lasting)
            .with_scope(ScopeName::ApplicationConnect)
            .with_parent(tokens[0].id());
        store.insert(&key).await.unwrap();
        let end = async |issuer, subject, session, until| {
            let asked = ProviderSignOut::new(issuer, subject, session, until);
            let ended = store.provider_sign_out(&asked).await.unwrap();
            assert!(ended.iter().all(|(_, user)| *user == bob));
            let mut ids: Vec<_> = ended.into_iter().map(|(id, _)| id).collect();
            ids.sort();
            ids
        };
        let before = now() - Duration::from_secs(1);
        assert!(end("https://other.example", Some("u-1"), None, now()).await.is_empty());
        assert!(end(ISSUER, Some("u-2"), None, now()).await.is_empty());
        assert!(end(ISSUER, None, Some("s-9"), now()).await.is_empty());
        assert!(end(ISSUER, None, None, now()).await.is_empty());
        assert!(end(ISSUER, Some("u-1"), None, before).await.is_empty(), "later sessions");
        assert_eq!(end(ISSUER, None, Some("s-1"), now()).await, [tokens[0].id(), made.id()]);
        assert!(holder(&store, &made).await.is_none());
        // The session of which the provider has not said the name may be the one.
        assert_eq!(end(ISSUER, Some("u-1"), Some("s-9"), now()).await, [tokens[2].id()]);
        assert_eq!(end(ISSUER, Some("u-1"), None, now()).await, [tokens[1].id()]);
    }

    fn an_import_forgets_no_session_of_a_provider(store, _fleet: team) {
        let token = session(1);
        let dora = ProviderSignIn { allows_new: true, ..sign_in("u-1", "dora", &token) };
        let new = store.provider_sign_in(&dora).await.unwrap().unwrap();
        store.begin_import(false).await.unwrap().finish(None).await.unwrap();
        let again = session(2);
        let known = store.provider_sign_in(&sign_in("u-1", "dora", &again)).await.unwrap().unwrap();
        assert_eq!((known.user, known.is_new), (new.user, false));
        let all = ProviderSignOut::new(ISSUER, Some("u-1"), None, now());
        assert_eq!(store.provider_sign_out(&all).await.unwrap().len(), 2);
    }

    fn expired_sessions_of_a_user_are_deleted_at_the_next_sign_in(store, fleet: team) {
        let (old, new) = (session(1), session(2));
        let bob = |token, at| ProviderSignIn { links_by_email: true, at, ..sign_in("u-1", "bob", token) };
        store.provider_sign_in(&bob(&old, now())).await.unwrap().unwrap();
        let later = now() + Duration::from_secs(90_000);
        store.provider_sign_in(&bob(&new, later)).await.unwrap().unwrap();
        assert!(holder(&store, &old).await.is_none() && holder(&store, &new).await.is_some());
        let all = ProviderSignOut::new(ISSUER, Some("u-1"), None, later);
        let ended = store.provider_sign_out(&all).await.unwrap();
        assert_eq!(ended, [(new.id().to_owned(), user(&fleet, "bob"))]);
    }
}

#[tokio::test]
async fn a_sign_in_and_a_sign_out_are_one_statement_each() {
    let database = Database::new().await;
    let (store, statements) = database.counted_store().await;
    store.load(&team()).await.unwrap();
    for n in 1..4 {
        let token = session(n);
        let asked = ProviderSignIn { allows_new: true, ..sign_in("u-1", "dora", &token) };
        let before = statements.get();
        store.provider_sign_in(&asked).await.unwrap().unwrap();
        // With the one that waits for its turn, in a transaction.
        assert_eq!(statements.get() - before, 4);
        let before = statements.get();
        let all = ProviderSignOut::new(ISSUER, Some("u-1"), None, now());
        assert_eq!(store.provider_sign_out(&all).await.unwrap().len(), 1);
        assert_eq!(statements.get() - before, 1);
    }
}

#[tokio::test]
async fn sign_ins_of_one_new_user_at_once_create_one_user() {
    let database = Database::new().await;
    let store = database.store().await;
    store.load(&team()).await.unwrap();
    let tokens: Vec<_> = (1..6).map(session).collect();
    let all = tokens.iter().map(|token| {
        let asked = ProviderSignIn { allows_new: true, ..sign_in("u-1", "dora", token) };
        let store = &store;
        async move { store.provider_sign_in(&asked).await.unwrap().unwrap() }
    });
    let signed = futures_util::future::join_all(all).await;
    assert_eq!(signed.iter().filter(|one| one.is_new).count(), 1);
    assert!(signed.iter().all(|one| one.user == signed[0].user));
}

#[tokio::test]
async fn only_a_link_to_an_openid_provider_names_a_user() {
    let database = Database::new().await;
    let store = database.store().await;
    let fleet = team();
    store.load(&fleet).await.unwrap();
    for name in ["alice", "bob"] {
        let id = user(&fleet, name);
        let insert = "INSERT INTO user_links (user_id, login_type, linked_id)";
        database.sql(&format!("{insert} VALUES ('{id}', 'github', '{ISSUER}||{name}')")).await;
    }
    let token = session(1);
    let refused = store.provider_sign_in(&sign_in("alice", "zoe", &token)).await.unwrap();
    assert_eq!(refused, Err(SignInRefusal::Unknown));
    // His link to GitHub does not keep bob from being found by the address.
    let bob = ProviderSignIn { links_by_email: true, ..sign_in("u-1", "bob", &token) };
    let found = store.provider_sign_in(&bob).await.unwrap().unwrap();
    assert_eq!(found.user, user(&fleet, "bob"));
    let links = "SELECT login_type || ' ' || linked_id FROM user_links WHERE user_id = ";
    let links = database.sql(&format!("{links} '{}' ORDER BY 1", found.user)).await;
    assert_eq!(links, [format!("github {ISSUER}||bob"), format!("oidc {ISSUER}||u-1")]);
}

/// alice with a password, bob and carol of a provider, in two organizations
fn team() -> Fleet {
    let mut fleet = Fleet::default();
    let (home, other) = (fleet.organization("default"), fleet.organization("other"));
    let [_, bob, carol] = ["alice", "bob", "carol"].map(|name| fleet.user(name, home));
    for user in fleet.users.iter_mut().filter(|user| user.id == bob || user.id == carol) {
        user.login_type = LoginType::Oidc;
    }
    fleet.group("crew", home, &[bob]);
    fleet.group("makers", home, &[]);
    fleet.group("others", other, &[]);
    // A group of an organization that bob has left.
    fleet.group("elsewhere", other, &[bob]);
    fleet
}

fn home(fleet: &Fleet) -> String {
    fleet.organizations[0].id.to_string()
}

fn user(fleet: &Fleet, name: &str) -> UserId {
    UserId(fleet.users.iter().find(|user| user.username == name).unwrap().id)
}

/// A sign-in of a user whose address is the lower-case name at `example.com`
fn sign_in<'a>(subject: &'a str, name: &'a str, token: &'a SessionToken) -> ProviderSignIn<'a> {
    let email: &'static str = Box::leak(format!("{name}@Example.com").into_boxed_str());
    ProviderSignIn::new((ISSUER, subject), (name, email), Uuid::new_v4(), token, now())
}

async fn holder<S: Store>(store: &S, token: &SessionToken) -> Option<KeyHolder> {
    store.holders(std::slice::from_ref(token)).await.unwrap().pop()
}

fn session(n: usize) -> SessionToken {
    format!("{n:010}-{n:022}").parse().unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
