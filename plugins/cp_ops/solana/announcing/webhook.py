"""Payment events on their way to the webhook: each is signed at the moment when it is posted."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Protocol

from cp_ops.runtime.deliveries import DeliveryPolicy
from cp_ops.runtime.errors import RemoteRefusedError
from cp_ops.solana.announcing.events import PaymentEvent
from cp_ops.solana.announcing.plan import DELIVER

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cp_ops.runtime.deliveries import Row
    from cp_ops.runtime.errors import CpOpsError
    from cp_ops.runtime.job import JobRun

POLICY = DeliveryPolicy(claim_seconds=300, spacing=(60, 300, 900, 3_600, 14_400, 43_200, 86_400))
PATIENCE = 3
"""Deliveries in a row that may fail before a run leaves the others for the next one."""
DELIVERED, PENDING, GIVEN_UP = "delivered", "pending", "failed"
"""What `webhook_state` says after an attempt."""


class Webhook(Protocol):
    """Where events are posted to."""

    secret: bytes

    def post(self, body: bytes, headers: dict[str, str]) -> None:
        """Post a body.

        :raises RemoteUnavailableError: it was not taken, whatever the answer: a wrong secret or a receiver that is being
            deployed passes, too.
        """


class WebhookOutbox:
    """Posts claimed events. It is the `Outbox` that `deliver` asks for."""

    policy = POLICY
    of_every_row = ()

    def __init__(self, run: JobRun, webhook: Webhook, clock: Callable[[], datetime]) -> None:
        self._run = run
        self._webhook = webhook
        self._clock = clock
        self._failed_in_a_row = 0

    def attempt(self, row: Row) -> None:
        """Post an event."""
        # The signature holds the moment of the request: receivers refuse one that is minutes old.
        event = _event(row)
        body = json.dumps(event.as_dict(), sort_keys=True).encode()
        self._run.remote_call()
        self._webhook.post(body, signed_headers(self._webhook.secret, body, event.id, self._clock()))

    def delivered(self, row: Row) -> None:
        """Record that an event was taken."""
        self._conclude(row, DELIVERED)
        self._run.done(DELIVER, 1)

    def put_back(self, row: Row, error: CpOpsError, seconds: int) -> None:
        """Leave an event for a later attempt."""
        self._conclude(row, PENDING, error=str(error), seconds=seconds)
        self._run.skip(f"not taken, tried again later: {error}")

    def give_up(self, row: Row, error: CpOpsError) -> None:
        """Give an event up: the task fails and names its payment."""
        self._conclude(row, GIVEN_UP, error=str(error))
        self._run.fail(f"solana_payment:{row['payment_id']}", RemoteRefusedError(f"given up: {error}"))

    def goes_on(self, error: CpOpsError | None) -> bool:
        """Whether the receiver may be well: several failures in a row are its own, not the events'."""
        self._failed_in_a_row = self._failed_in_a_row + 1 if error else 0
        return self._failed_in_a_row < PATIENCE

    def leave(self, ids: list[int]) -> None:
        """Leave events that were not tried for later; no attempt is counted."""
        with self._run.write() as tx:
            tx.execute("webhooks_put_off", ids=ids, now=self._clock(), seconds=self.policy.spacing[0])
        self._run.skip(f"put off: {PATIENCE} deliveries in a row were not taken", len(ids))

    def _conclude(self, row: Row, state: str, *, error: str = "", seconds: int = 0) -> None:
        with self._run.write() as tx:
            tx.execute(
                "webhook_done", id=row["id"], state=state, error=error, now=self._clock(), seconds=seconds
            )


def _event(row: Row) -> PaymentEvent:
    return PaymentEvent(**{name: value for name, value in row.items() if name != "attempts"})


def signed_headers(secret: bytes, body: bytes, event_id: int, now: datetime) -> dict[str, str]:
    """Sign a body: HMAC-SHA256 over ``<unix time>.<body>``, as in ``t=1700000000,v1=<hex>``.

    The receiver computes the same, compares in constant time, and refuses times that are minutes away.
    """
    moment = str(int(now.timestamp()))
    digest = hmac.new(secret, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-Cp-Ops-Event-Id": str(event_id),
        "X-Cp-Ops-Signature": f"t={moment},v1={digest}",
    }
