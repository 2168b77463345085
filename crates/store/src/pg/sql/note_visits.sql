-- Notes visits, and writes a row into the audit log for each session that begins.
--
-- $1 interval: how long a session lasts without a visit; zero makes each visit a session
-- $2 interval: how exactly the time of a session's last visit is kept
-- $3 boolean: whether to write the end of a session that gives way to a new one
-- $4 bytea[]: keys of the sessions that visits belong to, sorted
-- $5 uuid[]: id of the session that each visit would begin
-- $6 uuid[]: agents
-- $7 bigint[]: numbers of visits with the key; zero if another row counts them
-- $8 timestamptz[]: times
-- $9 uuid[]: users
-- $10 uuid[]: organizations
-- $11 uuid[]: workspaces
-- $12 inet[]: IP addresses of the visitors
-- $13 text[]: user agents
-- $14 text[]: types of the resources, labels of `authd_resource_type`
-- $15 uuid[]: ids of the resources
-- $16 text[]: names of the resources
-- $17 integer[]: status codes of the answers
-- $18 text[]: decisions, labels of `authd_audit_decision`
-- $19 text[]: reasons
-- $20 jsonb[]: additional fields
-- $21 uuid[]: ids of the requests
-- $22 text[]: names of the agents
--
-- Returns the key of each session that was begun or continued, its id, and how many seconds
-- ago its last visit was.
--
-- All times of sessions are the database's. The insert locks each session that it meets and decides on
-- what is committed by then, so of visits that arrive at the same time one begins the session.
-- Visits are in the order of their keys, so that two statements never wait for each other.
--
-- A visit that was noted before, because its connection broke between commit and answer,
-- meets a session of its own id and changes nothing. If another session has replaced that one
-- since, the visit meets a row of its own id in the log. This is so rare that only the variant
-- `careful` ignores such rows, which costs a look-up and a record for every row. Without it
-- the statement fails as a whole, and the caller sends the careful one.
--
-- The variant `replayed` is for visits of the past, which no process is noting any more. A visit
-- whose row is in the log, or whose time lies in the session of its key, is left out. Each other
-- one gets a row, and begins a session if its key does not have one: at the time of the visit, so
-- that a visit of now is not taken for its continuation.
--
-- Variants, whose lines are marked `--if`:
--   careful: ignores visits that are in the log, and closes the sessions that are replaced
--   replayed: adds visits of the past
--   mirrored: also writes where the control plane's own page looks for visits
--
-- Raw because the DSL cannot say a CTE that writes.
WITH span AS (
    -- Here for the parameters that some variants do not use.
    SELECT $1::interval AS stale, $2::interval AS touch, $3::boolean AS close
), visit AS NOT MATERIALIZED (
    -- `unnest` would first copy every array into a table of its own.
    SELECT ($4::bytea[])[n] AS key,
           ($5::uuid[])[n] AS id,
           ($6::uuid[])[n] AS agent_id,
           ($7::bigint[])[n] AS visits,
           ($8::timestamptz[])[n] AS "time",
           ($9::uuid[])[n] AS user_id,
           ($10::uuid[])[n] AS organization_id,
           ($11::uuid[])[n] AS workspace_id,
           ($12::inet[])[n] AS ip,
           ($13::text[])[n] AS user_agent,
           ($14::text[])[n] AS resource_type,
           ($15::uuid[])[n] AS resource_id,
           ($16::text[])[n] AS resource_target,
           ($17::integer[])[n] AS status_code,
           ($18::text[])[n] AS decision,
           ($19::text[])[n] AS reason,
           ($20::jsonb[])[n] AS additional_fields,
           ($21::uuid[])[n] AS request_id,
           ($22::text[])[n] AS agent_name
    FROM generate_series(1, cardinality($4::bytea[])) n
)
--if replayed {
, noted AS (
    SELECT id, key FROM visit
    WHERE NOT EXISTS (SELECT FROM authd_audit_log old WHERE old.id = visit.id)
      AND NOT EXISTS (SELECT FROM authd_audit_sessions last
                      WHERE last.key = visit.key AND last.started_at <= visit."time"
                        AND last.updated_at > visit."time" - $1)
), begun AS (
    INSERT INTO authd_audit_sessions (key, id, agent_id, started_at, updated_at, visits)
    SELECT key, id, agent_id, "time", "time", visits FROM visit
    WHERE id IN (SELECT id FROM noted)
    ON CONFLICT (key) DO NOTHING
)
--}
--unless replayed {
, noted AS (
    INSERT INTO authd_audit_sessions AS last (key, id, agent_id, started_at, updated_at, visits)
    SELECT key, id, agent_id, now(), now(), visits FROM visit WHERE visits > 0
    -- A visit continues a session that is not stale. If $1 is zero there is no such session,
    -- whatever another statement has written since this one began.
    ON CONFLICT (key) DO UPDATE SET
        id = CASE WHEN $1 > '0' AND last.updated_at > now() - $1
                  THEN last.id ELSE excluded.id END,
        started_at = CASE WHEN $1 > '0' AND last.updated_at > now() - $1
                          THEN last.started_at ELSE excluded.started_at END,
        visits = CASE WHEN $1 > '0' AND last.updated_at > now() - $1
                      THEN last.visits ELSE 0 END + excluded.visits,
        updated_at = CASE WHEN last.updated_at > now() - $1 AND last.updated_at >= now() - $2
                          THEN last.updated_at
                          ELSE greatest(last.updated_at, excluded.updated_at) END
    WHERE last.id <> excluded.id
    RETURNING key, id, updated_at
)
--}
, logged AS (
    INSERT INTO authd_audit_log (id, session_id, "time", user_id, organization_id, workspace_id,
                                 ip, user_agent, resource_type, resource_id, resource_target,
                                 action, status_code, decision, reason, additional_fields,
                                 request_id)
    -- Labels are compared and not cast: a cast looks each of them up. A label that is not
    -- known becomes null, which the table refuses.
    SELECT id, id, "time", user_id, organization_id, workspace_id, ip, user_agent,
           CASE resource_type
               WHEN 'workspace_agent' THEN 'workspace_agent'::authd_resource_type
               WHEN 'workspace_app' THEN 'workspace_app'::authd_resource_type END,
           resource_id, resource_target, 'open', status_code,
           CASE decision WHEN 'allow' THEN 'allow'::authd_audit_decision
                         WHEN 'deny' THEN 'deny'::authd_audit_decision END,
           reason, additional_fields, request_id
    FROM visit
    WHERE id IN (SELECT id FROM noted) OR $1 = '0' AND key IN (SELECT key FROM noted)
    ON CONFLICT DO NOTHING  --if careful --unless replayed
    ON CONFLICT DO NOTHING  --if replayed
    RETURNING id  --if mirrored
    RETURNING id  --if replayed --unless mirrored
)
-- As the control plane does, only visits that led to an agent are mirrored. The id is that of
-- the row in authd's own log, so a visit is in both tables or in neither.
--if mirrored --until v2.25 {
, mirrored AS (
    -- An app is what was opened, or else the agent.
    INSERT INTO audit_logs (id, "time", user_id, organization_id, ip, user_agent, resource_type,
                            resource_id, resource_target, action, diff, status_code,
                            additional_fields, request_id, resource_icon)
    SELECT id, "time", user_id, organization_id, ip, user_agent, resource_type::resource_type,
           resource_id, resource_target, 'open', '{}', status_code, additional_fields, request_id,
           ''
    FROM visit
    WHERE id IN (SELECT id FROM logged) AND agent_name IS NOT NULL
      AND resource_id <> '00000000-0000-0000-0000-000000000000'
    ON CONFLICT (id) DO NOTHING
)
--}
--if mirrored --since v2.25 {
, mirrored AS (
    -- A terminal counts as an app, and a port is a type of its own.
    INSERT INTO connection_logs (id, connect_time, organization_id, workspace_owner_id,
                                 workspace_id, workspace_name, agent_name, type, ip, code,
                                 user_agent, user_id, slug_or_port)
    SELECT visit.id, visit."time", w.organization_id, w.owner_id, w.id, w.name, visit.agent_name,
           CASE WHEN resource_type = 'workspace_app'
                  OR additional_fields ->> 'slug_or_port' = 'terminal'
                THEN 'workspace_app'::connection_type
                ELSE 'port_forwarding'::connection_type END,
           -- Before v2.27 an address is needed, also where it is not known.
           coalesce(visit.ip, '0.0.0.0'),  --until v2.27
           visit.ip,  --since v2.27
           status_code, user_agent,
           nullif(user_id, '00000000-0000-0000-0000-000000000000'),
           CASE resource_type WHEN 'workspace_app' THEN resource_target
                ELSE additional_fields ->> 'slug_or_port' END
    FROM visit JOIN workspaces w ON w.id = visit.workspace_id
    WHERE visit.id IN (SELECT id FROM logged) AND visit.agent_name IS NOT NULL
      AND resource_id <> '00000000-0000-0000-0000-000000000000'
    ON CONFLICT (id) DO NOTHING
)
--}
--if careful {
, ended AS (
    -- The sessions that were replaced, as they were: this reads them as of before the insert.
    SELECT last.id, last.started_at, last.updated_at, last.visits
    FROM noted JOIN authd_audit_sessions last USING (key)
    WHERE $3 AND last.id <> noted.id
), closed AS (
    -- As in `end_visits.sql`.
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
--}
SELECT key, id, extract(epoch FROM now() - updated_at)::double precision FROM noted  --unless replayed
SELECT key, id, 0::double precision FROM visit WHERE id IN (SELECT id FROM logged)  --if replayed
