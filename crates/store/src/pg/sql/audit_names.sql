-- Which user and which workspace have these names, and does the audit log know this app?
--
-- $1 text: the name of a user; null, here and below, if none is given
-- $2 text: the name of a workspace's owner
-- $3 text: the name of the workspace
-- $4 text: the slug of an app, or the name of an agent
--
-- Deleted users and workspaces are not found: their names may be used again. The variant `alone`
-- finds neither users nor workspaces, as the tables of a control plane do not exist.
--
-- Raw because the DSL cannot select three answers without a table.
SELECT (
           SELECT id FROM users  --unless alone
           WHERE lower(username) = lower($1::text) AND NOT deleted  --unless alone
           SELECT NULL::uuid WHERE $1::text IS NULL  --if alone
       ),
       (
           SELECT w.id FROM workspaces w JOIN users owner ON owner.id = w.owner_id  --unless alone
           WHERE lower(owner.username) = lower($2::text) AND NOT owner.deleted  --unless alone
             AND lower(w.name) = lower($3::text) AND NOT w.deleted  --unless alone
           SELECT NULL::uuid WHERE $2::text IS NULL AND $3::text IS NULL  --if alone
       ),
       EXISTS (SELECT FROM authd_audit_log WHERE resource_target = $4::text)
