"""What the connection `solana_default` says, checked before the first call."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from solders.pubkey import Pubkey

from cp_ops.runtime.errors import ConnectionInvalidError
from cp_ops.runtime.validation import first_problem
from cp_ops.solana.keys import WalletKeyRing, parse_keypair

if TYPE_CHECKING:
    from collections.abc import Mapping

    from solders.keypair import Keypair

Commitment = Literal["processed", "confirmed", "finalized"]
FinalCommitment = Literal["confirmed", "finalized"]
FASTER: FinalCommitment = "confirmed"
SLOWER: FinalCommitment = "finalized"
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
MODULE = "django_solana_payments"


@dataclass(frozen=True)
class PaymentTables:
    """Names of the payment module's tables: the swappable ones as configured, the others fixed."""

    payments: str = f"{MODULE}_solanapayment"
    tokens: str = f"{MODULE}_paymentcryptotoken"
    payment_prices: str = f"{MODULE}_solanapayment_crypto_prices"
    payment_column: str = "solanapayment_id"
    wallets: str = f"{MODULE}_onetimepaymentwallet"
    prices: str = f"{MODULE}_solanapaypaymentcryptoprice"

    def identifiers(self) -> dict[str, str]:
        """Give the names as the statements of domain `solana` leave them open."""
        return asdict(self)


class SolanaFields(BaseModel):
    """The connection's fields: host is the RPC URL, password the fee payer's key, the rest is extra."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    rpc_url: str
    fee_payer: SecretStr
    receiver_address: str
    commitment: FinalCommitment = "confirmed"
    payment_acceptance_commitment: FinalCommitment = "confirmed"
    timeout: float = Field(10.0, gt=0, le=120)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    calls_per_second: float | None = Field(None, gt=0)
    calls_per_second_per_method: float | None = Field(None, gt=0)
    batch_size: int = Field(20, ge=1, le=100)
    wallet_encryption_keys: tuple[SecretStr, ...] = ()
    max_priority_fee: int = Field(100_000, ge=0)
    payments_table: str = PaymentTables.payments
    tokens_table: str = PaymentTables.tokens
    payment_prices_table: str = ""
    payment_prices_column: str = ""

    @field_validator("rpc_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s/]+\S*", url):
            raise ValueError("must be the RPC node's URL, such as https://api.mainnet-beta.solana.com")
        return url

    @field_validator("wallet_encryption_keys", mode="before")
    @classmethod
    def _one_or_several(cls, keys: Any) -> Any:
        return [key for key in re.split(r"[\s,]+", keys) if key] if isinstance(keys, str) else keys

    @field_validator("payments_table", "tokens_table", "payment_prices_table", "payment_prices_column")
    @classmethod
    def _is_identifier(cls, name: str) -> str:
        if name and not _IDENTIFIER.fullmatch(name):
            raise ValueError(
                "must be a table's or column's name: lower-case letters, digits and underscores, at most 63"
            )
        return name

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        total, one = self.calls_per_second, self.calls_per_second_per_method
        if total is not None and one is not None and one > total:
            raise ValueError("calls_per_second_per_method must not be more than calls_per_second")
        return self


@dataclass(frozen=True)
class SolanaConfiguration:
    """The parsed connection. Secrets are in `fee_payer` and `keys` only, and in no repr."""

    rpc_url: str = field(repr=False)
    fee_payer: Keypair = field(repr=False)
    receiver: Pubkey
    keys: WalletKeyRing = field(repr=False)
    tables: PaymentTables
    commitment: FinalCommitment = "confirmed"
    payment_acceptance_commitment: FinalCommitment = "confirmed"
    timeout: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    calls_per_second: float | None = None
    calls_per_second_per_method: float | None = None
    batch_size: int = 20
    max_priority_fee: int = 100_000
    """Micro-lamports per compute unit."""

    @classmethod
    def of(cls, conn_id: str, given: Mapping[str, Any]) -> SolanaConfiguration:
        """Check the connection's fields.

        :param given: the fields of `SolanaFields`, by name.
        :raises ConnectionInvalidError: naming the first wrong field, its problem and the fix; never its value.
        """
        try:
            fields = SolanaFields.model_validate({k: v for k, v in given.items() if v is not None})
        except ValidationError as error:
            problem = first_problem(error)
            raise _invalid(conn_id, problem.field or "extra", problem.message) from None
        fee_payer = _parsed(conn_id, "fee_payer", parse_keypair, fields.fee_payer.get_secret_value())
        receiver = _parsed(conn_id, "receiver_address", _parse_address, fields.receiver_address)
        # Swept funds would pay the fees of later runs, and no account could tell the two apart.
        if receiver == fee_payer.pubkey():
            raise _invalid(conn_id, "receiver_address", "is the fee payer itself: swept funds would pay fees")
        secrets = [key.get_secret_value() for key in fields.wallet_encryption_keys]
        model = fields.payments_table
        return cls(
            rpc_url=fields.rpc_url,
            fee_payer=fee_payer,
            receiver=receiver,
            keys=_parsed(conn_id, "wallet_encryption_keys", WalletKeyRing, secrets),
            tables=PaymentTables(
                payments=model,
                tokens=fields.tokens_table,
                payment_prices=fields.payment_prices_table or f"{model}_crypto_prices",
                payment_column=fields.payment_prices_column or f"{model.rsplit('_', 1)[-1]}_id",
            ),
            **fields.model_dump(
                include={
                    "commitment",
                    "payment_acceptance_commitment",
                    "timeout",
                    "headers",
                    "calls_per_second",
                    "calls_per_second_per_method",
                    "batch_size",
                    "max_priority_fee",
                }
            ),
        )


def _parsed(conn_id: str, name: str, parse: Any, value: Any) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise _invalid(conn_id, name, str(error)) from None


def _parse_address(text: str) -> Pubkey:
    try:
        return Pubkey.from_string(text.strip())
    except ValueError:
        raise ValueError("must be a Solana address: 32 bytes in base58") from None


def _invalid(conn_id: str, name: str, problem: str) -> ConnectionInvalidError:
    return ConnectionInvalidError(f"Airflow connection {conn_id!r}, field {name}: {problem} (docs/solana.md)")
