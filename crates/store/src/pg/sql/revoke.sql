-- Deletes a session and those that were made from it, for an operator.
--
-- $1 text: id of the session's key
--
-- Returns the ids of the keys of all sessions that were deleted.
--
-- Raw because the DSL cannot say a CTE that writes.
WITH over AS (
    SELECT id FROM api_keys
    WHERE id = ANY (ARRAY(
        SELECT $1::text
        UNION ALL
        SELECT made.key_id
        FROM api_keys k JOIN authd_app_sessions made ON made.user_id = k.user_id
        WHERE k.id = $1::text AND made.parent_id = k.id
    ))
    ORDER BY id
    FOR UPDATE
), forgotten AS (
    DELETE FROM authd_app_sessions WHERE key_id = ANY (ARRAY(SELECT id FROM over))
)
DELETE FROM api_keys WHERE id = ANY (ARRAY(SELECT id FROM over)) RETURNING id
