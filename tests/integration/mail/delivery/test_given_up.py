"""What was given up, and is taken up again on request."""

from __future__ import annotations

import pytest

from cp_ops.hooks.mail import SmtpServer
from cp_ops.mail.delivery.job import DeliverMail
from cp_ops.mail.delivery.sending import POLICY
from cp_ops.runtime.errors import (
    RemoteRefusedError,
    RowsFailedError,
)
from tests.integration.mail.delivery.conftest import later

SPACING = POLICY.spacing
GIVEN_UP_WITHIN = POLICY.given_up_within


@pytest.fixture
def given_up(start_relay, runner, enqueue):
    """A relay that has refused the contents of one mail of two, and takes everything from now on."""
    relay = start_relay()
    relay.replies["b@client.example"] = "554 5.7.1 looks like spam"
    enqueue("a@client.example", "b@client.example")
    with pytest.raises(
        RowsFailedError, match=r"^1 rows failed, 1 done: cp_ops\.mail:2: mail refused .* code 554$"
    ):
        runner(DeliverMail(SmtpServer()))
    relay.replies.clear()
    return relay


def test_what_was_given_up_is_sent_on_request_and_its_finding_is_resolved(
    runner, given_up, mails, findings, written
):
    assert findings() == [("cp_ops.mail:2", True)]
    assert runner(DeliverMail(SmtpServer())).planned == 0
    preview = runner(DeliverMail(SmtpServer()), redeliver=True, dry_run=True)
    assert (preview.planned, mails()[1]["state"]) == (1, "failed")
    outcome = runner(DeliverMail(SmtpServer()), redeliver=True)
    assert (outcome.done, outcome.findings.resolved, outcome.plan_sha256) == (1, 1, preview.plan_sha256)
    assert given_up.recipients == ["a@client.example", "b@client.example"]
    row = mails()[1]
    assert (row["state"], row["attempts"], row["last_error"]) == ("sent", 1, "")
    assert findings() == [("cp_ops.mail:2", False)]
    before = written()
    assert runner(DeliverMail(SmtpServer()), redeliver=True).planned == 0
    assert {table for table, rows in written().items() if rows != before[table]} <= {"cp_ops.job_run"}


def test_the_finding_of_a_firms_mail_is_resolved_too_also_under_row_level_security(
    world, start_relay, enqueue, findings, enable_row_level_security
):
    firm, other = world.firm(), world.firm()
    enqueue("a@client.example", firm_id=firm.id)
    enqueue("b@client.example", firm_id=other.id)
    under_policy = enable_row_level_security()
    relay = start_relay()
    relay.replies["DATA"] = "554 5.6.0 no"
    with pytest.raises(RowsFailedError, match=r"^2 rows failed"):
        under_policy(DeliverMail(SmtpServer()))
    assert findings() == [("cp_ops.mail:1", True), ("cp_ops.mail:2", True)]
    relay.replies.clear()
    relay.replies["a@client.example"] = "554 5.6.0 no"
    with pytest.raises(RowsFailedError, match=r"^1 rows failed, 1 done"):
        under_policy(DeliverMail(SmtpServer()), redeliver=True)
    assert findings() == [("cp_ops.mail:1", True), ("cp_ops.mail:2", False)]


def test_what_is_taken_up_again_and_refused_for_now_is_tried_like_a_new_mail(
    runner, given_up, mails, findings
):
    given_up.replies["b@client.example"] = "451 4.7.1 later"
    assert runner(DeliverMail(SmtpServer()), redeliver=True).skip_reasons == {
        "deferred by the mail server": 1
    }
    assert (mails()[1]["state"], mails()[1]["attempts"]) == ("pending", 1)
    assert findings() == [("cp_ops.mail:2", True)], "not delivered yet"
    given_up.replies.clear()
    runner.now = later(SPACING[0] + 30)
    assert runner(DeliverMail(SmtpServer())).done == 1
    assert findings() == [("cp_ops.mail:2", False)]


def test_a_run_that_the_server_stops_leaves_what_was_given_up_due(runner, given_up, mails):
    given_up.replies["MAIL"] = "530 5.7.0 Authentication required"
    with pytest.raises(RemoteRefusedError, match="code 530"):
        runner(DeliverMail(SmtpServer()), redeliver=True)
    assert (mails()[1]["state"], mails()[1]["attempts"]) == ("pending", 0)
    given_up.replies.clear()
    assert runner(DeliverMail(SmtpServer())).done == 1


def test_what_was_given_up_long_ago_or_is_forgotten_is_not_taken_up(runner, given_up, mails):
    keeping = runner.with_settings(mail_retention_days=400)
    keeping.now = later(GIVEN_UP_WITHIN.total_seconds() + 60)
    assert keeping(DeliverMail(SmtpServer()), redeliver=True).planned == 0
    keeping.now = later(GIVEN_UP_WITHIN.total_seconds() - 60)
    assert keeping(DeliverMail(SmtpServer()), redeliver=True, dry_run=True).planned == 1
    forgetful = runner.with_settings(mail_retention_days=7)
    forgetful.now = later(8 * 86_400)
    forgetful(DeliverMail(SmtpServer()))
    assert mails()[1]["forgotten_at"] is not None
    assert forgetful(DeliverMail(SmtpServer()), redeliver=True).planned == 0
    assert given_up.recipients == ["a@client.example"]


def test_the_time_of_a_mail_that_was_given_up_counts_from_giving_it_up(runner, start_relay, enqueue, mails):
    """A mail that waited for its server longer than the retention can still be taken up again."""
    relay = start_relay()
    enqueue("a@client.example")
    with runner.connect() as connection:
        connection.execute("UPDATE cp_ops.mail SET due_at = now() - interval '90 days'")
    relay.replies["DATA"] = "554 5.6.0 no"
    with pytest.raises(RowsFailedError):
        runner(DeliverMail(SmtpServer()))
    relay.replies.clear()
    assert runner(DeliverMail(SmtpServer()), redeliver=True).done == 1
    assert relay.recipients == ["a@client.example"]
