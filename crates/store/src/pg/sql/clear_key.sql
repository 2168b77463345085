-- Clears the secret of a key that has ended.
--
-- $1 text: the feature
-- $2 integer: the sequence number
--
-- The digest is cleared as well: otherwise the control plane could not revoke the key that
-- encrypted the secret.
--
-- Raw because the DSL does not choose between two tables.
UPDATE crypto_keys                                                         --unless owned
UPDATE authd_crypto_keys                                                   --if owned
SET secret = NULL, secret_key_id = NULL
WHERE feature::text = $1 AND sequence = $2
