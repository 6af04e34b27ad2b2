"""The roll's rule, its table and the continuous series, on NIFTY's real daily futures of January and February 2026."""

import csv
import json
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest

from core.errors import DataError
from core.market import Calendar
from core.types import IST, Bar, Instrument
from data_ingestion.candle_store import CandleStore, Span
from data_ingestion.rollover import RollRule, continuous, document, futures_between, moved_on, roll_day, roll_table, stored, version
from utils.config_loader import load_calendar

EOD = Path(__file__).with_name("nifty_futures_2026.csv")  # NSE's F&O bhavcopy: one row for each day and contract
START, END = date(2026, 1, 1), date(2026, 2, 27)
JANUARY, FEBRUARY, MARCH = date(2026, 1, 27), date(2026, 2, 24), date(2026, 3, 30)
ROLLS = [date(2026, 1, 23), date(2026, 2, 23)]  # Monday 26 January is a holiday
BY_OI = RollRule(by="oi")


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return load_calendar()


@pytest.fixture(scope="module")
def bars(calendar: Calendar) -> dict[Instrument, list[Bar]]:
    by_symbol = {one.symbol: one for one in futures_between("NIFTY", START, END, calendar)}
    found: dict[Instrument, list[Bar]] = {one: [] for one in by_symbol.values()}
    with EOD.open() as file:
        for row in csv.DictReader(file):
            one, start = by_symbol[row["symbol"]], datetime.fromisoformat(row["timestamp"]).astimezone(IST)
            opens, high, low, close = (float(row[name]) for name in ("open", "high", "low", "close"))
            found[one].append(Bar(one, start, start + timedelta(days=1), 1440, opens, high, low, close, int(row["volume"]), int(row["oi"])))
    return found


def minutes(instrument: Instrument, day: date, prices: dict[str, float], oi: int = 0) -> list[Bar]:
    """Five-minute bars at these open times."""
    starts = [datetime.combine(day, time.fromisoformat(text), IST) for text in prices]
    return [
        Bar(instrument, start, start + timedelta(minutes=5), 5, price, price, price, price, 10, oi)
        for start, price in zip(starts, prices.values(), strict=True)
    ]


def test_the_contracts_of_a_period_are_its_near_months_and_the_one_after(calendar: Calendar) -> None:
    found = futures_between("NIFTY", START, END, calendar)
    assert [(one.key, one.lot) for one in found] == [
        ("NFO:NIFTY26JANFUT", 65),
        ("NFO:NIFTY26FEBFUT", 65),
        ("NFO:NIFTY26MARFUT", 65),
        ("NFO:NIFTY26APRFUT", 65),
    ]


def test_the_table_of_real_rolls(calendar: Calendar, bars: dict[Instrument, list[Bar]]) -> None:
    table = roll_table(bars, calendar, end=END)
    assert [(point.day, point.old.symbol, point.new.symbol) for point in table] == [
        (ROLLS[0], "NIFTY26JANFUT", "NIFTY26FEBFUT"),
        (ROLLS[1], "NIFTY26FEBFUT", "NIFTY26MARFUT"),
    ]
    first = table[0]
    assert (first.old_price, first.new_price, first.gap) == (25079.8, 25202.6, 122.8)  # both at the close of the roll day
    assert (first.old_oi, first.new_oi) == (12_272_325, 7_839_845)  # of the day before: what could be known
    [row, _] = document(table)
    assert (row["day"], row["gap"], row["by"], row["old_lot"]) == ("2026-01-23", 122.8, "days", 65)


def test_open_interest_of_the_day_itself_is_not_looked_at(calendar: Calendar, bars: dict[Instrument, list[Bar]]) -> None:
    """The February contract's became the larger on the 23rd; that is known on the 27th, which is too late: the bound decides."""
    table = roll_table(bars, calendar, BY_OI, end=END)
    assert [(point.day, point.by) for point in table] == [(ROLLS[0], "days"), (ROLLS[1], "days")]


