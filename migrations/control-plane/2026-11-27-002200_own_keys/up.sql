-- A database that had only authd's own tables has its keys in one of those. They are deleted, and
-- new ones are created in `crypto_keys`: app tokens are valid for a minute.

DROP TABLE IF EXISTS authd_crypto_keys;
