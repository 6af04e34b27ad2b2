"""The end of a contract: left before it is settled in shares, else booked as SETTLED at its final price, never as a fill."""

from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from core.clock import ManualClock
from core.errors import DataError, Transient
from core.events import Books, Trade
from core.types import IST, Account, AccountKind, Bar, Horizon, Instrument, Kind, OrderState, Purpose, Side
from execution_engine.broker_worker import WorkerJob
from execution_engine.expiry import Final
from execution_engine.paper_broker import PaperBroker
from execution_engine.portfolio import EXTERNAL
from runtime import report, rolls
from runtime.recording import RecorderSlot
from tests.harness import EXPIRY, FUTURE, Harness
from utils.config_loader import load, load_calendar

LAST_DAY = datetime(2026, 11, 23, 15, 20, tzinfo=IST)  # Monday, E
CLOSE = 26_115.4
CALL = msgspec.structs.replace(
    FUTURE, key="NFO:NIFTY26NOV26000CE", symbol="NIFTY26NOV26000CE", kind=Kind.CALL, strike=26_000.0, tick_size=0.05
)
PUT = msgspec.structs.replace(CALL, key="NFO:NIFTY26NOV26000PE", symbol="NIFTY26NOV26000PE", kind=Kind.PUT)
STOCK = Instrument("NFO:RELIANCE26NOVFUT", "NFO", "RELIANCE26NOVFUT", Kind.FUTURE, "RELIANCE", 500, 0.1, EXPIRY, freeze=20_000)


def no_tax(worth: float, day: date) -> float:
    return 0.0


def carrying(instrument: Instrument, target: float = 1, price: float = 26_000.0, *, at: datetime = LAST_DAY, **more: Any) -> Harness:
    harness = Harness(at=at, instrument=instrument, horizon=Horizon.CARRY, **more)
    harness.tick(price, 1)
    harness.want(target)
    harness.complete(price)
    assert harness.held == int(target) * instrument.lot
    return harness


def after_the_close(harness: Harness) -> Harness:
    harness.clock.move_to(LAST_DAY.replace(hour=15, minute=42))
    return harness


def test_a_future_ends_at_the_underlyings_close_and_is_no_fill() -> None:
    harness = after_the_close(carrying(FUTURE))
    fills, digest = len(harness.store.fills()), harness.portfolio.digest()
    [done] = harness.engine.expiry.settle({FUTURE.key: Final(CLOSE, "close", "rule")}, no_tax)
    harness.engine.settle()
    assert (done.quantity, done.price) == (-65, CLOSE)
    assert (harness.held, len(harness.store.fills()), harness.portfolio.digest()) == (0, fills, digest)
    assert harness.portfolio.pnl()["realised"] == round(65 * (CLOSE - 26_000.0), 2)
    [entry] = harness.journal("settled")
    assert (entry["instrument"], entry["quantity"], entry["price"], entry["source"], entry["rule"]) == (
        FUTURE.key,
        -65,
        CLOSE,
        "close",
        "rule",
    )
    assert harness.engine.targets.get("told", "IT") is None
    assert harness.engine.expiry.expired() == []  # once


@pytest.mark.parametrize(
    ("instrument", "target", "price", "worth", "taxed"),
    [
        (CALL, 1, 90.0, 115.4, 65 * 115.4 * 0.001),  # exercised: its buyer owes the tax
        (CALL, -1, 90.0, 115.4, 0.0),
        (PUT, 1, 90.0, 0.0, 0.0),  # worthless
        (PUT, -1, 90.0, 0.0, 0.0),
    ],
)
def test_an_option_ends_at_what_it_is_worth(instrument: Instrument, target: int, price: float, worth: float, taxed: float) -> None:
    harness = after_the_close(carrying(instrument, target, price))
    [done] = harness.engine.expiry.settle({instrument.key: Final(CLOSE, "close", "rule")}, lambda value, day: value * 0.001)
    assert done.price == pytest.approx(worth)
    assert done.charges == round(taxed * 100)
    assert harness.portfolio.pnl()["realised"] == pytest.approx(target * 65 * (worth - price))
    assert harness.portfolio.pnl()["charges"] == round(taxed, 2)


def test_what_is_not_ours_ends_too() -> None:
    harness = carrying(FUTURE)
    harness.portfolio.adopt(FUTURE, "NRML", -130, 26_000.0, harness.clock.now(), "by hand")
    done = after_the_close(harness).engine.expiry.settle({FUTURE.key: Final(CLOSE, "close", "rule")}, no_tax)
    assert [(one.strategy, one.quantity) for one in done] == [(EXTERNAL, 130), ("told", -65)]


