"""ICICIAPIClient for bare scripts: one login at ICICI Direct, quotes and orders by NSE symbol, the portfolio as the broker sends it.

    client = ICICIAPIClient(api_key, api_secret, access_token)      # access_token: the apisession of the day's login, or its session token
    client.get_quote("RELIANCE", "NSE")
    client.place_order("RELIANCE", "BUY", 10, order_type="MARKET", product="CNC", exchange="NSE")

It speaks to the broker directly: its orders are real, and no risk rule of the engine sees them (OrderManager(broker="icici") is the way
with rules). Errors: LoginRefused and SessionExpired (login), RateLimited, Transient and Unknown (network), Rejected and ConfigError (what
was asked for).
"""

import secrets
import string
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

import brokers.icici.mapping as mapping
from brokers.day_session import LOOPBACK
from brokers.icici.client import IciciBroker
from brokers.icici.dump import parse_instruments
from brokers.icici.facts import ENDPOINTS, LIMITS
from brokers.icici.session import IciciSession
from brokers.spec import Endpoints
from core.clock import SystemClock
from core.errors import ConfigError, DataError, Rejected
from core.expiries import round_to_tick
from core.ports import Clock, Token
from core.types import IST, Instrument, Kind, Order, OrderType, Purpose, SessionState, Side
from utils.config_loader import environment
from utils.pacing import Budget, Lane

CAP = 0.003  # how far beyond the last price an order without a price may go
_ALPHABET = string.ascii_uppercase + string.digits
_CASH = {"CNC": "cash", "CASH": "cash", "DELIVERY": "cash", "BTST": "btst", "MTF": "mtf"}


class _Given:
    """The credentials handed to the constructor."""

    def __init__(self, api_key: str, api_secret: str) -> None:
        self._values = {"ICICI_API_KEY": api_key, "ICICI_API_SECRET": api_secret}

    def get_secret(self, name: str) -> str:
        if not self._values.get(name):
            raise ConfigError(f"{name} is not set: give it to ICICIAPIClient")
        return self._values[name]


class _Master:
    """The day's instruments of one client; a core.ports.CodeLookup."""

    def __init__(self, dump: bytes, clock: Clock) -> None:
        self.day = clock.now().astimezone(IST).date()
        rows = [(row.instrument(), row.token) for row in parse_instruments(dump)]
        self._tokens: dict[str, Token] = {one.key: token for one, token in rows}
        self._by_key = {one.key: one for one, _ in rows}
        self._by_token: dict[Token, Instrument] = {token: one for one, token in rows}
        self._by_start = {str(token).rpartition("|")[0] + "|": one for one, token in rows}

    def by_key(self, key: str) -> Instrument | None:
        return self._by_key.get(key)

    def by_token(self, token: Token) -> Instrument | None:
        return self._by_token.get(token)

    def by_token_start(self, beginning: str) -> Instrument | None:
        return self._by_start.get(beginning)

    def token(self, instrument: Instrument) -> Token:
        try:
            return self._tokens[instrument.key]
        except KeyError:
            raise DataError(f"{instrument.key} is not in ICICI's security master of {self.day}") from None


