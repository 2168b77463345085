use app_authz::credential::{KeyHolder, Sessions};
use app_authz::rbac::{Action, AllowList, BuiltInRoles, Object, ResourceType, ScopeName, Switches};
use store::Error;
use store::fleet::{Fleet, KeyScope, LoginType, Oauth2ProviderAppToken};
use testkit::{Database, Release, Rows};
use uuid::Uuid;

use crate::{session, sessions};

contract! {
    since V2_27;

    fn scopes_and_objects_limit_a_key_together(store, fleet: limited) {
        for (user, (scopes, entries)) in limits().into_iter().enumerate() {
            let key = one(&store, user).await.key;
            let expected: Vec<ScopeName> =
                scopes.iter().map(|scope| scope.parse().unwrap()).collect();
            assert_eq!(key.scopes, expected, "{scopes:?}");
            assert_eq!(key.allow_list, AllowList::parse(&entries).unwrap(), "{entries:?}");
            assert_eq!(key.user.0, fleet.users[user].id);
        }
    }

    fn an_app_s_key_is_good_for_the_server_its_tokens_name(store, _fleet: keys_of_apps) {
        for (user, (_, expected)) in audiences().into_iter().enumerate() {
            let mut holders = store.holders(&[session(user)]).await.unwrap();
            let found = holders.pop().map(|holder| holder.key.audience);
            assert_eq!(found, expected.map(|audience| audience.map(str::to_owned)), "{user}");
        }
    }
}

/// What no fleet can say: a label that is not known yet, and entries that are null
///
/// A control plane that was upgraded beneath us may write either.
#[tokio::test]
async fn what_is_not_understood_grants_nothing_and_leaves_the_rest() {
    const ONE: &str = "workspace:00000000-0000-0000-0000-000000000007";
    let fleet = {
        let mut fleet = Fleet::default();
        let acme = fleet.organization("acme");
        fleet.user("alice", acme);
        sessions(&mut fleet);
        fleet
    };
    let own = Database::new().await;
    own.store().await.load(&fleet).await.unwrap();
    let mut databases = vec![own];
    for release in [Release::V2_27, Release::V2_28, Release::V2_35, Release::NEWEST] {
        let database = Database::of_release(release).await;
        database.load(Rows::of(&fleet)).await.unwrap();
        databases.push(database);
    }
    let too_many = vec![ONE; 129].join(",");
    let as_many_as_may_be = vec![ONE; 128].join(",");
    for database in &databases {
        let of = database.release();
        database.sql("ALTER TYPE api_key_scope ADD VALUE 'moon_base:visit'").await;
        database.sql("ALTER TYPE api_key_scope ADD VALUE 'coder:moon.visit'").await;
        let store = database.store().await;
        for (scopes, allow_list, opens) in [
            ("workspace:read,workspace:application_connect", "*:*", "both"),
            ("moon_base:visit,workspace:application_connect", "*:*", "both"),
            ("workspace:application_connect,moon_base:visit,coder:moon.visit", "*:*", "both"),
            ("NULL,workspace:application_connect", "*:*", "both"),
            ("NULL,moon_base:visit,coder:all,coder:all", "*:*", "both"),
            ("moon_base:visit", "*:*", "none"),
            ("moon_base:visit,coder:moon.visit", "*:*", "none"),
            ("NULL", "*:*", "none"),
            ("", "*:*", "none"),
            ("coder:all", ONE, "one"),
            ("coder:all", "NULL,*:*", "both"),
            ("coder:all", "NULL", "none"),
            ("coder:all", &format!("NULL,{ONE}"), "one"),
            ("coder:all", &format!("moon_base:*,{ONE},nonsense,workspace:x,:,*"), "one"),
            ("coder:all", "moon_base:*", "none"),
            ("coder:all", "moon_base:00000000-0000-0000-0000-000000000007", "none"),
            ("coder:all", "workspace", "none"),
            ("coder:all", "workspace:", "none"),
            ("coder:all", "*", "none"),
            ("coder:all", " WORKSPACE:* ", "both"),
            ("coder:all", &as_many_as_may_be, "one"),
            ("coder:all", &too_many, "none"),
            ("coder:all", &format!("*:*,{too_many}"), "none"),
            ("moon_base:visit,coder:application_connect", ONE, "one"),
            ("coder:application_connect", "template:*", "none"),
        ] {
            let set = format!(
                "UPDATE api_keys SET scopes = '{{{scopes}}}', allow_list = '{{{}}}'",
                allow_list.split(',').map(quoted).collect::<Vec<_>>().join(",")
            );
            database.sql(&set).await;
            let holder = one(&store, 0).await;
            let subject = holder.subject(&BuiltInRoles::new(Switches::default()));
            let organization = app_authz::id::OrganizationId(fleet.organizations[0].id);
            let may = |id: u128| {
                let workspace = Object::new(ResourceType::Workspace)
                    .id(Uuid::from_u128(id))
                    .owner(subject.id())
                    .organization(organization);
                subject.is_allowed(&Action::ApplicationConnect, &workspace)
            };
            let found = match (may(7), may(8)) {
                (true, true) => "both",
                (true, false) => "one",
                (false, false) => "none",
                (false, true) => "the other",
            };
            assert_eq!(found, opens, "{of:?}: {scopes:?} on {allow_list:.80}");
            assert_eq!(store.sessions(None).await.unwrap().len(), 1, "as an operator sees it");
        }
    }
}

