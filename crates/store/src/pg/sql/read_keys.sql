-- Which keys does this feature have?
--
-- $1 text: the feature
--
-- Returns the newest first: in the order of the primary key, so that its index is read although
-- nothing is looked up in it. On read connections any other plan counts as so expensive that
-- PostgreSQL would compile it first. Features are compared as texts: the type in the database may
-- have labels that are not known here, and may lack some that are.
--
-- The variant `owned` reads authd's own table, which is used while the control plane's does not
-- exist. The statement fails once it does: the connection then reads the catalog again. The variant
-- `locked` is for a rotation, which also sees keys that were cleared, the oldest first.
--
-- Raw because the DSL does not choose between two tables.
SELECT sequence, secret, secret_key_id, starts_at, deletes_at
FROM crypto_keys                                                           --unless owned
FROM authd_crypto_keys                                                     --if owned
WHERE feature::text = $1
    AND secret IS NOT NULL                                                 --unless locked
    AND (SELECT 1 / (count(*) = 0)::integer FROM pg_class                  --if owned
         WHERE oid = to_regclass('crypto_keys')) = 1                       --if owned
ORDER BY feature DESC, sequence DESC                                       --unless locked
ORDER BY feature, sequence                                                 --if locked
FOR UPDATE                                                                 --if locked