def test_without_a_final_price_it_stays_and_is_told() -> None:
    harness = after_the_close(carrying(FUTURE))
    assert harness.engine.expiry.settle({}, no_tax) == []
    assert (harness.held, harness.told("Not settled")) == (65, ["page"])


def test_nothing_is_settled_while_it_still_trades() -> None:
    harness = carrying(FUTURE)
    assert harness.engine.expiry.expired() == []
    assert harness.engine.expiry.settle({FUTURE.key: Final(CLOSE, "close", "rule")}, no_tax) == []
    assert harness.held == 65


def test_the_brokers_own_settlement_is_no_difference() -> None:
    harness = carrying(FUTURE)
    harness.books(net=65)
    harness.clock.move_to(LAST_DAY.replace(hour=15, minute=41))
    for _ in range(3):
        harness.books(net=0)
    assert harness.journal("difference") == []
    early = carrying(FUTURE)
    early.books(net=65)
    for _ in range(3):
        early.pass_time(1)
        early.books(net=0)
    assert len(early.journal("difference")) == 1  # while it trades it is one


def test_the_report_counts_it_and_its_digest_does_not() -> None:
    harness = carrying(FUTURE)
    before = report.build(harness.store, account="test", day=LAST_DAY.date())
    after_the_close(harness).engine.expiry.settle({FUTURE.key: Final(CLOSE, "close", "rule")}, no_tax)
    after = report.build(harness.store, account="test", day=LAST_DAY.date())
    assert (before["trades"], after["trades"], after["gross"]) == (0, 1, 7501.0)
    assert after["digest"] == before["digest"]
    assert after["round_trips"][0]["exit_price"] == CLOSE


def test_the_paper_exchange_forgets_it_overnight() -> None:
    clock = ManualClock(LAST_DAY)
    broker = PaperBroker(Account("paper", AccountKind.PAPER, "zerodha"), clock)
    bought = SimpleNamespace(quantity=65, cost=1, realised=0, instrument=FUTURE, product="NRML", horizon=Horizon.CARRY)
    broker.restore((), positions=[bought])  # type: ignore[list-item]

    def shown() -> list[int]:
        broker.read_books(positions=True)
        [books] = broker.drain()
        assert isinstance(books, Books)
        return [row.quantity for row in books.positions or ()]

    assert shown() == [65]
    clock.move_to(LAST_DAY + timedelta(days=2))
    assert shown() == []


# --- settled in shares ------------------------------------------------------------------------------------------------------------------


FRIDAY = datetime(2026, 11, 20, 14, 59, 30, tzinfo=IST)  # E-1


def test_a_carried_stock_future_is_flat_from_three_on_the_day_before() -> None:
    harness = carrying(STOCK, price=1400.0, at=FRIDAY)
    assert len(harness.executor.placed) == 1
    harness.engine.open_day(FRIDAY.date(), [harness.run], {"IT": STOCK}, resumed=True)
    assert harness.told("Physical settlement ahead") == ["warn"]
    for _ in range(40):
        harness.tick(1400.0, 1)
    assert (harness.last.purpose, harness.last.side, harness.last.quantity) == (Purpose.EXIT, Side.SELL, 500)
    assert harness.told("Flattened before delivery") == ["page"]
    harness.complete(1400.0)
    assert harness.held == 0
    harness.want(0)
    harness.want(1)
    assert harness.journal("refused")[-1]["rule"] == "delivery"
    assert harness.held == 0


def test_a_stock_future_entered_on_that_day_is_flat_from_three_too() -> None:
    harness = carrying(STOCK, price=1400.0, at=FRIDAY.replace(minute=40))
    for _ in range(70):
        harness.tick(1400.0, 20)
    assert (harness.last.purpose, harness.last.side, harness.last.quantity) == (Purpose.EXIT, Side.SELL, 500)
    assert harness.last.created_at.time() < FRIDAY.replace(hour=15, minute=1).time()


def test_an_entry_that_fills_after_three_goes_again() -> None:
    harness = Harness(at=FRIDAY.replace(second=50), instrument=STOCK, horizon=Horizon.CARRY)
    harness.tick(1400.0, 5)
    harness.want(1)
    harness.uncertain(harness.last)
    harness.tick(1400.0, 20)
    harness.fill(price=1400.0)
    for _ in range(40):
        harness.tick(1400.0, 1)
    assert (harness.last.purpose, harness.last.side, harness.last.quantity) == (Purpose.EXIT, Side.SELL, 500)


