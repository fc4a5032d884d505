-- name: firms_with_webhook_events
-- Every firm, whatever its status: the retention of webhook events is the platform's, not the firm's.
SELECT id FROM firm_firm ORDER BY id

-- name: stripe_backlog
-- Per firm, the stripe events before the cutoff: how many were processed, how many were not or failed.
SELECT 'stripe' AS provider, firm_id,
       count(*) FILTER (WHERE processed_successfully) AS processed,
       count(*) FILTER (WHERE NOT processed_successfully) AS unprocessed,
       min(processed_at) FILTER (WHERE processed_successfully) AS oldest
FROM finance_stripe_webhook_events
WHERE firm_id = ANY(%(firm_ids)s) AND processed_at < %(cutoff)s
GROUP BY firm_id
ORDER BY firm_id

-- name: square_backlog
-- Per firm, the square events before the cutoff: how many were processed, how many were not or failed.
SELECT 'square' AS provider, firm_id,
       count(*) FILTER (WHERE processed_successfully) AS processed,
       count(*) FILTER (WHERE NOT processed_successfully) AS unprocessed,
       min(processed_at) FILTER (WHERE processed_successfully) AS oldest
FROM finance_square_webhook_events
WHERE firm_id = ANY(%(firm_ids)s) AND processed_at < %(cutoff)s
GROUP BY firm_id
ORDER BY firm_id

-- name: docusign_backlog
-- Per firm, the docusign events before the cutoff: how many were processed, how many were not or failed.
SELECT 'docusign' AS provider, firm_id,
       count(*) FILTER (WHERE (processed AND error_message = '')) AS processed,
       count(*) FILTER (WHERE NOT (processed AND error_message = '')) AS unprocessed,
       min(received_at) FILTER (WHERE (processed AND error_message = '')) AS oldest
FROM esignature_webhook_events
WHERE firm_id = ANY(%(firm_ids)s) AND received_at < %(cutoff)s
GROUP BY firm_id
ORDER BY firm_id

-- name: sms_backlog
-- Per firm, the sms events before the cutoff: how many were processed, how many were not or failed.
SELECT 'sms' AS provider, firm_id,
       count(*) FILTER (WHERE processed_successfully) AS processed,
       count(*) FILTER (WHERE NOT processed_successfully) AS unprocessed,
       min(processed_at) FILTER (WHERE processed_successfully) AS oldest
FROM sms_webhook_events
WHERE firm_id = ANY(%(firm_ids)s) AND processed_at < %(cutoff)s
GROUP BY firm_id
ORDER BY firm_id

-- name: delete_stripe_events
-- Delete the next batch of a firm's processed stripe events before the cutoff; where the batch ended, and how many went.
WITH batch AS (
    SELECT id, processed_at AS at FROM finance_stripe_webhook_events
    WHERE firm_id = %(firm_id)s AND processed_at < %(cutoff)s AND processed_successfully
      AND (processed_at, id) > (%(after_time)s, %(after_id)s)
    ORDER BY processed_at, id
    LIMIT %(batch)s
), gone AS (
    DELETE FROM finance_stripe_webhook_events AS event USING batch
    WHERE event.id = batch.id AND event.firm_id = %(firm_id)s AND event.processed_successfully
    RETURNING event.id
)
SELECT (SELECT count(*) FROM gone) AS deleted, last.at AS last_time, last.id AS last_id
FROM (SELECT at, id FROM batch ORDER BY at DESC, id DESC LIMIT 1) AS last

-- name: delete_square_events
-- Delete the next batch of a firm's processed square events before the cutoff; where the batch ended, and how many went.
WITH batch AS (
    SELECT id, processed_at AS at FROM finance_square_webhook_events
    WHERE firm_id = %(firm_id)s AND processed_at < %(cutoff)s AND processed_successfully
      AND (processed_at, id) > (%(after_time)s, %(after_id)s)
    ORDER BY processed_at, id
    LIMIT %(batch)s
), gone AS (
    DELETE FROM finance_square_webhook_events AS event USING batch
    WHERE event.id = batch.id AND event.firm_id = %(firm_id)s AND event.processed_successfully
    RETURNING event.id
)
SELECT (SELECT count(*) FROM gone) AS deleted, last.at AS last_time, last.id AS last_id
FROM (SELECT at, id FROM batch ORDER BY at DESC, id DESC LIMIT 1) AS last

-- name: delete_docusign_events
-- Delete the next batch of a firm's processed docusign events before the cutoff; where the batch ended, and how many went.
WITH batch AS (
    SELECT id, received_at AS at FROM esignature_webhook_events
    WHERE firm_id = %(firm_id)s AND received_at < %(cutoff)s AND (processed AND error_message = '')
      AND (received_at, id) > (%(after_time)s, %(after_id)s)
    ORDER BY received_at, id
    LIMIT %(batch)s
), gone AS (
    DELETE FROM esignature_webhook_events AS event USING batch
    WHERE event.id = batch.id AND event.firm_id = %(firm_id)s AND event.processed AND event.error_message = ''
    RETURNING event.id
)
SELECT (SELECT count(*) FROM gone) AS deleted, last.at AS last_time, last.id AS last_id
FROM (SELECT at, id FROM batch ORDER BY at DESC, id DESC LIMIT 1) AS last

-- name: delete_sms_events
-- Delete the next batch of a firm's processed sms events before the cutoff; where the batch ended, and how many went.
WITH batch AS (
    SELECT id, processed_at AS at FROM sms_webhook_events
    WHERE firm_id = %(firm_id)s AND processed_at < %(cutoff)s AND processed_successfully
      AND (processed_at, id) > (%(after_time)s, %(after_id)s)
    ORDER BY processed_at, id
    LIMIT %(batch)s
), gone AS (
    DELETE FROM sms_webhook_events AS event USING batch
    WHERE event.id = batch.id AND event.firm_id = %(firm_id)s AND event.processed_successfully
    RETURNING event.id
)
SELECT (SELECT count(*) FROM gone) AS deleted, last.at AS last_time, last.id AS last_id
FROM (SELECT at, id FROM batch ORDER BY at DESC, id DESC LIMIT 1) AS last
