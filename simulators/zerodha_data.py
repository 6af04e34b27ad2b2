"""Kite's market data routes: the instrument file, snapshot quotes and historical candles, with their caps."""

import gzip
from datetime import datetime, timedelta
from typing import Any

from simulators.listing import Listing
from simulators.wire import Request, Response
from simulators.world import IST, World
from simulators.zerodha_errors import NO_PERMISSION, ApiError, bad_input
from simulators.zerodha_rows import candle_row, instruments_csv, last_price_row, ohlc_row, quote_row
from simulators.zerodha_session import Call

INTERVALS = {  # name -> (minutes of one candle, most days of one request)
    "minute": (1, 60),
    "3minute": (3, 100),
    "5minute": (5, 100),
    "10minute": (10, 100),
    "15minute": (15, 200),
    "30minute": (30, 200),
    "60minute": (60, 400),
    "day": (1440, 2000),
}
QUOTE_CAPS = {"/quote": 500, "/quote/ohlc": 1000, "/quote/ltp": 1000}


class MarketData:
    """Read-only; unknown instruments are absent from quotes and refused for candles."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dump: dict[str, bytes] = {}
        self._dump_of: object = None
        self._tokens: dict[int, Listing] = {}

    def instruments(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")
        if request.method != "GET" or len(parts) > 2:
            raise ApiError(404, "GeneralException", "Route not found")
        wanted = parts[1] if len(parts) == 2 else ""
        listings = self._world.market.listings
        if self._dump_of != (self._world.day, len(listings)):
            self._dump, self._dump_of = {}, (self._world.day, len(listings))
        if wanted not in self._dump:
            chosen = [one for one in listings.values() if wanted in ("", one.exchange)]
            self._dump[wanted] = instruments_csv(chosen)
        body = self._dump[wanted]
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(200, gzip.compress(body, 6, mtime=0), "text/csv", {"Content-Encoding": "gzip"})
        return Response(200, body, "text/csv")

    def quotes(self, call: Call) -> dict[str, Any]:
        _needs_data(call)
        asked = call.request.arguments().get("i", [])
        if len(asked) > QUOTE_CAPS[call.request.path]:
            raise bad_input(f"Maximum of {QUOTE_CAPS[call.request.path]} instruments are allowed in one request.")
        make = {"/quote": quote_row, "/quote/ohlc": ohlc_row, "/quote/ltp": last_price_row}[call.request.path]
        data: dict[str, Any] = {}
        for name in asked:
            listing = self._by_token(int(name)) if name.isdecimal() else self._world.market.listings.get(name)
            if listing is not None:
                data[name] = make(listing, self._world.market.quote(listing.key))
        return data

    def historical(self, call: Call) -> dict[str, Any]:
        _needs_data(call)
        listing = self._by_token(int(call.parts[2])) if call.parts[2].isdecimal() else None
        if listing is None:
            raise bad_input("invalid token")
        if call.parts[3] not in INTERVALS:
            raise bad_input("invalid interval")
        minutes, most_days = INTERVALS[call.parts[3]]
        start, end = _moment(call.request.argument("from"), "from"), _moment(call.request.argument("to"), "to")
        if end < start:
            raise bad_input("invalid from date")
        if end - start > timedelta(days=most_days):
            raise bad_input(f"interval exceeds max limit: {most_days} days")
        if call.request.argument("continuous") == "1" and (call.parts[3] != "day" or listing.kind != "FUT"):
            raise bad_input("continuous data is available for futures and the day interval only")
        candles = self._world.market.candles(listing.key, start, min(end, call.now), minutes)
        return {"candles": [candle_row(candle, oi=call.request.argument("oi") == "1") for candle in candles]}

    def _by_token(self, token: int) -> Listing | None:
        listing = self._tokens.get(token)
        if listing is None or self._world.market.listings.get(listing.key) is not listing:
            self._tokens = {one.token: one for one in self._world.market.listings.values()}
            listing = self._tokens.get(token)
        return listing


def _needs_data(call: Call) -> None:
    if not call.session.app.live_data:
        raise ApiError(403, "PermissionException", NO_PERMISSION)


def _moment(text: str, name: str) -> datetime:
    """An IST moment written `YYYY-MM-DD[ HH:MM:SS]`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_input(f"invalid {name} date") from error
    return moment.replace(tzinfo=IST) if moment.tzinfo is None else moment
