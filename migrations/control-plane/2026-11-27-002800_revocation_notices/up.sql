-- Wakes the servers that watch what visitors were let into, when a row changes that may end some of
-- that. Without it, as beside a control plane, they look twice a second.

-- As `authd_notify_revocations`, which is of the other set of migrations and comes later.
CREATE FUNCTION authd_notify_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('authd_revocations', '');
    RETURN NULL;
END $$;

CREATE TRIGGER authd_notify_deleted_keys AFTER DELETE ON api_keys
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_shortened_keys AFTER UPDATE OF expires_at ON api_keys
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_users AFTER UPDATE OF status, deleted, rbac_roles ON users
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_organizations AFTER UPDATE OF default_org_member_roles ON organizations
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_members AFTER UPDATE OR DELETE ON organization_members
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_group_members AFTER DELETE ON group_members
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_workspaces
AFTER UPDATE OF deleted, owner_id, organization_id, user_acl, group_acl ON workspaces
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_builds AFTER INSERT ON workspace_builds
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_agents AFTER UPDATE OF deleted ON workspace_agents
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_apps AFTER UPDATE OF sharing_level OR DELETE ON workspace_apps
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_port_shares AFTER UPDATE OR DELETE ON workspace_agent_port_share
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();

CREATE TRIGGER authd_notify_templates AFTER UPDATE OF max_port_sharing_level ON templates
FOR EACH STATEMENT EXECUTE FUNCTION authd_notify_changes();
