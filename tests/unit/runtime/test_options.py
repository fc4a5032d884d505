"""Options: checked strictly, and the source of the trigger form."""

from __future__ import annotations

from typing import Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.options import SECRET_LIKE, FirmOptions, JobOptions


class ReportOptions(FirmOptions):
    """One option of every form."""

    kind: Literal["short", "long"] | None = Field(None, title="Kind", description="How much to say")
    only: Literal["this"] | None = Field(None, title="Only")
    limit: int = Field(10, gt=0, le=100, title="At most", description="Most rows, from 1 to 100")
    address: str = Field(
        title="Address", description="Where to send it", json_schema_extra={"personal": True}
    )


GOOD = {"address": "a@example.com"}


@pytest.mark.parametrize(
    ("given_options", "field", "says"),
    [
        ({"firmid": 3}, "firmid", "unknown option. Did you mean firm_id?"),
        (
            {"colour": "red"},
            "colour",
            "unknown option. Known options: dry_run, firm_id, kind, only, limit, address",
        ),
        ({"firm_id": 0}, "firm_id", "input should be greater than 0. Id of one firm"),
        ({"firm_id": "3"}, "firm_id", "input should be a valid integer"),
        ({"firm_id": True}, "firm_id", "input should be a valid integer"),
        ({"limit": 101}, "limit", "input should be less than or equal to 100. Most rows, from 1 to 100"),
        ({"limit": None}, "limit", "input should be a valid integer"),
        ({"dry_run": "false"}, "dry_run", "input should be a valid boolean"),
        ({"kind": "medium"}, "kind", "input should be 'short' or 'long'"),
        ({"address": None}, "address", "input should be a valid string. Where to send it"),
    ],
)
def test_a_wrong_option_is_one_error_that_names_field_problem_and_fix(given_options, field, says):
    with pytest.raises(OptionsError) as refused:
        ReportOptions.parse(GOOD | given_options)
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: {says}")


def test_a_missing_required_option_is_named():
    with pytest.raises(OptionsError, match=r"^address: field required\. Where to send it$"):
        ReportOptions.parse({})


@given(value=st.text(min_size=12) | st.integers(1_000_000) | st.lists(st.text(min_size=5), min_size=1))
def test_an_error_never_repeats_the_value_that_was_given(value):
    """A value may be a secret that somebody pasted into the wrong field."""
    with pytest.raises(OptionsError) as refused:
        ReportOptions.parse(GOOD | {"kind": value})
    assert str(refused.value) == "kind: input should be 'short' or 'long'. How much to say"


def test_options_cannot_be_changed_after_they_were_checked():
    options = ReportOptions.parse(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        options.limit = 5


def test_what_is_recorded_of_a_run_leaves_personal_options_out():
    assert ReportOptions.parse(GOOD | {"firm_id": 4}).recorded() == {
        "dry_run": False,
        "firm_id": 4,
        "kind": None,
        "only": None,
        "limit": 10,
    }


def test_the_forms_fields_come_from_the_model():
    schemas = ReportOptions.param_schemas()
    assert list(schemas) == ["firm_id", "kind", "only", "limit", "address", "dry_run"]
    assert schemas["firm_id"] == {
        "title": "Firm",
        "description": "Id of one firm (firm_firm.id). Empty: every firm whose status is active or trial.",
        "exclusiveMinimum": 0,
        "type": ["null", "integer"],
        "default": None,
    }
    assert (schemas["kind"]["type"], schemas["kind"]["enum"]) == (["null", "string"], [None, "short", "long"])
    assert (schemas["only"]["type"], schemas["only"]["enum"]) == (["null", "string"], [None, "this"])
    assert (schemas["limit"]["type"], schemas["limit"]["default"], schemas["limit"]["maximum"]) == (
        "integer",
        10,
        100,
    )
    assert schemas["dry_run"] == {
        "title": "Dry run",
        "description": JobOptions.model_fields["dry_run"].description,
        "type": "boolean",
        "default": False,
    }
    assert "default" not in schemas["address"]
    assert "personal" not in schemas["address"]


values = st.none() | st.booleans() | st.integers(-5, 120) | st.sampled_from(["short", "long", "this", ""])


@given(name=st.sampled_from(["firm_id", "kind", "only", "limit", "dry_run"]), value=values)
def test_the_form_and_the_model_agree_on_every_value(name, value):
    """What the form accepts the model accepts, and the other way round."""
    schema = ReportOptions.param_schemas()[name]
    by_form = jsonschema.Draft202012Validator(schema).is_valid(value)
    try:
        ReportOptions.parse(GOOD | {name: value})
        by_model = True
    except OptionsError:
        by_model = False
    assert by_form == by_model


@pytest.mark.parametrize(
    "name", ["admin_password", "apiKey", "api_key", "private_pem", "TOKEN", "passphrase"]
)
def test_names_that_would_hold_a_secret_are_recognised(name):
    assert SECRET_LIKE.search(name)


class WithText(JobOptions):
    """A command whose note may be empty."""

    note: str = Field(default="", title="Note", description="May be empty")


def test_a_text_that_may_be_empty_is_not_required_by_the_form():
    """The form does not start a run while a text without null is empty."""
    schema = WithText.param_schemas()["note"]
    assert (schema["type"], schema["default"]) == (["null", "string"], None)
    assert WithText.parse({"note": None}).note == ""
    assert WithText.parse({"note": "x"}).note == "x"
    with pytest.raises(OptionsError, match=r"^dry_run"):
        WithText.parse({"dry_run": None})
