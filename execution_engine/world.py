"""What the engine knows at this moment: prices, ages, sessions, positions and the day's plans; what strategies and the gate may read.

One object implements both core.types.View (for strategies) and risk.book.RiskBook (for the gate), so that both see the same world.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta

from core.market import Calendar, SquareOffPlan, SquareOffSettings
from core.types import (
    Account,
    AccountKind,
    Horizon,
    Instrument,
    Kind,
    OrderRequest,
    Purpose,
    SessionState,
    Tick,
    TradingState,
)
from execution_engine.buy_sell_logic import Quote
from execution_engine.order_manager import OrderDesk
from execution_engine.portfolio import Portfolio
from risk.book import EntryWindow

_CLOSING = frozenset({Purpose.EXIT, Purpose.SQUARE_OFF, Purpose.PROTECT})
Window = tuple[datetime | None, datetime | None]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class World:
    """Owned by the engine thread; strategies and rules read it, the engine writes it."""

    def __init__(
        self,
        account: Account,
        calendar: Calendar,
        square_off: SquareOffSettings,
        portfolio: Portfolio,
        desk: OrderDesk,
        now: Callable[[], datetime],
        margin: Callable[[Instrument, Horizon, int, float], float],
    ) -> None:
        self.account = account
        self.calendar = calendar
        self._square_off = square_off
        self._portfolio = portfolio
        self._desk = desk
        self._now = now
        self._margin = margin
        self.position = portfolio.position
        self.on_side = portfolio.on_side
        self.strategy_exposure = self.account_exposure = portfolio.exposure
        self.live_orders = desk.live
        self.ticks: dict[str, Tick] = {}  # the last tick of each instrument, by key; `see` takes the next
        self.limits: dict[str, tuple[float, float]] = {}  # instrument key -> the day's circuit limits
        self.names: dict[str, Instrument] = {}
        self.data = "live market"  # where prices come from, shown wherever results are: synthetic ones must never look real
        self.windows: dict[str, Window] = {}  # strategy -> its own entry window today
        self.loaded: tuple[str, ...] = ()
        self.state = TradingState.ACTIVE
        self.session = SessionState.LOGIN_REQUIRED
        self.feed_connected = False
        self.feed_reason = "no connection yet"
        self.canary: Instrument | None = None
        self.stale_after = 5.0
        self.feed_losses: Callable[[], Mapping[str, object]] = dict  # what of the feed was not used, and why; the wiring knows the parts
        self.broker_funds: float | None = None  # rupees the broker last said may be used; None: a paper account, or not read yet
        self.blinded: dict[str, str] = {}  # cause (recovery, ledger, books) -> why entries are off
        self.frozen_by_books: dict[str, str] = {}
        self.restricted: Callable[[Instrument], str | None] = lambda instrument: None  # the day's lists; the day's start reads them
        self.objection: Callable[[Horizon, Instrument], str] = lambda horizon, instrument: ""  # what the broker has no product for
        self.tags_echoed = True
        self.flat_from: Callable[[Instrument], datetime | None] = lambda instrument: None  # expiry.py knows what is settled in shares
        self._plans: dict[str, SquareOffPlan | None] = {}

    # --- View -------------------------------------------------------------------------------------------------------------------

    def see(self, tick: Tick) -> None:
        self.ticks[tick.instrument.key] = tick

    def unsee(self) -> None:
        """Forget every tick, as before the first."""
        self.ticks.clear()

    @property
    def now(self) -> datetime:
        return self._now()

    def last_price(self, instrument: Instrument) -> float | None:
        tick = self.ticks.get(instrument.key)
        return tick.price if tick is not None else None

    def resolve(self, name: str) -> Instrument | None:
        return self.names.get(name)

    def phase(self, instrument: Instrument) -> str:
        return self.calendar.phase(instrument, self._now())

    # --- the day's plans -------------------------------------------------------------------------------------------------------

    def open_day(self, names: Mapping[str, Instrument]) -> None:
        self.names = dict(names)
        self._plans.clear()
        self.limits.clear()

    def hours_changed(self) -> None:
        """The calendar has other facts now."""
        self._plans.clear()

    def plan(self, instrument: Instrument) -> SquareOffPlan | None:
        """The square-off plan of this instrument today; None: no session."""
        if instrument.key not in self._plans:
            self._plans[instrument.key] = self.calendar.square_off(self.account.broker, instrument, self._now().date(), self._square_off)
        return self._plans[instrument.key]

    def past_cut_off(self, instrument: Instrument, horizon: Horizon) -> bool:
        """Whether the broker closes such positions by itself by now, and may have done so."""
        plan = self.plan(instrument) if horizon is Horizon.INTRADAY else None
        return plan is not None and plan.cut_off.at is not None and self._now() >= plan.cut_off.at

    def assumed(self, day: date) -> list[str]:
        """Facts of the calendar that are not confirmed and that this day's instruments rest on."""
        segments = {instrument.segment for instrument in self.names.values()}
        others = {"EQ", "FO", "CDS", "MCX"} - segments
        return [note for note in self.calendar.notes(day) if not any(f"the {other} " in note for other in others)]

    def expired(self, instrument: Instrument) -> bool:
        """Whether it trades no more: its expiry is past, or is today and its last session is over."""
        today = self._now().date()
        if instrument.expiry is None or instrument.expiry > today:
            return False
        windows = self.calendar.continuous(instrument, today) if instrument.expiry == today else ()
        return not windows or self._now() >= windows[-1][1]

    def quote(self, instrument: Instrument) -> Quote:
        """What an order is priced against; zeros before the first tick."""
        tick = self.ticks.get(instrument.key)
        low, high = self.limits.get(instrument.key, (0.0, 0.0))
        return Quote(tick.price, tick.bid, tick.ask, low, high) if tick is not None else Quote(0.0)

    # --- RiskBook --------------------------------------------------------------------------------------------------------------

    @property
    def account_kind(self) -> AccountKind:
        return self.account.kind

    @property
    def blind(self) -> str | None:
        return next(iter(self.blinded.values())) if self.blinded else None

    def frozen(self, instrument: Instrument) -> str | None:
        return self._desk.frozen.get(instrument.key) or self.frozen_by_books.get(instrument.key)

    @property
    def feed_stale(self) -> str | None:
        if not self.feed_connected:
            return self.feed_reason or "the feed is not connected"
        now = self._now()
        if self.canary is None or self.canary_fresh(now) or not self.calendar.is_open(self.canary, now):
            return None
        age = self.received_age(self.canary)
        seen = "has not ticked yet" if age is None else f"last ticked {age:.1f} s ago"
        return f"the canary {self.canary.key} {seen}"

    def canary_fresh(self, now: datetime) -> bool:
        """Whether the canary's last tick is young enough."""
        if self.canary is None:
            return False
        tick = self.ticks.get(self.canary.key)
        return tick is not None and (now - tick.at).total_seconds() <= self.stale_after

    def received_age(self, instrument: Instrument) -> float | None:
        tick = self.ticks.get(instrument.key)
        return (self._now() - tick.at).total_seconds() if tick is not None else None

    def quiet(self, instrument: Instrument) -> bool:
        """Whether a connected feed brings no price of it."""
        age = self.received_age(instrument)
        return self.feed_connected and (age is None or age > self.stale_after)

    def ages(self, instrument: Instrument, now: datetime) -> tuple[float | None, float | None]:
        tick = self.ticks.get(instrument.key)
        if tick is None:
            return None, None
        received, stamped = (now - tick.at).total_seconds(), tick.exchange_at
        if stamped is None or (instrument.kind is Kind.INDEX and self.calendar.phase(instrument, now) == "auction"):
            return received, None
        return received, (now - stamped).total_seconds()

    def circuit(self, instrument: Instrument) -> tuple[float, float] | None:
        """Today's limits as the broker last gave them; None: not known, and a breach comes back as the broker's reject."""
        return self.limits.get(instrument.key)

    def locked(self, instrument: Instrument, held: int) -> str:
        """Why nobody can close `held` units now; empty where somebody may."""
        limits, tick = self.limits.get(instrument.key), self.ticks.get(instrument.key)
        if limits is None or tick is None:
            return ""
        if held > 0 and not tick.bid and tick.price <= limits[0]:
            return f"STUCK: locked at its lower circuit {limits[0]}, nobody buys"
        if held < 0 and not tick.ask and tick.price >= limits[1]:
            return f"STUCK: locked at its upper circuit {limits[1]}, nobody sells"
        return ""

    def entry_window(self, request: OrderRequest, now: datetime) -> EntryWindow:
        windows = self.calendar.continuous(request.instrument, now.date())
        plan = self.plan(request.instrument)
        if not windows or plan is None:
            return EntryWindow(None, None)
        # of several sessions in a day, the one that runs or comes next
        opens, closes = windows[-1]
        if len(windows) > 1:
            opens, closes = next((window for window in windows if now < window[1]), windows[-1])
        if request.horizon is Horizon.INTRADAY and request.purpose is not Purpose.ROLL:
            closes = min(closes, plan.entries_stop)
        own_from, own_until = self.windows.get(request.strategy, (None, None))
        opens = max(opens, own_from) if own_from is not None else opens
        closes = min(closes, own_until) if own_until is not None else closes
        return EntryWindow(opens, closes, known=plan.known)

    def closing(self, strategy: str, instrument: Instrument) -> int:
        live = self._desk.live()
        if not live:
            return 0
        held = self._portfolio.position(strategy, instrument)
        return sum(
            order.remaining
            for order in live
            if order.strategy == strategy
            and order.instrument.key == instrument.key
            and (order.purpose in _CLOSING or (order.purpose is Purpose.ROLL and order.side.sign * held < 0))
        )

    def day_pnl(self) -> float:
        return self._portfolio.net_result() / 100

    def strategy_pnl(self, strategy: str) -> float:
        return self._portfolio.net_result(strategy) / 100

    def strategies(self) -> Iterable[str]:
        return self.loaded

    def trades_today(self, strategy: str) -> int:
        return self._portfolio.trades.begun(strategy, self._now().date())

    def trade_ended(self, strategy: str, *, losing: bool) -> datetime | None:
        return self._portfolio.trades.ended(strategy, self._now().date(), losing=losing)

    def requests_sent(self, now: datetime) -> tuple[int, int, int]:
        desk = self._desk
        if not desk.sent or now - desk.sent[-1] > MINUTE:
            return 0, 0, desk.orders_today
        return desk.calls_since(now - SECOND), desk.calls_since(now - MINUTE), desk.orders_today

    def available_margin(self) -> float | None:
        """Capital + today's loss - what positions and working entries block by the approximation of risk/margin.py; never more than the
        broker itself last said may be used."""
        blocked, ticks = 0.0, self.ticks
        for held in self._portfolio.positions():
            if held.quantity:
                instrument = held.instrument
                tick = ticks.get(instrument.key)
                price = (tick.price if tick is not None else 0.0) or held.average_price
                blocked += self._margin(instrument, held.horizon, held.quantity, price)
        for order in self._desk.live():
            if order.purpose is Purpose.ENTRY:
                blocked += self._margin(order.instrument, order.horizon, order.side.sign * order.remaining, order.limit_price)
        own = self.account.capital + min(0.0, self.day_pnl()) - blocked
        return own if self.broker_funds is None else min(own, self.broker_funds)