def test_a_refused_flattening_is_tried_again_until_it_is_through() -> None:
    harness = carrying(STOCK, price=1400.0, at=FRIDAY)
    harness.engine.open_day(FRIDAY.date(), [harness.run], {"IT": STOCK}, resumed=True)
    for _ in range(40):
        harness.tick(1400.0, 1)
    harness.engine.targets.drop(harness.target)  # its key is gone, the position is not
    harness.end(OrderState.CANCELLED, "the exchange")
    for _ in range(40):
        harness.tick(1400.0, 1)
    assert len(harness.executor.placed) == 3
    assert harness.last.purpose is Purpose.EXIT


@pytest.mark.parametrize("horizon", [Horizon.INTRADAY, Horizon.CARRY])
def test_an_intraday_entry_passes_on_that_day_and_a_carried_one_does_not(horizon: Horizon) -> None:
    harness = Harness(at=FRIDAY.replace(hour=15, minute=1), instrument=STOCK, horizon=horizon)
    harness.tick(1400.0, 1)
    harness.want(1)
    assert len(harness.executor.placed) == (1 if horizon is Horizon.INTRADAY else 0)


def test_an_indexs_contract_is_neither_refused_nor_flattened() -> None:
    harness = carrying(FUTURE, at=FRIDAY.replace(hour=15, minute=1))
    harness.engine.open_day(FRIDAY.date(), [harness.run], {"IT": FUTURE}, resumed=True)
    harness.tick(26_000.0, 60)
    assert (harness.held, len(harness.executor.placed), harness.told("Physical settlement ahead")) == (65, 1, [])


def test_what_is_not_ours_is_told_and_left_alone() -> None:
    harness = Harness(at=FRIDAY, instrument=STOCK, horizon=Horizon.CARRY)
    trade = Trade("T1", "F1", STOCK, Side.BUY, 500, 1400.0, harness.clock.now())
    harness.portfolio.book_foreign(trade, "NRML", Horizon.CARRY)
    harness.engine.open_day(FRIDAY.date(), [harness.run], {"IT": STOCK}, resumed=True)
    for _ in range(60):
        harness.tick(1400.0, 1)
    assert harness.told("Physical settlement ahead") == ["warn"]
    assert harness.executor.placed == []


def test_a_week_ahead_nothing_is_said() -> None:
    harness = carrying(STOCK, price=1400.0, at=datetime(2026, 11, 16, 10, 0, tzinfo=IST))
    harness.engine.open_day(date(2026, 11, 16), [harness.run], {"IT": STOCK}, resumed=True)
    assert harness.told("Physical settlement ahead") == []


# --- the morning and the evening --------------------------------------------------------------------------------------------------------


class Data:
    """A broker's data session of the made-up market; fails while `broken`."""

    def __init__(self) -> None:
        self.broken = False
        self.oi: dict[str, dict[date, int]] = {}

    def last_prices(self, instruments: Any) -> dict[str, float]:
        if self.broken:
            raise Transient("no answer within 7 s")
        return {one.key: CLOSE for one in instruments}

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        if self.broken:
            raise Transient("no answer within 7 s")
        days = self.oi.get(instrument.key, {start.date(): 0})
        at = {day: datetime(day.year, day.month, day.day, tzinfo=IST) for day in days}
        return [Bar(instrument, at[day], at[day] + timedelta(days=1), 1440, CLOSE, CLOSE, CLOSE, CLOSE, 1, oi) for day, oi in days.items()]


NEXT = msgspec.structs.replace(FUTURE, key="NFO:NIFTY26DECFUT", symbol="NIFTY26DECFUT", expiry=date(2026, 12, 29))
FAR = msgspec.structs.replace(FUTURE, key="NFO:NIFTY27JANFUT", symbol="NIFTY27JANFUT", expiry=date(2027, 1, 25))
INDEX = Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY")


class Listed:
    """The day's instruments, as far as these tests ask."""

    def __init__(self, calendar: Any, *futures: Instrument) -> None:
        self._calendar, self._futures = calendar, futures

    def futures(self, root: str) -> list[Instrument]:
        return [one for one in self._futures if one.underlying == root]

    def by_key(self, key: str) -> Instrument | None:
        return {one.key: one for one in (*self._futures, INDEX)}.get(key)

    def resolve(self, name: str, on: date, price: Any = None) -> Instrument:
        root, _, after = name.partition("_FUT")
        live = [one for one in self.futures(root) if one.expiry and on <= self._calendar.contracts.roll_day(root, one.expiry)]
        place = {"": 0, "_NEXT": 1}[after]
        if len(live) <= place:
            raise DataError(f"no {name}")
        return live[place]


