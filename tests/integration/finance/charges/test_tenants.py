"""Firms do not mix, and nothing secret or personal leaves the run."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import RowsFailedError
from tests.integration.finance.reconciliation.stripe_world import payer


def test_a_run_for_one_firm_leaves_the_other_as_it_was(charging, stripe, world):
    other = world.firm(timezone="UTC")
    theirs = payer(stripe, other).invoice()
    before = theirs.row()
    charging.payer().invoice()
    charging.run(firm_id=charging.firm.id)
    assert theirs.row() == before
    assert {entry.metadata["firm_id"] for entry in stripe.ledger.charges()} == {str(charging.firm.id)}


def test_under_row_level_security_both_firms_are_charged(
    charging, stripe, world, enable_row_level_security, app_db
):
    mine = charging.payer().invoice()
    theirs = payer(stripe, world.firm(timezone="UTC")).invoice()
    world.isolated = True
    enable_row_level_security()
    charging.dsn = app_db.rls_dsn
    assert charging.run().done == 2
    assert (mine.row()["status"], theirs.row()["status"]) == ("paid", "paid")


def test_a_firm_whose_time_zone_is_unknown_fails_alone(charging, stripe, world):
    payer(stripe, world.firm(timezone="UTC")).invoice()
    charging.firm.update(timezone="Atlantis/Capital")
    with pytest.raises(RowsFailedError, match="Atlantis"):
        charging.run()
    assert len(stripe.ledger) == 1


def test_nothing_secret_or_personal_is_logged_or_recorded(charging, ours, caplog):
    charging.payer(outcomes=("stolen_card",)).invoice()
    with caplog.at_level("DEBUG", logger="cp_ops"):
        charging.run()
    recorded = str(ours.execute("SELECT outcome, options FROM cp_ops.job_run").fetchall())
    for text in (caplog.text, recorded):
        assert "robin@client.example" not in text
        assert "_secret_" not in text
        assert charging.stripe.key not in text
