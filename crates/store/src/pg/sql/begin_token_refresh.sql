-- Begins to refresh the access token of a link that has ended, unless it is being refreshed.
--
-- $1 uuid: user
-- $2 text: login type of the link
-- $3 timestamptz: now
-- $4 uuid: id of this attempt
-- $5 timestamptz: the time until which this attempt keeps others from beginning
--
-- Returns a row if the link has ended and has a refresh token: the end of its access token, the refresh
-- token and the digest of the key that encrypts it, whether this attempt has begun, whether an earlier
-- one is settled, and the digests of the keys with which the control plane encrypts.
--
-- An attempt that has settled changes the link, so a link with the same end as one that is settled is
-- either refused, or older than that attempt: a snapshot may show the link as it was before an attempt,
-- while the upsert sees the row that the attempt has left.
--
-- Raw because of the statements within the statement.
WITH link AS (
    SELECT oauth_expiry, oauth_refresh_token, nullif(oauth_refresh_token_key_id, '') AS key_id
    FROM user_links
    WHERE user_id = $1::uuid AND login_type = $2::text::login_type
      AND oauth_expiry > '1970-01-01 00:00:00+00' AND oauth_expiry < $3::timestamptz
      AND oauth_refresh_token <> ''
), begun AS (
    INSERT INTO authd_token_refreshes AS r (user_id, login_type, expiry, holder, until)
    SELECT $1, $2, oauth_expiry, $4::uuid, $5::timestamptz FROM link
    ON CONFLICT (user_id, login_type) DO UPDATE
    SET expiry = excluded.expiry, holder = excluded.holder, until = excluded.until,
        is_settled = false
    WHERE r.until < $3 AND NOT (r.is_settled AND r.expiry = excluded.expiry)
    RETURNING 1
)
SELECT link.oauth_expiry, link.oauth_refresh_token, link.key_id, EXISTS (SELECT FROM begun),
       EXISTS (
           SELECT FROM authd_token_refreshes r
           WHERE r.user_id = $1 AND r.login_type = $2 AND r.is_settled
             AND r.expiry = link.oauth_expiry
       ),
       ARRAY(
           SELECT active_key_digest FROM dbcrypt_keys
           WHERE active_key_digest IS NOT NULL ORDER BY number DESC
       )
FROM link
