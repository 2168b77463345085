use super::action::{Action, ActionSet};
use super::vocabulary::vocabulary;

vocabulary! {
    /// The type of an object
    ///
    /// Agents do not have a type: actions on the workspace cover its agents.
    ResourceType {
        AiGatewayKey "ai_gateway_key",
        AiModelPrice "ai_model_price",
        AiProvider "ai_provider",
        AiSeat "ai_seat",
        AibridgeInterception "aibridge_interception",
        ApiKey "api_key",
        AssignOrgRole "assign_org_role",
        AssignRole "assign_role",
        AuditLog "audit_log",
        BoundaryLog "boundary_log",
        BoundaryUsage "boundary_usage",
        Chat "chat",
        ConnectionLog "connection_log",
        CryptoKey "crypto_key",
        DebugInfo "debug_info",
        DeploymentConfig "deployment_config",
        DeploymentStats "deployment_stats",
        File "file",
        Group "group",
        GroupMember "group_member",
        IdpsyncSettings "idpsync_settings",
        InboxNotification "inbox_notification",
        License "license",
        NotificationMessage "notification_message",
        NotificationPreference "notification_preference",
        NotificationTemplate "notification_template",
        Oauth2App "oauth2_app",
        Oauth2AppCodeToken "oauth2_app_code_token",
        Oauth2AppSecret "oauth2_app_secret",
        Organization "organization",
        OrganizationMember "organization_member",
        PrebuiltWorkspace "prebuilt_workspace",
        ProvisionerDaemon "provisioner_daemon",
        ProvisionerJobs "provisioner_jobs",
        Replicas "replicas",
        System "system",
        TailnetCoordinator "tailnet_coordinator",
        Task "task",
        Template "template",
        UsageEvent "usage_event",
        User "user",
        UserSecret "user_secret",
        UserSkill "user_skill",
        WebpushSubscription "webpush_subscription",
        Workspace "workspace",
        WorkspaceAgentDevcontainers "workspace_agent_devcontainers",
        WorkspaceAgentResourceMonitor "workspace_agent_resource_monitor",
        WorkspaceBuildOrchestration "workspace_build_orchestration",
        WorkspaceDormant "workspace_dormant",
        WorkspaceProxy "workspace_proxy",
    }
}

impl ResourceType {
    /// The actions that make sense for the type; none for an unlisted one
    ///
    /// They determine which scope names exist and what `*` means in a printed policy. Decisions
    /// do not depend on them.
    #[must_use]
    pub const fn actions(&self) -> ActionSet {
        match self {
            Self::Workspace | Self::WorkspaceDormant => WORKSPACE,
            Self::ApiKey
            | Self::AiGatewayKey
            | Self::AiProvider
            | Self::CryptoKey
            | Self::Group
            | Self::NotificationMessage
            | Self::Oauth2App
            | Self::Oauth2AppSecret
            | Self::Organization
            | Self::OrganizationMember
            | Self::ProvisionerDaemon
            | Self::System
            | Self::TailnetCoordinator
            | Self::Task
            | Self::UserSecret
            | Self::UserSkill
            | Self::WorkspaceBuildOrchestration
            | Self::WorkspaceProxy => CRUD,
            Self::User => {
                CRUD.union(ActionSet::of(&[Action::ReadPersonal, Action::UpdatePersonal]))
            }
            Self::Template => CRUD.union(ActionSet::of(&[Action::Use, Action::ViewInsights])),
            Self::Chat => CRUD.union(ActionSet::of(&[Action::Share])),
            Self::AssignOrgRole => CRUD.union(ActionSet::of(&[Action::Assign, Action::Unassign])),
            Self::AssignRole => ActionSet::of(&[Action::Assign, Action::Unassign, Action::Read]),
            Self::AibridgeInterception
            | Self::InboxNotification
            | Self::ProvisionerJobs
            | Self::UsageEvent
            | Self::WorkspaceAgentResourceMonitor => {
                ActionSet::of(&[Action::Create, Action::Read, Action::Update])
            }
            Self::BoundaryLog
            | Self::License
            | Self::Oauth2AppCodeToken
            | Self::WebpushSubscription => {
                ActionSet::of(&[Action::Create, Action::Read, Action::Delete])
            }
            Self::BoundaryUsage => ActionSet::of(&[Action::Read, Action::Update, Action::Delete]),
            Self::AiModelPrice
            | Self::ConnectionLog
            | Self::DeploymentConfig
            | Self::IdpsyncSettings
            | Self::NotificationPreference
            | Self::NotificationTemplate => ActionSet::of(&[Action::Read, Action::Update]),
            Self::AiSeat | Self::AuditLog | Self::File => {
                ActionSet::of(&[Action::Create, Action::Read])
            }
            Self::PrebuiltWorkspace => ActionSet::of(&[Action::Update, Action::Delete]),
            Self::DebugInfo | Self::DeploymentStats | Self::GroupMember | Self::Replicas => {
                ActionSet::of(&[Action::Read])
            }
            Self::WorkspaceAgentDevcontainers => ActionSet::of(&[Action::Create]),
            Self::Other(_) => ActionSet::NONE,
        }
    }
}

pub(super) const CRUD: ActionSet =
    ActionSet::of(&[Action::Create, Action::Read, Action::Update, Action::Delete]);

/// All actions on a workspace
pub(super) const WORKSPACE: ActionSet = CRUD.union(ActionSet::of(&[
    Action::ApplicationConnect,
    Action::CreateAgent,
    Action::DeleteAgent,
    Action::Share,
    Action::Ssh,
    Action::Start,
    Action::Stop,
    Action::UpdateAgent,
]));

/// The actions on a dormant workspace for a role that may do everything to a workspace: it
/// cannot be started, entered or shared
pub(super) const DORMANT: ActionSet = WORKSPACE.without(ActionSet::of(&[
    Action::ApplicationConnect,
    Action::Share,
    Action::Ssh,
    Action::Start,
]));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_stay_in_alphabetical_order_and_each_has_actions() {
        assert!(ResourceType::LISTED.is_sorted_by_key(ResourceType::as_str));
        for (slot, kind) in ResourceType::LISTED.iter().enumerate() {
            assert_eq!(kind.slot(), slot);
            assert_eq!(ResourceType::from(kind.as_str()), *kind);
            assert_ne!(kind.actions(), ActionSet::NONE, "{kind}");
        }
    }
}
