"""Exact amounts: `google.type.Money` to and from `Decimal`, never through a float."""

from __future__ import annotations

from decimal import Decimal

from google.type.money_pb2 import Money

NANOS = 1_000_000_000


def money(amount: Decimal, currency_code: str) -> Money:
    """An amount of a currency; what is finer than the currency's minor unit the service refuses."""
    nanos = amount * NANOS
    if nanos != int(nanos):
        raise ValueError(f"{amount} {currency_code} is finer than a billionth")
    sign = -1 if nanos < 0 else 1
    units, rest = divmod(abs(int(nanos)), NANOS)
    return Money(currency_code=currency_code, units=sign * units, nanos=sign * rest)


def amount(value: Money) -> Decimal:
    """The number of units of the currency."""
    return value.units + Decimal(value.nanos) / NANOS
