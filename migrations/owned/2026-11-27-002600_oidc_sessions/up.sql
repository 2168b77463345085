-- Which sign-in at an OpenID provider each session came from, so that the provider can end it by the
-- id of its own session or of the user. No foreign keys: the table of keys may be a control plane's.
-- A row without a key has no effect, and the next sign-in of its user deletes it.

CREATE TABLE authd_oidc_sessions (
    key_id     text PRIMARY KEY,
    user_id    uuid NOT NULL,
    issuer     text NOT NULL,
    subject    text NOT NULL,
    -- Null if the provider does not name its sessions.
    session_id text,
    created_at timestamptz NOT NULL
);

CREATE INDEX authd_oidc_sessions_user_id_idx ON authd_oidc_sessions (user_id);
CREATE INDEX authd_oidc_sessions_subject_idx ON authd_oidc_sessions (subject, issuer);
CREATE INDEX authd_oidc_sessions_session_id_idx ON authd_oidc_sessions (session_id, issuer)
    WHERE session_id IS NOT NULL;
