-- What the control plane encrypts in its own tables, and with which of its keys.

-- The keys themselves are nowhere in the database. A key that is revoked loses its active
-- digest, which fails while a row still names it.
CREATE TABLE dbcrypt_keys (
    number             integer PRIMARY KEY,
    active_key_digest  text UNIQUE,
    revoked_key_digest text UNIQUE,
    created_at         timestamptz DEFAULT CURRENT_TIMESTAMP,
    revoked_at         timestamptz,
    test               text NOT NULL
);

ALTER TABLE crypto_keys
    ADD COLUMN secret_key_id text REFERENCES dbcrypt_keys (active_key_digest);

ALTER TABLE user_links
    ADD COLUMN oauth_access_token_key_id text REFERENCES dbcrypt_keys (active_key_digest),
    ADD COLUMN oauth_refresh_token_key_id text REFERENCES dbcrypt_keys (active_key_digest);
