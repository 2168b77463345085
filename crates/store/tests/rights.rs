//! Each right that is granted is needed, and no other is
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "as a binary, a test has the time")]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use agent_auth::{Candidates, ProvenInstance};
use app_audit::{
    Act, ActFilter, ActJournal, ActKind, ActLog, AuditExplorer, AuditLog, Count, Filter, Journal,
    Names, Page, Window,
};
use app_authz::app::UncheckedRequest;
use app_authz::credential::{
    ApiKey, KeyUpdate, LoginType, NewKey, OtherSessions, SessionToken, Sessions,
};
use app_authz::proxy::{Proxies, ProxyToken};
use app_authz::rbac::{ScopeName, Subject};
use app_authz::token::{Change, CryptoKey, Feature, KeyStore, Rotation, Secret};
use app_authz::{AgentId, AppRequest, Directory, Rules, UserId, WorkspaceId};
use common::{entry, event};
use store::fleet::{self, Fleet, Hidden, SharingLevel, Transition, UserLink};
use store::inspection::{Asked, Part};
use store::listing::{ListQuery, Listing};
use store::provider::{ProviderSessions as _, ProviderSignIn, ProviderSignOut};
use store::refresh::{LinkId, LinkTokens as _, RefreshEnd, RefreshTurn};
use store::revocations::{Revocations as _, Slice, WatchedGrant};
use store::sharing::{self, Edit, ShareError, Sharing as _};
use store::{Error, Options, PgStore};
use testkit::{Database, Release, Rows};
use uuid::Uuid;

/// All that authd does with a database
struct Deeds {
    store: PgStore,
    key: ApiKey,
    user: UserId,
    proxy: Uuid,
}

