"""What a request names: a contact, an account, a document or an engagement of a firm."""

from __future__ import annotations

from dataclasses import dataclass

SCOPES = {
    "contact": "clients_contact",
    "account": "clients_client",
    "document": "documents_documents",
    "engagement": "clients_engagement",
}
"""Per scope of a request the table of its entity."""


@dataclass(frozen=True)
class Subject:
    """What is to be erased."""

    firm_id: int
    scope_type: str
    entity_id: int

    def __str__(self) -> str:
        return f"{self.scope_type}:{self.entity_id}"
