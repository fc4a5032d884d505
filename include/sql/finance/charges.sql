-- name: selection_index
-- Whether finance_invoices has an index that finds a firm's unpaid invoices: one that starts with firm_id and status, or
-- a partial one on autopay_opt_in.
SELECT EXISTS (
    SELECT FROM pg_index AS index
    WHERE index.indrelid = 'finance_invoices'::regclass AND index.indisvalid
      AND (pg_get_indexdef(index.indexrelid) LIKE '%%(firm_id, status%%'
           OR pg_get_expr(index.indpred, index.indrelid) LIKE '%%autopay_opt_in%%')
) AS found

-- name: charge_candidates
-- Unpaid invoices with autopay whose charge is due by their firm's day or the one after, with what decides.
-- Status, the invoice's own autopay and a remaining balance are decided here, and not in plan.py again. The day is asked
-- only to find few rows among all, and plan.py decides it. No firm's day is more than one ahead of the database's.
SELECT invoice.id, invoice.firm_id, invoice.status, invoice.total_amount, invoice.amount_paid, invoice.currency,
       invoice.due_date, invoice.autopay_next_charge_at, invoice.payment_retry_count, invoice.dunning_paused,
       invoice.stripe_invoice_id, invoice.autopay_payment_method_id AS payment_method,
       client.autopay_payment_method_id AS client_payment_method, client.autopay_enabled AS client_autopay,
       client.status AS client_status,
       EXISTS (SELECT FROM finance_payment_dispute AS dispute
               WHERE dispute.invoice_id = invoice.id AND dispute.closed_at IS NULL) AS disputed,
       COALESCE(history.attempts, 0) AS attempts,
       COALESCE(history.open_intent, '') AS open_intent,
       COALESCE(history.codes[1], '') AS last_code,
       COALESCE(history.hard_declined, false) AS hard_declined
FROM finance_invoices AS invoice
JOIN clients_client AS client ON client.id = invoice.client_id AND client.firm_id = invoice.firm_id
LEFT JOIN LATERAL (
    SELECT max(intent.attempt) FILTER (WHERE intent.state <> 'planned') AS attempts,
           max(intent.state) FILTER (WHERE intent.state NOT IN ('planned', 'succeeded', 'failed')) AS open_intent,
           array_agg(intent.code ORDER BY intent.attempt DESC) FILTER (WHERE intent.state <> 'planned') AS codes,
           bool_or(intent.decline_class = 'hard' AND intent.payment_method = invoice.autopay_payment_method_id) AS hard_declined
    FROM cp_ops.charge_intent AS intent WHERE intent.invoice_id = invoice.id
) AS history ON true
WHERE invoice.firm_id = ANY(%(firm_ids)s::bigint[])
  AND invoice.status = ANY(%(open_statuses)s::text[])
  AND invoice.autopay_opt_in AND invoice.total_amount > invoice.amount_paid
  AND (invoice.autopay_next_charge_at <= %(now)s::timestamptz
       OR (invoice.autopay_next_charge_at IS NULL AND invoice.due_date <= (%(now)s::timestamptz + interval '1 day')::date))
ORDER BY invoice.firm_id, invoice.id

-- name: unfinished_intents
-- Attempts that are not settled, or not attached to their Stripe invoice; of one firm, or of all whatever their status.
SELECT id, firm_id, invoice_id, attempt, state
FROM cp_ops.charge_intent
WHERE (state NOT IN ('succeeded', 'failed', 'planned')
       OR (state = 'succeeded' AND stripe_invoice <> '' AND attached IS NULL))
  AND (%(firm_id)s::bigint IS NULL OR firm_id = %(firm_id)s::bigint)
ORDER BY firm_id, id

-- name: past_runs
-- What the last runs that charged anything charged: how many, and the sum per currency.
SELECT run.created_by_run, run.currency, run.charges, run.amount FROM (
    SELECT created_by_run, currency, count(*) AS charges, sum(amount)::bigint AS amount
    FROM cp_ops.charge_intent
    WHERE created_by_run IN (SELECT DISTINCT created_by_run FROM cp_ops.charge_intent
                             WHERE submitted_at IS NOT NULL ORDER BY created_by_run DESC LIMIT %(runs)s)
      AND submitted_at IS NOT NULL
    GROUP BY created_by_run, currency
) AS run ORDER BY run.created_by_run

-- name: withdraw_planned
-- Forget what an earlier run planned and never sent.
DELETE FROM cp_ops.charge_intent
WHERE state = 'planned' AND created_by_run <> %(run_id)s AND firm_id = ANY(%(firm_ids)s::bigint[])

