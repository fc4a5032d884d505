"""The steps of provisioning, in the order in which they are taken, and the sets of rows that a firm starts with."""

from __future__ import annotations

from enum import StrEnum


class BaselineSet(StrEnum):
    """A set of rows of the baseline; each row is known by a key of its own within the firm."""

    PROJECT_TEMPLATES = "project_templates"
    EMAIL_TEMPLATES = "email_templates"
    RETENTION_POLICIES = "retention_policies"


class Step(StrEnum):
    """A step, as the plan's action and the application's log name it."""

    CREATE_FIRM = "create_firm"
    CREATE_ACCOUNT = "create_account"
    ADOPT_ACCOUNT = "adopt_account"
    CREATE_MEMBERSHIP = "create_membership"
    CREATE_PROJECT_TEMPLATES = "create_project_templates"
    CREATE_EMAIL_TEMPLATES = "create_email_templates"
    CREATE_RETENTION_POLICIES = "create_retention_policies"
    CREATE_PIPELINE = "create_pipeline"
    CREATE_STAGES = "create_stages"
    INVITE = "invite"


CREATES = {
    BaselineSet.PROJECT_TEMPLATES: Step.CREATE_PROJECT_TEMPLATES,
    BaselineSet.EMAIL_TEMPLATES: Step.CREATE_EMAIL_TEMPLATES,
    BaselineSet.RETENTION_POLICIES: Step.CREATE_RETENTION_POLICIES,
}
"""The step that creates what is missing of a set."""
