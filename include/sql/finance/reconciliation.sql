-- name: create_stripe_invoice
-- Stripe's invoices, as far as they are compared; amounts in Stripe's units.
CREATE TEMPORARY TABLE stripe_invoice (
    id text PRIMARY KEY, status text NOT NULL, currency text NOT NULL, total bigint NOT NULL,
    paid_off_stripe bigint NOT NULL, paid_at bigint, firm_id bigint, invoice_id bigint
)

-- name: create_stripe_payment
-- Stripe's payment intents with their charges.
CREATE TEMPORARY TABLE stripe_payment (
    id text PRIMARY KEY, status text NOT NULL, currency text NOT NULL, amount bigint NOT NULL, received bigint NOT NULL,
    refunded bigint NOT NULL, charged_at bigint, settles_later boolean NOT NULL, firm_id bigint, invoice_id bigint
)

-- name: create_stripe_link
-- Which payments belong to which Stripe invoices; payment is null where it is no payment intent.
CREATE TEMPORARY TABLE stripe_link (
    id text PRIMARY KEY, stripe_invoice text NOT NULL, payment text, amount bigint NOT NULL, status text NOT NULL
)

-- name: create_stripe_dispute
-- Disputes and the payments that they are about.
CREATE TEMPORARY TABLE stripe_dispute (id text PRIMARY KEY, payment text NOT NULL, status text NOT NULL)

-- name: create_stripe_population
-- The local invoices that this run compares, with their references.
CREATE TEMPORARY TABLE stripe_population (
    invoice_id bigint PRIMARY KEY, firm_id bigint NOT NULL, stripe_invoice text NOT NULL, payment text NOT NULL
)

-- name: create_stripe_finding
-- What this run has found.
CREATE TEMPORARY TABLE stripe_finding (
    kind text NOT NULL, subject text NOT NULL, firm_id bigint NOT NULL, severity text NOT NULL,
    proposed_action text NOT NULL, details jsonb NOT NULL
)

-- name: drop_stripe_tables
-- Drop the run's temporary tables.
DROP TABLE stripe_invoice, stripe_payment, stripe_link, stripe_dispute, stripe_population, stripe_finding

-- name: copy_stripe_invoices
-- Take a page of invoices.
COPY stripe_invoice (id, status, currency, total, paid_off_stripe, paid_at, firm_id, invoice_id) FROM STDIN

-- name: copy_stripe_payments
-- Take a page of payment intents.
COPY stripe_payment (id, status, currency, amount, received, refunded, charged_at, settles_later, firm_id, invoice_id)
FROM STDIN

-- name: copy_stripe_links
-- Take the payments of a page's invoices.
COPY stripe_link (id, stripe_invoice, payment, amount, status) FROM STDIN

-- name: copy_stripe_disputes
-- Take a page of disputes.
COPY stripe_dispute (id, payment, status) FROM STDIN

-- name: forget_stripe_objects
-- Make room for objects that were fetched anew.
WITH links AS (DELETE FROM stripe_link WHERE stripe_invoice = ANY(%(ids)s::text[])),
     payments AS (DELETE FROM stripe_payment WHERE id = ANY(%(ids)s::text[]))
DELETE FROM stripe_invoice WHERE id = ANY(%(ids)s::text[])

-- name: index_stripe_payments
-- Let payments be found by the invoice that their metadata names.
CREATE INDEX ON stripe_payment (invoice_id) WHERE invoice_id IS NOT NULL

-- name: index_stripe_invoices
-- Let Stripe invoices be found by the invoice that their metadata names.
CREATE INDEX ON stripe_invoice (invoice_id) WHERE invoice_id IS NOT NULL

-- name: index_stripe_links
-- Let payments be found by their Stripe invoice.
CREATE INDEX ON stripe_link (stripe_invoice)

-- name: index_stripe_disputes
-- Let disputes be found by their payment.
CREATE INDEX ON stripe_dispute (payment)

-- name: analyze_stripe_invoices
-- Tell the planner how much was staged.
ANALYZE stripe_invoice

-- name: analyze_stripe_payments
-- Tell the planner how much was staged.
ANALYZE stripe_payment

-- name: analyze_stripe_links
-- Tell the planner how much was staged.
ANALYZE stripe_link

-- name: analyze_stripe_population
-- Tell the planner how much is compared.
ANALYZE stripe_population

-- name: unlisted_objects
-- Which of these objects have neither been listed nor fetched.
SELECT id FROM unnest(%(ids)s::text[]) AS given (id)
WHERE id NOT IN (SELECT id FROM stripe_invoice) AND id NOT IN (SELECT id FROM stripe_payment)
ORDER BY id

