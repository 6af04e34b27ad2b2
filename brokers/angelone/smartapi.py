"""SmartAPIClient for bare scripts: one login at Angel One, its books as the broker sends them, orders by symbol and history.

    client = SmartAPIClient()                       # ANGELONE_API_KEY, ANGELONE_CLIENT_CODE, ANGELONE_MPIN from the environment or .env
    client.generate_session("123456")               # the code of the authenticator app
    client.place_order("RELIANCE", "BUY", 1, price=1450.0)

It speaks to the broker directly: its orders are real, and no risk rule of the engine sees them (OrderManager(broker="angelone") is the way
with rules). Errors: LoginRefused and SessionExpired (login), RateLimited, Transient and Unknown (network), Rejected and ConfigError (what
was asked for).
"""

import secrets
import string
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import brokers.angelone.mapping as mapping
from brokers.angelone.client import AngelBroker
from brokers.angelone.dump import parse_instruments
from brokers.angelone.facts import ENDPOINTS, LIMITS
from brokers.angelone.session import AngelSession
from brokers.spec import Endpoints
from core.clock import SystemClock
from core.errors import ConfigError, DataError, Rejected, SessionExpired
from core.ports import Clock, CredentialStore, Token
from core.types import IST, Horizon, Instrument, Order, OrderType, Purpose, SessionState, Side
from utils.config_loader import config, environment
from utils.pacing import Budget, Lane

CAP = 0.003  # how far beyond the last price an order without a price may go
_INTERVALS = {**{name: minutes for minutes, name in mapping.INTERVALS.items()}, "1m": 1, "3m": 3, "5m": 5, "15m": 15, "1d": 1440}
_ALPHABET = string.ascii_uppercase + string.digits


class _Given:
    """Credentials handed to the constructor; the configured places for the rest."""

    def __init__(self, given: Mapping[str, str | None], otherwise: CredentialStore) -> None:
        self._given = given
        self._otherwise = otherwise

    def get_secret(self, name: str) -> str:
        return self._given.get(name) or self._otherwise.get_secret(name)


class _Master:
    """The day's instruments of one client, by our key and by the broker's names; a core.ports.InstrumentLookup."""

    def __init__(self, dump: bytes, clock: Clock) -> None:
        self.day = clock.now().astimezone(IST).date()
        self._tokens: dict[str, Token] = {}
        self._by_token: dict[Token, Instrument] = {}
        self._by_name: dict[str, Instrument] = {}
        for row in parse_instruments(dump):
            instrument = row.instrument()
            exchange, _, symbol = mapping.parts_of(row.token)
            self._tokens[instrument.key] = row.token
            self._by_token[row.token] = self._by_name[instrument.key] = self._by_name[f"{exchange}:{symbol}"] = instrument

    def by_key(self, key: str) -> Instrument | None:
        return self._by_name.get(key)

    def by_token(self, token: Token) -> Instrument | None:
        return self._by_token.get(token)

    def token(self, instrument: Instrument) -> Token:
        try:
            return self._tokens[instrument.key]
        except KeyError:
            raise DataError(f"{instrument.key} is not in Angel One's instruments of {self.day}") from None


