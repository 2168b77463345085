-- 100,000 agents with histories: 9,000 workspaces of ten builds each.
--
--   i-twenty-N   N in 1..=1000: two agents a build, one id for all builds, so that
--                2 of 20 candidates are live
--   i-ten-N      N even, 1002..=9000: one agent a build, one id for all builds; up to
--                3000 an agent of a template import has the id too
--   i-one-N-B    N odd, 1001..=8999: one agent and a new id for build B in 1..=10

-- Rows that are known to be right need no checks one by one.
ALTER TABLE workspace_agents DISABLE TRIGGER USER;

INSERT INTO organizations (id, name) VALUES (md5('organization')::uuid, 'acme');

INSERT INTO templates (id, organization_id, name)
VALUES (md5('template')::uuid, md5('organization')::uuid, 'linux');

INSERT INTO users (id, username, email, status, created_at, updated_at)
SELECT md5('owner ' || o)::uuid, 'owner-' || o, 'owner-' || o || '@example.com', 'active',
       '2024-01-01', '2024-01-01'
FROM generate_series(0, 499) o;

INSERT INTO workspaces (id, owner_id, organization_id, template_id, name)
SELECT md5('workspace ' || w)::uuid, md5('owner ' || w % 500)::uuid,
       md5('organization')::uuid, md5('template')::uuid, 'workspace-' || w
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

ALTER TABLE workspace_agents ENABLE TRIGGER USER;
