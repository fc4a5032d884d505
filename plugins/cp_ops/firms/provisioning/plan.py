"""What provisioning a firm takes: from what is there to a plan. Pure.

A request that names a firm or an account which exists already may be a repair, or a mistake, or somebody's attempt to get
into another firm. So everything here is refused unless the account given is that firm's own administrator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cp_ops.firms.provisioning.actions import (
    AdoptAccount,
    CreateAccount,
    CreateFirm,
    CreateMissing,
    CreateStages,
)
from cp_ops.firms.provisioning.steps import CREATES, BaselineSet, Step
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
class ExistingAccount:
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
    accounts: tuple[ExistingAccount, ...] = ()
    memberships: tuple[Membership, ...] = ()
    project_templates: frozenset[str] = frozenset()
    email_templates: frozenset[str] = frozenset()
    retention_policies: frozenset[str] = frozenset()
    pipelines: tuple[ExistingPipeline, ...] = ()
    invitation_open: bool = False
    missing_tables: frozenset[str] = field(default_factory=frozenset)

    @property
    def firm_id(self) -> int | None:
        """The firm's id, if it is there."""
        return self.firm.id if self.firm else None

    def keys(self, name: BaselineSet) -> frozenset[str]:
        """Give the keys that the firm has of a set."""
        sets = {
            BaselineSet.PROJECT_TEMPLATES: self.project_templates,
            BaselineSet.EMAIL_TEMPLATES: self.email_templates,
            BaselineSet.RETENTION_POLICIES: self.retention_policies,
        }
        return sets[name]

    def is_member(self, account: ExistingAccount) -> bool:
        """Whether an account is the firm's member, active or not."""
        return any(member.user_id == account.id for member in self.memberships)


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


def _account(request: ProvisionFirmOptions, existing: Existing) -> ExistingAccount | None:
    """Find the administrator's account, if it may be used."""
    if not existing.accounts:
        return None
    # Whichever was chosen could be the wrong person, and would run the firm.
    if len(existing.accounts) > 1:
        raise OptionsError(
            "admin_email",
            f"{len(existing.accounts)} accounts have this address",
            "Clear that up in the application first",
        )
    account = existing.accounts[0]
    ours = _lost_its_only_administrator(existing, account) or existing.is_member(account)
    if existing.firm is None and not request.adopt_existing_user:
        raise OptionsError(
            "admin_email",
            f"an account with this address exists already (auth_user {account.id})",
            "If that is the person meant, set adopt_existing_user",
        )
    # Taking a password for an account that is there would let whoever provisions log in as somebody else.
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


def _require_own(firm: ExistingFirm, existing: Existing, account: ExistingAccount | None) -> None:
    """Let only a firm's own administrator repair it."""
    # A suspended firm is not brought back by a repair: that is a decision about its contract.
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


def _lost_its_only_administrator(existing: Existing, account: ExistingAccount) -> bool:
    """Whether the firm has nobody to run it, and the account, no member of it, is the one that it was made for.

    `created_by_id` alone proves nothing: it may be the platform's operator, or an administrator who was removed. A firm
    that has an active administrator is theirs; a run that broke off leaves none such, as it commits whole or not at all.
    """
    return (
        existing.firm is not None
        and existing.firm.created_by_id == account.id
        and not existing.is_member(account)
        and not any(member.is_active and member.role in ADMINISTRATORS for member in existing.memberships)
    )


def _items(
    request: ProvisionFirmOptions, existing: Existing, account: ExistingAccount | None, baseline: Baseline
) -> Iterator[Action | Skip]:
    """Give the steps in their order: each needs what the ones before it have created."""
    target = f"firm:{request.slug}"
    yield from _firm(request, existing, target)
    yield from _administrator(request, existing, account, target)
    yield from _missing_baseline(existing, baseline, target)
    yield from _invitation(request, existing, account, target)


def _firm(request: ProvisionFirmOptions, existing: Existing, target: str) -> Iterator[Action | Skip]:
    """Create the firm, or leave the one that is there as it is: its settings may have been changed on purpose."""
    settings = {name: getattr(request, name) for name in COMPARED}
    if existing.firm is None:
        reason = f"no firm has the slug {request.slug}"
        yield Action(Step.CREATE_FIRM, target, reason, data=CreateFirm(**settings))
        return
    yield Skip(target, "the firm is there", existing.firm_id)
    for name, wanted in settings.items():
        if getattr(existing.firm, name) != wanted:
            yield Skip(target, f"{name} differs from the request: left as it is", existing.firm_id)


def _administrator(
    request: ProvisionFirmOptions, existing: Existing, account: ExistingAccount | None, target: str
) -> Iterator[Action | Skip]:
    with_password = request.admin_password_ref is not None
    if account is None:
        password = "given by reference" if with_password else "none"
        yield Action(
            Step.CREATE_ACCOUNT,
            target,
            f"nobody has this address; password: {password}",
            existing.firm_id,
            data=CreateAccount(with_password),
        )
    elif existing.firm is None:
        yield Action(Step.ADOPT_ACCOUNT, target, "adopt_existing_user is set", data=AdoptAccount(account.id))
    elif with_password:
        yield Skip(target, "the account exists: its password stays as it is", existing.firm_id)
    if account is None or not existing.is_member(account):
        reason = "the account is not the firm's administrator yet"
        yield Action(Step.CREATE_MEMBERSHIP, target, reason, existing.firm_id)


def _missing_baseline(existing: Existing, baseline: Baseline, target: str) -> Iterator[Action | Skip]:
    """Create what the firm lacks of each set; a row that it has is its own by now, whatever it says."""
    for name in BaselineSet:
        keys = [entry.key for entry in baseline.entries(name)]
        if name in existing.missing_tables:
            yield Skip(target, f"this deployment has no table for {name}", existing.firm_id, len(keys))
            continue
        missing = tuple(key for key in keys if key not in existing.keys(name))
        if missing:
            reason = "missing: " + ", ".join(missing)
            yield Action(
                CREATES[name], target, reason, existing.firm_id, len(missing), CreateMissing(missing)
            )
    yield from _pipeline(existing, baseline, target)


def _pipeline(existing: Existing, baseline: Baseline, target: str) -> Iterator[Action]:
    """Plan a default pipeline with stages; one that the firm has made its own is left alone."""
    wanted = baseline.pipeline
    stages = len(wanted.stages)
    own = next((pipeline for pipeline in existing.pipelines if pipeline.is_default), None) or next(
        (pipeline for pipeline in existing.pipelines if pipeline.name == wanted.name), None
    )
    if own is None:
        yield Action(Step.CREATE_PIPELINE, target, "no default pipeline", existing.firm_id, 1 + stages)
    elif not own.stages:
        reason = f"pipeline {own.id} has no stages"
        yield Action(Step.CREATE_STAGES, target, reason, existing.firm_id, stages, CreateStages(own.id))


def _invitation(
    request: ProvisionFirmOptions, existing: Existing, account: ExistingAccount | None, target: str
) -> Iterator[Action | Skip]:
    """Invite an administrator who has no password and gets none, unless an invitation is open."""
    without_password = account is None or account.without_password
    if not (without_password and request.invite and request.admin_password_ref is None):
        return
    if existing.invitation_open:
        yield Skip(target, "an invitation is open already", existing.firm_id)
    else:
        yield Action(Step.INVITE, target, "the account has no password", existing.firm_id)
