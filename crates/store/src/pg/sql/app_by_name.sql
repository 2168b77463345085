-- May these visitors open these apps? What each request names, and who holds each session.
-- For apps and ports where owner and workspace are given by name, as nearly always.
--
-- $1 text[]: names of owners
-- $2 text[]: names of workspaces
-- $3 text[]: slugs of apps; null for a port
-- $4 integer[]: ports; null for an app
-- $5 text[]: ids of keys, which are the public parts of session tokens
--
-- Returns a row for each `n` from 1. It has the n-th place of $1 to $4, if it exists, and the
-- holder of the n-th key of $5, if there is one. The two have nothing to do with each other:
-- they share a row so that they share a statement.
--
-- * An owner is found by user name alone. An email address is not a name, and an empty one
--   would match several users. Deleted users and deleted workspaces are not found.
-- * Only the agents of the newest build are listed, each with what the request can lead to:
--   the app of the slug, or the share of the port. Hosts have no case, so neither do these
--   names: of several that differ only in case, the one in the requested case is preferred.
--   The people with whom it is shared are those of the app's and the agent's exact names.
-- * Before v2.26 workspaces have no access lists, so only owners and roles open them.
-- * `app_by_id.sql` would answer these requests as well. Without its look-ups by id this
--   statement names each table once and starts faster.
--
-- `holders.sql` has the reasons for the part about holders and for `OFFSET 0`. Raw for the
-- same reasons as that.
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[])
    WITH ORDINALITY AS asked (owner_name, workspace_name, slug, port, key_id, n)
)
SELECT asked.n,
       place.asked_owner, place.id, place.name, place.owner_id, place.owner_name,
       place.organization_id, place.dormant, place.user_acl, place.group_acl, place.transition,
       place.cors_behavior, place.max_port_sharing_level,
       ARRAY(
           SELECT ROW(a.id, a.name, a.created_at, a.first_connected_at, a.last_connected_at,
                      a.disconnected_at, a.connection_timeout_seconds,
                      p.id, p.slug, p.url, p.external, p.sharing_level,
                      s.agent_name, s.share_level, with_people.users, with_people.groups)
           FROM workspace_resources r
           JOIN workspace_agents a ON a.resource_id = r.id AND NOT a.deleted
           LEFT JOIN LATERAL (
               SELECT id, slug, url, external, sharing_level
               FROM workspace_apps
               WHERE agent_id = a.id AND lower(slug) = lower(asked.slug)
               ORDER BY slug = asked.slug DESC, slug COLLATE "C"
               LIMIT 1
           ) p ON true
           LEFT JOIN LATERAL (
               SELECT agent_name, share_level
               FROM workspace_agent_port_share
               WHERE workspace_id = place.id AND port = asked.port
                 AND lower(agent_name) = lower(a.name)
               ORDER BY agent_name = a.name DESC, agent_name COLLATE "C"
               LIMIT 1
           ) s ON true
           LEFT JOIN LATERAL (
               SELECT array_agg(person_id) FILTER (WHERE NOT is_group) AS users,
                      array_agg(person_id) FILTER (WHERE is_group) AS groups
               FROM authd_shares
               WHERE workspace_id = place.id AND agent_name = a.name
                 AND slug_or_port = coalesce(p.slug, asked.port::text)
           ) with_people ON true
           WHERE r.job_id = place.job_id
       ),
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
FROM asked
LEFT JOIN LATERAL (
    SELECT owner.id AS asked_owner,
           w.id, w.name, w.owner_id, owner.username AS owner_name, w.organization_id,
           w.dormant_at IS NOT NULL AS dormant, b.job_id, b.transition::text,
           w.user_acl, w.group_acl, t.cors_behavior::text,  --since v2.26
           '{}'::jsonb AS user_acl, '{}'::jsonb AS group_acl, 'simple' AS cors_behavior,  --until v2.26
           t.max_port_sharing_level::text
    FROM users owner
    CROSS JOIN LATERAL (
        SELECT id, name, owner_id, organization_id, template_id, dormant_at
               , user_acl, group_acl  --since v2.26
        FROM workspaces
        WHERE owner_id = owner.id AND lower(name) = lower(asked.workspace_name) AND NOT deleted
        OFFSET 0
    ) w
    CROSS JOIN LATERAL (
        SELECT job_id, transition
        FROM workspace_builds
        WHERE workspace_id = w.id
        ORDER BY build_number DESC
        LIMIT 1
    ) b
    LEFT JOIN templates t ON t.id = w.template_id
    WHERE lower(owner.username) = lower(asked.owner_name) AND NOT owner.deleted
    OFFSET 0
) place ON true
LEFT JOIN LATERAL (
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
