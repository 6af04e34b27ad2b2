"""What the pages say, without a browser: the figure of a chart, a strategy's next actions, an entry of the journal."""

from typing import Any

import pytest

from api.dashboard.figure import figure
from api.dashboard.pages.journal import told
from api.dashboard.pages.strategies import next_actions, section_changes

FOUND: dict[str, Any] = {
    "instrument": "NFO:NIFTY26NOVFUT",
    "interval": 5,
    "bars": [
        ["2026-11-19T15:25:00+05:30", 100.0, 102.0, 99.0, 101.0, 10, False],
        ["2026-11-20T09:15:00+05:30", 101.0, 104.0, 100.0, 103.0, 20, False],
        ["2026-11-20T09:20:00+05:30", 103.0, 103.5, 98.0, 99.0, 30, True],
    ],
    "indicators": {"trend": {"fast": [None, 100.5, 101.0], "rsi": [None, 55.0, 40.0], "slow": [None, None, None]}},
    "trades": [
        {"at": "2026-11-20T09:20:00+05:30", "side": "BUY", "price": 103.2, "quantity": 65, "strategy": "trend"},
        {"at": "2026-11-20T09:19:59+05:30", "side": "SELL", "price": 103.0, "quantity": 65, "strategy": "trend"},
        {"at": "2026-11-19T15:24:59+05:30", "side": "SELL", "price": 1.0, "quantity": 65, "strategy": "trend"},
    ],
}


def test_a_figure_has_indicators_where_their_size_belongs_and_trades_on_their_bar() -> None:
    traces = {one["name"]: one for one in figure(FOUND)["data"]}
    assert traces["NFO:NIFTY26NOVFUT"]["high"] == [102.0, 104.0, 103.5]
    assert "yaxis" not in traces["trend fast"], "it is drawn over the prices"
    assert traces["trend rsi"]["yaxis"] == "y3", "an oscillator has its own panel"
    assert "trend slow" not in traces, "it has said nothing yet"
    assert traces["bought"]["x"] == ["20 Nov 09:20"]
    assert traces["sold"]["x"] == ["20 Nov 09:15"], "a fill before the first bar is not on the picture"
    assert figure(FOUND)["layout"]["xaxis"]["ticktext"] == ["15:25<br>19 Nov", "09:15<br>20 Nov", "09:20"]
    assert len(figure(FOUND, dotted=False)["data"]) == len(traces) - 2
    alone = {**FOUND, "indicators": {}, "trades": []}
    assert figure(alone)["layout"]["yaxis3"]["visible"] is False


ROW: dict[str, Any] = {"name": "trend", "state": "running", "interval": "5m", "horizon": "intraday", "window": {"entry_from": "09:20"}}
STATUS: dict[str, Any] = {
    "running": True,
    "trading_state": "ACTIVE",
    "market": {"now": "2026-11-20T10:00:00+05:30", "square_off_at": "2026-11-20T15:20:00+05:30"},
}


@pytest.mark.parametrize(
    ("row", "status", "first"),
    [
        ({}, {}, "decides at the close of each bar of 5m"),
        ({"window": {"entry_until": "14:30"}}, {}, "decides at the close of each bar of 5m, entries until 14:30"),
        ({"window": {"entry_from": "10:30"}}, {}, "entries from 10:30 on"),
        ({"window": {"entry_until": "09:45"}}, {}, "no entry: its window ended at 09:45"),
        ({}, {"trading_state": "HALTED"}, "no entry: trading is HALTED; exits go on"),
        ({}, {"running": False}, "nothing: the engine is not running"),
        ({"state": "locked", "why": "the day's loss"}, {}, "nothing: the day's loss"),
    ],
)
def test_what_a_strategy_may_do_next(row: dict[str, Any], status: dict[str, Any], first: str) -> None:
    assert next_actions({**ROW, **row}, {**STATUS, **status})[0] == first


def test_the_square_off_stands_last_and_not_for_what_is_carried() -> None:
    assert next_actions(ROW, STATUS)[-1] == "square-off at 15:20"
    assert next_actions({**ROW, "horizon": "carry"}, STATUS) == ["decides at the close of each bar of 5m"]


