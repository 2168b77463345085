//! The built-in policy as one table, reviewed as a diff

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

use std::fmt::Write;

use std::sync::Arc;

use app_authz::UserId;
use app_authz::rbac::{
    Action, AllowList, BuiltInRoles, Levels, Object, Permission, Permissions, ResourceType, Role,
    RoleName, Scope, Subject, Switches, WorkspaceSharing,
};
use uuid::Uuid;

const ORGANIZATION: &str = "aaaaaaaa-0000-4000-a000-00000000000a";

/// One line for each role, level and type: the actions, `*` where all are meant
fn print(table: &mut String, role: &Role) {
    let mut print = |level: &str, permissions: &Permissions| {
        let mut lines: Vec<(String, Vec<String>)> = Vec::new();
        for permission in permissions.iter() {
            let text = permission.to_string();
            let (kind, action) = text.split_once(':').unwrap();
            match lines.iter_mut().find(|(name, _)| name == kind) {
                Some((_, actions)) => actions.push(action.to_owned()),
                None => lines.push((kind.to_owned(), vec![action.to_owned()])),
            }
        }
        lines.sort();
        for (kind, actions) in lines {
            writeln!(table, "{} | {level} | {kind} | {}", role.name().name(), actions.join(" "))
                .unwrap();
        }
    };
    print("site", &role.levels().site);
    print("user", &role.levels().user);
    for (_, lists) in &role.levels().organizations {
        print("organization", &lists.org);
        print("member", &lists.member);
    }
}

fn find(roles: &BuiltInRoles, name: &str, sharing: WorkspaceSharing) -> Role {
    let site: RoleName = name.parse().unwrap();
    let org: RoleName = format!("{name}:{ORGANIZATION}").parse().unwrap();
    roles.role(&site, sharing).or_else(|| roles.role(&org, sharing)).unwrap()
}

#[test]
fn the_policy_of_every_role() {
    let roles = BuiltInRoles::new(Switches::default());
    let mut table = String::from("role | level | type | actions\n");
    for name in roles.names() {
        print(&mut table, &find(&roles, name, WorkspaceSharing::Everyone));
    }
    print(&mut table, Subject::system_restricted().roles().next().unwrap());
    insta::assert_snapshot!(table);
}

#[test]
fn what_the_switches_change() {
    let mut table = String::from("role | level | type | actions\n");
    let closed =
        Switches::default().disable_owner_workspace_access(true).disable_workspace_sharing(true);
    let (open, closed) = (BuiltInRoles::new(Switches::default()), BuiltInRoles::new(closed));
    let mut changed = |heading: &str, before: &Role, after: &Role| {
        let (mut old, mut new) = (String::new(), String::new());
        print(&mut old, before);
        print(&mut new, after);
        writeln!(table, "-- {heading}").unwrap();
        for line in old.lines().filter(|line| !new.lines().any(|other| other == *line)) {
            writeln!(table, "- {line}").unwrap();
        }
        for line in new.lines().filter(|line| !old.lines().any(|other| other == *line)) {
            writeln!(table, "+ {line}").unwrap();
        }
    };
    for name in open.names() {
        let before = find(&open, name, WorkspaceSharing::Everyone);
        let after = find(&closed, name, WorkspaceSharing::Everyone);
        if before != after {
            changed("deployment without owner access and sharing", &before, &after);
        }
    }
    let member = |sharing| find(&open, "organization-member", sharing);
    let everyone = member(WorkspaceSharing::Everyone);
    changed(
        "organization shares service accounts' workspaces",
        &everyone,
        &member(WorkspaceSharing::ServiceAccounts),
    );
    changed("organization shares nothing", &everyone, &member(WorkspaceSharing::None));
    let account = |sharing| find(&open, "organization-service-account", sharing);
    let everyone = account(WorkspaceSharing::Everyone);
    assert_eq!(account(WorkspaceSharing::ServiceAccounts), everyone);
    changed("organization shares nothing", &everyone, &account(WorkspaceSharing::None));
    insta::assert_snapshot!(table);
}

#[test]
fn the_actions_of_every_type() {
    let mut table = String::from("type | actions\n");
    for kind in ResourceType::LISTED {
        let actions: Vec<&str> = kind.actions().iter().map(Action::as_str).collect();
        writeln!(table, "{kind} | {}", actions.join(" ")).unwrap();
    }
    insta::assert_snapshot!(table);
}

#[test]
fn what_a_scope_leaves_of_everything() {
    let mut table = String::from("scope | type | actions\n");
    let all = Levels::site(["*:*".parse::<Permission>().unwrap()].into_iter().collect());
    let everything = Arc::new(Role::new("everything".parse().unwrap(), all));
    for name in [
        "coder:application_connect",
        "coder:workspaces.create",
        "coder:workspaces.operate",
        "coder:workspaces.delete",
        "coder:workspaces.access",
        "coder:templates.build",
        "coder:templates.author",
        "coder:apikeys.manage_self",
        "workspace:ssh",
        "task:*",
    ] {
        let scope = Scope::of_credential(&[name.parse().unwrap()], &AllowList::everything());
        let role = Arc::clone(&everything);
        let subject = Subject::new(UserId(Uuid::from_u128(1)), [role], scope.unwrap());
        for kind in ResourceType::LISTED {
            let object = Object::new(kind.clone());
            let allowed = Action::LISTED.iter().filter(|a| subject.is_allowed(a, &object));
            let allowed: Vec<&str> = allowed.map(Action::as_str).collect();
            match allowed.len() {
                0 => {}
                n if n == Action::LISTED.len() => writeln!(table, "{name} | {kind} | *").unwrap(),
                _ => writeln!(table, "{name} | {kind} | {}", allowed.join(" ")).unwrap(),
            }
        }
    }
    insta::assert_snapshot!(table);
}
