// @generated automatically by Diesel CLI.

pub mod sql_types {
    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "api_key_scope"))]
    pub struct ApiKeyScope;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "app_sharing_level"))]
    pub struct AppSharingLevel;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "authd_audit_action"))]
    pub struct AuthdAuditAction;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "authd_audit_decision"))]
    pub struct AuthdAuditDecision;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "authd_resource_type"))]
    pub struct AuthdResourceType;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "cors_behavior"))]
    pub struct CorsBehavior;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "crypto_key_feature"))]
    pub struct CryptoKeyFeature;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "login_type"))]
    pub struct LoginType;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "port_share_protocol"))]
    pub struct PortShareProtocol;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "provisioner_job_type"))]
    pub struct ProvisionerJobType;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "user_status"))]
    pub struct UserStatus;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "workspace_agent_lifecycle_state"))]
    pub struct WorkspaceAgentLifecycleState;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "workspace_app_health"))]
    pub struct WorkspaceAppHealth;

    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "workspace_transition"))]
    pub struct WorkspaceTransition;
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::LoginType;
    use super::sql_types::ApiKeyScope;

    api_keys (id) {
        id -> Text,
        hashed_secret -> Bytea,
        user_id -> Uuid,
        last_used -> Timestamptz,
        expires_at -> Timestamptz,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        login_type -> LoginType,
        lifetime_seconds -> Int8,
        ip_address -> Inet,
        token_name -> Text,
        scopes -> Array<Nullable<ApiKeyScope>>,
        allow_list -> Array<Nullable<Text>>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::AuthdAuditDecision;

    authd_acts (id) {
        id -> Uuid,
        time -> Timestamptz,
        kind -> Text,
        decision -> AuthdAuditDecision,
        reason -> Text,
        user_id -> Nullable<Uuid>,
        agent_id -> Nullable<Uuid>,
        workspace_id -> Nullable<Uuid>,
        subject_type -> Nullable<Text>,
        subject -> Nullable<Text>,
        proof -> Nullable<Text>,
        ip -> Nullable<Inet>,
        #[max_length = 256]
        user_agent -> Nullable<Varchar>,
        request_id -> Nullable<Uuid>,
        times -> Int8,
        detail -> Jsonb,
    }
}

