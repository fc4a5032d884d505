"""A shop with one-time wallets on a node of its own; the node's ledger is the referee of every test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from cp_ops.hooks.solana_rpc import SolanaRpc
from cp_ops.solana.configuration import SolanaConfiguration
from cp_ops.solana.job import CloseExpiredPayments, CloseExpiredWallets, SendFunds
from cp_ops.solana.sending import Patience
from sandbox import solana_payments
from sandbox.solana_node import SolanaNode, keypair
from sandbox.world.solana import ENCRYPTION_KEY, NodeChain, PaymentShop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cp_ops.runtime.outcome import Outcome
    from sandbox.solana_node import Mint
    from sandbox.world.solana import Payment, Token
    from tests.integration.conftest import Runner

RECEIVER = keypair("receiver").pubkey()
FEE_PAYER = keypair("fee-payer")
CHAIN = (CloseExpiredPayments, SendFunds, CloseExpiredWallets)
QUICK = Patience(poll=0.02, rebroadcast=0.1, give_up=1.5)
SOL = 10**9


@dataclass
class Shop(PaymentShop):
    """The shop, the node and the commands of one test."""

    node: SolanaNode
    runner: Runner
    fields: dict[str, Any] = field(default_factory=dict)
    patience: Patience = QUICK

    def __init__(self, world: Any, node: SolanaNode, runner: Runner, **options: Any) -> None:
        super().__init__(world, NodeChain(node, FEE_PAYER), **options)
        self.node, self.runner, self.patience = node, runner, QUICK
        self.fields = {
            "rpc_url": node.url,
            "fee_payer": FEE_PAYER.to_json(),
            "receiver_address": str(RECEIVER),
            "wallet_encryption_keys": ENCRYPTION_KEY,
            "timeout": 2,
        }

    def list_standard_tokens(self) -> None:
        """SOL at 0.1, USDC and USDT at 25; the receiver exists and holds both."""
        self.sol = self.token("SOL", price="0.1")
        self.usdc = self.token("USDC", price="25")
        self.usdt = self.token("USDT", price="25")
        self.node.build.airdrop(RECEIVER, SOL)

    def configuration(self) -> SolanaConfiguration:
        return SolanaConfiguration.of("solana_default", self.fields)

    def job(self, command: type) -> Any:
        return command(
            self.configuration(),
            lambda configuration: SolanaRpc(configuration, sleep=lambda _seconds: None),
            patience=self.patience,
        )

    def run(self, command: type, **options: Any) -> Outcome:
        return self.runner(self.job(command), **options)

    def maintain(self, **options: Any) -> list[Outcome]:
        return [self.run(command, **options) for command in CHAIN]

    def mint_of(self, token: Token) -> Mint:
        assert token.mint is not None
        return self.chain.mint(token.mint)

    def received(self, token: Token) -> int:
        """What the receiver got of a token since the start (its first lamports aside)."""
        credits_ = self.node.ledger.credits(RECEIVER, token.mint)
        return sum(amount for _, amount in credits_[1 if token.mint is None else 0 :])

    def remains(self, payment: Payment) -> int:
        """Lamports left in a wallet and its token accounts."""
        node = self.node.ledger
        own = node.lamports_of(payment.address)
        return own + sum(
            node.lamports_of(self.mint_of(token).ata(payment.key.pubkey()))
            for token in self.tokens
            if token.mint is not None
        )

    def own(self, query: str) -> list[tuple[Any, ...]]:
        """Ask schema cp_ops."""
        with self.runner.connect() as connection:
            return connection.execute(query).fetchall()

    def findings(self, *, resolved: bool = False) -> list[tuple[Any, ...]]:
        condition = "IS NOT NULL" if resolved else "IS NULL"
        return self.own(
            f"SELECT kind, subject, details FROM cp_ops.finding WHERE resolved_at {condition} ORDER BY id"
        )

    def kinds(self) -> list[str]:
        return sorted(kind for kind, _, _ in self.findings())

    def events(self) -> list[tuple[Any, ...]]:
        return self.own("SELECT payment_id, kind FROM cp_ops.solana_payment_event ORDER BY id")


@pytest.fixture
def node() -> Iterator[SolanaNode]:
    with SolanaNode() as running:
        yield running
        running.ledger.check()


@pytest.fixture
def payment_tables(app_db: Any) -> None:
    solana_payments.create_payment_tables(app_db)


@pytest.fixture
def shop(world: Any, node: SolanaNode, runner: Runner, payment_tables: None) -> Shop:
    """A shop that takes SOL, USDC and USDT."""
    made = Shop(world, node, runner)
    made.list_standard_tokens()
    return made
