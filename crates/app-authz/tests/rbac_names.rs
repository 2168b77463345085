//! The names of roles and scopes, and who may assign a role

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

use app_authz::id::{OrganizationId, TemplateId, TemplateVersionId};
use app_authz::rbac::{
    Action, AgentScope, AllowEntry, AllowList, BuiltInRoles, Levels, Object, Permission,
    ResourceType, Role, RoleName, Scope, ScopeName, Subject, Switches, WorkspaceSharing,
};
use app_authz::{Error, UserId, WorkspaceId};
use std::sync::Arc;
use uuid::Uuid;

const ACME: &str = "aaaaaaaa-0000-4000-a000-00000000000a";
const BETA: &str = "bbbbbbbb-0000-4000-a000-00000000000b";

fn name(text: &str) -> RoleName {
    text.parse().unwrap()
}

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

#[test]
fn a_role_name_has_at_most_one_colon_and_a_valid_id() {
    assert_eq!(name("owner"), RoleName::OWNER);
    let acme = OrganizationId(ACME.parse().unwrap());
    assert_eq!(name(&format!("custom:{ACME}")).organization(), Some(acme));
    assert_eq!(name(&format!("custom:{ACME}")).to_string(), format!("custom:{ACME}"));
    assert_eq!(name(&format!("owner:{}", Uuid::nil())), RoleName::OWNER);
    for bad in
        ["", ":", &format!(":{ACME}"), "a:b", "a:", &format!("a:{ACME}:"), &format!("a:b:{ACME}")]
    {
        assert_eq!(bad.parse::<RoleName>(), Err(Error::InvalidRoleName(bad.to_owned())), "{bad}");
    }
}

#[test]
fn a_role_name_built_from_parts_has_no_other_colon() {
    let acme = OrganizationId(ACME.parse().unwrap());
    assert_eq!(RoleName::in_organization("custom", acme), Ok(name(&format!("custom:{ACME}"))));
    for bad in ["", "a:b", ":"] {
        let refused = Err(Error::InvalidRoleName(bad.to_owned()));
        assert_eq!(RoleName::site(bad), refused);
        assert_eq!(RoleName::in_organization(bad, acme), refused);
    }
}

