"""What becomes of a journaled erasure after a backup was restored."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from cp_ops.privacy.erasure.journal import JournalEntry, JournalState
from cp_ops.privacy.replay.plan import (
    LeftAlone,
    ReplayFinding,
    RestoredEntity,
    decide_replay,
    ends_unknown,
    findings_of,
)
from cp_ops.runtime.plan import Action, Plan

ERASED_AT = datetime(2026, 6, 1, tzinfo=UTC)
DONE = JournalEntry(7, 789, "contact", 17, "0" * 64, ERASED_AT)
BEGUN = dataclasses.replace(DONE, state=JournalState.BEGUN)
OLD, NEW = ERASED_AT - timedelta(days=1), ERASED_AT + timedelta(days=1)
LEFT = Plan((Action("erase", "clients_contact", "email", 7, 3),))


@pytest.mark.parametrize(
    ("entry", "restored", "reason", "finding"),
    [
        (DONE, None, LeftAlone.OTHER_DATABASE, None),
        (DONE, RestoredEntity(None, None, {}), LeftAlone.GONE, None),
        (DONE, RestoredEntity(NEW, None, {}), LeftAlone.REUSED, ReplayFinding.REUSED),
        (BEGUN, RestoredEntity(NEW, None, {}), LeftAlone.REUSED, None),
        (DONE, RestoredEntity(OLD, Plan(), {}), LeftAlone.ERASED, None),
        (BEGUN, RestoredEntity(OLD, LEFT, {}), LeftAlone.END_UNKNOWN, ReplayFinding.END_UNKNOWN),
    ],
)
def test_what_is_left_alone_says_why_and_only_what_a_person_must_judge_is_a_finding(
    entry, restored, reason, finding
):
    decision = decide_replay(entry, restored)
    assert (decision.item.target, decision.item.reason, decision.finding) == ("contact:17", reason, finding)
    assert [one.kind for one in findings_of([decision])] == ([finding] if finding else [])


def test_what_the_backup_brought_back_is_erased_again_and_says_what_forbids_it():
    decision = decide_replay(DONE, RestoredEntity(OLD, LEFT, {"legal hold": 1, "open invoices": 0}))
    assert isinstance(decision.item, Action)
    assert decision.item.reason == (
        "request 789 erased it; a restored backup brought it back; blocked by legal hold (1)"
    )
    assert (decision.item.rows, decision.item.data, decision.plan_sha256) == (
        3,
        {"request": 789},
        LEFT.sha256,
    )


def test_only_what_was_begun_after_it_was_done_and_is_not_under_way_has_an_unknown_end():
    begun_anew = dataclasses.replace(BEGUN, executed_at=NEW)
    assert ends_unknown({BEGUN.key: BEGUN}, {DONE.key: DONE}, set()) == []
    assert ends_unknown({BEGUN.key: begun_anew}, {DONE.key: DONE}, set()) == [begun_anew]
    assert ends_unknown({BEGUN.key: begun_anew}, {DONE.key: DONE}, {BEGUN.key}) == []
    assert ends_unknown({BEGUN.key: BEGUN}, {}, set()) == [BEGUN]
