-- Deletes a session and, if asked to, its user's other sessions that are for apps alone.
--
-- $1 uuid: the user
-- $2 text: id of the session's key
-- $3 boolean: whether to delete the sessions for apps
--
-- Raw because of the lines for single generations of the tables.
DELETE FROM api_keys
WHERE user_id = $1::uuid AND (id = $2::text OR $3::boolean AND
    scope::text IN ('application_connect', 'coder:application_connect')  --until v2.27
    scopes::text[] && '{application_connect,coder:application_connect}'  --since v2.27
)