impl Deeds {
    /// Does everything, and says which deeds the database did not permit
    async fn refused(&self) -> BTreeSet<&'static str> {
        let Self { store, key, user, proxy } = self;
        let now = SystemTime::now();
        let mut refused = BTreeSet::new();
        let mut note = |deed, done: Result<(), Error>| match done {
            Ok(()) => {}
            Err(Error::Query { reason }) if reason.to_string().contains("permission denied") => {
                refused.insert(deed);
            }
            Err(error) => panic!("{deed}: {error}"),
        };
        let id = Uuid::new_v4().to_string();
        note(
            "candidates",
            store.by_instance(ProvenInstance::assume_verified("i-1")).await.map(drop),
        );
        let pinning = ProvenInstance::assume_verified("i-1").pinning(now);
        // Twice, as the second time finds the row.
        note("pinned candidates", store.by_instance(pinning).await.map(drop));
        note("pinned candidates again", store.by_instance(pinning).await.map(drop));
        note("forget pins", store.forget_pins(1).await.map(drop));
        for (deed, asked) in [
            ("by name", app("alice")),
            ("by id", app(&id)),
            ("port", UncheckedRequest { app_slug_or_port: "8080".to_owned(), ..app("alice") }),
            (
                "terminal",
                UncheckedRequest {
                    access_method: "terminal".to_owned(),
                    agent_name_or_id: id.clone(),
                    ..UncheckedRequest::default()
                },
            ),
        ] {
            let request: AppRequest = asked.normalize().check().unwrap();
            note(deed, store.app_access(&request, &[]).await.map(drop));
        }
        for (n, deed) in ["watch", "watch again", "watch longer"].into_iter().enumerate() {
            let session = Some((*user, key.id.as_str().into()));
            let [place, agent] = [Uuid::from_u128(1), Uuid::from_u128(2)];
            let grant = WatchedGrant::new(session, WorkspaceId(place), AgentId(agent));
            let now = now + Duration::from_secs(7200 * u64::from(n == 2));
            note(deed, store.watch_grants(&[grant], now).await);
        }
        // The workspace does not exist, so the grant ends.
        note("revocations", store.revocations(Some(now), Slice::ALL, now).await.map(drop));
        note("shares", store.shares(None).await.map(drop));
        // With a user, then without, so that the next round finds the same rows.
        for (deed, users) in [("share", vec!["alice".to_owned()]), ("withdraw", Vec::new())] {
            note(deed, self.share_with(users, now).await);
        }
        let token = SessionToken::generate(|bytes| bytes.copy_from_slice(&vec![b'a'; bytes.len()]));
        note("holders", store.holders(std::slice::from_ref(&token)).await.map(drop));
        let asked = ListQuery::new(&Subject::system_restricted(), "a", 1);
        note("listed", store.listed(&asked).await.map(drop));
        note("username", store.username(*user).await.map(drop));
        let update = KeyUpdate { last_used: Some(now), expires_at: None };
        note("use", store.update(key, update, None).await);
        let token = token_of(Uuid::new_v4());
        let new = NewKey::new(&token, *user, now, now + Duration::from_secs(60))
            .with_scope(ScopeName::ApplicationConnect)
            .with_lifetime(Duration::from_secs(60));
        note("insert", store.insert(&new).await);
        note("give", store.give("gone", now).await.map(drop));
        // A key that does not exist, so that the next round finds the same rows.
        let gone = ApiKey::new("gone", [], UserId(Uuid::nil()), key.expires_at);
        note("log out", store.log_out(&gone, OtherSessions::EndOfApps).await.map(drop));
        note("ended", store.ended(&["gone"], now).await.map(drop));
        note("forget ended", store.forget_ended(now, 1).await.map(drop));
        note("proxies", store.proxies().await.map(drop));
        note("keys", store.keys(Feature::WorkspaceAppsToken).await.map(drop));
        for (deed, change) in
            [("look at keys", None), ("new key", Some(true)), ("end of a key", Some(false))]
        {
            let plan = |rows: &[CryptoKey]| changes(change, rows, now);
            note(deed, store.rotate(Feature::WorkspaceAppsToken, plan).await.map(drop));
        }
        for closing in [true, false] {
            let window = Window::default().close(closing);
            let visit = entry(&event(7));
            note("note", store.note(&[visit], window).await.map(drop));
            note("end", store.end_sessions(window, 1).await.map(drop));
        }
        let counted = entry(&event(8));
        let count = Count::new(counted.key, Uuid::nil(), 1);
        note("count", store.count(&[count]).await);
        note("prepare", store.prepare().await);
        note("forget", store.forget(Duration::from_secs(3600), 1).await.map(drop));
        note("list", store.list(&Filter::default(), Page::first(1)).await.map(drop));
        note("explore", store.explore(&Filter::default(), Page::first(1)).await.map(drop));
        note("plot", store.plot(&Filter::default()).await.map(drop));
        let names = Names { user: Some("alice".to_owned()), ..Names::default() };
        note("names", store.look_up(&names).await.map(drop));
        note("usernames", store.usernames(&[app_audit::UserId(user.0)]).await.map(drop));
        let act = Act::new(ActKind::LogIn, now).request(Uuid::nil(), None, b"");
        // Twice, as the second time finds the row.
        note("act", store.note_acts(std::slice::from_ref(&act)).await);
        note("act again", store.note_acts(std::slice::from_ref(&act)).await);
        note("count acts", store.count_acts(&[(act.id(), 1)]).await);
        note("forget acts", store.forget_acts(Duration::from_secs(3600), 1).await.map(drop));
        note("list acts", store.list_acts(&ActFilter::default(), Page::first(1)).await.map(drop));
        note("encryption", store.active_encryption_keys().await.map(drop));
        note("sessions", store.sessions(None).await.map(drop));
        note("user", store.user_named("alice").await.map(drop));
        note("revoke", store.revoke("gone").await.map(drop));
        note("refresh", self.refresh(now).await);
        let token = ProxyToken::generate(*proxy, |bytes| bytes.fill(1));
        note("proxy's token", store.set_proxy_token(&token).await.map(drop));
        refused
    }

    /// Refreshes the user's link, which has ended again afterwards
    async fn refresh(&self, now: SystemTime) -> Result<(), Error> {
        let (link, second) = (LinkId::new(self.user, LoginType::Oidc), Duration::from_secs(1));
        let turn = self.store.begin_refresh(link, Uuid::new_v4(), now, now - second).await?;
        let RefreshTurn::Begun(begun) = turn else { panic!("{turn:?}") };
        let ends = Some(now - second);
        let end =
            RefreshEnd::Refreshed { access_token: "a", refresh_token: None, expires_at: ends };
        self.store.end_refresh(&begun, end).await.map(drop)
    }

    async fn share_with(&self, users: Vec<String>, now: SystemTime) -> Result<(), Error> {
        let mut asked = sharing::ShareRequest::of("alice/dev", "code").unwrap();
        (asked.edit, asked.users) = (Edit::Set, users);
        let facts = self.store.app_access(&asked.request().unwrap(), &[]).await?;
        let (place, act) = (facts.workspace.unwrap(), Act::new(ActKind::ShareChange, now));
        let by = (Some(self.user), now);
        match sharing::change(&self.store, &place, &asked, Rules::default(), by, &act).await {
            Ok(_) => Ok(()),
            Err(ShareError::Store(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }
}

fn app(owner: &str) -> UncheckedRequest {
    UncheckedRequest {
        access_method: "subdomain".to_owned(),
        username_or_id: owner.to_owned(),
        workspace_name_or_id: "dev".to_owned(),
        app_slug_or_port: "code".to_owned(),
        ..UncheckedRequest::default()
    }
}

/// A token that no other round has made
fn token_of(id: Uuid) -> SessionToken {
    let mut random = id.as_bytes().iter().cycle();
    SessionToken::generate(|bytes| bytes.fill_with(|| *random.next().unwrap()))
}

/// A new key, and the end of the last; or what clears and ends one
fn changes(change: Option<bool>, rows: &[CryptoKey], now: SystemTime) -> Vec<Change> {
    let feature = Feature::WorkspaceAppsToken;
    let last = rows.iter().map(|row| row.sequence).max().unwrap_or_default();
    match change {
        None => Vec::new(),
        Some(true) => {
            vec![Change::Insert(CryptoKey::new(feature, last + 1, Secret::new([7; 64]), now))]
        }
        Some(false) => vec![
            Change::End { feature, sequence: last, deletes_at: now },
            Change::Clear { feature, sequence: last },
        ],
    }
}

fn everything() -> Asked {
    Asked::with([
        Part::Apps,
        Part::KeyRotation,
        Part::AuditRetention,
        Part::AuditMirror,
        Part::Commands,
        Part::IdentityPins,
        Part::TokenRefresh,
        Part::Revocations,
    ])
}

async fn deployment(release: Release) -> (Database, String, Deeds) {
    let database = Database::of_release(release).await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let token = fleet.session(alice);
    let workspace = fleet.workspace(alice, "dev");
    fleet.templates[0].max_port_sharing_level = SharingLevel::Public;
    let build = fleet.build(workspace, Transition::Start);
    let agent = fleet.agent(build.resource, "main", "i-1").id;
    fleet.app(agent, "code");
    fleet.proxy("sydney", "https://sydney.example.com", "");
    let proxy = fleet.workspace_proxies[0].id;
    fleet.user_links.push(UserLink {
        user_id: alice,
        login_type: fleet::LoginType::Oidc,
        oauth_refresh_token: Hidden("refresh".to_owned()),
        oauth_expiry: fleet.users[0].created_at,
    });
    database.load(Rows::of(&fleet)).await.unwrap();
    let owner = database.store().await;
    let key = owner.holders(&[token]).await.unwrap().remove(0).key;

    let role = format!("role_{}", Uuid::new_v4().simple());
    database.sql(&format!("CREATE ROLE {role} LOGIN")).await;
    let grants = owner.grants(&everything(), &role).await.unwrap();
    assert_eq!(grants.unfit, []);
    let grants = grants.to_string();
    database.sql(&grants).await;
    let url = database.url().replace("user=authd", &format!("user={role}"));
    let options = Options::default().into_control_plane(true).mirror_audit(true);
    let store = PgStore::connect(&url, &options).await.unwrap();
    (database, grants, Deeds { store, key, user: UserId(alice), proxy })
}

/// Each right of the statements, as what follows `GRANT` or `REVOKE`, up to the role
fn rights(grants: &str) -> Vec<(String, String)> {
    let mut rights = Vec::new();
    let grants = grants.replace(",\n      ", ", ");
    for line in grants.lines().filter(|line| line.contains(" ON \"public\".")) {
        let (granted, rest) = line.strip_prefix("GRANT ").unwrap().split_once(" ON ").unwrap();
        let (table, role) = rest.trim_end_matches(';').split_once(" TO ").unwrap();
        let mut last = String::new();
        for part in granted.split(", ") {
            // Either `SELECT (first`, or `second`, or `last)`, or a right to rows.
            let column = match part.split_once(" (") {
                Some((right, column)) => {
                    right.clone_into(&mut last);
                    column
                }
                None if part == "DELETE" => {
                    rights.push((format!("DELETE ON {table}"), role.to_owned()));
                    continue;
                }
                None => part,
            };
            let column = column.trim_end_matches(')');
            rights.push((format!("{last} ({column}) ON {table}"), role.to_owned()));
        }
    }
    rights
}

#[tokio::test]
async fn each_right_is_needed_and_all_are_enough() {
    for release in [Release::FIRST_WITH_APPS, Release::NEWEST] {
        let (database, grants, deeds) = deployment(release).await;
        assert_eq!(deeds.refused().await, BTreeSet::new(), "{release}\n{grants}");
        let rights = rights(&grants);
        assert!(rights.len() > 150, "{release}: {} rights", rights.len());
        let mut needless = Vec::new();
        for (right, role) in &rights {
            // What `authd check` reads where it may.
            if right.contains("schema_migrations") {
                continue;
            }
            database.sql(&format!("REVOKE {right} FROM {role}")).await;
            if deeds.refused().await.is_empty() {
                needless.push(right);
            }
            database.sql(&format!("GRANT {right} TO {role}")).await;
        }
        assert!(needless.is_empty(), "{release}: not needed: {needless:#?}");
    }
}

/// Users sign in at a provider only on tables of our own
#[tokio::test]
async fn each_right_that_a_provider_needs_is_granted_and_no_other() {
    let database = Database::new().await;
    let owner = database.store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    fleet.group("crew", acme, &[]);
    owner.load(&fleet).await.unwrap();
    let role = format!("role_{}", Uuid::new_v4().simple());
    database.sql(&format!("CREATE ROLE {role} LOGIN")).await;
    let grants = owner.grants(&Asked::with([Part::Oidc]), &role).await.unwrap().to_string();
    database.sql(&grants).await;
    let url = database.url().replace("user=authd", &format!("user={role}"));
    let store = PgStore::connect(&url, &Options::default()).await.unwrap();
    assert!(signs_in_and_out(&store).await, "{grants}");
    let tables = [
        "users",
        "user_links",
        "organizations",
        "organization_members",
        "groups",
        "group_members",
        "api_keys",
        "authd_app_sessions",
        "authd_oidc_sessions",
    ];
    let rights = rights(&grants);
    let of_users = rights
        .iter()
        .filter(|(right, _)| tables.iter().any(|table| right.ends_with(&format!(".{table}"))));
    let (mut count, mut needless) = (0, Vec::new());
    for (right, role) in of_users {
        count += 1;
        database.sql(&format!("REVOKE {right} FROM {role}")).await;
        if signs_in_and_out(&store).await {
            needless.push(right);
        }
        database.sql(&format!("GRANT {right} TO {role}")).await;
    }
    assert!(count > 60, "{count}: {grants}");
    assert!(needless.is_empty(), "not needed: {needless:#?}");
}

/// A new user signs in, comes back without groups, and is signed out; whether all is permitted
async fn signs_in_and_out(store: &PgStore) -> bool {
    let now = SystemTime::now();
    let (id, issuer) = (Uuid::new_v4(), "https://id.example");
    let (subject, email) = (id.to_string(), format!("{id}@example.com"));
    let permitted = |done: Result<(), Error>| match done {
        Ok(()) => true,
        Err(Error::Query { reason }) if reason.to_string().contains("permission denied") => false,
        Err(error) => panic!("{error}"),
    };
    for groups in [vec!["crew".to_owned()], Vec::new()] {
        let token = token_of(Uuid::new_v4());
        let names = (&*subject, &*email);
        let asked = ProviderSignIn {
            allows_new: true,
            groups: Some(groups),
            ..ProviderSignIn::new((issuer, &subject), names, id, &token, now)
        };
        if !permitted(store.provider_sign_in(&asked).await.map(|signed| assert!(signed.is_ok()))) {
            return false;
        }
    }
    let all = ProviderSignOut::new(issuer, Some(&subject), None, now);
    permitted(store.provider_sign_out(&all).await.map(drop))
}
