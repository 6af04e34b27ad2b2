"""Angel One's market data routes: scrip master, search, quotes, candles and open interest, with their caps."""

from datetime import datetime, timedelta
from typing import Any

from simulators.angelone_errors import ApiError
from simulators.angelone_names import Names, Scrip
from simulators.angelone_rows import candle_row, quote_row
from simulators.angelone_session import Call
from simulators.listing import Candle
from simulators.wire import JSON, Response, dump
from simulators.world import IST, World

MASTER = "/OpenAPI_File/files/OpenAPIScripMaster.json"
MOST_QUOTES = 50
INTERVALS = {  # name -> (minutes of one candle, most days of one request)
    "ONE_MINUTE": (1, 30),
    "THREE_MINUTE": (3, 60),
    "FIVE_MINUTE": (5, 100),
    "TEN_MINUTE": (10, 100),
    "FIFTEEN_MINUTE": (15, 200),
    "THIRTY_MINUTE": (30, 200),
    "ONE_HOUR": (60, 400),
    "ONE_DAY": (1440, 2000),
}
MODES = ("LTP", "OHLC", "FULL")


class MarketData:
    """Read-only."""

    def __init__(self, world: World, names: Names) -> None:
        self._world = world
        self._names = names
        self._master: bytes = b""
        self._master_of: object = None

    def master(self) -> Response:
        """The day's file, served to anyone."""
        of = (self._world.day, len(self._world.market.listings))
        if self._master_of != of:
            self._master, self._master_of = dump(self._names.master()), of
        return Response(200, self._master, JSON)

    def search(self, call: Call) -> list[dict[str, str]]:
        found = self._names.search(call.text("exchange"), call.text("searchscrip"))
        return [{"exchange": one.exchange, "tradingsymbol": one.symbol, "symboltoken": one.token} for one in found]

    def quotes(self, call: Call) -> dict[str, Any]:
        mode, wanted = call.text("mode"), call.body.get("exchangeTokens")
        if mode not in MODES or not isinstance(wanted, dict):
            raise ApiError("AB2000", "Invalid mode or exchangeTokens")
        pairs = [(str(exchange), str(token)) for exchange, tokens in wanted.items() for token in _listed(tokens)]
        if len(pairs) > MOST_QUOTES:
            raise ApiError("AB2000", f"Max {MOST_QUOTES} tokens are allowed in one request")
        fetched, unfetched = [], []
        for exchange, token in pairs:
            one = self._names.find(exchange, token)
            if one is None:
                why = {"message": "Symbol token is empty" if not token else "Symbol Not Found", "errorCode": "AB4018"}
                unfetched.append({"exchange": exchange, "symbolToken": token, **why})
            else:
                fetched.append(quote_row(one, self._world.market.quote(one.listing.key), mode))
        return {"fetched": fetched, "unfetched": unfetched}

    def last_price(self, call: Call) -> dict[str, Any]:
        one = self._one(call)
        quote = self._world.market.quote(one.listing.key)
        names = {"exchange": one.exchange, "tradingsymbol": one.symbol, "symboltoken": one.token}
        return {**names, "open": quote.open, "high": quote.high, "low": quote.low, "close": quote.close, "ltp": quote.last_price}

    def candles(self, call: Call) -> list[list[Any]] | None:
        return [candle_row(candle) for candle in self._history(call)] or None

    def open_interest(self, call: Call) -> list[dict[str, Any]] | None:
        if self._one(call).listing.kind == "EQ":
            return None
        return [{"time": f"{one.start:%Y-%m-%dT%H:%M:%S}+05:30", "oi": one.oi} for one in self._history(call)] or None

    def _history(self, call: Call) -> list[Candle]:
        one = self._one(call)
        if call.text("interval") not in INTERVALS:
            raise ApiError("AB2000", "Invalid interval")
        minutes, most_days = INTERVALS[call.text("interval")]
        start, end = _moment(call.text("fromdate")), _moment(call.text("todate"))
        if end < start or end - start > timedelta(days=most_days):
            raise ApiError("AB1004")
        return self._world.market.candles(one.listing.key, start, min(end, call.now), minutes)

    def _one(self, call: Call) -> Scrip:
        one = self._names.find(call.text("exchange"), call.text("symboltoken"))
        if one is None:
            raise ApiError("AB1009")
        return one


def _listed(tokens: Any) -> list[Any]:
    return tokens if isinstance(tokens, list) else [tokens]


def _moment(text: str) -> datetime:
    """An IST moment written `YYYY-MM-DD HH:MM`."""
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=IST)
    except ValueError as error:
        raise ApiError("AB2000", "Invalid fromdate or todate, expected yyyy-MM-dd HH:mm") from error
