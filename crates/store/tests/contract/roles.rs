use app_authz::UserId;
use app_authz::credential::Sessions;
use app_authz::id::OrganizationId;
use app_authz::rbac::{Action, BuiltInRoles, Object, ResourceType, Subject, Switches};
use serde_json::{Value, json};
use store::Error;
use store::fleet::{CustomRole, Fleet};
use uuid::Uuid;

use crate::{session, sessions};

contract! {
    since V2_30;

    fn a_system_role_says_what_members_may_do(store, fleet: system_roles) {
        let [alice, bob] = [subject(&store, 0).await, subject(&store, 1).await];
        let [acme, globex] = [organization(&fleet, 0), organization(&fleet, 1)];
        // The row replaces the built-in role, in its own organization.
        assert_eq!(may(&alice, acme), ["audit_log:read", "own task:read"]);
        assert_eq!(may(&bob, globex), ["own workspace:application_connect", "own task:read"]);
        assert!(alice.is_member_of(acme) && !alice.is_member_of(globex));
    }

    fn a_system_role_without_permissions_leaves_members_with_none(store, fleet: emptied) {
        let alice = subject(&store, 0).await;
        let acme = organization(&fleet, 0);
        // As the row is before the control plane has filled it.
        assert_eq!(may(&alice, acme), [""; 0]);
        assert!(alice.is_member_of(acme));
    }

    fn a_role_that_people_made_takes_no_built_in_name(store, fleet: impostors) {
        let alice = subject(&store, 0).await;
        let acme = organization(&fleet, 0);
        assert_eq!(
            may(&alice, acme),
            ["audit_log:read", "own workspace:application_connect", "own task:read"]
        );
        let license = Object::new(ResourceType::License);
        assert!(!alice.is_allowed(&Action::Read, &license), "by a row named `auditor`");
    }

    fn a_role_that_people_made_stands_beside_the_system_role(store, fleet: beside) {
        let [acme, globex] = [organization(&fleet, 0), organization(&fleet, 1)];
        let alice = subject(&store, 0).await;
        assert_eq!(
            may(&alice, acme),
            ["audit_log:read", "workspace:application_connect",
             "own workspace:application_connect", "own task:read"]
        );
        assert_eq!(may(&alice, globex), [""; 0]);
    }

    fn a_service_account_holds_a_role_of_its_own(store, fleet: service_accounts) {
        let [acme, globex] = [organization(&fleet, 0), organization(&fleet, 1)];
        let [alice, robot, drone] =
            [subject(&store, 0).await, subject(&store, 1).await, subject(&store, 2).await];
        assert_eq!(may(&alice, acme), ["audit_log:read", "own task:read"]);
        assert_eq!(may(&robot, acme), ["own workspace:application_connect"]);
        assert_eq!(may(&drone, globex), ["own workspace:application_connect", "own task:read"]);
        let names = async |user: usize| -> Vec<String> {
            let holder = store.holders(&[session(user)]).await.unwrap().remove(0);
            holder.roles.iter().map(|(name, _)| name.to_string()).collect()
        };
        let in_acme = format!("organization-service-account:{}", acme.0);
        assert_eq!(names(1).await, ["member".to_owned(), in_acme]);
    }

    fn an_organization_gives_roles_to_each_member(store, fleet: generous) {
        let [alice, robot] = [subject(&store, 0).await, subject(&store, 1).await];
        let acme = organization(&fleet, 0);
        // One of the roles is built in, one a row, and one is gone.
        for subject in [&alice, &robot] {
            assert!(may(subject, acme).contains(&"own workspace:application_connect"));
            assert!(may(subject, acme).contains(&"workspace:application_connect"));
        }
        let outside = subject(&store, 2).await;
        assert_eq!(may(&outside, acme), [""; 0]);
    }
}

async fn subject(store: &impl Sessions<Error = Error>, user: usize) -> Subject {
    let holder = store.holders(&[session(user)]).await.unwrap().remove(0);
    holder.subject(&BuiltInRoles::new(Switches::default()))
}

