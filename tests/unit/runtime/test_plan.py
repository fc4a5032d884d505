"""A plan: actions with reasons, a hash that says whether two plans are the same, caps, batches, a table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.runtime.errors import CapExceededError, PlanChangedError
from cp_ops.runtime.plan import UNHASHED, Action, Payload, Plan, Skip

actions = st.builds(
    Action,
    kind=st.sampled_from(["mark", "close", "send"]),
    target=st.builds("crm_deals:{}".format, st.integers(1, 30)),
    reason=st.text(max_size=20),
    firm_id=st.none() | st.integers(1, 3),
    rows=st.integers(1, 9),
    data=st.dictionaries(
        st.sampled_from("abc"), st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    ),
)


def action(number: int = 1, **columns) -> Action:
    return Action(
        **{"kind": "mark", "target": f"crm_deals:{number}", "reason": "idle", "firm_id": 1} | columns
    )


@given(plan=st.lists(actions, max_size=8), data=st.data())
def test_the_hash_does_not_depend_on_order_or_reasons(plan, data):
    shuffled = data.draw(st.permutations(plan))
    reworded = tuple(replace(one, reason="in other words") for one in shuffled)
    assert Plan(tuple(plan)).sha256 == Plan(reworded).sha256


@given(one=actions, other=actions)
def test_the_hash_tells_different_actions_apart(one, other):
    def parts(it: Action) -> str:
        return repr((it.kind, it.target, it.firm_id, it.rows, sorted(it.data.items(), key=repr)))

    assert (Plan((one,)).sha256 == Plan((other,)).sha256) == (parts(one) == parts(other))


@pytest.mark.parametrize(
    "changed", [{"kind": "close"}, {"number": 2}, {"firm_id": 2}, {"rows": 2}, {"data": {"days": 30}}]
)
def test_every_part_of_an_action_but_its_reason_changes_the_hash(changed):
    assert Plan((action(),)).sha256 != Plan((action(**changed),)).sha256


def test_a_twice_planned_action_is_another_plan_than_once():
    assert Plan((action(), action())).sha256 != Plan((action(),)).sha256


def test_what_a_planner_yields_is_sorted_into_actions_and_skips():
    plan = Plan.of([action(1, rows=3), Skip("crm_deals:2", "locked", 1), action(3, rows=4)])
    assert [one.target for one in plan.actions] == ["crm_deals:1", "crm_deals:3"]
    assert [skip.target for skip in plan.skips] == ["crm_deals:2"]
    assert plan.rows == 7


def test_an_approved_plan_is_recognised_with_and_without_prefix():
    plan = Plan((action(),))
    for approved in (None, "", plan.sha256, f"sha256:{plan.sha256}"):
        plan.require(approved)
    with pytest.raises(PlanChangedError, match=f"plan is now sha256:{plan.sha256}, approved was sha256:00ff"):
        plan.require("sha256:00ff")


def test_a_cap_counts_rows_and_says_how_to_raise_it():
    plan = Plan((action(1, rows=60), action(2, rows=41)))
    plan.cap("[cp_ops] most", 101)
    with pytest.raises(CapExceededError) as stopped:
        plan.cap("[cp_ops] most", 100, advice="Check days")
    assert str(stopped.value) == (
        "the plan covers 101 rows, more than [cp_ops] most=100 allows; nothing was done. Check days; "
        "if it is right, raise [cp_ops] most to at least 101"
    )


def test_a_cap_can_count_one_kind_only():
    plan = Plan((action(1, rows=60), action(2, kind="close", rows=41)))
    plan.cap("most", 60, kind="mark")
    with pytest.raises(CapExceededError, match="covers 60 rows"):
        plan.cap("most", 59, kind="mark")


@given(plan=st.lists(actions, max_size=40), size=st.integers(1, 7))
def test_batches_keep_every_action_in_order_and_never_mix_kinds_or_firms(plan, size):
    batches = list(Plan(tuple(plan)).batches(size))
    assert [one for _, _, batch in batches for one in batch] == plan
    for kind, firm_id, batch in batches:
        assert 1 <= len(batch) <= size
        assert {(one.kind, one.firm_id) for one in batch} == {(kind, firm_id)}


def test_the_table_counts_and_names_the_first_actions():
    plan = Plan((*(action(n, rows=2) for n in range(25)), action(90, kind="close", firm_id=None)))
    lines = plan.table(limit=20).splitlines()
    assert lines[0].split() == ["action", "firm", "rows"]
    assert [line.split() for line in lines[1:3]] == [["close", "-", "1"], ["mark", "1", "50"]]
    assert lines[3] == "  mark crm_deals:0: idle"
    assert lines[-1] == "  ... and 6 more actions"
    assert Plan().table() == "nothing to do"


@dataclass(frozen=True, slots=True, eq=False)
class Charge(Payload):
    """A payload as jobs declare them."""

    invoice: int
    currency: str
    row: object = field(default=None, metadata=UNHASHED)


@dataclass(frozen=True, slots=True, eq=False)
class Other(Payload):
    """Another kind's payload."""

    invoice: int


def test_a_payload_is_hashed_as_the_mapping_of_its_fields():
    charge = Charge(7, "EUR", row=object())
    assert dict(charge) == {"invoice": 7, "currency": "EUR"}
    assert charge == {"invoice": 7, "currency": "EUR"}
    mapping = Action("charge", "finance_invoices:7", "due", 1, 1, {"currency": "EUR", "invoice": 7})
    assert Action("charge", "finance_invoices:7", "due", 1, 1, charge).canonical() == mapping.canonical()


def test_a_payload_is_read_back_as_the_type_that_the_planner_gave_it():
    charge = Charge(7, "EUR")
    action = Action("charge", "finance_invoices:7", "due", data=charge)
    assert action.payload(Charge) is charge
    with pytest.raises(TypeError, match="charge finance_invoices:7 carries Charge, not Other"):
        action.payload(Other)
