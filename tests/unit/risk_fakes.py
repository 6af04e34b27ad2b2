"""A book for risk tests: an honest RiskBook made of plain fields, all in a state that lets an ordinary entry through."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from core.types import AccountKind, Horizon, Instrument, Order, OrderRequest, OrderType, Purpose, SessionState, Side, TradingState
from risk.book import EntryWindow
from risk.settings import RiskSettings
from tests.builders import NIFTY, T0

SETTINGS = RiskSettings()


@dataclass
class FakeBook:
    now: datetime = T0
    account_kind: AccountKind = AccountKind.LIVE
    state: TradingState = TradingState.ACTIVE
    session: SessionState = SessionState.VALID
    blind: str | None = None
    frozen_keys: dict[str, str] = field(default_factory=dict)
    banned: dict[str, str] = field(default_factory=dict)
    feed_stale: str | None = None
    tags_echoed: bool = True
    objections: dict[str, str] = field(default_factory=dict)
    received: float | None = 0.5
    exchange: float | None = 1.0
    price: float | None = 25_000.0
    limits: tuple[float, float] | None = None
    window: EntryWindow = field(default_factory=lambda: EntryWindow(T0 - timedelta(minutes=15), T0 + timedelta(hours=5)))
    positions: dict[tuple[str, str], int] = field(default_factory=dict)
    nets: dict[str, int] = field(default_factory=dict)
    closings: dict[tuple[str, str], int] = field(default_factory=dict)
    delivered: dict[str, datetime] = field(default_factory=dict)
    exposures: dict[str, float] = field(default_factory=dict)
    gross: float = 0.0
    pnl: float = 0.0
    pnls: dict[str, float] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    sent: dict[float, int] = field(default_factory=dict)
    sent_today: int = 0
    margin: float | None = 10_000_000.0
    begun: dict[str, int] = field(default_factory=dict)
    ended: datetime | None = None
    lost: datetime | None = None

    def frozen(self, instrument: Instrument) -> str | None:
        return self.frozen_keys.get(instrument.key)

    def restricted(self, instrument: Instrument) -> str | None:
        return self.banned.get(instrument.underlying)

    def objection(self, horizon: Horizon, instrument: Instrument) -> str:
        return self.objections.get(instrument.underlying, "")

    def flat_from(self, instrument: Instrument) -> datetime | None:
        return self.delivered.get(instrument.underlying)

    def ages(self, instrument: Instrument, now: datetime) -> tuple[float | None, float | None]:
        return self.received, self.exchange

    def last_price(self, instrument: Instrument) -> float | None:
        return self.price

    def circuit(self, instrument: Instrument) -> tuple[float, float] | None:
        return self.limits

    def entry_window(self, request: OrderRequest, now: datetime) -> EntryWindow:
        return self.window

    def position(self, strategy: str, instrument: Instrument) -> int:
        return self.positions.get((strategy, instrument.key), 0)

    def on_side(self, instrument: Instrument, side: Side) -> int:
        held = [units for (_, key), units in self.positions.items() if key == instrument.key]
        held.append(self.nets.get(instrument.key, 0) - sum(held))  # of others
        return sum(max(0, units * side.sign) for units in held)

    def closing(self, strategy: str, instrument: Instrument) -> int:
        return self.closings.get((strategy, instrument.key), 0)

    def strategy_exposure(self, strategy: str) -> float:
        return self.exposures.get(strategy, 0.0)

    def account_exposure(self) -> float:
        return self.gross

    def day_pnl(self) -> float:
        return self.pnl

    def strategy_pnl(self, strategy: str) -> float:
        return self.pnls.get(strategy, 0.0)

    def strategies(self) -> list[str]:
        return sorted(self.pnls)

    def trades_today(self, strategy: str) -> int:
        return self.begun.get(strategy, 0)

    def trade_ended(self, strategy: str, *, losing: bool) -> datetime | None:
        return self.lost if losing else self.ended

    def live_orders(self) -> list[Order]:
        return list(self.orders)

    def requests_sent(self, now: datetime) -> tuple[int, int, int]:
        return self.sent.get(1.0, 0), self.sent.get(60.0, 0), self.sent_today

    def available_margin(self) -> float | None:
        return self.margin


def entry(**changes: Any) -> OrderRequest:
    """An ordinary entry: buy one lot of the NIFTY future at its last price."""
    request = OrderRequest(
        strategy="trend",
        name="NIFTY_FUT",
        instrument=NIFTY,
        side=Side.BUY,
        quantity=65,
        order_type=OrderType.LIMIT,
        horizon=Horizon.INTRADAY,
        purpose=Purpose.ENTRY,
        limit_price=25_000.0,
        at=T0,
    )
    return msgspec.structs.replace(request, **changes)


def leave(**changes: Any) -> OrderRequest:
    """An ordinary exit of the same: sell one lot."""
    return entry(**{"side": Side.SELL, "purpose": Purpose.EXIT, **changes})


def held(quantity: int = 65, **fields: Any) -> FakeBook:
    """A book in which `trend` holds so much of the NIFTY future."""
    return FakeBook(positions={("trend", NIFTY.key): quantity}, nets={NIFTY.key: quantity}, **fields)


def settings(**changes: Any) -> RiskSettings:
    return msgspec.structs.replace(SETTINGS, **changes)
