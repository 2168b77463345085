-- Which columns do these tables have, and which labels these enumerations?
--
-- $1 text[]: names of tables, which are looked for on the search path
-- $2 text[]: names of enumerations
--
-- Returns for each column that the table has: false, the table, the column, its type; and for
-- each label: true, the enumeration, the label, an empty text. Takes no lock on any table and
-- needs no right but to connect.
--
-- Raw because it reads PostgreSQL's own catalog.
SELECT false, asked.name, a.attname::text, format_type(a.atttypid, a.atttypmod)
FROM unnest($1::text[]) AS asked (name)
JOIN pg_attribute a ON a.attrelid = to_regclass(asked.name)
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT true, asked.name, e.enumlabel::text, ''
FROM unnest($2::text[]) AS asked (name)
JOIN pg_enum e ON e.enumtypid = to_regtype(asked.name)
