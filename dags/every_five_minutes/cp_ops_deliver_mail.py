"""Deliver the mails that jobs put into the outbox.

### What it does

A job writes a mail into the outbox in the transaction that decides on it. This DAG hands the mails to the mail
server, 100 per SMTP connection and one recipient per mail. The From address is setting `default_from_email` as it is
at sending.

| The mail server | What follows |
|---|---|
| accepts the mail | The mail is sent. |
| refuses recipient or content for now, or loses the connection | The mail is tried again after 5 and 15 minutes, then after 1, 4 and 12 hours. Then it is given up. |
| refuses recipient or content for good | The mail is given up at once. |
| asks for a log-in or TLS, or refuses the sender for good | The run stops and the task fails. Every mail stays due, and is sent once the setting is corrected. |
| cannot be reached, or refuses the sender for now | Every mail stays due. The task is retried. |

Address and text of a mail are removed setting `mail_retention_days` (30) after it was sent or given up.

A mail can arrive twice in two cases, both times under the same Message-ID. Either the worker is killed between the
server's acceptance and the commit of the row, or the connection breaks before the server's acceptance arrives.

### When it runs

Every five minutes.

### Options

`redeliver` sends mails again that were given up within the last 30 days and whose text is still kept. Such a mail has
all its attempts again.

### What it reports

A mail that is given up is a finding and a failed row, and the task fails. The finding is resolved once the mail is
sent.

### Before you start

Connection `smtp_default` and setting `default_from_email`.

### Trigger it

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
