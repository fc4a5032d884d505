"""Refresh the reporting views, each on its own.

The views are mv_revenue_by_project_month, mv_utilization_by_user_week and mv_utilization_by_project_month, all or only
`view`. Runs daily, and whenever a finance DAG has changed invoices or payments: those tasks announce the asset
cp_ops_finance_invoices when they wrote something and succeeded, and only then. Each refresh is a row of finance_mv_refresh_log with its
rows, duration and error; triggered_by is scheduled, manual, or event after a finance DAG. Rows that dead runs left
marked running are closed as failed once no session holds or awaits the lock of a refresh.

`concurrently` says whether readers wait. A plain refresh locks them out for as long as it takes; a concurrent one does
not, but compares old rows with new ones, and every row is new, as each holds the time of its refresh. `auto`
refreshes concurrently where a unique index on plain columns exists, the view is populated, and its last refresh wrote
at most [cp_ops] views_concurrently_max_rows (50,000): up to there the comparison costs next to nothing, beyond it
several times the plain refresh. The way taken and why are in the log and the outcome. A lock that is not free within 10 seconds is a failure of
that view, which the task's retry tries again: readers would queue behind a refresh that waits.

A view that is missing, that the role may not refresh (it takes the owner, a member of the owner's role or, from PostgreSQL
17, the privilege MAINTAIN), or that row-level security would empty or filter, as a refresh reads with the rights of
the view's owner, is a failed row before anything is touched; the other views are refreshed. No audit events are written:
the views belong to no firm, their log is the application's own.

The application's mv_revenue_by_project_month multiplies its sums, and no view has a unique index. The package never
redefines a view by itself: include/sql/optional/corrected_views.sql does, when the views' owner applies it.

    airflow dags trigger refresh_materialized_views --conf '{"view": "mv_utilization_by_user_week", "concurrently": "auto"}'
"""

from __future__ import annotations

from cp_ops.finance.views.options import RefreshMaterializedViewsOptions
from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.finance import INVOICES, RefreshMaterializedViewsOperator

with ops_dag(
    "refresh_materialized_views",
    schedule="0 5 * * *",
    after=[INVOICES],
    options=RefreshMaterializedViewsOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.FINANCE],
):
    RefreshMaterializedViewsOperator(task_id="refresh_materialized_views")
