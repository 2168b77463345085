DROP INDEX authd_audit_log_ip_idx;
DROP INDEX authd_audit_log_reason_idx;
