DROP TABLE crypto_keys;
DROP TYPE crypto_key_feature;
