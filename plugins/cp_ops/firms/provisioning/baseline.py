"""What a newly provisioned firm starts with: `include/firm_baseline.yaml`, checked."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cp_ops.firms.provisioning.steps import BaselineSet
from cp_ops.runtime.errors import CpOpsError
from cp_ops.runtime.statements import INCLUDE
from cp_ops.runtime.validation import first_problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BASELINE_FILE = INCLUDE / "firm_baseline.yaml"


class BaselineError(CpOpsError):
    """The baseline file is wrong: nothing was read or written."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def columns(self) -> dict[str, Any]:
        """Give the entry's columns as JSON."""
        return self.model_dump(mode="json")


class KeyedEntry(_Entry):
    """An entry of a set that a repair completes: what of it is missing is told by its key."""

    @property
    def key(self) -> str:
        """What a firm has at most one row of."""
        raise NotImplementedError


class ProjectTemplate(KeyedEntry):
    """A row of projects_templates."""

    template_code: str = Field(min_length=1, max_length=50)
    template_name: str = Field(min_length=1, max_length=255)
    description: str = ""
    category: str = Field(max_length=100)
    default_billing_type: Literal["fixed_price", "time_and_materials", "retainer", "non_billable"]
    default_duration_days: int | None = Field(default=None, ge=1)
    template_milestones: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def key(self) -> str:
        """The template's code."""
        return self.template_code


class EmailTemplate(KeyedEntry):
    """A row of marketing_email_templates."""

    name: str = Field(min_length=1, max_length=255)
    description: str = ""
    template_type: Literal["campaign", "transactional", "nurture", "announcement", "newsletter", "custom"]
    subject_line: str = Field(min_length=1, max_length=500)
    preheader_text: str = Field(default="", max_length=200)
    html_content: str
    plain_text_content: str
    available_merge_fields: list[str] = Field(default_factory=list)

    @property
    def key(self) -> str:
        """The template's name."""
        return self.name


class Stage(_Entry):
    """A row of crm_pipeline_stages."""

    name: str = Field(min_length=1, max_length=100)
    probability: int = Field(ge=0, le=100)
    is_closed_won: bool = False
    is_closed_lost: bool = False


class Pipeline(_Entry):
    """A row of crm_pipelines and its stages, in their order."""

    name: str = Field(min_length=1, max_length=255)
    description: str = ""
    stages: list[Stage] = Field(min_length=1)


class RetentionPolicy(KeyedEntry):
    """A row of core_retention_policies."""

    data_type: Literal[
        "audit_logs",
        "documents",
        "invoices",
        "projects",
        "time_entries",
        "communications",
        "email_artifacts",
        "support_tickets",
        "leads",
        "prospects",
    ]
    retention_days: int = Field(ge=0)
    action: Literal["archive", "anonymize", "delete"]
    only_if_inactive: bool = False

    @property
    def key(self) -> str:
        """The data that it is about."""
        return self.data_type


class Baseline(_Entry):
    """Everything that a firm starts with."""

    project_templates: list[ProjectTemplate]
    email_templates: list[EmailTemplate]
    pipeline: Pipeline
    retention_policies: list[RetentionPolicy]

    def entries(self, name: BaselineSet) -> Sequence[KeyedEntry]:
        """Give the entries of a set."""
        sets: dict[BaselineSet, Sequence[KeyedEntry]] = {
            BaselineSet.PROJECT_TEMPLATES: self.project_templates,
            BaselineSet.EMAIL_TEMPLATES: self.email_templates,
            BaselineSet.RETENTION_POLICIES: self.retention_policies,
        }
        return sets[name]


@cache
def load_baseline(path: Path = BASELINE_FILE) -> Baseline:
    """Read and check the baseline, once per process and file.

    :raises BaselineError: naming what is wrong with it.
    """
    try:
        return Baseline.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problem = first_problem(error)
        raise BaselineError(f"{path.name}: {problem.path}: {problem.message}") from None
