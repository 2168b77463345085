DROP TRIGGER authd_notify_templates ON templates;

DROP TRIGGER authd_notify_port_shares ON workspace_agent_port_share;

DROP TRIGGER authd_notify_apps ON workspace_apps;

DROP TRIGGER authd_notify_agents ON workspace_agents;

DROP TRIGGER authd_notify_builds ON workspace_builds;

DROP TRIGGER authd_notify_workspaces ON workspaces;

DROP TRIGGER authd_notify_group_members ON group_members;

DROP TRIGGER authd_notify_members ON organization_members;

DROP TRIGGER authd_notify_organizations ON organizations;

DROP TRIGGER authd_notify_users ON users;

DROP TRIGGER authd_notify_shortened_keys ON api_keys;

DROP TRIGGER authd_notify_deleted_keys ON api_keys;

DROP FUNCTION authd_notify_changes();
