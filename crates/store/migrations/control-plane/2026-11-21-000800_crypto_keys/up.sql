-- What app tokens are signed and API keys encrypted with.

CREATE TYPE crypto_key_feature AS ENUM ('workspace_apps_token', 'workspace_apps_api_key');

-- A key that is past its end keeps its row and loses its secret, so that a
-- sequence number is never given out twice.
CREATE TABLE crypto_keys (
    feature    crypto_key_feature NOT NULL,
    sequence   integer NOT NULL,
    secret     text,
    starts_at  timestamptz NOT NULL,
    deletes_at timestamptz,
    PRIMARY KEY (feature, sequence)
);
