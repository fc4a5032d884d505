"""The accounts of the chain at every commitment, and an index that LiteSVM lacks: owner -> token accounts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from solders.account import Account
from solders.message import MessageV0
from solders.pubkey import Pubkey

from sandbox.solana_node.records import Addresses
from sandbox.solana_node.token_layout import parse_holding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from solders.litesvm import LiteSVM
    from solders.transaction import VersionedTransaction

    from sandbox.solana_node.clock import Commitment, SlotClock

SYSTEM_PROGRAM = Pubkey.default()
NO_ACCOUNT = Account(0, b"", SYSTEM_PROGRAM, executable=False, rent_epoch=0)
RENT_EPOCH = 2**64 - 1  # rent-exempt for ever, the only kind of account there is
_LOOKUP_TABLE_HEADER = 56
_LONG_AGO = float("-inf")


class Accounts:
    """Reads at processed, confirmed and finalized; the two older views come from kept pre-images."""

    def __init__(self, svm: LiteSVM, clock: SlotClock) -> None:
        self._svm = svm
        self._clock = clock
        self._versions: dict[Pubkey, list[tuple[float, Account | None]]] = {}
        self._by_owner: dict[Pubkey, dict[Pubkey, None]] = {}

    def get(self, address: Pubkey, commitment: Commitment = "processed") -> Account | None:
        """Return the account as of `commitment`, or None when there is (or was) none."""
        delay = self._clock.delays.after_landing(commitment)
        versions = self._versions.get(address) if delay else None
        if not versions:
            return self._svm.get_account(address)
        seen = self._clock.uptime - delay + 1e-9
        return next(account for uptime, account in reversed(versions) if uptime <= seen)

    def put(self, address: Pubkey, account: Account | None) -> None:
        """Write an account outside of any transaction, at every commitment at once."""
        self._svm.set_account(address, account or NO_ACCOUNT)
        self._versions.pop(address, None)
        self._index(address, account)

    def changed(self, uptime: float, before: dict[Pubkey, Account | None]) -> None:
        """Note what a transaction that landed at `uptime` wrote; `before` holds the pre-images."""
        for address, old in before.items():
            new = self._svm.get_account(address)
            self._index(address, new)
            if not self._clock.delays.instant:
                versions = self._versions.setdefault(address, [(_LONG_AGO, old)])
                versions.append((uptime, new))
                self._forget_finalized(address)

    def settle(self) -> None:
        """Count everything that has landed as finalized."""
        self._versions.clear()

    def token_accounts_of(self, owner: Pubkey) -> list[Pubkey]:
        """Return the addresses of all token accounts that `owner` has or had."""
        return list(self._by_owner.get(owner, ()))

    @contextmanager
    def viewed_at(self, commitment: Commitment, keys: Iterable[Pubkey]) -> Iterator[None]:
        """Put the accounts of `keys` back to what they were at `commitment`, for a simulation."""
        newest: dict[Pubkey, Account | None] = {}
        if self._clock.delays.after_landing(commitment):
            newest = {key: self._svm.get_account(key) for key in keys if key in self._versions}
        try:
            for key in newest:
                self._svm.set_account(key, self.get(key, commitment) or NO_ACCOUNT)
            yield
        finally:
            for key, account in newest.items():
                self._svm.set_account(key, account or NO_ACCOUNT)

    def addresses_of(self, transaction: VersionedTransaction) -> Addresses:
        """Return the transaction's keys with its lookup tables'; raise LookupError for a bad table."""
        message = transaction.message
        header = message.header
        static = tuple(message.account_keys)
        signers = header.num_required_signatures
        writable = tuple(
            index < signers - header.num_readonly_signed_accounts
            if index < signers
            else index < len(static) - header.num_readonly_unsigned_accounts
            for index in range(len(static))
        )
        if not isinstance(message, MessageV0) or not message.address_table_lookups:
            return Addresses(static, signers, writable)
        loaded: tuple[list[Pubkey], list[Pubkey]] = ([], [])
        for lookup in message.address_table_lookups:
            table = self._lookup_table(lookup.account_key)
            loaded[0].extend(table[index] for index in lookup.writable_indexes)
            loaded[1].extend(table[index] for index in lookup.readonly_indexes)
        return Addresses(
            keys=(*static, *loaded[0], *loaded[1]),
            signers=signers,
            writable=(*writable, *[True] * len(loaded[0]), *[False] * len(loaded[1])),
            loaded_writable=tuple(loaded[0]),
            loaded_readonly=tuple(loaded[1]),
        )

    def _lookup_table(self, address: Pubkey) -> list[Pubkey]:
        account = self._svm.get_account(address)
        if account is None:
            raise LookupError("AddressLookupTableNotFound")
        data = account.data[_LOOKUP_TABLE_HEADER:]
        return [Pubkey.from_bytes(data[at : at + 32]) for at in range(0, len(data), 32)]

    def _index(self, address: Pubkey, account: Account | None) -> None:
        holding = parse_holding(account)
        if holding is not None:
            self._by_owner.setdefault(holding.owner, {})[address] = None

    def _forget_finalized(self, address: Pubkey) -> None:
        finalized = self._clock.uptime - self._clock.delays.finalized
        versions = self._versions[address]
        while len(versions) > 1 and versions[1][0] <= finalized:
            versions.pop(0)
