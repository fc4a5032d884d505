"""Options of a command: one pydantic model that checks them and that the DAG's params are generated from."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.validation import first_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET_LIKE = re.compile(r"password|secret|token|api_?key|private|credential|passphrase", re.IGNORECASE)
"""What a param that would hold a secret is called. A *reference* to one ends in `_ref`."""


class JobOptions(BaseModel):
    """Options that every command has. Unknown options are refused: a typo must not widen a run to every firm."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    dry_run: bool = Field(
        default=False,
        title="Dry run",
        description="Show the plan and change nothing: no row, no mail, no finding, no audit event.",
    )

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """Check the options that a run was given.

        :raises OptionsError: naming the first wrong field, its problem and the fix.
        """
        try:
            return cls.model_validate(
                {k: v for k, v in given.items() if not (v is None and cls._may_be_empty(k))}
            )
        except ValidationError as error:
            raise cls._explain(error) from None

    @classmethod
    def _may_be_empty(cls, name: str) -> bool:
        """Tell whether an option is a text that may be empty: the trigger form gives null for it."""
        return name in cls.model_fields and cls.model_fields[name].default == ""

    def recorded(self) -> dict[str, Any]:
        """Give the options as `cp_ops.job_run` keeps them: without those marked personal, and as JSON."""
        personal = {
            name
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("personal")
        }
        return self.model_dump(mode="json", exclude=personal)

    @classmethod
    def _explain(cls, error: ValidationError) -> OptionsError:
        problem = first_problem(error)
        field = problem.field or "options"
        if problem.kind == "extra_forbidden":
            near = difflib.get_close_matches(field, cls.model_fields, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known options: {', '.join(cls.model_fields)}"
            return OptionsError(field, "unknown option", hint)
        description = cls.model_fields[field].description if field in cls.model_fields else ""
        message = problem.message[:1].lower() + problem.message[1:]
        return OptionsError(field, message, description or "")

    @classmethod
    def param_schemas(cls) -> dict[str, dict[str, Any]]:
        """Give, per option, what Airflow's `Param` takes: default, title, description and JSON schema keywords.

        Required options have no default. Optional ones get ``null`` as first type, which the trigger form understands,
        and so do texts that may be empty.
        """
        schema = cls.model_json_schema()
        order = [*(n for n in cls.model_fields if n != "dry_run"), "dry_run"]
        return {name: _param(name, schema, required=cls.model_fields[name].is_required()) for name in order}


class FirmOptions(JobOptions):
    """Options of a command that works firm by firm."""

    firm_id: int | None = Field(
        default=None,
        gt=0,
        title="Firm",
        description="Id of one firm (firm_firm.id). Empty: every firm whose status is active or trial.",
    )


NOT_A_KEYWORD = frozenset({"type", "default", "title", "description", "const", "personal"})
"""What pydantic says of an alternative and the param says elsewhere, or not at all."""
OF_THE_FORM = frozenset({"examples", "section", "values_display", "format"})
"""What an option says to the trigger form."""


def _param(name: str, schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    prop = dict(schema["properties"][name])
    alternatives = [_resolve(option, schema) for option in prop.pop("anyOf", [])] or [_resolve(prop, schema)]
    types = [option.get("type", "string") for option in alternatives]
    param: dict[str, Any] = {"title": prop.get("title", name), "description": prop.get("description", "")}
    for option, kind in zip(alternatives, types, strict=True):
        if kind != "null":
            param |= _keywords(option)
    param |= {k: v for k, v in prop.items() if k in OF_THE_FORM}
    param["type"] = types[0]
    if "null" in types:
        _admit_empty(param, [kind for kind in types if kind != "null"])
    if not required:
        param["default"] = prop.get("default")
    if param.get("default") == "":
        # The trigger form takes a text without null as required, and does not start a run while it is empty.
        param |= {"default": None, "type": ["null", "string"]}
    return param


def _keywords(option: dict[str, Any]) -> dict[str, Any]:
    """Give an alternative's JSON schema keywords; a literal is an enum of one."""
    keywords = {k: v for k, v in option.items() if k not in NOT_A_KEYWORD}
    if "const" in option:
        keywords.setdefault("enum", [option["const"]])
    return keywords


def _admit_empty(param: dict[str, Any], types: list[str]) -> None:
    """Let the form leave a param empty; null comes first, as the form understands no other order."""
    param["type"] = ["null", *types]
    if "enum" in param:
        param["enum"] = [None, *param["enum"]]
        param.setdefault("values_display", {})["null"] = "(empty)"


def _resolve(option: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in option:
        found: dict[str, Any] = schema["$defs"][option["$ref"].rsplit("/", 1)[1]]
        return {k: v for k, v in found.items() if k in ("type", "enum", "const")}
    return option
