use super::catalog::Catalog;
use super::generation::Generation;
use super::need::{self, Need};
use crate::error::Unfit;

/// A statement whose text depends on the generation of the tables
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Statement {
    /// Reads the agents of an instance, for sign-in
    Candidates,
    /// Reads the agents of an instance, and moves the pins of the instance
    PinnedCandidates,
    /// Reads an app or a port of a workspace by name, and the holders of keys
    AppByName,
    /// Reads the same, where owner or workspace may be an id
    AppById,
    /// Reads the terminal of an agent, and the holders of keys
    Terminal,
    /// Reads the holders of keys
    Holders,
    /// Reads a page of workspaces with their apps
    ListedWorkspaces,
    /// Adds a key
    NewSession,
    /// Deletes a key, and its user's keys for apps
    LogOut,
    /// Lists sessions, for an operator
    Sessions,
    /// Finds out which grants have ended
    Ended,
    /// Writes a visit where the control plane looks for it
    Mirror,
}

impl Statement {
    pub(crate) const ALL: [Self; 12] = [
        Self::Candidates,
        Self::PinnedCandidates,
        Self::AppByName,
        Self::AppById,
        Self::Terminal,
        Self::Holders,
        Self::ListedWorkspaces,
        Self::NewSession,
        Self::LogOut,
        Self::Sessions,
        Self::Ended,
        Self::Mirror,
    ];

    /// The statements of app access
    pub(crate) const OF_APPS: [Self; 7] = [
        Self::AppByName,
        Self::AppById,
        Self::Terminal,
        Self::Holders,
        Self::ListedWorkspaces,
        Self::NewSession,
        Self::LogOut,
    ];

    /// The purpose of the statement in words
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Candidates => "the agents of an instance",
            Self::PinnedCandidates => "the agents and the pins of an instance",
            Self::AppByName => "an app by name",
            Self::AppById => "an app by id",
            Self::Terminal => "the terminal of an agent",
            Self::Holders => "the holder of a session",
            Self::ListedWorkspaces => "the apps that a user may open",
            Self::NewSession => "a new session",
            Self::LogOut => "the end of a session",
            Self::Sessions => "the sessions there are",
            Self::Ended => "what has ended",
            Self::Mirror => "the mirror of the audit",
        }
    }

    /// The first generation whose tables fit
    const fn since(self) -> Generation {
        match self {
            Self::Candidates | Self::PinnedCandidates => Generation::V2_20,
            _ => Generation::V2_24,
        }
    }

    /// The text of its file; empty for [`Self::Mirror`], which is a variant of `note_visits.sql`
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Candidates => include_str!("../sql/candidates.sql"),
            Self::PinnedCandidates => include_str!("../sql/pinned_candidates.sql"),
            Self::AppByName => include_str!("../sql/app_by_name.sql"),
            Self::AppById => include_str!("../sql/app_by_id.sql"),
            Self::Terminal => include_str!("../sql/terminal.sql"),
            Self::Holders => include_str!("../sql/holders.sql"),
            Self::ListedWorkspaces => include_str!("../sql/listed_workspaces.sql"),
            Self::NewSession => include_str!("../sql/new_session.sql"),
            Self::LogOut => include_str!("../sql/log_out.sql"),
            Self::Sessions => include_str!("../sql/list_sessions.sql"),
            Self::Ended => include_str!("../sql/poll_revocations.sql"),
            Self::Mirror => "",
        }
    }

    /// The rights that the statement needs in any generation
    pub(super) fn all_needs(self) -> Vec<Need> {
        match self {
            Self::Candidates => AGENTS_OF_AN_INSTANCE.to_vec(),
            Self::PinnedCandidates => [AGENTS_OF_AN_INSTANCE, PINS].concat(),
            Self::AppByName | Self::AppById => [PLACES, APPS, HOLDERS].concat(),
            Self::Terminal => [PLACES, HOLDERS].concat(),
            Self::Holders => HOLDERS.to_vec(),
            Self::ListedWorkspaces => [PLACES, LISTED].concat(),
            Self::NewSession => NEW_SESSION.to_vec(),
            Self::LogOut => LOG_OUT.to_vec(),
            Self::Sessions => SESSIONS.to_vec(),
            Self::Ended => ENDED.to_vec(),
            Self::Mirror => MIRROR.to_vec(),
        }
    }

    /// The rights that the statement needs in `generation`
    pub(crate) fn needs(self, generation: Generation) -> Vec<Need> {
        need::of_generation(&self.all_needs(), generation.max(self.since()))
    }

    /// Checks that the tables have every column that the statement needs
    ///
    /// The generation is that of all tables. A column of an earlier generation that is missing
    /// nevertheless makes the tables unfit: a newer release may have replaced it, such as the
    /// mark that an agent is deleted.
    pub(super) fn fits(self, catalog: &Catalog, generation: Generation) -> Result<(), Unfit> {
        let unfit = |missing: String| Err(Unfit { question: self.name(), missing, generation });
        for need in self.needs(generation) {
            for column in need.columns() {
                if !catalog.has_column(need.table, column) {
                    return unfit(format!("{}.{column}", need.table));
                }
            }
            if !catalog.has_table(need.table) {
                return unfit(need.table.to_owned());
            }
        }
        Ok(())
    }
}

