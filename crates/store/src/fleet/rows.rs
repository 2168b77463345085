use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    AppHealth, CorsBehavior, Digest, Hidden, JobType, KeyFeature, KeyScope, LifecycleState,
    LoginType, PortShareProtocol, SharingLevel, Token, Transition, UserStatus,
};
#[cfg(feature = "postgres")]
use crate::pg::schema;

macro_rules! row {
    ($table:ident, $(#[$doc:meta])* $name:ident { $($(#[$field_attr:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[cfg_attr(feature = "postgres", derive(diesel::Insertable))]
        #[cfg_attr(feature = "postgres", diesel(table_name = schema::$table))]
        #[allow(missing_docs)] // the fields are the columns of the table
        pub struct $name {
            $($(#[$field_attr])* pub $field: $type,)*
        }

        impl $name {
            pub(crate) const FIELDS: &'static [&'static str] = &[$(stringify!($field),)*];
        }

        #[cfg(feature = "postgres")]
        impl super::CopyRow for $name {
            fn write(&self, out: &mut String) {
                $(out.push('\t');
                super::CopyValue::write(&self.$field, out);)*
            }
        }
    };
}

row!(
    organizations,
    /// A row of `organizations`
    Organization {
        id: Uuid,
        name: String,
        #[serde(default)]
        deleted: bool,
        #[serde(default)]
        default_org_member_roles: Vec<String>,
    }
);

row!(
    users,
    /// A row of `users`
    User {
        id: Uuid,
        username: String,
        email: String,
        #[serde(default)]
        status: UserStatus,
        #[serde(default)]
        deleted: bool,
        #[serde(default)]
        rbac_roles: Vec<String>,
        #[serde(default)]
        login_type: LoginType,
        #[serde(default)]
        is_system: bool,
        #[serde(default)]
        is_service_account: bool,
        #[serde(default)]
        last_seen_at: DateTime<Utc>,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
    }
);

row!(
    organization_members,
    /// A row of `organization_members`
    OrganizationMember {
        organization_id: Uuid,
        user_id: Uuid,
        #[serde(default)]
        roles: Vec<String>,
    }
);

row!(
    groups,
    /// A row of `groups`
    Group {
        id: Uuid,
        name: String,
        organization_id: Uuid,
    }
);

row!(
    group_members,
    /// A row of `group_members`
    GroupMember {
        user_id: Uuid,
        group_id: Uuid,
    }
);

row!(
    custom_roles,
    /// A row of `custom_roles`; permissions are lists of `{"negate", "resource_type", "action"}`
    CustomRole {
        #[serde(default = "Uuid::new_v4")]
        id: Uuid,
        name: String,
        #[serde(default)]
        organization_id: Option<Uuid>,
        #[serde(default = "empty_list")]
        site_permissions: Value,
        #[serde(default = "empty_list")]
        org_permissions: Value,
        #[serde(default = "empty_list")]
        user_permissions: Value,
        #[serde(default = "empty_list")]
        member_permissions: Value,
        #[serde(default)]
        is_system: bool,
    }
);

row!(
    user_links,
    /// A row of `user_links`
    UserLink {
        user_id: Uuid,
        login_type: LoginType,
        #[serde(default)]
        oauth_refresh_token: Hidden,
        #[serde(default)]
        oauth_expiry: DateTime<Utc>,
    }
);

row!(
    api_keys,
    /// A row of `api_keys`
    ApiKey {
        id: String,
        hashed_secret: Digest,
        user_id: Uuid,
        last_used: DateTime<Utc>,
        expires_at: DateTime<Utc>,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        login_type: LoginType,
        #[serde(default = "a_day")]
        lifetime_seconds: i64,
        #[serde(default)]
        token_name: String,
        #[serde(default = "every_scope")]
        scopes: Vec<KeyScope>,
        #[serde(default = "every_object")]
        allow_list: Vec<String>,
    }
);

row!(
    oauth2_provider_app_tokens,
    /// A row of `oauth2_provider_app_tokens`
    Oauth2ProviderAppToken {
        #[serde(default = "Uuid::new_v4")]
        id: Uuid,
        api_key_id: String,
        #[serde(default)]
        audience: Option<String>,
    }
);

row!(
    templates,
    /// A row of `templates`
    Template {
        id: Uuid,
        organization_id: Uuid,
        name: String,
        #[serde(default)]
        max_port_sharing_level: SharingLevel,
        #[serde(default)]
        cors_behavior: CorsBehavior,
        #[serde(default)]
        deleted: bool,
        #[serde(default = "empty_object")]
        user_acl: Value,
        #[serde(default = "empty_object")]
        group_acl: Value,
    }
);

row!(
    template_versions,
    /// A row of `template_versions`
    TemplateVersion {
        id: Uuid,
        #[serde(default)]
        template_id: Option<Uuid>,
        organization_id: Uuid,
        job_id: Uuid,
    }
);

row!(
    workspaces,
    /// A row of `workspaces`
    Workspace {
        id: Uuid,
        owner_id: Uuid,
        organization_id: Uuid,
        template_id: Uuid,
        name: String,
        #[serde(default)]
        deleted: bool,
        #[serde(default)]
        dormant_at: Option<DateTime<Utc>>,
        #[serde(default = "empty_object")]
        user_acl: Value,
        #[serde(default = "empty_object")]
        group_acl: Value,
        #[serde(default)]
        last_used_at: DateTime<Utc>,
    }
);

row!(
    provisioner_jobs,
    /// A row of `provisioner_jobs`
    ProvisionerJob {
        id: Uuid,
        #[serde(rename = "type")]
        type_: JobType,
        organization_id: Uuid,
        #[serde(default = "empty_object")]
        input: Value,
        #[serde(default)]
        completed_at: Option<DateTime<Utc>>,
        #[serde(default)]
        error: Option<String>,
    }
);

row!(
    workspace_builds,
    /// A row of `workspace_builds`
    WorkspaceBuild {
        id: Uuid,
        workspace_id: Uuid,
        build_number: i32,
        transition: Transition,
        job_id: Uuid,
        template_version_id: Uuid,
        initiator_id: Uuid,
        created_at: DateTime<Utc>,
    }
);

row!(
    workspace_resources,
    /// A row of `workspace_resources`
    WorkspaceResource {
        id: Uuid,
        job_id: Uuid,
        transition: Transition,
        #[serde(rename = "type")]
        type_: String,
        name: String,
    }
);

row!(
    workspace_agents,
    /// A row of `workspace_agents`
    WorkspaceAgent {
        id: Uuid,
        #[serde(default)]
        parent_id: Option<Uuid>,
        resource_id: Uuid,
        name: String,
        auth_token: Token,
        #[serde(default)]
        auth_instance_id: Option<String>,
        created_at: DateTime<Utc>,
        #[serde(default)]
        first_connected_at: Option<DateTime<Utc>>,
        #[serde(default)]
        last_connected_at: Option<DateTime<Utc>>,
        #[serde(default)]
        disconnected_at: Option<DateTime<Utc>>,
        #[serde(default)]
        connection_timeout_seconds: i32,
        #[serde(default)]
        lifecycle_state: LifecycleState,
        #[serde(default)]
        deleted: bool,
    }
);

row!(
    workspace_apps,
    /// A row of `workspace_apps`
    WorkspaceApp {
        id: Uuid,
        agent_id: Uuid,
        slug: String,
        display_name: String,
        #[serde(default)]
        url: Option<String>,
        #[serde(default)]
        command: Option<String>,
        #[serde(default)]
        external: bool,
        #[serde(default)]
        subdomain: bool,
        #[serde(default)]
        sharing_level: SharingLevel,
        #[serde(default)]
        health: AppHealth,
        #[serde(default)]
        hidden: bool,
    }
);

row!(
    workspace_agent_port_share,
    /// A row of `workspace_agent_port_share`
    WorkspaceAgentPortShare {
        workspace_id: Uuid,
        agent_name: String,
        port: i32,
        share_level: SharingLevel,
        #[serde(default)]
        protocol: PortShareProtocol,
    }
);

row!(
    authd_shares,
    /// A row of `authd_shares`: an app or a port that is shared with a user or a group
    Share {
        workspace_id: Uuid,
        agent_name: String,
        slug_or_port: String,
        is_group: bool,
        person_id: Uuid,
        created_at: DateTime<Utc>,
        #[serde(default)]
        created_by: Option<Uuid>,
    }
);

row!(
    workspace_proxies,
    /// A row of `workspace_proxies`
    WorkspaceProxy {
        id: Uuid,
        name: String,
        url: String,
        wildcard_hostname: String,
        token_hashed_secret: Digest,
        #[serde(default)]
        deleted: bool,
    }
);

row!(
    crypto_keys,
    /// A row of `crypto_keys`
    CryptoKey {
        feature: KeyFeature,
        sequence: i32,
        #[serde(default)]
        secret: Option<Hidden>,
        starts_at: DateTime<Utc>,
        #[serde(default)]
        deletes_at: Option<DateTime<Utc>>,
    }
);

pub(super) fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

fn empty_list() -> Value {
    Value::Array(Vec::new())
}

const fn a_day() -> i64 {
    86_400
}

fn every_scope() -> Vec<KeyScope> {
    vec![KeyScope::all()]
}

fn every_object() -> Vec<String> {
    vec!["*:*".to_owned()]
}
