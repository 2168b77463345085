-- Which acts does a filter find? A page of them, the newest first, with the names of users and
-- workspaces.
--
-- $1 timestamptz: the page begins before this time
-- $2 uuid: and before this id, for rows of that time
-- $3 timestamptz: the earliest time
-- $4 uuid: the request; null, here and below, for any
-- $5 text: the name of the subject
-- $6 uuid: the agent
-- $7 uuid: the workspace
-- $8 uuid: the user
-- $9 inet: the address
-- $10 text: the kind
-- $11 text: the decision, a label of `authd_audit_decision`
-- $12 text: the class of the refusal
-- $13 bigint: how many rows to return at most
--
-- There is a variant for each column that leads an index, and each condition is also stated for a byte
-- of its column, both as in `audit_log_page.sql`. Names are those of now, of deleted users and
-- workspaces too. They are looked up for the rows of the page alone. The variant `alone` returns no
-- names, as the tables of a control plane do not exist.
--
-- Raw because the DSL cannot choose between these conditions and stay cached.
SELECT act.id, act."time", act.kind, act.decision, act.reason, act.user_id, u.username,  --unless alone
       act.agent_id, act.workspace_id, w.name, o.username, act.subject_type, act.subject,  --unless alone
SELECT act.id, act."time", act.kind, act.decision, act.reason, act.user_id, NULL::text,  --if alone
       act.agent_id, act.workspace_id, NULL::text, NULL::text, act.subject_type, act.subject,  --if alone
       act.proof, act.ip, act.user_agent, act.request_id, act.times, act.detail
FROM (
    SELECT id, "time", kind, decision::text, reason, user_id, agent_id, workspace_id,
           subject_type, subject, proof, host(ip) AS ip, user_agent, request_id, times, detail
    FROM authd_acts
    WHERE ("time", id) < ($1::timestamptz, $2::uuid) AND "time" >= $3::timestamptz
      AND ($4::uuid IS NULL OR request_id = $4)  --unless request
      AND request_id = $4::uuid  --if request
      AND ($5::text IS NULL OR subject = $5)  --unless subject
      AND subject = $5::text  --if subject
      AND ($6::uuid IS NULL OR agent_id = $6)  --unless agent
      AND agent_id = $6::uuid  --if agent
      AND ($7::uuid IS NULL OR workspace_id = $7)  --unless workspace
      AND workspace_id = $7::uuid  --if workspace
      AND ($8::uuid IS NULL OR user_id = $8)  --unless user
      AND user_id = $8::uuid  --if user
      AND ($9::inet IS NULL OR authd_acts.ip = $9)  --unless ip
      AND authd_acts.ip = $9::inet  --if ip
      AND ($10::text IS NULL OR kind = $10)  --unless kind
      -- As the index says it.
      AND kind = $10::text AND kind <> 'agent_sign_in'  --if kind
      AND ($11::text IS NULL OR decision = $11::authd_audit_decision)  --unless denied
      AND decision = 'deny' AND $11::text = 'deny'  --if denied
      AND ($12::text IS NULL OR reason = $12)
      -- As in `audit_log_page.sql`; sign-ins of agents have no index of their own either.
      AND ($10::text IS NULL OR (hashtext(kind) % 128)::"char" = (hashtext($10) % 128)::"char")
      AND ($11::text IS NULL OR (CASE decision WHEN 'deny' THEN 1 ELSE 0 END)::"char"  --unless denied
                             = (CASE $11 WHEN 'deny' THEN 1 ELSE 0 END)::"char")  --unless denied
      AND ($12::text IS NULL OR (hashtext(reason) % 128)::"char" = (hashtext($12) % 128)::"char")
      AND (num_nonnulls($4, $5, $6, $7, $8, $9, $10, $11, $12) < 2 OR (
           ($5::text IS NULL OR (hashtext(subject) % 128)::"char" = (hashtext($5) % 128)::"char")
       AND ($6::uuid IS NULL OR (uuid_hash(agent_id) % 128)::"char" = (uuid_hash($6) % 128)::"char")
       AND ($7::uuid IS NULL OR (uuid_hash(workspace_id) % 128)::"char" = (uuid_hash($7) % 128)::"char")
       AND ($8::uuid IS NULL OR (uuid_hash(user_id) % 128)::"char" = (uuid_hash($8) % 128)::"char")
       AND ($9::inet IS NULL OR (hashinet(authd_acts.ip) % 128)::"char" = (hashinet($9) % 128)::"char")
      ))
    ORDER BY "time" DESC, id DESC LIMIT $13::bigint
) act
LEFT JOIN users u ON u.id = act.user_id  --unless alone
LEFT JOIN workspaces w ON w.id = act.workspace_id  --unless alone
LEFT JOIN users o ON o.id = w.owner_id  --unless alone
ORDER BY act."time" DESC, act.id DESC