const AGENTS_OF_AN_INSTANCE: &[Need] = &[
    Need::select("workspace_agents", "id name auth_token created_at resource_id auth_instance_id"),
    Need::select("workspace_agents", "parent_id").since(Generation::V2_22),
    Need::select("workspace_agents", "deleted").since(Generation::V2_24),
    Need::select("workspace_resources", "id job_id"),
    Need::select("workspace_builds", "id job_id build_number workspace_id"),
    Need::select("workspaces", "id deleted"),
];

const PINS: &[Need] = &[
    Need::select("authd_identity_pins", "instance_id build_id signed_at"),
    Need::insert("authd_identity_pins", "instance_id build_id signed_at"),
    Need::update("authd_identity_pins", "signed_at"),
];

const PLACES: &[Need] = &[
    Need::select("users", "id username deleted"),
    Need::select("workspaces", "id name owner_id organization_id template_id dormant_at deleted"),
    Need::select("workspaces", "user_acl group_acl").since(Generation::V2_26),
    Need::select("workspace_builds", "workspace_id build_number job_id transition"),
    Need::select("templates", "id max_port_sharing_level"),
    Need::select("templates", "cors_behavior").since(Generation::V2_26),
    Need::select("workspace_resources", "id job_id"),
    Need::select(
        "workspace_agents",
        "id name resource_id created_at first_connected_at last_connected_at disconnected_at \
         connection_timeout_seconds deleted",
    ),
];

const APPS: &[Need] = &[
    Need::select("workspace_apps", "id agent_id slug url external sharing_level"),
    Need::select("workspace_agent_port_share", "workspace_id agent_name port share_level"),
    Need::select("authd_shares", "workspace_id agent_name slug_or_port is_group person_id"),
];

const LISTED: &[Need] = &[
    Need::select(
        "workspace_apps",
        "id agent_id slug display_name url external sharing_level subdomain health hidden",
    ),
    Need::select("organization_members", "organization_id user_id"),
    Need::select("authd_shares", "workspace_id agent_name slug_or_port is_group person_id"),
];

const HOLDERS: &[Need] = &[
    Need::select(
        "api_keys",
        "id hashed_secret user_id login_type last_used expires_at lifetime_seconds",
    ),
    Need::select("api_keys", "scope").until(Generation::V2_27),
    Need::select("api_keys", "scopes allow_list").since(Generation::V2_27),
    Need::select("users", "id status deleted rbac_roles"),
    Need::select("users", "is_service_account").since(Generation::V2_32),
    Need::select(
        "user_links",
        "user_id login_type oauth_expiry oauth_refresh_token oauth_refresh_token_key_id",
    ),
    Need::select("oauth2_provider_app_tokens", "api_key_id audience").since(Generation::V2_25),
    Need::select("organization_members", "organization_id user_id roles"),
    Need::select("organizations", "id default_org_member_roles").since(Generation::V2_35),
    Need::select(
        "custom_roles",
        "name organization_id site_permissions org_permissions user_permissions",
    ),
    Need::select("custom_roles", "is_system member_permissions").since(Generation::V2_30),
    Need::select("group_members", "user_id group_id"),
    Need::select("authd_app_sessions", "key_id parent_id"),
];