-- name: insert_intents
-- Write the planned charges down before the first of them is made; one that another attempt stands in the way of is not.
INSERT INTO cp_ops.charge_intent
    (firm_id, invoice_id, attempt, idempotency_key, amount, currency, payment_method, stripe_invoice, state, created_at,
     created_by_run)
SELECT firm_id, invoice_id, attempt, idempotency_key, amount, currency, payment_method, stripe_invoice, 'planned',
       %(now)s::timestamptz, %(run_id)s::bigint
FROM unnest(%(firm_ids)s::bigint[], %(invoice_ids)s::bigint[], %(attempts)s::integer[], %(keys)s::text[],
            %(amounts)s::bigint[], %(currencies)s::text[], %(methods)s::text[], %(stripe_invoices)s::text[])
     AS planned (firm_id, invoice_id, attempt, idempotency_key, amount, currency, payment_method, stripe_invoice)
ON CONFLICT DO NOTHING
RETURNING id, invoice_id

-- name: intent
-- One attempt.
SELECT id, firm_id, invoice_id, attempt, idempotency_key, amount, currency, payment_method, customer, stripe_invoice,
       state, payment_intent, code, submitted_at
FROM cp_ops.charge_intent WHERE id = %(id)s

-- name: claim_intent
-- Take a planned charge, unless its invoice is locked or is not what it was when it was planned.
-- It repeats a part of the rule in plan.py, because time has passed since the plan and the claim must hold the invoice's lock
-- when it looks: status, autopay, total and paid, the client, disputes. A dunning pause, another day of the next charge or
-- another payment method that a person has set since the plan are not looked at.
WITH due AS (
    SELECT invoice.id FROM finance_invoices AS invoice
    JOIN clients_client AS client ON client.id = invoice.client_id
    WHERE invoice.id = %(invoice_id)s AND invoice.firm_id = %(firm_id)s
      AND invoice.status = ANY(%(open_statuses)s::text[]) AND invoice.autopay_opt_in
      AND invoice.total_amount = %(total)s::numeric AND invoice.amount_paid = %(paid)s::numeric
      AND client.autopay_enabled AND client.status = 'active'
      AND NOT EXISTS (SELECT FROM finance_payment_dispute AS dispute
                      WHERE dispute.invoice_id = invoice.id AND dispute.closed_at IS NULL)
    FOR UPDATE OF invoice SKIP LOCKED
)
UPDATE cp_ops.charge_intent AS intent
SET state = 'submitting', customer = %(customer)s, submitted_at = %(now)s::timestamptz
FROM due
WHERE intent.id = %(id)s AND intent.state = 'planned' AND intent.invoice_id = due.id
RETURNING intent.id

-- name: withdraw_intent
-- Forget a charge of which nothing was sent, or whose one and only send Stripe did not take in.
DELETE FROM cp_ops.charge_intent WHERE id = %(id)s AND state IN ('planned', 'submitting')

-- name: mark_unknown
-- Note that a charge may or may not have happened.
UPDATE cp_ops.charge_intent SET state = 'unknown', code = %(code)s
WHERE id = %(id)s AND state = 'submitting'

-- name: still_due
-- Whether an invoice is still owed what a payment was asked for that waits for its client to confirm.
-- It repeats a part of the rule in plan.py: status, balance, disputes. Autopay is not looked at: the
-- client decides by confirming.
SELECT invoice.status = ANY(%(open_statuses)s::text[])
       AND invoice.total_amount - invoice.amount_paid >= %(amount)s::numeric
       AND NOT EXISTS (SELECT FROM finance_payment_dispute AS dispute
                       WHERE dispute.invoice_id = invoice.id AND dispute.closed_at IS NULL) AS due
FROM finance_invoices AS invoice
WHERE invoice.id = %(invoice_id)s AND invoice.firm_id = %(firm_id)s

-- name: may_be_charged
-- Whether an invoice may still be charged what was asked for when the answer was lost; of a firm that is served.
-- It repeats a part of the rule in plan.py, because repeating the request creates the charge if the first never arrived: what
-- `claim_intent` looks at, with a balance of at least the amount in the place of the same total and paid.
SELECT invoice.status = ANY(%(open_statuses)s::text[]) AND invoice.autopay_opt_in
       AND invoice.total_amount - invoice.amount_paid >= %(amount)s::numeric
       AND client.autopay_enabled AND client.status = 'active' AND firm.status = ANY(%(served)s::text[])
       AND NOT EXISTS (SELECT FROM finance_payment_dispute AS dispute
                       WHERE dispute.invoice_id = invoice.id AND dispute.closed_at IS NULL) AS due
