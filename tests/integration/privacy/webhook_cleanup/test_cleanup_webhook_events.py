"""cleanup_webhook_events against a real database."""

from __future__ import annotations

import pytest

from cp_ops.privacy.webhook_cleanup.job import CleanupWebhookEvents
from cp_ops.runtime.errors import CapExceededError, OptionsError, RowsFailedError

PROVIDERS = {
    "stripe": "finance_stripe_webhook_events",
    "square": "finance_square_webhook_events",
    "docusign": "esignature_webhook_events",
    "sms": "sms_webhook_events",
}


def events(owner, provider="stripe"):
    return owner.execute(f"SELECT count(*) FROM {PROVIDERS[provider]}").fetchone()[0]


@pytest.fixture
def firm(world):
    """A firm with an old and a young processed event, and an old one that was not processed, of each provider."""
    firm = world.firm()
    for provider in PROVIDERS:
        firm.webhook_event(provider, age_days=200)
        firm.webhook_event(provider, age_days=179)
        firm.webhook_event(provider, age_days=400, processed=False)
    return firm


def test_deletes_old_processed_events_and_keeps_the_rest(runner, owner, firm):
    outcome = runner(CleanupWebhookEvents())

    assert (outcome.planned, outcome.done, outcome.failed) == (4, 4, 0)
    assert outcome.skip_reasons == {f"{provider}: not processed or failed": 1 for provider in PROVIDERS}
    for provider in PROVIDERS:
        assert events(owner, provider) == 2


def test_a_dry_run_plans_the_same_and_writes_only_its_outcome(runner, owner, firm, written):
    before = written()
    preview = runner(CleanupWebhookEvents(), dry_run=True)
    changed = {table for table, rows in written().items() if rows != before.get(table, 0)}

    assert changed == {"cp_ops.job_run"}
    assert preview.done == 0
    assert preview.plan_sha256 == runner(CleanupWebhookEvents()).plan_sha256


def test_the_second_run_writes_only_its_outcome(runner, firm, written):
    runner(CleanupWebhookEvents())
    before = written()
    outcome = runner(CleanupWebhookEvents())

    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}
    assert (outcome.planned, outcome.done) == (0, 0)


def test_a_failed_event_of_docusign_is_kept(runner, owner, world):
    world.firm().webhook_event("docusign", age_days=300, processed=True, error="template gone")
    runner(CleanupWebhookEvents())
    assert events(owner, "docusign") == 1


@pytest.mark.parametrize("days", [0, 1, 29, -5])
def test_fewer_than_thirty_days_are_refused_before_anything_is_read(runner, firm, owner, days):
    """A trap: 0 days deleted everything."""
    with pytest.raises(OptionsError, match=r"^days: input should be greater than or equal to 30"):
        runner(CleanupWebhookEvents(), days=days)
    assert events(owner) == 3


def test_days_and_provider_narrow_the_run(runner, owner, firm):
    runner(CleanupWebhookEvents(), days=30, provider="square")
    assert events(owner, "square") == 1
    assert events(owner, "stripe") == 3


def test_the_cutoff_is_exact_to_the_day(runner, world, owner):
    firm = world.firm()
    firm.webhook_event("sms", age_days=90)
    runner(CleanupWebhookEvents(), days=91)
    assert events(owner, "sms") == 1
    runner(CleanupWebhookEvents(), days=89)
    assert events(owner, "sms") == 0


def test_a_missing_table_is_a_skip_with_a_reason(runner, owner, firm):
    owner.execute("DROP TABLE esignature_webhook_events CASCADE")
    outcome = runner(CleanupWebhookEvents())
    reason = "docusign: this deployment has no table esignature_webhook_events"
    assert outcome.skip_reasons[reason] == 1
    assert outcome.done == 3


def test_more_than_the_cap_stops_before_the_first_deletion(runner, owner, firm):
    capped = runner.with_settings(webhook_cleanup_max_deletes=3)
    with pytest.raises(CapExceededError, match="webhook_cleanup_max_deletes to at least 4"):
        capped(CleanupWebhookEvents())
    assert events(owner) == 3


def test_many_events_go_in_batches_and_none_is_left(runner, owner, world, monkeypatch):
    monkeypatch.setattr("cp_ops.privacy.webhook_cleanup.job.BATCH", 7)
    firm = world.firm()
    for _ in range(25):
        firm.webhook_event("stripe", age_days=200)
        firm.webhook_event("stripe", age_days=200, processed=False)
    assert runner(CleanupWebhookEvents()).done == 25
    assert events(owner) == 25


def test_events_of_every_firm_go_also_under_row_level_security(world, owner, enable_row_level_security):
    for status in ("active", "suspended", "canceled"):
        world.firm(status=status).webhook_event("stripe", age_days=300)
    runner = enable_row_level_security()
    outcome = runner(CleanupWebhookEvents())
    assert outcome.done == 3


def test_one_audit_event_per_firm_tells_what_was_deleted(runner, owner, firm):
    runner(CleanupWebhookEvents())
    rows = owner.execute("SELECT firm_id, category, action, metadata FROM firm_audit_events").fetchall()
    assert [(row[0], row[1], row[2]) for row in rows] == [(firm.id, "PURGE", "cleanup_webhook_events.run")]
    assert rows[0][3]["stripe_deleted"] == 1


def test_a_table_whose_rows_a_deployments_own_table_refers_to_fails_alone(runner, firm, owner):
    """The application's foreign keys are checked at COMMIT, as Django makes them."""
    owner.execute(
        "CREATE TABLE own_extension"
        " (event_id bigint REFERENCES finance_stripe_webhook_events DEFERRABLE INITIALLY DEFERRED)"
    )
    owner.execute("INSERT INTO own_extension SELECT id FROM finance_stripe_webhook_events")
    before = {provider: events(owner, provider) for provider in PROVIDERS}

    with pytest.raises(RowsFailedError, match=r"finance_stripe_webhook_events:firm:\d+: commit: refused"):
        runner(CleanupWebhookEvents())

    assert {provider: before[provider] - events(owner, provider) for provider in PROVIDERS} == {
        "stripe": 0,
        "square": 1,
        "docusign": 1,
        "sms": 1,
    }
    assert (runner.last.failed, runner.last.done) == (1, 3)
    [failure] = runner.last.failures
    assert failure.reason == (
        "commit: refused by the database (ForeignKeyViolation 23503 table own_extension"
        " constraint own_extension_event_id_fkey)"
    )