/// A trigger of the table checks whether the user is deleted.
const NEW_SESSION: &[Need] = &[
    Need::insert(
        "api_keys",
        "created_at updated_at last_used id hashed_secret user_id expires_at login_type \
         lifetime_seconds ip_address token_name",
    ),
    Need::insert("api_keys", "scope").until(Generation::V2_27),
    Need::insert("api_keys", "scopes allow_list").since(Generation::V2_27),
    Need::select("api_keys", "id user_id"),
    // Locking a row needs the right to change one of its columns.
    Need::update("api_keys", "expires_at"),
    Need::delete("api_keys"),
    Need::select("users", "id deleted"),
    Need::insert("authd_app_sessions", "key_id parent_id user_id created_at"),
    Need::select("authd_app_sessions", "key_id parent_id user_id created_at"),
    Need::delete("authd_app_sessions"),
];

const LOG_OUT: &[Need] = &[
    Need::delete("api_keys"),
    Need::select("api_keys", "id user_id"),
    Need::update("api_keys", "expires_at"),
    Need::select("authd_app_sessions", "key_id parent_id user_id"),
    Need::delete("authd_app_sessions"),
    Need::select("api_keys", "scope").until(Generation::V2_27),
    Need::select("api_keys", "scopes").since(Generation::V2_27),
];

const SESSIONS: &[Need] = &[
    Need::select("api_keys", "id user_id login_type token_name created_at last_used expires_at"),
    Need::select("api_keys", "scope").until(Generation::V2_27),
    Need::select("api_keys", "scopes allow_list").since(Generation::V2_27),
    Need::select("users", "id username"),
    Need::select("authd_app_sessions", "key_id parent_id"),
];

/// The statement locks rows, which needs the right to change one of their columns.
const ENDED: &[Need] = &[
    Need::select("users", "id deleted status rbac_roles"),
    Need::select("api_keys", "id user_id expires_at"),
    Need::select("authd_app_sessions", "key_id parent_id"),
    Need::select("workspaces", "id owner_id organization_id template_id deleted"),
    Need::select("workspaces", "user_acl group_acl").since(Generation::V2_26),
    Need::select("workspace_builds", "workspace_id build_number"),
    Need::select("workspace_agents", "id name deleted"),
    Need::select("workspace_apps", "agent_id slug sharing_level"),
    Need::select("workspace_agent_port_share", "workspace_id agent_name port share_level"),
    Need::select("templates", "id max_port_sharing_level"),
    Need::select("organization_members", "organization_id user_id roles"),
    Need::select("organizations", "id default_org_member_roles").since(Generation::V2_35),
    Need::select("group_members", "user_id group_id"),
    Need::select(
        "authd_watched_grants",
        "key_id user_id workspace_id agent_id build_number until rests_on",
    ),
    Need::update("authd_watched_grants", "until rests_on"),
    Need::delete("authd_watched_grants"),
    Need::select("authd_revocations", "id at reason user_id workspace_id agent_id app key_id"),
    Need::insert("authd_revocations", "reason user_id workspace_id agent_id app key_id"),
    Need::update("authd_revocations", "at"),
    Need::delete("authd_revocations"),
];

const MIRROR: &[Need] = &[
    Need::insert(
        "audit_logs",
        "id time user_id organization_id ip user_agent resource_type resource_id resource_target \
         action diff status_code additional_fields request_id resource_icon",
    )
    .until(Generation::V2_25),
    Need::select("audit_logs", "id").until(Generation::V2_25),
    Need::insert(
        "connection_logs",
        "id connect_time organization_id workspace_owner_id workspace_id workspace_name agent_name \
         type ip code user_agent user_id slug_or_port",
    )
    .since(Generation::V2_25),
    Need::select("connection_logs", "id").since(Generation::V2_25),
    Need::select("workspaces", "id name owner_id organization_id").since(Generation::V2_25),
];
