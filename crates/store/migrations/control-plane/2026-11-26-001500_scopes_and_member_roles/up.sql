-- What a control plane's tables have had since v2.27 to v2.35: keys with several scopes and a
-- list of what they may touch, the audience of keys that an OAuth2 app was given, service
-- accounts, and what every member of an organization holds.

ALTER TYPE api_key_scope RENAME TO api_key_scope_before;

CREATE TYPE api_key_scope AS ENUM (
    'coder:all', 'coder:application_connect', 'aibridge_interception:create',
    'aibridge_interception:read', 'aibridge_interception:update', 'api_key:create',
    'api_key:delete', 'api_key:read', 'api_key:update', 'assign_org_role:assign',
    'assign_org_role:create', 'assign_org_role:delete', 'assign_org_role:read',
    'assign_org_role:unassign', 'assign_org_role:update', 'assign_role:assign',
    'assign_role:read', 'assign_role:unassign', 'audit_log:create', 'audit_log:read',
    'connection_log:read', 'connection_log:update', 'crypto_key:create', 'crypto_key:delete',
    'crypto_key:read', 'crypto_key:update', 'debug_info:read', 'deployment_config:read',
    'deployment_config:update', 'deployment_stats:read', 'file:create', 'file:read',
    'group:create', 'group:delete', 'group:read', 'group:update', 'group_member:read',
    'idpsync_settings:read', 'idpsync_settings:update', 'inbox_notification:create',
    'inbox_notification:read', 'inbox_notification:update', 'license:create', 'license:delete',
    'license:read', 'notification_message:create', 'notification_message:delete',
    'notification_message:read', 'notification_message:update', 'notification_preference:read',
    'notification_preference:update', 'notification_template:read',
    'notification_template:update', 'oauth2_app:create', 'oauth2_app:delete', 'oauth2_app:read',
    'oauth2_app:update', 'oauth2_app_code_token:create', 'oauth2_app_code_token:delete',
    'oauth2_app_code_token:read', 'oauth2_app_secret:create', 'oauth2_app_secret:delete',
    'oauth2_app_secret:read', 'oauth2_app_secret:update', 'organization:create',
    'organization:delete', 'organization:read', 'organization:update',
    'organization_member:create', 'organization_member:delete', 'organization_member:read',
    'organization_member:update', 'prebuilt_workspace:delete', 'prebuilt_workspace:update',
    'provisioner_daemon:create', 'provisioner_daemon:delete', 'provisioner_daemon:read',
    'provisioner_daemon:update', 'provisioner_jobs:create', 'provisioner_jobs:read',
    'provisioner_jobs:update', 'replicas:read', 'system:create', 'system:delete', 'system:read',
    'system:update', 'tailnet_coordinator:create', 'tailnet_coordinator:delete',
    'tailnet_coordinator:read', 'tailnet_coordinator:update', 'template:create',
    'template:delete', 'template:read', 'template:update', 'template:use',
    'template:view_insights', 'usage_event:create', 'usage_event:read', 'usage_event:update',
    'user:create', 'user:delete', 'user:read', 'user:read_personal', 'user:update',
    'user:update_personal', 'user_secret:create', 'user_secret:delete', 'user_secret:read',
    'user_secret:update', 'webpush_subscription:create', 'webpush_subscription:delete',
    'webpush_subscription:read', 'workspace:application_connect', 'workspace:create',
    'workspace:create_agent', 'workspace:delete', 'workspace:delete_agent', 'workspace:read',
    'workspace:ssh', 'workspace:start', 'workspace:stop', 'workspace:update',
    'workspace_agent_devcontainers:create', 'workspace_agent_resource_monitor:create',
    'workspace_agent_resource_monitor:read', 'workspace_agent_resource_monitor:update',
    'workspace_dormant:application_connect', 'workspace_dormant:create',
    'workspace_dormant:create_agent', 'workspace_dormant:delete',
    'workspace_dormant:delete_agent', 'workspace_dormant:read', 'workspace_dormant:ssh',
    'workspace_dormant:start', 'workspace_dormant:stop', 'workspace_dormant:update',
    'workspace_proxy:create', 'workspace_proxy:delete', 'workspace_proxy:read',
    'workspace_proxy:update', 'coder:workspaces.create', 'coder:workspaces.operate',
    'coder:workspaces.delete', 'coder:workspaces.access', 'coder:templates.build',
    'coder:templates.author', 'coder:apikeys.manage_self', 'aibridge_interception:*',
    'api_key:*', 'assign_org_role:*', 'assign_role:*', 'audit_log:*', 'connection_log:*',
    'crypto_key:*', 'debug_info:*', 'deployment_config:*', 'deployment_stats:*', 'file:*',
    'group:*', 'group_member:*', 'idpsync_settings:*', 'inbox_notification:*', 'license:*',
    'notification_message:*', 'notification_preference:*', 'notification_template:*',
    'oauth2_app:*', 'oauth2_app_code_token:*', 'oauth2_app_secret:*', 'organization:*',
    'organization_member:*', 'prebuilt_workspace:*', 'provisioner_daemon:*',
    'provisioner_jobs:*', 'replicas:*', 'system:*', 'tailnet_coordinator:*', 'template:*',
    'usage_event:*', 'user:*', 'user_secret:*', 'webpush_subscription:*', 'workspace:*',
    'workspace_agent_devcontainers:*', 'workspace_agent_resource_monitor:*',
    'workspace_dormant:*', 'workspace_proxy:*', 'task:create', 'task:read', 'task:update',
    'task:delete', 'task:*', 'workspace:share', 'workspace_dormant:share', 'boundary_usage:*',
    'boundary_usage:delete', 'boundary_usage:read', 'boundary_usage:update',
    'workspace:update_agent', 'workspace_dormant:update_agent', 'chat:create', 'chat:read',
    'chat:update', 'chat:delete', 'chat:*', 'ai_seat:*', 'ai_seat:create', 'ai_seat:read',
    'ai_model_price:*', 'ai_model_price:read', 'ai_model_price:update', 'ai_provider:*',
    'ai_provider:create', 'ai_provider:delete', 'ai_provider:read', 'ai_provider:update',
    'chat:share', 'user_skill:create', 'user_skill:read', 'user_skill:update',
    'user_skill:delete', 'user_skill:*', 'boundary_log:*', 'boundary_log:create',
    'boundary_log:delete', 'boundary_log:read', 'ai_gateway_key:*', 'ai_gateway_key:create',
    'ai_gateway_key:delete', 'ai_gateway_key:read', 'ai_gateway_key:update',
    'workspace_build_orchestration:*', 'workspace_build_orchestration:create',
    'workspace_build_orchestration:delete', 'workspace_build_orchestration:read',
    'workspace_build_orchestration:update'
);