-- name: take_population
-- The firms' invoices with a reference to a Stripe invoice *or* to a payment intent: all of them, or those that are
-- young, changed lately, open, have an open finding, or are named by an object that was listed or changed at Stripe.
-- The finding of a Stripe object that nothing refers to names the invoice in its details.
INSERT INTO stripe_population (invoice_id, firm_id, stripe_invoice, payment)
SELECT invoice.id, invoice.firm_id, invoice.stripe_invoice_id, invoice.stripe_payment_intent_id
FROM finance_invoices AS invoice
WHERE invoice.firm_id = ANY(%(firm_ids)s::bigint[])
  AND (invoice.stripe_invoice_id <> '' OR invoice.stripe_payment_intent_id <> '')
  AND (%(since)s::timestamptz IS NULL
       OR invoice.created_at >= %(since)s::timestamptz OR invoice.updated_at >= %(since)s::timestamptz
       OR invoice.status NOT IN ('paid', 'cancelled', 'refunded', 'charged_back')
       OR invoice.stripe_invoice_id = ANY(%(changed)s::text[])
       OR invoice.stripe_payment_intent_id = ANY(%(changed)s::text[])
       OR invoice.stripe_invoice_id IN (SELECT id FROM stripe_invoice)
       OR invoice.stripe_payment_intent_id IN (SELECT id FROM stripe_payment)
       OR invoice.id IN (SELECT invoice_id FROM stripe_payment WHERE invoice_id IS NOT NULL)
       OR invoice.id IN (SELECT invoice_id FROM stripe_invoice WHERE invoice_id IS NOT NULL)
       OR 'finance_invoices:' || invoice.id IN (
           SELECT subject FROM cp_ops.finding WHERE command = %(command)s::text AND resolved_at IS NULL)
       OR invoice.id IN (
           SELECT (details ->> 'invoice')::bigint FROM cp_ops.finding
           WHERE command = %(command)s::text AND kind = 'missing_locally' AND resolved_at IS NULL))

-- name: unlisted_invoices
-- Stripe invoices that an invoice refers to or that open findings are about, and that were not listed.
SELECT id FROM (
    SELECT stripe_invoice AS id FROM stripe_population WHERE stripe_invoice <> ''
    UNION
    SELECT substr(subject, 8) FROM cp_ops.finding
    WHERE command = %(command)s::text AND firm_id = ANY(%(firm_ids)s::bigint[]) AND kind = 'missing_locally'
      AND resolved_at IS NULL AND subject LIKE 'stripe:in%%'
    UNION
    SELECT jsonb_array_elements_text(details -> 'other_stripe_invoices') FROM cp_ops.finding
    WHERE command = %(command)s::text AND firm_id = ANY(%(firm_ids)s::bigint[]) AND resolved_at IS NULL
) AS wanted
WHERE id NOT IN (SELECT id FROM stripe_invoice)
ORDER BY id

-- name: unlisted_payments
-- Payment intents that an invoice or a Stripe invoice refers to or that open findings are about, and that were not listed.
SELECT id FROM (
    SELECT payment AS id FROM stripe_population WHERE payment <> ''
    UNION
    SELECT link.payment FROM stripe_link AS link
    JOIN stripe_population AS local ON local.stripe_invoice = link.stripe_invoice
    WHERE link.payment IS NOT NULL AND link.status <> 'canceled'
    UNION
    SELECT link.payment FROM stripe_link AS link
    JOIN stripe_invoice AS named ON named.id = link.stripe_invoice
    JOIN stripe_population AS local ON local.invoice_id = named.invoice_id AND local.firm_id = named.firm_id
    WHERE link.payment IS NOT NULL AND link.status <> 'canceled'
    UNION
    SELECT substr(subject, 8) FROM cp_ops.finding
    WHERE command = %(command)s::text AND firm_id = ANY(%(firm_ids)s::bigint[]) AND kind = 'missing_locally'
      AND resolved_at IS NULL AND subject LIKE 'stripe:pi%%'
    UNION
    SELECT jsonb_array_elements_text(details -> 'payment_intents') FROM cp_ops.finding
    WHERE command = %(command)s::text AND firm_id = ANY(%(firm_ids)s::bigint[]) AND resolved_at IS NULL
) AS wanted
WHERE id NOT IN (SELECT id FROM stripe_payment)
ORDER BY 1

-- name: changed_meanwhile
-- References of the firms' invoices that the application has changed since the listing began.
SELECT local.stripe_invoice, local.payment
FROM stripe_population AS local
JOIN finance_invoices AS invoice ON invoice.id = local.invoice_id
WHERE local.firm_id = ANY(%(firm_ids)s::bigint[]) AND invoice.updated_at >= %(began)s::timestamptz

