"""Groww's instrument file (instrument.csv) as InstrumentRows: trading symbols are the exchange's own, prices in rupees.

`freeze_quantity` is the first quantity that is frozen, one more than the largest that may be ordered.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import date

from brokers.groww.mapping import EXCHANGES, token_of
from brokers.spec import InstrumentRow
from core.errors import DataError
from core.types import Kind

_KINDS = {"EQ": Kind.EQUITY, "IDX": Kind.INDEX, "FUT": Kind.FUTURE, "CE": Kind.CALL, "PE": Kind.PUT}
_NEEDED = frozenset({"exchange", "segment", "trading_symbol", "instrument_type", "lot_size", "tick_size", "expiry_date", "strike_price"})
INDICES: Mapping[str, str] = {
    "NIFTY": "NIFTY 50",
    "BANKNIFTY": "NIFTY BANK",
    "FINNIFTY": "NIFTY FIN SERVICE",
    "MIDCPNIFTY": "NIFTY MID SELECT",
    "NIFTYNXT50": "NIFTY NEXT 50",
    "NIFTYJR": "NIFTY NEXT 50",
    "INDIAVIX": "INDIA VIX",
}
"""Groww's names of NSE's indices -> the exchange's; any other keeps its own."""


class DumpReader:
    """The file's rows; those that cannot be traded are counted in `skipped` by reason."""

    def __init__(self, dump: bytes) -> None:
        self._dump = dump
        self.skipped: dict[str, int] = {}
        self.complete = dump[-1:] == b"\n"

    def __iter__(self) -> Iterator[InstrumentRow]:
        lines = csv.DictReader(io.StringIO(self._dump.decode("utf-8", "replace"), newline=""))
        missing = _NEEDED - set(lines.fieldnames or ())
        if missing:
            raise DataError(
                f"the instrument file lacks the columns {', '.join(sorted(missing))}; it begins {self._dump[:80]!r}; download it again"
            )
        try:
            for line in lines:
                try:
                    row = self._row(line)
                except (ValueError, TypeError, OverflowError):
                    self._skip("row that does not read")
                    continue
                if row is not None:
                    yield row
        except csv.Error as error:
            raise DataError(f"the instrument file breaks off at line {lines.line_num} ({error}); download it again") from error

    def _row(self, line: Mapping[str, str]) -> InstrumentRow | None:
        place, symbol = (line["exchange"], line["segment"]), line["trading_symbol"]
        exchange, kind = EXCHANGES.get(place), _KINDS.get(line["instrument_type"])
        if exchange is None or kind is None:
            self._skip(f"segment {'/'.join(place)}" if exchange is None else f"type {line['instrument_type'] or 'missing'}")
            return None
        if not symbol or "NSETEST" in symbol:
            self._skip("the exchange's test symbols" if symbol else "no symbol")
            return None
        token, name = token_of(*place, symbol), line.get("name") or ""
        if kind is Kind.INDEX:
            known = INDICES.get(symbol, symbol) if exchange == "NSE" else symbol
            return InstrumentRow(f"{exchange}:{known}", exchange, known, kind, known, token, name)
        lot, tick = int(float(line["lot_size"])), float(line["tick_size"])
        if kind is Kind.EQUITY:
            series = line.get("series") or "EQ"
            plain = exchange == "BSE" or series == "EQ" or symbol.endswith(f"-{series}")
            ours = symbol if plain else f"{symbol}-{series}"
            return InstrumentRow(f"{exchange}:{ours}", exchange, ours, kind, ours, token, name, max(1, lot), tick)
        root, strike = line.get("underlying_symbol") or "", float(line["strike_price"]) if kind is not Kind.FUTURE else None
        if not root or not line["expiry_date"] or (strike is not None and strike <= 0):
            self._skip("derivative without underlying, expiry or strike")
            return None
        freeze = int(float(line["freeze_quantity"])) - 1 if line.get("freeze_quantity") else 0
        return InstrumentRow(
            key=f"{exchange}:{symbol}",
            exchange=exchange,
            symbol=symbol,
            kind=kind,
            underlying=root,
            token=token,
            name=name,
            lot=lot,
            tick_size=tick,
            expiry=date.fromisoformat(line["expiry_date"]),
            strike=strike,
            freeze=freeze if freeze > 0 else None,
        )

    def _skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def parse_instruments(dump: bytes) -> DumpReader:
    """Read the file; raises DataError while iterating if it is not Groww's."""
    return DumpReader(dump)
