"""Deleting: children in order, one firm only."""

from __future__ import annotations

import pytest

from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.retention.coverage import unknown_references
from cp_ops.privacy.retention.covered_tables import COVERED_TABLES, descend
from cp_ops.runtime.database import Transaction
from cp_ops.runtime.errors import (
    RowsFailedError,
)
from cp_ops.runtime.outcome import Outcome
from tests.integration.privacy.any_row import AnyRow
from tests.integration.privacy.dumps import dump
from tests.integration.privacy.retention.retention_world import (
    CASES,
    CHILD,
    DUE,
    IDS,
    count,
    executions,
    job,
    old_lead,
)


@pytest.mark.parametrize(("data_type", "target"), CASES, ids=IDS)
def test_a_row_goes_with_its_children_and_what_only_points_at_it_stays(
    world, owner, runner, data_type, target
):
    firm, other = world.firm(), world.firm()
    keys = {}
    for tenant in (firm, other):
        tenant.retention_policy(data_type, 30)
        any_row = AnyRow(owner, tenant.id)
        key = any_row(target.table, **DUE[target.table])
        made = {(): key}
        for path, child in sorted(descend(target.children), key=lambda item: len(item[0])):
            exists = owner.execute("SELECT to_regclass(%s) IS NOT NULL", [child.table]).fetchone()[0]
            if exists:
                made[(*path, child)] = any_row(
                    child.table, **{child.column: made[path]} | CHILD.get(child.table, {})
                )
        keys[tenant.id] = made
    theirs = dump(owner, firm_id=other.id)

    option = {"email_artifacts": "emails", "communications": "emails"}.get(data_type, data_type)
    outcome = runner(job(), firm_id=firm.id, data_type=option)

    assert outcome.failed == 0
    assert outcome.done >= 1
    for path, key in keys[firm.id].items():
        table = path[-1].table if path else target.table
        column = "appointment_id" if table == "calendar_appointments" else "id"
        left = count(owner, table, f"{column} = {key}")
        if path and path[-1].stays:
            assert left == 1, table
            assert owner.execute(f"SELECT {path[-1].column} FROM {table} WHERE id = {key}").fetchone() == (
                None,
            )
        else:
            assert left == 0, table
    for path, key in keys[other.id].items():
        assert count(owner, path[-1].table if path else target.table, f"id = {key}") == 1
    assert dump(owner, firm_id=other.id) == theirs


def test_every_key_to_a_row_that_is_deleted_is_known_in_our_schema(runner):
    with runner.connect() as connection:
        catalogue = read_catalogue(
            Transaction(connection, "privacy/retention", Outcome("test", dry_run=True))
        )
    unknown = {
        str(key)
        for targets in COVERED_TABLES.values()
        for target in targets
        for key in unknown_references(target, catalogue)
    }
    assert unknown == set()


def test_a_key_that_is_not_known_stops_its_policy_before_the_first_deletion_and_no_other(
    world, owner, runner
):
    firm = world.firm()
    leads, prospects = firm.retention_policy("leads", 30), firm.retention_policy("prospects", 30)
    old_lead(firm)
    firm.prospect(created_at=world.ago(days=400))
    owner.execute("CREATE TABLE lead_badges (id bigint PRIMARY KEY, lead_id bigint REFERENCES crm_leads)")
    with pytest.raises(RowsFailedError, match=r"lead_badges.lead_id -> crm_leads"):
        runner(job())
    assert (count(owner, "crm_leads"), count(owner, "crm_prospects")) == (1, 0)
    assert [(row[0], row[1], row[5]) for row in executions(owner)] == [
        (leads.id, "failed", 0),
        (prospects.id, "completed", 1),
    ]
