"""Money: whole minor units of an ISO 4217 currency, converted exactly or refused.

The application keeps amounts as numeric(12,2); Stripe counts them in its own smallest unit. An amount that one side
cannot express is an error that names it: nothing is ever rounded on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Self

from cp_ops.runtime.errors import RowFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable

ZERO_DECIMAL = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())  # noqa: SIM905 - a table
THREE_DECIMAL = frozenset("BHD IQD JOD KWD LYD OMR TND".split())  # noqa: SIM905
FOUR_DECIMAL = frozenset("CLF UYW".split())  # noqa: SIM905
TWO_DECIMAL = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
    CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN
    NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC
    SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905
)
EXPONENTS: dict[str, int] = {
    **dict.fromkeys(TWO_DECIMAL, 2),
    **dict.fromkeys(ZERO_DECIMAL, 0),
    **dict.fromkeys(THREE_DECIMAL, 3),
    **dict.fromkeys(FOUR_DECIMAL, 4),
}
"""Digits after the decimal point of every current currency: ISO 4217, list one, column "Mnr unts"."""

STRIPE_EXPONENTS = {"ISK": 2, "UGX": 2, "MGA": 0}
"""Where Stripe's smallest unit is not ISO's (docs.stripe.com/currencies).

Section "Special cases": ISK and UGX became zero-decimal, but the API goes on counting them in hundredths, always whole
ones: 5 ISK is 500. Section "Zero-decimal currencies": MGA, whose subunit is a fifth, is counted in whole ariary. UGX
stands in that list, too; its special case is the more particular text and the one with an example. HUF and TWD are
special for payouts only.
"""
STRIPE_MULTIPLES = {"ISK": 100, "UGX": 100, **dict.fromkeys(THREE_DECIMAL, 10)}
"""What Stripe's amounts must be divisible by: ISK and UGX by section "Special cases", three-decimal currencies because
the last digit must be 0 (section "Three-decimal currencies")."""

LEDGER_EXPONENT = 2
"""Digits after the point of the application's columns, numeric(12,2)."""
LEDGER_LIMIT = Decimal(10) ** 10
"""The application's columns hold less than this."""


class MoneyError(RowFailedError):
    """An amount does not fit its currency, the currency is not known, or two currencies were mixed."""


def exponent(currency: str) -> int:
    """Give the digits after the decimal point of a currency.

    :param currency: its ISO 4217 code in upper case.
    :raises MoneyError: when there is no such currency.
    """
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise MoneyError(f"currency {currency!r} is not a current ISO 4217 code") from None


