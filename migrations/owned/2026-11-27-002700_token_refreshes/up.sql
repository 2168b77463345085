-- Which tokens of identity providers are being refreshed, so that a refresh token is used once. No
-- foreign keys: the table of links may be a control plane's. A row without a link has no effect.

CREATE TABLE authd_token_refreshes (
    user_id    uuid NOT NULL,
    login_type text NOT NULL,
    -- The end of the access token that is being refreshed.
    expiry     timestamptz NOT NULL,
    -- The attempt that is under way until this time.
    holder     uuid NOT NULL,
    until      timestamptz NOT NULL,
    -- Whether that access token was replaced, or the provider refuses to replace it.
    is_settled boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, login_type)
);
