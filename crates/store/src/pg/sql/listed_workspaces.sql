-- In which workspaces may a user be able to open apps? A page of them, with the agents of the
-- newest build and their apps: own ones first, then by owner and name.
--
-- $1 uuid[]: the only workspaces that roles and access lists may open; null if not limited
-- $2 boolean: whether they open all workspaces
-- $3 uuid[]: organizations whose workspaces they open
-- $4 uuid: the user
-- $5 uuid[]: organizations in which they open the user's own workspaces
-- $6 uuid[]: organizations whose workspaces they open if they are shared
-- $7 uuid[]: organizations in which they open the user's own workspaces if they are shared
-- $8 text: the user's key in access lists
-- $9 text[]: the keys of the user's groups in access lists
-- $10 text[]: the actions of which an entry of an access list must hold one
-- $11 text: a part of the name of the owner, the workspace or an app, in lower case; empty for all
-- $12 boolean: whether the page begins among the workspaces of others
-- $13 text: the page begins after this owner
-- $14 text: and after this workspace of that owner
-- $15 bigint: how many workspaces to return at most
--
-- Returns more than may be opened: a workspace is included if one app of any build is shared, or an
-- app or a port is shared with the user by name.
-- Dormant workspaces are left out, since none of their apps opens. At most 200 apps of a
-- workspace are returned. Hidden apps are left out.
--
-- The subqueries of apps do not depend on the workspace, so that each is computed once. The limit
-- is applied before newest builds and agents are looked up.
--
-- `--guard` is not used, as in `workspaces_page.sql`.
--
-- Raw because of the lateral joins, the arrays of rows, the operators on access lists and the
-- lines for single generations of the tables.
SELECT page.owner_id, page.id, page.name, page.owner_id, page.username, page.organization_id, false,
       page.user_acl, page.group_acl,
       coalesce(b.transition::text, 'stop'),
       t.cors_behavior::text,  --since v2.26
       'simple',  --until v2.26
       t.max_port_sharing_level::text,
       ARRAY(
           SELECT ROW(a.id, a.name, a.created_at, a.first_connected_at, a.last_connected_at,
                      a.disconnected_at, a.connection_timeout_seconds,
                      p.id, p.slug, p.url, p.external, p.sharing_level, NULL::text, NULL::text,
                      with_people.users, with_people.groups)
           FROM workspace_resources r
           JOIN workspace_agents a ON a.resource_id = r.id AND NOT a.deleted
           LEFT JOIN workspace_apps p ON p.agent_id = a.id AND NOT p.hidden
           LEFT JOIN LATERAL (
               SELECT array_agg(person_id) FILTER (WHERE NOT is_group) AS users,
                      array_agg(person_id) FILTER (WHERE is_group) AS groups
               FROM authd_shares
               WHERE workspace_id = page.id AND agent_name = a.name
                 AND slug_or_port = p.slug
           ) with_people ON true
           WHERE r.job_id = b.job_id
           ORDER BY a.name, a.id, p.slug COLLATE "C"
           LIMIT 200
       ),
       ARRAY(
           SELECT ROW(p.id, p.display_name, p.subdomain, p.health)
           FROM workspace_resources r
           JOIN workspace_agents a ON a.resource_id = r.id AND NOT a.deleted
           JOIN workspace_apps p ON p.agent_id = a.id AND NOT p.hidden
           WHERE r.job_id = b.job_id
           ORDER BY a.name, a.id, p.slug COLLATE "C"
           LIMIT 200
       )
FROM (
    SELECT w.id, w.name, w.owner_id, w.organization_id, w.template_id, owner.username,
           w.user_acl, w.group_acl
    FROM workspaces w  --since v2.26
--until v2.26 {
    FROM (
        SELECT id, name, owner_id, organization_id, template_id, dormant_at, deleted,
               '{}'::jsonb AS user_acl, '{}'::jsonb AS group_acl
        FROM workspaces
    ) w
--}
    JOIN users owner ON owner.id = w.owner_id AND NOT owner.deleted
    WHERE NOT w.deleted AND w.dormant_at IS NULL
        AND (
            coalesce(w.id = ANY ($1::uuid[]), true) AND (
                $2::boolean
                OR w.organization_id = ANY ($3::uuid[])
                OR w.owner_id = $4::uuid AND w.organization_id = ANY ($5::uuid[])
                OR (w.organization_id = ANY ($6::uuid[])
                    OR w.owner_id = $4 AND w.organization_id = ANY ($7::uuid[]))
                    AND (w.user_acl <> '{}' OR w.group_acl <> '{}')
                    -- An entry is a list of actions, or an object with such a list.
                    AND EXISTS (
                        SELECT FROM (
                            SELECT w.user_acl -> $8::text
                            UNION ALL
                            SELECT w.group_acl -> id
                            FROM unnest(w.organization_id::text || $9::text[]) id
                        ) entry (granted)
                        WHERE granted ?| $10::text[] OR granted -> 'permissions' ?| $10
                    )
            )
            OR w.id IN (
                SELECT sb.workspace_id
                FROM workspace_apps sp
                JOIN workspace_agents sa ON sa.id = sp.agent_id
                JOIN workspace_resources sr ON sr.id = sa.resource_id
                JOIN workspace_builds sb ON sb.job_id = sr.job_id
                JOIN workspaces sw ON sw.id = sb.workspace_id
                WHERE sp.sharing_level <> 'owner'
                  AND (sp.sharing_level::text <> 'organization'
                       OR sw.organization_id IN (
                           SELECT organization_id FROM organization_members WHERE user_id = $4
                       ))
            )
            OR w.id IN (
                SELECT workspace_id
                FROM authd_shares
                WHERE person_id = $4 AND NOT is_group
                   OR is_group AND person_id = ANY ($9::text[]::uuid[] || ARRAY(
                          SELECT organization_id FROM organization_members WHERE user_id = $4
                      ))
            )
        )
        AND (
            $11::text = ''
            OR strpos(lower(w.name), $11) > 0
            OR strpos(lower(owner.username), $11) > 0
            OR w.id IN (
                SELECT fb.workspace_id
                FROM workspace_apps fp
                JOIN workspace_agents fa ON fa.id = fp.agent_id
                JOIN workspace_resources fr ON fr.id = fa.resource_id
                JOIN workspace_builds fb ON fb.job_id = fr.job_id
                WHERE strpos(lower(fp.slug), $11) > 0 OR strpos(lower(fp.display_name), $11) > 0
            )
        )
        AND (w.owner_id <> $4, lower(owner.username) COLLATE "C", lower(w.name) COLLATE "C")
            > ($12::boolean, lower($13::text), lower($14::text))
    ORDER BY w.owner_id <> $4, lower(owner.username) COLLATE "C", lower(w.name) COLLATE "C"
    LIMIT $15::bigint
) page
LEFT JOIN LATERAL (
    SELECT job_id, transition
    FROM workspace_builds
    WHERE workspace_id = page.id
    ORDER BY build_number DESC
    LIMIT 1
) b ON true
LEFT JOIN templates t ON t.id = page.template_id
ORDER BY page.owner_id <> $4, lower(page.username) COLLATE "C", lower(page.name) COLLATE "C"
