//! A decision on a prepared subject allocates nothing

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

mod vectors;

use app_authz::id::OrganizationId;
use app_authz::rbac::{
    Acl, Action, BuiltInRoles, Case, Object, ResourceType, Scope, Subject, Switches,
    WorkspaceSharing,
};
use app_authz::{UserId, WorkspaceId};
use std::sync::Arc;
use uuid::Uuid;

fn allocations(decision: impl FnOnce()) -> u64 {
    allocation_counter::measure(decision).count_total
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_decision_on_a_case_allocates_nothing() {
    let more = vectors::more().unwrap_or_default();
    for line in vectors::KEPT.lines().chain(more.lines()) {
        let case = Case::from_json(line).unwrap();
        let Some(object) = case.object() else { continue };
        let (subject, action) = (case.subject(), case.action());
        let mut allowed = false;
        assert_eq!(allocations(|| allowed = subject.is_allowed(action, &object)), 0, "{line}");
        assert_eq!(Some(allowed), case.expected);
    }
}

#[test]
fn an_object_of_a_listed_type_and_a_decision_on_it_allocate_nothing() {
    let user = UserId(Uuid::from_u128(1));
    let acme = OrganizationId(Uuid::from_u128(2));
    let names = ["member".to_owned(), format!("organization-member:{acme}")];
    let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
    let roles = BuiltInRoles::new(Switches::default())
        .expand(names.iter().map(|name| (name, WorkspaceSharing::Everyone)), &[]);
    let subject = Subject::new(user, roles, Arc::new(Scope::all()));
    let acl = Acl::NONE;

    let count = allocations(|| {
        let workspace = WorkspaceId(Uuid::from_u128(3));
        let own = Object::workspace(workspace, user, acme, &acl, false);
        assert!(subject.is_allowed(&Action::Ssh, &own));
        let foreign = Object::workspace(workspace, UserId(Uuid::nil()), acme, &acl, false);
        assert!(!subject.is_allowed(&Action::Ssh, &foreign));
        let hypothetical = Object::new(ResourceType::Workspace).owner(user).any_organization();
        assert!(subject.is_allowed(&Action::ApplicationConnect, &hypothetical));
    });
    assert_eq!(count, 0);
}
