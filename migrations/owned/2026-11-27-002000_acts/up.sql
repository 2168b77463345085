-- Sign-ins, and what operators do: everything that the audit records beside visits to apps. No
-- foreign keys, as in `authd_audit_log`: history outlives the rows that it names. `kind`,
-- `subject_type` and `proof` are texts and not enumerations, because a release of authd that adds
-- a kind may run beside one that does not know it.

CREATE TABLE authd_acts (
    id           uuid PRIMARY KEY,
    "time"       timestamptz NOT NULL,
    kind         text NOT NULL,
    decision     authd_audit_decision NOT NULL,
    reason       text NOT NULL DEFAULT '',
    user_id      uuid,
    agent_id     uuid,
    workspace_id uuid,
    subject_type text,
    subject      text,
    proof        text,
    ip           inet,
    user_agent   varchar(256),
    request_id   uuid,
    times        bigint NOT NULL DEFAULT 1,
    detail       jsonb NOT NULL DEFAULT '{}'
-- No index has `times`, so an act that is repeated can be counted within its page.
) WITH (fillfactor = 90);

-- Kept as they grow and read backwards, as those of `authd_audit_log`. Most rows are sign-ins of
-- agents, which have no user; what operators do is rare, and found by its kind.
CREATE INDEX authd_acts_time_idx ON authd_acts ("time", id);
CREATE INDEX authd_acts_agent_id_idx ON authd_acts (agent_id, "time", id)
    WHERE agent_id IS NOT NULL;
CREATE INDEX authd_acts_workspace_id_idx ON authd_acts (workspace_id, "time", id)
    WHERE workspace_id IS NOT NULL;
CREATE INDEX authd_acts_user_id_idx ON authd_acts (user_id, "time", id)
    WHERE user_id IS NOT NULL;
CREATE INDEX authd_acts_subject_idx ON authd_acts (subject, "time", id)
    WHERE subject IS NOT NULL;
CREATE INDEX authd_acts_ip_idx ON authd_acts (ip, "time", id)
    WHERE ip IS NOT NULL;
CREATE INDEX authd_acts_request_id_idx ON authd_acts (request_id)
    WHERE request_id IS NOT NULL;
CREATE INDEX authd_acts_kind_idx ON authd_acts (kind, "time", id)
    WHERE kind <> 'agent_sign_in';
CREATE INDEX authd_acts_denied_idx ON authd_acts ("time", id)
    WHERE decision = 'deny';
