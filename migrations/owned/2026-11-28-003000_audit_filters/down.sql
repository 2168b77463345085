DROP INDEX authd_audit_log_time_idx;
DROP INDEX authd_audit_log_denied_idx;
DROP INDEX authd_acts_time_idx;
DROP INDEX authd_acts_denied_idx;

CREATE INDEX authd_audit_log_time_idx
    ON authd_audit_log ("time", id);
CREATE INDEX authd_audit_log_denied_idx
    ON authd_audit_log ("time", id) WHERE decision = 'deny';
CREATE INDEX authd_audit_log_reason_idx
    ON authd_audit_log (reason, "time", id) WHERE reason <> '';
CREATE INDEX authd_acts_time_idx ON authd_acts ("time", id);
CREATE INDEX authd_acts_denied_idx ON authd_acts ("time", id)
    WHERE decision = 'deny';
