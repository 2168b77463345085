-- How many visits does a filter find over time, and how many of them were denied?
--
-- $1 uuid: the request; null, here and below, for any
-- $2 uuid: the session
-- $3 uuid: the app
-- $4 uuid: the workspace
-- $5 uuid: the user
-- $6 uuid: the organization
-- $7 text: the slug of the app
-- $8 text: the decision, a label of `authd_audit_decision`
-- $9 text: the reason of a denial
-- $10 text: the client's address
-- $11 timestamptz: the time that visits are earlier than
-- $12 timestamptz: the earliest time
-- $13 bigint: how many rows to look at, the newest first
-- $14 integer[]: the lengths of a step in seconds to choose from, the shortest first
-- $15 bigint: how many steps to return at most
--
-- Returns a row for each step of time that has visits, the earliest first: when it begins, its
-- length in seconds, the numbers of its visits and of its denials. Each row also has the time of the
-- oldest row that was looked at, and whether older rows were not. There is one row at least: without
-- a visit, the columns of the step are null. The length is the shortest that needs no more
-- steps than the caller wants.
--
-- The variants are those of `audit_log_page.sql`. Rows are read by the column of the variant alone
-- and only so many of them, so that the plot costs no more than a page, whatever the filter finds.
--
-- Raw because the DSL lacks CTEs.
WITH newest AS MATERIALIZED (
    SELECT "time", decision,
           action = 'open'
           AND ($1::uuid IS NULL OR request_id = $1)
           AND ($2::uuid IS NULL OR session_id = $2)
           AND ($3::uuid IS NULL OR resource_id = $3)
           AND ($4::uuid IS NULL OR workspace_id = $4)
           AND ($5::uuid IS NULL OR user_id = $5)
           AND ($6::uuid IS NULL OR organization_id = $6)
           AND ($7::text IS NULL OR resource_target = $7)
           AND ($8::text IS NULL OR decision = $8::authd_audit_decision)
           AND ($9::text IS NULL OR reason = $9)
           AND ($10::text IS NULL OR ip = $10::inet) AS is_found
    FROM authd_audit_log
    WHERE "time" < $11::timestamptz AND "time" >= $12::timestamptz
      AND request_id = $1::uuid  --if request
      AND session_id = $2::uuid AND id IN ($2, md5('close ' || $2)::uuid)  --if session
      AND resource_id = $3::uuid  --if app
      AND workspace_id = $4::uuid  --if workspace
      AND user_id = $5::uuid  --if user
      AND organization_id = $6::uuid  --if organization
      AND resource_target = $7::text  --if slug
      AND decision = 'deny' AND $8::text = 'deny'  --if denied
      AND reason = $9::text AND decision = 'deny'  --if reason
      AND (hashtext(reason) % 128)::"char" = (hashtext($9) % 128)::"char"  --if reason
      AND ip = $10::text::inet  --if address
    ORDER BY "time" DESC, id DESC LIMIT $13::bigint
), span AS (
    SELECT min("time") AS since, count(*) >= $13 AS is_cut,
           date_part('epoch', max("time") FILTER (WHERE is_found) - min("time") FILTER (WHERE is_found))
               AS seconds
    FROM newest
), step AS (
    SELECT min(seconds) AS seconds
    FROM unnest($14::integer[]) AS seconds
    -- The first and the last step are not full.
    WHERE seconds * ($15::bigint - 1) > (SELECT seconds FROM span)
), bins AS (
    -- In double precision: calculations with `numeric` would take most of the time.
    SELECT floor(date_part('epoch', n."time") / s.seconds) AS bin, s.seconds,
           count(*) AS visits, count(*) FILTER (WHERE n.decision = 'deny') AS denials
    FROM newest n, step s
    WHERE n.is_found
    GROUP BY 1, 2
)
SELECT to_timestamp(bin * bins.seconds), bins.seconds, visits, denials, since, is_cut
FROM span LEFT JOIN bins ON true
ORDER BY bin
