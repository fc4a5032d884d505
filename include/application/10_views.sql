-- The application's three reporting views, as the application defines them, WITH ITS DEFECT: mv_revenue_by_project_month
-- joins a project's invoices, time entries and expenses in one query, so that each measure is multiplied by the number of
-- rows of the other two tables, and files everything under the month of the invoice. The two utilization views read one
-- source and are right. The indexes are the application's too: none is unique, so that no view can be refreshed
-- CONCURRENTLY.

-- One row per project and month, five years back.
CREATE MATERIALIZED VIEW mv_revenue_by_project_month AS
SELECT
    p.firm_id,
    p.id AS project_id,
    p.name AS project_name,
    p.project_code,
    p.client_id,
    date_trunc('month', coalesce(i.issue_date, te.date, e.date))::date AS month,
    coalesce(sum(i.amount_paid) FILTER (WHERE i.status IN ('paid', 'partial')), 0) AS total_revenue,
    coalesce(sum(te.hours * te.hourly_rate), 0) AS labor_cost,
    coalesce(sum(e.amount) FILTER (WHERE e.status = 'approved'), 0) AS expense_cost,
    coalesce(sum(te.hours * te.hourly_rate), 0) * 0.20 AS overhead_cost,
    count(DISTINCT te.user_id) AS team_members,
    coalesce(sum(te.hours), 0) AS total_hours,
    coalesce(sum(te.hours) FILTER (WHERE te.is_billable), 0) AS billable_hours,
    count(DISTINCT i.id) AS invoice_count,
    count(DISTINCT i.id) FILTER (WHERE i.status = 'paid') AS paid_invoice_count,
    now() AS refreshed_at
FROM projects_projects AS p
LEFT JOIN finance_invoices AS i ON i.project_id = p.id
LEFT JOIN projects_time_entries AS te ON te.project_id = p.id
LEFT JOIN projects_expenses AS e ON e.project_id = p.id
WHERE coalesce(i.issue_date, te.date, e.date) >= current_date - INTERVAL '5 years'
GROUP BY p.id, date_trunc('month', coalesce(i.issue_date, te.date, e.date));

CREATE INDEX ON mv_revenue_by_project_month (client_id, month DESC);
CREATE INDEX ON mv_revenue_by_project_month (firm_id, month DESC);
CREATE INDEX ON mv_revenue_by_project_month (project_id, month DESC);
CREATE INDEX ON mv_revenue_by_project_month (refreshed_at DESC);

-- One row per firm, user and week, three years back.
CREATE MATERIALIZED VIEW mv_utilization_by_user_week AS
SELECT
    p.firm_id,
    te.user_id,
    date_trunc('week', te.date)::date AS week_start,
    sum(te.hours) AS total_hours,
    coalesce(sum(te.hours) FILTER (WHERE te.is_billable), 0) AS billable_hours,
    coalesce(sum(te.hours) FILTER (WHERE NOT te.is_billable), 0) AS non_billable_hours,
    count(DISTINCT te.project_id) AS projects_worked,
    count(DISTINCT te.date) AS days_worked,
    sum(te.hours * te.hourly_rate) AS total_cost,
    coalesce(sum(te.hours * te.hourly_rate) FILTER (WHERE te.is_billable), 0) AS billable_cost,
    now() AS refreshed_at
FROM projects_time_entries AS te
JOIN projects_projects AS p ON p.id = te.project_id
WHERE te.date >= current_date - INTERVAL '3 years'
GROUP BY p.firm_id, te.user_id, date_trunc('week', te.date);

CREATE INDEX ON mv_utilization_by_user_week (firm_id, week_start DESC);
CREATE INDEX ON mv_utilization_by_user_week (user_id, week_start DESC);
CREATE INDEX ON mv_utilization_by_user_week (refreshed_at DESC);

-- One row per project and month, five years back.
CREATE MATERIALIZED VIEW mv_utilization_by_project_month AS
SELECT
    p.firm_id,
    p.id AS project_id,
    p.name AS project_name,
    p.project_code,
    p.client_id,
    date_trunc('month', te.date)::date AS month,
    sum(te.hours) AS total_hours,
    coalesce(sum(te.hours) FILTER (WHERE te.is_billable), 0) AS billable_hours,
    coalesce(sum(te.hours) FILTER (WHERE NOT te.is_billable), 0) AS non_billable_hours,
    count(DISTINCT te.user_id) AS team_members,
    count(DISTINCT te.date) AS days_worked,
    sum(te.hours * te.hourly_rate) AS total_cost,
    coalesce(sum(te.hours * te.hourly_rate) FILTER (WHERE te.is_billable), 0) AS billable_cost,
    count(DISTINCT te.task_id) AS tasks_worked,
    now() AS refreshed_at
FROM projects_time_entries AS te
JOIN projects_projects AS p ON p.id = te.project_id
WHERE te.date >= current_date - INTERVAL '5 years'
GROUP BY p.id, date_trunc('month', te.date);

CREATE INDEX ON mv_utilization_by_project_month (firm_id, month DESC);
CREATE INDEX ON mv_utilization_by_project_month (project_id, month DESC);
CREATE INDEX ON mv_utilization_by_project_month (refreshed_at DESC);
