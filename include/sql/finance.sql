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

-- name: use_utc
-- Read and write times in UTC in this transaction: some deployments keep the refresh log without a time zone.
SELECT set_config('TimeZone', 'UTC', true)

-- name: reporting_views
-- What decides whether and how each view can be refreshed, without waiting for a lock; a refresh reads as the owner.
WITH RECURSIVE wanted AS (
    SELECT name, position, class.oid, class.relkind, class.relowner, class.relispopulated
    FROM unnest(%(views)s::text[]) WITH ORDINALITY AS wanted (name, position)
    LEFT JOIN pg_class AS class ON class.oid = to_regclass(name)
), source (view, relation, reader) AS (
    SELECT wanted.oid, wanted.oid, wanted.relowner FROM wanted WHERE wanted.relkind IN ('m', 'v')
    UNION
    SELECT source.view, depend.refobjid, class.relowner
    FROM source
    JOIN pg_class AS class ON class.oid = source.relation AND class.relkind IN ('m', 'v')
    JOIN pg_rewrite AS rule ON rule.ev_class = class.oid
    JOIN pg_depend AS depend
      ON depend.classid = 'pg_rewrite'::regclass AND depend.objid = rule.oid
     AND depend.refclassid = 'pg_class'::regclass AND depend.refobjid <> class.oid
)
SELECT wanted.name,
       COALESCE(wanted.relkind = 'm', false) AS materialized,
       wanted.oid IS NOT NULL AS present,
       COALESCE(pg_get_userbyid(wanted.relowner), '') AS owner,
       current_user::text AS role,
       wanted.oid IS NOT NULL AND has_table_privilege(wanted.oid, 'SELECT') AS may_read,
       wanted.oid IS NOT NULL AND (
           pg_has_role(wanted.relowner, 'USAGE')
           OR CASE WHEN current_setting('server_version_num')::integer >= 170000
                   THEN has_table_privilege(wanted.oid, 'MAINTAIN') ELSE false END
       ) AS may_refresh,
       COALESCE(wanted.relispopulated, false) AS populated,
       EXISTS (
           SELECT FROM pg_index
           WHERE indrelid = wanted.oid AND indisunique AND indisvalid AND indimmediate
             AND indpred IS NULL AND indexprs IS NULL
       ) AS has_unique_index,
       (
           SELECT log.rows_affected FROM finance_mv_refresh_log AS log
           WHERE log.view_name = wanted.name AND log.refresh_status = 'success'
           ORDER BY log.refresh_started_at DESC
           LIMIT 1
       ) AS rows,
       ARRAY(
           SELECT DISTINCT guarded.relname::text
           FROM source
           JOIN pg_class AS guarded ON guarded.oid = source.relation AND guarded.relrowsecurity
           JOIN pg_roles AS reader ON reader.oid = source.reader AND NOT reader.rolsuper AND NOT reader.rolbypassrls
           WHERE source.view = wanted.oid
             AND (guarded.relforcerowsecurity OR NOT pg_has_role(reader.oid, guarded.relowner, 'USAGE'))
           ORDER BY 1
       ) AS hidden_tables
FROM wanted
ORDER BY wanted.position

-- name: stale_refresh_logs
-- Log rows marked running whose refresh is over: begun a while ago, and no session has or awaits a refresh's lock.
SELECT log.id, log.view_name
FROM finance_mv_refresh_log AS log
WHERE log.view_name = ANY(%(views)s::text[]) AND log.refresh_status = 'running'
  AND log.refresh_started_at < now() - make_interval(secs => %(grace)s)
  AND NOT EXISTS (
      SELECT FROM pg_locks AS lock
      WHERE lock.locktype = 'relation' AND lock.mode IN ('ExclusiveLock', 'AccessExclusiveLock')
        AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND lock.relation IN (SELECT oid FROM pg_class WHERE relname = log.view_name)
  )
ORDER BY log.id

-- name: close_stale_refresh_logs
-- Close log rows of dead runs.
UPDATE finance_mv_refresh_log
SET refresh_status = 'failed', refresh_completed_at = clock_timestamp(), error_message = %(error)s::text
WHERE id = ANY(%(ids)s::bigint[]) AND refresh_status = 'running'

-- name: begin_refresh_log
-- Record that a refresh begins.
INSERT INTO finance_mv_refresh_log
    (view_name, firm_id, refresh_started_at, refresh_completed_at, refresh_status, rows_affected, error_message, triggered_by)
VALUES (%(view)s, NULL, clock_timestamp(), NULL, 'running', NULL, '', %(triggered_by)s)
RETURNING id

-- name: finish_refresh_log
-- Record how a refresh ended.
UPDATE finance_mv_refresh_log
SET refresh_completed_at = clock_timestamp(), refresh_status = %(status)s,
    rows_affected = LEAST(%(rows)s::bigint, 2147483647), error_message = %(error)s::text
WHERE id = %(id)s
RETURNING EXTRACT(epoch FROM refresh_completed_at - refresh_started_at)::float8 AS seconds

-- name: wait_at_most
-- Give up on a lock soon: while a refresh waits for its lock, every reader that comes later waits behind it.
SELECT set_config('lock_timeout', %(seconds)s::text || 's', true)

-- name: refresh_mv_revenue_by_project_month
-- Refresh; readers wait until it is done.
REFRESH MATERIALIZED VIEW mv_revenue_by_project_month

-- name: refresh_mv_revenue_by_project_month_concurrently
-- Refresh; readers see the old rows until it is done.
REFRESH MATERIALIZED VIEW CONCURRENTLY mv_revenue_by_project_month

-- name: count_mv_revenue_by_project_month
-- How many rows the view has.
SELECT count(*) AS rows FROM mv_revenue_by_project_month

-- name: refresh_mv_utilization_by_user_week
-- Refresh; readers wait until it is done.
REFRESH MATERIALIZED VIEW mv_utilization_by_user_week

-- name: refresh_mv_utilization_by_user_week_concurrently
-- Refresh; readers see the old rows until it is done.
REFRESH MATERIALIZED VIEW CONCURRENTLY mv_utilization_by_user_week

-- name: count_mv_utilization_by_user_week
-- How many rows the view has.
SELECT count(*) AS rows FROM mv_utilization_by_user_week

-- name: refresh_mv_utilization_by_project_month
-- Refresh; readers wait until it is done.
REFRESH MATERIALIZED VIEW mv_utilization_by_project_month

-- name: refresh_mv_utilization_by_project_month_concurrently
-- Refresh; readers see the old rows until it is done.
REFRESH MATERIALIZED VIEW CONCURRENTLY mv_utilization_by_project_month

-- name: count_mv_utilization_by_project_month
-- How many rows the view has.
SELECT count(*) AS rows FROM mv_utilization_by_project_month
