"""Upstox's market data routes: the instrument file, candles by unit with their spans, quotes, option chains, market hours."""

import gzip
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote

from simulators.listing import Candle, Listing, Quote
from simulators.upstox_errors import ApiError, bad
from simulators.upstox_names import instrument_file, instrument_key, segment, trading_symbol
from simulators.upstox_orders import OrderDesk
from simulators.upstox_rows import candles_row, last_price_row, quote_row
from simulators.upstox_session import Call
from simulators.wire import Request, Response
from simulators.world import IST, World

MOST_KEYS, MOST_GREEKS = 500, 50
DAY = 1440
V2_INTERVALS = {"1minute": ("minutes", 1), "30minute": ("minutes", 30), "day": ("days", 1), "week": ("weeks", 1), "month": ("months", 1)}
OHLC_INTERVALS = {"1d": DAY, "I1": 1, "I30": 30}
FILES = ("complete", "NSE", "BSE", "MCX", "NSE_MIS", "BSE_MIS", "MTF")


class MarketData:
    """Read-only; one unknown key fails the whole call."""

    def __init__(self, world: World, desk: OrderDesk) -> None:
        self._world = world
        self._desk = desk
        self._files: dict[str, bytes] = {}
        self._files_of: object = None

    def instruments(self, request: Request) -> Response:
        """The public file of a day; the front wants a User-Agent."""
        name = request.path.rsplit("/", 1)[-1].removesuffix(".json.gz")
        if not request.headers.get("user-agent"):
            return Response(403, b"<html><body>error code: 1010</body></html>", "text/html")
        listings = self._world.market.listings
        if self._files_of != (self._world.day, len(listings)):
            self._files, self._files_of = {}, (self._world.day, len(listings))
        if name not in FILES:
            return Response(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml")
        if name not in self._files:
            prefix = "" if name == "complete" else name.partition("_")[0]
            wanted = [one for one in listings.values() if segment(one).startswith(prefix)]
            self._files[name] = instrument_file(wanted)
        return Response(200, gzip.compress(self._files[name], 6, mtime=0), "application/gzip")

    # --- candles ------------------------------------------------------------------------------------------------------------------

    def candles(self, call: Call) -> dict[str, Any]:
        """`{key}/{unit}/{interval}/{to}[/{from}]`, newest first; today's minutes have a route of their own."""
        key, unit, interval, last, *first = call.tail
        minutes, most = _width(unit, interval)
        to_day = _day(last)
        from_day = _day(first[0]) if first else to_day - timedelta(days=most or 7)
        if from_day > to_day:
            raise bad("UDAPI1015", "to_date must be greater than or equal to from_date")
        if most and (to_day - from_day).days > most:
            raise bad("UDAPI1148", f"Invalid date range: at most {most} days for this interval")
        end = datetime.combine(to_day, time(23, 59), IST)
        if minutes < DAY:
            end = min(end, datetime.combine(call.now.date(), time(0), IST) - timedelta(minutes=1))
        rows = self._world.market.candles(self._listing(key).key, datetime.combine(from_day, time(0), IST), end, min(minutes, DAY))
        if unit in ("weeks", "months"):
            rows = _joined(rows, unit)
        return {"candles": [_row(row) for row in reversed(rows)]}

    def intraday(self, call: Call) -> dict[str, Any]:
        key, unit, interval = call.tail
        minutes, _ = _width(unit, interval)
        if minutes > DAY:
            raise bad("UDAPI1146", "Invalid unit")
        start = datetime.combine(call.now.date(), time(0), IST)
        rows = self._world.market.candles(self._listing(key).key, start, call.now, minutes)
        return {"candles": [_row(row) for row in reversed(rows)]}

    def candles_v2(self, call: Call) -> dict[str, Any]:
        key, interval, *days = call.tail
        return self.candles(_with(call, [key, *_v2(interval), *days]))

    def intraday_v2(self, call: Call) -> dict[str, Any]:
        key, interval = call.tail
        return self.intraday(_with(call, [key, *_v2(interval)]))

    # --- quotes -------------------------------------------------------------------------------------------------------------------

    def last_prices(self, call: Call) -> dict[str, Any]:
        return self._quotes(call, MOST_KEYS, last_price_row)

    def ohlc(self, call: Call) -> dict[str, Any]:
        minutes = OHLC_INTERVALS.get(call.request.argument("interval"))
        if minutes is None:
            raise bad("UDAPI1147", "Invalid interval")

        def row(listing: Listing, quote: Quote) -> dict[str, Any]:
            day = call.now.replace(hour=0, minute=0, second=0, microsecond=0)
            running = self._world.market.candles(listing.key, day, call.now, minutes) if minutes < DAY else []
            return candles_row(listing, quote, running[-1] if running else None, day)

        return self._quotes(call, MOST_KEYS, row)

    def quotes(self, call: Call) -> dict[str, Any]:
        return self._quotes(call, MOST_KEYS, quote_row)

    def greeks(self, call: Call) -> dict[str, Any]:
        """Last prices with open interest; the greeks are those of the stream alone."""
        zero = dict.fromkeys(("iv", "delta", "gamma", "theta", "vega"), 0.0)
        return self._quotes(call, MOST_GREEKS, lambda listing, quote: {**last_price_row(listing, quote), **zero, "oi": float(quote.oi)})

    def chain(self, call: Call) -> list[dict[str, Any]]:
        underlying = self._listing(call.request.argument("instrument_key"))
        expiry = _day(call.request.argument("expiry_date"))
        rows: dict[float, dict[str, Any]] = {}
        spot = self._world.market.quote(underlying.key).last_price
        for one in self._options(underlying):
            if one.expiry != expiry:
                continue
            quote = self._world.market.quote(one.key)
            side = "call_options" if one.kind == "CE" else "put_options"
            row = rows.setdefault(one.strike, _chain_row(one, underlying, spot))
            bid, ask = (quote.bids or ((0.0, 0, 0),))[0], (quote.asks or ((0.0, 0, 0),))[0]
            data = {"ltp": quote.last_price, "volume": quote.volume, "oi": float(quote.oi), "close_price": quote.close}
            data |= {"bid_price": bid[0], "bid_qty": bid[1], "ask_price": ask[0], "ask_qty": ask[1], "prev_oi": float(quote.oi_low)}
            row[side] = {"instrument_key": instrument_key(one), "market_data": data, "option_greeks": {}}
        return [rows[strike] for strike in sorted(rows)]

    def contracts(self, call: Call) -> list[dict[str, Any]]:
        underlying, wanted = self._listing(call.request.argument("instrument_key")), call.request.argument("expiry_date")
        return [
            {
                "name": one.underlying,
                "segment": segment(one),
                "exchange": segment(one).partition("_")[0],
                "expiry": str(one.expiry),
                "instrument_key": instrument_key(one),
                "exchange_token": str(one.exchange_token),
                "trading_symbol": trading_symbol(one),
                "tick_size": round(one.tick_size * 100, 4),
                "lot_size": one.lot,
                "instrument_type": one.kind,
                "freeze_quantity": float(one.freeze or 0),
                "underlying_key": instrument_key(underlying),
                "underlying_symbol": one.underlying,
                "strike_price": one.strike,
                "minimum_lot": one.lot,
            }
            for one in self._options(underlying)
            if wanted in ("", str(one.expiry))
        ]

    # --- market hours -------------------------------------------------------------------------------------------------------------

    def holidays(self, call: Call) -> list[dict[str, Any]]:
        """The weekdays of the coming month on which this market is closed."""
        days, today = set(self._world.market.days), call.now.date()
        ahead = [_day(call.tail[0])] if call.tail else [today + timedelta(days=count) for count in range(31)]
        closed = [day for day in ahead if day.weekday() < 5 and day not in days and day >= today]
        return [
            {
                "date": str(day),
                "description": "Closed",
                "holiday_type": "TRADING_HOLIDAY",
                "closed_exchanges": ["NSE", "BSE"],
                "open_exchanges": [],
            }
            for day in closed
        ]

    def timings(self, call: Call) -> list[dict[str, Any]]:
        day = _day(call.tail[0])
        if day not in self._world.market.days:
            return []
        start, end = (int(datetime.combine(day, clock, IST).timestamp() * 1000) for clock in (time(9, 15), time(15, 30)))
        return [{"exchange": name, "start_time": start, "end_time": end} for name in ("NSE", "NFO", "BSE", "BFO")]

    def status(self, call: Call) -> dict[str, Any]:
        market = self._world.market
        state = "NORMAL_OPEN" if market.opens_at <= call.now < market.closes_at else "NORMAL_CLOSE"
        return {"exchange": call.tail[0], "status": state, "last_updated": int(call.now.timestamp() * 1000)}

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _listing(self, key: str) -> Listing:
        return self._desk.listing_of(unquote(key))

    def _options(self, underlying: Listing) -> Iterable[Listing]:
        return (one for one in self._world.market.listings.values() if one.kind in ("CE", "PE") and one.underlying == underlying.underlying)

    def _quotes(self, call: Call, most: int, make: Callable[[Listing, Quote], dict[str, Any]]) -> dict[str, Any]:
        asked = call.request.argument("instrument_key") or call.request.argument("symbol")  # v2's name for it
        keys = [key for key in asked.split(",") if key]
        if not keys:
            raise bad("UDAPI1026", "The instrument_key is required")
        if len(keys) > most:
            raise bad("UDAPI100076", f"Only {most} instrument keys are allowed")
        found = [self._desk.listing_of(key) for key in keys]
        return {f"{segment(one)}:{one.symbol}": make(one, self._world.market.quote(one.key)) for one in found}


def _width(unit: str, interval: str) -> tuple[int, int]:
    """(minutes of one candle, most days of one request or 0); raises ApiError."""
    try:
        count = int(interval)
    except ValueError as error:
        raise bad("UDAPI1147", "Invalid interval") from error
    match unit:
        case "minutes" if 1 <= count <= 300:
            return count, 31 if count <= 15 else 92
        case "hours" if 1 <= count <= 5:
            return count * 60, 92
        case "days" if count == 1:
            return DAY, 3653
        case "weeks" | "months" if count == 1:
            return DAY * (7 if unit == "weeks" else 30), 0
    raise bad("UDAPI1146", f"Invalid unit or interval: {unit}/{interval}")


def _v2(interval: str) -> tuple[str, str]:
    if interval not in V2_INTERVALS:
        raise bad("UDAPI1147", "Interval accepts one of (1minute,30minute,day,week,month)")
    unit, count = V2_INTERVALS[interval]
    return unit, str(count)


def _with(call: Call, tail: list[str]) -> Call:
    return Call(call.session, call.request, tail, call.now, call.lag)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ApiError(400, "UDAPI1022", "Invalid date: expected YYYY-MM-DD") from error


def _row(candle: Candle) -> list[Any]:
    return [candle.start.isoformat(), *candle[1:5], candle.volume, candle.oi]


def _joined(rows: list[Candle], unit: str) -> list[Candle]:
    """Days into weeks (from Monday) or months (from the first)."""
    groups: dict[date, list[Candle]] = {}
    for row in rows:
        day = row.start.date()
        groups.setdefault(day - timedelta(days=day.weekday()) if unit == "weeks" else day.replace(day=1), []).append(row)
    return [
        Candle(
            datetime.combine(start, time(0), IST),
            days[0].open,
            max(day.high for day in days),
            min(day.low for day in days),
            days[-1].close,
            sum(day.volume for day in days),
            days[-1].oi,
        )
        for start, days in groups.items()
    ]


def _chain_row(option: Listing, underlying: Listing, spot: float) -> dict[str, Any]:
    return {
        "expiry": str(option.expiry),
        "pcr": 0.0,
        "strike_price": option.strike,
        "underlying_key": instrument_key(underlying),
        "underlying_spot_price": spot,
        "call_options": {},
        "put_options": {},
    }
