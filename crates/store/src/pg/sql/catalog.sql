-- Which columns do these tables have, which labels these enumerations, and do these functions exist?
--
-- $1 text[]: names of tables, which are looked for on the search path
-- $2 text[]: names of enumerations
-- $3 text[]: names of functions
--
-- Returns for each column that the table has: `column`, the table, the column, its type; for each
-- label: `label`, the enumeration, the label, an empty text; and for each function that exists:
-- `function`, its name, and empty texts. Takes no lock on any table and
-- needs no right but to connect.
--
-- Raw because it reads PostgreSQL's own catalog.
SELECT 'column', asked.name, a.attname::text, format_type(a.atttypid, a.atttypmod)
FROM unnest($1::text[]) AS asked (name)
JOIN pg_attribute a ON a.attrelid = to_regclass(asked.name)
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'label', asked.name, e.enumlabel::text, ''
FROM unnest($2::text[]) AS asked (name)
JOIN pg_enum e ON e.enumtypid = to_regtype(asked.name)
UNION ALL
SELECT 'function', asked.name, '', ''
FROM unnest($3::text[]) AS asked (name)
WHERE to_regproc(asked.name) IS NOT NULL
