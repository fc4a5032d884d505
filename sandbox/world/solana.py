"""One-time wallets and payments, as the payment module leaves them: rows in its tables, token accounts on the chain.

`PaymentShop(world, NodeChain(node))` writes the rows; `shop.payment(expires_in=-60)` gives a payment that ran out a
minute ago, and `payment.pay("25", usdc, at=payment.in_time())` pays it in time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cryptography.fernet import Fernet
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from sandbox import solana_payments as tables
from sandbox.solana_node import Mint, keypair
from sandbox.solana_node.client import RpcClient
from sandbox.solana_node.token_layout import parse_mint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandbox.solana_node import SolanaNode
    from sandbox.world.rows import Rows

KeyForm = Literal["encrypted", "plain", "array", "other_key", "someone_else", "garbage"]
ENCRYPTION_KEY = Fernet.generate_key().decode()
LAMPORTS = 10**9


class PaymentChain(Protocol):
    """What the builder does on a chain."""

    def pay_sol(self, to: str, lamports: int) -> str:
        """Pay lamports; return the signature."""

    def pay_tokens(self, to: str, mint: str, amount: int) -> str:
        """Pay minor units to an owner or a token account; return the signature."""

    def open_accounts(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Open the associated accounts of (owner, mint) pairs."""

    def create_mint(self, name: str, decimals: int) -> str:
        """Create a mint; return its address."""

    def at(self, moment: datetime) -> None:
        """Set the chain's clock."""


