-- The keys of app tokens, for databases without the control plane's table of them, `crypto_keys`.
-- Where that exists, this does nothing.
--
-- Features are texts, so that a new one needs no migration. A key that is past its end keeps its
-- row and loses its secret, so that a sequence number is never given out twice.

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
