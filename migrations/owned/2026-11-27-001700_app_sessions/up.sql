-- The session that each session for apps was made from. The control plane's table of keys has no
-- column for that, and no foreign key refers to it: its tables are not ours, and it deletes keys
-- at any time. A row without keys has no effect, and housekeeping deletes it.

CREATE TABLE authd_app_sessions (
    key_id     text PRIMARY KEY,
    parent_id  text NOT NULL,
    user_id    uuid NOT NULL,
    created_at timestamptz NOT NULL
);

-- A user has a few hundred at most, so the sessions made from one are found by user.
CREATE INDEX authd_app_sessions_user_id_idx ON authd_app_sessions (user_id);
