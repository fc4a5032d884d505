"""What a retention policy covers: the tables behind each data type, and the children that go with a row.

The children are the application's own (its on_delete rules stand in for those of the database, which has none). A
foreign key that is not listed here stops the policy before its first deletion: see `unknown_references`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cp_ops.privacy.catalogue import Catalogue, ForeignKey

SMALL_BATCH, LARGE_BATCH = 1_000, 2_500


class RetentionAction(StrEnum):
    """What a policy does; the application's own words."""

    ARCHIVE = "archive"
    ANONYMIZE = "anonymize"
    DELETE = "delete"


@dataclass(frozen=True)
class Child:
    """A foreign key to a row that is deleted: the child goes, too, or is detached and stays."""

    table: str
    column: str
    children: tuple[Child, ...] = ()
    stays: bool = False


@dataclass(frozen=True)
class Target:
    """A table that a policy covers.

    :ivar name: of the statements ``<name>_rows``, ``anonymise_<name>``, ``archive_<name>``.
    :ivar age: the column by which a batch is found; an index that begins with it, or with `owner`, makes it quick.
    :ivar anonymise: the statements that take people out of a batch of rows.
    """

    name: str
    table: str
    age: str
    owner: str = "firm_id"
    batch: int = SMALL_BATCH
    children: tuple[Child, ...] = ()
    actions: frozenset[RetentionAction] = frozenset({RetentionAction.DELETE, RetentionAction.ANONYMIZE})
    anonymise: tuple[str, ...] = ()
    also_needs: tuple[str, ...] = field(default=())

    @property
    def tables(self) -> set[str]:
        """Tables without which the statements of this target do not run."""
        return {self.table, *self.also_needs}


TICKET_CHILDREN = (
    Child("support_ticket_comments", "ticket_id"),
    Child("support_survey_responses", "ticket_id"),
)
SHARE_CHILDREN = (
    Child("documents_share_accesses", "external_share_id"),
    Child("documents_share_permissions", "external_share_id"),
    Child(
        "documents_file_requests",
        "external_share_id",
        (Child("documents_file_request_reminders", "file_request_id"),),
    ),
)
DOCUMENT_CHILDREN = (
    Child("documents_versions", "document_id"),
    Child("documents_locks", "document_id"),
    Child("documents_external_shares", "document_id", SHARE_CHILDREN),
    Child("documents_comments", "document_id"),
    Child("documents_view_logs", "document_id"),
    Child("communications_message_attachment", "document_id"),
    Child("email_ingestion_attachments", "document_id"),
    Child("knowledge_attachments", "document_id"),
    Child("documents_access_logs", "document_id", stays=True),
    Child("email_ingestion_artifacts", "storage_ref_id", stays=True),
    Child("onboarding_tasks", "related_document_id", stays=True),
    Child("onboarding_documents", "document_id", stays=True),
)
INVOICE_CHILDREN = (
    Child("finance_payment_allocations", "invoice_id"),
    Child("finance_payment_failure", "invoice_id"),
    Child(
        "finance_payment_dispute",
        "invoice_id",
        (Child("finance_stripe_webhook_events", "dispute_id", stays=True),),
    ),
    Child("finance_chargeback", "invoice_id"),
    Child("accounting_invoice_sync_mappings", "invoice_id"),
    Child("projects_expenses", "invoice_id", stays=True),
    Child("projects_time_entries", "invoice_id", stays=True),
    Child("finance_ledger_entries", "invoice_id", stays=True),
    Child("finance_credit_ledger", "source_invoice_id", stays=True),
    Child("finance_credit_ledger", "applied_to_invoice_id", stays=True),
    Child("finance_stripe_webhook_events", "invoice_id", stays=True),
    Child("finance_square_webhook_events", "invoice_id", stays=True),
)
PROJECT_CHILDREN = (
    Child("projects_time_entries", "project_id"),
    Child("projects_expenses", "project_id"),
    Child(
        "projects_tasks",
        "project_id",
        (Child("clients_comment", "task_id"), Child("projects_time_entries", "task_id", stays=True)),
    ),
    Child("projects_resource_allocation", "project_id"),
    Child("projects_timeline", "project_id"),
    Child("finance_project_profitability", "project_id"),
    Child("crm_deals", "project_id", stays=True),
    Child("finance_invoices", "project_id", stays=True),
    Child("finance_bills", "project_id", stays=True),
    Child("documents_folders", "project_id", stays=True),
    Child("documents_documents", "project_id", stays=True),
    Child("support_survey_responses", "project_id", stays=True),
)
LEAD_CHILDREN = (
    Child("crm_activities", "lead_id"),
    Child("score_adjustments", "lead_id"),
    Child("crm_prospects", "lead_id", stays=True),
    Child("crm_intake_form_submissions", "lead_id", stays=True),
    Child("sms_conversations", "lead_id", stays=True),
    Child("sms_messages", "lead_id", stays=True),
)
PROPOSAL_CHILDREN = (
    Child("crm_contracts", "proposal_id", stays=True),
    Child("clients_client", "source_proposal_id", stays=True),
)
PROSPECT_CHILDREN = (
    Child("crm_activities", "prospect_id"),
    Child("crm_proposals", "prospect_id", PROPOSAL_CHILDREN),
    Child("crm_intake_form_submissions", "prospect_id", stays=True),
    Child("clients_client", "source_prospect_id", stays=True),
)
MESSAGE_CHILDREN = tuple(
    Child(table, "message_id")
    for table in (
        "communications_message_attachment",
        "communications_message_notification",
        "communications_message_read_receipt",
        "communications_message_revision",
    )
)

