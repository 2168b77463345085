-- Each visitor who comes for the first time pays for these. A session is found by the ids
-- of its rows, which are made of its own, and a request has so few rows that nobody needs
-- them in order. What follows a time is kept as it grows and is read backwards, so that a
-- new row goes to the end of a page, and pages are full before they are split.

DROP INDEX authd_audit_log_session_id_idx;
DROP INDEX authd_audit_log_time_idx;
DROP INDEX authd_audit_log_user_id_idx;
DROP INDEX authd_audit_log_organization_id_idx;
DROP INDEX authd_audit_log_workspace_id_idx;
DROP INDEX authd_audit_log_resource_id_idx;
DROP INDEX authd_audit_log_resource_target_idx;
DROP INDEX authd_audit_log_request_id_idx;
DROP INDEX authd_audit_log_denied_idx;

CREATE INDEX authd_audit_log_time_idx
    ON authd_audit_log ("time", id);
CREATE INDEX authd_audit_log_user_id_idx
    ON authd_audit_log (user_id, "time", id);
CREATE INDEX authd_audit_log_organization_id_idx
    ON authd_audit_log (organization_id, "time", id);
CREATE INDEX authd_audit_log_workspace_id_idx
    ON authd_audit_log (workspace_id, "time", id);
CREATE INDEX authd_audit_log_resource_id_idx
    ON authd_audit_log (resource_id, "time", id);
CREATE INDEX authd_audit_log_resource_target_idx
    ON authd_audit_log (resource_target, "time", id);
CREATE INDEX authd_audit_log_request_id_idx
    ON authd_audit_log (request_id);
CREATE INDEX authd_audit_log_denied_idx
    ON authd_audit_log ("time", id) WHERE decision = 'deny';
