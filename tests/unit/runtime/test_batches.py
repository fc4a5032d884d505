"""Batches: cut in order, by tenant, and halved until a refused item stands alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.runtime.batches import apply_or_halve, batched, by_tenant
from cp_ops.runtime.database import Tenant, Tenants
from cp_ops.runtime.errors import DatabaseConflictError, LeaseLostError, StatementFailedError
from cp_ops.runtime.plan import Action


@given(st.lists(st.integers()), st.integers(1, 9))
def test_batches_hold_every_item_in_order_and_none_too_many(items, size):
    batches = list(batched(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(0 < len(batch) <= size for batch in batches)
    assert all(len(batch) == size for batch in batches[:-1])


def test_actions_go_to_the_tenant_of_their_firm_in_the_plans_order():
    actions = [Action("mark", f"deals:{key}", "due", firm) for key, firm in ((1, 7), (2, 7), (3, 8))]
    everybody = Tenants([Tenant((7, 8))])
    assert [(tenant, list(of)) for tenant, of in by_tenant(actions, everybody)] == [(everybody[0], actions)]
    one_by_one = Tenants([Tenant((7,), guard=7), Tenant((8,), guard=8)])
    assert [(tenant.guard, list(of)) for tenant, of in by_tenant(actions, one_by_one)] == [
        (7, actions[:2]),
        (8, actions[2:]),
    ]


class Database:
    """Commits whole batches, and refuses those that hold a bad item."""

    def __init__(self, *bad):
        self.bad, self.tried, self.committed, self.refused = set(bad), [], [], []

    def apply(self, batch):
        self.tried.append(list(batch))
        if self.bad & set(batch):
            raise StatementFailedError("CheckViolation")
        self.committed += batch

    def refuse(self, item, error):
        assert str(error) == "CheckViolation"
        self.refused.append(item)


@given(st.integers(1, 40), st.data())
def test_exactly_the_items_at_fault_are_refused_and_the_others_are_applied_in_order(size, data):
    items = list(range(size))
    bad = data.draw(st.sets(st.sampled_from(items)))
    database = Database(*bad)
    apply_or_halve(items, database.apply, database.refuse)
    assert database.refused == sorted(bad)
    assert database.committed == [item for item in items if item not in bad]


def test_a_batch_that_the_database_takes_is_one_transaction_and_a_bad_item_costs_few_more():
    good, one_bad = Database(), Database(700)
    apply_or_halve(range(1_000), good.apply, good.refuse)
    assert len(good.tried) == 1
    apply_or_halve(range(1_000), one_bad.apply, one_bad.refuse)
    assert len(one_bad.tried) <= 1 + 2 * 10


@pytest.mark.parametrize("error", [LeaseLostError, DatabaseConflictError])
def test_every_other_error_ends_the_work(error):
    tried = []

    def apply(batch):
        tried.append(batch)
        raise error

    with pytest.raises(error):
        apply_or_halve([1, 2, 3, 4], apply, lambda *_: pytest.fail("nothing was refused"))
    assert tried == [[1, 2, 3, 4]]