fn quoted(entry: &str) -> String {
    if entry == "NULL" { entry.to_owned() } else { format!("\"{entry}\"") }
}

async fn one(store: &impl Sessions<Error = Error>, user: usize) -> KeyHolder {
    store.holders(&[session(user)]).await.unwrap().remove(0)
}

/// Limits of keys, one for each user
fn limits() -> Vec<(Vec<&'static str>, Vec<String>)> {
    let workspace = |n: u128| format!("workspace:{}", Uuid::from_u128(n));
    let everything = || vec!["*:*".to_owned()];
    vec![
        (vec!["coder:all"], everything()),
        (vec!["coder:application_connect"], everything()),
        (vec!["workspace:ssh", "workspace:read"], everything()),
        (vec!["coder:workspaces.access", "api_key:read"], everything()),
        (vec!["coder:all"], vec![workspace(1)]),
        (vec!["workspace:application_connect"], vec![workspace(2), workspace(1)]),
        (vec!["coder:all"], vec!["workspace:*".to_owned(), "template:*".to_owned()]),
        (vec!["coder:all"], vec![format!("*:{}", Uuid::from_u128(3))]),
    ]
}

/// A user for each of the limits, with a key that has them
fn limited() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    for n in 0..limits().len() {
        fleet.user(&format!("user-{n}"), acme);
    }
    sessions(&mut fleet);
    for (key, (scopes, entries)) in fleet.api_keys.iter_mut().zip(limits()) {
        key.scopes = scopes.into_iter().map(|scope| KeyScope(scope.to_owned())).collect();
        key.allow_list = entries;
    }
    fleet
}

type Audiences = (&'static [Option<&'static str>], Option<Option<&'static str>>);

/// The audiences of the tokens of each user's key, and what the key's is; nothing for a key
/// that is good for nobody
fn audiences() -> Vec<Audiences> {
    const OURS: &str = "https://coder.test";
    const THEIRS: &str = "https://elsewhere.test";
    vec![
        (&[], None),
        (&[None], Some(None)),
        (&[Some("")], Some(None)),
        (&[Some(OURS)], Some(Some(OURS))),
        (&[Some(THEIRS)], Some(Some(THEIRS))),
        // No release makes two tokens for one key.
        (&[None, Some("")], Some(None)),
        (&[None, Some(THEIRS)], Some(Some(THEIRS))),
        (&[Some(THEIRS), None], Some(Some(THEIRS))),
        (&[Some(OURS), Some(OURS)], Some(Some(OURS))),
        (&[Some(OURS), Some(THEIRS)], None),
        (&[Some(THEIRS), Some(""), Some(OURS)], None),
    ]
}

/// A user for each of the audiences, with a key that an OAuth2 app was given
fn keys_of_apps() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    for n in 0..audiences().len() {
        fleet.user(&format!("user-{n}"), acme);
    }
    sessions(&mut fleet);
    for (key, (tokens, _)) in fleet.api_keys.iter_mut().zip(audiences()) {
        key.login_type = LoginType::Oauth2ProviderApp;
        let tokens = tokens.iter().map(|audience| Oauth2ProviderAppToken {
            id: Uuid::new_v4(),
            api_key_id: key.id.clone(),
            audience: audience.map(str::to_owned),
        });
        fleet.oauth2_provider_app_tokens.extend(tokens);
    }
    fleet
}
