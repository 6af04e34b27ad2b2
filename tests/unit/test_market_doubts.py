"""What is told, and stopped, when the market is not what the calendar says."""

from datetime import date, datetime, timedelta

import pytest

from core.market import Calendar
from core.types import AccountKind, Bar, Horizon, Instrument, Kind, Side, Tick
from execution_engine.buy_sell_logic import Size
from runtime.market_doubts import SessionProbe, mind_year, trades_on_a_holiday
from tests.harness import DAY, FUTURE, OPEN, SHARE, Harness
from utils.config_loader import CONFIG_FOLDER, load_calendar
from utils.yaml_file import read

INDEX = Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY")
CRUDE = Instrument("MCX:CRUDEOIL26DECFUT", "MCX", "CRUDEOIL26DECFUT", Kind.FUTURE, "CRUDEOIL", 100, expiry=date(2026, 12, 18))


def with_overrides(**corrections: object) -> Calendar:
    facts = {name: read(CONFIG_FOLDER / "market" / f"{name}.yaml").value for name in ("holidays", "sessions", "contracts")}
    return Calendar({**facts, "overrides": corrections})


class Morning:
    """An open day in which no tick has come yet, looked at by the probe."""

    def __init__(self, at: datetime = OPEN - timedelta(minutes=5)) -> None:
        self.house = Harness(at=at)
        self.world = self.house.engine.world
        self.world.unsee()  # the harness says one tick as it begins
        self.probe = SessionProbe(self.world, lambda *told: self.house.alerts.append(told), 3.0)
        self.look(at)

    def look(self, at: datetime) -> None:
        self.house.clock.move_to(max(at, self.house.clock.now()))
        self.probe.look(at)

    def tick(self, instrument: Instrument, at: datetime) -> None:
        self.world.see(Tick(instrument, at, 100.0, exchange_at=at))

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(level, title) for level, title, _ in self.house.alerts]


def test_a_session_without_any_tick_is_paged_once_and_stops_entries_until_one_comes() -> None:
    morning = Morning()
    morning.look(OPEN + timedelta(minutes=2, seconds=59))
    assert morning.told == []
    for second in range(0, 30, 5):
        morning.look(OPEN + timedelta(minutes=3, seconds=second))
    assert morning.told == [("page", "No ticks")]
    text = morning.house.alerts[0][2]
    assert "no tick of NFO:NIFTY26NOVFUT since 09:15" in text
    assert "config/market/overrides.yaml" in text
    morning.house.want(1)
    assert morning.house.executor.placed == []
    assert "is there a session?" in (morning.world.blind or "")
    morning.tick(FUTURE, OPEN + timedelta(minutes=4))
    morning.look(OPEN + timedelta(minutes=4))
    assert morning.world.blind is None
    assert morning.told[-1] == ("info", "Ticks came")


def test_yesterdays_and_pre_open_ticks_are_no_sign_of_a_session() -> None:
    morning = Morning()
    morning.tick(FUTURE, OPEN - timedelta(minutes=7))
    morning.look(OPEN + timedelta(minutes=3))
    assert morning.told == [("page", "No ticks")]
    another = Morning()
    another.tick(FUTURE, OPEN - timedelta(days=1) + timedelta(hours=1))
    another.look(OPEN + timedelta(minutes=3))
    assert another.told == [("page", "No ticks")]


def test_a_tick_in_time_settles_the_day_and_a_late_start_has_its_own_patience() -> None:
    morning = Morning()
    morning.tick(FUTURE, OPEN)
    for minute in range(1, 300, 7):
        morning.look(OPEN + timedelta(minutes=minute))
    assert morning.told == []
    late = Morning(OPEN + timedelta(hours=2))
    late.look(OPEN + timedelta(hours=2, minutes=2, seconds=55))
    assert late.told == []
    late.look(OPEN + timedelta(hours=2, minutes=3))
    assert late.told == [("page", "No ticks")]


def test_one_silent_segment_is_paged_and_the_other_goes_on() -> None:
    morning = Morning()
    morning.world.names = {"IT": FUTURE, "CRUDE": CRUDE}
    morning.tick(FUTURE, OPEN)
    morning.look(OPEN + timedelta(minutes=3))
    assert [text.partition(" since")[0] for _, _, text in morning.house.alerts] == ["no tick of MCX:CRUDEOIL26DECFUT"]
    assert morning.world.blind is None


