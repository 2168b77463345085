-- Deletes the oldest rows of the audit log.
--
-- $1 timestamptz: the time to begin at
-- $2 interval: the age from which rows are deleted
-- $3 timestamptz: rows of this time and later are not deleted; null for no such limit
-- $4 bigint: how many rows to delete at most
--
-- Returns how many rows were deleted, and the time of the newest of them. Skips rows that another
-- replica is deleting.
--
-- Raw because the DSL cannot say a CTE.
WITH old AS (
    SELECT id FROM authd_audit_log
    WHERE "time" >= $1::timestamptz AND "time" < least(now() - $2::interval, $3::timestamptz)
    ORDER BY "time", id LIMIT $4::bigint
    FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM authd_audit_log WHERE id = ANY (ARRAY(SELECT id FROM old))
        AND "time" >= $1 AND "time" < least(now() - $2, $3)
    RETURNING "time"
)
SELECT count(*), max("time") FROM forgotten
