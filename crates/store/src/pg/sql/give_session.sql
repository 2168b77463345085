-- Notes that a session for apps is given to its browser, unless it was given before.
--
-- $1 timestamptz: now
-- $2 text: the id of the key
--
-- Changes one row, or none. The row is locked, so that of two replicas at the same time one changes it.
--
-- Raw because the DSL does not prepare an UPDATE.
UPDATE authd_app_sessions
SET opened_at = $1::timestamptz
WHERE key_id = $2::text AND opened_at IS NULL
