DROP FUNCTION authd_drop_audit_months(interval);
DROP FUNCTION authd_add_audit_months();
DROP FUNCTION authd_audit_months();
