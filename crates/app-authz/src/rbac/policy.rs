//! The permissions of the built-in roles, which a snapshot test prints for review

use super::action::{Action, ActionSet};
use super::builtin::{Switches, WorkspaceSharing};
use super::permission::{Pattern, Permission, Permissions};
use super::resource::{CRUD, DORMANT, ResourceType, WORKSPACE};
use super::role::{Levels, Role, RoleName};

/// A built-in role, before it is bound to an organization
#[derive(Clone, Debug)]
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    pub(super) extent: Extent,
    pub(super) site: Permissions,
    pub(super) user: Permissions,
    pub(super) org: Permissions,
    pub(super) member: Permissions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Deployment,
    Organization,
}

pub(super) fn owner(switches: Switches) -> BuiltIn {
    let entered = ActionSet::of(&[Action::ApplicationConnect, Action::Ssh]);
    let workspace = if switches.disable_owner_workspace_access {
        WORKSPACE.without(entered)
    } else {
        WORKSPACE
    };
    BuiltIn::of_deployment("owner").site(every_type_but(
        &[
            ResourceType::UserSecret,
            ResourceType::UsageEvent,
            ResourceType::BoundaryUsage,
            ResourceType::AiSeat,
        ],
        &[
            (ResourceType::Workspace, workspace),
            (ResourceType::WorkspaceDormant, DORMANT),
            (ResourceType::PrebuiltWorkspace, U.union(D)),
            (ResourceType::UserSkill, R.union(D)),
            (ResourceType::AiGatewayKey, CRUD.without(U)),
            (ResourceType::BoundaryLog, R),
        ],
    ))
}

pub(super) fn member(switches: Switches) -> BuiltIn {
    let site = granting(&[
        (ResourceType::AssignRole, R),
        (ResourceType::Oauth2App, R),
        (ResourceType::WorkspaceProxy, R),
    ]);
    let ban = switches.disable_workspace_sharing.then(no_sharing);
    BuiltIn::of_deployment("member").site(site.into_iter().chain(ban)).user(every_type_but(
        &[
            ResourceType::Workspace,
            ResourceType::WorkspaceDormant,
            ResourceType::PrebuiltWorkspace,
            ResourceType::OrganizationMember,
            ResourceType::Chat,
            ResourceType::AiSeat,
            ResourceType::BoundaryUsage,
        ],
        &[
            (
                ResourceType::User,
                ActionSet::of(&[Action::Read, Action::ReadPersonal, Action::UpdatePersonal]),
            ),
            (ResourceType::BoundaryLog, C),
            (ResourceType::AibridgeInterception, C.union(U)),
        ],
    ))
}

pub(super) fn auditor() -> BuiltIn {
    BuiltIn::of_deployment("auditor").site(granting(&[
        (ResourceType::AibridgeInterception, R),
        (ResourceType::AssignOrgRole, R),
        (ResourceType::AuditLog, R),
        (ResourceType::BoundaryLog, R),
        (ResourceType::ConnectionLog, R),
        (ResourceType::DeploymentConfig, R),
        (ResourceType::DeploymentStats, R),
        (ResourceType::Group, R),
        (ResourceType::GroupMember, R),
        (ResourceType::Organization, R),
        (ResourceType::OrganizationMember, R),
        (ResourceType::Template, READ_AND_INSIGHTS),
        (ResourceType::User, R),
    ]))
}

pub(super) fn template_admin() -> BuiltIn {
    BuiltIn::of_deployment("template-admin").site(granting(&[
        (ResourceType::AssignOrgRole, R),
        (ResourceType::File, C.union(R)),
        (ResourceType::Group, R),
        (ResourceType::GroupMember, R),
        (ResourceType::Organization, R),
        (ResourceType::OrganizationMember, R),
        (ResourceType::PrebuiltWorkspace, U.union(D)),
        (ResourceType::ProvisionerDaemon, CRUD),
        (ResourceType::Template, ResourceType::Template.actions()),
        (ResourceType::User, R),
        (ResourceType::Workspace, R),
        (ResourceType::WorkspaceDormant, R),
    ]))
}