diesel::table! {
    authd_app_sessions (key_id) {
        key_id -> Text,
        parent_id -> Text,
        user_id -> Uuid,
        created_at -> Timestamptz,
        opened_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::AuthdResourceType;
    use super::sql_types::AuthdAuditAction;
    use super::sql_types::AuthdAuditDecision;

    authd_audit_log (id) {
        id -> Uuid,
        time -> Timestamptz,
        user_id -> Uuid,
        organization_id -> Uuid,
        ip -> Nullable<Inet>,
        #[max_length = 256]
        user_agent -> Nullable<Varchar>,
        resource_type -> AuthdResourceType,
        resource_id -> Uuid,
        resource_target -> Text,
        action -> AuthdAuditAction,
        diff -> Jsonb,
        status_code -> Int4,
        additional_fields -> Jsonb,
        request_id -> Uuid,
        resource_icon -> Text,
        session_id -> Nullable<Uuid>,
        workspace_id -> Uuid,
        decision -> AuthdAuditDecision,
        reason -> Text,
    }
}

diesel::table! {
    authd_audit_sessions (key) {
        key -> Bytea,
        id -> Uuid,
        agent_id -> Uuid,
        started_at -> Timestamptz,
        updated_at -> Timestamptz,
        visits -> Int8,
    }
}

diesel::table! {
    authd_identity_pins (instance_id, build_id) {
        instance_id -> Text,
        build_id -> Uuid,
        signed_at -> Timestamptz,
    }
}

diesel::table! {
    authd_oidc_sessions (key_id) {
        key_id -> Text,
        user_id -> Uuid,
        issuer -> Text,
        subject -> Text,
        session_id -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    authd_revocations (id) {
        id -> Uuid,
        at -> Timestamptz,
        reason -> Text,
        user_id -> Nullable<Uuid>,
        workspace_id -> Nullable<Uuid>,
        agent_id -> Nullable<Uuid>,
        app -> Nullable<Text>,
        key_id -> Nullable<Text>,
    }
}

diesel::table! {
    authd_shares (workspace_id, agent_name, slug_or_port, is_group, person_id) {
        workspace_id -> Uuid,
        agent_name -> Text,
        slug_or_port -> Text,
        is_group -> Bool,
        person_id -> Uuid,
        created_at -> Timestamptz,
        created_by -> Nullable<Uuid>,
    }
}

diesel::table! {
    authd_token_refreshes (user_id, login_type) {
        user_id -> Uuid,
        login_type -> Text,
        expiry -> Timestamptz,
        holder -> Uuid,
        until -> Timestamptz,
        is_settled -> Bool,
    }
}

diesel::table! {
    authd_watched_grants (key_id, agent_id) {
        key_id -> Text,
        agent_id -> Uuid,
        user_id -> Nullable<Uuid>,
        workspace_id -> Uuid,
        build_number -> Int4,
        until -> Timestamptz,
        rests_on -> Array<Nullable<Text>>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::CryptoKeyFeature;

    crypto_keys (feature, sequence) {
        feature -> CryptoKeyFeature,
        sequence -> Int4,
        secret -> Nullable<Text>,
        starts_at -> Timestamptz,
        deletes_at -> Nullable<Timestamptz>,
        secret_key_id -> Nullable<Text>,
    }
}

diesel::table! {
    custom_roles (id) {
        id -> Uuid,
        name -> Text,
        display_name -> Text,
        organization_id -> Nullable<Uuid>,
        site_permissions -> Jsonb,
        org_permissions -> Jsonb,
        user_permissions -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        is_system -> Bool,
        member_permissions -> Jsonb,
    }
}

diesel::table! {
    dbcrypt_keys (number) {
        number -> Int4,
        active_key_digest -> Nullable<Text>,
        revoked_key_digest -> Nullable<Text>,
        created_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        test -> Text,
    }
}

diesel::table! {
    group_members (user_id, group_id) {
        user_id -> Uuid,
        group_id -> Uuid,
    }
}

diesel::table! {
    groups (id) {
        id -> Uuid,
        name -> Text,
        organization_id -> Uuid,
    }
}

diesel::table! {
    oauth2_provider_app_tokens (id) {
        id -> Uuid,
        api_key_id -> Text,
        audience -> Nullable<Text>,
    }
}

diesel::table! {
    organization_members (organization_id, user_id) {
        organization_id -> Uuid,
        user_id -> Uuid,
        roles -> Array<Nullable<Text>>,
    }
}

diesel::table! {
    organizations (id) {
        id -> Uuid,
        name -> Text,
        deleted -> Bool,
        default_org_member_roles -> Array<Nullable<Text>>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::ProvisionerJobType;

    provisioner_jobs (id) {
        id -> Uuid,
        #[sql_name = "type"]
        type_ -> ProvisionerJobType,
        organization_id -> Uuid,
        input -> Jsonb,
        completed_at -> Nullable<Timestamptz>,
        error -> Nullable<Text>,
    }
}

diesel::table! {
    template_versions (id) {
        id -> Uuid,
        template_id -> Nullable<Uuid>,
        organization_id -> Uuid,
        job_id -> Uuid,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::AppSharingLevel;
    use super::sql_types::CorsBehavior;

    templates (id) {
        id -> Uuid,
        organization_id -> Uuid,
        name -> Text,
        max_port_sharing_level -> AppSharingLevel,
        cors_behavior -> CorsBehavior,
        deleted -> Bool,
        user_acl -> Jsonb,
        group_acl -> Jsonb,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::LoginType;

    user_links (user_id, login_type) {
        user_id -> Uuid,
        login_type -> LoginType,
        linked_id -> Text,
        oauth_access_token -> Text,
        oauth_refresh_token -> Text,
        oauth_expiry -> Timestamptz,
        oauth_access_token_key_id -> Nullable<Text>,
        oauth_refresh_token_key_id -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::UserStatus;
    use super::sql_types::LoginType;

    users (id) {
        id -> Uuid,
        username -> Text,
        email -> Text,
        status -> UserStatus,
        deleted -> Bool,
        rbac_roles -> Array<Nullable<Text>>,
        login_type -> LoginType,
        is_system -> Bool,
        last_seen_at -> Timestamptz,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        is_service_account -> Bool,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::AppSharingLevel;
    use super::sql_types::PortShareProtocol;

    workspace_agent_port_share (workspace_id, agent_name, port) {
        workspace_id -> Uuid,
        agent_name -> Text,
        port -> Int4,
        share_level -> AppSharingLevel,
        protocol -> PortShareProtocol,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::WorkspaceAgentLifecycleState;

    workspace_agents (id) {
        id -> Uuid,
        parent_id -> Nullable<Uuid>,
        resource_id -> Uuid,
        name -> Text,
        auth_token -> Uuid,
        auth_instance_id -> Nullable<Text>,
        created_at -> Timestamptz,
        first_connected_at -> Nullable<Timestamptz>,
        last_connected_at -> Nullable<Timestamptz>,
        disconnected_at -> Nullable<Timestamptz>,
        connection_timeout_seconds -> Int4,
        lifecycle_state -> WorkspaceAgentLifecycleState,
        deleted -> Bool,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::AppSharingLevel;
    use super::sql_types::WorkspaceAppHealth;

    workspace_apps (id) {
        id -> Uuid,
        agent_id -> Uuid,
        slug -> Text,
        display_name -> Text,
        url -> Nullable<Text>,
        command -> Nullable<Text>,
        external -> Bool,
        subdomain -> Bool,
        sharing_level -> AppSharingLevel,
        health -> WorkspaceAppHealth,
        hidden -> Bool,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::WorkspaceTransition;

    workspace_builds (id) {
        id -> Uuid,
        workspace_id -> Uuid,
        build_number -> Int4,
        transition -> WorkspaceTransition,
        job_id -> Uuid,
        template_version_id -> Uuid,
        initiator_id -> Uuid,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    workspace_proxies (id) {
        id -> Uuid,
        name -> Text,
        url -> Text,
        wildcard_hostname -> Text,
        token_hashed_secret -> Bytea,
        deleted -> Bool,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::WorkspaceTransition;

    workspace_resources (id) {
        id -> Uuid,
        job_id -> Uuid,
        transition -> WorkspaceTransition,
        #[sql_name = "type"]
        type_ -> Text,
        name -> Text,
    }
}

diesel::table! {
    workspaces (id) {
        id -> Uuid,
        owner_id -> Uuid,
        organization_id -> Uuid,
        template_id -> Uuid,
        name -> Text,
        deleted -> Bool,
        dormant_at -> Nullable<Timestamptz>,
        user_acl -> Jsonb,
        group_acl -> Jsonb,
        last_used_at -> Timestamptz,
    }
}

diesel::joinable!(api_keys -> users (user_id));

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    authd_acts,
    authd_app_sessions,
    authd_audit_log,
    authd_audit_sessions,
    authd_identity_pins,
    authd_oidc_sessions,
    authd_revocations,
    authd_shares,
    authd_token_refreshes,
    authd_watched_grants,
    crypto_keys,
    custom_roles,
    dbcrypt_keys,
    group_members,
    groups,
    oauth2_provider_app_tokens,
    organization_members,
    organizations,
    provisioner_jobs,
    template_versions,
    templates,
    user_links,
    users,
    workspace_agent_port_share,
    workspace_agents,
    workspace_apps,
    workspace_builds,
    workspace_proxies,
    workspace_resources,
    workspaces,
);
