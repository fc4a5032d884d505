"""The referee: an account of every lamport and every token that the chain has moved.

It is kept from the balances before and after each transaction, never from what a client says it did.
`check` proves conservation, transaction by transaction and against all accounts of the chain:

* lamports: what was issued = what accounts hold + fees paid;
* a failed transaction moves its fee and nothing else;
* tokens, per mint: minted - burned = supply = balances + transfer fees withheld (wrapped SOL is lamports).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from spl.token.constants import WRAPPED_SOL_MINT

from sandbox.solana_node.token_layout import TOKEN_PROGRAMS, parse_holding, parse_mint

if TYPE_CHECKING:
    from sandbox.solana_node.records import Landed

_MINTING, _BURNING = (7, 14), (8, 15)  # spl-token tags of MintTo, MintToChecked, Burn, BurnChecked


class ConservationError(AssertionError):
    """Lamports or tokens appeared or vanished; the message lists where."""


@dataclass(frozen=True)
class LedgerEntry:
    """One transaction: changes of `lamports` by address and of `tokens` by (mint, owner, account)."""

    signature: str
    slot: int
    block_time: int
    err: object
    fee: int
    fee_payer: str
    lamports: dict[str, int]
    tokens: dict[tuple[str, str, str], int]


@dataclass(frozen=True)
class Movements:
    """The sum of some entries: `lamports` by address, `tokens` by (mint, owner)."""

    transactions: int
    failed: int
    fees: int
    lamports: dict[str, int]
    tokens: dict[tuple[str, str], int]


class Ledger:
    """Every transaction's effect, in order."""

    def __init__(self, svm: LiteSVM) -> None:
        self._svm = svm
        self._genesis = LiteSVM()
        self._violations: list[str] = []
        self._balances: dict[str, int] = {}
        self._minted: Counter[str] = Counter()
        self._mint_withheld: dict[str, int] = {}
        self.entries: list[LedgerEntry] = []
        self.issued = 0
        self.fees = 0

    def issue(self, address: Pubkey, before: int, after: int) -> None:
        """Account for lamports that came into being outside of a transaction (genesis, `set_account`)."""
        self.issued += after - self._balances.get(str(address), 0)
        if before != self._balances.get(str(address), 0):
            self._violations.append(f"{address}: had {before} lamports that no transaction brought")
        self._balances[str(address)] = after

    def record(self, landed: Landed) -> None:
        """Enter a transaction."""
        keys = [str(key) for key in landed.addresses.keys]
        lamports: dict[str, int] = {}
        for key, before, after in zip(keys, landed.pre_balances, landed.post_balances, strict=True):
            self._meet(landed, key, before)
            self._balances[key] = after
            if after != before:
                lamports[key] = after - before
        self.fees += landed.fee
        if sum(lamports.values()) != -landed.fee:
            self._violations.append(f"{landed.signature}: lamports {lamports}, fee {landed.fee}")
        tokens = self._token_changes(landed)
        if landed.err is not None and (tokens or lamports != {landed.fee_payer: -landed.fee}):
            self._violations.append(f"{landed.signature}: failed, but moved {lamports} {tokens}")
        self.entries.append(
            LedgerEntry(
                signature=landed.signature,
                slot=landed.slot,
                block_time=landed.block_time,
                err=landed.err,
                fee=landed.fee,
                fee_payer=landed.fee_payer,
                lamports=lamports,
                tokens={key: change for key, change in tokens.items() if change},
            )
        )

    def lamports_of(self, address: Pubkey | str) -> int:
        """Return the lamports that `address` holds by this ledger."""
        return self._balances.get(str(address), 0)

    def movements(self, since: int = 0) -> Movements:
        """Return the sum of the entries from number `since` on (`len(ledger.entries)` marks a point)."""
        entries = self.entries[since:]
        lamports: Counter[str] = Counter()
        tokens: Counter[tuple[str, str]] = Counter()
        for entry in entries:
            lamports.update(entry.lamports)
            for (mint, owner, _account), change in entry.tokens.items():
                tokens[mint, owner] += change
        return Movements(
            transactions=len(entries),
            failed=sum(entry.err is not None for entry in entries),
            fees=sum(entry.fee for entry in entries),
            lamports={address: change for address, change in lamports.items() if change},
            tokens={key: change for key, change in tokens.items() if change},
        )

    def credits(self, owner: Pubkey | str, mint: Pubkey | str | None = None) -> list[tuple[str, int]]:
        """Return (signature, amount) of every transaction that brought `owner` lamports or `mint`."""
        found: list[tuple[str, int]] = []
        for entry in self.entries:
            change = (
                entry.lamports.get(str(owner), 0)
                if mint is None
                else sum(
                    amount
                    for (token, holder, _account), amount in entry.tokens.items()
                    if (token, holder) == (str(mint), str(owner))
                )
            )
            if change > 0:
                found.append((entry.signature, change))
        return found

    def check(self) -> None:
        """Raise ConservationError unless every lamport and every token is where the transactions put it."""
        problems = list(self._violations)
        held = 0
        for address, expected in self._balances.items():
            actual = self._svm.get_balance(Pubkey.from_string(address)) or 0
            held += actual
            if actual != expected:
                problems.append(f"{address}: holds {actual} lamports, by the ledger {expected}")
        if held != self.issued - self.fees:
            problems.append(f"lamports: {held} held, {self.issued} issued less {self.fees} in fees")
        problems.extend(self._token_problems())
        if problems:
            raise ConservationError("\n".join(problems))

    def _meet(self, landed: Landed, key: str, before: int) -> None:
        known = self._balances.get(key)
        if known is None and before:
            if self._genesis.get_balance(Pubkey.from_string(key)) != before:
                self._violations.append(f"{landed.signature}: {key} had {before} lamports from nowhere")
            self.issued += before
        elif known is not None and known != before:
            self._violations.append(f"{landed.signature}: {key} had {before} lamports, by the ledger {known}")

    def _token_changes(self, landed: Landed) -> dict[tuple[str, str, str], int]:
        changes: Counter[tuple[str, str, str]] = Counter()
        per_mint: Counter[str] = Counter()
        for sign, balances in ((-1, landed.pre_tokens), (1, landed.post_tokens)):
            for balance in balances:
                changes[balance.mint, balance.owner, balance.account] += sign * balance.amount
                per_mint[balance.mint] += sign * (balance.amount + balance.withheld)
        for mint, withheld in landed.mint_withheld.items():
            per_mint[mint] += withheld - self._mint_withheld.get(mint, 0)
            self._mint_withheld[mint] = withheld
        minted = _minted(landed) if landed.err is None else Counter[str]()
        self._minted.update(minted)
        for mint in {*per_mint, *minted} - {str(WRAPPED_SOL_MINT)}:
            if per_mint[mint] != minted[mint]:
                self._violations.append(
                    f"{landed.signature}: {mint} balances changed by {per_mint[mint]}, {minted[mint]} minted"
                )
        return {key: change for key, change in changes.items() if change}

    def _token_problems(self) -> list[str]:
        supplies: dict[str, int] = {}
        held: Counter[str] = Counter()
        for program in TOKEN_PROGRAMS:
            for address, account in self._svm.get_program_accounts(program):
                mint, holding = parse_mint(account), parse_holding(account)
                if mint is not None:
                    supplies[str(address)] = mint.supply
                    held[str(address)] += mint.withheld
                elif holding is not None:
                    held[str(holding.mint)] += holding.amount + holding.withheld
        return [
            f"{mint}: minted {self._minted[mint]}, supply {supplies.get(mint, 0)}, held {held[mint]}"
            for mint in sorted({*supplies, *held, *self._minted} - {str(WRAPPED_SOL_MINT)})
            if not self._minted[mint] == supplies.get(mint, 0) == held[mint]
        ]


def _minted(landed: Landed) -> Counter[str]:
    minted: Counter[str] = Counter()
    keys = landed.addresses.keys
    for ix in landed.every_instruction():
        if (
            keys[ix.program_index] not in TOKEN_PROGRAMS
            or not ix.data
            or ix.data[0] not in _MINTING + _BURNING
        ):
            continue
        amount = int.from_bytes(ix.data[1:9], "little")
        if ix.data[0] in _MINTING:
            minted[str(keys[ix.accounts[0]])] += amount
        else:
            minted[str(keys[ix.accounts[1]])] -= amount
    return minted
