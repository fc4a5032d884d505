"""What a request names: a contact, an account, a document or an engagement of a firm. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class ScopeType(StrEnum):
    """The four kinds of entities that a request may be about (`core_erasure_request.scope_type`)."""

    CONTACT = "contact"
    ACCOUNT = "account"
    DOCUMENT = "document"
    ENGAGEMENT = "engagement"


class EntityTable(NamedTuple):
    """Where a kind of entity is: its table, and the statement that finds it in its firm only."""

    table: str
    of_firm: str


ENTITY_TABLES = {
    ScopeType.CONTACT: EntityTable("clients_contact", "contact_of_firm"),
    ScopeType.ACCOUNT: EntityTable("clients_client", "account_of_firm"),
    ScopeType.DOCUMENT: EntityTable("documents_documents", "document_of_firm"),
    ScopeType.ENGAGEMENT: EntityTable("clients_engagement", "engagement_of_firm"),
}


@dataclass(frozen=True, slots=True)
class RequestedEntity:
    """What is to be erased; as text ``contact:17``."""

    firm_id: int
    scope_type: ScopeType
    entity_id: int

    def __str__(self) -> str:
        return f"{self.scope_type}:{self.entity_id}"
