use std::time::{Duration, SystemTime};

use app_authz::UserId;
use app_authz::credential::{
    KeyHolder, LoginType, OauthLink, Sessions, Terms, UserStatus, authenticate,
};
use app_authz::id::OrganizationId;
use app_authz::rbac::{Action, BuiltInRoles, Object, ResourceType, RoleName, ScopeName, Switches};
use serde_json::{Value, json};
use store::fleet::{self, CustomRole, Fleet, Hidden, KeyScope, UserLink};
use store::{Error, MemoryStore};

use testkit::Database;

use crate::{session, sessions};

contract! {
    since V2_24;

    fn a_key_is_read_as_it_is_stored(store, fleet: team) {
        let holder = one(&store, 0).await;
        let row = &fleet.api_keys[0];
        assert_eq!(holder.key.id, row.id);
        assert_eq!(holder.key.secret_digest, row.hashed_secret.0);
        assert_eq!(holder.key.user.0, fleet.users[0].id);
        assert_eq!(holder.key.login_type, LoginType::Password);
        assert_eq!(holder.key.last_used, SystemTime::from(row.last_used));
        assert_eq!(holder.key.expires_at, SystemTime::from(row.expires_at));
        assert_eq!(holder.key.lifetime, Duration::from_secs(86_400));
        assert_eq!(holder.key.scopes, [ScopeName::All]);
        assert_eq!(holder.key.audience, None);
        assert_eq!(holder.status, UserStatus::Active);
        assert_eq!(holder.link, None);
        let now = row.last_used.into();
        assert!(authenticate(&session(0), Some(&holder), Terms::default(), now).is_ok());
        assert_eq!(one(&store, 1).await.key.scopes, [ScopeName::ApplicationConnect]);
        assert_eq!(one(&store, 2).await.status, UserStatus::Suspended);
    }

    fn roles_are_those_stored_and_those_everyone_has(store, fleet: team) {
        let [acme, globex] = [0, 1].map(|n| fleet.organizations[n].id);
        let roles: Vec<String> =
            one(&store, 0).await.roles.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(sorted(roles), sorted(vec![
            "auditor".to_owned(),
            "member".to_owned(),
            format!("organization-admin:{acme}"),
            format!("observer:{acme}"),
            format!("organization-member:{acme}"),
            format!("organization-member:{globex}"),
        ]));
        let roles: Vec<String> =
            one(&store, 2).await.roles.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(roles, ["member"], "of a user in no organization");
    }

    fn only_custom_roles_that_are_held_come_along(store, fleet: team) {
        alice_observes_acme_alone(&store, &fleet).await;
    }

    fn roles_of_one_name_are_those_of_their_organizations(store, fleet: namesakes) {
        alice_observes_acme_alone(&store, &fleet).await;
    }

    fn a_custom_role_of_the_deployment_counts_everywhere(store, _fleet: custom_site_role) {
        let subject = one(&store, 0).await.subject(&BuiltInRoles::new(Switches::default()));
        let allowed = |action: &str, kind| subject.is_allowed(&Action::from(action), &Object::new(kind));
        assert!(allowed("read", ResourceType::License));
        assert!(!allowed("delete", ResourceType::License), "denied for all types");
        let own = Object::new(ResourceType::Chat).owner(UserId(subject.id().0));
        assert!(subject.is_allowed(&Action::Share, &own));
    }

    fn a_role_that_cannot_be_read_fails_those_who_hold_it(store, _fleet: broken_role) {
        let broken = store.holders(&[session(0)]).await;
        assert!(matches!(broken, Err(Error::InvalidRow { .. })), "{broken:?}");
        assert!(one(&store, 1).await.custom_roles.is_empty());
    }

    fn groups_are_those_the_user_is_in(store, fleet: team) {
        let groups = |holder: KeyHolder| holder.groups.iter().map(|id| id.0).collect::<Vec<_>>();
        let [admins, both] = [fleet.groups[0].id, fleet.groups[1].id];
        assert_eq!(sorted(groups(one(&store, 0).await)), sorted(vec![admins, both]));
        assert_eq!(groups(one(&store, 1).await), [both]);
        assert!(groups(one(&store, 2).await).is_empty());
    }

    fn a_link_is_that_of_the_login_the_key_was_made_by(store, fleet: linked) {
        let expiry = fleet.user_links[1].oauth_expiry.into();
        let link = |at: Option<SystemTime>, refresh| Some(OauthLink::new(at, refresh));
        assert_eq!(one(&store, 0).await.link, link(Some(expiry), true));
        assert_eq!(one(&store, 1).await.link, link(None, false));
        assert_eq!(one(&store, 2).await.link, None);
    }
}

/// As no store that keeps the control plane's rules has such a key
#[tokio::test]
async fn a_key_that_outlives_its_user_has_no_holder() {
    let fleet = deleted_user();
    let memory = MemoryStore::default();
    memory.load(&fleet);
    assert!(memory.holders(&[session(0)]).await.unwrap().is_empty());

    let database = Database::new().await;
    database.sql("ALTER TABLE api_keys DISABLE TRIGGER USER").await;
    let postgres = database.store().await;
    postgres.load(&fleet).await.unwrap();
    assert!(postgres.holders(&[session(0)]).await.unwrap().is_empty());
}

