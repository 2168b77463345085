-- Which sessions are there? For an operator; at most 10,000, the newest first.
--
-- $1 uuid: the user whose sessions to list; null for those of all users
--
-- A session that was made from another is not one any more once that one is gone.
--
-- Raw because of the lines for single generations of the tables.
SELECT k.id, u.username, k.user_id, k.login_type::text,
       ARRAY[k.scope::text], ARRAY['*:*'],  --until v2.27
       array_remove(k.scopes::text[], NULL), k.allow_list,  --since v2.27
       k.token_name, k.created_at, k.last_used,
       least(k.expires_at, parent.expires_at), made.parent_id
FROM api_keys k JOIN users u ON u.id = k.user_id
LEFT JOIN authd_app_sessions made ON made.key_id = k.id
LEFT JOIN api_keys parent ON parent.id = made.parent_id
WHERE coalesce(k.user_id = $1::uuid, true) AND (made.key_id IS NULL OR parent.id IS NOT NULL)
ORDER BY k.created_at DESC, k.id LIMIT 10000
