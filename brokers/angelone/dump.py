"""Angel One's scrip master (OpenAPIScripMaster.json) as InstrumentRows: identities in the words all brokers share, prices in rupees.

All values are texts; `strike` and `tick_size` are in paise. Trading symbols differ in form by exchange and are never read for their
meaning: what a contract is follows from name, expiry, strike and type. Tokens are unique within their exchange, on their day.
"""

from collections.abc import Iterator
from datetime import date, datetime

import msgspec

from brokers.angelone.mapping import number, token_of
from brokers.naming import contract_symbol
from brokers.spec import InstrumentRow
from core.errors import DataError
from core.types import IST, Kind

EXCHANGES = {"NSE": "NSE", "BSE": "BSE", "NFO": "NFO", "BFO": "BFO", "MCX": "MCX", "CDS": "CDS", "NCO": "NCO"}
_FUTURES = frozenset({"FUTIDX", "FUTSTK", "FUTCUR", "FUTCOM", "FUTIRC", "FUTIRT"})
_OPTIONS = frozenset({"OPTIDX", "OPTSTK", "OPTCUR", "OPTFUT", "OPTCOM", "OPTIRC"})
_FUTURES_TELL = frozenset({"NFO", "BFO"})  # where the monthly options expire with the month's future

Text = str | int | float


class _Line(msgspec.Struct, gc=False):
    token: Text
    symbol: str
    exch_seg: str
    name: str = ""
    expiry: str = ""
    strike: Text = ""
    lotsize: Text = ""
    instrumenttype: str = ""
    tick_size: Text = ""
    freeze_qty: Text = ""


_LINES = msgspec.json.Decoder(list[_Line])


class DumpReader:
    """The file's rows; those that cannot be traded are counted in `skipped` by reason."""

    def __init__(self, dump: bytes) -> None:
        self._dump = dump
        self.skipped: dict[str, int] = {}
        self.complete = dump.rstrip()[-1:] == b"]"
        self._days: dict[str, date | None] = {"": None}

    def __iter__(self) -> Iterator[InstrumentRow]:
        try:
            lines = _LINES.decode(self._dump)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"the scrip master does not read ({error}); it begins {self._dump[:80]!r}; download it again") from error
        monthly = self._monthly(lines)
        for line in lines:
            try:
                row = self._row(line, monthly)
            except (ValueError, OverflowError):
                self._skip("a number or date that does not read")
                continue
            if row is not None:
                yield row

    def _row(self, line: _Line, monthly: dict[tuple[str, str, int, int], date]) -> InstrumentRow | None:
        exchange, kind = EXCHANGES.get(line.exch_seg), line.instrumenttype
        if exchange is None:
            self._skip(f"exchange {line.exch_seg or 'missing'}")
            return None
        token = token_of(line.exch_seg, str(line.token), line.symbol)
        if kind == "AMXIDX":
            symbol = line.symbol.upper()
            return InstrumentRow(f"{exchange}:{symbol}", exchange, symbol, Kind.INDEX, symbol, token, line.name)
        if kind == "" and exchange in ("NSE", "BSE"):
            symbol = line.symbol.removesuffix("-EQ") if exchange == "NSE" else line.symbol
            lot, tick = max(1, int(number(line.lotsize))), _paise(line.tick_size)
            return InstrumentRow(f"{exchange}:{symbol}", exchange, symbol, Kind.EQUITY, symbol, token, line.name, lot, tick)
        if kind not in _FUTURES and kind not in _OPTIONS:
            self._skip(f"type {kind or 'missing'}")
            return None
        return self._contract(line, exchange, token, monthly)

    def _contract(self, line: _Line, exchange: str, token: str, monthly: dict[tuple[str, str, int, int], date]) -> InstrumentRow | None:
        expiry, root = self._day(line.expiry), line.name
        future = line.instrumenttype in _FUTURES
        right = Kind.FUTURE if future else {"CE": Kind.CALL, "PE": Kind.PUT}.get(line.symbol[-2:])
        strike = None if future else _paise(line.strike)
        if expiry is None or not root or right is None or (not future and not strike):
            self._skip("derivative without underlying, expiry, strike or right")
            return None
        weekly = not future and expiry != monthly[exchange, root, expiry.year, expiry.month]
        symbol = contract_symbol(root, expiry, right, strike, weekly=weekly)
        return InstrumentRow(
            key=f"{exchange}:{symbol}",
            exchange=exchange,
            symbol=symbol,
            kind=right,
            underlying=root,
            token=token,
            name=root,
            lot=int(number(line.lotsize)),
            tick_size=_paise(line.tick_size),
            expiry=expiry,
            strike=strike,
            freeze=int(number(line.freeze_qty)) or None,
        )

    def _monthly(self, lines: list[_Line]) -> dict[tuple[str, str, int, int], date]:
        """Monthly expiries by (exchange, root, year, month): the future's where options expire with it, else the last option's."""
        of_futures: dict[tuple[str, str, int, int], date] = {}
        of_options: dict[tuple[str, str, int, int], date] = {}
        for line in lines:
            future = line.instrumenttype in _FUTURES
            if not future and line.instrumenttype not in _OPTIONS:
                continue
            try:
                expiry = self._day(line.expiry)
            except ValueError:
                continue  # the row itself is counted where it is read
            if expiry is not None:
                known = of_futures if future else of_options
                name = (line.exch_seg, line.name, expiry.year, expiry.month)
                known[name] = max(expiry, known.get(name, expiry))
        return of_options | {name: day for name, day in of_futures.items() if name[0] in _FUTURES_TELL}

    def _day(self, text: str) -> date | None:
        """`23NOV2026`; raises ValueError."""
        if text not in self._days:
            self._days[text] = datetime.strptime(text, "%d%b%Y").replace(tzinfo=IST).date()
        return self._days[text]

    def _skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def parse_instruments(dump: bytes) -> DumpReader:
    """Read the file; raises DataError while iterating if it is not Angel One's."""
    return DumpReader(dump)


def _paise(value: Text) -> float:
    return round(number(value) / 100, 6)
