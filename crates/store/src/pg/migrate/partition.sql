-- Gives the log a table for each month. The existing table becomes the first, for all earlier rows.
--
-- The existing table has a unique index `authd_audit_log_by_id_and_time`, and a valid check
-- `authd_audit_log_ends`, which says what time all rows are before. Therefore rows need not be read
-- here, and visits wait for milliseconds. Does nothing if the table is in use.
DO $$
DECLARE
    log CONSTANT regclass := 'authd_audit_log';
    ends CONSTANT text := (SELECT (regexp_match(pg_get_constraintdef(oid), '''(.*)'''))[1]
                           FROM pg_constraint
                           WHERE conrelid = log AND conname = 'authd_audit_log_ends');
    first CONSTANT text := 'authd_audit_log_before_' || left(replace(ends, '-', '_'), 7);
    indexes text[];
    rights text[];
    statement text;
    index record;
BEGIN
    -- What is created belongs where the table is, which need not be first in the path.
    PERFORM set_config('search_path', quote_ident(nspname), true)
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid WHERE c.oid = log;
    BEGIN
        LOCK TABLE authd_audit_log;
    EXCEPTION
        WHEN lock_not_available THEN RETURN;
    END;
    indexes := ARRAY(SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
                     WHERE i.indrelid = log AND NOT i.indisunique);
    -- To the table, and to columns of it.
    rights := ARRAY(
        SELECT format('GRANT %s ON authd_audit_log TO %s%s', r.privilege_type || coalesce(r.of, ''),
                      CASE r.grantee WHEN 0 THEN 'PUBLIC' ELSE r.grantee::regrole::text END,
                      CASE WHEN r.is_grantable THEN ' WITH GRANT OPTION' END)
        FROM (SELECT (aclexplode(relacl)).*, NULL AS of FROM pg_class WHERE oid = log
              UNION ALL
              SELECT (aclexplode(attacl)).*, format(' (%I)', attname) FROM pg_attribute
              WHERE attrelid = log) r);

    FOR index IN SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 WHERE i.indrelid = log AND NOT i.indisunique LOOP
        -- An operator's own index may have any name.
        EXECUTE format('ALTER INDEX %I RENAME TO %I', index.relname,
                       left(first || '_' || replace(index.relname, 'authd_audit_log_', ''), 63));
    END LOOP;
    EXECUTE format('ALTER TABLE authd_audit_log DROP CONSTRAINT authd_audit_log_pkey,
                    ADD CONSTRAINT %I PRIMARY KEY USING INDEX authd_audit_log_by_id_and_time',
                   first || '_pkey');
    EXECUTE format('ALTER TABLE authd_audit_log RENAME TO %I', first);

    EXECUTE format('CREATE TABLE authd_audit_log (
                        LIKE %I INCLUDING COMMENTS INCLUDING DEFAULTS INCLUDING STORAGE,
                        PRIMARY KEY (id, "time")
                    ) PARTITION BY RANGE ("time")', first);
    FOREACH statement IN ARRAY indexes || rights LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format('ALTER TABLE authd_audit_log ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)',
                   first, ends);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT authd_audit_log_ends', first);
    CREATE TABLE authd_audit_log_other PARTITION OF authd_audit_log DEFAULT;
    EXECUTE format('ALTER TABLE authd_audit_log OWNER TO %1$s; ALTER TABLE authd_audit_log_other OWNER TO %1$s',
                   (SELECT relowner::regrole FROM pg_class WHERE oid = log));
    PERFORM authd_add_audit_months();
END $$