/// Which of a few things the subject may do in an organization
fn may(subject: &Subject, organization: OrganizationId) -> Vec<&'static str> {
    let others = UserId(Uuid::from_u128(1));
    let asked = [
        ("audit_log:read", ResourceType::AuditLog, Action::Read, others),
        (
            "workspace:application_connect",
            ResourceType::Workspace,
            Action::ApplicationConnect,
            others,
        ),
        (
            "own workspace:application_connect",
            ResourceType::Workspace,
            Action::ApplicationConnect,
            subject.id(),
        ),
        ("own task:read", ResourceType::Task, Action::Read, subject.id()),
    ];
    let allowed = asked.into_iter().filter(|(_, kind, action, owner)| {
        let object = Object::new(kind.clone()).owner(*owner).organization(organization);
        subject.is_allowed(action, &object)
    });
    allowed.map(|(what, ..)| what).collect()
}

fn organization(fleet: &Fleet, n: usize) -> OrganizationId {
    OrganizationId(fleet.organizations[n].id)
}

/// Alice in one organization and Bob in another, of which the first has a system role for
/// members
fn system_roles() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let globex = fleet.organization("globex");
    fleet.user("alice", acme);
    fleet.user("bob", globex);
    sessions(&mut fleet);
    fleet.custom_roles.push(CustomRole {
        is_system: true,
        org_permissions: grants("audit_log", "read"),
        member_permissions: grants("task", "*"),
        ..role("organization-member", Some(acme))
    });
    // Of a name that Alice does not hold.
    fleet.custom_roles.push(CustomRole {
        is_system: true,
        org_permissions: grants("*", "*"),
        ..role("organization-service-account", Some(acme))
    });
    fleet
}

fn emptied() -> Fleet {
    let mut fleet = system_roles();
    fleet.custom_roles[0].org_permissions = json!([]);
    fleet.custom_roles[0].member_permissions = json!([]);
    fleet
}

/// Alice, and rows that give themselves names of built-in roles
fn impostors() -> Fleet {
    let mut fleet = system_roles();
    fleet.custom_roles.clear();
    let acme = fleet.organizations[0].id;
    fleet.users[0].rbac_roles = vec!["auditor".to_owned()];
    for (name, organization_id) in
        [("member", None), ("auditor", None), ("organization-member", Some(acme))]
    {
        fleet
            .custom_roles
            .push(CustomRole { site_permissions: grants("*", "*"), ..role(name, organization_id) });
    }
    // Nor does the control plane replace roles of the deployment by rows.
    fleet.custom_roles[1].is_system = true;
    fleet
}

/// Alice with a role that people made, beside what she holds as a member
fn beside() -> Fleet {
    let mut fleet = system_roles();
    let acme = fleet.organizations[0].id;
    fleet.organization_members[0].roles = vec!["opener".to_owned()];
    fleet.custom_roles.push(CustomRole {
        org_permissions: grants("workspace", "application_connect"),
        ..role("opener", Some(acme))
    });
    fleet
}

/// Two service accounts, of which the first is in an organization with rows
fn service_accounts() -> Fleet {
    let mut fleet = system_roles();
    let (acme, globex) = (fleet.organizations[0].id, fleet.organizations[1].id);
    fleet.users.truncate(1);
    fleet.organization_members.truncate(1);
    fleet.api_keys.clear();
    fleet.user("robot", acme);
    fleet.user("drone", globex);
    for user in &mut fleet.users[1..] {
        user.is_service_account = true;
        user.login_type = store::fleet::LoginType::None;
    }
    sessions(&mut fleet);
    let row = &mut fleet.custom_roles[1];
    row.org_permissions = json!([]);
    row.member_permissions = grants("workspace", "application_connect");
    fleet
}

/// A member and a service account of an organization that gives roles to each, and an
/// account of another
fn generous() -> Fleet {
    let mut fleet = service_accounts();
    let acme = fleet.organizations[0].id;
    fleet.organizations[0].default_org_member_roles =
        ["organization-workspace-access", "opener", "gone"].map(str::to_owned).to_vec();
    fleet.custom_roles[1].member_permissions = json!([]);
    fleet.custom_roles.push(CustomRole {
        org_permissions: grants("workspace", "application_connect"),
        ..role("opener", Some(acme))
    });
    fleet
}

fn role(name: &str, organization_id: Option<Uuid>) -> CustomRole {
    CustomRole {
        id: Uuid::new_v4(),
        name: name.to_owned(),
        organization_id,
        site_permissions: json!([]),
        org_permissions: json!([]),
        user_permissions: json!([]),
        member_permissions: json!([]),
        is_system: false,
    }
}

fn grants(kind: &str, action: &str) -> Value {
    json!([{ "negate": false, "resource_type": kind, "action": action }])
}
