-- Session tokens. Only the SHA-256 of a token's secret half is kept.

CREATE TYPE api_key_scope AS ENUM ('all', 'application_connect');

CREATE TABLE api_keys (
    id               text PRIMARY KEY,
    hashed_secret    bytea NOT NULL,
    user_id          uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_used        timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    login_type       login_type NOT NULL,
    lifetime_seconds bigint NOT NULL DEFAULT 86400,
    ip_address       inet NOT NULL DEFAULT '0.0.0.0',
    scope            api_key_scope NOT NULL DEFAULT 'all',
    token_name       text NOT NULL DEFAULT ''
);

CREATE INDEX api_keys_user_id_idx ON api_keys (user_id);
CREATE UNIQUE INDEX api_keys_user_id_token_name_idx ON api_keys (user_id, token_name)
    WHERE login_type = 'token';

-- Users are soft-deleted, so the foreign key alone would leave their sessions
-- valid.
CREATE FUNCTION delete_deleted_user_resources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM api_keys WHERE user_id = NEW.id;
    DELETE FROM user_links WHERE user_id = NEW.id;
    RETURN NEW;
END
$$;

CREATE TRIGGER delete_deleted_user_resources
    AFTER UPDATE OF deleted ON users
    FOR EACH ROW WHEN (NEW.deleted AND NOT OLD.deleted)
    EXECUTE FUNCTION delete_deleted_user_resources();

-- The lock waits for a deletion under way, which would not see the key that is
-- being inserted.
CREATE FUNCTION insert_apikey_fail_if_user_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    gone boolean;
BEGIN
    SELECT deleted INTO gone FROM users WHERE id = NEW.user_id FOR SHARE;
    IF gone THEN
        RAISE EXCEPTION 'the user of an API key is deleted'
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER trigger_insert_apikeys
    BEFORE INSERT ON api_keys
    FOR EACH ROW EXECUTE FUNCTION insert_apikey_fail_if_user_deleted();
