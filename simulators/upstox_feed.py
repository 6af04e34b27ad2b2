"""Upstox's two streams without sockets: the market data feed (protobuf) and the portfolio stream (JSON), and who may open them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from simulators.faults import Faults
from simulators.listing import Listing, Quote
from simulators.orders import Change, Status
from simulators.streams import Stream, Streams
from simulators.universe import RATE
from simulators.upstox_errors import ApiError, bad_token
from simulators.upstox_names import keys_of
from simulators.upstox_rows import STATUS, order_row
from simulators.upstox_session import AccessToken, Sessions
from simulators.upstox_wire import FULL, FULL_D30, LIVE_FEED, LTPC, MODES, OPTION_GREEKS, Candle, Instant, feed, market_info, message
from simulators.wire import Connection, Request
from simulators.world import World

MARKET_PATH = "/v3/feed/market-data-feed"
PORTFOLIO_PATH = "/v2/feed/portfolio-stream-feed"
ONE_SHOT_PATHS = {
    "/market-data-feeder/v3/upstox-developer-api/feeds": "market",
    "/portfolio-stream-feeder/v2/upstox-developer-api/feeds": "portfolio",
}
MOST_CONNECTIONS, MOST_CONNECTIONS_PLUS = 2, 5
MOST_KEYS = {LTPC: (5000, 2000), OPTION_GREEKS: (3000, 2000), FULL: (2000, 1500), FULL_D30: (50, 50)}  # alone, with other modes
VOLATILITY = 0.13
_PARTIAL_EVERY = 7
"""Each so many live messages of an instrument lack its book and volume, as the broker's do now and then."""


@dataclass(slots=True)
class UpstoxStream(Stream):
    """`kind` is market or portfolio; `updates` what a portfolio stream was opened for; `told` counts messages by key; `greeting` leads."""

    kind: str = "market"
    greeting: bytes = b""
    updates: frozenset[str] = frozenset({"order"})
    told: dict[str, int] = field(default_factory=dict)
    minutes: dict[str, Candle] = field(default_factory=dict)


