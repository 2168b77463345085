-- Deletes pins in builds that are gone, or are not the newest of an existing workspace.
--
-- $1 bigint: how many to delete at most
--
-- Skips what is locked: another replica is deleting it.
--
-- Raw because the DSL cannot say `USING`.
WITH past AS (
    SELECT pin.instance_id, pin.build_id
    FROM authd_identity_pins pin
    LEFT JOIN workspace_builds b ON b.id = pin.build_id
    LEFT JOIN workspaces w ON w.id = b.workspace_id
    WHERE w.id IS NULL OR w.deleted OR EXISTS (
        SELECT FROM workspace_builds later
        WHERE later.workspace_id = b.workspace_id AND later.build_number > b.build_number
    )
    LIMIT $1::bigint
    FOR UPDATE OF pin SKIP LOCKED
)
DELETE FROM authd_identity_pins pin
USING past
WHERE pin.instance_id = past.instance_id AND pin.build_id = past.build_id