async fn alice_observes_acme_alone(store: &impl Sessions<Error = Error>, fleet: &Fleet) {
    let holder = one(store, 0).await;
    let [acme, globex] = [0, 1].map(|n| OrganizationId(fleet.organizations[n].id));
    let names: Vec<_> = holder.custom_roles.iter().map(|role| role.name().clone()).collect();
    assert_eq!(names, [RoleName::in_organization("observer", acme).unwrap()]);
    let subject = holder.subject(&BuiltInRoles::new(Switches::default()));
    let log = |organization| Object::new(ResourceType::ConnectionLog).organization(organization);
    assert!(subject.is_allowed(&Action::from("watch"), &log(acme)));
    assert!(!subject.is_allowed(&Action::from("watch"), &log(globex)));
    assert!(one(store, 1).await.custom_roles.is_empty());
}

async fn one(store: &impl Sessions<Error = Error>, user: usize) -> KeyHolder {
    let mut holders = store.holders(&[session(user)]).await.unwrap();
    assert_eq!(holders.len(), 1);
    holders.remove(0)
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list
}

/// Alice with roles in two organizations, Bob with a key for apps, Carol without anything
fn team() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let globex = fleet.organization("globex");
    let alice = fleet.user("alice", acme);
    let bob = fleet.user("bob", acme);
    fleet.user("carol", acme);
    fleet.organization_members.pop();
    fleet.users[2].status = fleet::UserStatus::Suspended;
    fleet.users[0].rbac_roles = ["auditor", "", "a:b:c"].map(str::to_owned).to_vec();
    fleet.organization_members[0].roles =
        ["organization-admin", "observer", "not:one"].map(str::to_owned).to_vec();
    fleet.organization_members.push(fleet::OrganizationMember {
        organization_id: globex,
        user_id: alice,
        roles: Vec::new(),
    });
    for (name, organization_id) in [("observer", acme), ("x", acme), ("y", globex)] {
        fleet.custom_roles.push(custom_role(name, Some(organization_id), json!([])));
    }
    fleet.group("admins", acme, &[alice]);
    fleet.group("both", acme, &[alice, bob]);
    fleet.group("nobody", acme, &[]);
    sessions(&mut fleet);
    fleet.api_keys[1].scopes = vec![KeyScope::application_connect()];
    fleet
}

/// The team, and further roles of the name of one that Alice has
fn namesakes() -> Fleet {
    let mut fleet = team();
    for organization_id in [Some(fleet.organizations[1].id), None] {
        fleet.custom_roles.push(custom_role("observer", organization_id, json!([])));
    }
    fleet
}

fn custom_role(
    name: &str,
    organization_id: Option<uuid::Uuid>,
    site_permissions: Value,
) -> CustomRole {
    CustomRole {
        id: uuid::Uuid::new_v4(),
        name: name.to_owned(),
        organization_id,
        site_permissions,
        org_permissions: json!([{"negate": false, "resource_type": "connection_log", "action": "watch"}]),
        user_permissions: json!([{"negate": false, "resource_type": "chat", "action": "*"}]),
        member_permissions: serde_json::json!([]),
        is_system: false,
    }
}

fn custom_site_role() -> Fleet {
    let mut fleet = team();
    fleet.users[0].rbac_roles = vec!["licensee".to_owned()];
    fleet.organization_members.clear();
    fleet.custom_roles.push(custom_role(
        "licensee",
        None,
        json!([
            {"negate": false, "resource_type": "license", "action": "*"},
            {"negate": true, "resource_type": "*", "action": "delete"},
        ]),
    ));
    fleet
}

fn broken_role() -> Fleet {
    let mut fleet = team();
    fleet.custom_roles[0].org_permissions =
        json!([{"resource_type": "workspace", "action": "delete", "negate": "yes"}]);
    fleet
}

fn deleted_user() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    fleet.user("alice", acme);
    sessions(&mut fleet);
    fleet.users[0].deleted = true;
    fleet
}

fn linked() -> Fleet {
    let mut fleet = team();
    let expiry = fleet.users[0].created_at;
    let [alice, bob, carol] = [0, 1, 2].map(|n| fleet.users[n].id);
    for key in &mut fleet.api_keys {
        key.login_type = fleet::LoginType::Oidc;
    }
    let year_one = "0001-01-01T00:00:00Z".parse().unwrap();
    for (user_id, login_type, refresh, oauth_expiry) in [
        (alice, fleet::LoginType::Github, "", year_one),
        (alice, fleet::LoginType::Oidc, "refresh", expiry),
        (bob, fleet::LoginType::Oidc, "", year_one),
        (carol, fleet::LoginType::Github, "refresh", expiry),
    ] {
        fleet.user_links.push(UserLink {
            user_id,
            login_type,
            oauth_refresh_token: Hidden(refresh.to_owned()),
            oauth_expiry,
        });
    }
    fleet
}
