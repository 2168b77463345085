-- Deletes sessions that were made from others and have ended: by themselves, or with those.
--
-- $1 timestamptz: now
-- $2 bigint: how many to delete at most
--
-- Skips what is locked: another replica is deleting it, or it is being used.
--
-- Raw because the DSL cannot say a CTE that writes.
WITH over AS (
    SELECT made.key_id, k.id
    FROM authd_app_sessions made
    LEFT JOIN api_keys k ON k.id = made.key_id
    LEFT JOIN api_keys parent ON parent.id = made.parent_id
    WHERE k.id IS NULL OR parent.id IS NULL OR least(k.expires_at, parent.expires_at) < $1::timestamptz
    LIMIT $2::bigint
    FOR UPDATE OF made SKIP LOCKED
), unused AS (
    SELECT id FROM api_keys WHERE id = ANY (ARRAY(SELECT id FROM over))
    FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM api_keys WHERE id = ANY (ARRAY(SELECT id FROM unused))
)
DELETE FROM authd_app_sessions
WHERE key_id = ANY (ARRAY(
    SELECT key_id FROM over WHERE id IS NULL
    UNION ALL
    SELECT id FROM unused
))
