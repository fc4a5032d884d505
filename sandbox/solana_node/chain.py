"""The chain: LiteSVM behind a slot clock, with blocks, commitments, a transaction history and a ledger."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from solders.account import Account
from solders.litesvm import LiteSVM
from spl.token.constants import NATIVE_DECIMALS, TOKEN_PROGRAM_ID, WRAPPED_SOL_MINT

from sandbox.solana_node.accounts import RENT_EPOCH, SYSTEM_PROGRAM, Accounts
from sandbox.solana_node.bank import Bank, Simulation, lamports
from sandbox.solana_node.ledger import Ledger
from sandbox.solana_node.records import Landed
from sandbox.solana_node.token_layout import MINT_SIZE, pack_mint, parse_mint

if TYPE_CHECKING:
    from collections.abc import Callable

    from solders.keypair import Keypair
    from solders.pubkey import Pubkey
    from solders.transaction import VersionedTransaction

    from sandbox.solana_node.clock import Commitment, CommitmentDelays, SlotClock

GENESIS_LAMPORTS = 500_000_000 * 10**9


@dataclass(frozen=True)
class Fate:
    """What happens to a transaction after the node has accepted it (a fault decides, landing is the rule)."""

    dropped: bool = False
    held: bool = False
    held_seconds: float | None = None
    err: Any = None


LANDS = Fate()


@dataclass(frozen=True)
class Underway:
    """An accepted transaction that has not landed; `due` is the uptime to land at, None until released."""

    transaction: VersionedTransaction
    due: float | None
    err: Any = None


@dataclass(frozen=True)
class Discarded:
    """An accepted transaction that never got into a block, with the reason."""

    signature: str
    reason: Any


class Chain:
    """All state of the node. Every public method takes the lock, so tests may act from any thread."""

    def __init__(self, clock: SlotClock, *, faucet: Keypair) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        # Duplicates, blockhashes and signatures are checked here, as they depend on commitment and clock.
        self.svm = (
            LiteSVM()
            .with_blockhash_check(check=False)
            .with_sigverify(sigverify=False)
            .with_transaction_history(capacity=0)
        )
        self.accounts = Accounts(self.svm, clock)
        self.bank = Bank(self.svm, clock)
        self.ledger = Ledger(self.svm)
        self.landed: dict[str, Landed] = {}
        self.by_address: dict[Pubkey, list[Landed]] = {}
        self.underway: list[Underway] = []
        self.discarded: list[Discarded] = []
        self.on_landed: Callable[[Landed], None] | None = None
        self.on_put: Callable[[Pubkey, Account], None] | None = None
        self._settled = 0
        wealth = Account(GENESIS_LAMPORTS, b"", SYSTEM_PROGRAM, executable=False, rent_epoch=RENT_EPOCH)
        self.put_account(faucet.pubkey(), wealth)
        native = Account(
            lamports=self.svm.minimum_balance_for_rent_exemption(MINT_SIZE),
            data=pack_mint(decimals=NATIVE_DECIMALS),
            owner=TOKEN_PROGRAM_ID,
            executable=False,
            rent_epoch=RENT_EPOCH,
        )
        self.put_account(WRAPPED_SOL_MINT, native)

    def put_account(self, address: Pubkey, account: Account) -> None:
        """Write an account outside of any transaction; the ledger counts its lamports as issued."""
        with self.lock:
            self.ledger.issue(address, self.svm.get_balance(address) or 0, account.lamports)
            self.accounts.put(address, account)
            if self.on_put is not None:
                self.on_put(address, account)

    def set_delays(self, delays: CommitmentDelays) -> None:
        """Change how long commitments take; what has landed so far counts as finalized."""
        with self.lock:
            self.clock.delays = delays
            self.accounts.settle()
            self._settled = len(self.landed)

    def reached(self, landed: Landed, commitment: Commitment) -> bool:
        """Whether a transaction has reached `commitment`."""
        if landed.sequence < self._settled:
            return True
        return landed.uptime + self.clock.delays.after_landing(commitment) <= self.clock.uptime + 1e-9

    def commitment_of(self, landed: Landed) -> Commitment:
        """Return the highest commitment that a transaction has reached."""
        if self.reached(landed, "finalized"):
            return "finalized"
        return "confirmed" if self.reached(landed, "confirmed") else "processed"

    def tick(self) -> None:
        """Land what is due by now."""
        with self.lock:
            now = self.clock.uptime + 1e-9
            due = [(tx.due, tx) for tx in self.underway if tx.due is not None and tx.due <= now]
            if due:
                self.underway = [tx for tx in self.underway if tx.due is None or tx.due > now]
                for at, tx in sorted(due, key=itemgetter(0)):
                    self._land(tx, at)

    def accept(self, transaction: VersionedTransaction, fate: Fate = LANDS) -> None:
        """Take a transaction from a client and do with it what `fate` says."""
        with self.lock:
            signature = str(transaction.signatures[0])
            if fate.dropped:
                self.discarded.append(Discarded(signature, "dropped"))
                return
            now = self.clock.uptime
            if fate.held:
                due = None if fate.held_seconds is None else now + fate.held_seconds
            else:
                due = now + self.clock.delays.processed
            self.underway.append(Underway(transaction, due, fate.err))
            self.tick()

    def release_held(self) -> int:
        """Land every held transaction that can still land; return how many were held."""
        with self.lock:
            held = [tx for tx in self.underway if tx.due is None]
            self.underway = [tx for tx in self.underway if tx.due is not None]
            for tx in held:
                self._land(tx, self.clock.uptime)
            return len(held)

    def run(self, transaction: VersionedTransaction) -> Landed:
        """Land a transaction of the node's own, with any blockhash; raise RuntimeError if it fails."""
        with self.lock:
            self.tick()
            landed = self._execute(transaction, self.clock.uptime, None)
        if not isinstance(landed, Landed) or landed.err is not None:
            raise RuntimeError(
                f"transaction failed: {landed.reason if isinstance(landed, Discarded) else landed.err}"
            )
        return landed

    def simulate(
        self, transaction: VersionedTransaction, commitment: Commitment, *, check_blockhash: bool = True
    ) -> Simulation:
        """Run a transaction on the state at `commitment` without effect."""
        with self.lock:
            self.tick()
            blockhash = str(transaction.message.recent_blockhash)
            if check_blockhash and not self.clock.blockhash_known(blockhash, commitment):
                return Simulation("BlockhashNotFound", [], 0)
            earlier = self.landed.get(str(transaction.signatures[0]))
            if check_blockhash and earlier is not None and self.reached(earlier, commitment):
                return Simulation("AlreadyProcessed", [], 0)
            try:
                addresses = self.accounts.addresses_of(transaction)
            except (LookupError, ValueError) as error:
                return Simulation(str(error), [], 0)
            with self.accounts.viewed_at(commitment, addresses.keys):
                return self.bank.simulate(transaction)

    def _land(self, tx: Underway, uptime: float) -> None:
        signature = str(tx.transaction.signatures[0])
        blockhash = str(tx.transaction.message.recent_blockhash)
        reason: str | None = None
        if not all(tx.transaction.verify_with_results()):
            reason = "SignatureFailure"
        elif not self.clock.blockhash_alive(blockhash, self.clock.slot_at(uptime)):
            reason = "BlockhashNotFound"
        elif signature in self.landed:
            reason = "AlreadyProcessed"
        if reason is not None:
            self.discarded.append(Discarded(signature, reason))
            return
        outcome = self._execute(tx.transaction, uptime, tx.err)
        if isinstance(outcome, Discarded):
            self.discarded.append(outcome)

    def _execute(self, transaction: VersionedTransaction, uptime: float, err: Any) -> Landed | Discarded:
        signature = str(transaction.signatures[0])
        try:
            addresses = self.accounts.addresses_of(transaction)
        except (LookupError, ValueError) as error:
            return Discarded(signature, str(error))
        done = self.bank.execute(transaction, addresses, err)
        if not done.in_block:
            return Discarded(signature, done.err)
        landed = Landed(
            signature=signature,
            transaction=transaction,
            addresses=addresses,
            sequence=len(self.landed),
            slot=self.clock.slot_at(uptime),
            uptime=uptime,
            block_time=self.clock.unix_at(uptime),
            err=done.err,
            fee=done.fee,
            compute_units=done.units,
            logs=tuple(done.logs),
            inner=done.inner,
            pre_balances=tuple(lamports(done.before[key]) for key in addresses.keys),
            post_balances=tuple(lamports(done.after[key]) for key in addresses.keys),
            pre_tokens=self.bank.token_balances(done.before, done.before),
            post_tokens=self.bank.token_balances(done.after, done.before),
            mint_withheld={
                str(key): mint.withheld for key, acc in done.after.items() if (mint := parse_mint(acc))
            },
        )
        changed = {
            key: done.before[key] for key, may in zip(addresses.keys, addresses.writable, strict=True) if may
        }
        self.accounts.changed(uptime, changed)
        self.remember(landed)
        self.ledger.record(landed)
        if self.on_landed is not None:
            self.on_landed(landed)
        return landed

    def remember(self, landed: Landed) -> None:
        """Put a transaction into the history of each of its addresses."""
        self.landed[landed.signature] = landed
        for key in dict.fromkeys(landed.addresses.keys):
            self.by_address.setdefault(key, []).append(landed)
