"""What a retention policy covers: the tables behind each data type, and the children that go with a row.

The database has no ON DELETE rules: Django keeps them in the application's models, where no SQL can ask for them. So the
children are listed here. A foreign key that is not listed stops the policy before its first deletion, see
`coverage.unknown_references`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL_BATCH, LARGE_BATCH = 1_000, 2_500
"""Rows of a batch; the large one for rows without children. Nearly every batch then holds its locks for less than 100 ms
(benchmarks/execute_retention_policies.py).
"""


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
class CoveredTable:
    """A table that a policy covers.

    :ivar name: what its rows are called in a plan, an outcome and a log row.
    :ivar age: the column by which a batch is found; an index that begins with it, or with `owner`, makes it quick.
    :ivar rows: the statement that gives the rows before the cutoff, each with what may keep it.
    :ivar anonymise: the statements that take people out of a batch of rows.
    :ivar archive: the statement that archives a batch; '' where the application has no such state.
    :ivar writes_down_objects: the statement that writes down which stored objects go with a batch that is deleted;
        '' where rows have none.
    :ivar also_needs: further tables without which the statements do not run.
    """

    name: str
    table: str
    age: str
    rows: str
    anonymise: tuple[str, ...]
    archive: str = ""
    writes_down_objects: str = ""
    owner: str = "firm_id"
    batch: int = SMALL_BATCH
    children: tuple[Child, ...] = ()
    also_needs: tuple[str, ...] = ()

    @property
    def actions(self) -> frozenset[RetentionAction]:
        """What the application has a way to do with these rows."""
        always = frozenset({RetentionAction.DELETE, RetentionAction.ANONYMIZE})
        return always | {RetentionAction.ARCHIVE} if self.archive else always

    @property
    def tables(self) -> set[str]:
        """Tables without which the statements of this one do not run."""
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

EMAIL_ARTIFACTS = CoveredTable(
    "email_artifacts",
    "email_ingestion_artifacts",
    "sent_at",
    rows="email_artifacts_rows",
    children=(Child("email_ingestion_attachments", "email_artifact_id"),),
    anonymise=("anonymise_email_artifacts",),
    also_needs=("email_ingestion_attachments", "documents_documents"),
)
COMMUNICATIONS = (
    CoveredTable(
        "messages",
        "communications_message",
        "created_at",
        rows="messages_rows",
        children=MESSAGE_CHILDREN,
        anonymise=("anonymise_messages",),
        also_needs=(
            "communications_message_attachment",
            "communications_conversation",
            "documents_documents",
        ),
    ),
    CoveredTable(
        "client_messages",
        "clients_message",
        "created_at",
        rows="client_messages_rows",
        anonymise=("anonymise_client_messages",),
        also_needs=("clients_chat_thread",),
    ),
    CoveredTable(
        "sms_messages",
        "sms_messages",
        "created_at",
        rows="sms_messages_rows",
        children=(Child("sms_webhook_events", "sms_message_id", stays=True),),
        anonymise=("anonymise_sms_messages",),
        also_needs=("sms_conversations",),
    ),
)
COVERED_TABLES: dict[str, tuple[CoveredTable, ...]] = {
    "emails": (EMAIL_ARTIFACTS,),
    "email_artifacts": (EMAIL_ARTIFACTS,),
    "communications": COMMUNICATIONS,
    "documents": (
        CoveredTable(
            "documents",
            "documents_documents",
            "created_at",
            rows="documents_rows",
            children=DOCUMENT_CHILDREN,
            archive="archive_documents",
            writes_down_objects="intend_object_deletions",
            anonymise=("anonymise_documents",),
            also_needs=("documents_locks", "documents_versions"),
        ),
    ),
    "audit_logs": (
        CoveredTable(
            "audit_logs",
            "firm_audit_events",
            "timestamp",
            rows="audit_logs_rows",
            batch=LARGE_BATCH,
            anonymise=("anonymise_audit_logs",),
        ),
    ),
    "invoices": (
        CoveredTable(
            "invoices",
            "finance_invoices",
            "issue_date",
            rows="invoices_rows",
            children=INVOICE_CHILDREN,
            anonymise=("anonymise_invoices",),
        ),
    ),
    "projects": (
        CoveredTable(
            "projects",
            "projects_projects",
            "end_date",
            rows="projects_rows",
            children=PROJECT_CHILDREN,
            anonymise=("anonymise_projects",),
            also_needs=("projects_time_entries", "projects_expenses", "documents_documents"),
        ),
    ),
    "time_entries": (
        CoveredTable(
            "time_entries",
            "projects_time_entries",
            "date",
            rows="time_entries_rows",
            owner="project_id",
            batch=LARGE_BATCH,
            anonymise=("anonymise_time_entries",),
            also_needs=("projects_projects",),
        ),
    ),
    "leads": (
        CoveredTable(
            "leads",
            "crm_leads",
            "created_at",
            rows="leads_rows",
            children=LEAD_CHILDREN,
            anonymise=("anonymise_leads",),
        ),
    ),
    "prospects": (
        CoveredTable(
            "prospects",
            "crm_prospects",
            "created_at",
            rows="prospects_rows",
            children=PROSPECT_CHILDREN,
            anonymise=("anonymise_prospects",),
        ),
    ),
    "support_tickets": (
        CoveredTable(
            "support_tickets",
            "support_tickets",
            "closed_at",
            rows="support_tickets_rows",
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
"""Policy data type to the tables that it covers; `webhooks` and `sessions` have rows of their own kind."""


def descend(
    children: tuple[Child, ...], path: tuple[Child, ...] = ()
) -> Iterator[tuple[tuple[Child, ...], Child]]:
    """Give every child with the path to it, grandchildren before their parents: the order of deletion."""
    for child in children:
        if not child.stays:
            yield from descend(child.children, (*path, child))
        yield path, child
