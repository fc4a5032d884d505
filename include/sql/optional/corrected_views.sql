-- Corrects the application's reporting views. Optional: no job applies it. Run it once as the owner of the views:
--
--     psql --set ON_ERROR_STOP=1 --file include/sql/optional/corrected_views.sql "$CONSULTANTPRO_DSN"
--
-- mv_revenue_by_project_month is defined anew. The application joins a project's invoices, time entries and expenses in one
-- query: each sum is multiplied by the number of rows of the other two, and everything is filed under the month of the
-- invoice. Here each measure is the sum over its own table, by the month of its own date. Columns, types and order are
-- the application's, and so are the indexes; the oldest month of the five years is whole instead of cut at a day.
-- Owner and privileges are carried over. Objects that depend on the view stop the script, which then has changed nothing.
--
-- The two utilization views read one table and are right: they are left as they are.
--
-- All three get the unique index that REFRESH MATERIALIZED VIEW CONCURRENTLY needs, on the columns of their grain.
-- Running the script again does the same again.
BEGIN;

CREATE TEMPORARY TABLE granted ON COMMIT DROP AS
SELECT CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee,
       acl.privilege_type, acl.is_grantable
FROM pg_class AS class, aclexplode(class.relacl) AS acl
WHERE class.oid = to_regclass('mv_revenue_by_project_month') AND acl.grantee <> class.relowner;

CREATE TEMPORARY TABLE owned ON COMMIT DROP AS
SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE oid = to_regclass('mv_revenue_by_project_month');

DROP MATERIALIZED VIEW IF EXISTS mv_revenue_by_project_month;

CREATE MATERIALIZED VIEW mv_revenue_by_project_month AS
WITH span AS (
    SELECT date_trunc('month', current_date - INTERVAL '5 years')::date AS first_day
), measure AS (
    SELECT invoice.project_id,
           date_trunc('month', invoice.issue_date)::date AS month,
           coalesce(sum(invoice.amount_paid) FILTER (WHERE invoice.status IN ('paid', 'partial')), 0) AS total_revenue,
           0::numeric AS labor_cost,
           0::numeric AS expense_cost,
           0::bigint AS team_members,
           0::numeric AS total_hours,
           0::numeric AS billable_hours,
           count(*) AS invoice_count,
           count(*) FILTER (WHERE invoice.status = 'paid') AS paid_invoice_count
    FROM finance_invoices AS invoice, span
    WHERE invoice.project_id IS NOT NULL AND invoice.issue_date >= span.first_day
    GROUP BY 1, 2
    UNION ALL
    SELECT entry.project_id,
           date_trunc('month', entry.date)::date,
           0,
           sum(entry.hours * entry.hourly_rate),
           0,
           count(DISTINCT entry.user_id),
           sum(entry.hours),
           coalesce(sum(entry.hours) FILTER (WHERE entry.is_billable), 0),
           0,
           0
    FROM projects_time_entries AS entry, span
    WHERE entry.date >= span.first_day
    GROUP BY 1, 2
    UNION ALL
    SELECT expense.project_id,
           date_trunc('month', expense.date)::date,
           0,
           0,
           coalesce(sum(expense.amount) FILTER (WHERE expense.status = 'approved'), 0),
           0,
           0,
           0,
           0,
           0
    FROM projects_expenses AS expense, span
    WHERE expense.date >= span.first_day
    GROUP BY 1, 2
)
SELECT project.firm_id,
       project.id AS project_id,
       project.name AS project_name,
       project.project_code,
       project.client_id,
       measure.month,
       sum(measure.total_revenue) AS total_revenue,
       sum(measure.labor_cost) AS labor_cost,
       sum(measure.expense_cost) AS expense_cost,
       sum(measure.labor_cost) * 0.20 AS overhead_cost,
       sum(measure.team_members)::bigint AS team_members,
       sum(measure.total_hours) AS total_hours,
       sum(measure.billable_hours) AS billable_hours,
       sum(measure.invoice_count)::bigint AS invoice_count,
       sum(measure.paid_invoice_count)::bigint AS paid_invoice_count,
       now() AS refreshed_at
FROM measure
JOIN projects_projects AS project ON project.id = measure.project_id
GROUP BY project.id, measure.month;

CREATE UNIQUE INDEX mv_revenue_by_project_month_grain ON mv_revenue_by_project_month (project_id, month);
CREATE INDEX ON mv_revenue_by_project_month (client_id, month DESC);
CREATE INDEX ON mv_revenue_by_project_month (firm_id, month DESC);
CREATE INDEX ON mv_revenue_by_project_month (project_id, month DESC);
CREATE INDEX ON mv_revenue_by_project_month (refreshed_at DESC);

DO $$
DECLARE
    privilege record;
    former record;
BEGIN
    FOR privilege IN SELECT * FROM granted LOOP
        EXECUTE format(
            'GRANT %s ON mv_revenue_by_project_month TO %s%s',
            privilege.privilege_type, privilege.grantee, CASE WHEN privilege.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
        );
    END LOOP;
    FOR former IN SELECT owner FROM owned WHERE owner <> current_user LOOP
        EXECUTE format('ALTER MATERIALIZED VIEW mv_revenue_by_project_month OWNER TO %I', former.owner);
    END LOOP;
END
$$;

CREATE UNIQUE INDEX IF NOT EXISTS mv_utilization_by_user_week_grain
    ON mv_utilization_by_user_week (firm_id, user_id, week_start);
CREATE UNIQUE INDEX IF NOT EXISTS mv_utilization_by_project_month_grain
    ON mv_utilization_by_project_month (project_id, month);

COMMIT;