pub(super) fn user_admin() -> BuiltIn {
    BuiltIn::of_deployment("user-admin").site(granting(&[
        (ResourceType::AssignOrgRole, ASSIGN),
        (ResourceType::AssignRole, ASSIGN),
        (ResourceType::Group, CRUD),
        (ResourceType::GroupMember, R),
        (ResourceType::IdpsyncSettings, R.union(U)),
        (ResourceType::Organization, R),
        (ResourceType::OrganizationMember, CRUD),
        (ResourceType::User, ResourceType::User.actions()),
    ]))
}

pub(super) fn organization_admin() -> BuiltIn {
    let entered = ActionSet::of(&[Action::ApplicationConnect, Action::Ssh]);
    BuiltIn::of_organization("organization-admin").site(granting(&[(ResourceType::User, R)])).org(
        every_type_but(
            &[
                ResourceType::AssignRole,
                ResourceType::UserSecret,
                ResourceType::BoundaryLog,
                ResourceType::BoundaryUsage,
                ResourceType::AiSeat,
                ResourceType::WorkspaceBuildOrchestration,
            ],
            &[
                (ResourceType::Workspace, WORKSPACE.without(entered)),
                (ResourceType::WorkspaceDormant, DORMANT),
                (ResourceType::PrebuiltWorkspace, U.union(D)),
            ],
        ),
    )
}

pub(super) fn organization_member(sharing: WorkspaceSharing) -> BuiltIn {
    let everyone = sharing == WorkspaceSharing::Everyone;
    BuiltIn::of_organization("organization-member")
        .org(organization_facts(sharing, everyone))
        .member(own_objects().into_iter().chain((!everyone).then(no_sharing)))
}

/// The role that a service account has instead of `organization-member`
///
/// A service account may share its workspaces unless sharing is off for all.
pub(super) fn organization_service_account(sharing: WorkspaceSharing) -> BuiltIn {
    let shares = sharing != WorkspaceSharing::None;
    BuiltIn::of_organization("organization-service-account")
        .org(organization_facts(sharing, shares))
        .member(own_objects())
}

/// What members of an organization may read of it: also its groups, if they may share
fn organization_facts(sharing: WorkspaceSharing, groups: bool) -> Vec<Permission> {
    let none_share = sharing == WorkspaceSharing::None;
    let mut permissions = granting(&[
        (ResourceType::AssignOrgRole, R),
        (ResourceType::Organization, R),
        (ResourceType::ProvisionerDaemon, R),
        (ResourceType::OrganizationMember, if none_share { ActionSet::NONE } else { R }),
        (ResourceType::Group, if groups { R } else { ActionSet::NONE }),
    ]);
    permissions.extend(none_share.then(no_sharing));
    permissions
}

/// What members of an organization may do with the objects that they own in it
fn own_objects() -> Vec<Permission> {
    granting(&[
        (ResourceType::AibridgeInterception, C.union(U)),
        (ResourceType::ApiKey, CRUD),
        (ResourceType::File, C.union(R)),
        (ResourceType::GroupMember, R),
        (ResourceType::InboxNotification, CRUD.without(D)),
        (ResourceType::NotificationMessage, R.union(U)),
        (ResourceType::NotificationPreference, R.union(U)),
        (ResourceType::OrganizationMember, R),
        (ResourceType::ProvisionerDaemon, C.union(R)),
        (ResourceType::Task, CRUD),
        (ResourceType::Workspace, WORKSPACE),
        (ResourceType::WorkspaceDormant, DORMANT),
    ])
}

