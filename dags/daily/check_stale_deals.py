"""Mark deals without activity as stale, and alert their owners and teams.

### What it does

The job covers the open deals of every active or trial firm. A deal is open while it is active and neither won nor
lost. Days are those of the firm's time zone.

| The deal | What follows |
|---|---|
| is without activity for at least the threshold | It is marked as stale and has one open alert of type `stale`. |
| is active again | The mark is removed and that alert closes. |
| closes within 7 days, or should have closed | It has one open alert of type `close_date`. |
| has got a later close date | That alert closes. |
| is won, lost or not active any more | Both alerts close. |

The days without activity count from the last activity, or from the deal's creation when there was none.

Rules for alerts:

- An acknowledged alert is still open.
- An alert that a person dismissed is not opened again for the same reason.
- An alert that the job closed is opened again when the reason comes back. Such an alert has the time of its closing
  in `auto_dismiss_date`, which tells it from an alert that a person dismissed.
- Recipients are the deal's active owner and team members. If there are none, the firm's active admins get the alert.

| Priority | `stale`: days past the threshold | `close_date` |
|---|---|---|
| low | up to 7 | 4 to 7 days left |
| medium | up to 30 | 0 to 3 days left |
| high | up to 60 | overdue by up to 14 days |
| urgent | more | overdue by more |

### When it runs

Every day at 10:00 in the time zone of setting `timezone`.

### Options

- The threshold is `days` if given, else the deal's own, else 30.
- Setting `stale_deals_max_changes` caps the marks and unmarks of one run, over all its firms. A larger plan stops
  before the first change.

### What it reports

A deal that somebody changes while the run is under way is left alone and counted as `changed meanwhile`. The next run
checks it again. An alert that would reach nobody is opened and counted with that reason.

### Trigger it

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