def test_a_crossing_in_the_window_rolls_the_day_after_it_and_once(calendar: Calendar) -> None:
    days = [calendar.contracts.back(JANUARY, ahead) for ahead in range(8, 0, -1)]  # E-8 to E-1
    near = dict.fromkeys(days, 100)

    def first(crossed_on: list[int]) -> tuple[date, str]:
        following = {day: 150 if 8 - place in crossed_on else 50 for place, day in enumerate(days)}
        return roll_day(calendar.contracts, "NIFTY", JANUARY, BY_OI, near, following)

    assert first([4]) == (calendar.contracts.back(JANUARY, 3), "oi")  # and back again on E-3: a roll is never taken back
    assert first([4, 3, 2, 1]) == (calendar.contracts.back(JANUARY, 3), "oi")
    assert first([7, 6]) == (calendar.contracts.back(JANUARY, 5), "oi")  # crossed early: from E-5 on, on what E-6 showed
    assert first([8]) == (ROLLS[0], "days")  # before the window, and gone since
    assert roll_day(calendar.contracts, "NIFTY", JANUARY, BY_OI) == (ROLLS[0], "days")  # nothing known


def test_unknown_open_interest_moves_nothing(calendar: Calendar) -> None:
    day, before = date(2026, 1, 20), date(2026, 1, 19)
    assert not moved_on({}, {before: 5}, day, calendar.contracts)
    assert not moved_on({before: 0}, {before: 5}, day, calendar.contracts)
    assert moved_on({before: 4}, {before: 5}, day, calendar.contracts)


def test_stocks_roll_a_day_earlier_and_the_configured_lead_counts() -> None:
    usual = load_calendar().contracts
    assert roll_day(usual, "RELIANCE", JANUARY, RollRule()) == (date(2026, 1, 22), "days")


def test_a_raw_series_is_each_contracts_own_bars_through_its_roll_day(calendar: Calendar, bars: dict[Instrument, list[Bar]]) -> None:
    table = roll_table(bars, calendar, end=END)
    raw = continuous(bars, table)
    days = [bar.start.date() for bar in raw]
    assert days == sorted(set(days))
    assert days == [bar.start.date() for bar in next(iter(bars.values())) if bar.start.date() <= ROLLS[0]] + [
        day for day in days if day > ROLLS[0]
    ]
    assert {bar.start.date(): bar.instrument.symbol for bar in raw}[ROLLS[0]] == "NIFTY26JANFUT"
    assert {bar.start.date(): bar.instrument.symbol for bar in raw}[JANUARY] == "NIFTY26FEBFUT"
    assert all(bar in bars[bar.instrument] for bar in raw)


def test_a_back_adjusted_series_earns_what_a_rolled_position_earns(calendar: Calendar, bars: dict[Instrument, list[Bar]]) -> None:
    """A unit bought at the first close and rolled at the closes of both roll days, worked out by hand from the raw bars."""
    table = roll_table(bars, calendar, end=END)
    series = continuous(bars, table, "back")
    close = {(bar.instrument.symbol, bar.start.date()): bar.close for own in bars.values() for bar in own}
    earned = (
        (close["NIFTY26JANFUT", ROLLS[0]] - close["NIFTY26JANFUT", START])
        + (close["NIFTY26FEBFUT", ROLLS[1]] - close["NIFTY26FEBFUT", ROLLS[0]])
        + (close["NIFTY26MARFUT", END] - close["NIFTY26MARFUT", ROLLS[1]])
    )
    assert series[-1].close - series[0].close == pytest.approx(earned, abs=0.01)
    raw = continuous(bars, table)
    assert raw[-1].close - raw[0].close != pytest.approx(earned, abs=50)  # stitched without adjustment it would have been another result
    assert series[-1] == raw[-1]  # the newest contract is as it was traded
    assert [bar.volume for bar in series] == [bar.volume for bar in raw]