class ICICIAPIClient:
    """One client at ICICI Direct. The session token is kept in STATE/session/icici.json (0600) and shared with scripts and commands.

    Without `access_token` the stored session of `main.py login icici` is used. `base_url` (or ICICI_BASE_URL) is a simulator's on this
    machine; credentials are sent to no other address but ICICI's.
    """

    def __init__(
        self,
        api_key: str,
        api_secret: str,
        access_token: str = "",
        *,
        base_url: str | None = None,
        state: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        endpoints, base = ENDPOINTS, base_url or environment("ICICI_BASE_URL")
        if base:
            if urlsplit(base).hostname not in LOOPBACK:
                raise ConfigError(f"base_url {base!r} is not a simulator on this machine; credentials are sent nowhere else but to ICICI")
            endpoints = Endpoints(base, base.replace("http", "ws", 1), f"{base}/apiuser/login")
        file = (state or Path(environment("NIYAM_STATE", "var"))) / "session" / "icici.json"
        self._session = IciciSession("script", _Given(api_key, api_secret), self._clock, file, endpoints, lambda event: None)
        self._broker = IciciBroker(self._session, self._clock, Budget(self._clock, LIMITS), None, endpoints, self._instruments)
        self._access_token = access_token
        self._master: _Master | None = None

    def get_quote(self, symbol: str, exchange: str = "NSE") -> dict[str, Any]:
        """The quote as the broker sends it (ltp, open, high, low, previous_close, best bid and offer, circuits), by NSE's symbol."""
        instrument = self._find(symbol, exchange)
        self._log_in()
        row = self._broker.quote(instrument)
        if row is None:
            raise Rejected(f"ICICI has no quote of {instrument.key}")
        return {"symbol": instrument.symbol, **row}

    def place_order(
        self,
        symbol: str,
        side: str,
        quantity: int,
        order_type: str = "MARKET",
        product: str = "CNC",
        exchange: str = "NSE",
        price: float | None = None,
        trigger_price: float | None = None,
    ) -> dict[str, Any]:
        """Send one order; returns `order_id`, the broker's `message`, and the `price` it went with.

        MARKET becomes a limit 0.3 % beyond the last price. `product`: CNC, BTST or MTF (buy only) for shares, NRML for contracts; there is
        no intraday product. An id says that the order was received, not that it was filled.
        """
        instrument = self._find(symbol, exchange)
        order = self._order(instrument, side, quantity, order_type, product, price, trigger_price)
        self._log_in()
        if price is None:
            order = msgspec.structs.replace(order, limit_price=self._beyond(instrument, order.side, order.trigger_price))
        body = mapping.place_body(order, self._instruments().token(instrument))
        answer = self._broker.send(Lane.ENTRY, "place", "POST", body)
        return {"order_id": str(answer.get("order_id", "")), "message": answer.get("message"), "price": order.limit_price, "tag": order.tag}

    def get_order_status(self, order_id: str, exchange: str | None = None) -> dict[str, Any]:
        """The order's row of the order list."""
        return self._row(order_id, exchange)

    def cancel_order(self, order_id: str, exchange: str | None = None) -> dict[str, Any]:
        """Ask for a cancel; a fill may still come first."""
        exchange = exchange or str(self._row(order_id, None)["exchange_code"])
        self._log_in()
        return dict(self._broker.send(Lane.CANCEL, "cancel", "DELETE", {"order_id": order_id, "exchange_code": exchange}))

    def get_portfolio(self) -> dict[str, Any]:
        """`holdings` (demat), `positions` and `funds`, as the broker sends them."""
        self._log_in()
        return {
            "holdings": self._broker.rows("positions", "dematholdings", {}),
            "positions": self._broker.rows("positions", "portfoliopositions", {}),
            "funds": self._broker.rows("funds", "funds", {}),
        }

    # --- inside -------------------------------------------------------------------------------------------------------------------------

    def _log_in(self) -> None:
        """Use the given token once; later calls go by the stored session, which another login may have replaced."""
        if self._access_token:
            given, self._access_token = self._access_token, ""
            self._session.take(given)
        if self._session.state() is SessionState.LOGIN_REQUIRED:
            self._session.token()  # says what to do

    def _row(self, order_id: str, exchange: str | None) -> dict[str, Any]:
        self._log_in()
        for one in (exchange,) if exchange else (("NSE", "BSE") if not order_id.isdecimal() else ("NFO", "BFO")):
            try:
                rows = self._broker.rows("orders", "order", {"exchange_code": one, "order_id": order_id})
            except Rejected:
                continue
            if isinstance(rows, list) and rows and isinstance(rows[0], dict):
                return dict(rows[0])
        raise Rejected(f"order {order_id!r} is not in today's order list of ICICI")

    def _order(
        self, instrument: Instrument, side: str, quantity: int, order_type: str, product: str, price: float | None, trigger: float | None
    ) -> Order:
        if side.upper() not in ("BUY", "SELL"):
            raise Rejected(f"side {side!r} is neither BUY nor SELL; nothing was sent")
        name = order_type.upper().replace("-", "_")
        if name not in ("MARKET", "LIMIT", "SL", "SL_M", "STOPLOSS"):
            raise Rejected(f"order_type {order_type!r} is none of MARKET, LIMIT, SL, SL-M; nothing was sent")
        stop = name not in ("MARKET", "LIMIT")
        if (stop and trigger is None) or (name == "LIMIT" and price is None):
            raise Rejected(f"a {order_type} order of {instrument.key} needs {'trigger_price' if stop else 'price'}; nothing was sent")
        if quantity <= 0 or quantity % instrument.lot:
            raise Rejected(f"quantity {quantity} of {instrument.key} is no positive multiple of its lot {instrument.lot}; nothing was sent")
        now = self._clock.now()
        return Order(
            id="script",
            tag="".join(secrets.choice(_ALPHABET) for _ in range(16)),
            account="script",
            strategy="script",
            name=instrument.key,
            instrument=instrument,
            side=Side(side.upper()),
            quantity=quantity,
            order_type=OrderType.SL if stop else OrderType.LIMIT,
            horizon=mapping.horizon_of(""),
            purpose=Purpose.EXIT,
            created_at=now,
            updated_at=now,
            limit_price=price or 0.0,
            trigger_price=trigger if stop else None,
            product=_product(instrument, side.upper(), product),
        )

    def _instruments(self) -> _Master:
        if self._master is None or self._master.day != self._clock.now().astimezone(IST).date():
            self._master = _Master(self._broker.instruments(), self._clock)
        return self._master

    def _find(self, symbol: str, exchange: str) -> Instrument:
        master, wanted = self._instruments(), symbol if ":" in symbol else f"{exchange.upper()}:{symbol.upper()}"
        found = master.by_key(wanted) or (master.by_key(f"NFO:{symbol.upper()}") if exchange.upper() == "NSE" else None)
        if found is None:
            raise Rejected(f"{wanted!r} is not in ICICI's security master of {master.day} (use the exchange's symbol); nothing was sent")
        return found

    def _beyond(self, instrument: Instrument, side: Side, trigger: float | None) -> float:
        """A limit a little beyond the trigger or the last price, on the tick."""
        near = trigger if trigger is not None else self._broker.last_prices([instrument]).get(instrument.key)
        if near is None:
            raise Rejected(f"ICICI has no last price of {instrument.key}; give a price. Nothing was sent")
        return round_to_tick(near * (1 + side.sign * CAP), instrument.tick_size, side)


def _product(instrument: Instrument, side: str, name: str) -> str:
    """Breeze's product for a script's word; raises Rejected saying what there is."""
    word = name.upper()
    if instrument.kind is not Kind.EQUITY:
        made = mapping.product(mapping.horizon_of(""), instrument)
        if word in ("NRML", "CARRYFORWARD", "FUTURES", "OPTIONS"):
            return made
        raise Rejected(f"product {name!r} of {instrument.key}: ICICI's API takes NRML ({made}) alone; nothing was sent")
    if word not in _CASH:
        text = f"product {name!r}: ICICI's API has CNC, BTST and MTF for shares and no intraday product; buy as CNC and sell the same day"
        raise Rejected(f"{text}. Nothing was sent")
    if word == "MTF" and side == "SELL":
        raise Rejected("MTF is for buying alone at ICICI's API; sell what MTF bought in ICICI's app. Nothing was sent")
    return _CASH[word]