#[test]
fn a_permission_names_a_type_and_an_action() {
    for good in ["workspace:read", "*:read", "workspace:*", "!*:*", "unheard_of:invented"] {
        assert_eq!(good.parse::<Permission>().unwrap().to_string(), good);
    }
    for bad in ["", "!", "workspace", ":", ":read", "workspace:", "!:read", "!workspace:"] {
        let refused = Err(Error::InvalidPermission(bad.to_owned()));
        assert_eq!(bad.parse::<Permission>(), refused, "{bad}");
    }
    let kind = ResourceType::from("unheard_of");
    assert_eq!((kind.as_str(), kind.to_string()), ("unheard_of", "unheard_of".to_owned()));
    assert_eq!(format!("{kind:?}"), r#"Other("unheard_of")"#);
}

#[test]
fn a_built_in_role_is_found_only_at_its_level() {
    let roles = BuiltInRoles::new(Switches::default());
    for text in roles.names() {
        let site = roles.role(&name(text), WorkspaceSharing::Everyone);
        let org = roles.role(&name(&format!("{text}:{ACME}")), WorkspaceSharing::Everyone);
        assert!(site.is_some() != org.is_some(), "{text}");
    }
    assert_eq!(roles.names().count(), 14);
    for none in ["system", "Owner", "custom", &format!("custom:{ACME}")] {
        assert_eq!(roles.role(&name(none), WorkspaceSharing::Everyone), None, "{none}");
    }
}

/// How stored roles with built-in and other names change the roles of a subject
#[test]
fn only_a_system_role_replaces_a_built_in_one() {
    let roles = BuiltInRoles::new(Switches::default());
    let at = |role: &str| format!("{role}:{ACME}");
    let (member, account) = (at("organization-member"), at("organization-service-account"));
    let elsewhere = "organization-member:bbbbbbbb-0000-4000-a000-00000000000b";
    let (built_in, stored, nothing) = ("built in", "stored", "nothing");
    for (held, row, is_system, expected) in [
        (&*member, &*member, true, stored),
        (&account, &account, true, stored),
        (&at("agents-access"), &at("agents-access"), true, stored),
        (&member, &member, false, built_in),
        (&account, &account, false, built_in),
        (&at("organization-admin"), &at("organization-admin"), false, built_in),
        // A row with another name, or of another organization
        (&member, &account, true, built_in),
        (&member, elsewhere, true, built_in),
        (&member, "organization-member", true, built_in),
        // Rows do not replace roles of the deployment.
        ("owner", "owner", true, built_in),
        ("member", "member", true, built_in),
        ("member", "member", false, built_in),
        (&at("owner"), &at("owner"), true, nothing),
        (&at("member"), &at("member"), true, nothing),
        ("organization-member", "organization-member", true, nothing),
        ("organization-member", "organization-member", false, nothing),
        // Rows may have any name that is not built in.
        (&at("mine"), &at("mine"), false, stored),
        (&at("mine"), &at("mine"), true, stored),
        ("mine", "mine", false, stored),
        ("mine", &at("mine"), false, nothing),
        (&at("mine"), elsewhere, false, nothing),
    ] {
        let all = Levels::site(["*:*".parse::<Permission>().unwrap()].into_iter().collect());
        let role = Role::new(name(row), all);
        let role = Arc::new(if is_system { role.into_system() } else { role });
        assert_eq!(role.is_system(), is_system);
        let held = name(held);
        let rows = [Arc::clone(&role)];
        let expanded = roles.expand([(&held, WorkspaceSharing::Everyone)], &rows);
        let found = match &expanded[..] {
            [] => nothing,
            [found] if Arc::ptr_eq(found, &role) => stored,
            [found] => {
                assert_eq!(Some(&**found), roles.role(&held, WorkspaceSharing::Everyone).as_ref());
                built_in
            }
            _ => panic!("one name is {} roles", expanded.len()),
        };
        assert_eq!(found, expected, "{held} beside a row of {row}, system: {is_system}");
    }
}

#[test]
fn a_system_role_is_found_after_another_row_of_its_name() {
    let roles = BuiltInRoles::new(Switches::default());
    let member = name(&format!("organization-member:{ACME}"));
    let made = Arc::new(Role::new(member.clone(), Levels::default()));
    let kept = Arc::new(Role::new(member.clone(), Levels::default()).into_system());
    for rows in [[&made, &kept], [&kept, &made]] {
        let rows = rows.map(Arc::clone);
        let expanded = roles.expand([(&member, WorkspaceSharing::Everyone)], &rows);
        assert!(expanded.len() == 1 && Arc::ptr_eq(&expanded[0], &kept));
    }
}

#[test]
fn roles_are_assigned_only_within_limits() {
    let roles = BuiltInRoles::new(Switches::default());
    let may = |held: &str, role: &str| roles.can_assign([&name(held)], &name(role));
    let at = |role: &str, organization: &str| format!("{role}:{organization}");

    for role in [
        "owner",
        "member",
        "auditor",
        "custom",
        &at("organization-admin", ACME),
        &at("custom", ACME),
    ] {
        assert!(may("owner", role) && may("system", role), "{role}");
        assert!(
            !may("auditor", role) && !may("member", role) && !may("template-admin", role),
            "{role}"
        );
    }
    for nothing in ["system", "organization-admin", &at("owner", ACME)] {
        assert!(!may("owner", nothing), "{nothing}");
    }

    assert!(may("user-admin", "member") && may("user-admin", &at("organization-member", ACME)));
    assert!(!may("user-admin", "owner") && !may("user-admin", &at("organization-admin", ACME)));

    let admin = at("organization-admin", ACME);
    for role in roles
        .names()
        .filter(|role| role.contains("organization"))
        .chain(["agents-access", "custom"])
    {
        assert!(may(&admin, &at(role, ACME)), "{role}");
        assert!(!may(&admin, &at(role, BETA)), "{role}");
    }
    assert!(!may(&admin, "member") && !may(&admin, "custom"));

    let user_admin = at("organization-user-admin", ACME);
    assert!(may(&user_admin, &at("organization-member", ACME)));
    assert!(
        !may(&user_admin, &at("organization-member", BETA))
            && !may(&user_admin, &at("organization-auditor", ACME))
    );

    // A role with the name of a built-in one at the wrong level may not assign any.
    assert!(!may(&at("owner", ACME), "member") && !may("organization-admin", &at("custom", ACME)));
}

#[test]
fn scope_names_are_known_and_their_aliases_the_same() {
    let same = |a: &str, b: &str| assert_eq!(a.parse::<ScopeName>(), b.parse::<ScopeName>());
    same("all", "coder:all");
    same("application_connect", "coder:application_connect");
    for known in [
        "coder:all",
        "coder:application_connect",
        "no_user_data",
        "coder:workspaces.create",
        "coder:workspaces.operate",
        "coder:workspaces.delete",
        "coder:workspaces.access",
        "coder:templates.build",
        "coder:templates.author",
        "coder:apikeys.manage_self",
        "workspace:ssh",
        "workspace:*",
        "audit_log:*",
        "group_member:read",
    ] {
        assert_eq!(known.parse::<ScopeName>().unwrap().to_string(), known);
    }
    for unknown in [
        "",
        "*",
        "*:*",
        "workspace",
        "workspace:",
        ":read",
        "workspace:use",
        "workspaces:read",
        "workspace:read:",
        "Workspace:read",
        "coder:workspaces",
        "coder:no_user_data",
    ] {
        let refused = Err(Error::UnknownScope(unknown.to_owned()));
        assert_eq!(unknown.parse::<ScopeName>(), refused, "{unknown}");
    }
}

#[test]
fn only_a_curated_set_of_scopes_may_be_requested() {
    let requestable = |text: &str| text.parse::<ScopeName>().unwrap().is_requestable();
    for yes in [
        "all",
        "application_connect",
        "coder:templates.author",
        "workspace:read",
        "workspace:*",
        "workspace:application_connect",
        "template:use",
        "template:*",
        "api_key:update",
        "file:*",
        "user:read_personal",
        "user:*",
        "user_secret:delete",
        "user_skill:create",
        "task:read",
        "organization:update",
        "organization:*",
    ] {
        assert!(requestable(yes), "{yes}");
    }
    for no in [
        "no_user_data",
        "workspace:share",
        "workspace:create_agent",
        "workspace:delete_agent",
        "workspace:update_agent",
        "template:view_insights",
        "user:create",
        "user:update",
        "user:delete",
        "organization:create",
        "workspace_dormant:read",
        "system:read",
        "audit_log:read",
        "group:*",
        "crypto_key:*",
    ] {
        assert!(!requestable(no), "{no}");
    }
}

#[test]
fn a_credential_needs_a_scope_and_an_empty_allow_list_permits_nothing() {
    assert_eq!(Scope::of_credential(&[], &AllowList::everything()), Err(Error::NoScope));

    let read = "workspace:read".parse::<ScopeName>().unwrap();
    let ssh = "workspace:ssh".parse::<ScopeName>().unwrap();
    let allowed = |names: &[ScopeName], list: &AllowList, action: Action| {
        let owner = BuiltInRoles::new(Switches::default())
            .role(&RoleName::OWNER, WorkspaceSharing::Everyone)
            .map(Arc::new);
        let subject = Subject::new(user(1), owner, Scope::of_credential(names, list).unwrap());
        subject.is_allowed(&action, &Object::new(ResourceType::Workspace).id(Uuid::nil()))
    };
    let everything = AllowList::everything();
    assert!(allowed(&[read.clone(), ssh.clone()], &everything, Action::Read));
    assert!(allowed(&[read.clone(), ssh.clone()], &everything, Action::Ssh));
    assert!(!allowed(&[read.clone(), ssh], &everything, Action::Stop));
    assert!(!allowed(std::slice::from_ref(&read), &AllowList::default(), Action::Read));
    let nil = AllowList::parse([format!("workspace:{}", Uuid::nil())]).unwrap();
    assert!(allowed(std::slice::from_ref(&read), &nil, Action::Read));
    assert_eq!(*Scope::of_credential(&[read], &nil).unwrap().allow_list(), nil);
    assert_eq!(*Scope::all().allow_list(), everything);
}

#[test]
fn an_agent_token_is_limited_to_its_own_workspace() {
    let (own, other) = (WorkspaceId(Uuid::from_u128(10)), WorkspaceId(Uuid::from_u128(11)));
    let agent = AgentScope {
        workspace: own,
        template: TemplateId(Uuid::from_u128(20)),
        template_version: TemplateVersionId(Uuid::from_u128(21)),
        owner: user(1),
        no_user_data: false,
    };
    let roles = BuiltInRoles::new(Switches::default());
    let names = [name("owner"), name(&format!("organization-member:{ACME}"))];
    let roles = roles.expand(names.iter().map(|name| (name, WorkspaceSharing::Everyone)), &[]);
    let allowed = |agent: &AgentScope, object: &Object<'_>, more: Option<AllowEntry>| {
        let scope = Scope::of_agent(agent, more);
        Subject::new(user(1), roles.clone(), scope).is_allowed(&Action::Read, object)
    };
    let workspace = |id: WorkspaceId| Object::new(ResourceType::Workspace).id(id.0).owner(user(1));
    let task = Object::new(ResourceType::Task).id(Uuid::from_u128(30));
    assert!(allowed(&agent, &workspace(own), None));
    assert!(!allowed(&agent, &workspace(other), None));
    assert!(allowed(&agent, &Object::new(ResourceType::Template).id(Uuid::from_u128(21)), None));
    assert!(!allowed(&agent, &task, None));
    assert!(allowed(
        &agent,
        &task,
        Some(AllowEntry::object(ResourceType::Task, Uuid::from_u128(30)))
    ));

    assert!(allowed(&agent, &Object::user(user(1)), None));
    let blind = AgentScope { no_user_data: true, ..agent };
    assert!(!allowed(&blind, &Object::user(user(1)), None));
    assert!(allowed(&blind, &workspace(own), None));
}

#[test]
fn the_system_may_not_open_apps_or_create_workspaces() {
    let system = Subject::system_restricted();
    assert_eq!(system.id(), UserId(Uuid::nil()));
    let workspace = Object::new(ResourceType::Workspace).id(Uuid::from_u128(1)).owner(user(7));
    for action in
        [Action::Read, Action::Update, Action::Delete, Action::Start, Action::Stop, Action::Ssh]
    {
        assert!(system.is_allowed(&action, &workspace), "{action}");
    }
    for action in [Action::ApplicationConnect, Action::Create, Action::Share] {
        assert!(!system.is_allowed(&action, &workspace), "{action}");
    }
    assert!(system.is_allowed(&Action::Read, &Object::new("unheard_of".into())));
    assert!(system.is_allowed(&Action::from("any"), &Object::new(ResourceType::System)));
}
