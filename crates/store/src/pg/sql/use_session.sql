-- Records that a session was used: its key, and when its user was last seen.
--
-- $1 text: id of the key
-- $2 timestamptz: when it was last used; null to keep what is stored
-- $3 timestamptz: when it expires; null to keep what is stored
-- $4 text: IP address of the visitor
-- $5 timestamptz: when it was last used, as the caller read it
-- $6 timestamptz: when it expires, as the caller read it
-- $7 timestamptz: when its user was last seen; null to keep what is stored
--
-- Changes nothing if the use was recorded since the caller read the key. Of requests that read
-- a key at the same time, one therefore writes, and the others find the key changed.
--
-- A session and those that were made from it are extended together, each by its own lifetime.
-- One that has expired, or whose lifetime says that use never extends it, keeps its end. The rows
-- of these other keys are skipped if they are locked: the control plane may be deleting them in
-- another order, and the two could wait for each other.
--
-- The user is locked before the key, in the order of the control plane's own statement that
-- deletes a user. In the other order the two could wait for each other.
--
-- Raw because diesel never keeps an UPDATE prepared, and cannot say one with a CTE.
WITH holder AS MATERIALIZED (
    SELECT k.id, k.user_id, k.lifetime_seconds, made.parent_id, parent.expires_at AS parent_expires_at
    FROM api_keys k JOIN users u ON u.id = k.user_id
    LEFT JOIN authd_app_sessions made ON made.key_id = k.id
    LEFT JOIN api_keys parent ON parent.id = made.parent_id
    WHERE k.id = $1::text
    FOR NO KEY UPDATE OF u
), used AS (
    UPDATE api_keys k
    SET last_used = coalesce(new.last_used, k.last_used),
        expires_at = coalesce(new.expires_at, k.expires_at),
        ip_address = CASE WHEN new.last_used IS NULL THEN k.ip_address ELSE new.ip::inet END
    FROM holder, (
        VALUES ($2::timestamptz, $3::timestamptz, $4::text)
    ) AS new (last_used, expires_at, ip)
    WHERE k.id = holder.id AND k.last_used <= $5::timestamptz
      AND least(k.expires_at, holder.parent_expires_at) <= $6::timestamptz
    RETURNING k.user_id, holder.lifetime_seconds AS lifetime,
              coalesce(holder.parent_id, holder.id) AS first_id
), others AS (
    SELECT k.id,
           $3::timestamptz + make_interval(secs => k.lifetime_seconds - used.lifetime) AS expires_at
    FROM used, api_keys k
    WHERE $3::timestamptz IS NOT NULL AND k.id <> $1::text AND k.user_id = used.user_id
      AND k.id = ANY (ARRAY(
          SELECT used.first_id
          UNION ALL
          SELECT key_id FROM authd_app_sessions
          WHERE user_id = used.user_id AND parent_id = used.first_id
      ))
      AND k.lifetime_seconds >= 3600
      AND k.expires_at >= $3::timestamptz - make_interval(secs => used.lifetime)
    FOR NO KEY UPDATE OF k SKIP LOCKED
), extended AS (
    UPDATE api_keys k SET expires_at = greatest(k.expires_at, others.expires_at)
    FROM others WHERE k.id = others.id
)
UPDATE users SET last_seen_at = greatest(last_seen_at, $7::timestamptz)
FROM used WHERE users.id = used.user_id
