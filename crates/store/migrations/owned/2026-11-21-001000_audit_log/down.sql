DROP TABLE authd_audit_log;
DROP TYPE authd_resource_type;
DROP TYPE authd_audit_action;
