"""Which retention policies apply and up to which day: decided without a database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.privacy.retention.covered_tables import COVERED_TABLES, Child, RetentionAction, descend
from cp_ops.privacy.retention.plan import RowsByDisposition, TableSurvey, plan_retention
from cp_ops.privacy.retention.policies import (
    AppliedPolicy,
    FirmDay,
    PassedOver,
    Policy,
    assign,
    covered_types,
    decide,
    decide_sessions,
)

TODAY = date(2026, 11, 21)
DAYS = {1: FirmDay(TODAY, "UTC"), 2: FirmDay(TODAY, "America/New_York")}


def policy(data_type="leads", days=30, action="delete", *, firm=1, key=1, last=None):
    return Policy(key, firm, data_type, days, action, only_if_inactive=False, last_executed_at=last)


def only(*policies):
    (found,) = assign(policies, DAYS)
    return found


def test_a_policy_applies_up_to_the_firms_day():
    found = only(policy(days=30))
    assert isinstance(found, AppliedPolicy)
    assert (found.action, found.cutoff_day) == (RetentionAction.DELETE, date(2026, 10, 22))
    assert found.cutoff == datetime(2026, 10, 22, tzinfo=UTC)


def test_the_day_begins_where_the_firm_is():
    assert only(policy(firm=2)).cutoff == datetime(2026, 10, 22, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wrong", "reason", "problem"),
    [
        (policy(days=0), "leads: keep for ever", False),
        (policy(days=-5), "retention_days is -5", True),
        (policy(days=10**9), "leads: keep for ever", False),
        (policy("horoscopes"), "unknown data type horoscopes", False),
        (policy(action="shred"), "action is 'shred'", True),
        (policy(action="archive"), "leads: the application has no way to archive", False),
        (policy("webhooks", action="anonymize"), "webhooks: the application has no way to anonymize", False),
        (policy("sessions", action="archive"), "sessions: the application has no way to archive", False),
    ],
    ids=lambda value: value.data_type if isinstance(value, Policy) else None,
)
def test_a_policy_that_cannot_apply_never_deletes(wrong, reason, problem):
    found = only(wrong)
    assert isinstance(found, PassedOver)
    assert found.reason.startswith(reason)
    assert found.problem is problem


@given(
    st.integers(min_value=-400_000, max_value=400_000), st.sampled_from(sorted({*COVERED_TABLES, "webhooks"}))
)
def test_no_policy_ever_reaches_today_or_the_future(days, data_type):
    found = only(policy(data_type, days))
    if isinstance(found, AppliedPolicy):
        assert found.cutoff_day < TODAY
        assert days >= 1


@given(st.integers(min_value=1, max_value=36_500), st.dates(date(2000, 1, 1), date(2100, 12, 31)))
def test_audit_logs_are_never_younger_than_seven_years(days, today):
    (found,) = assign([policy("audit_logs", days)], {1: FirmDay(today, "UTC")})
    assert found.cutoff_day <= today - timedelta(days=7 * 365 + 1)
    assert found.cutoff_day <= today - timedelta(days=days)


def test_seven_years_before_a_leap_day_is_the_28th():
    (found,) = assign([policy("audit_logs", 1)], {1: FirmDay(date(2028, 2, 29), "UTC")})
    assert found.cutoff_day == date(2021, 2, 28)


def test_webhook_events_are_kept_for_thirty_days_at_least():
    assert only(policy("webhooks", 1)).cutoff_day == TODAY - timedelta(days=30)
    assert only(policy("webhooks", 200)).cutoff_day == TODAY - timedelta(days=200)


def test_emails_means_three_data_types():
    assert covered_types("emails") == ("emails", "email_artifacts", "communications")
    assert covered_types("leads") == ("leads",)
    assert covered_types(None) is None


def test_of_two_policies_over_the_same_rows_the_longer_one_wins():
    short, long = policy("emails", 30, key=1), policy("email_artifacts", 90, key=2)
    found = {item.policy.id: item for item in assign([short, long], DAYS)}
    assert isinstance(found[2], AppliedPolicy)
    assert found[1].reason == "emails: the policy email_artifacts covers the same rows and keeps longer"


def test_keeping_for_ever_is_longer_than_any_number_of_days():
    found = {
        item.policy.id: item
        for item in assign([policy("emails", 30), policy("email_artifacts", 0, key=2)], DAYS)
    }
    assert all(isinstance(item, PassedOver) for item in found.values())


def test_another_firms_policy_is_no_rival():
    found = list(assign([policy("emails", 30), policy("email_artifacts", 90, key=2, firm=2)], DAYS))
    assert all(isinstance(item, AppliedPolicy) for item in found)


def test_the_policy_that_waited_longest_comes_first():
    waited = policy("leads", key=1, last=datetime(2026, 1, 1, tzinfo=UTC))
    recent = policy("prospects", key=2, last=datetime(2026, 11, 1, tzinfo=UTC))
    never = policy("documents", key=3)
    assert [item.policy.id for item in assign([recent, waited, never], DAYS)] == [3, 1, 2]


# -- sessions --------------------------------------------------------------------------------------------------------


def sessions(*policies):
    return decide_sessions(assign(policies, DAYS))


def test_the_longest_retention_of_sessions_wins():
    winner, others = sessions(policy("sessions", 10), policy("sessions", 40, key=2, firm=2))
    assert winner.policy.id == 2
    assert [item.policy.id for item in others] == [1]


@pytest.mark.parametrize("veto", [0, -1])
def test_a_firm_that_keeps_sessions_for_ever_or_is_wrong_keeps_everybodys(veto):
    winner, others = sessions(policy("sessions", 10), policy("sessions", veto, key=2, firm=2))
    assert winner is None
    assert len(others) == 2


def test_without_a_policy_no_session_goes():
    assert sessions() == (None, [])


def test_a_firm_without_a_known_day_fails_alone_and_keeps_everybodys_sessions():
    undated = {3: "firm 3: time zone 'Mars' is not known; correct it"}
    policies = [
        policy("leads", key=1),
        policy("leads", key=2, firm=3),
        policy("sessions", key=3),
        policy("sessions", key=4, firm=3),
    ]
    decided = {item.policy.id: item for item in decide(policies, DAYS, undated, {1, 2, 3})}
    assert isinstance(decided[1], AppliedPolicy)
    assert {key: (item.reason, item.problem) for key, item in decided.items() if key in (2, 4)} == {
        2: (undated[3], True),
        4: (undated[3], True),
    }
    assert decided[3].reason == "sessions: a firm keeps them for ever, and a session belongs to no firm"


def test_a_run_for_one_firm_hears_every_firm_about_sessions_and_decides_for_its_own_only():
    policies = [
        policy("sessions", 10, key=1),
        policy("sessions", 40, key=2, firm=2),
        policy(key=3, firm=2),
    ]
    (mine,) = decide(policies, DAYS, {}, {1})
    assert (mine.policy.id, isinstance(mine, PassedOver)) == (1, True)
    assert {
        item.policy.id for item in decide(policies, DAYS, {}, {2}) if isinstance(item, AppliedPolicy)
    } == {
        2,
        3,
    }


# -- plan ------------------------------------------------------------------------------------------------------------


def survey(*verdicts, data_type="leads", days=30):
    return TableSurvey(only(policy(data_type, days)), data_type, verdicts)


def test_the_plan_has_due_rows_with_dates_and_counts_what_is_kept_with_its_reason():
    first, last = datetime(2020, 1, 2, tzinfo=UTC), datetime(2021, 3, 4, tzinfo=UTC)
    plan = plan_retention(
        [
            survey(
                RowsByDisposition("due", 7, first, last),
                RowsByDisposition("legal hold", 2),
                RowsByDisposition("done", 9),
            )
        ]
    )
    (action,) = plan.actions
    assert (action.kind, action.target, action.firm_id, action.rows) == ("delete", "leads:policy:1", 1, 7)
    assert action.reason == "before 2026-10-22, from 2020-01-02 to 2021-03-04"
    assert [(skip.reason, skip.rows) for skip in plan.skips] == [("leads: legal hold", 2)]


def test_nothing_due_is_no_action():
    assert plan_retention([survey(RowsByDisposition("legal hold", 2))]).actions == ()


def test_a_policy_that_was_passed_over_is_a_skip_and_a_wrong_one_is_none():
    plan = plan_retention([], [only(policy(days=0)), only(policy(days=-1))])
    assert [skip.reason for skip in plan.skips] == ["leads: keep for ever (0 days)"]


# -- children --------------------------------------------------------------------------------------------------------


def test_grandchildren_go_before_children_and_what_stays_has_none():
    tree = (Child("b", "a_id", (Child("c", "b_id", (Child("d", "c_id"),)), Child("e", "b_id", stays=True))),)
    assert [child.table for _, child in descend(tree)] == ["d", "c", "e", "b"]


def test_a_detached_child_is_listed_without_children():
    for targets in COVERED_TABLES.values():
        for target in targets:
            for _, child in descend(target.children):
                assert not (child.stays and child.children), child
