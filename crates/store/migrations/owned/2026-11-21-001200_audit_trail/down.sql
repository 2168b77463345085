DROP INDEX authd_audit_log_denied_idx;
DROP INDEX authd_audit_log_session_id_idx;
DROP INDEX authd_audit_log_request_id_idx;
DROP INDEX authd_audit_log_resource_target_idx;
DROP INDEX authd_audit_log_resource_id_idx;
DROP INDEX authd_audit_log_workspace_id_idx;
DROP INDEX authd_audit_log_organization_id_idx;
DROP INDEX authd_audit_log_user_id_idx;
DROP INDEX authd_audit_log_time_idx;

CREATE INDEX authd_audit_log_time_idx ON authd_audit_log ("time" DESC);
CREATE INDEX authd_audit_log_user_id_idx ON authd_audit_log (user_id);
CREATE INDEX authd_audit_log_organization_id_idx ON authd_audit_log (organization_id);
CREATE INDEX authd_audit_log_resource_id_idx ON authd_audit_log (resource_id);

ALTER TABLE authd_audit_log
    DROP COLUMN reason,
    DROP COLUMN decision,
    DROP COLUMN workspace_id,
    DROP COLUMN session_id;

ALTER TABLE authd_audit_sessions DROP COLUMN visits;

DROP TYPE authd_audit_decision;
