-- What is written down. No foreign keys: history outlives what it speaks of.

CREATE TYPE authd_audit_action AS ENUM ('open', 'close');

CREATE TYPE authd_resource_type AS ENUM ('workspace_agent', 'workspace_app');

CREATE TABLE authd_audit_log (
    id                uuid PRIMARY KEY,
    "time"            timestamptz NOT NULL,
    user_id           uuid NOT NULL,
    organization_id   uuid NOT NULL,
    ip                inet,
    user_agent        varchar(256),
    resource_type     authd_resource_type NOT NULL,
    resource_id       uuid NOT NULL,
    resource_target   text NOT NULL,
    action            authd_audit_action NOT NULL,
    diff              jsonb NOT NULL DEFAULT '{}',
    status_code       integer NOT NULL,
    additional_fields jsonb NOT NULL DEFAULT '{}',
    request_id        uuid NOT NULL,
    resource_icon     text NOT NULL DEFAULT ''
);

CREATE INDEX authd_audit_log_time_idx ON authd_audit_log ("time" DESC);
CREATE INDEX authd_audit_log_user_id_idx ON authd_audit_log (user_id);
CREATE INDEX authd_audit_log_organization_id_idx ON authd_audit_log (organization_id);
CREATE INDEX authd_audit_log_resource_id_idx ON authd_audit_log (resource_id);
