"""What names mean where there is no instrument file to look in: by the calendar's expiry rules alone."""

import re
from datetime import date

from core.errors import DataError
from core.market import Calendar
from core.types import SEGMENTS, Instrument, Kind
from data_ingestion.contracts import INDEX_KEYS, future_by_rules, instrument_of, parse_contract

_LOGICAL = re.compile(r"^(.+)_FUT(_NEXT|_FAR)?$")
_AHEAD = {None: 0, "_NEXT": 1, "_FAR": 2}
_ROOTS = {key: root for root, key in reversed(INDEX_KEYS.items())}  # the first root of a key names its derivatives


def expired_contract(name: str, calendar: Calendar, around: date, today: date) -> Instrument | None:
    """The contract that `name` (NIFTY26OCTFUT, NFO:NIFTY26OCTFUT) named around a day, if it expired before `today`; None for the rest."""
    symbol = name.rpartition(":")[2]
    try:
        contract = parse_contract(symbol, calendar, around)
    except DataError:
        return None
    if contract is None or contract.expiry >= today:
        return None
    return instrument_of(contract, calendar, contract.expiry, symbol=symbol)


def instrument_by_rules(name: str, calendar: Calendar, on: date) -> Instrument:
    """NIFTY_FUT (_NEXT, _FAR) as on a day, a contract, an index, else the stock of that symbol; DataError for an exchange there is not."""
    exchange, _, symbol = name.rpartition(":")
    if exchange and exchange not in SEGMENTS:
        raise DataError(f"{name!r}: there is no exchange {exchange!r}; write one of {', '.join(SEGMENTS)} before the symbol")
    if match := _LOGICAL.match(symbol):
        return future_by_rules(match[1], on, calendar, _AHEAD[match[2]])
    contract = parse_contract(symbol, calendar, on)
    if contract is not None:
        return instrument_of(contract, calendar, on, symbol=symbol)
    key = name if name in _ROOTS else "" if exchange else INDEX_KEYS.get(symbol.replace(" ", ""), "")
    if key:
        exchange, _, symbol = key.partition(":")
        return Instrument(key, exchange, symbol, Kind.INDEX, _ROOTS[key])
    exchange = exchange or "NSE"
    return Instrument(f"{exchange}:{symbol}", exchange, symbol, Kind.EQUITY, symbol)