def test_a_ratio_adjusted_series_returns_what_a_rolled_position_returns(calendar: Calendar, bars: dict[Instrument, list[Bar]]) -> None:
    table = roll_table(bars, calendar, end=END)
    series = {bar.start.date(): bar for bar in continuous(bars, table, "ratio")}
    february = {bar.start.date(): bar for bar in bars[table[0].new]}
    january = {bar.start.date(): bar for bar in bars[table[0].old]}
    assert series[JANUARY].close / series[ROLLS[0]].close == pytest.approx(february[JANUARY].close / february[ROLLS[0]].close, abs=1e-6)
    assert series[date(2026, 1, 20)].close / series[START].close == pytest.approx(
        january[date(2026, 1, 20)].close / january[START].close, abs=1e-6
    )


def test_a_backtest_sees_no_gap_that_lay_ahead(calendar: Calendar, bars: dict[Instrument, list[Bar]]) -> None:
    table = roll_table(bars, calendar, end=END)
    then = datetime.combine(date(2026, 2, 10), time(20), IST)
    seen = continuous(bars, table, "back", until=then)
    assert seen[-1].start.date() == date(2026, 2, 9)  # the candle of the 10th closes at midnight
    whole = continuous(bars, table, "back")
    assert whole[0].close - seen[0].close == pytest.approx(table[1].gap)


def test_prices_of_one_minute_up_to_the_time_at_which_positions_move(calendar: Calendar) -> None:
    old, new, *_ = futures_between("NIFTY", START, END, calendar)
    mine = minutes(old, ROLLS[0], {"14:50": 100.0, "14:55": 101.0, "15:00": 90.0, "15:25": 80.0})
    other = minutes(new, ROLLS[0], {"14:50": 110.0, "15:00": 99.0, "15:25": 95.0})
    [point] = roll_table({old: mine, new: other}, calendar)
    assert (point.at, point.gap) == (datetime(2026, 1, 23, 14, 50, tzinfo=IST), 10.0)  # 14:55 is the old one's alone, 15:00 too late


def test_a_roll_without_a_common_price_is_shown_and_never_guessed(calendar: Calendar) -> None:
    old, new, *_ = futures_between("NIFTY", START, END, calendar)
    known = {old: minutes(old, ROLLS[0], {"14:50": 100.0}), new: minutes(new, JANUARY, {"09:15": 111.0})}
    table = roll_table(known, calendar)
    assert document(table)[0]["gap"] is None
    assert len(continuous(known, table)) == 2
    with pytest.raises(DataError, match="no minute that both have bars of"):
        continuous(known, table, "back")


def test_the_version_changes_with_a_roll(calendar: Calendar, bars: dict[Instrument, list[Bar]]) -> None:
    one = version(roll_table(bars, calendar, end=date(2026, 2, 1)))
    assert version(roll_table(bars, calendar, end=END)) != one == version(roll_table(bars, calendar, end=date(2026, 2, 20)))


def test_what_the_candle_store_has(tmp_path: Path, calendar: Calendar, bars: dict[Instrument, list[Bar]]) -> None:
    store = CandleStore(tmp_path)
    for instrument, own in bars.items():
        store.series("import", instrument, 1440).add(own, Span(own[0].start, own[-1].at)) if own else None
    found = stored(store, "import", "NIFTY", calendar, START, END, 1440)
    table = roll_table(found, calendar, end=END)
    assert version(table) == version(roll_table(bars, calendar, end=END))
    assert [bar.close for bar in continuous(found, table, "back")] == [bar.close for bar in continuous(bars, table, "back")]


# --- the calendar's own answer ----------------------------------------------------------------------------------------------------------


