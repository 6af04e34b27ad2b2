"""The morning's small decisions."""

from datetime import date, datetime, time

from core.types import IST
from runtime.day import entry_windows
from tests.harness import Harness
from utils.config_loader import load

DAY = date(2026, 11, 20)


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
