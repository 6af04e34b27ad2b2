"""The morning's small decisions."""

from datetime import date, datetime, time, timedelta
from types import SimpleNamespace
from typing import Any

from core.types import IST, Horizon, Instrument, Kind, Position
from runtime.day import ask_for_login, ends_at, entry_windows, next_day, segments
from tests.harness import FUTURE, SHARE, Harness
from utils.config_loader import load, load_calendar

DAY = date(2026, 11, 20)
CRUDE = Instrument("MCX:CRUDEOIL26DECFUT", "MCX", "CRUDEOIL26DECFUT", Kind.FUTURE, "CRUDEOIL", 100, expiry=date(2026, 12, 18))


def held(instrument: Instrument, strategy: str = "gone") -> Position:
    return Position("test", strategy, instrument, "MIS", 100, 100.0, horizon=Horizon.INTRADAY, cost=1_000_000)


def house_of(it: Harness) -> Any:
    def alerts(*told: str) -> None:
        it.alerts.append((told[0], told[1], told[2]))

    return SimpleNamespace(engine=it.engine, calendar=it.calendar, clock=it.clock, account=it.account, alerts=alerts, store=it.store)


def test_the_configured_entry_windows_become_moments_of_the_day() -> None:
    given = load().strategies["nifty_trend"]
    late = given.model_copy(update={"window": given.window.model_copy(update={"entry_from": None, "entry_until": time(14, 30)})})
    assert entry_windows(DAY, {"early": given, "late": late}) == {
        "early": (datetime(2026, 11, 20, 9, 20, tzinfo=IST), None),
        "late": (None, datetime(2026, 11, 20, 14, 30, tzinfo=IST)),
    }


def test_an_entry_waits_for_its_strategys_window_and_goes_at_the_next_bar_in_it() -> None:
    it = Harness()
    it.engine.world.windows = {"told": (it.clock.now().replace(hour=9, minute=50), None)}
    it.want(1)
    assert not it.executor.placed
    assert it.target.pending
    it.go_to(9, 50)
    it.want(1)
    assert [order.quantity for order in it.executor.placed] == [65]


def test_the_day_lasts_as_long_as_something_of_ours_trades() -> None:
    it = Harness(instrument=SHARE)
    assert ends_at(house_of(it), DAY).time() == time(15, 15), "its closing auction begins"
    it.portfolio.restore([held(FUTURE, "manual")], [], DAY)
    assert ends_at(house_of(it), DAY).time() == time(15, 40)
    it.portfolio.restore([held(CRUDE, "EXTERNAL")], [], DAY)
    assert ends_at(house_of(it), DAY).time() == time(15, 40), "what is not ours is nobody's day"


def test_a_restart_in_the_evening_goes_on_with_the_day_of_what_trades_then() -> None:
    calendar, evening = load_calendar(), datetime(2026, 11, 20, 18, 30, tzinfo=IST)
    given = load().strategies["nifty_trend"]
    it = Harness()
    assert segments(house_of(it), {"one": given}) == ("EQ", "FO")
    assert next_day(calendar, DAY, evening, ("EQ", "FO")) == date(2026, 11, 23)
    named = segments(house_of(it), {"one": given.model_copy(update={"instruments": (CRUDE.key,)})})
    assert named == ("EQ", "FO", "MCX")
    it.store.save_position(held(CRUDE))
    assert segments(house_of(it), {"one": given}) == named
    assert next_day(calendar, DAY, evening, named) == DAY
    assert next_day(calendar, DAY, evening + timedelta(hours=5, minutes=30), named) == date(2026, 11, 23)


def test_who_has_to_log_in_is_told_what_nobody_watches_until_then() -> None:
    it, told = Harness(), set[str]()
    session: Any = SimpleNamespace(login_url=lambda: "https://login")
    it.portfolio.restore([held(FUTURE)], [], DAY)
    for _ in range(3):
        ask_for_login(house_of(it), session, told)
    [(level, title, text)] = it.alerts
    assert (level, title) == ("page", "Login required")
    assert text == f"test: nothing is traded before it: https://login; nobody watches what is held: 100 {FUTURE.key} (gone)"
    plan = it.engine.world.plan(FUTURE)
    assert plan is not None
    it.clock.move_to(plan.page_at)
    for _ in range(3):
        ask_for_login(house_of(it), session, told)
    assert it.told("Not flat") == ["page"]
