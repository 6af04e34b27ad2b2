"""Upstox's instrument file (complete.json) as InstrumentRows: identities in the words all brokers share, prices in rupees.

In the file `tick_size` is in paise, `expiry` the epoch milliseconds of 23:59:59 IST, and an instrument key stands for the day only:
exchange tokens are given to other contracts after an expiry, and a share's ISIN changes with a split.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import msgspec

from brokers.naming import contract_symbol
from brokers.spec import InstrumentRow
from brokers.upstox.mapping import SEGMENTS
from core.errors import DataError
from core.types import IST, Kind


class _Line(msgspec.Struct, gc=False):
    segment: str
    instrument_key: str
    instrument_type: str = ""
    trading_symbol: str = ""
    name: str = ""
    underlying_symbol: str = ""
    lot_size: float = 0
    tick_size: float = 0.0
    qty_multiplier: float = 1.0
    freeze_quantity: float | None = None
    expiry: int | None = None
    strike_price: float | None = None
    weekly: bool = False


_LINES = msgspec.json.Decoder(list[_Line])
_BY_LOTS = frozenset({"MCX", "NCO"})  # ordered in lots, each `qty_multiplier` units


class DumpReader:
    """The file's rows; those we do not trade are counted in `skipped` by reason where they are instruments of a known exchange."""

    def __init__(self, dump: bytes) -> None:
        self._dump = dump
        self.skipped: dict[str, int] = {}
        self.complete = dump.rstrip()[-1:] == b"]"

    def __iter__(self) -> Iterator[InstrumentRow]:
        try:
            lines = _LINES.decode(self._dump)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"the instrument file does not read ({error}); it begins {self._dump[:80]!r}; download it again") from error
        days: dict[int, date] = {}
        for line in lines:
            try:
                row = self._row(line, days)
            except (ValueError, OverflowError, OSError):
                self._skip("a number or date that does not read")
                continue
            if row is not None:
                yield row

    def _row(self, line: _Line, days: dict[int, date]) -> InstrumentRow | None:
        exchange = SEGMENTS.get(line.segment)
        if exchange is None or line.instrument_type == "COM":
            if not line.segment.startswith("GLOBAL") and line.instrument_type != "COM":
                self._skip(f"segment {line.segment or 'missing'}")
            return None  # world indices and spot commodities are nobody's orders
        if not line.trading_symbol:
            self._skip("no symbol")
            return None
        if line.segment.endswith("_INDEX"):
            symbol = line.instrument_key.partition("|")[2].upper()
            return InstrumentRow(f"{exchange}:{symbol}", exchange, symbol, Kind.INDEX, symbol, line.instrument_key, line.name)
        if line.segment.endswith("_EQ"):
            return self._share(line, exchange)
        return self._contract(line, exchange, days)

    def _share(self, line: _Line, exchange: str) -> InstrumentRow:
        series = line.instrument_type
        symbol = line.trading_symbol if exchange == "BSE" or series == "EQ" else f"{line.trading_symbol}-{series}"
        key = f"{exchange}:{symbol}"
        lot, tick = max(1, int(line.lot_size)), round(line.tick_size / 100, 6)
        return InstrumentRow(key, exchange, symbol, Kind.EQUITY, symbol, line.instrument_key, line.name, lot, tick)

    def _contract(self, line: _Line, exchange: str, days: dict[int, date]) -> InstrumentRow | None:
        if line.instrument_type not in ("FUT", "CE", "PE"):
            self._skip(f"type {line.instrument_type or 'missing'}")
            return None
        kind, root = Kind(line.instrument_type), line.underlying_symbol
        strike = line.strike_price if kind is not Kind.FUTURE else None
        if line.expiry is None or not root or (kind is not Kind.FUTURE and not strike):
            self._skip("derivative without underlying, expiry or strike")
            return None
        expiry = days.get(line.expiry)
        if expiry is None:
            expiry = days[line.expiry] = datetime.fromtimestamp(line.expiry / 1000, UTC).astimezone(IST).date()
        symbol = contract_symbol(root, expiry, kind, strike, weekly=line.weekly)
        by_lots = exchange in _BY_LOTS
        return InstrumentRow(
            key=f"{exchange}:{symbol}",
            exchange=exchange,
            symbol=symbol,
            kind=kind,
            underlying=root,
            token=line.instrument_key,
            name=line.name,
            lot=1 if by_lots else int(line.lot_size),
            tick_size=round(line.tick_size / 100, 6),
            expiry=expiry,
            strike=strike,
            multiplier=max(1, int(line.qty_multiplier)),
            freeze=int(line.freeze_quantity or 0) or None,
        )

    def _skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def parse_instruments(dump: bytes) -> DumpReader:
    """Read the unpacked file; raises DataError while iterating if it is not Upstox's."""
    return DumpReader(dump)
