"""Refresh the reporting views, each on its own.

### What it does

The job refreshes `mv_revenue_by_project_month`, `mv_utilization_by_user_week` and `mv_utilization_by_project_month`.
A view that cannot be refreshed stops no other.

The package never redefines a view by itself. The application's `mv_revenue_by_project_month` multiplies its sums, and
none of its views has a unique index. The script include/sql/optional/corrected_views.sql corrects both, when the
owner of the views applies it.

### When it runs

Every day at 05:00 in the time zone of setting `timezone`, and after a finance DAG has changed invoices or payments. A
finance task announces that with the asset `cp_ops_finance_invoices`, only when it wrote something and succeeded.

### Options

`view` empty means all three. `concurrently` says whether readers wait:

| `concurrently` | What happens |
|---|---|
| never | A plain refresh. Readers wait for as long as it takes. |
| always | A concurrent refresh. No reader waits. It is an error where it is not possible. |
| auto | Concurrently where that is possible and pays, else plain. The log and the outcome say which way was taken and why. |

A concurrent refresh is possible where the view is populated and has a unique index on plain columns. It compares old
rows with new ones, and every row is new, because each row holds the time of its refresh. Up to 50,000 rows (setting
`views_concurrently_max_rows`) that costs next to nothing. Beyond, it takes several times as long as a plain refresh.
`auto` goes by the rows that the last refresh of the view wrote.

### What it reports

- Each refresh is a row of `finance_mv_refresh_log` with its rows, duration and error. Its `triggered_by` is
  scheduled, manual, or event (after a finance DAG).
- Rows that dead runs left marked running are closed as failed, once no session holds or awaits the lock of a refresh.
- A lock that is not free within 10 seconds fails that view, because readers would queue behind a refresh that waits.
  Airflow retries the task.
- No audit events are written, because the views belong to no firm.

A view is a failed row, before anything is touched, in these cases:

- The view is missing.
- The role may not refresh it. The owner and members of the owner's role may. From PostgreSQL 17, roles with the
  privilege MAINTAIN may, too.
- The role may not count its rows, which needs SELECT.
- Row-level security would empty or filter the view, because a refresh reads with the rights of the view's owner.

### Trigger it

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