ALTER TABLE api_keys
    ADD COLUMN scopes     api_key_scope[],
    ADD COLUMN allow_list text[];

UPDATE api_keys SET scopes = ARRAY[('coder:' || scope)::api_key_scope], allow_list = ARRAY['*:*'];

ALTER TABLE api_keys
    DROP COLUMN scope,
    ALTER COLUMN scopes SET NOT NULL,
    ALTER COLUMN scopes SET DEFAULT '{coder:all}',
    ALTER COLUMN allow_list SET NOT NULL,
    ALTER COLUMN allow_list SET DEFAULT '{*:*}',
    ADD CONSTRAINT api_keys_allow_list_not_empty CHECK (array_length(allow_list, 1) > 0);

DROP TYPE api_key_scope_before;

CREATE TABLE oauth2_provider_app_tokens (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    api_key_id text NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    audience   text
);

CREATE INDEX oauth2_provider_app_tokens_api_key_id_idx ON oauth2_provider_app_tokens (api_key_id);

ALTER TABLE users ADD COLUMN is_service_account boolean NOT NULL DEFAULT false;

ALTER TABLE organizations ADD COLUMN default_org_member_roles text[] NOT NULL DEFAULT '{}';

ALTER TABLE custom_roles
    ADD COLUMN is_system          boolean NOT NULL DEFAULT false,
    ADD COLUMN member_permissions jsonb   NOT NULL DEFAULT '[]';

-- The index on names is led by an expression that no question uses.
CREATE INDEX custom_roles_organization_id_name_idx ON custom_roles (organization_id, name);