FROM finance_invoices AS invoice
JOIN clients_client AS client ON client.id = invoice.client_id AND client.firm_id = invoice.firm_id
JOIN firm_firm AS firm ON firm.id = invoice.firm_id
WHERE invoice.id = %(invoice_id)s AND invoice.firm_id = %(firm_id)s

-- name: last_failure
-- The last failed attempt before one that left a payment intent at Stripe, which can be paid until it is canceled.
SELECT id, firm_id, invoice_id, attempt, idempotency_key, amount, currency, payment_method, customer, stripe_invoice,
       state, payment_intent, code, submitted_at
FROM cp_ops.charge_intent
WHERE invoice_id = %(invoice_id)s AND attempt < %(attempt)s AND state = 'failed' AND payment_intent <> ''
ORDER BY attempt DESC LIMIT 1

-- name: last_charged
-- The payment intent of the last charge that succeeded.
SELECT payment_intent FROM cp_ops.charge_intent
WHERE state = 'succeeded' AND payment_intent <> '' ORDER BY id DESC LIMIT 1

-- name: lock_intent
-- Lock an attempt that is not settled yet, or was settled as failed when it was read; no row otherwise.
SELECT id FROM cp_ops.charge_intent
WHERE id = %(id)s AND (state NOT IN ('succeeded', 'failed') OR (state = 'failed' AND %(state)s = 'failed')) FOR UPDATE

-- name: lock_invoice
-- Lock the charged invoice and read what booking needs.
SELECT invoice.id, invoice.client_id, invoice.invoice_number, invoice.status, invoice.total_amount, invoice.amount_paid,
       invoice.currency, invoice.payment_retry_count, firm.timezone, firm.name AS firm_name
FROM finance_invoices AS invoice JOIN firm_firm AS firm ON firm.id = invoice.firm_id
WHERE invoice.id = %(invoice_id)s AND invoice.firm_id = %(firm_id)s
FOR UPDATE OF invoice

-- name: settle_intent
-- Record what became of an attempt.
UPDATE cp_ops.charge_intent
SET state = %(state)s::text, payment_intent = %(payment_intent)s, code = %(code)s, decline_class = %(decline)s,
    settled_at = CASE WHEN %(state)s::text IN ('succeeded', 'failed') THEN %(now)s::timestamptz END
WHERE id = %(id)s AND (state, payment_intent) IS DISTINCT FROM (%(state)s::text, %(payment_intent)s::text)

-- name: mark_attached
-- Record whether the payment was attached to the Stripe invoice.
UPDATE cp_ops.charge_intent SET attached = %(attached)s WHERE id = %(id)s

-- name: recorded_payment
-- The payment that the application has recorded for this payment intent by itself, if it has.
SELECT id FROM finance_payments WHERE firm_id = %(firm_id)s AND reference_number = %(payment_intent)s LIMIT 1

-- name: insert_payment
-- Record a payment as the application does; none when it is there already.
INSERT INTO finance_payments
    (firm_id, client_id, payment_number, payment_date, amount, currency, payment_method, reference_number, status,
     cleared_date, amount_allocated, amount_unallocated, notes, created_at, updated_at)
VALUES (%(firm_id)s, %(client_id)s, %(number)s, %(day)s::date, %(amount)s::numeric, %(currency)s, 'stripe',
        %(payment_intent)s, 'cleared', %(day)s::date, %(allocated)s::numeric, %(unallocated)s::numeric, 'Autopay',
        %(now)s::timestamptz, %(now)s::timestamptz)
ON CONFLICT (firm_id, payment_number) DO NOTHING
RETURNING id

-- name: insert_allocation
-- Allocate a payment to its invoice.
INSERT INTO finance_payment_allocations (firm_id, payment_id, invoice_id, amount, allocation_date, notes, created_at)
VALUES (%(firm_id)s, %(payment_id)s, %(invoice_id)s, %(amount)s::numeric, %(day)s::date, '', %(now)s::timestamptz)

-- name: invoice_charged
-- Add a payment to an invoice.
UPDATE finance_invoices
SET amount_paid = amount_paid + %(amount)s::numeric,
    status = CASE WHEN status <> ALL(%(open_statuses)s::text[]) THEN status
                  WHEN amount_paid + %(amount)s::numeric >= total_amount THEN 'paid' ELSE 'partial' END,
    paid_date = CASE WHEN status = ANY(%(open_statuses)s::text[])
                      AND amount_paid + %(amount)s::numeric >= total_amount THEN %(day)s::date ELSE paid_date END,
    updated_at = %(now)s::timestamptz
WHERE id = %(invoice_id)s AND firm_id = %(firm_id)s

