"""What one run sends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.runtime.plan import Action, Payload, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable

REASONS = {"pending": "is due", "sending": "was cut off in its delivery", "failed": "was given up"}
"""Why a mail is sent now, by its state in `cp_ops.mail`."""


@dataclass(frozen=True)
class DueMail:
    """A mail that is due, without address or text."""

    id: int
    firm_id: int | None
    kind: str
    state: str


@dataclass(frozen=True, slots=True, eq=False)
class SendMail(Payload):
    """A mail to send."""

    id: int


def plan_delivery(mails: Iterable[DueMail]) -> Plan:
    """Plan one action per due mail."""
    return Plan.of(
        Action(
            "send",
            f"cp_ops.mail:{mail.id}",
            f"{mail.kind} {REASONS[mail.state]}",
            mail.firm_id,
            data=SendMail(mail.id),
        )
        for mail in mails
    )
