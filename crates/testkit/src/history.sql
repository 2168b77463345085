-- 100,000 agents with histories: 9,000 workspaces of ten builds each.
--
--   i-twenty-N   N in 1..=1000: two agents a build, one id for all builds, so that
--                2 of 20 candidates are live
--   i-ten-N      N even, 1002..=9000: one agent a build, one id for all builds; up to
--                3000 an agent of a template import has the id too
--   i-one-N-B    N odd, 1001..=8999: one agent and a new id for build B in 1..=10
--
-- Workspace `workspace-W` belongs to the user `owner-O`, O = W modulo 500. Each agent has
-- an app `code` for all signed-in users, and ports 8000 and 8001 are shared likewise.
--
-- 10,000 users `visitor-V` have two sessions each: the tokens of N in 0..=19999 are N
-- with ten digits, a hyphen, and N with twenty-two digits, for V = N modulo 10000.

-- Rows that are known to be right need no checks one by one.
ALTER TABLE workspace_agents DISABLE TRIGGER USER;
ALTER TABLE api_keys DISABLE TRIGGER USER;

INSERT INTO organizations (id, name) VALUES (md5('organization')::uuid, 'acme');

INSERT INTO templates (id, organization_id, name, max_port_sharing_level)
SELECT md5('template ' || t)::uuid, md5('organization')::uuid, 'template-' || t, 'public'
FROM generate_series(0, 499) t;

INSERT INTO template_versions (id, template_id, organization_id, job_id)
SELECT md5('version ' || t)::uuid, id, organization_id, md5('import ' || t)::uuid
FROM generate_series(1, 499) t JOIN templates ON name = 'template-' || t;

INSERT INTO users (id, username, email, status, created_at, updated_at)
SELECT md5('owner ' || o)::uuid, 'owner-' || o, 'owner-' || o || '@example.com', 'active',
       '2024-01-01', '2024-01-01'
FROM generate_series(0, 499) o;

INSERT INTO workspaces (id, owner_id, organization_id, template_id, name)
SELECT md5('workspace ' || w)::uuid, md5('owner ' || w % 500)::uuid,
       md5('organization')::uuid, md5('template ' || w % 500)::uuid, 'workspace-' || w
FROM generate_series(1, 9000) w;

INSERT INTO workspace_builds (id, workspace_id, build_number, transition, job_id,
                              template_version_id, initiator_id, created_at)
SELECT md5('build ' || w || ' ' || b)::uuid, md5('workspace ' || w)::uuid, b, 'start',
       md5('job ' || w || ' ' || b)::uuid, md5('version')::uuid, md5('owner ' || w % 500)::uuid,
       timestamptz '2025-01-01' + b * interval '1 day'
FROM generate_series(1, 9000) w, generate_series(1, 10) b;

INSERT INTO provisioner_jobs (id, type, organization_id, input)
SELECT job_id, 'workspace_build', md5('organization')::uuid,
       jsonb_build_object('workspace_build_id', id)
FROM workspace_builds;

INSERT INTO provisioner_jobs (id, type, organization_id)
SELECT md5('import ' || w)::uuid, 'template_version_import', md5('organization')::uuid
FROM generate_series(1, 1000) w;

INSERT INTO workspace_resources (id, job_id, transition, type, name)
SELECT md5('resource of ' || id)::uuid, id, 'start', 'aws_instance', 'main' FROM provisioner_jobs;

INSERT INTO workspace_agents (id, resource_id, name, auth_token, auth_instance_id, created_at)
SELECT md5('agent ' || w || ' ' || b || ' ' || a)::uuid,
       md5('resource of ' || md5('job ' || w || ' ' || b)::uuid)::uuid,
       (ARRAY['main', 'side'])[a], md5('token ' || w || ' ' || b || ' ' || a)::uuid,
       CASE WHEN w <= 1000 THEN 'i-twenty-' || w
            WHEN w % 2 = 0 THEN 'i-ten-' || w
            ELSE 'i-one-' || w || '-' || b END,
       timestamptz '2025-01-01' + b * interval '1 day'
FROM generate_series(1, 9000) w, generate_series(1, 10) b, generate_series(1, 2) a
WHERE a = 1 OR w <= 1000;

INSERT INTO workspace_agents (id, resource_id, name, auth_token, auth_instance_id, created_at)
SELECT md5('import agent ' || w)::uuid, md5('resource of ' || md5('import ' || w)::uuid)::uuid,
       'main', md5('import token ' || w)::uuid, 'i-ten-' || 1000 + 2 * w, timestamptz '2024-01-01'
FROM generate_series(1, 1000) w;

INSERT INTO workspace_apps (id, agent_id, slug, display_name, url, sharing_level)
SELECT md5('app of ' || id)::uuid, id, 'code', 'code', 'http://127.0.0.1:13337', 'authenticated'
FROM workspace_agents;

INSERT INTO workspace_agent_port_share (workspace_id, agent_name, port, share_level)
SELECT md5('workspace ' || w)::uuid, 'main', port, 'authenticated'
FROM generate_series(1, 9000) w, generate_series(8000, 8001) port;

INSERT INTO users (id, username, email, status, created_at, updated_at)
SELECT md5('visitor ' || v)::uuid, 'visitor-' || v, 'visitor-' || v || '@example.com', 'active',
       '2024-01-01', '2024-01-01'
FROM generate_series(0, 9999) v;

INSERT INTO organization_members (organization_id, user_id)
SELECT md5('organization')::uuid, id FROM users;

INSERT INTO groups (id, name, organization_id)
SELECT md5('group ' || g)::uuid, 'group-' || g, md5('organization')::uuid
FROM generate_series(0, 99) g;

INSERT INTO group_members (user_id, group_id)
SELECT md5('visitor ' || v)::uuid, md5('group ' || v % 100)::uuid FROM generate_series(0, 9999) v;

INSERT INTO user_links (user_id, login_type) SELECT id, 'oidc' FROM users;

INSERT INTO custom_roles (name, organization_id)
SELECT 'role-' || r, md5('organization')::uuid FROM generate_series(0, 999) r;

INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at,
                      login_type, scopes, allow_list)
SELECT lpad(n::text, 10, '0'), sha256(convert_to(lpad(n::text, 22, '0'), 'UTF8')),
       md5('visitor ' || n % 10000)::uuid, '2025-01-01', '2125-01-01', '2025-01-01', '2025-01-01',
       'password', '{coder:all}', '{*:*}'
FROM generate_series(0, 19999) n;

ALTER TABLE api_keys ENABLE TRIGGER USER;
ALTER TABLE workspace_agents ENABLE TRIGGER USER;
