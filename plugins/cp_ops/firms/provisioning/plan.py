"""What provisioning a firm takes: from what is there to a plan. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.firms import SERVED
from cp_ops.runtime.plan import Action, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cp_ops.firms.provisioning.baseline import Baseline
    from cp_ops.firms.provisioning.options import ProvisionFirmOptions

ADMINISTRATORS = frozenset({"admin", "firm_admin", "owner"})
"""Roles that run a firm."""
COMPARED = ("name", "timezone", "currency", "tier", "max_users", "max_clients", "max_storage_gb")


@dataclass(frozen=True, slots=True)
class ExistingFirm:
    """The firm that has the requested slug."""

    id: int
    name: str
    slug: str
    status: str
    timezone: str
    currency: str
    tier: str
    max_users: int
    max_clients: int
    max_storage_gb: int
    created_by_id: int | None


@dataclass(frozen=True, slots=True)
class Account:
    """An account that has the requested address."""

    id: int
    is_active: bool
    without_password: bool


@dataclass(frozen=True, slots=True)
class Membership:
    """What somebody is in the firm."""

    user_id: int
    role: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class ExistingPipeline:
    """A sales pipeline of the firm."""

    id: int
    name: str
    is_default: bool
    stages: int


@dataclass(frozen=True)
class Existing:
    """What the database holds before provisioning."""

    firm: ExistingFirm | None = None
    slug_of_name: str | None = None
    accounts: tuple[Account, ...] = ()
    memberships: tuple[Membership, ...] = ()
    project_templates: frozenset[str] = frozenset()
    email_templates: frozenset[str] = frozenset()
    retention_policies: frozenset[str] = frozenset()
    pipelines: tuple[ExistingPipeline, ...] = ()
    invitation_open: bool = False
    missing_tables: frozenset[str] = field(default_factory=frozenset)


def plan_provisioning(request: ProvisionFirmOptions, existing: Existing, baseline: Baseline) -> Plan:
    """Plan what is missing, in the order of the steps.

    :raises OptionsError: when the request collides with a firm or an account that is somebody else's.
    """
    account = _account(request, existing)
    if existing.firm is not None:
        _require_own(existing.firm, existing, account)
    elif existing.slug_of_name is not None:
        raise OptionsError(
            "name",
            f"another firm, {existing.slug_of_name}, has this name",
            "Choose another name, or that firm's slug",
        )
    return Plan.of(_items(request, existing, account, baseline))


def _account(request: ProvisionFirmOptions, existing: Existing) -> Account | None:
    """Find the administrator's account, if it may be used."""
    if not existing.accounts:
        return None
    if len(existing.accounts) > 1:
        raise OptionsError(
            "admin_email",
            f"{len(existing.accounts)} accounts have this address",
            "Clear that up in the application first",
        )
    account = existing.accounts[0]
    ours = _lost_its_only_administrator(existing, account) or any(
        member.user_id == account.id for member in existing.memberships
    )
    if existing.firm is None and not request.adopt_existing_user:
        raise OptionsError(
            "admin_email",
            f"an account with this address exists already (auth_user {account.id})",
            "If that is the person meant, set adopt_existing_user",
        )
    if not ours and request.admin_password_ref is not None:
        raise OptionsError(
            "admin_password_ref",
            "the account exists already, and a run never changes an account's password",
            "Leave it empty",
        )
    if not account.is_active:
        raise OptionsError(
            "admin_email",
            f"the account (auth_user {account.id}) is deactivated",
            "Reactivate it in the application first",
        )
    return account


def _require_own(firm: ExistingFirm, existing: Existing, account: Account | None) -> None:
    """Let only a firm's own administrator repair it."""
    if firm.status not in SERVED:
        raise OptionsError("slug", f"the firm of this slug (firm {firm.id}) is {firm.status}")
    own = {member.user_id: member for member in existing.memberships}.get(account.id) if account else None
    if own is not None and own.is_active and own.role in ADMINISTRATORS:
        return
    if account is not None and _lost_its_only_administrator(existing, account):
        return
    raise OptionsError(
        "slug",
        f"a firm with this slug exists (firm {firm.id}), and the given administrator is not its administrator",
        "Choose another slug, or name that firm's own administrator",
    )


