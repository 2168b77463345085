-- Adds a session: the key of a user.
--
-- $1 timestamptz: when it was created
-- $2 text: id of the key
-- $3 bytea: digest of its secret
-- $4 uuid: its user
-- $5 timestamptz: when it expires
-- $6 text: how the user signed in, a label of `login_type`
-- $7 bigint: its lifetime in seconds
-- $8 text: IP address of the user
-- $9 text: its scope, such as `coder:all`
-- $10 text: its name
-- $11 text[]: the objects that it is limited to
--
-- A trigger of the table refuses a user who is unknown or deleted.
--
-- Raw because of the lines for single generations of the tables: a key has one scope before
-- v2.27, and a list of scopes since then. Before v2.27 a key cannot be limited to objects, and
-- the statement then inserts nothing, which the caller reports.
INSERT INTO api_keys (created_at, updated_at, last_used, id, hashed_secret, user_id, expires_at,
                      login_type, lifetime_seconds, ip_address, token_name
                      , scope  --until v2.27
                      , scopes, allow_list  --since v2.27
                      )
SELECT new.now, new.now, new.now, new.id, new.digest, new.user_id, new.expires_at,
       new.login_type::login_type, new.lifetime, new.ip::inet, new.name
       , label.scope::api_key_scope  --until v2.27
       , ARRAY[label.scope::api_key_scope], new.allow_list  --since v2.27
FROM (VALUES (
    $1::timestamptz, $2::text, $3::bytea, $4::uuid, $5::timestamptz, $6::text, $7::bigint,
    $8::text, $9::text, $10::text, $11::text[]
)) AS new (now, id, digest, user_id, expires_at, login_type, lifetime, ip, scope, name, allow_list),
LATERAL (
    -- Releases of v2.27 spell the label with or without the prefix.
    SELECT CASE WHEN EXISTS (
        SELECT FROM pg_enum
        WHERE enumtypid = 'api_key_scope'::regtype AND enumlabel = new.scope
    ) THEN new.scope ELSE replace(new.scope, 'coder:', '') END AS scope
) label
WHERE new.allow_list = '{*:*}'  --until v2.27
