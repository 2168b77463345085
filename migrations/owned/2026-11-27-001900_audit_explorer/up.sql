-- The explorer also filters by the reason of a denial and by the client's address. Few rows
-- have a reason.

CREATE INDEX authd_audit_log_reason_idx
    ON authd_audit_log (reason, "time", id) WHERE reason <> '';
CREATE INDEX authd_audit_log_ip_idx
    ON authd_audit_log (ip, "time", id);
