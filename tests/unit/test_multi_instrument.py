"""A strategy over two instruments in the engine and in the morning: one object, two keys, one order of time."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec

from core.errors import SessionExpired
from core.market import Calendar
from core.types import IST, Bar, Fill, Instrument, Kind, Order, Purpose, Side, Signal, Tick, View
from execution_engine.buy_sell_logic import Size
from execution_engine.runs import Run
from runtime.charts import Charts
from runtime.rebuild import build_runs
from runtime.recording import RecorderSlot
from strategies.base import Strategy, StrategySpec
from strategies.pairs import Pairs
from tests.fakes import MemoryStore
from tests.harness import FUTURE, SHARE, WIDE, Harness
from utils.config_loader import load, load_calendar

NOW = datetime(2026, 11, 20, 9, 40, tzinfo=IST)
HDFC = Instrument("NSE:HDFCBANK", "NSE", "HDFCBANK", Kind.EQUITY, "HDFCBANK", tick_size=0.05, is_fno=True)
ICICI = Instrument("NSE:ICICIBANK", "NSE", "ICICIBANK", Kind.EQUITY, "ICICIBANK", tick_size=0.1, is_fno=True)
NAMES = {"HDFCBANK": HDFC, "ICICIBANK": ICICI}
PAIR = load().strategies["banks_pair"]


# --- in the engine ----------------------------------------------------------------------------------------------------------------


class Two(Strategy):
    """Writes down what it hears, and wants what the test puts into `wants` at its next bar."""

    multi_instrument = True

    def start(self) -> None:
        self.heard: list[tuple[datetime, str]] = []
        self.fills: list[Fill] = []
        self.wants: dict[str, float] = {}

    def on_bar(self, bar: Bar, view: View) -> Iterator[Signal]:
        self.heard.append((bar.at, self.name_of(bar.instrument, view) or "?"))
        for name, target in self.wants.items():
            instrument = view.resolve(name)
            assert instrument is not None
            yield self.signal(instrument, target, stop=(view.last_price(instrument) or 0.0) * (1 - target / 100), name=name)

    def on_fill(self, fill: Fill, view: View) -> tuple[()]:
        self.fills.append(fill)
        return ()


class Stage(Harness):
    """The harness with a strategy over the NIFTY future and a share instead of its own."""

    def __init__(self) -> None:
        super().__init__(risk=msgspec.structs.replace(WIDE, max_daily_loss=1e6))  # one leg's stop is not to reach the day's limit
        self.two = Two(StrategySpec("two", Two.params_type(), ("FUT", "SHARE"), 5))
        self.two.start()
        names = {"FUT": FUTURE, "SHARE": SHARE}
        self.engine.open_day(self.clock.now().date(), [Run(self.two, Size(quantity=130), names)], names, resumed=False)

    def both(self, future: float, share: float) -> None:
        for instrument, price in ((SHARE, share), (FUTURE, future)):
            now = self.clock.now()
            self.engine.process(Tick(instrument, now, price, exchange_at=now, bid=price - 0.1, ask=price + 0.1))
            self.engine.settle()

    def order_of(self, instrument: Instrument) -> Order:
        return next(order for order in reversed(self.executor.placed) if order.instrument == instrument)


def test_one_object_hears_the_bars_of_both_in_order_of_time() -> None:
    it = Stage()
    for _ in range(13):
        it.both(25000.0, 1400.0)
        it.pass_time(60)
    begins = it.two.heard[0][0]
    times = [begins + timedelta(minutes=5 * n) for n in range(2)]
    assert it.two.heard == [(at, name) for at in times for name in ("FUT", "SHARE")]  # by close time, then by key


def entered() -> Stage:
    it = Stage()
    it.two.wants = {"FUT": 1, "SHARE": -1}
    it.both(25000.0, 1400.0)
    it.pass_time(299)
    it.both(25000.0, 1400.0)  # fresh prices at the bar
    it.pass_time(3)
    for instrument, price in ((FUTURE, 25000.0), (SHARE, 1400.0)):
        order = it.order_of(instrument)
        it.ack(order)
        it.working(order)
        it.fill(price=price, order=order)
    return it


def test_each_leg_is_a_key_of_its_own_and_each_fill_is_heard_once() -> None:
    it = entered()
    assert sorted((order.name, order.side, order.quantity) for order in it.executor.placed) == [
        ("FUT", Side.BUY, 130),
        ("SHARE", Side.SELL, 130),
    ]
    assert [(fill.instrument, fill.side, fill.quantity) for fill in it.two.fills] == [(FUTURE, Side.BUY, 130), (SHARE, Side.SELL, 130)]
    assert (it.portfolio.position("two", FUTURE), it.portfolio.position("two", SHARE)) == (130, -130)


def test_the_stop_of_one_leg_leaves_the_other_alone() -> None:
    it = entered()
    it.both(24700.0, 1400.0)  # one per cent below
    exits = [order for order in it.executor.placed if order.purpose is Purpose.EXIT]
    assert [(order.name, order.side, order.quantity) for order in exits] == [("FUT", Side.SELL, 130)]
    keys = {name: it.engine.targets.get("two", name) for name in ("FUT", "SHARE")}
    assert {name: target.latched for name, target in keys.items() if target is not None} == {"FUT": True, "SHARE": False}


# --- in the morning ---------------------------------------------------------------------------------------------------------------


class Candles:
    """Complete five-minute candles; the second instrument's requests fail where `broken`."""

    def __init__(self, calendar: Calendar, broken: bool = False) -> None:
        self._calendar = calendar
        self._broken = broken

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        if self._broken and instrument == ICICI:
            raise SessionExpired("log in again")
        step, found, day = timedelta(minutes=interval), [], start.date()
        while day <= end.date():
            for opens, closes in self._calendar.continuous(instrument, day):
                at = opens
                while at < closes:
                    price = (1000.0 if instrument == HDFC else 1400.0) + at.minute / 10
                    if start <= at <= end:
                        found.append(Bar(instrument, at, at + step, interval, price, price, price, price, 100))
                    at += step
            day += timedelta(days=1)
        return found


