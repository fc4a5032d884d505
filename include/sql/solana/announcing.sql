-- name: events_to_announce
-- Payment events that no Airflow asset event is known to carry yet.
SELECT id, payment_id, kind, status, signature, mint, amount, occurred_at
FROM cp_ops.solana_payment_event WHERE announced_at IS NULL ORDER BY id LIMIT %(limit)s

-- name: events_announced
-- Note the payment events that Airflow has registered.
UPDATE cp_ops.solana_payment_event SET announced_at = %(now)s
WHERE id = ANY(%(ids)s::bigint[]) AND announced_at IS NULL

-- name: claim_webhooks
-- Take due webhook deliveries, and those given up since a time; they fall due again by themselves when this run dies.
UPDATE cp_ops.solana_payment_event AS event
SET webhook_state = 'pending', attempts = CASE webhook_state WHEN 'failed' THEN 1 ELSE event.attempts + 1 END,
    due_at = %(now)s::timestamptz + make_interval(secs => %(seconds)s)
WHERE event.id IN (
    SELECT id FROM cp_ops.solana_payment_event
    WHERE (webhook_state = 'pending' AND due_at <= %(now)s::timestamptz
           AND (occurred_at > %(since)s::timestamptz OR last_error <> ''))
       OR (webhook_state = 'failed' AND occurred_at > %(given_up_since)s::timestamptz)
    ORDER BY id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
RETURNING event.id, payment_id, kind, status, signature, mint, amount, occurred_at, attempts

-- name: due_webhooks
-- The webhook deliveries that are due, and those given up since a time.
SELECT id, payment_id, kind, webhook_state AS state FROM cp_ops.solana_payment_event
WHERE (webhook_state = 'pending' AND due_at <= %(now)s::timestamptz
       AND (occurred_at > %(since)s::timestamptz OR last_error <> ''))
   OR (webhook_state = 'failed' AND occurred_at > %(given_up_since)s::timestamptz)
ORDER BY id LIMIT %(limit)s

-- name: webhook_done
-- Note a delivery's result: delivered, to be tried again after some seconds, or given up.
UPDATE cp_ops.solana_payment_event
SET webhook_state = %(state)s, last_error = %(error)s, due_at = %(now)s::timestamptz + make_interval(secs => %(seconds)s)
WHERE id = %(id)s

-- name: webhooks_put_off
-- Leave claimed deliveries that were not tried for later: no attempt is counted.
UPDATE cp_ops.solana_payment_event
SET attempts = attempts - 1, due_at = %(now)s::timestamptz + make_interval(secs => %(seconds)s)
WHERE id = ANY(%(ids)s::bigint[])