def test_a_chosen_early_roll_counts_for_every_name_and_stays(calendar: Calendar) -> None:
    calendar = load_calendar()
    contracts, day = calendar.contracts, date(2026, 11, 18)
    assert contracts.future_expiry("NIFTY", date(2026, 11, 19)) == date(2026, 11, 23)
    contracts.roll_early("NIFTY", date(2026, 11, 23), day)
    contracts.roll_early("NIFTY", date(2026, 11, 23), date(2026, 11, 19))  # open interest went back and forth: the first one stays
    assert contracts.future_expiry("NIFTY", day) == date(2026, 11, 23)
    assert contracts.future_expiry("NIFTY", date(2026, 11, 19)) == date(2026, 12, 29)
    assert contracts.future_expiry("BANKNIFTY", date(2026, 11, 19)) == date(2026, 11, 23)
    calendar.become(load_calendar())  # facts are read anew on a running day
    assert calendar.contracts.future_expiry("NIFTY", date(2026, 11, 19)) == date(2026, 12, 29)
    contracts.roll_early("SENSEX", date(2026, 11, 26), date(2026, 11, 26))
    assert contracts.roll_day("SENSEX", date(2026, 11, 26)) == date(2026, 11, 25)  # never later than the rule by days


def test_the_lead_in_the_settings_moves_the_roll_day(tmp_path: Path) -> None:
    import shutil

    from utils.config_loader import CONFIG_FOLDER

    folder = tmp_path / "config"
    shutil.copytree(CONFIG_FOLDER, folder)
    settings = folder / "settings.yaml"
    settings.write_text(settings.read_text().replace("index_days: 1 ", "index_days: 3 "))
    assert load_calendar(folder).contracts.roll_day("NIFTY", JANUARY) == date(2026, 1, 21)
    assert load_calendar(folder).contracts.roll_day("RELIANCE", JANUARY) == date(2026, 1, 22)


# --- the commands -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, bars: dict[Instrument, list[Bar]]) -> Path:
    store = CandleStore(tmp_path / "candles")
    for instrument, own in bars.items():
        store.series("import", instrument, 1440).add(own, Span(own[0].start, own[-1].at)) if own else None
    return tmp_path


def command(state: Path, *words: str) -> int:
    import main

    return main.main([*words, "--state", str(state)])


def test_the_roll_table_command(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["instruments", "roll-table", "NIFTY_FUT", "--from", "2026-01-01", "--to", "2026-02-27", "--source", "import"]
    assert command(state, *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["day"], row["gap"], row["new_oi"]) for row in told["rolls"]] == [
        ("2026-01-23", 122.8, 7839845),
        ("2026-02-23", 154.5, 5611580),
    ]
    assert told["without_prices"] == []
    assert command(state, *words) == 0
    assert "122.80" in capsys.readouterr().out
    assert command(state, *words[:-1], "nobody", "--json") == 0  # no candles: the rule alone
    assert json.loads(capsys.readouterr().out)["without_prices"] == ["2026-01-23", "2026-02-23"]
    assert command(state, "instruments", "roll-table", "RELIANCE", "--from", "2026-01-01", "--to", "2026-02-27") == 2
    assert "give a future's name" in capsys.readouterr().err


def test_an_adjusted_series_from_the_store_into_a_file(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "nifty.csv"
    words = ["fetch", "NIFTY_FUT", "--from", "2026-01-01", "--to", "2026-02-27", "--interval", "day", "--source", "import", "--json"]
    assert command(state, *words, "--continuous", "--adjust", "back", "--out", str(out)) == 1  # the Sunday session is not in the data
    told = json.loads(capsys.readouterr().out)
    assert (told["candles"], told["notes"]) == (40, ["no candle of 1 trading days: 2026-02-01"])
    first = out.read_text().splitlines()[1].split(",")
    assert float(first[4]) == 26567.7  # 26290.40, 122.80 and the gap of February
    assert command(state, *words, "--adjust", "back") == 2
    assert "--continuous" in capsys.readouterr().err
