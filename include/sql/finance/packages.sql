-- name: package_engagements
-- Current engagements with package pricing, by the firm of their client, with the periods that were invoiced.
SELECT engagement.id,
       client.firm_id,
       engagement.firm_id AS own_firm_id,
       engagement.package_fee,
       engagement.package_fee_schedule,
       engagement.start_date,
       engagement.end_date,
       engagement.actual_end_date,
       COALESCE(invoice.invoiced_from, '{}') AS invoiced_from,
       COALESCE(invoice.invoiced_until, '{}') AS invoiced_until,
       COALESCE(invoice.generated, '{}') AS generated,
       COALESCE(invoice.cancelled, '{}') AS cancelled
FROM clients_engagement AS engagement
JOIN clients_client AS client ON client.id = engagement.client_id
LEFT JOIN LATERAL (
    SELECT array_agg(known.period_start ORDER BY known.period_start) AS invoiced_from,
           array_agg(GREATEST(known.period_start, known.period_end) ORDER BY known.period_start) AS invoiced_until,
           array_agg(known.is_auto_generated ORDER BY known.period_start) AS generated,
           array_agg(known.status = 'cancelled' ORDER BY known.period_start) AS cancelled
    FROM finance_invoices AS known
    WHERE known.engagement_id = engagement.id AND known.period_start IS NOT NULL
) AS invoice ON true
WHERE client.firm_id = ANY(%(firm_ids)s::bigint[])
  AND engagement.status = 'current' AND engagement.pricing_mode IN ('package', 'mixed')
ORDER BY client.firm_id, engagement.id

-- name: taken_invoice_numbers
-- Which of the planned invoice numbers their firms have given to another invoice.
SELECT invoice.firm_id, invoice.invoice_number
FROM unnest(%(firm_ids)s::bigint[], %(numbers)s::text[]) AS planned (firm_id, invoice_number)
JOIN finance_invoices AS invoice
  ON invoice.firm_id = planned.firm_id AND invoice.invoice_number = planned.invoice_number

-- name: insert_package_invoices
-- Issue planned invoices, as the application writes one; what was invoiced or ended meanwhile is left; how many per firm.
WITH due AS (
    SELECT * FROM unnest(
        %(firm_ids)s::bigint[], %(engagement_ids)s::bigint[], %(numbers)s::text[], %(period_starts)s::date[],
        %(period_ends)s::date[], %(amounts)s::numeric[], %(currencies)s::text[], %(issue_dates)s::date[],
        %(due_dates)s::date[], %(next_charges)s::timestamptz[]
    ) AS due (firm_id, engagement_id, number, period_start, period_end, amount, currency, issue_date, due_date,
              next_charge_at)
), issued AS (
    INSERT INTO finance_invoices
        (firm_id, client_id, engagement_id, engagement_override, engagement_override_reason, invoice_number, status,
         subtotal, tax_amount, total_amount, amount_paid, currency, issue_date, due_date, payment_terms, period_start,
         period_end, is_auto_generated, dunning_level, dunning_paused, dunning_pause_reason, payment_failure_reason,
         payment_failure_code, payment_retry_count, stripe_payment_intent_id, line_items, notes, stripe_invoice_id,
         autopay_opt_in, autopay_cadence, autopay_payment_method_id, autopay_next_charge_at, autopay_status,
         created_at, updated_at)
    SELECT client.firm_id, client.id, due.engagement_id, false, '', due.number, 'sent',
           due.amount, 0, due.amount, 0, due.currency, due.issue_date, due.due_date, 'Net 30', due.period_start,
           due.period_end, true, 0, false, '', '',
           '', 0, '',
           jsonb_build_array(jsonb_build_object(
               'description', COALESCE(contract.title, 'Package fee') || ', ' || due.period_start || ' to ' || due.period_end,
               'quantity', 1, 'rate', due.amount::text, 'amount', due.amount::text)),
           '', '',
           client.autopay_enabled, 'due_date',
           CASE WHEN client.autopay_enabled THEN client.autopay_payment_method_id ELSE '' END, due.next_charge_at, 'idle',
           %(now)s::timestamptz, %(now)s::timestamptz
    FROM due
    JOIN clients_engagement AS engagement ON engagement.id = due.engagement_id AND engagement.status = 'current'
    JOIN clients_client AS client ON client.id = engagement.client_id AND client.firm_id = due.firm_id
    LEFT JOIN crm_contracts AS contract ON contract.id = engagement.contract_id AND contract.firm_id = due.firm_id
    ORDER BY due.firm_id, due.engagement_id, due.period_start
    ON CONFLICT DO NOTHING
    RETURNING firm_id
)
SELECT firm_id, count(*) AS invoices FROM issued GROUP BY firm_id ORDER BY firm_id
