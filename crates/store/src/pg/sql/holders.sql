-- Who holds these sessions? The key of each, its user, and the user's roles and groups.
--
-- $1 text[]: ids of keys, which are the public parts of session tokens
--
-- Returns one row for each key that exists and whose user is not deleted.
--
-- Raw because the DSL has neither lateral joins nor arrays of rows, and because of the lines
-- for single generations of the tables. The columns of `holder` and its subquery are the same
-- text in `app_by_name.sql`, `app_by_id.sql` and `terminal.sql`, which a test compares.
--
-- * A key is worthless once its user is deleted, in case it outlives the user.
-- * A session that was made from another is worthless once that one is gone, and expires with
--   it at the latest.
-- * Only users who sign in through a provider have a link, so only theirs are looked up.
-- * A key that was issued to an OAuth2 app is accepted only beside the token that it was
--   issued with. If several such tokens name different audiences, the key is not accepted.
-- * An encrypted refresh token is base64 of a nonce of 12 bytes, a tag of 16, and as many
--   bytes as the token has. Its length therefore shows whether the token is empty, with or
--   without the encryption key: 28 bytes are 38 digits before the padding. Neither token nor
--   ciphertext leaves the database.
-- * Rows of roles are looked up only for users who have roles that are stored. Since v2.30
--   every member of an organization has one: the permissions of members are a row.
-- * `OFFSET 0` keeps PostgreSQL from flattening a subquery into the joins around it, which
--   would add a table to the join order and take longer to plan.
SELECT
       holder.id, holder.hashed_secret, holder.user_id, holder.login_type, holder.last_used,
       holder.expires_at, holder.lifetime_seconds, holder.scopes, holder.allow_list,
       holder.audience, holder.is_prolonged, holder.owns_outside, holder.is_service_account,
       holder.status, holder.username, holder.oauth_expiry, holder.can_refresh,
       holder.rbac_roles,
       CASE WHEN holder.rbac_roles = '{}' THEN NULL ELSE ARRAY(
           SELECT ROW(name, site_permissions, org_permissions, user_permissions
                      , '[]'::jsonb, false  --until v2.30
                      , member_permissions, is_system  --since v2.30
                      )
           FROM custom_roles
           WHERE name = ANY (holder.rbac_roles) AND organization_id IS NULL
       ) END,
       ARRAY(
           SELECT ROW(m.organization_id, m.roles,
               CASE WHEN m.roles = '{}' THEN NULL ELSE  --until v2.30
               ARRAY(
                   SELECT ROW(name, site_permissions, org_permissions, user_permissions
                              , '[]'::jsonb, false  --until v2.30
                              , member_permissions, is_system  --since v2.30
                              )
                   FROM custom_roles
                   WHERE organization_id = m.organization_id
                     AND name = ANY (m.roles)  --until v2.30
                     AND name = ANY (m.roles || m.implied)  --since v2.30
               )
               END  --until v2.30
           )
           FROM (
               SELECT organization_id
                      , roles  --until v2.35
                      , roles || o.default_org_member_roles AS roles  --since v2.35
                      , CASE WHEN holder.is_service_account  --since v2.30
                        THEN 'organization-service-account'  --since v2.30
                        ELSE 'organization-member' END AS implied  --since v2.30
               FROM organization_members
               JOIN organizations o ON o.id = organization_id  --since v2.35
               WHERE user_id = holder.user_id
           ) m
       ),
       ARRAY(SELECT group_id FROM group_members WHERE user_id = holder.user_id)
FROM unnest($1::text[]) AS asked (key_id)
JOIN LATERAL (
    SELECT k.id, k.hashed_secret, k.user_id, k.login_type::text, k.last_used,
           least(k.expires_at, parent.expires_at) AS expires_at,
           k.lifetime_seconds, u.status::text, u.username, u.rbac_roles, l.oauth_expiry,
           ARRAY[k.scope::text] AS scopes, ARRAY['*:*'] AS allow_list,  --until v2.27
           k.scopes::text[], k.allow_list,  --since v2.27
           NULL AS audience,  --until v2.25
           t.audience,  --since v2.25
           true AS owns_outside,  --until v2.28
           false AS owns_outside,  --since v2.28
           false AS is_service_account,  --until v2.32
           u.is_service_account,  --since v2.32
           true AS is_prolonged,  --until v2.35
           k.login_type <> 'token' AS is_prolonged,  --since v2.35
           l.can_refresh
    FROM api_keys k
    JOIN users u ON u.id = k.user_id AND NOT u.deleted
    LEFT JOIN authd_app_sessions made ON made.key_id = k.id
    LEFT JOIN api_keys parent ON parent.id = made.parent_id AND parent.user_id = k.user_id
    LEFT JOIN LATERAL (
        SELECT oauth_expiry, CASE coalesce(oauth_refresh_token_key_id, '')
                   WHEN '' THEN oauth_refresh_token <> ''
                   ELSE length(rtrim(oauth_refresh_token, '=')) > 38
               END AS can_refresh
        FROM user_links
        WHERE user_id = k.user_id AND login_type = k.login_type
          AND k.login_type IN ('github', 'oidc')
        OFFSET 0
    ) l ON true
--since v2.25 {
    LEFT JOIN LATERAL (
        SELECT count(*) AS tokens, min(named.audience) AS audience
        FROM oauth2_provider_app_tokens,
        LATERAL (SELECT nullif(audience, '') AS audience) named
        WHERE api_key_id = k.id AND k.login_type = 'oauth2_provider_app'
        HAVING coalesce(min(named.audience) = max(named.audience), true)
    ) t ON true
--}
    WHERE k.id = asked.key_id
      AND (made.key_id IS NULL OR parent.id IS NOT NULL)
      AND (k.login_type <> 'oauth2_provider_app' OR t.tokens > 0)  --since v2.25
    OFFSET 0
) holder ON true
--guard
