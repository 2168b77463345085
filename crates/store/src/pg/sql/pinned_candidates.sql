-- Which agents belong to these instances, and what is the newest moment that each instance was asked
-- for with? For agent sign-in with pins.
--
-- $1 text[]: instance ids, in each spelling that may be stored
-- $2 text[]: for each of them, the spelling under which the instance is pinned
-- $3 timestamptz[]: for each of them, the moment of the proof; null to leave pins alone
--
-- Returns the rows of `candidates.sql`, each with the pin of its instance in its build. It is null
-- for agents of the past, and for instances without a moment.
--
-- Pins are moved here and not in a statement of their own, so that two proofs at the same time cannot
-- both be newer than the other: the second waits for the row of the first. The greatest moment wins,
-- so a pin never moves back, and the row is returned even if it stays as it is. Several callers may
-- ask for one instance. Its pin moves to the newest of their moments, as if that one had come first.
-- Rows are written in the order of their keys, so that two statements cannot wait for each other.
--
-- Raw for the reasons of `candidates.sql`, whose first three steps it shares.
WITH carriers AS MATERIALIZED (
    SELECT n, pinned_id, signed_at, a.*
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY
        AS asked (instance_id, pinned_id, signed_at, n)
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
), found AS MATERIALIZED (
    SELECT n, c.pinned_id, c.signed_at, c.id, c.name, c.auth_token, c.created_at, o.build_id,
           w.id AS workspace_id, w.deleted, w.deleted OR o.build_number < w.newest AS past
    FROM carriers c
    JOIN origins o ON o.id = c.resource_id
    JOIN claims w ON w.id = o.workspace_id
    --guard
), pins AS (
    INSERT INTO authd_identity_pins AS pin (instance_id, build_id, signed_at)
    SELECT pinned_id, build_id, max(signed_at)
    FROM found
    WHERE signed_at IS NOT NULL AND NOT past
    GROUP BY pinned_id, build_id
    ORDER BY pinned_id, build_id
    ON CONFLICT (instance_id, build_id)
        DO UPDATE SET signed_at = greatest(pin.signed_at, excluded.signed_at)
    RETURNING instance_id, build_id, signed_at
)
SELECT f.n, f.id, f.name, f.auth_token, f.created_at, f.build_id, f.workspace_id, f.deleted,
       f.past, p.signed_at
FROM found f
LEFT JOIN pins p ON p.instance_id = f.pinned_id AND p.build_id = f.build_id
    AND f.signed_at IS NOT NULL AND NOT f.past