-- name: retake_references
-- Take over references that the application has changed since.
UPDATE stripe_population AS local
SET stripe_invoice = invoice.stripe_invoice_id, payment = invoice.stripe_payment_intent_id
FROM finance_invoices AS invoice
WHERE invoice.id = local.invoice_id AND local.firm_id = ANY(%(firm_ids)s::bigint[])
  AND (local.stripe_invoice, local.payment) <> (invoice.stripe_invoice_id, invoice.stripe_payment_intent_id)

-- name: population_size
-- How many of the firms' invoices are compared.
SELECT count(*) AS invoices FROM stripe_population WHERE firm_id = ANY(%(firm_ids)s::bigint[])

-- name: stripe_comparison
-- Each compared invoice with all that Stripe has of it: its Stripe invoice, and the payments that it names, that belong
-- to its Stripe invoice, whose metadata names it, or that belong to another Stripe invoice whose metadata names it.
SELECT invoice.id, invoice.firm_id, invoice.status, invoice.total_amount, invoice.amount_paid, invoice.currency,
       invoice.paid_date, invoice.stripe_invoice_id, invoice.stripe_payment_intent_id, firm.timezone,
       invoice.updated_at,
       COALESCE(other.amount, 0) AS paid_by_other_means,
       CASE WHEN remote.id IS NOT NULL THEN jsonb_build_object(
           'id', remote.id, 'status', remote.status, 'currency', remote.currency, 'total', remote.total,
           'paid_off_stripe', remote.paid_off_stripe, 'paid_at', remote.paid_at) END AS invoice,
       COALESCE(payment.payments, '[]') AS payments, COALESCE(another.ids, '{}') AS other_invoices,
       COALESCE(direct.amount, 0)::bigint AS paid_without_intent
FROM stripe_population AS local
JOIN finance_invoices AS invoice ON invoice.id = local.invoice_id AND invoice.firm_id = local.firm_id
JOIN firm_firm AS firm ON firm.id = invoice.firm_id
LEFT JOIN stripe_invoice AS remote ON remote.id = invoice.stripe_invoice_id
LEFT JOIN LATERAL (
    SELECT array_agg(named.id ORDER BY named.id) AS ids FROM stripe_invoice AS named
    WHERE named.invoice_id = invoice.id AND named.firm_id = invoice.firm_id AND named.id <> invoice.stripe_invoice_id
) AS another ON true
LEFT JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object(
               'id', found.id, 'status', found.status, 'currency', found.currency, 'amount', found.amount,
               'received', found.received, 'refunded', found.refunded, 'charged_at', found.charged_at,
               'settles_later', found.settles_later,
               'dispute', COALESCE((SELECT max(status) FROM stripe_dispute WHERE stripe_dispute.payment = found.id), ''))
               ORDER BY found.id) AS payments
    FROM stripe_payment AS found
    WHERE found.id IN (
        SELECT invoice.stripe_payment_intent_id
        UNION ALL
        SELECT link.payment FROM stripe_link AS link
        WHERE link.stripe_invoice = invoice.stripe_invoice_id AND invoice.stripe_invoice_id <> '' AND link.status <> 'canceled'
        UNION ALL
        SELECT named.id FROM stripe_payment AS named
        WHERE named.invoice_id = invoice.id AND named.firm_id = invoice.firm_id
          AND named.status IN ('succeeded', 'processing')
        UNION ALL
        SELECT made.id FROM stripe_link AS link
        JOIN stripe_payment AS made ON made.id = link.payment
        WHERE link.stripe_invoice = ANY(another.ids) AND link.status <> 'canceled'
          AND made.status IN ('succeeded', 'processing'))
) AS payment ON true
LEFT JOIN LATERAL (
    SELECT sum(link.amount) AS amount FROM stripe_link AS link
    WHERE link.stripe_invoice = ANY(another.ids || invoice.stripe_invoice_id)
      AND link.payment IS NULL AND link.status = 'paid'
) AS direct ON true
LEFT JOIN LATERAL (
    SELECT sum(allocation.amount) AS amount
    FROM finance_payment_allocations AS allocation
    JOIN finance_payments AS payment ON payment.id = allocation.payment_id
    WHERE allocation.invoice_id = invoice.id AND allocation.firm_id = invoice.firm_id
      AND payment.status = 'cleared' AND payment.payment_method NOT IN ('stripe', 'credit_card')
) AS other ON true
WHERE local.firm_id = ANY(%(firm_ids)s::bigint[])
ORDER BY invoice.id

-- name: copy_stripe_findings
-- Stage findings from Python.
COPY stripe_finding (kind, subject, firm_id, severity, proposed_action, details) FROM STDIN