def test_an_entry_of_the_journal_is_one_line() -> None:
    row = {"seq": 7, "at": "2026-11-20T10:00:00+05:30", "kind": "signal", "target": 1.0, "stop": None, "facts": {"a": 2.5, "b": []}}
    assert told(row) == {"seq": 7, "at": row["at"], "kind": "signal", "day": "2026-11-20", "says": "target: 1, facts: {a: 2.5, b: []}"}


ORDER = {"order": "A1", "strategy": "trend", "instrument": "NFO:NIFTY26NOVFUT", "side": "BUY", "quantity": 65}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"kind": "signal", "strategy": "trend", "name": "NIFTY_FUT", "target": 1.0, "why": "up"}, "trend wants +1 of NIFTY_FUT · up"),
        ({"kind": "intent", **ORDER, "limit_price": 25_000.5, "purpose": "entry"}, "BUY 65 NIFTY26NOVFUT at 25,000.50 · entry · trend"),
        ({"kind": "order", **ORDER, "state": "WORKING", "filled": 0, "source": "reply"}, "WORKING: BUY 65 NIFTY26NOVFUT · reply"),
        (
            {"kind": "order", **ORDER, "state": "FILLED", "filled": 65, "average_price": 25_000.0, "reason": "x"},
            "FILLED: BUY 65 of 65 NIFTY26NOVFUT at 25,000.00 · x",
        ),
        ({"kind": "fill", **ORDER, "price": 25_000.0}, "BUY 65 NIFTY26NOVFUT at 25,000.00 · trend"),
        ({"kind": "alert", "level": "warn", "title": "Late", "text": "by 3 s"}, "warn: Late: by 3 s"),
        ({"kind": "fill", "price": 25_000.0}, "price: 25000"),
        ({"kind": "other", "count": 2, "empty": None}, "count: 2"),
    ],
)  # fmt: skip
def test_an_entry_of_the_journal_is_a_sentence_where_its_kind_has_one(row: dict[str, Any], says: str) -> None:
    assert told({"seq": 7, "at": "2026-11-20T10:00:00+05:30", **row})["says"] == says


LOCK, PAUSE = "risk.lock_profit", "risk.cooldown"


@pytest.mark.parametrize(
    ("section", "before", "now", "set_to"),
    [
        (LOCK, None, {"at": None, "keep": None}, {}),
        (LOCK, None, {"at": 8000, "keep": None}, {LOCK: {"at": 8000, "keep": 100.0}}),
        (LOCK, None, {"at": 8000, "keep": 60}, {LOCK: {"at": 8000, "keep": 60}}),
        (LOCK, {"at": 8000.0, "keep": 60.0}, {"at": 8000, "keep": 60}, {}),
        (LOCK, {"at": 8000.0, "keep": 60.0}, {"at": 9000, "keep": 60}, {"risk.lock_profit.at": 9000}),
        (LOCK, {"at": 8000.0, "keep": 60.0}, {"at": 8000, "keep": None}, {"risk.lock_profit.keep": 100.0}),
        (LOCK, {"at": 8000.0, "keep": 60.0}, {"at": None, "keep": 60.0}, {LOCK: None}),
        (PAUSE, None, {"minutes": None, "after": "loss"}, {}),
        (PAUSE, None, {"minutes": 15, "after": "exit"}, {PAUSE: {"minutes": 15, "after": "exit"}}),
        (PAUSE, {"minutes": 15.0, "after": "loss"}, {"minutes": 15, "after": "exit"}, {"risk.cooldown.after": "exit"}),
    ],
)
def test_a_limit_of_two_fields_is_set_changed_and_taken_back(section: str, before: Any, now: Any, set_to: Any) -> None:
    assert section_changes(section, before, now) == set_to


def test_half_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="give at too"):
        section_changes(LOCK, None, {"at": None, "keep": 60})
    with pytest.raises(ValueError, match="give minutes too"):
        section_changes(PAUSE, None, {"minutes": None, "after": "exit"})
