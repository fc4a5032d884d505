"""The pure parts of the erasure: plan, blockers, the approval's text, which columns go by which key."""

from __future__ import annotations

import dataclasses

import pytest

from cp_ops.privacy.erasure.identifiers import Identifiers
from cp_ops.privacy.erasure.needles import addresses_in_text
from cp_ops.privacy.erasure.plan import (
    ColumnChange,
    ErasureBlockedError,
    KeptColumn,
    PreviewCounts,
    TableChanges,
    approval_text,
    grouped_columns,
    plan_erasure,
    require_unblocked,
)
from cp_ops.privacy.personal_data import Erasure

CHANGE = TableChanges(
    "clients_contact", ("",), 1, "d1", (ColumnChange("email", Erasure.PSEUDONYMISE, "identity", 1), ColumnChange("notes", Erasure.ERASE, "free_text", 0))
)  # fmt: skip
FOUND = PreviewCounts(
    [CHANGE],
    [KeptColumn("finance_invoices", "line_items", "ledger", 3)],
    mails=2,
    objects=4,
    blockers={"legal hold": 0},
)


def plan(found=FOUND):
    return plan_erasure(found, firm_id=7, subject="contact:17")


def test_every_kind_of_effect_is_an_action_and_what_stays_is_a_skip_with_its_reason():
    found = plan()
    assert [(action.kind, action.target, action.rows) for action in found.actions] == [
        ("erase", "clients_contact", 1),
        ("forget_mails", "cp_ops.mail", 2),
        ("delete_objects", "objects", 4),
    ]
    assert [(skip.target, skip.reason, skip.rows) for skip in found.skips] == [
        ("finance_invoices.line_items", "kept: ledger", 3)
    ]


def test_nothing_left_to_erase_is_an_empty_plan():
    assert plan(PreviewCounts([], [], 0, 0, {})).actions == ()


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "d2"},
        {"rows": 2},
        {
            "columns": (
                ColumnChange("email", Erasure.PSEUDONYMISE, "identity", 1),
                ColumnChange("notes", Erasure.ERASE, "free_text", 1),
            )
        },
        {"columns": (ColumnChange("email", Erasure.ERASE, "identity", 1),)},
    ],
)
def test_other_rows_or_other_treatments_are_another_plan(change):
    changed = dataclasses.replace(FOUND, changes=[dataclasses.replace(CHANGE, **change)])
    assert plan(changed).sha256 != plan().sha256


def test_the_same_findings_are_the_same_plan_whatever_their_order():
    other = dataclasses.replace(CHANGE, table="crm_leads")
    one = plan(dataclasses.replace(FOUND, changes=[CHANGE, other]))
    two = plan(dataclasses.replace(FOUND, changes=[other, CHANGE]))
    assert one.sha256 == two.sha256


def test_blockers_are_all_named_with_their_counts():
    with pytest.raises(ErasureBlockedError, match=r"legal hold \(2\), open invoices \(1\)"):
        require_unblocked({"legal hold": 2, "active projects": 0, "open invoices": 1})
    require_unblocked({"legal hold": 0})


def test_the_approval_shows_what_happens_why_and_the_hash():
    text = approval_text(
        FOUND,
        plan(),
        request_id=789,
        subject="contact:17",
        reasons={"identity": "Names a person.", "ledger": "Law."},
    )
    assert "| clients_contact | email | pseudonymise | 1 | Names a person. |" in text
    assert "| finance_invoices | line_items | **keep** | 3 | Law. |" in text
    assert "| stored files | every version | delete | 4 |" in text
    assert "notes" not in text, "nothing is left there"
    assert f"sha256:{plan().sha256}" in text


def test_a_column_that_is_one_persons_goes_only_where_the_row_names_that_person():
    columns = {"contact_email": ("contact_email",), "subject": ()}
    whole = grouped_columns(columns, {""}, frozenset())
    assert whole == {("",): ["contact_email", "subject"]}
    by_other_key = grouped_columns(columns, {"booked_by_id"}, frozenset())
    assert by_other_key == {("booked_by_id",): ["subject"]}


def test_an_address_alone_does_not_erase_the_rest_of_a_client():
    columns = {"primary_contact_email": ("primary_contact_email",), "street_address": ()}
    groups = grouped_columns(columns, {"primary_contact_email"}, frozenset({"primary_contact_email"}))
    assert groups == {("primary_contact_email",): ["primary_contact_email"]}


def test_a_value_that_mentions_the_person_goes_alone():
    columns = {"event_data": (), "payer": (), "from_number": ("contact_id",)}
    vias, passing = {"event_data", "from_number"}, frozenset({"event_data", "from_number"})
    assert grouped_columns(columns, vias, passing) == {
        ("event_data",): ["event_data"],
        ("from_number",): ["from_number"],
    }
    assert grouped_columns(columns, {"", "event_data"}, passing)[("", "event_data")] == ["event_data"]


def test_identifiers_are_addresses_long_numbers_and_full_names():
    known = Identifiers()
    known.learn({"email": "Q@X.example", "phone": "+1 555 010 7788", "phone_extension": "12", "first_name": "Quentin",
                 "last_name": "Zuckmayer"})  # fmt: skip
    known.learn({"contact_name": "Al Li", "email": "erased-4@erased.invalid", "mobile_phone": None})
    assert known.addresses == {"q@x.example"}
    assert known.phones == {"+1 555 010 7788", "15550107788"}
    assert known.names == {"quentin zuckmayer"}


def test_what_like_takes_for_a_wildcard_is_taken_literally():
    assert addresses_in_text({"a_b%c\\d@x"}).patterns == ["%a\\_b\\%c\\\\d@x%"]
