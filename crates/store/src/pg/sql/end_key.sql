-- Sets the time at which a key ends.
--
-- $1 timestamptz: the time
-- $2 text: the feature
-- $3 integer: the sequence number
--
-- Raw because the DSL does not choose between two tables.
UPDATE crypto_keys                                                         --unless owned
UPDATE authd_crypto_keys                                                   --if owned
SET deletes_at = $1
WHERE feature::text = $2 AND sequence = $3
