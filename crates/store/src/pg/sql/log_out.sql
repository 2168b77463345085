-- Deletes a session and those that were made from it. If asked to, also deletes other sessions of
-- its user that are for apps alone.
--
-- $1 uuid: the user
-- $2 text: id of the session's key
-- $3 boolean: whether to delete others
--
-- Returns the ids of the keys of all sessions that were deleted.
--
-- The others of a session that was made from another are those that were made from the same one,
-- which are in the same browser. For any other session they are the sessions for apps of which
-- it is not known what they were made from: those of the control plane, and of earlier versions.
--
-- Raw because of the lines for single generations of the tables.
WITH own AS (
    SELECT parent_id FROM authd_app_sessions WHERE key_id = $2::text AND user_id = $1::uuid
), over AS (
    SELECT k.id FROM api_keys k LEFT JOIN authd_app_sessions made ON made.key_id = k.id
    WHERE k.user_id = $1::uuid AND (k.id = $2::text OR made.parent_id = $2::text
        OR $3::boolean AND (
            made.parent_id = (SELECT parent_id FROM own)
            OR made.key_id IS NULL AND NOT EXISTS (SELECT FROM own) AND
               k.scope::text IN ('application_connect', 'coder:application_connect')  --until v2.27
               k.scopes::text[] && '{application_connect,coder:application_connect}'  --since v2.27
        ))
    ORDER BY k.id
    FOR UPDATE OF k
), forgotten AS (
    DELETE FROM authd_app_sessions WHERE key_id = ANY (ARRAY(SELECT id FROM over))
)
DELETE FROM api_keys WHERE id = ANY (ARRAY(SELECT id FROM over)) RETURNING id
