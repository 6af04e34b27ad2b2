"""ICICI's SecurityMaster.zip as InstrumentRows: identities in the words all brokers share, prices in rupees.

Its text files are CSV with quirks: NSE's header has a space before each name, ticks of contracts are in paise, ticks of shares are 0.01
whatever they are (the highest price that the day allows gives one that the real tick divides), FreezeQty is always 0. Commodities,
currency and mutual funds are not read: nothing of them is ordered here.
"""

import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date

from brokers.icici.mapping import cash_token, contract_token, day_of
from brokers.naming import contract_symbol
from brokers.spec import InstrumentRow
from core.errors import DataError
from core.types import Kind

_CASH_FILES = {"NSEScripMaster.txt": "NSE", "BSEScripMaster.txt": "BSE"}
_CONTRACT_FILES = {"FONSEScripMaster.txt": "NFO", "FOBSEScripMaster.txt": "BFO"}
_SHARES = frozenset({"EQ", "BE", "BZ", "SM", "ST"})  # other series are bonds and bills that reuse their issuer's codes
_ROOTS = {
    "NIFTY 50": "NIFTY",
    "NIFTY BANK": "BANKNIFTY",
    "NIFTY FINANCIAL": "FINNIFTY",
    "NIFTY MIDCAP": "MIDCPNIFTY",
    "NIFTY NEXT 50": "NIFTYNXT50",
}
"""What the master calls an index -> the root that the exchanges' contracts have."""
_TICKS = ((250.0, 0.01), (1000.0, 0.05), (5000.0, 0.10), (10_000.0, 0.50), (20_000.0, 1.0), (float("inf"), 5.0))
"""NSE's ticks of shares by price (from 2025-04-15; config/market/contracts.yaml, and the SDK's own table): each is a multiple of those
before it, so that an order on the tick of the highest price of the day is on the tick of the share, whichever month's price sets it."""


# what zipfile raises of an archive that is damaged: itself, in its deflated data, in its sizes and places, or by an unknown method
_NO_ARCHIVE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError, OverflowError, RuntimeError, MemoryError)


