-- Which workspaces may a subject read? A page of those that are not deleted, by id.
--
-- $1 uuid: the page begins after this id
-- $2 uuid[]: the only workspaces in use that may be read; null if not limited
-- $3 boolean: whether all workspaces in use may be read
-- $4 uuid[]: organizations whose workspaces in use may be read
-- $5 uuid: the user
-- $6 uuid[]: organizations in which the user's own workspaces in use may be read
-- $7 uuid[]: organizations whose workspaces may be read if they are shared
-- $8 uuid[]: organizations in which the user's own workspaces may be read if they are shared
-- $9 text: the user's key in access lists
-- $10 text[]: the keys of the user's groups in access lists
-- $11 text[]: the actions of which an entry of an access list must hold one
-- $12 uuid[]: the only dormant workspaces that may be read; null if not limited
-- $13 boolean: whether all dormant workspaces may be read
-- $14 uuid[]: organizations whose dormant workspaces may be read
-- $15 uuid: the user
-- $16 uuid[]: organizations in which the user's own dormant workspaces may be read
-- $17 bigint: how many workspaces to return at most
--
-- There are two filters, one for workspaces in use and one for dormant ones, which are objects
-- of another type. Filters are parameters, so the text is always the same. A workspace always
-- has an organization, so conditions on objects without one are left out. The access list of a
-- dormant workspace counts for nothing.
--
-- `--guard` is not used, as nothing but access lists differs before v2.26: a connection that
-- does not know them yet finds fewer workspaces than the subject may read.
--
-- Raw because of the lines for single generations of the tables, and of the operators on
-- access lists.
SELECT w.id, w.name, w.owner_id, w.organization_id, w.dormant_at IS NOT NULL, owner.username,
       w.user_acl, w.group_acl
FROM workspaces w  --since v2.26
--until v2.26 {
FROM (
    SELECT id, name, owner_id, organization_id, dormant_at, deleted,
           '{}'::jsonb AS user_acl, '{}'::jsonb AS group_acl
    FROM workspaces
) w
--}
JOIN users owner ON owner.id = w.owner_id
WHERE NOT w.deleted AND w.id > $1::uuid
    AND CASE WHEN w.dormant_at IS NULL THEN coalesce(w.id = ANY ($2::uuid[]), true) AND (
        $3::boolean
        OR w.organization_id = ANY ($4::uuid[])
        OR w.owner_id = $5::uuid AND w.organization_id = ANY ($6::uuid[])
        OR (w.organization_id = ANY ($7::uuid[])
            OR w.owner_id = $5 AND w.organization_id = ANY ($8::uuid[]))
            -- An entry is a list of actions, or an object with such a list.
            AND EXISTS (
                SELECT FROM (
                    SELECT w.user_acl -> $9::text
                    UNION ALL
                    SELECT w.group_acl -> id
                    FROM unnest(w.organization_id::text || $10::text[]) id
                ) entry (granted)
                WHERE granted ?| $11::text[] OR granted -> 'permissions' ?| $11
            )
    ) ELSE coalesce(w.id = ANY ($12::uuid[]), true) AND (
        $13::boolean
        OR w.organization_id = ANY ($14::uuid[])
        OR w.owner_id = $15::uuid AND w.organization_id = ANY ($16::uuid[])
    ) END
ORDER BY w.id
LIMIT $17::bigint
