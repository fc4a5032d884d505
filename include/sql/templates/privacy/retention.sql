-- name: survey
-- What a policy meets: rows, first and last age, by what becomes of them.
SELECT line.disposition, count(*) AS rows, min(line.at) AS first, max(line.at) AS last
FROM (SELECT line.at, {disposition} AS disposition FROM ({rows}) AS line) AS line
GROUP BY line.disposition
ORDER BY line.disposition

-- name: collect_due
-- Collect the rows that are due, once: batches then need no other pass over the table.
INSERT INTO retention_due (id, at) SELECT line.id, line.at FROM ({rows}) AS line WHERE {disposition} = {due}

-- name: lock_batch
-- Lock those of the rows that nobody else is changing.
SELECT {key} AS id FROM {table} WHERE {key} = ANY(%(ids)s::bigint[]) ORDER BY {key} FOR UPDATE SKIP LOCKED

-- name: still_due
-- Which of the locked rows are still due: the application may have changed them since.
SELECT line.id FROM ({rows}) AS line WHERE line.id = ANY(%(ids)s::bigint[]) AND {disposition} = {due}

-- name: disposition
-- What becomes of a row, in one word or as the reason why it is kept; a legal hold comes before everything else.
CASE
    WHEN line.legal_hold THEN {legal_hold}
    WHEN line.kept_because <> '' THEN line.kept_because
    WHEN %(only_if_inactive)s::boolean AND NOT line.inactive THEN {still_active}
    WHEN %(action)s::text = 'anonymize' AND line.anonymised THEN {done}
    WHEN %(action)s::text = 'archive' AND line.archived THEN {done}
    ELSE {due}
END

-- name: delete_rows
-- Delete rows of a table.
DELETE FROM {table} WHERE {condition}

-- name: detach_rows
-- Let rows that stay point at nothing.
UPDATE {table} SET {column} = NULL WHERE {condition}

-- name: children_of
-- The rows that belong to some rows of another table.
{column} IN (SELECT {key} FROM {parent} WHERE {condition})

-- name: children_of_batch
-- The rows that belong to the batch.
{column} = ANY(%(ids)s::bigint[])
