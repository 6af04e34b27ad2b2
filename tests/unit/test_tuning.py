"""What each kind of change does to a day that runs, and to a position that is held; and that a change which is wrong does nothing."""

from pathlib import Path
from typing import Any

import pytest

from core.types import Horizon, OrderState, Purpose, Side
from risk.settings import StrategyLimits
from tests.floor import TREND, Floor, price
from tests.harness import FUTURE, SHARE

OTHER = TREND.replace("NIFTY_FUT", "RELIANCE").replace("lots: 1", "quantity: 10")
BOTH = TREND.replace("[NIFTY_FUT]", "[NIFTY_FUT, RELIANCE]")


def traded(folder: Path, files: dict[str, str] | None = None) -> Floor:
    """A floor whose `trend` has entered NIFTY_FUT at the bar of 10:05 (prices rise all day)."""
    floor = Floor(folder, files or {"trend": TREND})
    floor.until(10, 5)
    floor.instrument = FUTURE
    for order in list(floor.executor.placed):
        floor.complete_(order)
    assert floor.held_("trend") == 65
    return floor


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    return traded(tmp_path)


def target(floor: Floor, name: str = "trend", logical: str = "NIFTY_FUT") -> Any:
    found = floor.engine.targets.get(name, logical)
    assert found is not None
    return found


def entry(floor: Floor, kind: str = "reloaded") -> dict[str, Any]:
    [found] = floor.journal(kind)
    return found


def kept(floor: Floor, sent: int) -> None:
    """Nothing was sent, and the position stays."""
    assert len(floor.executor.placed) == sent
    assert floor.held_("trend") == 65


# --- parameters, class, interval ----------------------------------------------------------------------------------------------------


def test_other_parameters_count_from_the_next_bar_and_leave_the_position_alone(floor: Floor) -> None:
    before, sent = floor.run_of("trend").strategy, len(floor.executor.placed)
    floor.edit("trend", "{fast: 2, slow: 4}", "{fast: 3, slow: 5}")
    text = floor.take_up()
    assert "trend params.fast 2 -> 3, params.slow 4 -> 5: made anew" in text
    found = entry(floor)["strategies"]["trend"]
    assert found["fields"] == {"params.fast": {"old": 2, "new": 3}, "params.slow": {"old": 4, "new": 5}}
    assert found["does"] == "made anew"
    assert set(entry(floor)["files"]) == {"strategies/trend.yaml"}
    assert entry(floor)["config"]["old"] != entry(floor)["config"]["new"] == floor.read().hash
    now = floor.run_of("trend").strategy
    assert now is not before
    assert now.params.slow == 5
    kept(floor, sent)
    floor.until(10, 10)  # it says the same target: nothing to do
    kept(floor, sent)
    assert target(floor).raw == 1
    slow = [
        price(
            FUTURE,
            floor.clock.now().replace(minute=10 - 5 * n, second=0)
            if n < 3
            else floor.clock.now().replace(hour=9, minute=70 - 5 * n, second=0),
        )
        for n in range(5)
    ]
    assert now.slow.value == pytest.approx(sum(slow) / 5, abs=2.0)  # ten-second ticks against whole minutes


def test_another_class_decides_from_the_next_bar(floor: Floor) -> None:
    floor.edit("trend", "class: sma_cross\ninstruments: [NIFTY_FUT]", "class: donchian_trend\ninstruments: [NIFTY_FUT]")
    floor.edit("trend", "{fast: 2, slow: 4}", "{entry: 4, leave: 2, atr: 2}")
    floor.take_up()
    assert type(floor.run_of("trend").strategy).__name__ == "DonchianTrend"
    assert floor.run_of("trend").strategy.trades == 0
    assert floor.held_("trend") == 65


def test_another_interval_is_heard_at_its_own_bars(floor: Floor) -> None:
    floor.edit("trend", "interval: 5m", "interval: 3m")
    assert "interval 5m -> 3m" in floor.take_up()
    run = floor.run_of("trend")
    seen = run.strategy.fast.value
    floor.until(10, 9)
    assert run.strategy.fast.value > seen
    seen = run.strategy.fast.value
    floor.until(10, 10)  # a boundary of the old interval alone
    assert run.strategy.fast.value == seen