-- name: missing_locally
-- Stripe objects whose metadata names an invoice of these firms that does not exist or knows nothing of Stripe: money
-- that moved, and invoices that were sent. Also Stripe invoices that can still be paid, though the invoice refers to
-- another one; what such a second one has received is compared with the invoice.
SELECT found.id, found.firm_id, found.invoice_id, found.status, found.amount, found.currency,
       invoice.id IS NOT NULL AS exists,
       invoice.stripe_invoice_id <> '' OR invoice.stripe_payment_intent_id <> '' AS refers_to_another
FROM (
    SELECT id, firm_id, invoice_id, status, amount, currency, false AS payable FROM stripe_payment
    WHERE status IN ('succeeded', 'processing', 'requires_capture') AND (refunded < received OR received = 0)
    UNION ALL
    SELECT id, firm_id, invoice_id, status, total, currency, status = 'open' FROM stripe_invoice
    WHERE status IN ('open', 'paid')
) AS found
LEFT JOIN finance_invoices AS invoice ON invoice.id = found.invoice_id AND invoice.firm_id = found.firm_id
WHERE found.firm_id = ANY(%(firm_ids)s::bigint[])
  AND (invoice.id IS NULL
       OR (invoice.stripe_invoice_id = '' AND invoice.stripe_payment_intent_id = '')
       OR (found.payable AND invoice.stripe_invoice_id <> found.id
           AND NOT EXISTS (SELECT FROM stripe_link AS link
                           WHERE link.stripe_invoice = found.id AND link.status <> 'canceled'
                             AND link.payment = invoice.stripe_payment_intent_id)))
ORDER BY found.id

-- name: stripe_coverage
-- What became of the listed objects: how many name nothing of ours and are not referred to.
SELECT (SELECT count(*) FROM stripe_invoice AS remote
        WHERE remote.invoice_id IS NULL AND remote.id NOT IN (SELECT stripe_invoice FROM stripe_population)) AS invoices,
       (SELECT count(*) FROM stripe_payment AS remote
        WHERE remote.invoice_id IS NULL AND remote.id NOT IN (SELECT payment FROM stripe_population)
          AND remote.id NOT IN (SELECT payment FROM stripe_link WHERE payment IS NOT NULL)) AS payment_intents

-- name: examined_findings
-- The open findings whose subject this run examined: they are resolved unless they were seen again.
SELECT finding.subject FROM cp_ops.finding AS finding
WHERE finding.command = %(command)s::text AND finding.resolved_at IS NULL
  AND finding.firm_id = ANY(%(firm_ids)s::bigint[])
  AND finding.subject <> ALL(%(moving)s::text[])
  AND (%(everything)s::boolean
       OR finding.subject IN (SELECT 'finance_invoices:' || invoice_id FROM stripe_population)
       OR finding.subject IN (SELECT 'stripe:' || id FROM stripe_payment)
       OR finding.subject IN (SELECT 'stripe:' || id FROM stripe_invoice))
ORDER BY finding.subject

-- name: stripe_finding_changes
-- What the ledger would open and resolve, per kind and firm, with a digest over the subjects.
WITH known AS (
    SELECT kind, firm_id, subject FROM cp_ops.finding
    WHERE command = %(command)s::text AND resolved_at IS NULL AND firm_id = ANY(%(firm_ids)s::bigint[])
), change AS (
    SELECT DISTINCT 'open' AS change, kind, firm_id, subject FROM stripe_finding AS seen
    WHERE NOT EXISTS (SELECT FROM known WHERE (known.kind, known.firm_id, known.subject) = (seen.kind, seen.firm_id, seen.subject))
    UNION ALL
    SELECT 'resolve', kind, firm_id, subject FROM known
    WHERE subject = ANY(%(examined)s::text[])
      AND NOT EXISTS (SELECT FROM stripe_finding AS seen
                      WHERE (known.kind, known.firm_id, known.subject) = (seen.kind, seen.firm_id, seen.subject))
)
SELECT change, kind, firm_id, count(*) AS findings,
       encode(sha256(convert_to(string_agg(subject, ',' ORDER BY subject), 'UTF8')), 'hex') AS subjects_sha256
FROM change GROUP BY change, kind, firm_id ORDER BY change, kind, firm_id

-- name: see_stripe_findings
-- Hand the firms' findings to the ledger.
INSERT INTO seen_finding (kind, subject, firm_id, severity, proposed_action, details)
SELECT kind, subject, firm_id, severity, proposed_action, details
FROM stripe_finding WHERE firm_id = ANY(%(firm_ids)s::bigint[])
