-- Deletes the oldest acts.
--
-- $1 interval: the age from which rows are deleted
-- $2 bigint: how many rows to delete at most
--
-- Skips rows that another replica is deleting.
--
-- Raw because the DSL cannot say a CTE.
WITH old AS (
    SELECT id FROM authd_acts
    WHERE "time" < now() - $1::interval
    ORDER BY "time", id LIMIT $2::bigint
    FOR UPDATE SKIP LOCKED
)
DELETE FROM authd_acts WHERE id = ANY (ARRAY(SELECT id FROM old))