def test_a_bar_that_closes_while_history_is_fetched_is_heard_by_the_old_and_known_to_the_new(floor: Floor) -> None:
    floor.downloads.held = True
    floor.edit("trend", "slow: 4", "slow: 5")
    floor.command("reload")
    old = floor.run_of("trend")
    floor.until(10, 10)
    assert floor.run_of("trend") is old
    floor.downloads.let()
    floor.control.check(floor.engine)
    floor.downloads.let()
    floor.control.check(floor.engine)
    assert floor.answers[-1][1]
    new = floor.run_of("trend")
    assert new is not old
    assert new.strategy.fast.value == pytest.approx(old.strategy.fast.value, abs=2.0)


# --- size, stops, limits, window ----------------------------------------------------------------------------------------------------


def test_another_size_counts_from_the_next_target_and_the_held_quantity_is_pinned(floor: Floor) -> None:
    sent, run = len(floor.executor.placed), floor.run_of("trend")
    floor.edit("trend", "lots: 1", "lots: 3")
    assert "size.lots 1 -> 3: taken over" in floor.take_up()
    assert floor.run_of("trend") is run  # the strategy itself goes on
    floor.until(10, 10)
    kept(floor, sent)
    assert target(floor).wanted == 65
    floor.say_("trend", 0)
    floor.complete_(floor.last)
    floor.say_("trend", 1)
    assert (floor.last.side, floor.last.quantity) == (Side.BUY, 195)


def test_another_stop_distance_counts_from_the_next_target(floor: Floor) -> None:
    stop = target(floor).stop
    floor.edit("trend", "stop_pct: 2.0", "stop_pct: 1.0")
    floor.take_up()
    assert target(floor).stop == stop
    floor.say_("trend", 0)
    floor.complete_(floor.last)
    floor.say_("trend", 1)
    at = floor.engine.world.last_price(FUTURE)
    assert at is not None
    assert target(floor).stop == pytest.approx(at * 0.99)


def test_a_limit_that_is_reached_already_locks_within_a_second_and_closes(floor: Floor) -> None:
    floor.edit("trend", "max_loss: 100000", "max_loss: 10")
    floor.take_up()
    assert floor.engine.gate.settings.of("trend") == StrategyLimits(max_loss=10.0)
    floor.tick(24990.0)
    floor.pass_time(1.0)
    assert [one["rule"] for one in floor.journal("breach")] == ["strategy_loss"]
    assert floor.last.purpose is Purpose.EXIT


def test_another_window_counts_for_the_next_entry(floor: Floor) -> None:
    sent = len(floor.executor.placed)
    floor.edit("trend", 'entry_from: "09:20"', 'entry_from: "11:00"')
    floor.take_up()
    kept(floor, sent)
    floor.say_("trend", 0)
    floor.complete_(floor.last)  # an exit is no entry
    floor.say_("trend", 1)
    assert floor.held_("trend") == 0
    assert target(floor).pending
    assert floor.journal("refused")[-1]["rule"] == "window"


# --- instruments --------------------------------------------------------------------------------------------------------------------


def test_an_instrument_added_is_subscribed_heard_and_squared_off(floor: Floor) -> None:
    sent = len(floor.executor.placed)
    floor.edit("trend", "[NIFTY_FUT]", "[NIFTY_FUT, RELIANCE]")
    floor.edit("trend", "lots: 1", "quantity: 65")
    floor.take_up()
    assert SHARE.key in floor.subscribed
    assert floor.held_("trend") == 65
    floor.until(10, 10)
    assert [order.instrument for order in floor.executor.placed[sent:]] == [SHARE]
    assert floor.store.get("names", "2026-11-20") == {"NIFTY_FUT": FUTURE.key, "RELIANCE": SHARE.key}
    assert [round_["scheduled"][11:16] for round_ in floor.engine.square_off.rounds()] == ["15:06", "15:20"]


@pytest.mark.parametrize("how", ["flatten", "keep"])
def test_an_instrument_left_out_is_closed_or_kept(tmp_path: Path, how: str) -> None:
    floor = traded(tmp_path, {"trend": BOTH.replace("lots: 1", "quantity: 65") + f"on_disable: {how}\n"})
    floor.edit("trend", "[NIFTY_FUT, RELIANCE]", "[RELIANCE]")
    sent = len(floor.executor.placed)
    floor.take_up()
    assert [order.purpose for order in floor.executor.placed[sent:]] == ([Purpose.EXIT] if how == "flatten" else [])
    assert target(floor).latched
    assert not target(floor, logical="RELIANCE").latched


