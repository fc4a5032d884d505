"""Currencies and amounts as Stripe accepts them (https://docs.stripe.com/currencies)."""

from __future__ import annotations

from typing import Any

from .errors import ApiError, bad_parameter

ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
THREE_DECIMAL = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
# Represented with two decimals that are always 00, for backwards compatibility.
WHOLE_UNITS_ONLY = frozenset({"isk", "ugx"})
_TWO_DECIMAL = frozenset(
    [
        "usd",
        "aed",
        "afn",
        "all",
        "amd",
        "ang",
        "aoa",
        "ars",
        "aud",
        "awg",
        "azn",
        "bam",
        "bbd",
        "bdt",
        "bgn",
        "bmd",
        "bnd",
        "bob",
        "brl",
        "bsd",
        "bwp",
        "byn",
        "bzd",
        "cad",
        "cdf",
        "chf",
        "cny",
        "cop",
        "crc",
        "cve",
        "czk",
        "dkk",
        "dop",
        "dzd",
        "egp",
        "etb",
        "eur",
        "fjd",
        "fkp",
        "gbp",
        "gel",
        "gip",
        "gmd",
        "gtq",
        "gyd",
        "hkd",
        "hnl",
        "htg",
        "huf",
        "idr",
        "ils",
        "inr",
        "isk",
        "jmd",
        "kes",
        "kgs",
        "khr",
        "kyd",
        "kzt",
        "lak",
        "lbp",
        "lkr",
        "lrd",
        "lsl",
        "mad",
        "mdl",
        "mkd",
        "mmk",
        "mnt",
        "mop",
        "mur",
        "mvr",
        "mwk",
        "mxn",
        "myr",
        "mzn",
        "nad",
        "ngn",
        "nio",
        "nok",
        "npr",
        "nzd",
        "pab",
        "pen",
        "pgk",
        "php",
        "pkr",
        "pln",
        "qar",
        "ron",
        "rsd",
        "rub",
        "sar",
        "sbd",
        "scr",
        "sek",
        "sgd",
        "shp",
        "sle",
        "sos",
        "srd",
        "std",
        "szl",
        "thb",
        "tjs",
        "top",
        "try",
        "ttd",
        "twd",
        "tzs",
        "uah",
        "ugx",
        "uyu",
        "uzs",
        "wst",
        "xcd",
        "yer",
        "zar",
        "zmw",
    ]
)
SUPPORTED = ZERO_DECIMAL | THREE_DECIMAL | _TWO_DECIMAL
# Smallest charge in minor units; a currency that is not listed is held to one minor unit.
MINIMUM_CHARGE = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250,
    "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300,
    "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
MAXIMUM_CHARGE = 99_999_999


def exponent(currency: str) -> int:
    """Digits after the decimal point of an amount in minor units."""
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2


def display(amount: int, currency: str) -> str:
    """Return an amount for a message: ``2.50 eur``."""
    digits = exponent(currency)
    return f"{amount / 10**digits:.{digits}f} {currency}"


def checked_currency(currency: Any) -> str:
    """Return the currency in lower case, as every answer shows it."""
    code = str(currency).lower()
    if code not in SUPPORTED:
        known = ", ".join(sorted(SUPPORTED))
        raise bad_parameter(
            f"Invalid currency: {code}. Stripe currently supports these currencies: {known}", param="currency"
        )
    return code


def check_granularity(amount: int, currency: str, param: str = "amount") -> None:
    """Three-decimal amounts are multiples of 10; ISK and UGX amounts are multiples of 100."""
    step = 10 if currency in THREE_DECIMAL else 100 if currency in WHOLE_UNITS_ONLY else 1
    if amount % step:
        raise bad_parameter(
            f"Invalid amount. Amounts in {currency} must be multiples of {step}.",
            param=param,
            code="parameter_invalid_integer",
        )


def check_charge_amount(amount: int, currency: str) -> None:
    """Check what a payment intent or charge may ask for, in minor units."""
    if amount < 1:
        raise bad_parameter(
            "This value must be greater than or equal to 1.", param="amount", code="parameter_invalid_integer"
        )
    check_granularity(amount, currency)
    minimum = MINIMUM_CHARGE.get(currency, 1)
    if amount < minimum:
        raise ApiError(
            400,
            f"Amount must be at least {display(minimum, currency)}.",
            code="amount_too_small",
            param="amount",
        )
    if amount > MAXIMUM_CHARGE:
        raise ApiError(
            400,
            f"Amount must be no more than {display(MAXIMUM_CHARGE, currency)}.",
            code="amount_too_large",
            param="amount",
        )
