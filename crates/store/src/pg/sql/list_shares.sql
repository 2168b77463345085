-- With whom are the apps and ports of a workspace, or of all, shared by name?
--
-- $1 uuid: the workspace; null for all
--
-- Names of what is deleted are null.
--
-- Raw because the DSL cannot say which of two tables a row refers to.
SELECT s.workspace_id, o.username || '/' || w.name, s.agent_name, s.slug_or_port, s.is_group,
       s.person_id, coalesce(u.username, g.name), s.created_at, s.created_by
FROM authd_shares s
LEFT JOIN workspaces w ON w.id = s.workspace_id AND NOT w.deleted
LEFT JOIN users o ON o.id = w.owner_id
LEFT JOIN users u ON u.id = s.person_id AND NOT s.is_group AND NOT u.deleted
LEFT JOIN groups g ON g.id = s.person_id AND s.is_group
WHERE coalesce(s.workspace_id = $1::uuid, true)
ORDER BY s.workspace_id, s.agent_name COLLATE "C", s.slug_or_port COLLATE "C", s.is_group, s.person_id
LIMIT 10000
