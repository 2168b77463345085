-- Signs in a user of an OpenID provider: finds or creates the user, and adds a session.
--
-- $1 text: link of the user, made of issuer and subject
-- $2 boolean: whether a user without a link is found by the address
-- $3 text: e-mail address
-- $4 text: name of the organization of a new user
-- $5 uuid: id of a new user
-- $6 text: name of a new user
-- $7 text[]: all roles of the user; null to leave them
-- $8 timestamptz: now
-- $9 boolean: whether an unknown user is created
-- $10 text[]: names of all groups of the user; null to leave them
-- $11 text: id of the session's key
-- $12 bytea: digest of its secret
-- $13 timestamptz: when it expires
-- $14 bigint: its lifetime in seconds
-- $15 text: IP address of the user
-- $16 text: issuer
-- $17 text: subject
-- $18 text: session at the provider; null if it names none
--
-- Returns one row: `in` and the user, and whether the user is new; or `suspended` and the user; or
-- `taken` or `unknown`, without a user.
--
-- Raw because of the statements within the statement.
WITH linked AS (
    SELECT u.id, u.status
    FROM user_links l JOIN users u ON u.id = l.user_id AND NOT u.deleted
    WHERE l.linked_id = $1::text AND l.linked_id <> '' AND l.login_type = 'oidc'
    -- An earlier deployment may have one link twice.
    ORDER BY u.created_at, u.id
    LIMIT 1
), same_address AS (
    SELECT u.id, u.status,
           $2::boolean AND u.login_type = 'oidc' AND NOT u.is_system AND NOT EXISTS (
               SELECT FROM user_links l
               WHERE l.user_id = u.id AND l.login_type = 'oidc' AND l.linked_id <> ''
           ) AS is_free
    FROM users u
    WHERE lower(u.email) = lower($3::text) AND NOT u.deleted AND NOT EXISTS (SELECT FROM linked)
), known AS (
    SELECT id, status FROM linked
    UNION ALL
    SELECT id, status FROM same_address WHERE is_free
), home AS (
    SELECT id FROM organizations
    WHERE NOT deleted AND (
        name = $4::text
        OR (SELECT count(*) FROM organizations WHERE NOT deleted) = 1
    )
), created AS (
    INSERT INTO users (id, username, email, status, rbac_roles, login_type, last_seen_at,
                       created_at, updated_at)
    SELECT $5::uuid,
           CASE WHEN EXISTS (
               SELECT FROM users WHERE lower(username) = lower($6::text) AND NOT deleted
           ) THEN left($6, 23) || '-' || left($5::text, 8) ELSE $6 END,
           $3, 'active', coalesce($7::text[], '{}'), 'oidc', $8::timestamptz, $8, $8
    WHERE $9::boolean AND NOT EXISTS (SELECT FROM linked)
      AND NOT EXISTS (SELECT FROM same_address)
    RETURNING id
), updated AS (
    UPDATE users u
    SET status = 'active', rbac_roles = coalesce($7, u.rbac_roles),
        last_seen_at = greatest(u.last_seen_at, $8), updated_at = $8
    FROM known
    WHERE u.id = known.id AND known.status <> 'suspended'
    RETURNING u.id
), who AS (
    SELECT id, true AS is_new FROM created
    UNION ALL
    SELECT id, false FROM updated
), link AS (
    INSERT INTO user_links (user_id, login_type, linked_id)
    SELECT id, 'oidc', $1 FROM who
    -- A token that has expired would end the session, and none is kept.
    ON CONFLICT (user_id, login_type) DO UPDATE
    SET linked_id = $1, oauth_access_token = '', oauth_refresh_token = '',
        oauth_expiry = '0001-01-01 00:00:00+00', oauth_access_token_key_id = NULL,
        oauth_refresh_token_key_id = NULL
), joined AS (
    INSERT INTO organization_members (organization_id, user_id)
    SELECT home.id, created.id FROM created, home
), places AS (
    SELECT home.id AS organization_id, created.id AS user_id FROM created, home
    UNION ALL
    SELECT m.organization_id, m.user_id
    FROM organization_members m JOIN updated ON updated.id = m.user_id
), wanted AS (
    -- All members are in the group that has the id of the organization.
    SELECT g.id AS group_id, places.user_id
    FROM places
    JOIN groups g ON g.organization_id = places.organization_id AND g.id <> g.organization_id
    WHERE g.name = ANY ($10::text[])
), left_groups AS (
    DELETE FROM group_members m USING places, groups g
    WHERE $10 IS NOT NULL AND m.user_id = places.user_id AND g.id = m.group_id
      AND g.organization_id = places.organization_id AND g.id <> g.organization_id
      AND NOT EXISTS (SELECT FROM wanted WHERE wanted.group_id = m.group_id)
), joined_groups AS (
    INSERT INTO group_members (user_id, group_id)
    SELECT user_id, group_id FROM wanted
    ON CONFLICT (user_id, group_id) DO NOTHING
), old AS (
    SELECT s.key_id, k.id
    FROM updated JOIN authd_oidc_sessions s ON s.user_id = updated.id
    LEFT JOIN api_keys k ON k.id = s.key_id
    WHERE k.id IS NULL OR k.expires_at < $8
), ended AS (
    DELETE FROM api_keys WHERE id = ANY (ARRAY(SELECT id FROM old WHERE id IS NOT NULL))
), forgotten AS (
    DELETE FROM authd_oidc_sessions WHERE key_id = ANY (ARRAY(SELECT key_id FROM old))
), key AS (
    INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at,
                          updated_at, login_type, lifetime_seconds, ip_address)
    SELECT $11::text, $12::bytea, who.id, $8, $13::timestamptz, $8, $8, 'oidc', $14::bigint,
           $15::text::inet
    FROM who
    RETURNING id, user_id
), noted AS (
    INSERT INTO authd_oidc_sessions (key_id, user_id, issuer, subject, session_id, created_at)
    SELECT key.id, key.user_id, $16::text, $17::text, $18::text, $8 FROM key
)
SELECT 'in', who.id, who.is_new FROM key JOIN who ON who.id = key.user_id
UNION ALL
SELECT 'suspended', id, false FROM known WHERE status = 'suspended'
UNION ALL
SELECT 'taken', NULL, false FROM same_address WHERE NOT is_free
UNION ALL
SELECT 'unknown', NULL, false
WHERE NOT $9 AND NOT EXISTS (SELECT FROM linked) AND NOT EXISTS (SELECT FROM same_address)
