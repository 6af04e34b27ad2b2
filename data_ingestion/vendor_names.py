"""What the symbols of a user's data mean: keys by symbols.yaml, by the form of the name, and day by day for continuous futures."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import yaml

from core.errors import DataError
from core.market import Calendar
from core.types import SEGMENTS, Kind
from data_ingestion.contracts import INDEX_KEYS, Contract, instrument_of, numbered_future, parse_contract, symbol_of
from data_ingestion.shelf import PAIR, Ints

_EQUITY = re.compile(r"^[A-Z0-9][A-Z0-9&-]*$")
_DERIVATIVE = re.compile(r"\d(CE|PE)$|\d[A-Z]{3}FUT$")


def aliases(path: Path, symbols: Path | None) -> dict[str, str]:
    """The user's vendor's name -> key."""
    file = symbols or (path if path.is_dir() else path.parent) / "symbols.yaml"
    if not file.exists():
        if symbols is not None:
            raise DataError(f"there is no symbols file at {symbols}; it maps vendor's names to keys, such as NIFTY-I: NFO:NIFTY22NOVFUT")
        return {}
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{file} does not read: {error}") from error
    if not isinstance(given, dict):
        raise DataError(f"{file} must map vendor's names to keys, such as NIFTY-I: NFO:NIFTY22NOVFUT")
    for name, key in given.items():
        if not isinstance(key, str) or key.partition(":")[0] not in SEGMENTS or not key.partition(":")[2]:
            raise DataError(f"{file}: {name}: {key!r} is no key; write EXCHANGE:SYMBOL, such as NFO:NIFTY22NOVFUT")
    return {str(name): key for name, key in given.items()}


@dataclass(frozen=True)
class Name:
    """What a symbol of the data is: the exchange, its own symbol, and the contract (None for a stock or an index)."""

    exchange: str
    symbol: str
    kind: Kind
    contract: Contract | None = None

    @property
    def key(self) -> str:
        return f"{self.exchange}:{self.symbol}"


def named(
    symbols: Sequence[str], pairs: Ints, traded: frozenset[int], calendar: Calendar, given: Mapping[str, str], note: Callable[[str], None]
) -> list[Name | None]:
    """For each (symbol, day) of `pairs` what it is; continuous names change with the day. None is noted: it is left out.

    `traded` are the symbols that have a volume (an index has none), `given` the user's own names for keys.
    """
    found: list[Name | None] = []
    fixed: dict[str, Name | None] = {}
    unknown: dict[str, str] = {}
    for pair in pairs.tolist():
        symbol, day = symbols[pair // PAIR], date_of(pair % PAIR)
        rolling = None if symbol in given or ":" in symbol else numbered_future(symbol, calendar, day)
        if rolling is not None:
            instrument = instrument_of(rolling, calendar, day)
            found.append(Name(instrument.exchange, instrument.symbol, Kind.FUTURE, rolling))
            continue
        if symbol not in fixed:
            fixed[symbol] = _fixed(symbol, given.get(symbol), day, calendar, traded=pair // PAIR in traded)
        name = fixed[symbol]
        if name is None:
            unknown[symbol] = "not recognised: map it in symbols.yaml"
        elif name.contract is not None and name.contract.expiry < day:
            unknown[symbol] = f"rows after its expiry on {name.contract.expiry}"
            name = None
        found.append(name)
    for symbol, reason in unknown.items():
        note(f"{symbol}: left out, {reason}")
    return found


def _fixed(symbol: str, alias: str | None, day: date, calendar: Calendar, *, traded: bool) -> Name | None:
    exchange, _, own = (alias or symbol).rpartition(":")
    text = own.strip().upper().removesuffix(".NS")
    contract = parse_contract(text, calendar, day)
    if contract is not None:
        return Name(exchange or contract.exchange, symbol_of(contract, calendar), contract.kind, contract)
    index = INDEX_KEYS.get(text.replace(" ", ""))
    if not exchange and index is not None and not traded:
        return Name(index.partition(":")[0], index.partition(":")[2], Kind.INDEX)
    if not traded and text.startswith(("NIFTY", "INDIA VIX", "SENSEX", "BANKEX")):
        return Name(exchange or "NSE", text, Kind.INDEX)
    stock = _EQUITY.match(text) and not _DERIVATIVE.search(text)  # an option whose expiry the calendar does not have is no stock
    return Name(exchange or "NSE", text, Kind.EQUITY) if stock else None


def date_of(number: int) -> date:
    """The day that is so many days after 1970-01-01."""
    return date(1970, 1, 1) + timedelta(days=number)


def number_of(day: date) -> int:
    return (day - date(1970, 1, 1)).days