def _lost_its_only_administrator(existing: Existing, account: Account) -> bool:
    """Whether the firm has nobody to run it, and the account, no member of it, is the one that it was made for.

    `created_by_id` alone proves nothing: it may be the platform's operator, or an administrator who was removed. A firm
    that has an active administrator is theirs; a run that broke off leaves none such, as it commits whole or not at all.
    """
    return (
        existing.firm is not None
        and existing.firm.created_by_id == account.id
        and all(member.user_id != account.id for member in existing.memberships)
        and not any(member.is_active and member.role in ADMINISTRATORS for member in existing.memberships)
    )


def _items(
    request: ProvisionFirmOptions, existing: Existing, account: Account | None, baseline: Baseline
) -> Iterator[Action | Skip]:
    firm = existing.firm
    firm_id = firm.id if firm else None
    target = f"firm:{request.slug}"
    if firm is None:
        settings = {name: getattr(request, name) for name in COMPARED}
        yield Action("create_firm", target, f"no firm has the slug {request.slug}", data=settings)
    else:
        yield Skip(target, "the firm is there", firm_id)
        for name in COMPARED:
            if getattr(firm, name) != getattr(request, name):
                yield Skip(target, f"{name} differs from the request: left as it is", firm_id)
    yield from _administrator(request, existing, account, target)
    yield from _missing_baseline(existing, baseline, target)
    without_password = account.without_password if account else request.admin_password_ref is None
    if without_password and request.invite and request.admin_password_ref is None:
        if existing.invitation_open:
            yield Skip(target, "an invitation is open already", firm_id)
        else:
            yield Action("invite", target, "the account has no password", firm_id)


def _administrator(
    request: ProvisionFirmOptions, existing: Existing, account: Account | None, target: str
) -> Iterator[Action | Skip]:
    firm_id = existing.firm.id if existing.firm else None
    if account is None:
        password = "given by reference" if request.admin_password_ref else "none"
        yield Action(
            "create_account",
            target,
            f"nobody has this address; password: {password}",
            firm_id,
            data={"with_password": request.admin_password_ref is not None},
        )
    elif existing.firm is None:
        yield Action("adopt_account", target, "adopt_existing_user is set", data={"user_id": account.id})
    elif request.admin_password_ref is not None:
        yield Skip(target, "the account exists: its password stays as it is", firm_id)
    if account is None or all(member.user_id != account.id for member in existing.memberships):
        yield Action("create_membership", target, "the account is not the firm's administrator yet", firm_id)


def _missing_baseline(existing: Existing, baseline: Baseline, target: str) -> Iterator[Action | Skip]:
    firm_id = existing.firm.id if existing.firm else None
    wanted: dict[str, list[str]] = {
        "project_templates": [entry.template_code for entry in baseline.project_templates],
        "email_templates": [entry.name for entry in baseline.email_templates],
        "retention_policies": [str(entry.data_type) for entry in baseline.retention_policies],
    }
    for kind, keys in wanted.items():
        if kind in existing.missing_tables:
            yield Skip(target, f"this deployment has no table for {kind}", firm_id, len(keys))
            continue
        missing = [key for key in keys if key not in getattr(existing, kind)]
        if missing:
            yield Action(
                f"create_{kind}",
                target,
                "missing: " + ", ".join(missing),
                firm_id,
                len(missing),
                {"keys": "\n".join(missing)},
            )
    yield from _pipeline(existing, baseline, target)


def _pipeline(existing: Existing, baseline: Baseline, target: str) -> Iterator[Action]:
    """Plan a default pipeline with stages; one that the firm has made its own is left alone."""
    firm_id = existing.firm.id if existing.firm else None
    wanted = baseline.pipeline
    stages = len(wanted.stages)
    own = next((pipeline for pipeline in existing.pipelines if pipeline.is_default), None) or next(
        (pipeline for pipeline in existing.pipelines if pipeline.name == wanted.name), None
    )
    if own is None:
        yield Action("create_pipeline", target, "no default pipeline", firm_id, 1 + stages)
    elif not own.stages:
        yield Action(
            "create_stages",
            target,
            f"pipeline {own.id} has no stages",
            firm_id,
            stages,
            {"pipeline_id": own.id},
        )
