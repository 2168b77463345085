-- What auditors ask of the log: which session a row belongs to, which workspace it is
-- about, and whether access was refused and why. Rows of before know no session.

CREATE TYPE authd_audit_decision AS ENUM ('allow', 'deny');

ALTER TABLE authd_audit_sessions ADD COLUMN visits bigint NOT NULL DEFAULT 1;

ALTER TABLE authd_audit_log
    ADD COLUMN session_id   uuid,
    ADD COLUMN workspace_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ADD COLUMN decision     authd_audit_decision NOT NULL DEFAULT 'allow',
    ADD COLUMN reason       text NOT NULL DEFAULT '';

-- The log is read a page at a time, newest first, by any one of these columns.
DROP INDEX authd_audit_log_time_idx;
DROP INDEX authd_audit_log_user_id_idx;
DROP INDEX authd_audit_log_organization_id_idx;
DROP INDEX authd_audit_log_resource_id_idx;

CREATE INDEX authd_audit_log_time_idx
    ON authd_audit_log ("time" DESC, id DESC);
CREATE INDEX authd_audit_log_user_id_idx
    ON authd_audit_log (user_id, "time" DESC, id DESC);
CREATE INDEX authd_audit_log_organization_id_idx
    ON authd_audit_log (organization_id, "time" DESC, id DESC);
CREATE INDEX authd_audit_log_workspace_id_idx
    ON authd_audit_log (workspace_id, "time" DESC, id DESC);
CREATE INDEX authd_audit_log_resource_id_idx
    ON authd_audit_log (resource_id, "time" DESC, id DESC);
CREATE INDEX authd_audit_log_resource_target_idx
    ON authd_audit_log (resource_target, "time" DESC, id DESC);
CREATE INDEX authd_audit_log_request_id_idx
    ON authd_audit_log (request_id, "time" DESC, id DESC);
CREATE INDEX authd_audit_log_session_id_idx
    ON authd_audit_log (session_id, "time" DESC, id DESC);
-- Few are refused, and whoever looks for the others finds them by time.
CREATE INDEX authd_audit_log_denied_idx
    ON authd_audit_log ("time" DESC, id DESC) WHERE decision = 'deny';
