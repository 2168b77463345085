-- Nothing to undo: `crypto_keys` is dropped as well, and the owned migrations make a table of keys
-- where it is missing.
SELECT;