def _power(exponent_of_ten: int) -> int:
    """Give a power of ten, or 1 for a negative exponent."""
    return int(10 ** max(exponent_of_ten, 0))


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in whole minor units of its currency: 12.34 USD is ``Money(1234, "USD")``, 12 JPY ``Money(12, "JPY")``."""

    minor_units: int
    currency: str

    def __post_init__(self) -> None:
        exponent(self.currency)

    @classmethod
    def of(cls, amount: Decimal | str, currency: str) -> Self:
        """Convert a decimal amount exactly; the currency's code may be in any case.

        :raises MoneyError: when the amount is no finite number, or has more decimals than the currency.
        """
        code = currency.strip().upper()
        scale = _power(exponent(code))
        try:
            numerator, denominator = Decimal(amount).as_integer_ratio()
        except (InvalidOperation, ValueError, OverflowError):
            raise MoneyError(f"{amount!r} is not an amount of {code}") from None
        whole, rest = divmod(numerator * scale, denominator)
        if rest:
            raise MoneyError(f"{amount} {code} is finer than the currency's {exponent(code)} decimals")
        return cls(whole, code)

    @classmethod
    def from_stripe(cls, amount: int, currency: str) -> Self:
        """Read an amount as Stripe counts it.

        :raises MoneyError: when it is no whole number of the currency's minor units.
        """
        code = currency.strip().upper()
        shift = exponent(code) - STRIPE_EXPONENTS.get(code, exponent(code))
        if shift >= 0:
            return cls(amount * _power(shift), code)
        whole, rest = divmod(amount, _power(-shift))
        if rest:
            raise MoneyError(f"Stripe's amount {amount} is a fraction of a whole {code}")
        return cls(whole, code)

    @property
    def amount(self) -> Decimal:
        """The decimal amount, with as many decimals as the currency has."""
        return Decimal(f"{self.minor_units}E-{exponent(self.currency)}")

    def for_ledger(self) -> Decimal:
        """Give the amount as the application's columns hold it, with two decimals.

        :raises MoneyError: when it is finer or larger than numeric(12,2).
        """
        amount = self.amount
        stored = amount.quantize(Decimal(1).scaleb(-LEDGER_EXPONENT)) if abs(amount) < LEDGER_LIMIT else None
        if stored is None or stored != amount:
            raise MoneyError(f"{self} does not fit the application's columns, numeric(12,2)")
        return stored

    def for_stripe(self) -> int:
        """Give the amount as Stripe counts it.

        :raises MoneyError: when Stripe cannot express it, or would refuse it.
        """
        shift = STRIPE_EXPONENTS.get(self.currency, exponent(self.currency)) - exponent(self.currency)
        counted, rest = divmod(self.minor_units * _power(shift), _power(-shift))
        if rest or counted % STRIPE_MULTIPLES.get(self.currency, 1):
            raise MoneyError(f"{self} is finer than what Stripe charges in this currency")
        return counted

    def share(self, start: int, stop: int, parts: int) -> Money:
        """Give the share of the parts from `start` up to `stop` (not included) out of `parts` equal ones.

        Whatever a whole is cut into, the shares add up to it: each is the difference of two sums, rounded half up to
        what the application's columns can hold.

        :raises ValueError: when the parts are not within the whole.
        """
        if not 0 <= start <= stop <= parts or parts == 0:
            raise ValueError(f"no parts {start} to {stop} of {parts}")
        return Money(self._up_to(stop, parts) - self._up_to(start, parts), self.currency)

    def _up_to(self, stop: int, parts: int) -> int:
        if stop == parts:
            return self.minor_units
        # A currency with three decimals is rounded to what two can hold: the application's columns have no third.
        step = _power(exponent(self.currency) - LEDGER_EXPONENT)
        return (2 * self.minor_units * stop + parts * step) // (2 * parts * step) * step

    def __add__(self, other: Money) -> Money:
        self._require_same_currency(other)
        return Money(self.minor_units + other.minor_units, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._require_same_currency(other)
        return Money(self.minor_units - other.minor_units, self.currency)

    def __str__(self) -> str:
        return f"{self.amount:,f} {self.currency}"

    def _require_same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise MoneyError(f"{self.currency} and {other.currency} cannot be added")


def totals(amounts: Iterable[Money]) -> dict[str, Money]:
    """Add amounts up per currency, in the order of the currencies' codes."""
    sums: dict[str, int] = {}
    for money in amounts:
        sums[money.currency] = sums.get(money.currency, 0) + money.minor_units
    return {currency: Money(sums[currency], currency) for currency in sorted(sums)}


_LIMIT = re.compile(r"(?P<currency>[A-Za-z]{3})\s*=\s*(?P<amount>\d+(?:\.\d+)?)")


def parse_limits(text: str) -> dict[str, Money]:
    """Read amounts per currency, such as ``USD=50000, JPY=9000000``; an empty text gives none.

    :raises ValueError: naming the part that cannot be read.
    """
    limits: dict[str, Money] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _LIMIT.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is not CURRENCY=AMOUNT, such as USD=50000")
        try:
            money = Money.of(match["amount"], match["currency"])
        except MoneyError as error:
            raise ValueError(str(error)) from None
        if money.currency in limits:
            raise ValueError(f"{money.currency} is given twice")
        limits[money.currency] = money
    return limits