def test_a_new_day_is_looked_at_anew() -> None:
    morning = Morning()
    morning.tick(FUTURE, OPEN)
    morning.look(OPEN + timedelta(minutes=5))
    monday = OPEN + timedelta(days=3)
    morning.look(monday - timedelta(minutes=5))
    morning.look(monday + timedelta(minutes=3))
    assert morning.told == [("page", "No ticks")]


def test_ticks_on_a_day_that_was_closed_are_told_once() -> None:
    morning = Morning()
    closed = with_overrides(closed=[{"d": DAY.date(), "n": "Election", "segments": ["EQ", "FO"]}])
    morning.world.calendar.become(closed)
    morning.tick(FUTURE, OPEN + timedelta(minutes=1))
    for minute in (1, 2, 3, 9):
        morning.look(OPEN + timedelta(minutes=minute))
    assert morning.told == [("warn", "Ticks on a holiday")]
    assert "overrides.yaml" in morning.house.alerts[0][2]


class History:
    """A broker's candles: one bar at each of the given moments."""

    def __init__(self, *starts: datetime) -> None:
        self.starts = starts

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        step = timedelta(minutes=interval)
        return [Bar(instrument, at, at + step, interval, 1.0, 1.0, 1.0, 1.0) for at in self.starts if start <= at <= end]


def test_a_holiday_on_which_the_index_has_bars_is_told() -> None:
    holiday = DAY.replace(day=24, hour=9, minute=20)
    text = trades_on_a_holiday(History(holiday - timedelta(minutes=4)), load_calendar(), INDEX, holiday)
    assert "NSE:NIFTY 50 trades today, 2026-11-24" in text
    assert trades_on_a_holiday(History(), load_calendar(), INDEX, holiday) == ""
    assert trades_on_a_holiday(History(OPEN), load_calendar(), INDEX, OPEN + timedelta(minutes=5)) == ""


@pytest.mark.parametrize(("kind", "level"), [(AccountKind.LIVE, "page"), (AccountKind.PAPER, "warn"), (AccountKind.PRACTICE, "warn")])
def test_a_provisional_year_stops_live_entries_until_it_is_confirmed(kind: AccountKind, level: str) -> None:
    house = Harness(kind=kind)
    world, day = house.engine.world, date(2027, 1, 4)
    mind_year(world, lambda *told: house.alerts.append(told), day)
    [(how, _, text)] = house.alerts
    assert how == level
    assert "the holiday list of 2027 is provisional" in text
    assert "confirmed_years" in text
    assert (world.blind is not None) is (kind is AccountKind.LIVE)
    mind_year(world, lambda *told: house.alerts.append(told), day)
    assert [told for told in house.alerts if told[0] == "page"] == house.alerts[:1] if kind is AccountKind.LIVE else True
    world.calendar.become(with_overrides(confirmed_years=[2027]))
    mind_year(world, lambda *told: house.alerts.append(told), day)
    assert world.blind is None


def test_a_confirmed_year_says_nothing() -> None:
    house = Harness(kind=AccountKind.LIVE)
    mind_year(house.engine.world, lambda *told: house.alerts.append(told), DAY.date())
    assert house.alerts == []
    assert house.engine.world.blind is None


def test_prints_of_the_pre_open_and_the_auction_are_marked_and_reach_no_stop() -> None:
    it = Harness(instrument=SHARE, size=Size(quantity=10), at=OPEN + timedelta(minutes=30), horizon=Horizon.CARRY)
    view = it.engine.world
    assert view.phase(SHARE) == "continuous"
    it.want(1, stop=1380.0)
    it.complete(price=1400.0)
    it.go_to(15, 16, price=1300.0)
    assert view.phase(SHARE) == "auction"
    assert it.held == 10
    assert len(it.executor.placed) == 1  # 1300 is the auction's: nobody could sell at it
    it.clock.move_to(DAY.replace(day=23, hour=9, minute=5))
    it.tick(1290.0)
    assert view.phase(SHARE) == "pre_open"
    assert len(it.executor.placed) == 1
    it.go_to(9, 15, 1, price=1301.0)
    assert it.last.side is Side.SELL
