"""What one run announces and delivers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.plan import Action, Payload, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cp_ops.solana.announcing.events import PaymentEvent

ANNOUNCE, DELIVER = "announce", "deliver"


@dataclass(frozen=True, slots=True, eq=False)
class TellOfEvent(Payload):
    """The event that an action announces or delivers."""

    event: int


def plan_announcements(events: Iterable[PaymentEvent], deliveries: Iterable[Mapping[str, Any]]) -> Plan:
    """Plan one action per event that is to be announced, and one per delivery that is due."""
    announced = [_action(ANNOUNCE, event.id, event.payment_id, event.kind) for event in events]
    delivered = [_action(DELIVER, due["id"], due["payment_id"], due["kind"]) for due in deliveries]
    return Plan.of([*announced, *delivered])


def _action(kind: str, event_id: int, payment_id: int, reason: str) -> Action:
    return Action(kind, f"solana_payment:{payment_id}", reason, data=TellOfEvent(event_id))
