-- Adds visits to sessions that were noted before.
--
-- $1 bytea[]: keys of sessions, sorted
-- $2 uuid[]: ids of the sessions
-- $3 bigint[]: numbers of visits to add
--
-- A session that has ended meanwhile, or whose key now has another session, is left alone.
--
-- Sessions are locked in the order of their keys, as in `note_visits.sql`, so that two
-- statements never wait for each other.
--
-- Raw because diesel never keeps an UPDATE prepared, and cannot say one with a CTE.
WITH more AS (
    SELECT last.key, more.visits
    FROM unnest($1::bytea[], $2::uuid[], $3::bigint[]) AS more (key, id, visits)
    JOIN authd_audit_sessions last ON last.key = more.key AND last.id = more.id
    ORDER BY last.key
    FOR UPDATE OF last
)
UPDATE authd_audit_sessions last SET visits = last.visits + more.visits
FROM more WHERE last.key = more.key
