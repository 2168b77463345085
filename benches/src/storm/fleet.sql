-- $agents workspaces of $builds builds with one agent each; the newest agent has the id of an
-- instance, as `Clouds::instance` writes it. $recycled percent of the workspaces
-- have that id in all builds, spread over the fleet; the others have another one in each.

-- Rows that are known to be right need no checks one by one.
ALTER TABLE workspace_agents DISABLE TRIGGER USER;

INSERT INTO organizations (id, name) VALUES (md5('organization')::uuid, 'acme');

INSERT INTO templates (id, organization_id, name)
VALUES (md5('template')::uuid, md5('organization')::uuid, 'template');

INSERT INTO users (id, username, email, status, created_at, updated_at)
SELECT md5('owner ' || o)::uuid, 'owner-' || o, 'owner-' || o || '@example.com', 'active',
       '2024-01-01', '2024-01-01'
FROM generate_series(0, 499) o;

INSERT INTO workspaces (id, owner_id, organization_id, template_id, name)
SELECT md5('workspace ' || w)::uuid, md5('owner ' || w % 500)::uuid,
       md5('organization')::uuid, md5('template')::uuid, 'workspace-' || w
FROM generate_series(0, $agents - 1) w;

INSERT INTO workspace_builds (id, workspace_id, build_number, transition, job_id,
                              template_version_id, initiator_id, created_at)
SELECT md5('build ' || w || ' ' || b)::uuid, md5('workspace ' || w)::uuid, b, 'start',
       md5('job ' || w || ' ' || b)::uuid, md5('version')::uuid, md5('owner ' || w % 500)::uuid,
       timestamptz '2025-01-01' + b * interval '1 hour'
FROM generate_series(0, $agents - 1) w, generate_series(1, $builds) b;

INSERT INTO provisioner_jobs (id, type, organization_id, input)
SELECT job_id, 'workspace_build', md5('organization')::uuid,
       jsonb_build_object('workspace_build_id', id)
FROM workspace_builds;

INSERT INTO workspace_resources (id, job_id, transition, type, name)
SELECT md5('resource of ' || id)::uuid, id, 'start', 'instance', 'main' FROM provisioner_jobs;

INSERT INTO workspace_agents (id, resource_id, name, auth_token, auth_instance_id, created_at)
SELECT md5('agent ' || w || ' ' || b)::uuid,
       md5('resource of ' || md5('job ' || w || ' ' || b)::uuid)::uuid,
       'main', md5('token ' || w || ' ' || b)::uuid,
       CASE (ARRAY[$clouds])[w % $count + 1]
           WHEN 'aws' THEN 'i-' || lpad(to_hex(number), 17, '0')
           WHEN 'azure' THEN '00000000-0000-4000-8000-' || lpad(to_hex(number), 12, '0')
           ELSE (1000000000000000000 + number)::text
       END,
       timestamptz '2025-01-01' + b * interval '1 hour'
FROM generate_series(0, $agents - 1) w, generate_series(1, $builds) b,
     -- Ids of older builds are those of instances that do not exist any more.
     LATERAL (SELECT CASE WHEN w / $count * 37 % 100 < $recycled THEN w
                          ELSE w + ($builds - b)::bigint * 10000000 END::bigint AS number) ids;

ALTER TABLE workspace_agents ENABLE TRIGGER USER;