class Done:
    """A job that ran when it was given."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run

    def value(self) -> Any:
        return self._run()


class House(SimpleNamespace):
    """What build_runs asks of the house: a clock, candles, names, the store, charts, alerts."""

    def __init__(self, names: Mapping[str, Instrument], *, broken: bool = False, store: MemoryStore | None = None) -> None:
        calendar = load_calendar(assumed_cut_offs=True)
        self.alerted: list[tuple[str, str, str]] = []
        world = SimpleNamespace(now=NOW, resolve=names.get, position=lambda *_: 0, last_price=lambda _: None)
        super().__init__(
            config=load(),
            calendar=calendar,
            clock=SimpleNamespace(now=lambda: NOW),
            data=Candles(calendar, broken),
            downloads=SimpleNamespace(submit=lambda lane, run: Done(run)),
            pump=SimpleNamespace(complete=lambda job: None),
            engine=SimpleNamespace(world=world),
            store=store or MemoryStore(),
            recorder=RecorderSlot(),
            charts=Charts(),
            alerts=lambda *alert: self.alerted.append(alert),
        )


def morning(names: Mapping[str, Instrument], **more: Any) -> tuple[list[Run], list[tuple[str, str, str]]]:
    house: Any = House(names, **more)
    return build_runs(house, date(2026, 11, 20), {"banks_pair": PAIR}, names), house.alerted


def test_the_warm_up_of_both_is_played_in_order_of_time() -> None:
    (run,), alerts = morning(NAMES)
    assert alerts == []
    assert run.instruments == NAMES
    assert isinstance(run.strategy, Pairs)
    assert run.strategy.usual.value is not None  # nothing is learnt from bars that do not come together (tests/unit/test_pairs.py)
    assert run.strategy.opens_at == NOW.replace(hour=9, minute=15)
    assert {bar.at for bar in run.strategy.together._last.values()} == {NOW}


def test_a_pair_without_one_of_its_instruments_is_left_out_and_said_so() -> None:
    runs, alerts = morning({"HDFCBANK": HDFC})
    assert runs == []
    assert [(level, title) for level, title, _ in alerts] == [("warn", "Strategy left out")]
    assert "banks_pair trades 2 instruments at once, and today has HDFCBANK (NSE:HDFCBANK)" in alerts[0][2]


def test_two_names_of_one_instrument_are_no_pair() -> None:
    runs, alerts = morning({"HDFCBANK": HDFC, "ICICIBANK": HDFC})
    assert (runs, [title for _, title, _ in alerts]) == ([], ["Strategy left out"])


def test_a_pair_without_the_history_of_one_warms_up_on_live_bars() -> None:
    (run,), alerts = morning(NAMES, broken=True)
    assert [title for _, title, _ in alerts] == ["No warm-up history"]
    assert isinstance(run.strategy, Pairs)
    assert run.strategy.usual.value is None


def test_what_a_pair_stored_comes_back_in_the_morning_of_the_same_day() -> None:
    store = MemoryStore()
    (run,), _ = morning(NAMES)
    assert isinstance(run.strategy, Pairs)
    run.strategy.trades = 2
    run.save(store)
    (again,), _ = morning(NAMES, store=store)
    assert isinstance(again.strategy, Pairs)
    assert again.strategy.trades == 2


def test_a_pair_given_a_third_instrument_is_left_out() -> None:
    third = msgspec.structs.replace(ICICI, key="NSE:SBIN")
    house: Any = House({**NAMES, "SBIN": third})
    settings = PAIR.model_copy(update={"instruments": (*NAMES, "SBIN")})
    assert build_runs(house, date(2026, 11, 20), {"banks_pair": settings}, {**NAMES, "SBIN": third}) == []
    assert [title for _, title, _ in house.alerted] == ["Strategy left out"]