class Feeds(Streams):
    """All connections of all users. Without a heartbeat: between messages the server only pings."""

    def __init__(self, world: World, sessions: Sessions, faults: Faults) -> None:
        super().__init__(world, faults)
        self._sessions = sessions
        self._codes: dict[str, tuple[AccessToken, str, frozenset[str]]] = {}

    # --- letting in ---------------------------------------------------------------------------------------------------------------

    def authorize(self, session: AccessToken, request: Request) -> dict[str, str]:
        """The address of one connection, with its one-time code."""
        code = self._sessions.one_time()
        market = request.path.startswith(MARKET_PATH)
        self._codes[code] = (session, "market" if market else "portfolio", _updates(request))
        host = request.headers.get("host", "127.0.0.1")
        scheme = "ws" if host.startswith(("127.", "localhost")) else "wss"
        path = next(path for path, kind in ONE_SHOT_PATHS.items() if kind == ("market" if market else "portfolio"))
        address = f"{scheme}://{host}{path}?requestId={code[:8]}&code={code}"
        return {"authorizedRedirectUri": address, "authorized_redirect_uri": address}

    def connect(self, request: Request, connection: Connection, now: datetime) -> str:
        """Let the handshake in, raise ApiError, or return the address it is redirected to: the one clients may dial is not the feeder's."""
        if request.path in ONE_SHOT_PATHS:
            session, kind, updates = self._codes.pop(request.argument("code"), (None, "", frozenset[str]()))
            if session is None or kind != ONE_SHOT_PATHS[request.path] or not session.alive(now):
                raise ApiError(403, "UDAPI100050", "Forbidden")
        else:
            found = self._sessions.check(request, now)
            if found is None:
                raise bad_token()
            if request.path not in (MARKET_PATH, PORTFOLIO_PATH):
                raise ApiError(404, "UDAPI10000", "This request is not supported by Upstox API")
            if not request.lane:  # time by grants counts one handshake for one connection
                return self.authorize(found, request)["authorizedRedirectUri"]
            session, kind, updates = found, "market" if request.path == MARKET_PATH else "portfolio", _updates(request)
        most = MOST_CONNECTIONS_PLUS if session.app.plus else MOST_CONNECTIONS
        mine = self.open_of(lambda one: isinstance(one, UpstoxStream) and one.kind == kind and one.session.user == session.user)
        if mine >= most:
            raise ApiError(403, "UDAPI100049", f"Forbidden: {most} connections are open")
        stream = UpstoxStream(session, now, seen=self._world.steps, last_sent=now, kind=kind, updates=updates)
        if kind == "market":
            stream.greeting = market_info(self._statuses(now), _ms(now))
            stream.texts.append(stream.greeting)
        connection.state = stream
        return ""

    def frames(self, connection: Connection, now: datetime) -> list[bytes | str]:
        greeting = connection.state.greeting
        return sorted(super().frames(connection, now), key=lambda frame: frame is not greeting)

    # --- what clients say ---------------------------------------------------------------------------------------------------------

    def receive(self, connection: Connection, message: str | bytes, now: datetime) -> None:
        """Nothing is ever answered; text frames, garbage, unknown keys and what exceeds a limit are passed over in silence."""
        stream: UpstoxStream = connection.state
        stream.received.append(message if isinstance(message, str) else message.decode("utf-8", "replace"))
        if isinstance(message, str) or stream.kind != "market":
            return
        try:
            asked = json.loads(message)
            method, data = asked["method"], asked["data"]
            keys, mode = [str(key) for key in data["instrumentKeys"]], str(data.get("mode") or LTPC)
        except (ValueError, KeyError, TypeError):
            return
        known = self._key_by_name()
        for key in keys:
            if method == "unsub":
                stream.modes.pop(key, None)
            elif key in known and mode in MODES and (method == "sub" or (method == "change_mode" and key in stream.modes)):
                self._subscribe(stream, key, mode)

    def _subscribe(self, stream: UpstoxStream, key: str, mode: str) -> None:
        session = stream.session
        assert isinstance(session, AccessToken)
        alone, mixed = MOST_KEYS[mode]
        same = sum(1 for other in stream.modes.values() if other == mode)
        most = alone if same == len(stream.modes) else mixed
        if (mode == FULL_D30 and not session.app.plus) or (stream.modes.get(key) != mode and same >= most):
            return
        if stream.modes.get(key) != mode:
            stream.modes[key] = mode
            if key not in stream.snapshots:
                stream.snapshots.append(key)

    # --- what they are told -------------------------------------------------------------------------------------------------------

    def _packed(self, stream: Stream, due: Sequence[tuple[str, str]]) -> list[bytes]:
        """A snapshot message of what was subscribed since the last one, and a live message of the rest."""
        assert isinstance(stream, UpstoxStream)
        now = self._world.now
        fresh: list[tuple[str, bytes]] = []
        live: list[tuple[str, bytes]] = []
        for name, key in due:
            seen = self._instant(stream, key, now, stream.modes[name])
            told = stream.told.get(name)
            if told is None:
                fresh.append((name, feed(stream.modes[name], seen)))
            else:
                if told % _PARTIAL_EVERY == _PARTIAL_EVERY - 1 and not seen.is_index:
                    seen = replace(seen, levels=None, greeks=None, candles=(), volume=0, oi=0.0, average=0.0)
                live.append((name, feed(stream.modes[name], seen)))
            stream.told[name] = (told or 0) + 1
        stream.told = {name: count for name, count in stream.told.items() if name in stream.modes}
        at = _ms(now)
        return [message(feeds, at, kind) for feeds, kind in ((fresh, 0), (live, LIVE_FEED)) if feeds]

    def _instant(self, stream: UpstoxStream, key: str, now: datetime, mode: str) -> Instant:
        market = self._world.market
        quote, listing = market.quote(key), market.listings[key]
        trade_ms = _ms(quote.last_time or quote.exchange_time)
        day = Candle(
            "1d", quote.open, quote.high, quote.low, quote.last_price, quote.volume, _ms(market.opens_at.replace(hour=0, minute=0))
        )
        candles = (day, self._minute(stream, key, quote, now))
        if listing.kind == "INDEX":
            return Instant(quote.last_price, trade_ms, 0, quote.close, candles=candles, is_index=True)
        return Instant(
            price=quote.last_price,
            trade_ms=trade_ms,
            quantity=quote.last_quantity,
            previous_close=quote.close,
            levels=_levels(quote, listing, 30 if mode == FULL_D30 else 5),
            greeks=self._greeks(listing, now) if listing.kind in ("CE", "PE") else None,
            candles=candles,
            average=quote.average_price,
            volume=quote.volume,
            oi=float(quote.oi),
            volatility=VOLATILITY if listing.kind in ("CE", "PE") else 0.0,
            buying=float(quote.total_buy),
            selling=float(quote.total_sell),
            cas_eligible=listing.is_fno and listing.kind == "EQ",
        )

    def _minute(self, stream: UpstoxStream, key: str, quote: Quote, now: datetime) -> Candle:
        """The running minute of the prices that this connection was told."""
        start, price = _ms(now.replace(second=0, microsecond=0)), quote.last_price
        before = stream.minutes.get(key)
        if before is None or before.at_ms != start:
            made = Candle("I1", price, price, price, price, 0, start)
        else:
            made = replace(before, high=max(before.high, price), low=min(before.low, price), close=price)
        stream.minutes[key] = made
        return made

    def _greeks(self, listing: Listing, now: datetime) -> tuple[float, ...]:
        """Delta, theta (a day), gamma, vega and rho (a percent) of Black and Scholes at one volatility."""
        assert listing.expiry is not None
        index = next(
            (one for one in self._world.market.listings.values() if one.kind == "INDEX" and one.underlying == listing.underlying), None
        )
        spot = self._world.market.quote(index.key).last_price if index is not None else listing.strike
        years = max(((listing.expiry - now.date()).days + 0.3) / 365, 1e-4)
        root = VOLATILITY * math.sqrt(years)
        d1 = (math.log(spot / listing.strike) + (RATE + VOLATILITY**2 / 2) * years) / root
        sign = 1 if listing.kind == "CE" else -1
        density, discounted = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi), listing.strike * math.exp(-RATE * years)
        inside = _normal(sign * (d1 - root))
        theta = (-spot * density * VOLATILITY / (2 * math.sqrt(years)) - sign * RATE * discounted * inside) / 365
        delta = sign * _normal(sign * d1)
        found = (delta, theta, density / (spot * root), spot * density * math.sqrt(years) / 100, sign * discounted * years * inside / 100)
        return tuple(round(value, 6) for value in found)

    def _statuses(self, now: datetime) -> dict[str, str]:
        opens, closes = self._world.market.opens_at, self._world.market.closes_at
        status = "NORMAL_OPEN" if opens <= now < closes else "NORMAL_CLOSE" if now >= closes else "PRE_OPEN_START"
        return dict.fromkeys(("NSE_EQ", "NSE_FO", "NSE_INDEX", "BSE_EQ", "BSE_FO", "BSE_INDEX"), status)

    def _names(self) -> Mapping[str, str]:
        return keys_of(self._world.market.listings)

    def _message(self, change: Change, status: str, stream: Stream) -> str | None:
        if not isinstance(stream, UpstoxStream) or stream.kind != "portfolio" or stream.session.user != change.user:
            return None
        if "order" not in stream.updates:
            return None
        row = order_row(change.order, change.row)
        told = {"update_type": "order", "user_id": change.user, "userId": change.user, **row, "instrument_key": row["instrument_token"]}
        return json.dumps(told, separators=(",", ":"))

    def _word(self, change: Change) -> str | None:
        return STATUS.get(change.row.status) if change.row.status is not Status.VALIDATING else None

    def _bad_frame(self, kind: str, values: Mapping[str, Any], stream: Stream) -> bytes:
        assert isinstance(stream, UpstoxStream)
        now = self._world.now
        if stream.kind != "market":
            return b""
        if kind == "unknown_token":
            return message([(f"NSE_FO|{values['token']}", feed(LTPC, Instant(100.0, _ms(now), 1, 99.0)))], _ms(now), LIVE_FEED)
        keys = self._key_by_name()
        name = next((name for name in stream.modes if values["symbol"] in ("", keys.get(name))), None)
        if name is None:
            return b""
        seen = replace(self._instant(stream, keys[name], now, stream.modes[name]), price=float(values["price"]))
        return message([(name, feed(stream.modes[name], seen))], _ms(now), LIVE_FEED)


def _levels(quote: Quote, listing: Listing, count: int) -> list[tuple[int, float, int, float]]:
    """The book; below the exchange's five levels thinner ones, a tick apart."""
    empty = (0.0, 0, 0)
    levels = [(b[1], b[0], a[1], a[0]) for b, a in zip((*quote.bids, *[empty] * 5)[:5], (*quote.asks, *[empty] * 5)[:5], strict=True)]
    while len(levels) < count:
        bid_quantity, bid, ask_quantity, ask = levels[-1]
        down, up = max(bid - listing.tick_size, 0.0), ask + listing.tick_size if ask else 0.0
        levels.append((bid_quantity // 2, round(down, 4), ask_quantity // 2, round(up, 4)))
    return levels


def _normal(value: float) -> float:
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _updates(request: Request) -> frozenset[str]:
    return frozenset((request.argument("update_types") or "order").split(","))
