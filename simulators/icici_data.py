"""Breeze's market data routes: quotes, option chains, v1 and v2 history with its thousand candles, the security master."""

from datetime import datetime, timedelta
from typing import Any

from simulators.icici_errors import ApiError
from simulators.icici_names import Names, Scrip, day_of
from simulators.icici_rows import chain_row, quote_row
from simulators.icici_session import Call
from simulators.listing import Candle
from simulators.wire import Request, Response
from simulators.world import IST, World

MASTER = "/MotherAppMaster/SecurityMaster.zip"
MOST_CANDLES = 1000
INTERVALS = {"1second": 0, "1minute": 1, "5minute": 5, "30minute": 30, "1day": 1440}
OLD_INTERVALS = {"minute": 1, "1minute": 1, "5minute": 5, "30minute": 30, "day": 1440, "1day": 1440}
BAD_INTERVAL = "Interval should be either '1second','1minute', '5minute', '30minute', or '1day'"


class MarketData:
    """Read-only. A stock that is not known gets an empty list, not an error."""

    def __init__(self, world: World, names: Names) -> None:
        self._world = world
        self._names = names

    def master(self) -> Response:
        return Response(200, self._names.master(), "application/zip")

    def quotes(self, call: Call) -> list[dict[str, Any]]:
        """One row for a contract; for a share one for each exchange, NSE first."""
        one = self._names.find(call.body)
        if one is None:
            return []
        row = quote_row(one, self._world.market.quote(one.listing.key), self._spot(one))
        return [row] if one.expiry else [{**row, "exchange_code": "NSE"}, {**row, "exchange_code": "BSE"}]

    def chain(self, call: Call) -> list[dict[str, Any]]:
        code, expiry, right, strike = (call.text(name) for name in ("stock_code", "expiry_date", "right", "strike_price"))
        if call.text("product_type").lower() == "options" and sum(map(bool, (expiry, right, strike))) < 2:
            raise ApiError("Atleast two inputs are required out of Expiry-Date, Right & Strike-Price. All three cannot be empty'.")
        futures = call.text("product_type").lower() == "futures"
        found = [
            one
            for one in self._names.all().values()
            if one.exchange == call.text("exchange_code").upper()
            and one.code == code.upper()
            and (one.product == "Futures") == futures
            and (not expiry or one.listing.expiry == day_of(expiry))
            and (not right or one.right.lower() == right.lower() or futures)
            and (not strike or futures or abs(one.strike - float(strike)) < 1e-6)
        ]
        return [chain_row(one, self._world.market.quote(one.listing.key), self._spot(one)) for one in found]

    def history(self, call: Call) -> list[dict[str, Any]]:
        """v1: texts, with the count of the snapshots it was made from."""
        rows = self._rows(call.body, call.text("interval"), OLD_INTERVALS, call.now)
        return [{**{name: str(value) for name, value in row.items()}, "count": number} for number, row in enumerate(rows)]

    def history_v2(self, request: Request, now: datetime) -> list[dict[str, Any]]:
        """v2: numbers; what lies beyond a thousand candles is cut off at the end."""
        fields = {name: values[-1] for name, values in request.arguments().items()}
        return self._rows(fields, fields.get("interval", ""), INTERVALS, now)

    def ohlc(self, one: Scrip, minutes: int, now: datetime) -> str | None:
        """The OHLCV stream's text of the candle that has just closed; 0 minutes = one second. LOW and HIGH come first."""
        width = timedelta(minutes=minutes) if minutes else timedelta(seconds=1)
        found = self._candles(one, now - width, now - timedelta(seconds=1), minutes)
        if not found:
            return None
        candle = found[-1]
        head = [one.exchange, one.code] + ([one.expiry] if one.expiry else []) + ([str(one.strike), one.listing.kind] if one.strike else [])
        values = [candle.low, candle.high, candle.open, candle.close, candle.volume] + ([candle.oi] if one.expiry else [])
        return ",".join([*head, *map(str, values), f"{candle.start:%Y-%m-%d %H:%M:%S}", f"{minutes}MIN" if minutes else "1SEC"])

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _rows(self, fields: dict[str, Any], interval: str, intervals: dict[str, int], now: datetime) -> list[dict[str, Any]]:
        if interval.lower() not in intervals:
            raise ApiError(BAD_INTERVAL)
        start, end = (_moment(str(fields.get(name) or ""), name) for name in ("from_date", "to_date"))
        one = self._names.find(fields)
        if one is None:
            return []
        candles = self._candles(one, start, min(end, now), intervals[interval.lower()])
        return [_row(one, candle) for candle in candles[:MOST_CANDLES]]

    def _candles(self, one: Scrip, start: datetime, end: datetime, minutes: int) -> list[Candle]:
        if minutes:
            return self._world.market.candles(one.listing.key, start, end, minutes)
        candles, at = list[Candle](), start.replace(microsecond=0)
        while at <= min(end, self._world.now) and len(candles) < MOST_CANDLES:
            prints = self._world.market.trades(one.listing.key, at) if at.date() == self._world.day else []
            if prints:
                prices = [price for price, _ in prints]
                volume = sum(quantity for _, quantity in prints)
                candles.append(Candle(at, prices[0], max(prices), min(prices), prices[-1], volume, 0))
            at += timedelta(seconds=1)
        return candles

    def _spot(self, one: Scrip) -> float:
        listing = one.listing
        market = self._world.market
        root = next((key for key, item in market.listings.items() if item.underlying == listing.underlying and item.expiry is None), None)
        return market.quote(root).last_price if root is not None else 0.0


def _moment(text: str, name: str) -> datetime:
    """`2026-11-20T09:15:00.000Z` is 09:15 IST, whatever its Z says."""
    try:
        return datetime.fromisoformat(text.replace("Z", "")[:19]).replace(tzinfo=IST)
    except ValueError as error:
        raise ApiError(f"{name.replace('_', '-').title()} cannot be empty") from error


def _row(one: Scrip, candle: Candle) -> dict[str, Any]:
    row: dict[str, Any] = {
        "close": candle.close,
        "datetime": f"{candle.start:%Y-%m-%d %H:%M:%S}",
        "exchange_code": one.exchange,
        "high": candle.high,
        "low": candle.low,
        "open": candle.open,
        "stock_code": one.code,
        "volume": candle.volume,
    }
    if one.expiry:
        row |= {"expiry_date": one.expiry.upper(), "open_interest": candle.oi, "product_type": one.product}
        row |= {"right": one.right, "strike_price": one.strike}
    return row
