"""Logical names: what a strategy may call a contract by, whatever the month and wherever the price is.

    ROOT_FUT, ROOT_FUT_NEXT, ROOT_FUT_FAR        the near, next and far month's future
    ROOT[_TERM]_ATM_CE, ROOT[_TERM]_ATM_PE       the call or put whose strike is nearest to the underlying's price (of two, the lower)
    ROOT[_TERM]_CE_+2, ROOT[_TERM]_PE_-3         so many listed strikes above (+) or below (-) that one, for calls and puts alike

TERM is WEEK, WEEK_NEXT, MONTH or MONTH_NEXT. WEEK is the nearest expiry of a root that has weekly contracts (in a monthly's week that is
the monthly), MONTH the nearest monthly expiry; _NEXT is the one after. Without a TERM it is the nearest expiry there is.
An index option counts through its expiry day. A stock option counts through E-2, as its future does: it settles by delivery.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta

import msgspec

from core.errors import DataError
from core.market import Calendar
from core.types import Instrument, Kind
from data_ingestion.contracts import INDEX_KEYS, Contract, future_by_rules, instrument_of

PriceOf = Callable[[str], float]
"""The last price of an underlying by its key (NSE:NIFTY 50, NSE:RELIANCE); raises DataError where there is none."""

_FUTURE = re.compile(r"^([A-Z0-9&-]+)_FUT(_NEXT|_FAR)?$")
_OPTION = re.compile(r"^([A-Z0-9&-]+?)(?:_(WEEK|WEEK_NEXT|MONTH|MONTH_NEXT))?_(?:ATM_(CE|PE)|(CE|PE)_([+-]\d{1,3}))$")
_MONTHS = {None: 0, "_NEXT": 1, "_FAR": 2}
_AHEAD = timedelta(days=75)  # two monthly expiries lie within


class FutureName(msgspec.Struct, frozen=True):
    """A future by its month: 0 near, 1 next, 2 far."""

    root: str
    months: int


class OptionName(msgspec.Struct, frozen=True):
    """An option by its term ("" = nearest) and its place in the ladder of strikes: 0 at the money, above it positive."""

    root: str
    term: str
    kind: Kind
    steps: int


def parse(name: str) -> FutureName | OptionName | None:
    """What the name says; None where it is no logical name."""
    if future := _FUTURE.match(name):
        return FutureName(future[1], _MONTHS[future[2]])
    if option := _OPTION.match(name):
        return OptionName(option[1], option[2] or "", Kind(option[3] or option[4]), int(option[5] or 0))
    return None


def underlying_key(root: str) -> str:
    """The key of what the option is written on: the index, else the share."""
    return INDEX_KEYS.get(root, f"NSE:{root}")


def choose_expiry(name: OptionName, listed: Sequence[date], on: date, calendar: Calendar) -> date:
    """The expiry that the name means on `on`, of those `listed` (ascending); raises DataError with those there are."""
    contracts, root = calendar.contracts, name.root
    index = root in contracts.index_roots
    live = [day for day in listed if day >= on and (index or on <= contracts.back(day, contracts.lead(root)))]
    months = [day for day in live if contracts.is_monthly(root, day, exchange=exchange_of(root))]
    wanted = months if name.term.startswith("MONTH") else live
    place = 1 if name.term.endswith("_NEXT") else 0
    if name.term.startswith("WEEK") and len(live) == len(months):
        raise DataError(f"{root} has no weekly options on {on}; say {root}_MONTH_..., or leave the term out for the nearest expiry")
    if len(wanted) <= place:
        shown = ", ".join(day.isoformat() for day in live[:6]) or "none"
        raise DataError(f"{root} has no {name.term or 'nearest'} option expiry on {on}: it has {shown}")
    return wanted[place]


def choose_strike(name: OptionName, strikes: Sequence[float], price: float) -> float:
    """The strike that the name means with the underlying at `price`, of the listed `strikes` (ascending)."""
    if not strikes:
        raise DataError(f"{name.root} has no {name.kind} strikes of that expiry")
    money = min(range(len(strikes)), key=lambda place: (abs(strikes[place] - price), strikes[place]))
    if not 0 <= money + name.steps < len(strikes):
        raise DataError(
            f"{name.root} has no {name.kind} {name.steps:+d} strikes from {strikes[money]:g}: {strikes[0]:g} to {strikes[-1]:g} are listed"
        )
    return strikes[money + name.steps]


def by_rules(name: FutureName | OptionName, on: date, calendar: Calendar, price: PriceOf | None) -> Instrument:
    """The contract by the calendar's expiries, lots and strike steps, for days of which no instruments are kept. DataError where these say
    nothing (a stock's strikes)."""
    if isinstance(name, FutureName):
        return future_by_rules(name.root, on, calendar, name.months)
    listed = calendar.contracts.expiries(name.root, on, on + _AHEAD, exchange=exchange_of(name.root))
    expiry = choose_expiry(name, listed, on, calendar)
    step = calendar.contracts.strike_step(name.root)
    if step is None:
        raise DataError(f"the strikes of {name.root} are only in the instruments of a day; none of {on} are kept (`instruments update`)")
    level = price_of(name, price)
    money = int(level // step) * step
    nearest = choose_strike(msgspec.structs.replace(name, steps=0), [money, money + step], level)
    strike = nearest + name.steps * step
    if strike <= 0:
        raise DataError(f"{name.root} has no strike {strike:g}")
    return instrument_of(Contract(name.root, name.kind, expiry, strike), calendar, on, level=level)


def price_of(name: OptionName, price: PriceOf | None) -> float:
    """The underlying's price; DataError that says what is missing where nobody gives one."""
    key = underlying_key(name.root)
    if price is None:
        raise DataError(
            f"an option by its distance from the money needs the price of {key}: give it with --price, or name the contract itself"
        )
    return price(key)


def exchange_of(root: str) -> str:
    """Where the root's contracts trade."""
    return Contract(root, Kind.FUTURE, date.min).exchange
