-- Without the digests, encrypted values would be taken for values in the clear.
UPDATE crypto_keys SET secret = NULL WHERE secret_key_id <> '';
UPDATE user_links SET oauth_access_token = '' WHERE oauth_access_token_key_id <> '';
UPDATE user_links SET oauth_refresh_token = '' WHERE oauth_refresh_token_key_id <> '';

ALTER TABLE user_links
    DROP COLUMN oauth_access_token_key_id,
    DROP COLUMN oauth_refresh_token_key_id;
ALTER TABLE crypto_keys DROP COLUMN secret_key_id;
DROP TABLE dbcrypt_keys;