def house(harness: Harness, *futures: Instrument, rule: str = "days") -> Any:
    config = load()
    rollover = config.settings.rollover.model_copy(update={"rule": rule})
    settings = config.settings.model_copy(update={"rollover": rollover})
    listed = Listed(harness.calendar, *(futures or (FUTURE, NEXT, FAR)))

    def submit(priority: int, run: Any) -> WorkerJob:
        job = WorkerJob(run)
        job.run()
        return job

    return SimpleNamespace(
        account=harness.account,
        config=SimpleNamespace(settings=settings, folder=config.folder),
        calendar=harness.calendar,
        clock=harness.clock,
        data=Data(),
        downloads=SimpleNamespace(submit=submit),
        pump=SimpleNamespace(complete=lambda job: None),
        engine=harness.engine,
        store=harness.store,
        alerts=harness._alert,
        lookup=lambda: listed,
        instruments=SimpleNamespace(open=lambda day: listed),
        recorder=RecorderSlot(),
    )


def test_the_evening_books_at_the_indexs_last_price_with_the_tax_in_force() -> None:
    harness = after_the_close(carrying(CALL, price=90.0))
    rolls.settle(house(harness, CALL))
    assert harness.held == 0
    [entry] = harness.journal("settled")
    assert entry["source"] == "last price of NSE:NIFTY 50 after the close"
    assert entry["charges"] == round(65 * 115.4 * 0.0015, 2)
    assert entry["rule"].startswith("index close from constituent CAS prices")
    assert harness.calendar.contracts.final_price_rule(date(2026, 12, 29)).endswith("(single_source)")


def test_a_missed_evening_is_made_up_for_from_the_day_candle() -> None:
    harness = carrying(FUTURE)
    harness.clock.move_to(LAST_DAY + timedelta(days=2))
    here = house(harness)
    here.data.broken = True
    rolls.settle(here)
    assert (harness.held, harness.told("Final price not known"), harness.told("Not settled")) == (65, ["warn"], ["page"])
    here.data.broken = False
    rolls.settle(here)
    assert harness.held == 0
    assert harness.journal("settled")[0]["source"] == "day candle of NSE:NIFTY 50 on 2026-11-23"


def test_which_names_change_their_contract_today() -> None:
    harness = carrying(FUTURE, at=FRIDAY)
    at = FRIDAY.replace(hour=15, minute=0, second=0)
    found = rolls.switches(house(harness), FRIDAY.date(), {"NIFTY_FUT": FUTURE, "NIFTY_FUT_NEXT": NEXT, "NIFTY_ATM_CE": CALL})
    assert {name: (one.today, one.after, one.due) for name, one in found.items()} == {
        "NIFTY_FUT": (FUTURE, NEXT, at),
        "NIFTY_FUT_NEXT": (NEXT, FAR, at),
    }
    before = rolls.switches(house(harness), date(2026, 11, 19), {"NIFTY_FUT": FUTURE})
    assert (before["NIFTY_FUT"].after, before["NIFTY_FUT"].due) == (None, None)
    alone = rolls.switches(house(harness, FUTURE), FRIDAY.date(), {"NIFTY_FUT": FUTURE})
    assert (alone["NIFTY_FUT"].after, alone["NIFTY_FUT"].due) == (None, at)


def test_open_interest_of_the_day_before_rolls_early_and_for_good() -> None:
    harness = carrying(FUTURE, at=datetime(2026, 11, 18, 8, 45, tzinfo=IST).replace(hour=10))
    here = house(harness, rule="oi")
    tuesday, wednesday = date(2026, 11, 17), date(2026, 11, 18)
    here.data.oi = {FUTURE.key: {tuesday: 100, wednesday: 100}, NEXT.key: {tuesday: 120, wednesday: 80}}
    rolls.choose_days(here, wednesday, ["NIFTY_FUT"])
    assert harness.journal("roll_day_chosen")[0]["new_oi"] == 120
    assert rolls.switches(here, wednesday, {"NIFTY_FUT": FUTURE})["NIFTY_FUT"].due is not None
    assert here.instruments.open(None).resolve("NIFTY_FUT", date(2026, 11, 19)) == NEXT  # although Wednesday's went back
    fresh = load_calendar()
    here.calendar = fresh  # the next process
    rolls.choose_days(here, date(2026, 11, 19), ["NIFTY_FUT"])
    assert fresh.contracts.roll_day("NIFTY", EXPIRY) == wednesday


def test_open_interest_that_cannot_be_had_leaves_the_rule_by_days() -> None:
    harness = carrying(FUTURE, at=datetime(2026, 11, 18, 10, tzinfo=IST))
    here = house(harness, rule="oi")
    here.data.broken = True
    rolls.choose_days(here, date(2026, 11, 18), ["NIFTY_FUT"])
    assert harness.told("Open interest not known") == ["warn"]
    assert harness.calendar.contracts.roll_day("NIFTY", EXPIRY) == date(2026, 11, 20)
