"""The payment module's tables beside the application's: the sandbox's copy from `include/solana_payments/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.application import REPOSITORY
from sandbox.processes import ServiceError

if TYPE_CHECKING:
    from sandbox.application import ApplicationDatabase

PAYMENTS_SQL = REPOSITORY / "include" / "solana_payments"
WALLETS = "django_solana_payments_onetimepaymentwallet"
TOKENS = "django_solana_payments_paymentcryptotoken"
PRICES = "django_solana_payments_solanapaypaymentcryptoprice"
PAYMENTS = "django_solana_payments_solanapayment"
PAYMENT_PRICES = "django_solana_payments_solanapayment_crypto_prices"


def create_payment_tables(database: ApplicationDatabase) -> None:
    """Create the tables as the application's owner, unless they are there; its default privileges admit the jobs."""
    import psycopg

    with psycopg.connect(database.owner_dsn) as connection:
        row = connection.execute("SELECT to_regclass(%s)", [PAYMENTS]).fetchone()
        if row and row[0] is not None:
            return
        for script in sorted(PAYMENTS_SQL.glob("*.sql")):
            try:
                connection.execute(script.read_text(encoding="utf-8").encode())
            except psycopg.Error as error:
                raise ServiceError(f"include/solana_payments/{script.name}: {error}") from error
