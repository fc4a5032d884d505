"""What the chain keeps of a transaction that landed: enough for every answer about it and for the ledger."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

MEMO_PROGRAMS = (
    Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"),
    Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"),
)


@dataclass(frozen=True)
class TokenBalance:
    """A token account's content before or after a transaction, in minor units."""

    account_index: int
    account: str
    mint: str
    owner: str
    program: str
    amount: int
    withheld: int
    decimals: int


@dataclass(frozen=True)
class InvokedInstruction:
    """An instruction by index into the transaction's keys; `stack_height` is 1 at the top level."""

    program_index: int
    accounts: tuple[int, ...]
    data: bytes
    stack_height: int


@dataclass(frozen=True)
class Addresses:
    """All keys of a transaction in the order of its indexes, and which of them it may sign and write."""

    keys: tuple[Pubkey, ...]
    signers: int
    writable: tuple[bool, ...]
    loaded_writable: tuple[Pubkey, ...] = ()
    loaded_readonly: tuple[Pubkey, ...] = ()


@dataclass(frozen=True)
class Landed:
    """A transaction in a block. `err` has the RPC's shape; None means success."""

    signature: str
    transaction: VersionedTransaction
    addresses: Addresses
    sequence: int
    slot: int
    uptime: float
    block_time: int
    err: Any
    fee: int
    compute_units: int
    logs: tuple[str, ...]
    inner: tuple[tuple[InvokedInstruction, ...], ...]
    pre_balances: tuple[int, ...]
    post_balances: tuple[int, ...]
    pre_tokens: tuple[TokenBalance, ...]
    post_tokens: tuple[TokenBalance, ...]
    mint_withheld: dict[str, int] = field(default_factory=dict)

    @property
    def fee_payer(self) -> str:
        """The address that paid the fee."""
        return str(self.addresses.keys[0])

    def top_level(self) -> list[InvokedInstruction]:
        """Return the message's own instructions."""
        return [
            InvokedInstruction(ix.program_id_index, tuple(ix.accounts), bytes(ix.data), 1)
            for ix in self.transaction.message.instructions
        ]

    def every_instruction(self) -> list[InvokedInstruction]:
        """Return the message's instructions and those that programs called."""
        return self.top_level() + [ix for group in self.inner for ix in group]

    @property
    def memo(self) -> str | None:
        """The memos as getSignaturesForAddress shows them: `[length] text`, joined by `; `."""
        memos = [
            f"[{len(ix.data)}] {ix.data.decode(errors='replace')}"
            for ix in self.top_level()
            if self.addresses.keys[ix.program_index] in MEMO_PROGRAMS
        ]
        return "; ".join(memos) or None

    def to_json(self) -> dict[str, Any]:
        """Return the record for the journal."""
        plain = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        return plain | {
            "transaction": base64.b64encode(bytes(self.transaction)).decode(),
            "addresses": {
                "keys": [str(key) for key in self.addresses.keys],
                "signers": self.addresses.signers,
                "writable": self.addresses.writable,
                "loaded_writable": [str(key) for key in self.addresses.loaded_writable],
                "loaded_readonly": [str(key) for key in self.addresses.loaded_readonly],
            },
            "inner": [
                [[ix.program_index, ix.accounts, ix.data.hex(), ix.stack_height] for ix in group]
                for group in self.inner
            ],
            "pre_tokens": [vars(balance) for balance in self.pre_tokens],
            "post_tokens": [vars(balance) for balance in self.post_tokens],
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Landed:
        """Read what `to_json` wrote."""
        keys = saved["addresses"]
        tuples = ("logs", "pre_balances", "post_balances")
        plain: dict[str, Any] = {
            name: tuple(saved[name]) if name in tuples else saved[name] for name in _PLAIN_FIELDS
        }
        return cls(
            **plain,
            transaction=VersionedTransaction.from_bytes(base64.b64decode(saved["transaction"])),
            addresses=Addresses(
                keys=tuple(map(Pubkey.from_string, keys["keys"])),
                signers=keys["signers"],
                writable=tuple(keys["writable"]),
                loaded_writable=tuple(map(Pubkey.from_string, keys["loaded_writable"])),
                loaded_readonly=tuple(map(Pubkey.from_string, keys["loaded_readonly"])),
            ),
            inner=tuple(
                tuple(
                    InvokedInstruction(i, tuple(accounts), bytes.fromhex(data), h)
                    for i, accounts, data, h in group
                )
                for group in saved["inner"]
            ),
            pre_tokens=tuple(TokenBalance(**balance) for balance in saved["pre_tokens"]),
            post_tokens=tuple(TokenBalance(**balance) for balance in saved["post_tokens"]),
        )


_PLAIN_FIELDS = (
    *("signature", "sequence", "slot", "uptime", "block_time", "err", "fee", "compute_units", "logs"),
    *("pre_balances", "post_balances", "mint_withheld"),
)


def is_v0(transaction: VersionedTransaction) -> bool:
    """Whether the message is version 0 rather than legacy."""
    return isinstance(transaction.message, MessageV0)
