"""Before anything is written: what is missing is named with the job, the table and the column."""

from __future__ import annotations

import pytest

from cp_ops.crm.stale_deals.job import CheckStaleDeals
from cp_ops.runtime.database import transaction
from cp_ops.runtime.errors import PreflightError, StatementFailedError
from cp_ops.runtime.preflight import Table
from tests.integration.scripted_job import ScriptedJob


@pytest.fixture
def refused(runner, written):
    """The preflight's message, checked to have come before the first write."""

    def message(job=None, via=None):
        before = written()
        with pytest.raises(PreflightError) as stopped:
            (via or runner)(job or CheckStaleDeals())
        assert written() == before
        return str(stopped.value)

    return message


def test_a_missing_table(refused, owner):
    owner.execute("DROP TABLE crm_deal_alert_recipients")
    assert refused() == (
        "check_stale_deals cannot run on this database: table crm_deal_alert_recipients is missing"
    )


def test_a_missing_column(refused, owner):
    owner.execute("ALTER TABLE crm_deals DROP COLUMN is_stale")
    assert refused() == "check_stale_deals cannot run on this database: column crm_deals.is_stale is missing"


def test_a_missing_privilege(refused, owner):
    owner.execute("REVOKE UPDATE, INSERT ON crm_deal_alert FROM cp_ops")
    assert refused() == (
        "check_stale_deals cannot run on this database: role cp_ops lacks INSERT, UPDATE on crm_deal_alert"
    )


def test_a_table_that_the_role_may_not_read_at_all(refused, owner):
    owner.execute("REVOKE ALL ON firm_membership FROM cp_ops")
    assert refused().endswith(": role cp_ops lacks SELECT on firm_membership")


def test_everything_that_is_wrong_is_said_at_once(refused, owner):
    owner.execute("DROP TABLE crm_deal_alert_recipients")
    owner.execute("ALTER TABLE crm_deals DROP COLUMN is_stale")
    owner.execute("REVOKE UPDATE ON crm_deal_alert FROM cp_ops")
    assert refused().split(": ", 1)[1] == (
        "table crm_deal_alert_recipients is missing; column crm_deals.is_stale is missing; "
        "role cp_ops lacks UPDATE on crm_deal_alert"
    )


def test_what_every_run_uses_is_checked_for_every_job(refused, owner):
    owner.execute("REVOKE INSERT ON firm_audit_events FROM cp_ops")
    assert refused(ScriptedJob()).endswith(": role cp_ops lacks INSERT on firm_audit_events")


def test_an_optional_table_may_be_missing_but_not_half_there(runner, owner, refused):
    class Optional(ScriptedJob):
        needs = (Table("esignature_webhook_events", ("id", "no_such_column"), optional=True),)

    assert refused(Optional()).endswith(": column esignature_webhook_events.no_such_column is missing")
    owner.execute("DROP TABLE esignature_webhook_events")
    had = []
    runner(Optional(lambda run: had.append(run.session.has("esignature_webhook_events"))))
    assert had == [False]


@pytest.mark.parametrize(
    "policy",
    [
        "DROP POLICY firm_isolation ON crm_deals",
        "ALTER POLICY firm_isolation ON crm_deals USING (firm_id = current_setting('other.firm', true)::bigint)",
    ],
)
def test_a_policy_that_would_hide_rows_in_silence_is_refused(
    refused, enable_row_level_security, owner, policy
):
    under_policy = enable_row_level_security()
    owner.execute(policy)
    assert refused(via=under_policy) == (
        "check_stale_deals cannot run on this database: row-level security hides rows of crm_deals from role "
        "cp_ops_rls, and its policy does not follow app.current_firm_id: give the role BYPASSRLS"
    )


def test_the_session_knows_whether_a_policy_applies_to_its_role(
    runner, world, enable_row_level_security, app_db
):
    world.firm()
    guarded = []

    def script(run):
        guarded.append((run.session.role, run.session.guarded, len(run.tenants([1, 2, 3]))))

    runner(ScriptedJob(script))
    under_policy = enable_row_level_security()
    runner(ScriptedJob(script))
    under_policy(ScriptedJob(script))
    assert guarded == [("cp_ops", False, 1), ("cp_ops", False, 1), ("cp_ops_rls", True, 3)]


def test_under_a_policy_a_transaction_sees_its_firm_only_and_none_without(world, enable_row_level_security):
    firms = [world.firm() for _ in range(2)]
    for firm in firms:
        firm.deal()
    under_policy = enable_row_level_security()
    seen = []

    def script(run):
        def visible(tx):
            seen.append([row[0] for row in tx.connection.execute("SELECT firm_id FROM crm_deals ORDER BY 1")])

        for tenant in run.tenants([firm.id for firm in firms]):
            with run.read(tenant) as tx:
                visible(tx)
        with run.read() as tx:
            visible(tx)

    under_policy(ScriptedJob(script))
    assert seen == [[firms[0].id], [firms[1].id], []]


def test_a_read_transaction_cannot_write(runner, world):
    world.firm()

    def script(run):
        with (
            run.read() as tx,
            pytest.raises(StatementFailedError, match="ReadOnlySqlTransaction"),
            transaction(tx.connection),
        ):
            tx.connection.execute("UPDATE firm_firm SET notes = 'x'")

    runner(ScriptedJob(script))
