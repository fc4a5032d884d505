-- name: select_rows
-- Add the rows of a table that a condition names to the selection.
INSERT INTO erasure_selection (table_name, row_id, via)
SELECT {table_name}, line.{key}::text, {via} FROM {table} AS line WHERE {condition}
ON CONFLICT DO NOTHING

-- name: rows_of_subject
-- What the selected rows of a person's own table say: its key, the keys that lead on, and what identifies the person.
SELECT {columns}
FROM {table} AS line
WHERE line.{key} IN (
    SELECT row_id::{key_type} FROM erasure_selection WHERE table_name = {table_name} AND via = ANY(%(vias)s)
)

-- name: count_changes
-- How many selected rows still hold something, in all and by column, and a digest of which rows these are.
SELECT count(*) AS rows, coalesce(md5(string_agg(line.{key}::text, ',' ORDER BY line.{key}::text)), '') AS digest,
       {counts}
FROM {table} AS line
WHERE line.{key} IN (
    SELECT row_id::{key_type} FROM erasure_selection WHERE table_name = {table_name} AND via = ANY(%(vias)s)
) AND ({differs})

-- name: erase_batch
-- Erase the next batch of a table's selected rows; where the batch ended, and how many rows changed.
WITH batch AS (
    SELECT DISTINCT row_id FROM erasure_selection
    WHERE table_name = {table_name} AND via = ANY(%(vias)s) AND row_id > %(after)s
    ORDER BY row_id LIMIT %(batch)s
), changed AS (
    UPDATE {table} AS line SET {assignments}
    FROM batch
    WHERE line.{key} = batch.row_id::{key_type} AND {not_under_legal_hold} AND ({differs})
    RETURNING line.{key}
)
SELECT (SELECT count(*) FROM changed) AS rows, (SELECT max(row_id) FROM batch) AS last

-- name: search_table
-- In how many rows each column holds one of the identifiers.
SELECT {counts}
FROM {table} AS line
WHERE {scope} AND ({any})

-- name: is_selected
-- Tell whether a row is selected, by some of the keys or by any.
line.{key} IN (SELECT row_id::{key_type} FROM erasure_selection WHERE table_name = {table_name} AND {vias})
