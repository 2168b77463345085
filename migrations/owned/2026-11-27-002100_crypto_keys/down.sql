DROP TABLE IF EXISTS authd_crypto_keys;