class DumpReader:
    """The archive's rows; those that cannot be traded are counted in `skipped` by reason."""

    def __init__(self, dump: bytes) -> None:
        self.skipped: dict[str, int] = {}
        self.complete = True
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(dump))
        except _NO_ARCHIVE as error:
            raise DataError(f"the security master is no whole zip archive ({error}); it begins {dump[:20]!r}; download it again") from error

    def __iter__(self) -> Iterator[InstrumentRow]:
        for name, exchange in _CASH_FILES.items():
            yield from self._cash(name, exchange)
        for name, exchange in _CONTRACT_FILES.items():
            yield from self._contracts(name, exchange)

    def _lines(self, name: str) -> Iterator[dict[str, str]]:
        try:
            text = self._archive.read(name).decode("utf-8", "replace")
        except (KeyError, EOFError, *_NO_ARCHIVE) as error:
            raise DataError(f"the security master lacks a readable {name} ({error}); download it again") from error
        rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
        try:
            header = next(rows, [])
            if header[:1] != ["Token"] or header[-1:] != ["ExchangeCode"]:
                raise DataError(f"{name} of the security master begins {text[:80]!r}, not with its header; download it again")
            for row in rows:
                if len(row) == len(header):
                    yield dict(zip(header, row, strict=True))
                else:
                    self._skip("a row of another length than its header")
        except csv.Error as error:
            raise DataError(f"{name} of the security master breaks off at line {rows.line_num} ({error}); download it again") from error

    def _cash(self, name: str, exchange: str) -> Iterator[InstrumentRow]:
        seen: set[str] = set()
        for line in self._lines(name):
            token, code, series, symbol = line["Token"], line["ShortName"], line["Series"], line["ExchangeCode"].upper()
            if (exchange == "NSE" and series == "0") or (exchange == "BSE" and not token.isdecimal()):
                yield InstrumentRow(f"{exchange}:{token.upper()}", exchange, token.upper(), Kind.INDEX, token.upper(),
                                    cash_token(exchange, code, token), line["CompanyName"])  # fmt: skip
                continue
            if (exchange == "NSE" and series not in _SHARES) or token in ("", "0") or not symbol:
                continue  # bonds, bills and what is listed no more
            if exchange == "BSE" and (not line["ISINCode"].startswith("INE") or symbol in seen):
                continue  # government paper; and a symbol's later rows are its other securities
            seen.add(symbol)
            if exchange == "NSE" and series != "EQ":
                symbol = f"{symbol}-{series}"
            yield InstrumentRow(f"{exchange}:{symbol}", exchange, symbol, Kind.EQUITY, symbol, cash_token(exchange, code, token),
                                line["CompanyName"], 1, self._tick(line, exchange))  # fmt: skip

    def _tick(self, line: dict[str, str], exchange: str) -> float:
        """BSE: 0.05, a multiple of its 0.01 below 100 rupees."""
        if exchange == "BSE":
            return 0.05
        try:
            highest = max(float(line[name] or 0) for name in ("WarningPercent", "FreezePercent", "52WeeksHigh"))
        except ValueError:
            highest = 0.0
        return next((tick for below, tick in _TICKS if highest < below), 0.05) if highest else 0.05

    def _contracts(self, name: str, exchange: str) -> Iterator[InstrumentRow]:
        lines = list(self._lines(name))
        days: dict[str, date | None] = {text: day_of(text) for text in {line["ExpiryDate"] for line in lines}}
        monthly = _monthly(lines, days)
        for line in lines:
            try:
                row = self._contract(line, exchange, days[line["ExpiryDate"]], monthly)
            except (ValueError, OverflowError):
                self._skip("a number that does not read")
                continue
            if row is not None:
                yield row

    def _contract(
        self, line: dict[str, str], exchange: str, expiry: date | None, monthly: dict[tuple[str, int, int], date]
    ) -> InstrumentRow | None:
        root = _ROOTS.get(line["ExchangeCode"], line["ExchangeCode"].upper())
        kind = {"XX": Kind.FUTURE, "CE": Kind.CALL, "PE": Kind.PUT}.get(line["OptionType"])
        strike = float(line["StrikePrice"]) if kind is not Kind.FUTURE else None
        lot, tick, freeze = int(line["LotSize"]), round(float(line["TickSize"]), 6), int(float(line["FreezeQty"] or 0))
        if expiry is None or kind is None or not root or (kind is not Kind.FUTURE and not strike):
            self._skip("derivative without underlying, expiry, strike or right")
            return None
        weekly = kind is not Kind.FUTURE and expiry != monthly[line["ShortName"], expiry.year, expiry.month]
        symbol = contract_symbol(root, expiry, kind, strike, weekly=weekly)
        return InstrumentRow(
            key=f"{exchange}:{symbol}",
            exchange=exchange,
            symbol=symbol,
            kind=kind,
            underlying=root,
            token=contract_token(exchange, line["ShortName"], expiry, strike or 0.0, kind.value, line["Token"]),
            name=line["CompanyName"],
            lot=lot,
            tick_size=round(tick / 100, 6) if tick >= 1 else tick,  # paise, but for files that were seen with rupees
            expiry=expiry,
            strike=strike,
            freeze=freeze or None,
        )

    def _skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def _monthly(lines: list[dict[str, str]], days: dict[str, date | None]) -> dict[tuple[str, int, int], date]:
    """Monthly expiries by (code, year, month): the future's, with which the month's options expire, else the last option's."""
    of_futures: dict[tuple[str, int, int], date] = {}
    of_options: dict[tuple[str, int, int], date] = {}
    for line in lines:
        expiry = days[line["ExpiryDate"]]
        if expiry is not None:
            known = of_futures if line["OptionType"] == "XX" else of_options
            name = (line["ShortName"], expiry.year, expiry.month)
            known[name] = max(expiry, known.get(name, expiry))
    return of_options | of_futures


def parse_instruments(dump: bytes) -> DumpReader:
    """Read the archive; raises DataError, here or while iterating, if it is not ICICI's."""
    return DumpReader(dump)
