-- Two filters may each find many rows and none in common. All rows of one of them were then read.
-- The indexes by time therefore have a byte for each column that filters name: rows with another
-- byte are passed over within the index, and not one of them is read. So pairs of columns need no
-- index. The functions are those of hash indexes, which give equal values the same number.
--
-- Only denials of visits have a reason, so reasons need no index of their own any more.

CREATE INDEX authd_audit_log_time_bytes_idx ON authd_audit_log (
    "time",
    id,
    ((uuid_hash(resource_id) % 128)::"char"),
    ((uuid_hash(workspace_id) % 128)::"char"),
    ((uuid_hash(user_id) % 128)::"char"),
    ((uuid_hash(organization_id) % 128)::"char"),
    ((hashtext(resource_target) % 128)::"char"),
    ((hashinet(ip) % 128)::"char"),
    ((hashtext(reason) % 128)::"char"),
    ((CASE decision WHEN 'deny' THEN 1 ELSE 0 END)::"char")
);
CREATE INDEX authd_audit_log_denied_bytes_idx ON authd_audit_log (
    "time",
    id,
    ((uuid_hash(resource_id) % 128)::"char"),
    ((uuid_hash(workspace_id) % 128)::"char"),
    ((uuid_hash(user_id) % 128)::"char"),
    ((uuid_hash(organization_id) % 128)::"char"),
    ((hashtext(resource_target) % 128)::"char"),
    ((hashinet(ip) % 128)::"char"),
    ((hashtext(reason) % 128)::"char")
) WHERE decision = 'deny';

CREATE INDEX authd_acts_time_bytes_idx ON authd_acts (
    "time",
    id,
    ((hashtext(subject) % 128)::"char"),
    ((uuid_hash(agent_id) % 128)::"char"),
    ((uuid_hash(workspace_id) % 128)::"char"),
    ((uuid_hash(user_id) % 128)::"char"),
    ((hashinet(ip) % 128)::"char"),
    ((hashtext(kind) % 128)::"char"),
    ((hashtext(reason) % 128)::"char"),
    ((CASE decision WHEN 'deny' THEN 1 ELSE 0 END)::"char")
);
CREATE INDEX authd_acts_denied_bytes_idx ON authd_acts (
    "time",
    id,
    ((hashtext(subject) % 128)::"char"),
    ((uuid_hash(agent_id) % 128)::"char"),
    ((uuid_hash(workspace_id) % 128)::"char"),
    ((uuid_hash(user_id) % 128)::"char"),
    ((hashinet(ip) % 128)::"char"),
    ((hashtext(kind) % 128)::"char"),
    ((hashtext(reason) % 128)::"char")
) WHERE decision = 'deny';

DROP INDEX authd_audit_log_reason_idx;
DROP INDEX authd_audit_log_time_idx;
ALTER INDEX authd_audit_log_time_bytes_idx RENAME TO authd_audit_log_time_idx;
DROP INDEX authd_audit_log_denied_idx;
ALTER INDEX authd_audit_log_denied_bytes_idx RENAME TO authd_audit_log_denied_idx;
DROP INDEX authd_acts_time_idx;
ALTER INDEX authd_acts_time_bytes_idx RENAME TO authd_acts_time_idx;
DROP INDEX authd_acts_denied_idx;
ALTER INDEX authd_acts_denied_bytes_idx RENAME TO authd_acts_denied_idx;

-- Without this, statistics of the expressions come with the next run of autovacuum.
ANALYZE authd_audit_log, authd_acts;