def test_a_name_that_means_nothing_is_refused_with_its_line(floor: Floor) -> None:
    floor.edit("trend", "[NIFTY_FUT]", "[NIFTY_FUTT]")
    floor.command("reload")
    _, ok, text, _ = floor.answers[-1]
    assert not ok
    assert "trend.yaml:2: instruments: no instrument 'NIFTY_FUTT'; near it: NIFTY_FUT; nothing was changed" in text
    assert floor.roster.files["trend"].instruments == ("NIFTY_FUT",)


# --- horizon ------------------------------------------------------------------------------------------------------------------------


def test_a_horizon_waits_until_its_key_is_flat(floor: Floor) -> None:
    floor.edit("trend", "horizon: intraday", "horizon: carry")
    floor.take_up()
    assert target(floor).horizon is Horizon.INTRADAY
    floor.say_("trend", 0)
    assert (floor.last.purpose, floor.last.horizon) == (Purpose.EXIT, Horizon.INTRADAY)  # it leaves as what it came
    floor.complete_(floor.last)
    floor.until(10, 5, 8)
    floor.say_("trend", 1)
    assert (floor.last.purpose, floor.last.horizon) == (Purpose.ENTRY, Horizon.CARRY)


def test_a_horizon_changed_while_the_daemon_was_down_waits_as_well(tmp_path: Path) -> None:
    floor = traded(tmp_path)
    floor.edit("trend", "horizon: intraday", "horizon: carry")
    again = Floor(tmp_path, {}, store=floor.store.crashed(), at=floor.clock.now(), resumed=True)
    assert again.held_("trend") == 65
    again.engine.world.blinded.clear()
    again.say_("trend", 0)
    again.books(net=65)
    again.pass_time(3)
    assert (again.last.purpose, again.last.horizon) == (Purpose.EXIT, Horizon.INTRADAY)


# --- enabled, added, deleted --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["file", "command", "deleted", "other account"])
def test_a_strategy_that_goes_is_closed_and_heard_no_more(floor: Floor, way: str) -> None:
    if way == "command":
        floor.take_up("disable", name="trend")
    else:
        if way == "file":
            floor.edit("trend", "enabled: true", "enabled: false")
        elif way == "deleted":
            (floor.folder / "strategies" / "trend.yaml").unlink()
        else:
            floor.edit("trend", "enabled: true", "enabled: true\naccount: practice-live")
        floor.take_up()
    assert not floor.engine.runs
    assert (floor.last.side, floor.last.quantity, floor.last.purpose) == (Side.SELL, 65, Purpose.EXIT)
    fact = floor.journal("toggled" if way == "command" else "reloaded")[-1]
    assert (fact if way == "command" else fact["strategies"]["trend"])["does"] == "retired"
    floor.complete_(floor.last)
    sent = len(floor.executor.placed)
    floor.until(10, 20)
    assert len(floor.executor.placed) == sent
    assert floor.held_("trend") == 0


def test_its_working_entries_end_with_it(tmp_path: Path) -> None:
    floor = Floor(tmp_path, {"trend": TREND + "on_disable: keep\n"})
    floor.until(10, 5)
    order = floor.last
    floor.ack(order)
    floor.working(order)
    floor.take_up("disable", name="trend")
    assert [one.id for one in floor.executor.cancelled] == [order.id]
    floor.end(OrderState.CANCELLED, order=order)
    assert target(floor).wanted == 0
    floor.until(10, 10)
    assert len(floor.executor.placed) == 1


