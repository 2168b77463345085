-- May these visitors open the terminals of these agents? The workspace of each agent, and who
-- holds each session.
--
-- $1 uuid[]: ids of agents
-- $2 text[]: ids of keys, which are the public parts of session tokens
--
-- Returns rows as `app_by_name.sql` does, with the one agent and without apps and ports.
--
-- An agent is found only if its build is the newest of a workspace that is not deleted: an
-- agent of an earlier build has no machine to open a terminal on.
SELECT asked.n,
       place.asked_owner, place.id, place.name, place.owner_id, place.owner_name,
       place.organization_id, place.dormant, place.user_acl, place.group_acl, place.transition,
       place.cors_behavior, place.max_port_sharing_level,
       place.agents,
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
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS asked (agent_id, key_id, n)
LEFT JOIN LATERAL (
    SELECT w.owner_id AS asked_owner,
           w.id, w.name, w.owner_id, owner.username AS owner_name, w.organization_id,
           w.dormant_at IS NOT NULL AS dormant, b.job_id, b.transition::text,
           w.user_acl, w.group_acl, t.cors_behavior::text,  --since v2.26
           '{}'::jsonb AS user_acl, '{}'::jsonb AS group_acl, 'simple' AS cors_behavior,  --until v2.26
           t.max_port_sharing_level::text,
           ARRAY[ROW(a.id, a.name, a.created_at, a.first_connected_at, a.last_connected_at,
                     a.disconnected_at, a.connection_timeout_seconds,
                     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)] AS agents
    FROM workspace_agents a
    JOIN workspace_resources r ON r.id = a.resource_id
    JOIN workspace_builds b ON b.job_id = r.job_id
    JOIN workspaces w ON w.id = b.workspace_id AND NOT w.deleted
    JOIN users owner ON owner.id = w.owner_id
    LEFT JOIN templates t ON t.id = w.template_id
    WHERE a.id = asked.agent_id AND NOT a.deleted
      AND b.build_number = (
          SELECT max(build_number) FROM workspace_builds WHERE workspace_id = w.id
      )
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
