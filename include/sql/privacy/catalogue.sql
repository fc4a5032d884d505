-- name: catalogue_tables
-- The tables that the role sees, with their columns, in order, and whether row-level security hides rows from it; not
-- the outbox, whose mails are forgotten by statements of their own.
SELECT class.relname::text AS table_name,
       array_agg(attribute.attname::text ORDER BY attribute.attnum) AS columns,
       array_agg(format_type(attribute.atttypid, NULL) ORDER BY attribute.attnum) AS types,
       coalesce(
           array_agg(attribute.attname::text) FILTER (WHERE attribute.attnotnull), ARRAY[]::text[]
       ) AS required,
       coalesce(
           (SELECT key_column.attname::text
            FROM pg_index AS key
            JOIN pg_attribute AS key_column ON key_column.attrelid = class.oid AND key_column.attnum = key.indkey[0]
            WHERE key.indrelid = class.oid AND key.indisprimary),
           min(attribute.attname::text) FILTER (WHERE attribute.attnum = 1)
       ) AS primary_key,
       row_security_active(class.oid) AS guarded
FROM pg_class AS class
JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
WHERE class.relkind IN ('r', 'p') AND pg_table_is_visible(class.oid)
  AND class.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
  AND class.oid IS DISTINCT FROM to_regclass('cp_ops.mail')
GROUP BY class.oid, class.relname
ORDER BY class.relname

-- name: catalogue_foreign_keys
-- Every foreign key of one column between tables of the application.
SELECT child.relname::text AS "table", attribute.attname::text AS "column", parent.relname::text AS "references"
FROM pg_constraint AS link
JOIN pg_class AS child ON child.oid = link.conrelid
JOIN pg_class AS parent ON parent.oid = link.confrelid
JOIN pg_attribute AS attribute ON attribute.attrelid = child.oid AND attribute.attnum = link.conkey[1]
WHERE link.contype = 'f' AND cardinality(link.conkey) = 1
  AND pg_table_is_visible(child.oid) AND pg_table_is_visible(parent.oid)
ORDER BY child.relname, attribute.attname
