-- Which grants do not hold any more, what else that they may rest on is gone, and what has been
-- logged about that lately?
--
-- $1 timestamptz: now
-- $2 integer: in how many parts a slice is compared
-- $3 integer: the number of the part, from 0
-- $4 integer: in how many slices the grants are asked about
-- $5 integer: the number of the slice, from 0
-- $6 timestamptz: the moment after which the log is read; null to read nothing
--
-- Deletes the grants that have ended, logs each thing that has ended once, and deletes what was logged
-- an hour ago. Returns a row with the database's time alone, what has ended now, and what was logged
-- before by any replica. A grant ends if its user is not active, if its session is gone or has expired,
-- or if its workspace is deleted or has another build; the first of these that is true is the reason.
--
-- What else a decision may rest on is a list of texts, kept in the row and compared with that of now.
-- Each text widens what is allowed and none narrows it, so that only a text that is gone is logged.
-- That takes several times as long as the rest, and is done for a part of the grants, and those that
-- are new:
--
--   agent                       the agent exists
--   app SLUG-OR-PORT LEVEL      it is shared at this level or a wider one
--   template LEVEL              ports may be
--   owner                       the user owns the workspace, and then needs none of the others
--   role, member, group, list   what the user is, and what is written in the workspace's access lists
--
-- A row of a grant costs some look-ups by key: no table of the control plane has an index of when a
-- row was changed, so reading what has changed would read these tables whole. Rows that are locked are
-- skipped: another replica is about to log them.
--
-- `--guard` is not used: a connection that does not know the access lists yet finds all else.
--
-- Raw because of the statements within the statement.
WITH changed AS (
    SELECT w.key_id, w.user_id, w.workspace_id, w.agent_id, w.rests_on AS before,
           present.rests_on,
           CASE WHEN w.user_id IS NOT NULL AND active.id IS NULL THEN 'user_suspended'
                WHEN w.key_id <> '' AND session.id IS NULL THEN 'session_ended'
                WHEN place.id IS NULL OR newest.build_number IS DISTINCT FROM w.build_number
                THEN 'workspace_stopped' END AS reason
    FROM authd_watched_grants w
    LEFT JOIN LATERAL (
        SELECT id, rbac_roles FROM users
        WHERE id = w.user_id AND NOT deleted AND status = 'active'
        OFFSET 0
    ) active ON true
    LEFT JOIN LATERAL (
        SELECT k.id
        FROM api_keys k
        LEFT JOIN authd_app_sessions made ON made.key_id = k.id
        LEFT JOIN api_keys parent ON parent.id = made.parent_id AND parent.user_id = k.user_id
        WHERE k.id = w.key_id AND k.expires_at >= $1::timestamptz
          AND (made.key_id IS NULL OR parent.expires_at >= $1::timestamptz)
        OFFSET 0
    ) session ON true
    LEFT JOIN LATERAL (
        SELECT id, owner_id, organization_id, template_id
               , user_acl, group_acl  --since v2.26
               , '{}'::jsonb AS user_acl, '{}'::jsonb AS group_acl  --until v2.26
        FROM workspaces WHERE id = w.workspace_id AND NOT deleted
        OFFSET 0
    ) place ON true
    LEFT JOIN LATERAL (
        SELECT build_number FROM workspace_builds
        WHERE workspace_id = w.workspace_id
        ORDER BY build_number DESC
        LIMIT 1
    ) newest ON true
    CROSS JOIN LATERAL (
        SELECT CASE WHEN w.rests_on <> '{}'
                     AND (hashtext(w.key_id || w.agent_id) & 2147483647) % $2::integer <> $3::integer
               THEN w.rests_on ELSE array_remove(ARRAY(
            SELECT 'agent' FROM workspace_agents WHERE id = w.agent_id AND NOT deleted
            UNION ALL
            SELECT 'owner' WHERE place.owner_id = w.user_id
            UNION ALL
            SELECT 'role ' || role FROM unnest(active.rbac_roles) AS role
            UNION ALL
            SELECT 'member ' || role
            FROM organization_members m
            JOIN organizations o ON o.id = m.organization_id  --since v2.35
            CROSS JOIN LATERAL unnest(ARRAY[''] || m.roles
                || o.default_org_member_roles  --since v2.35
            ) AS role
            WHERE m.organization_id = place.organization_id AND m.user_id = w.user_id
            UNION ALL
            SELECT 'group ' || group_id FROM group_members
            WHERE user_id = w.user_id AND place.owner_id <> w.user_id
            UNION ALL
            SELECT 'list ' || listed.id || ' ' || granted
            FROM (
                SELECT place.group_acl AS list, group_id AS id
                FROM group_members
                WHERE user_id = w.user_id
                UNION ALL
                SELECT place.group_acl, place.organization_id
                UNION ALL
                SELECT place.user_acl, w.user_id
            ) listed
            CROSS JOIN LATERAL (SELECT (list -> id::text)::text AS granted) entry
            WHERE place.owner_id <> w.user_id AND granted IS NOT NULL
            UNION ALL
            SELECT shared.what || ' ' || level
            FROM (
                SELECT 'app ' || slug AS what, sharing_level::text AS widest
                FROM workspace_apps
                WHERE agent_id = w.agent_id
                UNION ALL
                SELECT 'app ' || port, share_level::text
                FROM workspace_agents a
                JOIN workspace_agent_port_share s
                    ON s.workspace_id = w.workspace_id AND lower(s.agent_name) = lower(a.name)
                WHERE a.id = w.agent_id
                UNION ALL
                SELECT 'template', max_port_sharing_level::text
                FROM templates
                WHERE id = place.template_id
            ) shared
            CROSS JOIN (VALUES (ARRAY['organization', 'authenticated', 'public'])) levels (wider)
            CROSS JOIN LATERAL unnest(wider[:array_position(wider, widest)]) AS level
            WHERE place.owner_id IS DISTINCT FROM w.user_id
            ORDER BY 1
        ), NULL) END AS rests_on
        OFFSET 0
    ) present
    WHERE w.until >= $1::timestamptz
      AND (hashtext(CASE w.key_id WHEN '' THEN w.agent_id::text ELSE w.key_id END) & 2147483647)
          % $4::integer = $5::integer
      AND (w.user_id IS NOT NULL AND active.id IS NULL
           OR w.key_id <> '' AND session.id IS NULL
           OR place.id IS NULL
           OR newest.build_number IS DISTINCT FROM w.build_number
           OR present.rests_on <> w.rests_on)
    LIMIT 1000
    FOR UPDATE OF w SKIP LOCKED
), ended AS (
    DELETE FROM authd_watched_grants w USING changed
    WHERE w.key_id = changed.key_id AND w.agent_id = changed.agent_id
      AND changed.reason IS NOT NULL
), kept AS (
    UPDATE authd_watched_grants w SET rests_on = changed.rests_on FROM changed
    WHERE w.key_id = changed.key_id AND w.agent_id = changed.agent_id
      AND changed.reason IS NULL
), gone AS (
    SELECT user_id, workspace_id, agent_id, split_part(text, ' ', 1) AS kind,
           split_part(text, ' ', 2) AS slug_or_port
    FROM changed
    CROSS JOIN LATERAL unnest(before) AS text
    WHERE reason IS NULL AND text <> ALL (rests_on)
), noted AS (
    INSERT INTO authd_revocations (reason, user_id, workspace_id, agent_id, app, key_id)
    SELECT reason,
           CASE WHEN reason <> 'workspace_stopped' THEN user_id END,
           CASE WHEN reason = 'workspace_stopped' THEN workspace_id END,
           CASE WHEN reason = 'workspace_stopped' THEN agent_id END,
           NULL,
           CASE WHEN reason = 'session_ended' THEN key_id END
    FROM changed
    WHERE reason IS NOT NULL
    UNION
    SELECT CASE kind WHEN 'agent' THEN 'workspace_stopped'
                     WHEN 'app' THEN 'share_withdrawn'
                     WHEN 'template' THEN 'share_withdrawn'
                     ELSE 'permission_withdrawn' END,
           CASE WHEN kind <> 'agent' THEN user_id END,
           workspace_id, agent_id,
           CASE WHEN kind = 'app' THEN slug_or_port END,
           NULL
    FROM gone
    RETURNING id, at, reason, user_id, workspace_id, agent_id, app, key_id
), old AS (
    SELECT id FROM authd_revocations
    WHERE at < now() - interval '1 hour'
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM authd_revocations r USING old WHERE r.id = old.id
)
(
    SELECT id, at, reason, user_id, workspace_id, agent_id, app, key_id
    FROM authd_revocations
    WHERE at > $6::timestamptz AND at >= now() - interval '1 hour'
    ORDER BY at
    LIMIT 10000
)
UNION ALL
SELECT id, at, reason, user_id, workspace_id, agent_id, app, key_id FROM noted
UNION ALL
SELECT NULL, now(), NULL, NULL, NULL, NULL, NULL, NULL
