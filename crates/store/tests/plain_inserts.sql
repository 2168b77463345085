-- One row of each table, by the columns that have no default.

INSERT INTO organizations (id, name) VALUES (gen_random_uuid(), 'acme');

INSERT INTO users (id, username, email, created_at, updated_at)
VALUES (gen_random_uuid(), 'alice', 'alice@example.com', now(), now());

INSERT INTO organization_members (organization_id, user_id)
SELECT organizations.id, users.id FROM organizations, users;

INSERT INTO groups (id, name, organization_id)
SELECT gen_random_uuid(), 'admins', id FROM organizations;

INSERT INTO group_members (user_id, group_id) SELECT users.id, groups.id FROM users, groups;

INSERT INTO custom_roles (name) VALUES ('observer');

INSERT INTO user_links (user_id, login_type) SELECT id, 'oidc' FROM users;

INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at,
                      login_type)
SELECT 'abcdefghij', sha256('secret'), id, now(), now(), now(), now(), 'password' FROM users;

INSERT INTO authd_app_sessions (key_id, parent_id, user_id, created_at)
SELECT 'abcdefghij', 'klmnopqrst', id, now() FROM users;

INSERT INTO templates (id, organization_id, name)
SELECT gen_random_uuid(), id, 'linux' FROM organizations;

INSERT INTO template_versions (id, organization_id, job_id)
SELECT gen_random_uuid(), id, gen_random_uuid() FROM organizations;

INSERT INTO workspaces (id, owner_id, organization_id, template_id, name)
SELECT gen_random_uuid(), users.id, organization_id, templates.id, 'dev' FROM users, templates;

INSERT INTO provisioner_jobs (id, type, organization_id)
SELECT gen_random_uuid(), 'workspace_build', id FROM organizations;

INSERT INTO workspace_builds (id, workspace_id, build_number, transition, job_id,
                              template_version_id, initiator_id, created_at)
SELECT gen_random_uuid(), workspaces.id, 1, 'start', provisioner_jobs.id, gen_random_uuid(),
       owner_id, now()
FROM workspaces, provisioner_jobs;

INSERT INTO authd_identity_pins (instance_id, build_id, signed_at)
SELECT 'i-0abc', id, now() FROM workspace_builds;

INSERT INTO authd_oidc_sessions (key_id, user_id, issuer, subject, created_at)
SELECT 'key', id, 'https://id.example', 'subject', now() FROM users;

INSERT INTO workspace_resources (id, job_id, transition, type, name)
SELECT gen_random_uuid(), job_id, 'start', 'aws_instance', 'vm' FROM workspace_builds;

INSERT INTO workspace_agents (id, resource_id, name, auth_token, created_at)
SELECT gen_random_uuid(), id, 'main', gen_random_uuid(), now() FROM workspace_resources;

INSERT INTO workspace_apps (id, agent_id, slug, display_name)
SELECT gen_random_uuid(), id, 'code', 'Code' FROM workspace_agents;

INSERT INTO workspace_agent_port_share (workspace_id, agent_name, port, share_level)
SELECT id, 'main', 8080, 'organization' FROM workspaces;

INSERT INTO authd_shares (workspace_id, agent_name, slug_or_port, is_group, person_id, created_at)
SELECT id, 'main', 'code', false, owner_id, now() FROM workspaces;

INSERT INTO authd_token_refreshes (user_id, login_type, expiry, holder, until)
SELECT id, 'oidc', now(), gen_random_uuid(), now() FROM users;

INSERT INTO authd_watched_grants (key_id, agent_id, workspace_id, build_number, until)
SELECT '', workspace_agents.id, workspaces.id, 1, now() FROM workspace_agents, workspaces;

INSERT INTO authd_revocations (reason, workspace_id) SELECT 'workspace_stopped', id FROM workspaces;

INSERT INTO workspace_proxies (id, name, url, wildcard_hostname, token_hashed_secret)
VALUES (gen_random_uuid(), 'sydney', 'https://sydney.example.com', '', '');

INSERT INTO oauth2_provider_app_tokens (api_key_id) SELECT id FROM api_keys;

INSERT INTO dbcrypt_keys (number, active_key_digest, test)
VALUES (1, '6d28cf8', 'ZGVmZ2hpamtsbW5vK3S6AwuLh1dV98FNmbnVUC7jWR8b');

INSERT INTO crypto_keys (feature, sequence, starts_at) VALUES ('workspace_apps_token', 1, now());

INSERT INTO authd_audit_sessions (key, id, agent_id, started_at, updated_at)
SELECT sha256('session'), gen_random_uuid(), id, now(), now() FROM workspace_agents;

INSERT INTO authd_audit_log (id, "time", user_id, organization_id, resource_type, resource_id,
                             resource_target, action, status_code, request_id)
SELECT gen_random_uuid(), now(), users.id, organizations.id, 'workspace_app', workspace_apps.id,
       'code', 'open', 200, gen_random_uuid()
FROM users, organizations, workspace_apps;

INSERT INTO authd_acts (id, "time", kind, decision) VALUES (gen_random_uuid(), now(), 'import', 'allow');
