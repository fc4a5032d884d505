"""Persistence: an append-only file of everything that changed an account, read back at the next start.

LiteSVM has no snapshot, so each line holds a transaction's record and the accounts it wrote. Transactions
that were held or not yet due, faults, limits and counters belong to a run and are not kept.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, TextIO

from solders.account import Account
from solders.pubkey import Pubkey

from sandbox.solana_node.records import Landed

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.solana_node.chain import Chain

_FILE = "journal.jsonl"


class Journal:
    """The journal of one chain, in a directory of its own."""

    def __init__(self, chain: Chain, directory: Path) -> None:
        self._chain = chain
        self._path = directory / _FILE
        self._file: TextIO | None = None

    def open(self) -> None:
        """Bring the chain to where the journal left it, then append to it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._replay()
        self._file = self._path.open("a", encoding="utf-8")
        self._chain.on_landed = self._landed
        self._chain.on_put = self._put

    def close(self) -> None:
        """Note the time and close the file."""
        if self._file is not None:
            self._write({"kind": "stopped"})
            self._file.close()
            self._file = None
            self._chain.on_landed = self._chain.on_put = None

    def _landed(self, landed: Landed) -> None:
        written = [
            key for key, may in zip(landed.addresses.keys, landed.addresses.writable, strict=True) if may
        ]
        accounts = {str(key): _dump(self._chain.svm.get_account(key)) for key in written}
        self._write({"kind": "landed", "record": landed.to_json(), "accounts": accounts})

    def _put(self, address: Pubkey, account: Account) -> None:
        self._write({"kind": "put", "address": str(address), "account": _dump(account)})

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            clock = self._chain.clock
            self._file.write(json.dumps(line | {"at": [clock.uptime, clock.unix_time]}) + "\n")
            self._file.flush()

    def _replay(self) -> None:
        chain, at = self._chain, None
        self._cut_torn_line()
        for text in self._path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            at = line["at"]
            if line["kind"] == "put":
                account = _load(line["account"])
                if account is not None:
                    chain.put_account(Pubkey.from_string(line["address"]), account)
            elif line["kind"] == "landed":
                for address, dumped in line["accounts"].items():
                    chain.accounts.put(Pubkey.from_string(address), _load(dumped))
                landed = Landed.from_json(line["record"])
                chain.remember(landed)
                chain.ledger.record(landed)
        if at is not None:
            chain.clock.resume(at[0], at[1])
        chain.set_delays(chain.clock.delays)

    def _cut_torn_line(self) -> None:
        """Drop the end of a line that a process killed while writing has left."""
        with self._path.open("rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)


def _dump(account: Account | None) -> str | None:
    return None if account is None else base64.b64encode(bytes(account)).decode()


def _load(dumped: str | None) -> Account | None:
    return None if dumped is None else Account.from_bytes(base64.b64decode(dumped))