pub(super) fn organization_auditor() -> BuiltIn {
    BuiltIn::of_organization("organization-auditor").org(granting(&[
        (ResourceType::AuditLog, R),
        (ResourceType::ConnectionLog, R),
        (ResourceType::Group, R),
        (ResourceType::GroupMember, R),
        (ResourceType::Organization, R),
        (ResourceType::OrganizationMember, R),
        (ResourceType::Template, READ_AND_INSIGHTS),
    ]))
}

pub(super) fn organization_user_admin() -> BuiltIn {
    BuiltIn::of_organization("organization-user-admin")
        .site(granting(&[(ResourceType::User, R)]))
        .org(granting(&[
            (ResourceType::AssignOrgRole, ASSIGN),
            (ResourceType::Group, CRUD),
            (ResourceType::GroupMember, R),
            (ResourceType::IdpsyncSettings, R.union(U)),
            (ResourceType::Organization, R),
            (ResourceType::OrganizationMember, CRUD),
        ]))
}

pub(super) fn organization_template_admin() -> BuiltIn {
    BuiltIn::of_organization("organization-template-admin").org(granting(&[
        (ResourceType::File, C.union(R)),
        (ResourceType::Group, R),
        (ResourceType::GroupMember, R),
        (ResourceType::Organization, R),
        (ResourceType::OrganizationMember, R),
        (ResourceType::PrebuiltWorkspace, U.union(D)),
        (ResourceType::ProvisionerDaemon, CRUD),
        (ResourceType::ProvisionerJobs, CRUD.without(D)),
        (ResourceType::Template, ResourceType::Template.actions()),
        (ResourceType::Workspace, R),
        (ResourceType::WorkspaceDormant, R),
    ]))
}

pub(super) fn organization_workspace_creation_ban() -> BuiltIn {
    let banned = [Action::Create, Action::Delete, Action::CreateAgent, Action::DeleteAgent];
    BuiltIn::of_organization("organization-workspace-creation-ban")
        .org(banned.map(|action| Permission::deny(ResourceType::Workspace, action)))
}

pub(super) fn organization_workspace_access() -> BuiltIn {
    BuiltIn::of_organization("organization-workspace-access").member(granting(&[
        (ResourceType::File, C.union(R)),
        (ResourceType::ProvisionerDaemon, C.union(R)),
        (ResourceType::Task, CRUD),
        (ResourceType::Workspace, WORKSPACE),
        (ResourceType::WorkspaceDormant, DORMANT),
    ]))
}

pub(super) fn agents_access() -> BuiltIn {
    let chat = CRUD.without(D).union(ActionSet::of(&[Action::Share]));
    BuiltIn::of_organization("agents-access").member(granting(&[(ResourceType::Chat, chat)]))
}

/// What `member` also granted up to v2.27: own workspaces outside of organizations
///
/// No workspace is outside of an organization. But whether a visitor could open an app of
/// their own was checked against a hypothetical workspace there.
pub(super) fn owner_outside() -> Role {
    let levels = Levels {
        user: granting(&[(ResourceType::Workspace, WORKSPACE)]).into_iter().collect(),
        ..Levels::default()
    };
    Role::new(RoleName::MEMBER, levels)
}

