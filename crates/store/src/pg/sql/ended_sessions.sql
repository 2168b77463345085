-- Which of these sessions no longer count?
--
-- $1 text[]: ids of keys
-- $2 timestamptz: now
--
-- Returns the ids of those whose key is gone or has expired, whose user is not active, or that
-- were made from a session that is gone or has expired. The last does not matter for a session
-- that was not made from one.
--
-- Raw because the DSL has no joins with arrays.
SELECT asked.key_id
FROM unnest($1::text[]) AS asked (key_id)
WHERE NOT EXISTS (
    SELECT FROM api_keys k
    JOIN users u ON u.id = k.user_id AND NOT u.deleted AND u.status = 'active'
    LEFT JOIN authd_app_sessions made ON made.key_id = k.id
    LEFT JOIN api_keys parent ON parent.id = made.parent_id AND parent.user_id = k.user_id
    WHERE k.id = asked.key_id AND k.expires_at >= $2::timestamptz
      AND (made.key_id IS NULL OR parent.expires_at >= $2::timestamptz)
)