EMAIL_ARTIFACTS = Target(
    "email_artifacts",
    "email_ingestion_artifacts",
    "sent_at",
    children=(Child("email_ingestion_attachments", "email_artifact_id"),),
    anonymise=("anonymise_email_artifacts",),
    also_needs=("email_ingestion_attachments", "documents_documents"),
)
COMMUNICATIONS = (
    Target(
        "messages",
        "communications_message",
        "created_at",
        children=MESSAGE_CHILDREN,
        anonymise=("anonymise_messages",),
        also_needs=(
            "communications_message_attachment",
            "communications_conversation",
            "documents_documents",
        ),
    ),
    Target(
        "client_messages",
        "clients_message",
        "created_at",
        anonymise=("anonymise_client_messages",),
        also_needs=("clients_chat_thread",),
    ),
    Target(
        "sms_messages",
        "sms_messages",
        "created_at",
        children=(Child("sms_webhook_events", "sms_message_id", stays=True),),
        anonymise=("anonymise_sms_messages",),
        also_needs=("sms_conversations",),
    ),
)
TARGETS: dict[str, tuple[Target, ...]] = {
    "emails": (EMAIL_ARTIFACTS,),
    "email_artifacts": (EMAIL_ARTIFACTS,),
    "communications": COMMUNICATIONS,
    "documents": (
        Target(
            "documents",
            "documents_documents",
            "created_at",
            children=DOCUMENT_CHILDREN,
            actions=frozenset(RetentionAction),
            anonymise=("anonymise_documents",),
            also_needs=("documents_locks", "documents_versions"),
        ),
    ),
    "audit_logs": (
        Target(
            "audit_logs",
            "firm_audit_events",
            "timestamp",
            batch=LARGE_BATCH,
            anonymise=("anonymise_audit_logs",),
        ),
    ),
    "invoices": (
        Target(
            "invoices",
            "finance_invoices",
            "issue_date",
            children=INVOICE_CHILDREN,
            anonymise=("anonymise_invoices",),
        ),
    ),
    "projects": (
        Target(
            "projects",
            "projects_projects",
            "end_date",
            children=PROJECT_CHILDREN,
            anonymise=("anonymise_projects",),
            also_needs=("projects_time_entries", "projects_expenses", "documents_documents"),
        ),
    ),
    "time_entries": (
        Target(
            "time_entries",
            "projects_time_entries",
            "date",
            owner="project_id",
            batch=LARGE_BATCH,
            anonymise=("anonymise_time_entries",),
            also_needs=("projects_projects",),
        ),
    ),
    "leads": (
        Target("leads", "crm_leads", "created_at", children=LEAD_CHILDREN, anonymise=("anonymise_leads",)),
    ),
    "prospects": (
        Target(
            "prospects",
            "crm_prospects",
            "created_at",
            children=PROSPECT_CHILDREN,
            anonymise=("anonymise_prospects",),
        ),
    ),
    "support_tickets": (
        Target(
            "support_tickets",
            "support_tickets",
            "closed_at",
            children=TICKET_CHILDREN,
            anonymise=(
                "anonymise_ticket_comments",
                "anonymise_ticket_answers",
                "anonymise_support_tickets",
            ),
            also_needs=("support_ticket_comments", "support_survey_responses"),
        ),
    ),
}
"""Policy data type to the tables that it covers; `webhooks` and `sessions` are planned on their own."""


def descend(
    children: tuple[Child, ...], path: tuple[Child, ...] = ()
) -> Iterator[tuple[tuple[Child, ...], Child]]:
    """Give every child with the path to it, grandchildren before their parents: the order of deletion."""
    for child in children:
        if not child.stays:
            yield from descend(child.children, (*path, child))
        yield path, child


def unknown_references(target: Target, catalogue: Catalogue) -> list[ForeignKey]:
    """Give the foreign keys to rows that this target deletes and that it does not list."""
    known = {(child.table, child.column) for _, child in descend(target.children)}
    doomed = {target.table, *(child.table for _, child in descend(target.children) if not child.stays)}
    return [
        key
        for key in catalogue.foreign_keys
        if key.references in doomed and key.table != key.references and (key.table, key.column) not in known
    ]
