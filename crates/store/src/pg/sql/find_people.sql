-- Which users and groups have these names? For shares of apps and ports.
--
-- $1 uuid: the organization in which groups are found by name
-- $2 text[]: names of users in lower case; null where an id is given
-- $3 uuid[]: ids of users; null where a name is given
-- $4 text[]: names of groups; null where an id is given
-- $5 uuid[]: ids of groups; null where a name is given
--
-- Returns for each name that is known whether it is a group's, its position from 1, the id, and
-- whether a user is a member of the organization.
--
-- Raw because of the arrays with positions.
SELECT false, asked.n, u.id,
       EXISTS (SELECT FROM organization_members WHERE user_id = u.id AND organization_id = $1::uuid)
FROM unnest($2::text[], $3::uuid[]) WITH ORDINALITY AS asked (name, id, n)
JOIN users u ON NOT u.deleted AND (u.id = asked.id OR lower(u.username) = asked.name)
UNION ALL
SELECT true, asked.n, g.id, false
FROM unnest($4::text[], $5::uuid[]) WITH ORDINALITY AS asked (name, id, n)
JOIN groups g ON g.id = asked.id OR g.name = asked.name AND g.organization_id = $1