/// The role of the system-restricted subject, which cannot be assigned by name
///
/// It may open terminals but not apps, and may not create workspaces.
pub(super) fn system() -> Role {
    let foreign = ActionSet::of(&[Action::ApplicationConnect, Action::Read, Action::Share]);
    let site = granting(&[
        (ResourceType::AiGatewayKey, R.union(U)),
        (ResourceType::AiProvider, CRUD),
        (ResourceType::ApiKey, CRUD),
        (ResourceType::AssignOrgRole, ResourceType::AssignOrgRole.actions()),
        (ResourceType::AssignRole, ResourceType::AssignRole.actions()),
        (ResourceType::Chat, CRUD),
        (ResourceType::CryptoKey, CRUD.without(R)),
        (ResourceType::DeploymentConfig, CRUD.without(R)),
        (ResourceType::File, C.union(R)),
        (ResourceType::Group, C.union(U)),
        (ResourceType::NotificationMessage, CRUD),
        (ResourceType::NotificationPreference, CRUD.without(R)),
        (ResourceType::NotificationTemplate, CRUD.without(R)),
        (ResourceType::Oauth2App, CRUD),
        (ResourceType::Oauth2AppSecret, CRUD),
        (ResourceType::Organization, C.union(R)),
        (ResourceType::OrganizationMember, CRUD.without(U)),
        (ResourceType::ProvisionerDaemon, CRUD.without(D)),
        (ResourceType::ProvisionerJobs, CRUD.without(D)),
        (ResourceType::System, ActionSet::ALL),
        (ResourceType::User, ResourceType::User.actions()),
        (ResourceType::Workspace, WORKSPACE.without(C).without(foreign)),
        (ResourceType::WorkspaceBuildOrchestration, R.union(U)),
        (ResourceType::WorkspaceDormant, U.union(D).union(ActionSet::of(&[Action::Stop]))),
        (ResourceType::WorkspaceProxy, CRUD.without(R)),
    ]);
    let read_everything = Permission::grant(Pattern::Any, Action::Read);
    Role::new(
        RoleName::built_in(SYSTEM),
        Levels::site(site.into_iter().chain([read_everything]).collect()),
    )
}

impl BuiltIn {
    const fn of_deployment(name: &'static str) -> Self {
        Self {
            name,
            extent: Extent::Deployment,
            site: Permissions::NONE,
            user: Permissions::NONE,
            org: Permissions::NONE,
            member: Permissions::NONE,
        }
    }

    const fn of_organization(name: &'static str) -> Self {
        let mut role = Self::of_deployment(name);
        role.extent = Extent::Organization;
        role
    }

    fn site(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.site = permissions.into_iter().collect();
        self
    }

    fn user(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.user = permissions.into_iter().collect();
        self
    }

    fn org(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.org = permissions.into_iter().collect();
        self
    }

    fn member(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.member = permissions.into_iter().collect();
        self
    }
}

fn granting(actions: &[(ResourceType, ActionSet)]) -> Vec<Permission> {
    actions.iter().flat_map(|(kind, actions)| grant_each(kind, *actions)).collect()
}

/// Grants all actions on all listed types, except for the types left out and those with
/// limited actions
fn every_type_but(
    left_out: &[ResourceType],
    limited: &[(ResourceType, ActionSet)],
) -> Vec<Permission> {
    let own = |kind| limited.iter().find(|(limited, _)| limited == kind).map(|(_, own)| *own);
    let types = ResourceType::LISTED.iter().filter(|kind| !left_out.contains(kind));
    types.flat_map(|kind| grant_each(kind, own(kind).unwrap_or(ActionSet::ALL))).collect()
}

fn grant_each(kind: &ResourceType, actions: ActionSet) -> Vec<Permission> {
    if actions == ActionSet::ALL {
        return vec![Permission::grant(kind.clone(), Pattern::Any)];
    }
    actions.iter().map(|action| Permission::grant(kind.clone(), action.clone())).collect()
}

fn no_sharing() -> Permission {
    Permission::deny(ResourceType::Workspace, Action::Share)
}

/// The name of the role of the system-restricted subject
pub(super) const SYSTEM: &str = "system";

const C: ActionSet = ActionSet::of(&[Action::Create]);
const R: ActionSet = ActionSet::of(&[Action::Read]);
const U: ActionSet = ActionSet::of(&[Action::Update]);
const D: ActionSet = ActionSet::of(&[Action::Delete]);
const ASSIGN: ActionSet = ActionSet::of(&[Action::Assign, Action::Unassign, Action::Read]);
const READ_AND_INSIGHTS: ActionSet = ActionSet::of(&[Action::Read, Action::ViewInsights]);