class NodeChain:
    """A SolanaNode of this process. `fee_payer` opens token accounts and pays their rent, as the module does."""

    def __init__(self, node: SolanaNode, fee_payer: Keypair | None = None) -> None:
        self.node = node
        self.fee_payer = fee_payer or keypair("fee-payer")
        node.build.airdrop(self.fee_payer.pubkey(), 1_000 * LAMPORTS)
        self.mints: dict[str, Mint] = {}

    def mint(self, address: str) -> Mint:
        """Return a mint of the chain by its address."""
        if address not in self.mints:
            key = Pubkey.from_string(address)
            account = self.node.chain.svm.get_account(key)
            parsed = parse_mint(account)
            if account is None or parsed is None:
                raise LookupError(f"{address} is not a mint")
            self.mints[address] = Mint(key, account.owner, parsed.decimals, self.node.build.faucet)
        return self.mints[address]

    def create_mint(self, name: str, decimals: int) -> str:
        """Create a mint."""
        address = keypair(f"mint/{name}")
        taken = self.node.chain.svm.get_account(address.pubkey()) is not None
        made = self.node.build.create_mint(decimals=decimals, address=Keypair() if taken else address)
        self.mints[str(made.address)] = made
        return str(made.address)

    def pay_sol(self, to: str, lamports: int) -> str:
        """Pay from the faucet."""
        return self.node.build.pay_sol(Pubkey.from_string(to), lamports).signature

    def pay_tokens(self, to: str, mint: str, amount: int) -> str:
        """Pay from the faucet to an owner, or to a token account."""
        key, kind = Pubkey.from_string(to), self.mint(mint)
        open_account = kind.ata(key)
        known = self.node.chain.svm.get_account(open_account) is not None
        return self.node.build.pay_tokens(open_account if known else key, kind, amount).signature

    def open_accounts(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Open associated accounts at the fee payer's expense."""
        owners = [(Pubkey.from_string(owner), self.mint(mint)) for owner, mint in pairs]
        self.node.build.create_atas(owners, payer=self.fee_payer)

    def at(self, moment: datetime) -> None:
        """Set the chain's clock."""
        self.node.set_unix_time(moment.timestamp())


class ControlledChain:
    """A node in another process, by its control API."""

    def __init__(self, url: str) -> None:
        self._client = RpcClient(url)

    def create_mint(self, name: str, decimals: int) -> str:
        """Create a mint, or find the one of this name."""
        return str(self._client.control("create-mint", name=name, decimals=decimals)["address"])

    def pay_sol(self, to: str, lamports: int) -> str:
        """Pay from the faucet."""
        return str(self._client.control("pay-sol", to=to, lamports=lamports)["signature"])

    def pay_tokens(self, to: str, mint: str, amount: int) -> str:
        """Pay from the faucet."""
        return str(self._client.control("pay-tokens", to=to, mint=mint, amount=amount)["signature"])

    def open_accounts(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Open associated accounts at the faucet's expense."""
        for owner in dict.fromkeys(owner for owner, _ in pairs):
            mints = [mint for one, mint in pairs if one == owner]
            self._client.control("create-token-accounts", owners=[owner], mints=mints)

    def at(self, moment: datetime) -> None:
        """Set the chain's clock."""
        self._client.control("time", unix_time=moment.timestamp())


@dataclass(frozen=True)
class Token:
    """A row of the tokens table; `mint` None for SOL."""

    id: int
    symbol: str
    mint: str | None
    decimals: int
    price: Decimal

    def minor(self, amount: str | Decimal) -> int:
        """Return an amount in lamports or minor units."""
        return int(Decimal(amount) * 10**self.decimals)


@dataclass(frozen=True)
class TableNames:
    """The tables' names; those of swapped models differ."""

    payments: str = tables.PAYMENTS
    tokens: str = tables.TOKENS
    payment_prices: str = tables.PAYMENT_PRICES
    payment_column: str = "solanapayment_id"


class Payment:
    """A payment with its wallet."""

    def __init__(self, shop: PaymentShop, ids: tuple[int, int], key: Keypair, expires_at: datetime) -> None:
        self.shop = shop
        self.id, self.wallet_id = ids
        self.key = key
        self.address = str(key.pubkey())
        self.expires_at = expires_at

    def pay(self, amount: str | Decimal, token: Token, *, at: datetime | None = None) -> str:
        """Pay into the wallet; `at` sets the block's time, and afterwards the chain is back in the present."""
        chain = self.shop.chain
        if at is not None:
            chain.at(at)
        minor = token.minor(amount)
        signature = (
            chain.pay_sol(self.address, minor)
            if token.mint is None
            else chain.pay_tokens(self.address, token.mint, minor)
        )
        if at is not None:
            chain.at(self.shop.world.now)
        return signature

    def in_time(self) -> datetime:
        """Return a moment shortly before the expiry."""
        return self.expires_at - timedelta(seconds=30)

    def too_late(self) -> datetime:
        """Return a moment shortly after the expiry."""
        return self.expires_at + timedelta(seconds=30)

    def row(self) -> dict[str, Any]:
        """Return the payment's row as it is now."""
        return self.shop.one(self.shop.names.payments, self.id)

    def wallet(self) -> dict[str, Any]:
        """Return the wallet's row as it is now."""
        return self.shop.one(tables.WALLETS, self.wallet_id)

    def states(self) -> tuple[str, str]:
        """Return the payment's status and the wallet's state."""
        return self.row()["status"], self.wallet()["state"]

    def update(self, *, status: str | None = None, state: str | None = None) -> None:
        """Change status or state as the application's web process would."""
        connection = self.shop.world.conn
        if status is not None:
            statement = sql.SQL("UPDATE {} SET status = %s WHERE id = %s")
            connection.execute(statement.format(sql.Identifier(self.shop.names.payments)), [status, self.id])
        if state is not None:
            statement = sql.SQL("UPDATE {} SET state = %s WHERE id = %s")
            connection.execute(statement.format(sql.Identifier(tables.WALLETS)), [state, self.wallet_id])


class PaymentShop:
    """Fills the payment module's tables and the chain."""

    def __init__(
        self,
        world: Rows,
        chain: PaymentChain,
        *,
        encryption_key: str = ENCRYPTION_KEY,
        names: TableNames | None = None,
    ) -> None:
        self.world = world
        self.chain = chain
        self.fernet = Fernet(encryption_key)
        self.names = names or TableNames()
        self.tokens: list[Token] = []

    def one(self, table: str, key: int) -> dict[str, Any]:
        """Return a row."""
        statement = sql.SQL("SELECT * FROM {} WHERE id = %s").format(sql.Identifier(table))
        with self.world.conn.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(statement, [key]).fetchone()
        if row is None:
            raise LookupError(f"{table} has no row {key}")
        return row

    def token(
        self, symbol: str, *, price: str, mint: str | None = None, decimals: int | None = None, **columns: Any
    ) -> Token:
        """Insert a token: SOL, or an SPL token whose mint is created unless it is given."""
        native = symbol == "SOL"
        decimals = 9 if native else 6 if decimals is None else decimals
        address = None if native else mint or self.chain.create_mint(symbol, decimals)
        key = self._insert(
            self.names.tokens,
            is_active=True,
            token_type="NATIVE" if native else "SPL",
            mint_address=address,
            payment_crypto_price=Decimal(price),
            **{"name": symbol, "symbol": symbol, "meta_data": Jsonb({})} | columns,
        )
        made = Token(key, symbol, address, decimals, Decimal(price))
        self.tokens.append(made)
        return made

    def payment(
        self,
        *,
        expires_in: float = 1_800,
        status: str = "initiated",
        state: str = "created",
        tokens: Iterable[Token] | None = None,
        key: Keypair | None = None,
        key_form: KeyForm = "encrypted",
        open_accounts: bool = True,
        **columns: Any,
    ) -> Payment:
        """Insert a payment with its wallet, its prices, and (on the chain) the wallet's token accounts.

        `expires_in` is in seconds from the world's now; `key_form` says how the wallet's key is stored.
        """
        key = key or Keypair()
        chosen = self.tokens if tokens is None else list(tokens)
        expires_at = self.world.now + timedelta(seconds=expires_in)
        wallet = self._insert(tables.WALLETS, keypair_json=self.stored(key, key_form), state=state)
        if self.names.payments == tables.PAYMENTS:
            columns = {"meta_data": Jsonb({})} | columns
        payment = self._insert(
            self.names.payments,
            payment_address=str(key.pubkey()),
            one_time_payment_wallet_id=wallet,
            status=status,
            expiration_date=expires_at,
            **columns,
        )
        for token in chosen:
            price = self._insert(
                tables.PRICES, amount_in_crypto=token.price, meta_data=Jsonb({}), token_id=token.id
            )
            self.world.insert(
                self.names.payment_prices,
                **{self.names.payment_column: payment, "solanapaypaymentcryptoprice_id": price},
            )
        if open_accounts:
            self.chain.open_accounts([(str(key.pubkey()), token.mint) for token in chosen if token.mint])
        return Payment(self, (payment, wallet), key, expires_at)

    def stored(self, key: Keypair, form: KeyForm) -> Jsonb:
        """Return column keypair_json of a wallet."""
        text = key.to_json()
        if form == "plain":
            return Jsonb(text)
        if form == "array":
            return Jsonb(json.loads(text))
        if form == "garbage":
            return Jsonb("not a key")
        if form == "someone_else":
            text = Keypair().to_json()
        fernet = Fernet(Fernet.generate_key()) if form == "other_key" else self.fernet
        return Jsonb(fernet.encrypt(text.encode()).decode())

    def _insert(self, table: str, **columns: Any) -> int:
        now = self.world.now
        return int(self.world.insert(table, **{"created": now, "updated": now} | columns))
