"""A request for erasure: found, and looked at whether it may be executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cp_ops.privacy.erasure.subject import SCOPES, Subject
from cp_ops.runtime.errors import OptionsError

if TYPE_CHECKING:
    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.job import JobRun


@dataclass(frozen=True, slots=True)
class Request:
    """The request, as far as it decides."""

    id: int
    firm_id: int
    status: str
    scope_type: str
    entity_id: str
    requested_by_id: int | None
    approved_by_id: int | None
    approved_at: Any

    def subject(self) -> Subject:
        """Give what is to be erased.

        :raises OptionsError: when the request's scope is not one of the four, or names no id.
        """
        if self.scope_type not in SCOPES:
            raise OptionsError("request_id", f"request {self.id} has the unknown scope {self.scope_type!r}")
        if not (self.entity_id.isascii() and self.entity_id.isdigit()):
            raise OptionsError("request_id", f"request {self.id} names no id of a {self.scope_type}")
        return Subject(self.firm_id, self.scope_type, int(self.entity_id))


def find_request(run: JobRun, request_id: int) -> tuple[Request, Tenant]:
    """Find a request and its firm, whatever the firm's status: a suspended firm's people have rights, too.

    :raises OptionsError: when there is no such request.
    """
    for tenant in run.tenants(run.every_firm()):
        with run.read(tenant) as tx:
            request = tx.one(
                "erasure_request", Request, request_id=request_id, firm_ids=list(tenant.firm_ids)
            )
        if request is not None:
            return request, run.tenants([request.firm_id])[0]
    raise OptionsError(
        "request_id", f"request {request_id} does not exist", "Look up the id in core_erasure_request"
    )


def require_approved(request: Request, *, resumable: bool) -> None:
    """Refuse a request that nobody else than the requester has approved.

    :param resumable: an earlier run has begun to execute it.
    :raises OptionsError: saying what is missing.
    """
    begun = resumable and request.status in ("executing", "failed")
    if request.status != "approved" and not begun:
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
