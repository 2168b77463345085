-- Workspaces `workspace-1` to `workspace-$workspaces`, ten for each user and of ten
-- builds each. The newest build has an agent with the instance id `i-W` and an app `code`.
-- The session of `user-N` has a token of N with ten digits, a hyphen, and N with
-- twenty-two digits.

-- Rows that are known to be right need no checks one by one, and indices are built faster
-- than they grow.
ALTER TABLE workspace_agents DISABLE TRIGGER USER;
ALTER TABLE api_keys DISABLE TRIGGER USER;
ALTER TABLE workspace_builds
    DROP CONSTRAINT workspace_builds_pkey,
    DROP CONSTRAINT workspace_builds_job_id_key,
    DROP CONSTRAINT workspace_builds_workspace_id_build_number_key;

INSERT INTO organizations (id, name) VALUES (md5('organization')::uuid, 'acme');

INSERT INTO templates (id, organization_id, name)
SELECT md5('template ' || t)::uuid, md5('organization')::uuid, 'template-' || t
FROM generate_series(0, 99) t;

INSERT INTO users (id, username, email, status, created_at, updated_at)
SELECT md5('user ' || u)::uuid, 'user-' || u, 'user-' || u || '@example.com', 'active',
       '2024-01-01', '2024-01-01'
FROM generate_series(1, $workspaces / 10) u;

INSERT INTO organization_members (organization_id, user_id)
SELECT md5('organization')::uuid, id FROM users;

INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at,
                      login_type)
SELECT lpad(u::text, 10, '0'), sha256(convert_to(lpad(u::text, 22, '0'), 'UTF8')),
       md5('user ' || u)::uuid, '2025-01-01', '2125-01-01', '2025-01-01', '2025-01-01', 'password'
FROM generate_series(1, $workspaces / 10) u;

INSERT INTO workspaces (id, owner_id, organization_id, template_id, name)
SELECT md5('workspace ' || w)::uuid, md5('user ' || (w + 9) / 10)::uuid,
       md5('organization')::uuid, md5('template ' || w % 100)::uuid, 'workspace-' || w
FROM generate_series(1, $workspaces) w;

INSERT INTO workspace_builds (id, workspace_id, build_number, transition, job_id,
                              template_version_id, initiator_id, created_at)
SELECT md5('build ' || w || ' ' || b)::uuid, md5('workspace ' || w)::uuid, b, 'start',
       md5('job ' || w || ' ' || b)::uuid, md5('version')::uuid, md5('user ' || (w + 9) / 10)::uuid,
       timestamptz '2025-01-01' + b * interval '1 day'
FROM generate_series(1, $workspaces) w, generate_series(1, 10) b;

ALTER TABLE workspace_builds
    ADD PRIMARY KEY (id),
    ADD UNIQUE (job_id),
    ADD UNIQUE (workspace_id, build_number);

INSERT INTO workspace_resources (id, job_id, transition, type, name)
SELECT md5('resource ' || w)::uuid, md5('job ' || w || ' 10')::uuid, 'start', 'aws_instance', 'main'
FROM generate_series(1, $workspaces) w;

INSERT INTO workspace_agents (id, resource_id, name, auth_token, auth_instance_id, created_at)
SELECT md5('agent ' || w)::uuid, md5('resource ' || w)::uuid, 'main', md5('token ' || w)::uuid,
       'i-' || w, '2025-01-11'
FROM generate_series(1, $workspaces) w;

INSERT INTO workspace_apps (id, agent_id, slug, display_name, url)
SELECT md5('app ' || w)::uuid, md5('agent ' || w)::uuid, 'code', 'code', 'http://127.0.0.1:13337'
FROM generate_series(1, $workspaces) w;

ALTER TABLE api_keys ENABLE TRIGGER USER;
ALTER TABLE workspace_agents ENABLE TRIGGER USER;
