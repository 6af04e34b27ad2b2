"""An error before the open bars entries until a person has acknowledged it; a restart does not."""

from datetime import timedelta

import pytest

from core.events import Command
from execution_engine.arming import Arming
from tests.harness import DAY, OPEN, Harness


class Armed(Harness):
    """A harness whose alerts are heard by Arming too."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self.arming = self.control.arming = Arming(self.clock, self.store, self.calendar, self.engine.world)
        self.arming.take_up(self.clock.now().date())
        self.engine.settle()

    def page(self, title: str = "Instrument dump refused", level: str = "page") -> None:
        self.arming.hear(level, title, "why")
        self.engine.settle()

    def open(self) -> None:
        self.go_to(9, 16)


def early() -> Armed:
    return Armed(at=OPEN - timedelta(minutes=20))


def test_a_page_before_the_open_bars_entries_until_it_is_acknowledged() -> None:
    it = early()
    it.page()
    it.page("Positions differ")
    it.open()
    it.want(1)
    assert it.executor.placed == []
    assert it.engine.world.blind == (
        "an error before the open is not acknowledged: Instrument dump refused: why (and 1 more); `main.py acknowledge`"
    )
    it.engine.process(Command(it.clock.now(), "1", "acknowledge", {}))
    [(_, ok, text, data)] = it.answers
    assert (ok, data["errors"]) == (True, ["Instrument dump refused: why", "Positions differ: why"])
    assert "Positions differ" in text
    it.want(1)
    assert len(it.executor.placed) == 1


def test_a_restart_acknowledges_nothing() -> None:
    it = early()
    it.page()
    again = Armed(at=OPEN + timedelta(minutes=5), store=it.store.crashed())
    again.want(1)
    assert again.executor.placed == []
    assert "not acknowledged" in (again.engine.world.blind or "")


def test_resume_with_confirm_acknowledges_too() -> None:
    it = early()
    it.page()
    it.engine.process(Command(it.clock.now(), "1", "resume", {"confirm": True}))
    assert it.engine.world.blind is None


def test_an_error_of_yesterday_is_not_asked_about_again() -> None:
    it = early()
    it.page()
    it.arming.take_up((DAY + timedelta(days=3)).date())
    assert it.engine.world.blind is None


@pytest.mark.parametrize(("title", "level"), [("Instrument gone", "warn"), ("Login required", "page"), ("Entries are off", "page")])
def test_a_warning_and_what_bars_by_itself_are_not_counted(title: str, level: str) -> None:
    it = early()
    it.page(title, level)
    assert it.engine.world.blind is None


def test_a_page_in_trading_hours_or_in_the_evening_bars_nothing() -> None:
    it = early()
    it.open()
    it.page()
    assert it.engine.world.blind is None
    it.clock.move_to(DAY.replace(hour=19))
    it.page()
    assert it.engine.world.blind is None


def test_exits_pass_while_errors_are_not_acknowledged() -> None:
    it = early()
    it.open()
    it.want(1)
    it.complete()
    it.store.put("engine", "before_open", {"day": DAY.date().isoformat(), "errors": ["Positions differ: why"]})
    it.arming.take_up(DAY.date())
    assert it.engine.world.blind
    it.want(0)
    assert len(it.executor.placed) == 2
