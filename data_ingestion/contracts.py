"""Names of contracts: from an exchange-style or vendor's symbol to what it is, and from a root and a date to its future.

Kite's grammar is ROOT YY MMM (FUT | STRIKE CE/PE) for monthly contracts and ROOT YY M DD STRIKE CE/PE (M = 1-9, O, N, D) for weekly
ones; vendors also write ROOT YYMMDD STRIKE CE/PE. The digits alone are ambiguous (22112418300 is 2022-11-24 or 2022-01-12), so a
reading counts only where the calendar has that expiry, and of several the nearest one not yet expired.
"""

import re
from collections.abc import Iterator
from datetime import date

import msgspec

from core.errors import DataError
from core.market import Calendar
from core.types import Instrument, Kind

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
INDEX_KEYS = {
    "NIFTY": "NSE:NIFTY 50",
    "NIFTY50": "NSE:NIFTY 50",
    "BANKNIFTY": "NSE:NIFTY BANK",
    "NIFTYBANK": "NSE:NIFTY BANK",
    "FINNIFTY": "NSE:NIFTY FIN SERVICE",
    "MIDCPNIFTY": "NSE:NIFTY MID SELECT",
    "NIFTYNXT50": "NSE:NIFTY NEXT 50",
    "INDIAVIX": "NSE:INDIA VIX",
    "SENSEX": "BSE:SENSEX",
    "BANKEX": "BSE:BANKEX",
}
_BSE_ROOTS = frozenset({"SENSEX", "BANKEX", "SENSEX50"})
_FUTURE = re.compile(rf"^(.+?)(\d\d)({'|'.join(MONTHS)})FUT$")
_MONTHLY = re.compile(rf"^(.+?)(\d\d)({'|'.join(MONTHS)})(\d+(?:\.\d+)?)(CE|PE)$")
_DIGITS = re.compile(r"^([A-Z&-]+?(?:NXT50)?)(\d\d)(\d|[OND])(\d[\d.]+)(CE|PE)$")
_CONTINUOUS = re.compile(r"^(.+?)[-_](I{1,3})$")
_WEEKLY_MONTH = {**{str(month): month for month in range(1, 10)}, "O": 10, "N": 11, "D": 12}


class Contract(msgspec.Struct, frozen=True):
    """What a derivative's symbol says. `strike` is None for a future."""

    root: str
    kind: Kind
    expiry: date
    strike: float | None = None

    @property
    def exchange(self) -> str:
        return "BFO" if self.root in _BSE_ROOTS else "NFO"


def parse_contract(symbol: str, calendar: Calendar, on: date) -> Contract | None:
    """The contract that `symbol` named around the day `on`; None where it is no derivative's symbol of a known form."""
    if match := _FUTURE.match(symbol):
        root, year, month = match[1], 2000 + int(match[2]), MONTHS.index(match[3]) + 1
        return Contract(root, Kind.FUTURE, _monthly(calendar, root, year, month))
    if match := _MONTHLY.match(symbol):
        root, year, month = match[1], 2000 + int(match[2]), MONTHS.index(match[3]) + 1
        return Contract(root, Kind(match[5]), _monthly(calendar, root, year, month), float(match[4]))
    readings = list(_dated(symbol))
    listed = [one for one in readings if _has_expiry(calendar, one.root, one.expiry)] or [one for one in readings if one.expiry >= on]
    live = [one for one in listed if one.expiry >= on]
    if live:
        return min(live, key=lambda one: one.expiry)
    return max(listed, key=lambda one: one.expiry, default=None)


def numbered_future(symbol: str, calendar: Calendar, on: date) -> Contract | None:
    """NIFTY-I, -II, -III: the contract with the nearest, next and third monthly expiry not before `on`; None for another form."""
    match = _CONTINUOUS.match(symbol)
    if match is None:
        return None
    root, ahead = match[1], len(match[2]) - 1
    year, month = on.year, on.month
    if _monthly(calendar, root, year, month) < on:
        ahead += 1
    month += ahead
    return Contract(root, Kind.FUTURE, _monthly(calendar, root, year + (month - 1) // 12, (month - 1) % 12 + 1))


def symbol_of(contract: Contract, calendar: Calendar) -> str:
    """The exchange-style symbol as Kite writes it."""
    expiry, year = contract.expiry, f"{contract.expiry.year % 100:02d}"
    if contract.strike is None:
        return f"{contract.root}{year}{MONTHS[expiry.month - 1]}FUT"
    if expiry == _monthly(calendar, contract.root, expiry.year, expiry.month):
        stem = f"{year}{MONTHS[expiry.month - 1]}"
    else:
        stem = f"{year}{'123456789OND'[expiry.month - 1]}{expiry.day:02d}"
    return f"{contract.root}{stem}{contract.strike:.10g}{contract.kind.value}"


def instrument_of(
    contract: Contract, calendar: Calendar, day: date, *, level: float = 0.0, lot: int | None = None, symbol: str | None = None
) -> Instrument:
    """The contract as an Instrument by the calendar's tables, as of `day`; for days and contracts of which there is no dump.

    `level` is its price or its index's level (for the tick size); `lot` serves where the tables have none (stocks), else 1.
    """
    exchange = contract.exchange
    symbol = symbol or symbol_of(contract, calendar)
    units = calendar.contracts.lot(contract.root, contract.expiry, exchange=exchange) or lot or 1
    return Instrument(
        key=f"{exchange}:{symbol}",
        exchange=exchange,
        symbol=symbol,
        kind=contract.kind,
        underlying=contract.root,
        lot=units,
        tick_size=calendar.tick_size(contract.kind, contract.root, level, day),
        expiry=contract.expiry,
        strike=contract.strike,
        freeze=calendar.freeze(contract.root, day, units),
    )


def future_by_rules(root: str, on: date, calendar: Calendar, months: int = 0) -> Instrument:
    """What ROOT_FUT (`months` = 1: _NEXT, 2: _FAR) meant on a day of which there is no instrument file."""
    contract = Contract(root, Kind.FUTURE, calendar.future_expiry(root, on, months))
    return instrument_of(contract, calendar, on)


def _monthly(calendar: Calendar, root: str, year: int, month: int) -> date:
    return calendar.monthly_expiry(root, year, month, exchange="BFO" if root in _BSE_ROOTS else "NFO")


def _dated(symbol: str) -> Iterator[Contract]:
    """Both readings of the digits: YY M DD (weekly, Kite) and YY MM DD (vendors)."""
    match = _DIGITS.match(symbol)
    if match is None:
        return
    root, year, month, rest, kind = match[1], 2000 + int(match[2]), match[3], match[4], Kind(match[5])
    for which, day, strike in ((_WEEKLY_MONTH.get(month, 0), rest[:2], rest[2:]), (month + rest[:1], rest[1:3], rest[3:])):
        try:
            yield Contract(root, kind, date(year, int(which), int(day)), float(strike))
        except ValueError:
            continue


def _has_expiry(calendar: Calendar, root: str, day: date) -> bool:
    try:
        return bool(calendar.contracts.expiries(root, day, day, exchange="BFO" if root in _BSE_ROOTS else "NFO"))
    except DataError:
        return False
