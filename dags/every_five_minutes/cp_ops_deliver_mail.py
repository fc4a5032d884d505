"""Deliver the mails that jobs put into the outbox.

Jobs decide to mail and write the mail's row in one transaction; this DAG hands the rows to the mail server of
connection `smtp_default`, a batch of 100 per connection, one recipient per mail, from `[cp_ops] default_from_email` as it
is set then. A temporary refusal is tried again after 5 and 15 minutes, 1, 4 and 12 hours, then given up; a permanent
refusal of the recipient or the content is given up at once. What was given up is a finding and fails the task;
`redeliver` takes up what was given up within 30 days, and the finding is resolved once the mail is sent. Addresses and
texts are removed `[cp_ops] mail_retention_days` after sending or giving up.

A server that asks for a log-in or TLS, or refuses the sender, stops the run and fails the task: every mail stays due, and
is sent once the setting is corrected.

A mail is never sent twice, with one exception that SMTP leaves open: a worker killed between the server's acceptance
and the row's commit sends that mail again, under the same Message-ID.

    airflow dags trigger cp_ops_deliver_mail --conf '{"redeliver": true}'
"""

from __future__ import annotations

from cp_ops.mail.delivery.options import DeliverMailOptions
from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.mail import DeliverMailOperator

with ops_dag(
    "cp_ops_deliver_mail",
    schedule="*/5 * * * *",
    options=DeliverMailOptions,
    doc_md=__doc__,
    tags=[Tag.SYSTEM, Tag.MAIL],
):
    DeliverMailOperator(task_id="cp_ops_deliver_mail")
