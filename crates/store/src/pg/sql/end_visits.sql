-- Deletes sessions of visits that have ended, the longest ended first, and writes the end of
-- each into the log.
--
-- $1 interval: how long a session lasts without a visit
-- $2 bigint: how many sessions to delete at most
-- $3 boolean: whether to write ends into the log
--
-- Returns how many sessions were deleted. Skips sessions that are locked: another replica is
-- deleting them, or a visit is just continuing them.
--
-- The end of a session repeats the row of its beginning. Its id is derived from the session's
-- id, and its time is when the session ended, so each session is closed once, by whichever statement
-- closes it.
--
-- Raw because the DSL cannot say a CTE that writes.
WITH over AS (
    SELECT key FROM authd_audit_sessions
    WHERE updated_at < now() - $1::interval
    ORDER BY updated_at LIMIT $2::bigint
    FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM authd_audit_sessions last
    WHERE key = ANY (ARRAY(SELECT key FROM over))
    RETURNING id, started_at, updated_at, visits
), ended AS (
    SELECT * FROM forgotten WHERE $3::boolean
), closed AS (
    INSERT INTO authd_audit_log (id, session_id, "time", user_id, organization_id, workspace_id,
                                 ip, user_agent, resource_type, resource_id, resource_target,
                                 action, status_code, decision, reason, additional_fields,
                                 request_id, resource_icon)
    SELECT md5('close ' || ended.id)::uuid, ended.id, updated_at + $1, o.user_id, o.organization_id,
           o.workspace_id, o.ip, o.user_agent, o.resource_type, o.resource_id, o.resource_target,
           'close', o.status_code, o.decision, o.reason,
           o.additional_fields || jsonb_build_object(
               'first_seen', to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'last_seen', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'visits', visits),
           o.request_id, o.resource_icon
    FROM ended JOIN authd_audit_log o ON o.id = ended.id
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM forgotten
