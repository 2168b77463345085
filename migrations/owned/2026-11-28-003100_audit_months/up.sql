-- The log may have a table for each month: `authd audit partition` sees to that. Months to come are
-- then added, and old ones dropped, by servers that may not create or drop tables. These functions do
-- it with the rights of the tables' owner. They do nothing as long as the log is one table.
--
-- The schema is the one of the tables, whatever the session of a caller searches.

DO $migration$
BEGIN
EXECUTE format($functions$

-- The tables of the log, and when the month of each ends. Null is for the table that has the rows of
-- all other times.
CREATE FUNCTION authd_audit_months() RETURNS TABLE (month regclass, ends timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
    SELECT c.oid::regclass,
           (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(.*)''\)'))[1]::timestamptz
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(%2$L)
$$;

-- Adds the months to the next but one, and returns how many it added.
--
-- Any user may call it, since it does the same whenever, and as often as, it is called.
CREATE FUNCTION authd_add_audit_months() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    wanted CONSTANT timestamptz := date_trunc('month', now()) + interval '3 months';
    log CONSTANT text := %2$L;
    other CONSTANT text := log || '_other';
    begins timestamptz;
    month text;
    added bigint := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM %1$I.authd_audit_months() HAVING max(ends) < wanted) THEN
        RETURN 0;
    END IF;
    -- Servers take turns. Visits are read and written meanwhile.
    LOCK TABLE ONLY %1$I.authd_audit_log IN SHARE UPDATE EXCLUSIVE MODE;
    LOOP
        SELECT max(ends) INTO begins FROM %1$I.authd_audit_months();
        EXIT WHEN begins >= wanted;
        month := format('%%I.%%I', %1$L, 'authd_audit_log_' || to_char(begins, 'YYYY_MM'));
        EXECUTE format('CREATE TABLE %%s (LIKE %%s INCLUDING DEFAULTS INCLUDING STORAGE)', month, log);
        -- A clock may be months ahead.
        IF EXISTS (SELECT FROM %1$I.authd_audit_log_other
                   WHERE "time" >= begins AND "time" < begins + interval '1 month') THEN
            LOCK TABLE %1$I.authd_audit_log_other;
            EXECUTE format('WITH moved AS (DELETE FROM %%s WHERE "time" >= $1 AND "time" < $2
                                           RETURNING *)
                            INSERT INTO %%s SELECT * FROM moved', other, month)
            USING begins, begins + interval '1 month';
        END IF;
        EXECUTE format('ALTER TABLE %%s ATTACH PARTITION %%s FOR VALUES FROM (%%L) TO (%%L)',
                       log, month, begins, begins + interval '1 month');
        added := added + 1;
    END LOOP;
    RETURN added;
EXCEPTION
    -- By a long statement. There are months left for the next call.
    WHEN lock_not_available THEN RETURN 0;
END $$;

-- Drops the months that ended longer ago than `keep`, if the caller may delete rows of the log.
--
-- Returns how many rows they had, as far as statistics know, and the time before which old rows have
-- to be deleted one by one. It is the beginning of the first month that is left, since the rows of a
-- month are dropped together, and null if the log is one table.
CREATE FUNCTION authd_drop_audit_months(keep interval, OUT dropped bigint, OUT one_by_one timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    old record;
BEGIN
    IF NOT has_table_privilege(session_user, %2$L, 'DELETE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'permission denied for table authd_audit_log';
    END IF;
    BEGIN
        dropped := 0;
        FOR old IN SELECT m.month, greatest(c.reltuples, 0)::bigint AS rows
                   FROM %1$I.authd_audit_months() m JOIN pg_class c ON c.oid = m.month
                   WHERE m.ends <= now() - keep ORDER BY m.ends LOOP
            EXECUTE format('DROP TABLE %%s', old.month);
            dropped := dropped + old.rows;
        END LOOP;
    EXCEPTION
        -- By a long statement, or dropped by another server. The next call drops what is left.
        WHEN lock_not_available OR undefined_table THEN dropped := 0;
    END;
    SELECT date_trunc('month', min(ends) - interval '1 day') INTO one_by_one
    FROM %1$I.authd_audit_months() WHERE ends > now() - keep;
END $$;

-- Where functions are not for all users by default.
GRANT EXECUTE ON FUNCTION authd_audit_months, authd_add_audit_months, authd_drop_audit_months TO PUBLIC;

$functions$, current_schema(), format('%I.authd_audit_log', current_schema()));
END $migration$;
