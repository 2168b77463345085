-- Nothing to undo: `crypto_keys` is dropped as well, and without it the owned migrations create
-- `authd_crypto_keys` when they are applied again.
SELECT;
