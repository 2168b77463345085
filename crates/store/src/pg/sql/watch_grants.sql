-- Watches what visitors were let into, and deletes what is not watched any more.
--
-- $1 timestamptz: now
-- $2 timestamptz: until when they are watched
-- $3 text[]: ids of keys; empty for visitors who are not signed in
-- $4 uuid[]: users; null for visitors who are not signed in
-- $5 uuid[]: workspaces
-- $6 uuid[]: agents
-- $7 timestamptz: rows that are watched for longer than this are left as they are
--
-- The build is that of the agent, and not the newest: if there is a newer one by now, the next
-- question finds that the grant has ended. Rows are written in one order, so that replicas do not
-- wait for each other in a circle.
--
-- Raw because of the statements within the statement.
WITH lapsed AS (
    SELECT key_id, agent_id FROM authd_watched_grants
    WHERE until < $1::timestamptz
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM authd_watched_grants w USING lapsed
    WHERE w.key_id = lapsed.key_id AND w.agent_id = lapsed.agent_id
)
INSERT INTO authd_watched_grants AS w
    (key_id, user_id, workspace_id, agent_id, build_number, until)
SELECT g.key_id, g.user_id, g.workspace_id, g.agent_id, coalesce(b.build_number, 0), $2::timestamptz
FROM unnest($3::text[], $4::uuid[], $5::uuid[], $6::uuid[])
    AS g (key_id, user_id, workspace_id, agent_id)
LEFT JOIN workspace_agents a ON a.id = g.agent_id
LEFT JOIN workspace_resources r ON r.id = a.resource_id
LEFT JOIN workspace_builds b ON b.job_id = r.job_id
ORDER BY g.key_id, g.agent_id
ON CONFLICT (key_id, agent_id) DO UPDATE SET until = excluded.until
WHERE w.until < $7::timestamptz
