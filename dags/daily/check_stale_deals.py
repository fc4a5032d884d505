"""Mark deals without activity as stale, and alert their owners and teams.

Looks at the open deals (active, neither won nor lost) of every active or trial firm. A deal is stale once the days since
its last activity, or since its creation when there was none, reach the threshold: `days`, else the deal's own, else 30.
Days are those of the firm's time zone. A stale deal is marked and gets one open alert of type stale; a deal that is
active again is unmarked and its alert closed. A deal that closes within 7 days, or should have closed, gets one open
alert of type close_date, which closes when the date moves away or the deal closes.

An acknowledged alert is still the open one, and an alert that a person dismissed is not opened again for the same
reason. One that the command closed is, when the reason comes back: it carries the time as its `auto_dismiss_date`, by
which the two are told apart. Recipients are the deal's active owner and team members, else the firm's active admins.
Priority of a stale alert, by days past the threshold: up to 7 low, up to 30 medium, up to 60 high, more urgent. Of a
close-date alert: 4 to 7 days left low, 0 to 3 medium, overdue by up to 14 days high, by more urgent.

A deal that somebody changes while the run is under way is left alone and counted as `changed meanwhile`; the next run
looks at it again. More marks and unmarks than [cp_ops] stale_deals_max_changes stop the run before the first.

    airflow dags trigger check_stale_deals --conf '{"firm_id": 1, "days": 45, "dry_run": true}'
"""

from __future__ import annotations

from cp_ops.crm.stale_deals.options import CheckStaleDealsOptions
from cp_ops.operators.crm import CheckStaleDealsOperator
from cp_ops.operators.dags import Tag, ops_dag

with ops_dag(
    "check_stale_deals",
    schedule="0 10 * * *",
    options=CheckStaleDealsOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.CRM],
):
    CheckStaleDealsOperator(task_id="check_stale_deals")
