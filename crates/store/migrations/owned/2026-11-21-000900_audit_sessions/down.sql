DROP TABLE authd_audit_sessions;
