-- name: count_rows
-- How many rows of a table are about the user.
SELECT count(*) AS rows FROM {table} AS line WHERE {condition}

-- name: count_references
-- How often the user is named as the one who did something to a row of the table.
SELECT {sum} AS rows

-- name: count_references_by
-- The same for one column.
(SELECT count(*) FROM {table} WHERE {column} = ANY(%(user)s::bigint[]))

-- name: keys_by_address
-- The keys of the rows in the user's firms that bear one of the user's addresses.
SELECT {key}::bigint AS id FROM {table} AS line
WHERE lower({column}) = ANY(%(emails)s::text[]) AND {scope}
ORDER BY {key}

-- name: rows_as_json
-- A table's rows as JSON Lines in the order of their keys; JSON never holds the two control characters.
COPY (
    SELECT row_to_json(record)
    FROM (SELECT {columns} FROM {table} AS line WHERE {condition} ORDER BY {key}) AS record
) TO STDOUT (FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01')

-- name: rows_as_csv
-- The same rows as CSV (RFC 4180).
COPY (SELECT {columns} FROM {table} AS line WHERE {condition} ORDER BY {key}) TO STDOUT (FORMAT csv, HEADER {header})

-- name: references_query
-- Rows that the user did something to, as references without their contents.
SELECT {table_name}::text AS "table", {key}::text AS id, {column_name}::text AS "column", {at} AS created_at
FROM {table} AS line WHERE {column} = ANY(%(user)s::bigint[]) ORDER BY {key}

-- name: query_as_json
-- A query's rows as JSON Lines.
COPY (SELECT row_to_json(record) FROM ({query}) AS record) TO STDOUT (FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01')

-- name: query_as_csv
-- A query's rows as CSV (RFC 4180).
COPY (SELECT {columns} FROM ({query}) AS line) TO STDOUT (FORMAT csv, HEADER {header})

-- name: count_documents
-- How many documents that is.
SELECT count(*) AS rows FROM ({query}) AS document
