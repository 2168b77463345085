-- Changes with whom an app or a port is shared.
--
-- $1 boolean[]: whether each person is a group
-- $2 uuid[]: the people
-- $3 uuid: the workspace
-- $4 text: the name of the agent
-- $5 text: the slug of the app, or the number of the port
-- $6 boolean: whether to remove these people, instead of adding them
-- $7 boolean: whether to remove others
-- $8 timestamptz: when
-- $9 uuid: the user who changes it; null for an operator
--
-- Returns who was added and who was removed, and a row without a person that has the number of
-- those before. The transaction holds the lock of the workspace, so that this statement sees what
-- an earlier one has written.
--
-- Triggers of the table tell carriers of connections who was removed.
--
-- Raw because of the statements within the statement.
WITH asked AS (
    SELECT * FROM unnest($1::boolean[], $2::uuid[]) AS asked (is_group, person_id)
), before AS (
    SELECT is_group, person_id FROM authd_shares
    WHERE workspace_id = $3::uuid AND agent_name = $4::text AND slug_or_port = $5::text
), removed AS (
    DELETE FROM authd_shares s
    WHERE workspace_id = $3 AND agent_name = $4 AND slug_or_port = $5
      AND CASE WHEN EXISTS (SELECT FROM asked a
                            WHERE a.is_group = s.is_group AND a.person_id = s.person_id)
          THEN $6::boolean ELSE $7::boolean END
    RETURNING is_group, person_id
), added AS (
    INSERT INTO authd_shares (workspace_id, agent_name, slug_or_port, is_group, person_id,
                              created_at, created_by)
    SELECT $3, $4, $5, is_group, person_id, $8::timestamptz, $9::uuid
    FROM asked
    WHERE NOT $6
      AND NOT EXISTS (SELECT FROM before b
                      WHERE b.is_group = asked.is_group AND b.person_id = asked.person_id)
    RETURNING is_group, person_id
)
SELECT true, is_group, person_id, 0::bigint FROM added
UNION ALL
SELECT false, is_group, person_id, 0 FROM removed
UNION ALL
SELECT false, false, NULL, count(*) FROM before
ORDER BY 1, 2, 3
