"""Retention policies, erasure requests and audit events."""

from __future__ import annotations

from typing import Any

from sandbox.world.clients import Client, Contact, Engagement, User
from sandbox.world.documents import Document
from sandbox.world.rows import Record

_SCOPES: dict[type[Record], tuple[str, str]] = {
    Contact: ("contact", "clients.Contact"),
    Client: ("account", "clients.Client"),
    Document: ("document", "documents.Document"),
    Engagement: ("engagement", "clients.ClientEngagement"),
}


class RetentionPolicy(Record):
    """core_retention_policies."""

    table = "core_retention_policies"


class ErasureRequest(Record):
    """core_erasure_request."""

    table = "core_erasure_request"


class PrivacyOfFirm(Record):
    """What a firm keeps, and whom it forgets."""

    def retention_policy(
        self, data_type: str, days: int, *, action: str = "delete", **columns: Any
    ) -> RetentionPolicy:
        """Insert an active policy."""
        key = self.insert(
            "core_retention_policies", data_type=data_type, retention_days=days, action=action, **columns
        )
        return RetentionPolicy(self.world, key, self.scope)

    def erasure_request(
        self,
        subject: Contact | Client | Document | Engagement,
        *,
        requested_by: User | None = None,
        approved_by: User | None = None,
        **columns: Any,
    ) -> ErasureRequest:
        """Insert a request over the subject: approved if somebody approved it, else pending."""
        scope_type, model = _SCOPES[type(subject)]
        defaults = {
            "status": "approved" if approved_by else "pending",
            "legal_basis": "gdpr_article_17",
            "request_reason": "The person asked for it in writing.",
            "requested_by_id": requested_by.id if requested_by else None,
            "approved_by_id": approved_by.id if approved_by else None,
            "approved_at": self.world.now if approved_by else None,
        }
        key = self.insert(
            "core_erasure_request",
            scope_type=scope_type,
            scope_entity_id=str(subject.id),
            scope_entity_model=model,
            **defaults | columns,
        )
        return ErasureRequest(self.world, key, self.scope)

    def audit_event(
        self, action: str = "client.updated", *, category: str = "SYSTEM", age_days: float = 0, **columns: Any
    ) -> int:
        """Insert an audit event and return its id."""
        return int(
            self.insert(
                "firm_audit_events",
                action=action,
                category=category,
                **{"timestamp": self.world.ago(days=age_days)} | columns,
            )
        )
