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
-- $12 text: id of the session that it is made from; null if it is not made from one
--
-- Returns how many sessions were added: none if the session that it is made from has ended, or
-- if the table cannot hold its limits. Before v2.27 a key cannot be limited to objects.
--
-- A session that is made from another ends the oldest of those that were made before, so that at
-- most 100 of one session and 400 of a user remain.
--
-- A trigger of the table refuses a user who is unknown or deleted.
--
-- Raw because of the lines for single generations of the tables: a key has one scope before
-- v2.27, and a list of scopes since then. The DSL cannot say a CTE that writes either.
WITH new AS (
    SELECT * FROM (VALUES (
        $1::timestamptz, $2::text, $3::bytea, $4::uuid, $5::timestamptz, $6::text, $7::bigint,
        $8::text, $9::text, $10::text, $11::text[], $12::text
    )) AS new (now, id, digest, user_id, expires_at, login_type, lifetime, ip, scope, name,
               allow_list, parent_id)
), added AS (
    INSERT INTO api_keys (created_at, updated_at, last_used, id, hashed_secret, user_id,
                          expires_at, login_type, lifetime_seconds, ip_address, token_name
                          , scope  --until v2.27
                          , scopes, allow_list  --since v2.27
                          )
    SELECT new.now, new.now, new.now, new.id, new.digest, new.user_id, new.expires_at,
           new.login_type::login_type, new.lifetime, new.ip::inet, new.name
           , label.scope::api_key_scope  --until v2.27
           , ARRAY[label.scope::api_key_scope], new.allow_list  --since v2.27
    FROM new,
    LATERAL (
        -- Releases of v2.27 spell the label with or without the prefix.
        SELECT CASE WHEN EXISTS (
            SELECT FROM pg_enum
            WHERE enumtypid = 'api_key_scope'::regtype AND enumlabel = new.scope
        ) THEN new.scope ELSE replace(new.scope, 'coder:', '') END AS scope
    ) label
    WHERE (new.parent_id IS NULL OR EXISTS (
        SELECT FROM api_keys parent
        WHERE parent.id = new.parent_id AND parent.user_id = new.user_id
    ))
      AND new.allow_list = '{*:*}'  --until v2.27
    RETURNING id
), noted AS (
    INSERT INTO authd_app_sessions (key_id, parent_id, user_id, created_at)
    SELECT new.id, new.parent_id, new.user_id, new.now FROM new JOIN added ON added.id = new.id
    WHERE new.parent_id IS NOT NULL
    RETURNING parent_id, user_id
), surplus AS (
    SELECT id FROM api_keys
    WHERE id = ANY (ARRAY(
        SELECT ranked.key_id FROM (
            SELECT made.key_id, made.parent_id = noted.parent_id AS is_of_parent,
                   row_number() OVER (PARTITION BY made.parent_id
                                      ORDER BY made.created_at DESC, made.key_id) AS of_parent,
                   row_number() OVER (ORDER BY made.created_at DESC, made.key_id) AS of_user
            FROM noted JOIN authd_app_sessions made ON made.user_id = noted.user_id
        ) ranked
        -- The new one is not among them yet.
        WHERE ranked.is_of_parent AND ranked.of_parent >= 100 OR ranked.of_user >= 400
    ))
    FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM api_keys WHERE id = ANY (ARRAY(SELECT id FROM surplus))
), forgotten AS (
    DELETE FROM authd_app_sessions WHERE key_id = ANY (ARRAY(SELECT id FROM surplus))
)
SELECT count(*) FROM added
