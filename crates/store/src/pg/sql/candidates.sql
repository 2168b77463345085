-- Which agents belong to these instances? For agent sign-in.
--
-- $1 text[]: instance ids, in each spelling that may be stored
--
-- Returns one row for each agent of an id. `n` is the position of the id in $1, from 1. The
-- last two columns say whether the workspace is deleted, and whether that or a newer build
-- makes the agent one of the past.
--
-- Raw because the DSL has neither lateral joins nor CTEs. Each step looks a row up once,
-- however many rows of the step before lead to it. A plain join would not: ten builds of two
-- agents each are twenty `carriers` of the id, ten `origins` and one `claim`. The caller sorts
-- the rows, because sorting twenty of them costs PostgreSQL as much as finding them.
WITH carriers AS MATERIALIZED (
    SELECT n, a.*
    FROM unnest($1::text[]) WITH ORDINALITY AS asked (instance_id, n)
    CROSS JOIN LATERAL (
        SELECT id, name, auth_token, created_at, resource_id
        FROM workspace_agents
        WHERE auth_instance_id = asked.instance_id
          AND NOT deleted  --since v2.24
          AND parent_id IS NULL  --since v2.22
        -- The index delivers agents in this order. The limit bounds the work: it is four
        -- times the number of candidates at which sign-in is refused.
        ORDER BY created_at DESC
        LIMIT 1024
    ) a
), origins AS MATERIALIZED (
    -- `workspace_builds` has only the jobs of builds, so this join leaves out the resources
    -- of template imports and dry runs.
    SELECT r.id, b.id AS build_id, b.build_number, b.workspace_id
    FROM workspace_resources r
    JOIN workspace_builds b ON b.job_id = r.job_id
    WHERE r.id = ANY (ARRAY(SELECT resource_id FROM carriers))
), claims AS MATERIALIZED (
    SELECT w.id, w.deleted,
           (SELECT max(build_number) FROM workspace_builds WHERE workspace_id = w.id) AS newest
    FROM workspaces w
    WHERE w.id = ANY (ARRAY(SELECT workspace_id FROM origins))
)
SELECT n, c.id, c.name, c.auth_token, c.created_at, o.build_id, w.id,
       w.deleted, w.deleted OR o.build_number < w.newest
FROM carriers c
JOIN origins o ON o.id = c.resource_id
JOIN claims w ON w.id = o.workspace_id
--guard
