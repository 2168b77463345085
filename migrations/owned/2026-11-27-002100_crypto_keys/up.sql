-- The keys of app tokens, in a database without a control plane. Does nothing if a control plane's
-- table `crypto_keys` exists.
--
-- Features are texts, so that a new one needs no migration. A key that has ended keeps its row and
-- loses its secret, so that a sequence number is never used twice.

DO $$ BEGIN
    IF to_regclass('crypto_keys') IS NULL THEN
        CREATE TABLE authd_crypto_keys (
            feature       text NOT NULL,
            sequence      integer NOT NULL,
            secret        text,
            secret_key_id text,
            starts_at     timestamptz NOT NULL,
            deletes_at    timestamptz,
            PRIMARY KEY (feature, sequence)
        );
    END IF;
END $$;
