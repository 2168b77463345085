-- What carriers of connections are told: that something which was allowed may not be any more. Only
-- withdrawn shares are written unless `--revocations` is set. No foreign keys: the other tables may be a
-- control plane's.

-- What sessions, or visitors without one, were let into lately, and the build that it was in. A row
-- is deleted when it does not hold any more, or a day after the last visit.
CREATE TABLE authd_watched_grants (
    -- The id of the session's key; empty for visitors who are not signed in.
    key_id       text NOT NULL,
    agent_id     uuid NOT NULL,
    -- Null for visitors who are not signed in.
    user_id      uuid,
    workspace_id uuid NOT NULL,
    build_number integer NOT NULL,
    until        timestamptz NOT NULL,
    PRIMARY KEY (key_id, agent_id)
);

-- To delete what is not watched any more.
CREATE INDEX authd_watched_grants_until_idx ON authd_watched_grants (until);

-- What has ended, for an hour. A null stands for any.
CREATE TABLE authd_revocations (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason       text NOT NULL,
    user_id      uuid,
    workspace_id uuid,
    agent_id     uuid,
    -- The slug of an app, or the number of a port.
    app          text,
    key_id       text
);

-- Listeners read on from a moment.
CREATE INDEX authd_revocations_at_idx ON authd_revocations (at, id);
