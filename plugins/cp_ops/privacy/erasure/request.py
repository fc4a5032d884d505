"""A request for erasure: found, and looked at whether it may be executed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cp_ops.privacy.erasure.entity import ENTITY_TABLES, RequestedEntity, ScopeType
from cp_ops.runtime.errors import OptionsError

if TYPE_CHECKING:
    from datetime import datetime

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.job import JobRun


class RequestStatus(StrEnum):
    """The statuses of `core_erasure_request` that decide here; every other one is refused."""

    APPROVED = "approved"
    EXECUTING = "executing"
    FAILED = "failed"
    COMPLETED = "completed"


BEGUN_STATUSES = (RequestStatus.EXECUTING, RequestStatus.FAILED)


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """The request, as far as it decides."""

    id: int
    firm_id: int
    status: str
    scope_type: str
    entity_id: str
    requested_by_id: int | None
    approved_by_id: int | None
    approved_at: datetime | None

    def entity(self) -> RequestedEntity:
        """Give what is to be erased.

        :raises OptionsError: when the request's scope is not one of the four, or names no id.
        """
        if self.scope_type not in ENTITY_TABLES:
            raise OptionsError("request_id", f"request {self.id} has the unknown scope {self.scope_type!r}")
        # The application stores the id as text: anything but plain digits could mean another row than it seems to.
        if not (self.entity_id.isascii() and self.entity_id.isdigit()):
            raise OptionsError("request_id", f"request {self.id} names no id of a {self.scope_type}")
        return RequestedEntity(self.firm_id, ScopeType(self.scope_type), int(self.entity_id))


def find_request(run: JobRun, request_id: int) -> tuple[ErasureRequest, Tenant]:
    """Find a request and its firm, whatever the firm's status: a suspended firm's people have rights, too.

    :raises OptionsError: when there is no such request.
    """
    # Which firm it belongs to is not known yet, and under row-level security one firm is seen at a time.
    for tenant in run.tenants(run.every_firm()):
        with run.read(tenant) as tx:
            request = tx.one(
                "erasure_request", ErasureRequest, request_id=request_id, firm_ids=list(tenant.firm_ids)
            )
        if request is not None:
            return request, run.tenants([request.firm_id]).of(request.firm_id)
    raise OptionsError(
        "request_id", f"request {request_id} does not exist", "Look up the id in core_erasure_request"
    )


def require_approved(request: ErasureRequest, *, resumable: bool) -> None:
    """Refuse a request that nobody else than the requester has approved.

    :param resumable: an earlier run has begun to execute it.
    :raises OptionsError: saying what is missing.
    """
    begun = resumable and request.status in BEGUN_STATUSES
    if request.status != RequestStatus.APPROVED and not begun:
        raise OptionsError(
            "request_id", f"request {request.id} is {request.status}", "Only an approved request is executed"
        )
    if request.approved_by_id is None or request.approved_at is None:
        raise OptionsError("request_id", f"request {request.id} does not say who approved it, and when")
    if request.approved_by_id == request.requested_by_id:
        raise OptionsError(
            "request_id",
            f"request {request.id} was approved by the person who made it",
            "Somebody else must approve it",
        )