-- name: autopay_done
-- Note on the invoice that its charge has succeeded.
UPDATE finance_invoices
SET autopay_status = 'succeeded', autopay_last_attempt_at = %(now)s::timestamptz, autopay_next_charge_at = NULL,
    stripe_payment_intent_id = %(payment_intent)s, payment_failed_at = NULL, payment_failure_reason = '',
    payment_failure_code = '', payment_retry_count = 0, updated_at = %(now)s::timestamptz
WHERE id = %(invoice_id)s AND firm_id = %(firm_id)s

-- name: failures_resolved
-- Close the recorded failures of an invoice that was charged.
UPDATE finance_payment_failure
SET resolved = true, resolved_at = %(now)s::timestamptz, updated_at = %(now)s::timestamptz
WHERE invoice_id = %(invoice_id)s AND firm_id = %(firm_id)s AND NOT resolved

-- name: autopay_waits
-- Note on the invoice that its charge is not decided yet.
UPDATE finance_invoices
SET autopay_status = %(status)s, autopay_last_attempt_at = %(now)s::timestamptz,
    stripe_payment_intent_id = %(payment_intent)s, payment_failure_code = %(code)s, updated_at = %(now)s::timestamptz
WHERE id = %(invoice_id)s AND firm_id = %(firm_id)s AND status = ANY(%(open_statuses)s::text[])

-- name: autopay_failed
-- Note on an unpaid invoice that its charge has failed, and when it is tried again.
UPDATE finance_invoices
SET status = %(status)s, payment_failed_at = %(now)s::timestamptz, payment_failure_reason = %(reason)s,
    payment_failure_code = %(code)s, payment_retry_count = payment_retry_count + 1,
    last_payment_retry_at = %(now)s::timestamptz, autopay_last_attempt_at = %(now)s::timestamptz,
    autopay_next_charge_at = %(next_charge)s::timestamptz, autopay_status = %(autopay_status)s,
    autopay_opt_in = autopay_opt_in AND %(keep_autopay)s::boolean, updated_at = %(now)s::timestamptz,
    stripe_payment_intent_id = CASE WHEN %(payment_intent)s::text <> '' THEN %(payment_intent)s::text
                                    ELSE stripe_payment_intent_id END
WHERE id = %(invoice_id)s AND firm_id = %(firm_id)s AND status = ANY(%(open_statuses)s::text[])
  AND total_amount > amount_paid

-- name: autopay_off
-- Switch a client's autopay off whose payment method is dead, unless it has another one by now.
UPDATE clients_client SET autopay_enabled = false, updated_at = %(now)s::timestamptz
WHERE id = %(client_id)s AND firm_id = %(firm_id)s AND autopay_enabled AND autopay_payment_method_id = %(payment_method)s

-- name: insert_failure
-- Record a failed payment as the application does.
INSERT INTO finance_payment_failure
    (firm_id, invoice_id, client_id, amount_attempted, currency, failure_code, failure_message, stripe_payment_intent_id,
     stripe_error_code, retry_count, next_retry_at, max_retries_reached, customer_notified, notified_at, resolved,
     failed_at, created_at, updated_at)
VALUES (%(firm_id)s, %(invoice_id)s, %(client_id)s, %(amount)s::numeric, %(currency)s, %(failure_code)s, %(reason)s,
        %(payment_intent)s, %(code)s, %(retries)s, %(next_charge)s::timestamptz, %(final)s, %(notified)s,
        CASE WHEN %(notified)s::boolean THEN %(now)s::timestamptz END, false, %(now)s::timestamptz, %(now)s::timestamptz,
        %(now)s::timestamptz)

-- name: payers
-- To whom mail about a client's payments goes: its billing contacts, else its primary address.
SELECT COALESCE(NULLIF(array_agg(DISTINCT contact.email) FILTER (WHERE contact.email <> ''), '{}'),
                ARRAY[max(client.primary_contact_email)]) AS recipients,
       max(client.primary_contact_name) AS name
FROM clients_client AS client
LEFT JOIN clients_contact AS contact
  ON contact.client_id = client.id AND contact.receives_billing_emails AND contact.is_active AND contact.status = 'active'
WHERE client.id = %(client_id)s AND client.firm_id = %(firm_id)s

-- name: audit_charge
-- One audit event per settled charge.
INSERT INTO firm_audit_events
    (firm_id, category, action, severity, actor_email, actor_role, target_model, target_id, target_repr, timestamp,
     reason, outcome, metadata, user_agent, request_id, review_notes)
VALUES (%(firm_id)s, 'BILLING_METADATA', %(action)s, %(severity)s, '', 'cp_ops', 'finance.Invoice', %(invoice_id)s::text, '',
        %(now)s::timestamptz, '', %(outcome)s, %(metadata)s::jsonb, '', 'cp_ops-run-' || %(run_id)s::text, '')
