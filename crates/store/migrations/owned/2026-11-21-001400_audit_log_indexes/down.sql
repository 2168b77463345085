DROP INDEX authd_audit_log_time_idx;
DROP INDEX authd_audit_log_user_id_idx;
DROP INDEX authd_audit_log_organization_id_idx;
DROP INDEX authd_audit_log_workspace_id_idx;
DROP INDEX authd_audit_log_resource_id_idx;
DROP INDEX authd_audit_log_resource_target_idx;
DROP INDEX authd_audit_log_request_id_idx;
DROP INDEX authd_audit_log_denied_idx;

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
CREATE INDEX authd_audit_log_denied_idx
    ON authd_audit_log ("time" DESC, id DESC) WHERE decision = 'deny';