class SmartAPIClient:
    """One client code at Angel One. Tokens are kept in STATE/session/angelone.json (0600) and shared with scripts and commands.

    `secret_key` is taken because apps have one; the API asks for none. `base_url` is for a simulator of the broker.
    """

    def __init__(
        self,
        api_key: str | None = None,
        client_id: str | None = None,
        mpin: str | None = None,
        secret_key: str | None = None,
        *,
        base_url: str | None = None,
        state: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        given = {"ANGELONE_API_KEY": api_key, "ANGELONE_CLIENT_CODE": client_id, "ANGELONE_MPIN": mpin}
        endpoints = ENDPOINTS
        if base_url is not None:
            endpoints = Endpoints(base_url, base_url.replace("http", "ws", 1), f"{base_url}/publisher-login")
        file = (state or Path(environment("NIYAM_STATE", "var"))) / "session" / "angelone.json"
        self._session = AngelSession("script", _Given(given, config), self._clock, file, endpoints, lambda event: None)
        self._broker = AngelBroker(self._session, self._clock, Budget(self._clock, LIMITS), None, endpoints, self._instruments)
        self._master: _Master | None = None

    # --- session ------------------------------------------------------------------------------------------------------------------------

    def generate_session(self, totp: str) -> dict[str, Any]:
        """Log in with the configured MPIN and the six digits of the authenticator app; raises LoginRefused saying which was wrong."""
        self._session.accept(totp)
        return self._about()

    def refresh_session(self) -> dict[str, Any]:
        """Replace the tokens by the refresh token, without a code; raises SessionExpired where that needs a new login."""
        if not self._session.renew():
            raise SessionExpired("the session cannot be refreshed: log in with generate_session(totp)", code="LOGIN_REQUIRED")
        return self._about()

    def is_token_valid(self) -> bool:
        """Whether the broker takes the present token (one request); network errors are raised."""
        if self._session.state() is SessionState.LOGIN_REQUIRED:
            return False
        try:
            self.get_profile()
        except SessionExpired:
            return False
        return True

    def get_profile(self) -> dict[str, Any]:
        return dict(self._broker.profile())

    def logout(self) -> None:
        """End the session at the broker."""
        self._session.log_out()

    # --- books, as the broker sends them ------------------------------------------------------------------------------------------------

    def get_positions(self) -> list[dict[str, Any]]:
        return self._broker.book("positions", "order/v1/getPosition")

    def get_holdings(self) -> list[dict[str, Any]]:
        return self._broker.book("holdings", "portfolio/v1/getHolding")

    def get_order_book(self) -> list[dict[str, Any]]:
        return self._broker.book("orders", "order/v1/getOrderBook")

    def get_trade_book(self) -> list[dict[str, Any]]:
        return self._broker.book("trades", "order/v1/getTradeBook")

    # --- orders -------------------------------------------------------------------------------------------------------------------------

    def place_order(
        self,
        symbol: str,
        transaction_type: str,
        quantity: int,
        order_type: str = "MARKET",
        product: str = "INTRADAY",
        price: float | None = None,
        trigger_price: float | None = None,
        exchange: str = "NSE",
        tag: str | None = None,
    ) -> dict[str, Any]:
        """Send one order; returns `orderid`, `uniqueorderid`, `script`, and the `ordertag` and `price` it went with.

        `symbol` is ours or the broker's (RELIANCE, RELIANCE-EQ, NIFTY26NOVFUT). MARKET becomes a limit 0.3 % beyond the last price, a stop
        without a price one as far beyond its trigger. `product`: INTRADAY, DELIVERY or CARRYFORWARD. An id says that the order was
        received, not that it was filled.
        """
        instrument = self._find(symbol, exchange)
        side, stop = _side(transaction_type), _is_stop(order_type)
        if quantity <= 0 or quantity % instrument.lot:
            raise Rejected(f"quantity {quantity} of {instrument.key} is no positive multiple of its lot {instrument.lot}; nothing was sent")
        if stop and trigger_price is None:
            raise Rejected(f"a {order_type} order of {instrument.key} needs trigger_price; nothing was sent")
        if price is None:
            price = self._beyond(instrument, side, trigger_price if stop else None)
        allowed = {mapping.product(horizon, instrument) for horizon in Horizon}
        if product not in allowed:
            raise Rejected(f"product {product!r} is not one of {', '.join(sorted(allowed))} for {instrument.key}; nothing was sent")
        order = Order(
            id="script",
            tag=tag or "".join(secrets.choice(_ALPHABET) for _ in range(16)),
            account="script",
            strategy="script",
            name=instrument.key,
            instrument=instrument,
            side=side,
            quantity=quantity,
            order_type=OrderType.SL if stop else OrderType.LIMIT,
            horizon=mapping.horizon_of(product),
            purpose=Purpose.EXIT,
            created_at=self._clock.now(),
            updated_at=self._clock.now(),
            limit_price=price,
            trigger_price=trigger_price if stop else None,
            product=product,
        )
        body = mapping.place_body(order, self._instruments().token(instrument))
        data = self._broker.send(Lane.ENTRY, "place", "order/v1/placeOrder", body)
        return {**data, "ordertag": order.tag, "price": price}

    def cancel_order(self, order_id: str, variety: str | None = None) -> dict[str, Any]:
        """Ask for a cancel; a fill may still come first. The order's variety is looked up where it is not given."""
        if variety is None:
            found = [str(row.get("variety")) for row in self.get_order_book() if str(row.get("orderid")) == order_id]
            if not found:
                raise Rejected(f"order {order_id!r} is not in today's order book; nothing was sent", code="AB1013")
            variety = found[0]
        return dict(self._broker.send(Lane.CANCEL, "cancel", "order/v1/cancelOrder", {"variety": variety, "orderid": order_id}))

    # --- market data --------------------------------------------------------------------------------------------------------------------

    def get_market_data(
        self,
        symbol: str,
        interval: str = "ONE_MINUTE",
        from_date: datetime | str | None = None,
        to_date: datetime | str | None = None,
        exchange: str = "NSE",
    ) -> list[dict[str, Any]]:
        """Candles as dicts timestamp (open time, IST), open, high, low, close, volume, ascending; today's without dates.

        `interval` is ONE_MINUTE … ONE_DAY, or 1m, 3m, 5m, 15m, 1d; naive times are IST. A span longer than one request may be is refused.
        """
        minutes = _INTERVALS.get(interval) or _INTERVALS.get(interval.upper())
        if minutes is None:
            raise Rejected(f"interval {interval!r} is not one of {', '.join(_INTERVALS)}")
        now = self._clock.now()
        end = _moment(to_date, now)
        start = _moment(from_date, now.astimezone(IST).replace(hour=9, minute=0, second=0, microsecond=0))
        most = mapping.HISTORICAL_CAPS[minutes]
        if not start <= end or (end - start).days > most:
            raise Rejected(f"from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}: at most {most} days, the start first")
        return [
            {"timestamp": bar.start, "open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close, "volume": bar.volume}
            for bar in self._broker.candles(self._find(symbol, exchange), start, end, minutes)
        ]

    # --- inside -------------------------------------------------------------------------------------------------------------------------

    def _about(self) -> dict[str, Any]:
        tokens = self._session.tokens()
        return {
            "client_id": tokens["user_id"],
            "expires_at": self._session.expires_at(),
            **{name: tokens.get(name, "") for name in ("access_token", "refresh_token", "feed_token")},
        }

    def _instruments(self) -> _Master:
        if self._master is None or self._master.day != self._clock.now().astimezone(IST).date():
            self._master = _Master(self._broker.instruments(), self._clock)
        return self._master

    def _find(self, symbol: str, exchange: str) -> Instrument:
        master, wanted = self._instruments(), symbol if ":" in symbol else f"{exchange}:{symbol}"
        found = master.by_key(wanted) or (master.by_key(f"NFO:{symbol}") if exchange == "NSE" else None)
        if found is None:
            raise Rejected(f"{wanted!r} is not in Angel One's instruments of {master.day}; nothing was sent", code="AB1009")
        return found

    def _beyond(self, instrument: Instrument, side: Side, trigger: float | None) -> float:
        """A limit a little beyond the trigger or the last price, on the tick."""
        near = trigger if trigger is not None else self._broker.last_prices([instrument]).get(instrument.key)
        if near is None:
            raise Rejected(f"Angel One has no last price of {instrument.key}; give a price. Nothing was sent")
        return round(round(near * (1 + side.sign * CAP) / instrument.tick_size) * instrument.tick_size, 4)


def _side(text: str) -> Side:
    try:
        return Side(text.upper())
    except ValueError:
        raise Rejected(f"transaction_type {text!r} is neither BUY nor SELL; nothing was sent") from None


def _is_stop(order_type: str) -> bool:
    """Whether it waits for its trigger; raises Rejected for a type that does not exist."""
    name = order_type.upper().replace("-", "_")
    if name in ("MARKET", "LIMIT"):
        return False
    if name in ("SL", "SL_M", "STOPLOSS", "STOPLOSS_LIMIT", "STOPLOSS_MARKET"):
        return True
    raise Rejected(f"order_type {order_type!r} is none of MARKET, LIMIT, SL, SL-M; nothing was sent")


def _moment(given: datetime | str | None, otherwise: datetime) -> datetime:
    if given is None:
        return otherwise
    try:
        at = datetime.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        raise ConfigError(f"{given!r} is no ISO time; write 2026-11-20 or 2026-11-20 09:15") from None
    return at.replace(tzinfo=IST) if at.tzinfo is None else at.astimezone(IST)
