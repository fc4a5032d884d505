"""Send signed transactions and find out what became of each: the chain decides, never the answer to sendTransaction.

A transaction is committed to `cp_ops.solana_transaction` before its first byte leaves. From then on it is open until the
chain shows it (landed, or failed with an error) or can no longer take it (its blockhash expired at finalized height);
until then the same bytes are sent again, and none of its wallets is signed for anew.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.errors import RemoteUnavailableError
from cp_ops.solana.rpc import TransactionRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.configuration import Commitment
    from cp_ops.solana.rpc import Rpc

log = logging.getLogger(__name__)

LANDED, FAILED, EXPIRED, REJECTED = "landed", "failed", "expired", "rejected"
"""What `cp_ops.solana_transaction.state` says of a transaction's end."""
REACHED = {"processed": 0, "confirmed": 1, "finalized": 2}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the chain, in seconds.

    :param poll: between two looks at the statuses.
    :param rebroadcast: until the same bytes are sent again.
    :param give_up: after the last sending; a blockhash lives about 60 s, finalization takes 13 s.
    """

    poll: float = 0.3
    rebroadcast: float = 2.5
    give_up: float = 100.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction whose end is not known yet."""

    id: int
    signature: str
    wire: bytes
    last_valid_block_height: int
    fee: int


@dataclass
class Endings:
    """What became of transactions, by their id in `cp_ops.solana_transaction`.

    :param failed: those in a block with an error, which cost their fee: the node's JSON.
    :param rejected: those refused at first sight, which cost nothing.
    """

    landed: set[int] = field(default_factory=set)
    failed: dict[int, Any] = field(default_factory=dict)
    rejected: dict[int, TransactionRejectedError] = field(default_factory=dict)
    expired: set[int] = field(default_factory=set)
    undecided: set[int] = field(default_factory=set)


class Sender:
    """Sends transactions and follows them to their end.

    :param commitment: what a transaction must reach to count as landed.
    """

    def __init__(
        self,
        run: JobRun,
        rpc: Rpc,
        commitment: Commitment,
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run = run
        self._rpc = rpc
        self._commitment = commitment
        self._patience = patience or Patience()
        self._sleep = sleep
        self.fees = 0
        """Lamports that landed and failed transactions took so far."""

    def first(self, sent: Iterable[Sent], *, preflight: Commitment | None = None) -> Endings:
        """Send new transactions for the first time; those refused at once have their end, the others are on their way.

        :param preflight: the state that the node tries them on; by default the commitment that counts.
        """
        endings = Endings()
        for transaction in sent:
            try:
                self._rpc.send(transaction.wire, preflight or self._commitment)
            except TransactionRejectedError as error:
                endings.rejected[transaction.id] = error
            # No answer is no refusal: it may be on its way, so it is followed like the others.
            except RemoteUnavailableError as error:
                log.warning("%s: %s; the chain will tell", transaction.signature, error)
        self._record([(number, REJECTED, str(error)) for number, error in endings.rejected.items()])
        return endings

    def open(self) -> list[Sent]:
        """Give the transactions that earlier runs, or others at this moment, have left open."""
        with self._run.read() as tx:
            rows = tx.rows("open_transactions")
        return [
            Sent(
                row["id"],
                row["signature"],
                bytes(row["wire"]),
                row["last_valid_block_height"],
                row["fee_lamports"],
            )
            for row in rows
        ]

    def appear(self, sent: Sequence[Sent]) -> bool:
        """Wait until the chain shows all of them without an error, at whatever commitment; False when that takes long."""
        signatures = [transaction.signature for transaction in sent]
        deadline = time.monotonic() + self._patience.rebroadcast
        while True:
            statuses = self._rpc.statuses(signatures)
            if all(status is not None and status.err is None for status in statuses):
                return True
            if any(status is not None and status.err for status in statuses) or time.monotonic() > deadline:
                return False
            self._sleep(self._patience.poll)

    def follow(self, sent: Iterable[Sent], *, again: bool = False) -> Endings:
        """Wait until the chain has decided on each, sending the same bytes again meanwhile.

        :param again: send again at once: whoever sent them first may have died before.
        """
        endings = Endings()
        waiting = {transaction.id: transaction for transaction in sent}
        started = time.monotonic()
        next_sending = started if again else started + self._patience.rebroadcast
        while waiting:
            if not again:
                self._sleep(self._patience.poll)
            # Asked for only when it is time to send again: that is soon enough to see a blockhash expire.
            height = None
            if time.monotonic() >= next_sending:
                height = self._rpc.block_height("finalized")
            self._look(waiting, endings, height)
            if not waiting:
                break
            # Undecided is an end for this run only: the transactions stay open, and the next run follows them.
            if time.monotonic() - started > self._patience.give_up:
                endings.undecided |= set(waiting)
                break
            if height is not None:
                self._send_again(waiting.values())
                next_sending = time.monotonic() + self._patience.rebroadcast
            again = False
        return endings

    def _look(self, waiting: dict[int, Sent], endings: Endings, height: int | None) -> None:
        """Look all up, and record those that the chain has decided on.

        :param height: the finalized height. It is read *before* the statuses. A signature unknown at this point whose last
            valid height lies below the finalized height can never land.
        """
        transactions = list(waiting.values())
        statuses = self._rpc.statuses([transaction.signature for transaction in transactions])
        records: list[tuple[int, str, str]] = []
        for transaction, status in zip(transactions, statuses, strict=True):
            number = transaction.id
            if status is None:
                if _can_never_land(transaction, height):
                    endings.expired.add(number)
                    records.append((number, EXPIRED, "its blockhash expired before it landed"))
            # A block at a lower commitment can still be dropped, with everything in it.
            elif REACHED[status.commitment] >= REACHED[self._commitment]:
                self.fees += transaction.fee
                records.append(_ending(number, status.err, endings))
        self._record(records)
        for number, _, _ in records:
            del waiting[number]

    def _send_again(self, transactions: Iterable[Sent]) -> None:
        """Send the same bytes again. A refusal means nothing now: they may have landed between, the statuses will tell."""
        for transaction in transactions:
            try:
                self._rpc.send(transaction.wire, self._commitment)
            except (TransactionRejectedError, RemoteUnavailableError) as error:
                log.info("%s sent again: %s", transaction.signature, error)

    def _record(self, records: list[tuple[int, str, str]]) -> None:
        if not records:
            return
        with self._run.write() as tx:
            tx.execute(
                "resolve_transactions",
                ids=[number for number, _, _ in records],
                states=[state for _, state, _ in records],
                errors=[error for _, _, error in records],
            )


def _can_never_land(unknown: Sent, height: int | None) -> bool:
    return height is not None and height > unknown.last_valid_block_height


def _ending(number: int, err: Any, endings: Endings) -> tuple[int, str, str]:
    """Note what a transaction that is in a block has come to; give its record."""
    if err is None:
        endings.landed.add(number)
        return number, LANDED, ""
    endings.failed[number] = err
    return number, FAILED, str(err)
