-- One row per visitor, app and status, as long as the visits go on. The key is a
-- SHA-256 over the fields that make a visit the same, so that a user agent of any
-- size or encoding fits the index.

CREATE TABLE authd_audit_sessions (
    key        bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    id         uuid NOT NULL,
    agent_id   uuid NOT NULL,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX authd_audit_sessions_updated_at_idx ON authd_audit_sessions (updated_at);
