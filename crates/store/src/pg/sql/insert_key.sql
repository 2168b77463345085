-- Adds a key.
--
-- $1 text: the feature
-- $2 integer: the sequence number
-- $3 text: the secret, which may be encrypted
-- $4 text: the digest of the key with which it is encrypted
-- $5 timestamptz: the time at which it begins to be used
-- $6 timestamptz: the time at which it ends; null if that is not known yet
--
-- Raw because the DSL does not choose between two tables.
INSERT INTO crypto_keys                                                    --unless owned
INSERT INTO authd_crypto_keys                                              --if owned
    (feature, sequence, secret, secret_key_id, starts_at, deletes_at)
VALUES (
    $1::text::crypto_key_feature,                                          --unless owned
    $1,                                                                    --if owned
    $2, $3, $4, $5, $6
)
