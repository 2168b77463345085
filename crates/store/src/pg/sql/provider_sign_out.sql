-- Ends sessions that came of sign-ins at an OpenID provider, and those that were made from them.
--
-- $1 text: issuer
-- $2 timestamptz: the time until which they were begun
-- $3 text: subject; null for the one of the session
-- $4 text: session at the provider; null for all of the subject
--
-- Returns the ids and users of the keys that were deleted. With a subject and a session, sessions of
-- the subject of which the provider has not named the session end too.
--
-- Raw because of the statements within the statement.
WITH named AS (
    SELECT key_id, user_id FROM authd_oidc_sessions
    WHERE issuer = $1::text AND created_at <= $2::timestamptz AND (
        $3::text IS NOT NULL AND subject = $3
            AND ($4::text IS NULL OR session_id = $4 OR session_id IS NULL)
        OR $3 IS NULL AND session_id = $4
    )
), over AS (
    SELECT k.id FROM api_keys k
    LEFT JOIN authd_app_sessions made ON made.key_id = k.id
    -- The keys of these users are few, and found by an index.
    WHERE k.user_id = ANY (ARRAY(SELECT user_id FROM named))
      AND (k.id IN (SELECT key_id FROM named) OR made.parent_id IN (SELECT key_id FROM named))
    ORDER BY k.id
    FOR UPDATE OF k
), forgotten AS (
    DELETE FROM authd_app_sessions WHERE key_id = ANY (ARRAY(SELECT id FROM over))
), gone AS (
    DELETE FROM authd_oidc_sessions WHERE key_id = ANY (ARRAY(SELECT key_id FROM named))
)
DELETE FROM api_keys WHERE id = ANY (ARRAY(SELECT id FROM over)) RETURNING id, user_id
