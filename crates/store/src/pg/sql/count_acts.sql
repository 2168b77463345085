-- Adds to how often acts were done.
--
-- $1 uuid[]: the ids of rows
-- $2 bigint[]: how much to add to each
--
-- A row that was deleted meanwhile is left out. Rows are locked in the order of their ids, as
-- `note_acts.sql` does, so that two statements never wait for each other.
--
-- Raw because diesel never keeps an UPDATE prepared, and cannot say one with a CTE.
WITH more AS (
    SELECT act.id, more.times
    FROM unnest($1::uuid[], $2::bigint[]) AS more (id, times)
    JOIN authd_acts act ON act.id = more.id
    ORDER BY act.id
    FOR UPDATE OF act
)
UPDATE authd_acts act SET times = act.times + more.times FROM more WHERE act.id = more.id
