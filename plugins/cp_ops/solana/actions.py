"""The actions of a wallets' plan: what applying each needs, and what the plan's hash covers of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from cp_ops.runtime.errors import CapExceededError
from cp_ops.runtime.plan import Payload, Scalar
from cp_ops.solana.moves import above_caps, money_of

if TYPE_CHECKING:
    from cp_ops.runtime.findings import Finding
    from cp_ops.runtime.plan import Plan
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.moves import Move
    from cp_ops.solana.verdicts import Paid
    from cp_ops.solana.wallets import WalletRow, WalletState

ACCEPT = "accept"
EXPIRE = "expire"
OnePayload = TypeVar("OnePayload", bound=Payload)


@dataclass(frozen=True, slots=True, eq=False)
class AcceptPayment(Payload):
    """A payment to accept, and what paid it."""

    row: WalletRow
    paid: Paid

    def hashed(self) -> dict[str, Scalar]:
        """Give the transaction and the token."""
        return {"signature": self.paid.signature, "token": self.paid.token_id}


@dataclass(frozen=True, slots=True, eq=False)
class ExpirePayment(Payload):
    """A payment to let expire: the action's target says it all."""

    row: WalletRow

    def hashed(self) -> dict[str, Scalar]:
        """Give nothing: the target is the payment."""
        return {}


@dataclass(frozen=True, slots=True, eq=False)
class MoveFunds(Payload):
    """Funds to move, or accounts to close."""

    move: Move

    def hashed(self) -> dict[str, Scalar]:
        """Give what leaves the wallet, and the state that it gets."""
        return {
            "lamports": self.move.lamports,
            "tokens": json.dumps(self.move.amounts(), sort_keys=True),
            "closes": len(self.move.closes),
            "target": self.move.target,
        }


@dataclass(frozen=True, slots=True, eq=False)
class MarkWallet(Payload):
    """A wallet that is empty already and gets its last state."""

    row: WalletRow
    target: WalletState
    transfer: str | None

    def hashed(self) -> dict[str, Scalar]:
        """Give the transaction that emptied it."""
        return {"transfer": self.transfer}


@dataclass(frozen=True)
class WalletPlan:
    """A run's plan in the runtime's form, and the findings that go with it."""

    plan: Plan
    findings: list[Finding] = field(default_factory=list)

    @property
    def accepts(self) -> list[AcceptPayment]:
        """Payments to accept."""
        return self._payloads(AcceptPayment)

    @property
    def expires(self) -> list[WalletRow]:
        """Payments to let expire."""
        return [payload.row for payload in self._payloads(ExpirePayment)]

    @property
    def moves(self) -> list[Move]:
        """Funds to move."""
        return [payload.move for payload in self._payloads(MoveFunds)]

    @property
    def marks(self) -> list[MarkWallet]:
        """Wallets that only get their last state."""
        return self._payloads(MarkWallet)

    def _payloads(self, kind: type[OnePayload]) -> list[OnePayload]:
        return [action.data for action in self.plan.actions if isinstance(action.data, kind)]

    def require_within(self, max_lamports: int, max_tokens: int, around: Surroundings) -> None:
        """Refuse a plan that sweeps more than the caps allow.

        :param max_lamports: setting solana_max_sweep_lamports.
        :param max_tokens: setting solana_max_sweep_tokens: whole units, of each mint.
        :raises CapExceededError: before anything was done.
        """
        for setting, amount, limit, unit in above_caps(
            money_of(self.moves), max_lamports, max_tokens, around
        ):
            raise CapExceededError(
                f"the plan sweeps {amount} {unit}, more than [cp_ops] {setting}={limit} allows; nothing was "
                f"done. Look at a dry run; if it is right, raise {setting} or run with a smaller limit"
            )
