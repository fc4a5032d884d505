"""Solana: the local node as a process, with a clock that follows real time and a chain that outlives it."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, ClassVar, Self

from cryptography.fernet import Fernet
from typing_extensions import override

from sandbox.service import ProcessService
from sandbox.solana_node import keypair
from sandbox.world.solana import ENCRYPTION_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.supervisor import Sandbox

FEE_PAYER, RECEIVER = keypair("fee-payer"), keypair("receiver")


class SolanaNodeService(ProcessService):
    """`python -m sandbox.solana_node`: confirmed after 0.6 s, finalized after 13 s, as on mainnet."""

    name: ClassVar[str] = "solana"
    wallet_key: str = ENCRYPTION_KEY

    @classmethod
    @override
    def in_sandbox(cls, sandbox: Sandbox) -> Self:
        service = super().in_sandbox(sandbox)
        service.wallet_key = sandbox.secret("solana_wallet_key", lambda: Fernet.generate_key().decode())
        return service

    @property
    def url(self) -> str:
        """The RPC endpoint."""
        return f"http://{self.host}:{self.port}/"

    @override
    def command(self, port: int) -> Sequence[str]:
        node = (sys.executable, "-m", "sandbox.solana_node", "--port", str(port))
        delays = ("--confirmed-seconds", "0.6", "--finalized-seconds", "13")
        return (*node, "--state-dir", str(self.directory / "chain"), *delays)

    @override
    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}health", timeout=2) as answer:  # noqa: S310 - 127.0.0.1
                return bool(answer.read() == b"ok")
        except (urllib.error.URLError, OSError, ValueError):
            return False

    @override
    def environment(self) -> dict[str, str]:
        return {"AIRFLOW_CONN_SOLANA_DEFAULT": json.dumps(self.connection())}

    def connection(self) -> dict[str, object]:
        """Return Airflow's connection to this node, as its JSON form; with keys that exist on this chain only."""
        return {
            "conn_type": "generic",
            "host": self.url,
            "password": FEE_PAYER.to_json(),
            "extra": {
                "receiver_address": str(RECEIVER.pubkey()),
                "wallet_encryption_keys": [self.wallet_key],
            },
        }
