"""Execute an approved erasure request: preview, a person's approval, erasure, proof.

Works on requests in status approved that somebody else than the requester has approved, over a contact, an account, a
document or an engagement. The preview shows, per table and column, what is erased, pseudonymised or kept with the legal
reason; counts only, never values. Legal holds, open invoices, active engagements or projects and a retainer balance
stop the run. So does an address or a number of the person in a place that the erasure does not reach, such as a note
about somebody else: it is removed in the application first. A dry run ends there.

Then the run waits, up to three days, for a person to approve that very plan under *Required Actions*; without an answer
it is rejected. If the data changes in the meantime, nothing is done and a new run is needed. `confirm` off asks nobody.
A legal hold that is set while the run is under way stops it before the next document.

Ledger amounts, dates and the audit trail's structure stay, and so does a client whose contact is erased; stored files go
with all their versions. Provider events, the audit trail and the firm's stored mails lose the values that hold an
address or a number of the person. A mail in the outbox to the person is never sent; one to somebody else is, and loses
its text only if it was sent already and names the person's address. Afterwards every text and JSON column of the firm
is searched for the person's addresses and numbers: anything left is an error that says where, and the request stays
open. A run that was stopped is taken up by the next one; the result on the request counts what all of them erased,
under the plan that was approved. A second run of a completed request changes nothing.

    airflow dags trigger execute_erasure_request --conf '{"request_id": 789, "dry_run": true}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.erasure import (
    APPROVE,
    PREVIEW,
    ApproveErasureOperator,
    ExecuteErasureOperator,
    PreviewErasureOperator,
)
from cp_ops.privacy.erasure.options import ExecuteErasureRequestOptions

APPROVAL_TIMEOUT = timedelta(days=3)

with ops_dag(
    "execute_erasure_request",
    schedule=None,
    options=ExecuteErasureRequestOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.PRIVACY],
    timeout=timedelta(hours=2),
    waits=APPROVAL_TIMEOUT,
    max_active_runs=16,
    allowed_run_types=["manual"],
):
    (
        PreviewErasureOperator(task_id=PREVIEW)
        >> ApproveErasureOperator(task_id=APPROVE, response_timeout=APPROVAL_TIMEOUT)
        >> ExecuteErasureOperator(task_id="execute")
    )
