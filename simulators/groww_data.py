"""Groww's market data routes: quote, last prices and OHLC of up to 50 symbols, candles with their spans, chains, the instrument file."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from simulators.groww_errors import bad, missing
from simulators.groww_names import Names, groww_symbol, place, trading_symbol
from simulators.groww_rows import candle_row, ohlc_of, quote_row
from simulators.groww_session import Call
from simulators.listing import Listing, Quote
from simulators.wire import Response
from simulators.world import IST, World

MOST_SYMBOLS = 50
DAY = 1440
INTERVALS = {  # name -> (minutes, most days of one request)
    **{f"{count}minute": (count, 30) for count in (1, 2, 3, 5)},
    **{f"{count}minute": (count, 90) for count in (10, 15, 30)},
    **{f"{count}hour": (count * 60, 180) for count in (1, 4)},
    "1day": (DAY, 180),
}
RANGES = {1: 3, 5: 15, 10: 30, 60: 150, 240: 365, DAY: 1080}
"""Days in one request of the older range route, by minutes."""


class MarketData:
    """Read-only."""

    def __init__(self, world: World, names: Names) -> None:
        self._world = world
        self._names = names

    def instruments(self) -> Response:
        """The public file of the day."""
        return Response(200, self._names.file(), "text/csv")

    def quote(self, call: Call) -> dict[str, Any]:
        listing = self._named(call.argument("exchange"), call.argument("segment"), call.argument("trading_symbol"))
        return quote_row(listing, self._world.market.quote(listing.key))

    def last_prices(self, call: Call) -> dict[str, Any]:
        return self._several(call, lambda quote: quote.last_price)

    def ohlc(self, call: Call) -> dict[str, Any]:
        return self._several(call, ohlc_of)

    def chain(self, call: Call) -> dict[str, Any]:
        """`exchange/{exchange}/underlying/{underlying}`: each strike's call and put."""
        _, exchange, _, underlying = _parts(call.tail, 4)
        expiry = _day(call.argument("expiry_date"))
        strikes: dict[str, dict[str, Any]] = {}
        for one in self._world.market.listings.values():
            named = one.kind in ("CE", "PE") and one.underlying == underlying and place(one)[0] == exchange
            if named and one.expiry == expiry:
                quote = self._world.market.quote(one.key)
                row = {"ltp": quote.last_price, "open_interest": quote.oi, "volume": quote.volume, "trading_symbol": trading_symbol(one)}
                strikes.setdefault(f"{one.strike:g}", {})[one.kind] = row
        return {"underlying_ltp": self._spot(underlying), "strikes": strikes}

    def expiries(self, call: Call) -> dict[str, Any]:
        found = {str(one.expiry) for one in self._contracts(call)}
        year, month = call.argument("year") or str(call.now.year), call.argument("month")
        wanted = f"{year}-{int(month):02d}" if month.isdecimal() else year
        return {"expiries": sorted(day for day in found if day.startswith(wanted))}

    def contracts(self, call: Call) -> dict[str, Any]:
        expiry = _day(call.argument("expiry_date"))
        return {"contracts": [groww_symbol(one) for one in self._contracts(call) if one.expiry == expiry]}

    def candles(self, call: Call) -> dict[str, Any]:
        """By groww symbol; a row starts with its open time, without a zone, in IST."""
        listing = self._names.by_groww(call.argument("groww_symbol"))
        if listing is None:
            raise missing("Requested entity does not exist: groww_symbol")
        name = call.argument("candle_interval")
        if name not in INTERVALS:
            raise bad(f"candle_interval must be one of {', '.join(INTERVALS)}")
        minutes, most = INTERVALS[name]
        start, end = _moment(call.argument("start_time")), _moment(call.argument("end_time"))
        _span(start, end, most)
        found = self._world.market.candles(listing.key, start, min(end, call.now), minutes)
        rows = [candle_row(one, with_oi=listing.expiry is not None) for one in found]
        times = {"start_time": call.argument("start_time"), "end_time": call.argument("end_time")}
        return {"candles": rows, "closing_price": None, **times, "interval_in_minutes": minutes}

    def range(self, call: Call) -> dict[str, Any]:
        """The older route: by trading symbol, rows with epoch seconds."""
        listing = self._named(call.argument("exchange"), call.argument("segment"), call.argument("trading_symbol"))
        try:
            minutes = int(call.argument("interval_in_minutes") or 1)
        except ValueError as error:
            raise bad("interval_in_minutes is a whole number") from error
        if minutes not in RANGES:
            raise bad("interval_in_minutes is not served")
        start, end = _moment(call.argument("start_time")), _moment(call.argument("end_time"))
        _span(start, end, RANGES[minutes])
        found = self._world.market.candles(listing.key, start, min(end, call.now), minutes)
        rows = [[int(one.start.timestamp()), *one[1:5], one.volume] for one in found]
        return {"candles": rows, "start_time": str(start), "end_time": str(end), "interval_in_minutes": minutes}

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _several(self, call: Call, make: Callable[[Quote], Any]) -> dict[str, Any]:
        """`exchange_symbols` once with commas or several times; an unknown symbol fails the whole call."""
        told = ",".join(call.request.arguments().get("exchange_symbols", []))
        asked = [name.strip() for name in told.split(",") if name.strip()]
        if not asked:
            raise bad("exchange_symbols is missing")
        if len(asked) > MOST_SYMBOLS:
            raise bad(f"at most {MOST_SYMBOLS} symbols are allowed")
        listings = {name: self._named(name.partition("_")[0], call.argument("segment"), name.partition("_")[2]) for name in asked}
        return {name: make(self._world.market.quote(one.key)) for name, one in listings.items()}

    def _named(self, exchange: str, segment: str, symbol: str) -> Listing:
        listing = self._names.find(exchange, segment, symbol)
        if listing is None:
            raise missing(f"Requested entity does not exist: {exchange} {segment} {symbol}")
        return listing

    def _contracts(self, call: Call) -> list[Listing]:
        exchange, underlying = call.argument("exchange"), call.argument("underlying_symbol")
        listings = self._world.market.listings.values()
        return [one for one in listings if one.expiry and one.underlying == underlying and place(one)[0] == exchange]

    def _spot(self, underlying: str) -> float:
        named = (one for one in self._world.market.listings.values() if one.expiry is None and trading_symbol(one) == underlying)
        found = next(named, None)
        return self._world.market.quote(found.key).last_price if found is not None else 0.0


def _parts(tail: str, count: int) -> list[str]:
    parts = tail.split("/")
    if len(parts) != count:
        raise missing("Requested entity does not exist")
    return parts


def _moment(text: str) -> datetime:
    """`yyyy-MM-dd HH:mm:ss` in IST, or epoch milliseconds."""
    try:
        return datetime.fromtimestamp(int(text) / 1000, IST) if text.isdecimal() else datetime.fromisoformat(text).replace(tzinfo=IST)
    except ValueError as error:
        raise bad("a time must be yyyy-MM-dd HH:mm:ss or epoch milliseconds") from error


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise bad("a date must be yyyy-MM-dd") from error


def _span(start: datetime, end: datetime, days: int) -> None:
    if end < start:
        raise bad("end_time must not be before start_time")
    if end - start > timedelta(days=days):
        raise bad(f"at most {days} days in one request for this interval")
