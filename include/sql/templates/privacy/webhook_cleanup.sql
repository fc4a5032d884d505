-- name: backlog
-- Per firm, a provider's events before the cutoff: how many were processed, how many were not or failed.
SELECT {provider} AS provider, event.firm_id,
       count(*) FILTER (WHERE {processed}) AS processed,
       count(*) FILTER (WHERE NOT {processed}) AS unprocessed,
       min(event.{at}) FILTER (WHERE {processed}) AS oldest
FROM {table} AS event
WHERE event.firm_id = ANY(%(firm_ids)s) AND event.{at} < %(cutoff)s
GROUP BY event.firm_id
ORDER BY event.firm_id

-- name: delete_batch
-- Delete the next batch of a firm's processed events before the cutoff; where the batch ended, and how many went.
WITH batch AS (
    SELECT event.id, event.{at} AS at FROM {table} AS event
    WHERE event.firm_id = %(firm_id)s AND event.{at} < %(cutoff)s AND {processed}
      AND (event.{at}, event.id) > (%(after_time)s, %(after_id)s)
    ORDER BY event.{at}, event.id
    LIMIT %(batch)s
), gone AS (
    DELETE FROM {table} AS event USING batch
    WHERE event.id = batch.id AND event.firm_id = %(firm_id)s AND {processed}
    RETURNING event.id
)
SELECT (SELECT count(*) FROM gone) AS deleted, last.at AS last_time, last.id AS last_id
FROM (SELECT at, id FROM batch ORDER BY at DESC, id DESC LIMIT 1) AS last

-- name: processed_successfully
-- Whether an event was processed: the provider's table says so in one column.
event.processed_successfully

-- name: processed_without_error
-- Whether an event was processed: also an event that failed counts as processed in this table, but has its error.
(event.processed AND event.error_message = '')
