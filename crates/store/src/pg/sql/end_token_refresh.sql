-- Ends an attempt to refresh the access token of a link, and stores what the provider has given.
--
-- $1 boolean: whether the attempt is settled, so that it is not repeated while the link stays the same
-- $2 uuid: user
-- $3 text: login type of the link
-- $4 uuid: id of the attempt
-- $5 text: new access token; null to leave the link as it is
-- $6 text: refresh token for the next time
-- $7 timestamptz: when the new access token ends; null if it does not
-- $8 text: digest of the key that encrypts both tokens; null if they are not encrypted
-- $9 timestamptz: end of the access token that was refreshed
-- $10 text: refresh token that was used, as it was stored
--
-- Changes one link, or none: one that was changed since the attempt began is left as it is, since its
-- user has signed in again, or the control plane has refreshed it.
--
-- Raw because of the statements within the statement.
WITH ended AS (
    UPDATE authd_token_refreshes
    SET until = '-infinity', is_settled = $1::boolean
    WHERE user_id = $2::uuid AND login_type = $3::text AND holder = $4::uuid
)
UPDATE user_links
SET oauth_access_token = $5::text, oauth_refresh_token = $6::text,
    oauth_expiry = coalesce($7::timestamptz, '0001-01-01 00:00:00+00'),
    oauth_access_token_key_id = $8::text, oauth_refresh_token_key_id = $8
WHERE $5::text IS NOT NULL AND user_id = $2 AND login_type = $3::login_type
  AND oauth_expiry = $9::timestamptz AND oauth_refresh_token = $10::text
