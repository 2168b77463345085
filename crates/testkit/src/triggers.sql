-- Users are soft-deleted: their sessions and links go with them, and none come after.

CREATE FUNCTION delete_of_deleted_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM api_keys WHERE user_id = NEW.id;
    DELETE FROM user_links WHERE user_id = NEW.id;
    RETURN NEW;
END
$$;

CREATE TRIGGER delete_of_deleted_user
    BEFORE UPDATE ON users
    FOR EACH ROW WHEN (NEW.deleted AND NOT OLD.deleted)
    EXECUTE FUNCTION delete_of_deleted_user();

CREATE FUNCTION refuse_for_deleted_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT deleted FROM users WHERE id = NEW.user_id) THEN
        RAISE EXCEPTION 'the user of a new row of % is deleted', TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER refuse_key_for_deleted_user
    BEFORE INSERT ON api_keys
    FOR EACH ROW EXECUTE FUNCTION refuse_for_deleted_user();

CREATE TRIGGER refuse_link_for_deleted_user
    BEFORE INSERT OR UPDATE ON user_links
    FOR EACH ROW EXECUTE FUNCTION refuse_for_deleted_user();

-- The end of an app's token ends the session that was made for it.

CREATE FUNCTION delete_key_of_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM api_keys WHERE id = OLD.api_key_id;
    RETURN OLD;
END
$$;

CREATE TRIGGER delete_key_of_token
    AFTER DELETE ON oauth2_provider_app_tokens
    FOR EACH ROW EXECUTE FUNCTION delete_key_of_token();
