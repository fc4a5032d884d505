"""Provision a firm: tenant, administrator, baseline configuration.

### What it does

The job creates these rows in one transaction, so that afterwards everything is there, or nothing:

- the firm, on trial
- the administrator's account and membership
- three project templates, three mail templates, a default sales pipeline and default retention policies

The same request again verifies the firm and repairs what is missing. It changes nothing else, and sends a new
invitation when the last one ran out unused.

### When it runs

Only by hand.

### Options

**Never put a password into a run.** Airflow keeps the configuration of a run in clear.

| `admin_password_ref` | `invite` | How the administrator gets in |
|---|---|---|
| empty | on | A mail with a link to choose a password. The link works once, for setting `invitation_hours`. |
| empty | off | The account has no password until someone gives it one in the application. |
| id of an Airflow connection | either | The password of that connection, hashed inside the task. The application's password rules apply. |

`adopt_existing_user` makes an account that exists already the administrator of a new firm. Its password stays as it
is.

### What it reports

- A slug that belongs to the firm of another administrator is an error.
- An address that already has an account is an error, unless `adopt_existing_user` is on.
- A value of the firm that differs from the request is left as it is, and the outcome says so.

### Before you start

Settings `frontend_url` and `default_from_email`, for an invitation. Its mail goes through the outbox, so
`cp_ops_deliver_mail` must run.

### Trigger it

    airflow dags trigger provision_firm --conf '{"name": "Acme Consulting", "slug": "acme-consulting", "admin_email": "admin@example.com", "timezone": "America/Los_Angeles"}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.firms.provisioning.options import ProvisionFirmOptions
from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.firms import ProvisionFirmOperator

with ops_dag(
    "provision_firm",
    schedule=None,
    options=ProvisionFirmOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.FIRMS],
    timeout=timedelta(minutes=10),
    allowed_run_types=["manual"],
):
    ProvisionFirmOperator(task_id="provision_firm")
