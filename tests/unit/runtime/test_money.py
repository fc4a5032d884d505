"""Money: exact, or an error that names the amount."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from babel.numbers import get_currency_precision, is_currency
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.runtime.money import (
    EXPONENTS,
    FOUR_DECIMAL,
    STRIPE_MULTIPLES,
    THREE_DECIMAL,
    TWO_DECIMAL,
    ZERO_DECIMAL,
    Money,
    MoneyError,
    parse_limits,
    totals,
)

currencies = st.sampled_from(sorted(EXPONENTS))
monies = st.builds(Money, st.integers(-(10**15), 10**15), currencies)


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        ("12.34", "USD", 1234),
        ("12.3", "usd", 1230),
        ("0", "EUR", 0),
        ("-5.00", "EUR", -500),
        ("1000.00", "JPY", 1000),
        ("500", "XAF", 500),
        ("1.23", "KWD", 1230),
        ("1.234", "BHD", 1234),
        ("9999999999.99", "USD", 999999999999),
    ],
)
def test_an_amount_counts_in_the_minor_units_of_its_currency(amount, currency, units):
    """A trap: dividing or multiplying by 100 whatever the currency."""
    assert Money.of(Decimal(amount), currency).minor_units == units


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("1000.50", "JPY"),
        ("0.001", "USD"),
        ("1.2345", "KWD"),
        ("12345678901234567890123456789.001", "USD"),
        ("1E-40", "USD"),
    ],
)
def test_an_amount_finer_than_its_currency_is_refused_not_rounded(amount, currency):
    with pytest.raises(MoneyError, match="is finer than the currency's"):
        Money.of(Decimal(amount), currency)


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity", "twelve", ""])
def test_what_is_no_number_is_refused(amount):
    with pytest.raises(MoneyError, match="is not an amount of USD"):
        Money.of(amount, "USD")


@pytest.mark.parametrize("currency", ["", "US", "XXX", "DEM", "USDT", "€"])
def test_an_unknown_currency_is_refused(currency):
    with pytest.raises(MoneyError, match="not a current ISO 4217 code"):
        Money.of("1", currency)


def test_no_currency_is_in_two_lists():
    assert len(EXPONENTS) == sum(map(len, (ZERO_DECIMAL, TWO_DECIMAL, THREE_DECIMAL, FOUR_DECIMAL)))


def test_the_decimals_agree_with_an_independent_table():
    """Unicode CLDR, through Babel. It lists what is customary: fewer decimals than ISO where coins went out of use."""
    known = {code: get_currency_precision(code) for code in EXPONENTS if is_currency(code)}
    assert len(known) > 150
    assert [code for code, decimals in known.items() if decimals > EXPONENTS[code]] == []
    for code in (
        "USD",
        "EUR",
        "GBP",
        "CHF",
        "JPY",
        "KRW",
        "VND",
        "XOF",
        "CLP",
        "PYG",
        "KWD",
        "BHD",
        "TND",
        "CLF",
    ):
        assert known[code] == EXPONENTS[code]


@given(monies)
def test_decimal_and_minor_units_convert_back_and_forth_without_loss(money):
    assert Money.of(money.amount, money.currency) == money
    assert Money.of(str(money.amount), money.currency.lower()) == money


@given(monies)
def test_what_stripe_accepts_comes_back_as_it_went(money):
    try:
        counted = money.for_stripe()
    except MoneyError:
        assert money.currency in {*STRIPE_MULTIPLES, "MGA"}
    else:
        assert Money.from_stripe(counted, money.currency) == money


@given(st.decimals(-(10**9), 10**9, places=2, allow_nan=False), currencies)
def test_what_the_ledger_holds_comes_back_as_it_went(amount, currency):
    try:
        money = Money.of(amount, currency)
    except MoneyError:
        assert EXPONENTS[currency] == 0
        assert amount != amount.to_integral_value()
    else:
        assert money.for_ledger() == amount
        assert money.for_ledger().as_tuple().exponent == -2


@pytest.mark.parametrize(
    ("amount", "currency", "counted"),
    [
        ("10", "USD", 1000),
        ("500", "JPY", 500),
        ("5", "ISK", 500),
        ("5", "UGX", 500),
        ("300", "MGA", 300),
        ("5.12", "KWD", 5120),
        ("10.45", "HUF", 1045),
    ],
)
def test_stripe_counts_as_its_documentation_says(amount, currency, counted):
    assert Money.of(amount, currency).for_stripe() == counted
    assert Money.from_stripe(counted, currency.lower()) == Money.of(amount, currency)


@pytest.mark.parametrize(("amount", "currency"), [("5.124", "KWD"), ("300.40", "MGA")])
def test_what_stripe_would_refuse_is_refused_before(amount, currency):
    with pytest.raises(MoneyError, match="finer than what Stripe charges"):
        Money.of(amount, currency).for_stripe()


def test_a_fraction_that_stripe_never_sends_is_refused():
    with pytest.raises(MoneyError, match="fraction of a whole ISK"):
        Money.from_stripe(550, "isk")


def test_the_ledger_refuses_what_its_columns_cannot_hold():
    with pytest.raises(MoneyError, match=r"1\.234 KWD does not fit"):
        Money(1234, "KWD").for_ledger()
    with pytest.raises(MoneyError, match=r"10,000,000,000\.00 USD does not fit"):
        Money(10**12, "USD").for_ledger()
    assert Money(10**12 - 1, "USD").for_ledger() == Decimal("9999999999.99")


@given(st.integers(0, 10**9), st.sampled_from(["USD", "JPY", "KWD"]), st.integers(1, 366), st.data())
def test_the_shares_of_a_whole_add_up_to_it_however_it_is_cut(units, currency, parts, data):
    step = 10 if currency in THREE_DECIMAL else 1
    fee = Money(units * step, currency)
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, parts), max_size=6))), parts]
    shares = [(fee.share(start, stop, parts), stop - start) for start, stop in pairwise(edges)]

    assert sum(share.minor_units for share, _ in shares) == fee.minor_units
    for share, length in shares:
        assert share.for_ledger() >= 0
        assert abs(share.minor_units * parts - fee.minor_units * length) <= step * parts


@pytest.mark.parametrize(("start", "stop", "parts"), [(-1, 2, 3), (2, 1, 3), (0, 4, 3), (0, 0, 0)])
def test_a_share_outside_the_whole_is_a_mistake(start, stop, parts):
    with pytest.raises(ValueError, match="no parts"):
        Money(100, "USD").share(start, stop, parts)


def test_currencies_do_not_mix():
    assert Money(1, "USD") + Money(2, "USD") - Money(4, "USD") == Money(-1, "USD")
    with pytest.raises(MoneyError, match="USD and EUR cannot be added"):
        Money(1, "USD") + Money(1, "EUR")


def test_totals_are_per_currency():
    found = totals([Money(5, "USD"), Money(7, "JPY"), Money(6, "USD")])
    assert list(found.values()) == [Money(7, "JPY"), Money(11, "USD")]


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(123456789, "USD"), "1,234,567.89 USD"),
        (Money(-5, "EUR"), "-0.05 EUR"),
        (Money(1234567, "JPY"), "1,234,567 JPY"),
        (Money(1230, "KWD"), "1.230 KWD"),
        (Money(0, "USD"), "0.00 USD"),
        (Money(10**15, "JPY"), "1,000,000,000,000,000 JPY"),
    ],
)
def test_money_reads_with_the_decimals_of_its_currency(money, text):
    assert str(money) == text


def test_limits_are_read_per_currency():
    assert parse_limits("") == {}
    assert parse_limits(" usd = 50000 ,JPY=9000000, KWD=1.5") == {
        "USD": Money(5000000, "USD"),
        "JPY": Money(9000000, "JPY"),
        "KWD": Money(1500, "KWD"),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("50000", "is not CURRENCY=AMOUNT"),
        ("USD=-1", "is not CURRENCY=AMOUNT"),
        ("USD=1e9", "is not CURRENCY=AMOUNT"),
        ("XYZ=5", "not a current ISO 4217 code"),
        ("JPY=0.5", "finer than the currency's 0 decimals"),
        ("USD=1,usd=2", "USD is given twice"),
    ],
)
def test_a_wrong_limit_is_named(text, problem):
    with pytest.raises(ValueError, match=problem):
        parse_limits(text)