def test_what_is_kept_keeps_its_stop_and_its_square_off_and_waits_for_a_different_target(tmp_path: Path) -> None:
    floor = traded(tmp_path, {"trend": TREND + "on_disable: keep\n"})
    sent, stop = len(floor.executor.placed), target(floor).stop
    floor.take_up("disable", name="trend")
    kept(floor, sent)
    assert stop is not None
    assert target(floor).stop == stop
    floor.take_up("enable", name="trend")
    floor.until(10, 10)  # the same target as before: it is held already
    kept(floor, sent)
    floor.say_("trend", 0)
    assert floor.last.purpose is Purpose.EXIT
    floor.complete_(floor.last)
    floor.say_("trend", 1)
    floor.complete_(floor.last)
    floor.take_up("disable", name="trend")
    floor.tick(stop - 500)
    assert (floor.last.purpose, floor.last.reason.split()[0]) == (Purpose.EXIT, "stop")


def test_an_exit_under_way_goes_on_when_its_strategy_is_kept_out(tmp_path: Path) -> None:
    floor = traded(tmp_path, {"trend": TREND + "on_disable: keep\n"})
    floor.say_("trend", 0)
    leaving = floor.last
    floor.take_up("disable", name="trend")
    assert not floor.executor.cancelled
    floor.complete_(leaving)
    assert floor.held_("trend") == 0


def test_a_file_that_is_added_or_enabled_trades_from_its_next_bar(floor: Floor) -> None:
    floor.write("other", OTHER.replace("enabled: true", "enabled: false"))
    floor.take_up()
    assert [run.strategy.name for run in floor.engine.runs] == ["trend"]
    assert floor.journal("reloaded")[-1]["strategies"]["other"]["change"] == "added"
    floor.edit("other", "enabled: false", "enabled: true")
    floor.take_up()
    assert [run.strategy.name for run in floor.engine.runs] == ["other", "trend"]  # as a restart would order them
    floor.until(10, 10)
    assert (floor.last.strategy, floor.last.quantity) == ("other", 10)


# --- toggles ------------------------------------------------------------------------------------------------------------------------


def test_a_toggle_outlives_restarts_and_reloads_until_the_file_says_otherwise(tmp_path: Path) -> None:
    floor = Floor(tmp_path, {"trend": TREND, "other": OTHER})
    floor.take_up("disable", name="trend")
    assert entry(floor, "toggled")["toggle"] == {"old": None, "new": False}
    floor.edit("trend", "slow: 4", "slow: 6")
    floor.take_up()
    assert [run.strategy.name for run in floor.engine.runs] == ["other"]
    again = Floor(tmp_path, {}, store=floor.store.crashed(), at=floor.clock.now())
    assert [run.strategy.name for run in again.engine.runs] == ["other"]
    [row] = [row for row in again.roster.rows(again.engine) if row["name"] == "trend"]
    assert (row["state"], row["why"], row["enabled"]) == ("disabled", "by command", False)
    again.edit("trend", "enabled: true", "enabled: false")
    again.take_up()  # the file says so itself now: the toggle is spent
    again.edit("trend", "enabled: false", "enabled: true")
    again.take_up()
    assert [run.strategy.name for run in again.engine.runs] == ["other", "trend"]
    assert again.store.items("toggles") == {}


def test_a_stopped_strategy_is_made_anew_by_enable(floor: Floor) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("planted")

    floor.run_of("trend").strategy.on_bar = broken
    floor.until(10, 10)
    [row] = floor.roster.rows(floor.engine)
    assert (row["state"], row["position"]) == ("stopped", {FUTURE.key: 65})
    assert "ZeroDivisionError: planted" in row["why"]
    floor.take_up("enable", name="trend")
    [row] = floor.roster.rows(floor.engine)
    assert (row["state"], row["trades"]) == ("running", 1)
    assert floor.take_up("enable", name="trend") == "trend is enabled already; nothing changed"


def test_a_strategy_nobody_knows_is_named_with_those_there_are(floor: Floor) -> None:
    floor.command("disable", name="trand")
    assert floor.answers[-1][1:3] == (False, "no strategy 'trand' of account 'test'; there are trend")


# --- retuning -----------------------------------------------------------------------------------------------------------------------


