-- Which grants do not hold any more, and what has been logged about that lately?
--
-- $1 timestamptz: now
-- $2 integer: in how many slices the grants are asked about
-- $3 integer: the number of the slice, from 0
-- $4 timestamptz: the moment after which the log is read; null to read nothing
--
-- Deletes the grants, logs each thing that has ended once, and deletes what was logged an hour ago.
-- Returns a row with the database's time alone, what has ended now, and what was logged before by
-- any replica. A grant ends if its user is not active, if its session is gone or has expired, or if
-- its workspace is deleted or has another build; the first of these that is true is the reason.
--
-- A row of a grant costs four look-ups by key: no table of the control plane has an index of when a
-- row was changed, so reading what has changed would read these tables whole. Rows that are locked are
-- skipped: another replica is about to log them.
--
-- Raw because of the statements within the statement.
WITH over AS (
    SELECT w.key_id, w.user_id, w.workspace_id, w.agent_id,
           CASE WHEN w.user_id IS NOT NULL AND active.id IS NULL THEN 'user_suspended'
                WHEN w.key_id <> '' AND session.id IS NULL THEN 'session_ended'
                ELSE 'workspace_stopped' END AS reason
    FROM authd_watched_grants w
    LEFT JOIN LATERAL (
        SELECT id FROM users
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
        SELECT id FROM workspaces WHERE id = w.workspace_id AND NOT deleted
        OFFSET 0
    ) place ON true
    LEFT JOIN LATERAL (
        SELECT build_number FROM workspace_builds
        WHERE workspace_id = w.workspace_id
        ORDER BY build_number DESC
        LIMIT 1
    ) newest ON true
    WHERE w.until >= $1::timestamptz
      AND (hashtext(CASE w.key_id WHEN '' THEN w.agent_id::text ELSE w.key_id END) & 2147483647)
          % $2::integer = $3::integer
      AND (w.user_id IS NOT NULL AND active.id IS NULL
           OR w.key_id <> '' AND session.id IS NULL
           OR place.id IS NULL
           OR newest.build_number IS DISTINCT FROM w.build_number)
    LIMIT 1000
    FOR UPDATE OF w SKIP LOCKED
), ended AS (
    DELETE FROM authd_watched_grants w USING over
    WHERE w.key_id = over.key_id AND w.agent_id = over.agent_id
), noted AS (
    INSERT INTO authd_revocations (reason, user_id, workspace_id, agent_id, key_id)
    SELECT DISTINCT reason,
           CASE WHEN reason <> 'workspace_stopped' THEN user_id END,
           CASE WHEN reason = 'workspace_stopped' THEN workspace_id END,
           CASE WHEN reason = 'workspace_stopped' THEN agent_id END,
           CASE WHEN reason = 'session_ended' THEN key_id END
    FROM over
    RETURNING id, at, reason, user_id, workspace_id, agent_id, key_id
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
    WHERE at > $4::timestamptz AND at >= now() - interval '1 hour'
    ORDER BY at
    LIMIT 10000
)
UNION ALL
SELECT id, at, reason, user_id, workspace_id, agent_id, NULL, key_id FROM noted
UNION ALL
SELECT NULL, now(), NULL, NULL, NULL, NULL, NULL, NULL
