"""The payment module as far as the jobs see it: its tables in the application's database, and the demo's payments."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from sandbox import solana_payments
from sandbox.service import Service, Status
from sandbox.services.application import Application
from sandbox.services.solana import FEE_PAYER, RECEIVER, SolanaNodeService
from sandbox.world.builder import World
from sandbox.world.solana import ControlledChain, PaymentShop
from sandbox.world.solana_demo import tell_payments

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.application import ApplicationDatabase
    from sandbox.supervisor import Sandbox

LAMPORTS = 10**9


def fill_payment_tables(database: ApplicationDatabase, url: str, wallet_key: str) -> list[str]:
    """Make the payment tables and the demo's payments on the node at `url`, unless there are some; tell which."""
    import psycopg

    solana_payments.create_payment_tables(database)
    with psycopg.connect(database.owner_dsn) as connection:
        row = connection.execute(f"SELECT count(*) FROM {solana_payments.PAYMENTS}".encode()).fetchone()
        if row and row[0]:
            return []
        chain = ControlledChain(url)
        chain.pay_sol(str(FEE_PAYER.pubkey()), 100 * LAMPORTS)
        chain.pay_sol(str(RECEIVER.pubkey()), LAMPORTS)
        told = tell_payments(PaymentShop(World(connection), chain, encryption_key=wallet_key))
    return [f"{title}: payment {payment.id}, wallet {payment.address}" for title, payment in told]


class SolanaPayments(Service):
    """The payment tables and the demo's wallets. It has no process: running means that the rows are there."""

    name: ClassVar[str] = "solana_payments"
    after: ClassVar[tuple[str, ...]] = ("application", "solana")

    def __init__(self, directory: Path, application: Application, node: SolanaNodeService) -> None:
        super().__init__(directory)
        self._application = application
        self._node = node

    @classmethod
    @override
    def in_sandbox(cls, sandbox: Sandbox) -> Self:
        application, node = sandbox.service(Application), sandbox.service(SolanaNodeService)
        return cls(sandbox.directory(cls.name), application, node)

    @property
    def _told(self) -> Path:
        return self.directory / "told"

    @override
    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        lines = fill_payment_tables(self._application.database, self._node.url, self._node.wallet_key)
        if lines:
            self._told.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def stop(self) -> None:
        """Do nothing: rows and chain stop with their servers."""

    @override
    def status(self) -> Status:
        if self._told.exists() and self._application.status().running and self._node.status().running:
            return Status(running=True, detail=f"wallets on {self._node.url}")
        return Status(running=False, detail="no payments")

    @override
    def logs(self, lines: int = 50) -> str:
        try:
            return "\n".join(self._told.read_text(encoding="utf-8").splitlines()[-lines:])
        except OSError:
            return ""