def test_retune_writes_the_file_and_takes_it_up(floor: Floor) -> None:
    floor.take_up("retune", name="trend", values={"params.fast": 3, "risk.max_trades": 4, "size": {"lots": 2}})
    text = (floor.folder / "strategies" / "trend.yaml").read_text(encoding="utf-8")
    assert text == TREND.replace("fast: 2", "fast: 3").replace("stop_pct: 2.0}", "stop_pct: 2.0, max_trades: 4}").replace(
        "{lots: 1}", "{lots: 2}"
    )
    assert floor.run_of("trend").strategy.params.fast == 3
    assert floor.engine.gate.settings.of("trend").max_trades == 4
    fields = entry(floor)["strategies"]["trend"]["fields"]
    assert fields["params.fast"] == {"old": 2, "new": 3}
    assert floor.take_up() == "the files are as they were read last; nothing changed"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"params.fast": 9}, "trend.yaml:4: fast: 9 is not below slow (4)"),
        ({"params.fats": 3}, "no such parameter of SmaParams; did you mean fast?"),
        ({"risk.max_trade": 3}, "trend.yaml:8: risk.max_trade: no such key (its value is 3); did you mean max_trades?"),
        ({"interval": "7m"}, "expected one of"),
        ({"instruments": ["NOPE"]}, "trend.yaml:2: instruments: no instrument 'NOPE'"),
        ({}, "retune wants values"),
    ],
)
def test_a_field_that_is_wrong_changes_neither_the_file_nor_the_day(floor: Floor, values: dict[str, Any], said: str) -> None:
    run = floor.run_of("trend")
    floor.command("retune", name="trend", values=values)
    _, ok, text, _ = floor.answers[-1]
    assert not ok
    assert said in text
    assert (floor.folder / "strategies" / "trend.yaml").read_text(encoding="utf-8") == TREND
    assert floor.run_of("trend") is run
    assert floor.told("Not reloaded") == ["warn"]


def test_a_file_changed_by_somebody_else_meanwhile_is_not_overwritten(floor: Floor) -> None:
    floor.downloads.held = True
    floor.command("retune", name="trend", values={"params.fast": 3})
    floor.edit("trend", "slow: 4", "slow: 8")
    floor.downloads.let()
    floor.control.check(floor.engine)
    _, ok, text, _ = floor.answers[-1]
    assert not ok
    assert "was changed by somebody else meanwhile" in text
    assert "slow: 8" in (floor.folder / "strategies" / "trend.yaml").read_text(encoding="utf-8")
    assert floor.run_of("trend").strategy.params.fast == 2


# --- all or nothing -----------------------------------------------------------------------------------------------------------------


def test_one_bad_file_of_the_set_changes_nothing_at_all(floor: Floor) -> None:
    floor.edit("trend", "slow: 4", "slow: 6")
    floor.write("other", OTHER.replace("sma_cross", "sma_crosss"))
    floor.command("reload")
    _, ok, text, _ = floor.answers[-1]
    assert not ok
    assert "other.yaml:1: " in text
    assert "did you mean sma_cross?" in text
    assert floor.journal("reload_refused")
    assert not floor.journal("reloaded")
    assert floor.run_of("trend").strategy.params.slow == 4
    floor.lost()
    floor.write("other", OTHER)
    floor.command("reload")
    _, ok, text, _ = floor.answers[-1]
    assert not ok
    assert "no history to warm up with" in text
    assert floor.roster.files.keys() == {"trend"}


def test_a_second_reload_waits_its_turn(floor: Floor) -> None:
    floor.downloads.held = True
    floor.edit("trend", "slow: 4", "slow: 6")
    floor.command("reload")
    floor.command("disable", name="trend")
    _, ok, text, _ = floor.answers[-1]
    assert not ok
    assert "the reload before is still under way; nothing was changed; give it again when that is done" in text
    floor.downloads.let()
    floor.control.check(floor.engine)
    assert floor.answers[-1][1]
    assert floor.run_of("trend").strategy.params.slow == 6


def test_settings_that_need_a_restart_are_named(floor: Floor) -> None:
    path = floor.folder / "settings.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "# more\n", encoding="utf-8")
    floor.edit("trend", "slow: 4", "slow: 6")
    assert "settings.yaml changed too: those need a restart" in floor.take_up()


def test_overnight_the_files_are_taken_up_for_the_next_day(floor: Floor) -> None:
    floor.engine.close_day(floor.clock.now().date())
    floor.edit("trend", "slow: 4", "slow: 6")
    asked = floor.downloads.asked
    floor.take_up()
    assert floor.downloads.asked == asked  # nothing to make now
    assert floor.roster.enabled()["trend"].params == {"fast": 2, "slow": 6}
