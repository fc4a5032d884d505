"""The node's own clock: slots, block heights, block times, blockhashes and when a commitment is reached.

LiteSVM's slot stands still and its blockhash check knows one hash, so both are kept here.
Uptime is seconds since the node's first block and never goes back; wall time is uptime plus an offset that
tests may set, so that a payment can be put before or after an expiry.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Literal, get_args

from solders.hash import Hash

SLOT_SECONDS = 0.4
GENESIS_SLOT = 435_888_000
SKIPPED_SLOTS = 21_600_000  # a chain's height is below its slot; equal numbers would hide a mix-up of the two
BLOCKHASH_BLOCKS = 150  # MAX_PROCESSING_AGE: blocks for which a transaction may use a blockhash
SLOTS_PER_EPOCH = 432_000

Commitment = Literal["processed", "confirmed", "finalized"]
COMMITMENTS: tuple[Commitment, ...] = get_args(Commitment)
ClockMode = Literal["manual", "real"]


@dataclass(frozen=True)
class CommitmentDelays:
    """Seconds from sending to landing (`processed`), and from landing to the two higher commitments."""

    processed: float = 0.0
    confirmed: float = 0.0
    finalized: float = 0.0

    def __post_init__(self) -> None:
        if self.processed < 0 or not 0 <= self.confirmed <= self.finalized:
            raise ValueError("delays must satisfy 0 <= processed and 0 <= confirmed <= finalized")

    def after_landing(self, commitment: Commitment) -> float:
        """Return the seconds from landing to `commitment`."""
        if commitment == "processed":
            return 0.0
        return self.confirmed if commitment == "confirmed" else self.finalized

    @property
    def instant(self) -> bool:
        """Whether a landed transaction is finalized at once."""
        return self.finalized == 0


class SlotClock:
    """Slots of 400 ms that tests move (`manual`) or that follow the machine's monotonic clock (`real`)."""

    def __init__(
        self,
        mode: ClockMode = "manual",
        *,
        slot_seconds: float = SLOT_SECONDS,
        unix_time: float | None = None,
    ) -> None:
        if slot_seconds <= 0:
            raise ValueError("slot_seconds must be positive")
        self.mode: ClockMode = mode
        self.slot_seconds = slot_seconds
        self.delays = CommitmentDelays()
        self._moved = 0.0
        self._started = time.monotonic()
        self._offset = time.time() if unix_time is None else unix_time
        self._issued: dict[str, int] = {}

    @property
    def uptime(self) -> float:
        """Seconds since the first block."""
        running = time.monotonic() - self._started if self.mode == "real" else 0.0
        return self._moved + running

    def slot_at(self, uptime: float) -> int:
        """Return the slot of the moment `uptime`: n * 0.4 s is in slot n despite rounding."""
        return GENESIS_SLOT + max(0, int(uptime / self.slot_seconds + 1e-6))

    def slot(self, commitment: Commitment = "processed") -> int:
        """Return the newest slot that has reached `commitment`."""
        return self.slot_at(self.uptime - self.delays.after_landing(commitment))

    @staticmethod
    def height(slot: int) -> int:
        """Return the block height of `slot` (no slot of this chain is skipped after the first)."""
        return slot - SKIPPED_SLOTS

    def unix_at(self, uptime: float) -> int:
        """Return the block time, in whole UTC seconds, of the moment `uptime`."""
        return int(self._offset + uptime)

    @property
    def unix_time(self) -> float:
        """The node's UTC time in seconds."""
        return self._offset + self.uptime

    def set_unix_time(self, unix_time: float) -> None:
        """Set the UTC time of now; slots and earlier block times stay."""
        self._offset = unix_time - self.uptime

    def advance_slots(self, slots: int) -> None:
        """Move forward by `slots` whole slots."""
        if slots < 0:
            raise ValueError("slots never go back")
        self._moved += slots * self.slot_seconds

    def advance_seconds(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        if seconds < 0:
            raise ValueError("uptime never goes back; set_unix_time moves the wall clock")
        self._moved += seconds

    def latest_blockhash(self, commitment: Commitment = "processed") -> tuple[str, int]:
        """Return the blockhash of the newest block at `commitment` and its last valid block height."""
        slot = self.slot(commitment)
        blockhash = self._hash_of(slot)
        if blockhash not in self._issued:
            oldest = slot - 4 * BLOCKHASH_BLOCKS
            self._issued = {known: at for known, at in self._issued.items() if at >= oldest}
            self._issued[blockhash] = slot
        return blockhash, self.height(slot) + BLOCKHASH_BLOCKS

    def blockhash_known(self, blockhash: str, commitment: Commitment = "processed") -> bool:
        """Whether the bank at `commitment` has produced `blockhash` and still accepts it."""
        return self.blockhash_alive(blockhash, self.slot(commitment))

    def blockhash_alive(self, blockhash: str, slot: int) -> bool:
        """Whether a block at `slot` may hold a transaction with `blockhash`."""
        produced = self._issued.get(blockhash)
        return produced is not None and produced <= slot <= produced + BLOCKHASH_BLOCKS

    def resume(self, uptime: float, unix_time: float) -> None:
        """Go on from another process's last moment; the time in between does not count as slots."""
        self._moved, self._started = uptime, time.monotonic()
        self._offset = unix_time - uptime
        for slot in range(max(GENESIS_SLOT, self.slot() - BLOCKHASH_BLOCKS), self.slot() + 1):
            self._issued[self._hash_of(slot)] = slot

    @staticmethod
    def _hash_of(slot: int) -> str:
        return str(Hash(hashlib.sha256(b"solana_node" + slot.to_bytes(8, "little")).digest()))
