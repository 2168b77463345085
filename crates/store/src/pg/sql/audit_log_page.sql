-- Which visits does a filter find? A page of the audit log, the newest first.
--
-- $1 timestamptz: the page begins before this time
-- $2 uuid: and before this id, for rows of that time
-- $3 timestamptz: the earliest time
-- $4 uuid: the request; null, here and below, for any
-- $5 uuid: the session
-- $6 uuid: the app
-- $7 uuid: the workspace
-- $8 uuid: the user
-- $9 uuid: the organization
-- $10 text: the slug of the app
-- $11 text: the decision, a label of `authd_audit_decision`
-- $12 text: the reason of a denial
-- $13 text: the client's address
-- $14 bigint: how many rows to return at most
--
-- There is a variant for each column that leads an index, and the caller chooses the most
-- selective column that the filter gives. So a few texts suffice for every filter. Connections have
-- PostgreSQL plan them for the values at hand: a plan for any value would read all rows of a busy user.
--
-- Two conditions may each hold for many rows and together for none, which statistics do not say. So
-- that such rows are not read, the indexes by time also have a byte of each column, and each
-- condition is stated for the bytes too.
--
-- The variant `sessions` returns one row for each session: that of its beginning, with the name
-- of the user, and with the time and the fields of the row of its end. Both are looked up by
-- primary key after the page is complete. The variant `alone` returns no name, as the tables of a
-- control plane do not exist.
--
-- Raw because the DSL cannot choose between these conditions and stay cached.
SELECT l.id, l.session_id, l."time", l.user_id, l.organization_id, l.workspace_id, host(l.ip),
       l.user_agent, l.resource_type::text, l.resource_id, l.resource_target, l.action::text,
       l.status_code, l.decision::text, l.reason, l.request_id, l.additional_fields,
       NULL::text, NULL::timestamptz, NULL::jsonb  --unless sessions
       u.username, e."time", e.additional_fields  --if sessions --unless alone
       NULL::text, e."time", e.additional_fields  --if sessions --if alone
FROM (
    SELECT id, session_id, "time", user_id, organization_id, workspace_id, ip, user_agent,
           resource_type, resource_id, resource_target, action, status_code, decision, reason,
           request_id, additional_fields
    FROM authd_audit_log
    WHERE ("time", id) < ($1::timestamptz, $2::uuid) AND "time" >= $3::timestamptz
      AND ($4::uuid IS NULL OR request_id = $4)  --unless request
      AND request_id = $4::uuid  --if request
      AND ($5::uuid IS NULL OR session_id = $5)  --unless session
      -- The row of a session's beginning has the session's id, and the row of its end an id that
      -- is derived from it, so sessions need no index of their own.
      AND session_id = $5::uuid AND id IN ($5, md5('close ' || $5)::uuid)  --if session
      AND ($6::uuid IS NULL OR resource_id = $6)  --unless app
      AND resource_id = $6::uuid  --if app
      AND ($7::uuid IS NULL OR workspace_id = $7)  --unless workspace
      AND workspace_id = $7::uuid  --if workspace
      AND ($8::uuid IS NULL OR user_id = $8)  --unless user
      AND user_id = $8::uuid  --if user
      AND ($9::uuid IS NULL OR organization_id = $9)  --unless organization
      AND organization_id = $9::uuid  --if organization
      AND ($10::text IS NULL OR resource_target = $10)  --unless slug
      AND resource_target = $10::text  --if slug
      AND ($11::text IS NULL OR decision = $11::authd_audit_decision)  --unless denied
      -- As the index says it; $11 is `deny` here.
      AND decision = 'deny' AND $11::text = 'deny'  --if denied
      AND ($12::text IS NULL OR reason = $12)  --unless reason
      -- Only denials have a reason.
      AND reason = $12::text AND decision = 'deny'  --if reason
      AND ($13::text IS NULL OR ip = $13::inet)  --unless address
      AND ip = $13::text::inet  --if address
      AND action = 'open'  --if sessions
      -- As the indexes by time say it. Only these two conditions have no index of their own.
      AND ($11::text IS NULL OR (CASE decision WHEN 'deny' THEN 1 ELSE 0 END)::"char"  --unless denied
                             = (CASE $11 WHEN 'deny' THEN 1 ELSE 0 END)::"char")  --unless denied
      AND ($12::text IS NULL OR (hashtext(reason) % 128)::"char" = (hashtext($12) % 128)::"char")
      -- For one condition alone, its own index suffices.
      AND (num_nonnulls($4, $5, $6, $7, $8, $9, $10, $11, $12, $13) < 2 OR (
           ($6::uuid IS NULL OR (uuid_hash(resource_id) % 128)::"char" = (uuid_hash($6) % 128)::"char")
       AND ($7::uuid IS NULL OR (uuid_hash(workspace_id) % 128)::"char" = (uuid_hash($7) % 128)::"char")
       AND ($8::uuid IS NULL OR (uuid_hash(user_id) % 128)::"char" = (uuid_hash($8) % 128)::"char")
       AND ($9::uuid IS NULL OR (uuid_hash(organization_id) % 128)::"char" = (uuid_hash($9) % 128)::"char")
       AND ($10::text IS NULL OR (hashtext(resource_target) % 128)::"char" = (hashtext($10) % 128)::"char")
       AND ($13::text IS NULL OR (hashinet(ip) % 128)::"char" = (hashinet($13::inet) % 128)::"char")
      ))
    ORDER BY "time" DESC, id DESC LIMIT $14::bigint
) l
LEFT JOIN users u ON u.id = l.user_id AND NOT u.deleted  --if sessions --unless alone
-- A session ends after it began, so the months before are not searched if each is a table. The day is
-- for clocks of servers that differ.
LEFT JOIN authd_audit_log e ON e.id = md5('close ' || l.id)::uuid  --if sessions
                           AND e."time" > l."time" - interval '1 day'  --if sessions
ORDER BY l."time" DESC, l.id DESC
