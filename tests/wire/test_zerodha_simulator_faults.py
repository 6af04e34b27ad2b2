"""Fault scripts: what they may say, and that a match aims exactly."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from simulators.faults import KINDS, ORDER, REQUEST, FaultError, Faults, load
from simulators.world import IST

TEN = datetime(2026, 11, 20, 10, 0, tzinfo=IST)


def facts(route: str = "POST /orders/regular", **more: Any) -> dict[str, Any]:
    return {"route": route, "lane": "practice/orders", **more}


def kinds(faults: Faults, now: datetime = TEN, place: str = REQUEST, **more: Any) -> list[str]:
    return [fault.kind for fault in faults.strike(place, now, facts(**more))]


def test_a_fault_strikes_once_unless_told_otherwise() -> None:
    faults = Faults([{"fault": "rate_limit"}, {"fault": "delay", "count": 2}, {"fault": "timed_out", "count": 0}])
    assert [kinds(faults) for _ in range(4)] == [
        ["rate_limit", "delay", "timed_out"],
        ["delay", "timed_out"],
        ["timed_out"],
        ["timed_out"],
    ]


def test_skip_passes_over_the_first_matches() -> None:
    faults = Faults([{"fault": "drop_reply", "match": {"route": "POST /orders/*"}, "skip": 2}])
    struck = [kinds(faults, route=route) for route in ("GET /orders", "POST /orders/regular", "POST /orders/amo", "POST /orders/regular")]
    assert struck == [[], [], [], ["drop_reply"]]


@pytest.mark.parametrize(
    ("match", "aimed", "beside"),
    [
        ({"lane": "practice/*"}, {}, {"lane": ""}),
        ({"order": 3}, {"order_number": 3}, {"order_number": 4}),
        ({"order": "261120000000003"}, {"order_id": "261120000000003"}, {"order_id": "261120000000004"}),
        ({"tag": "N1*"}, {"tag": "N1AB"}, {"tag": "N2AB"}),
        ({"symbol": "NFO:*"}, {"symbol": "NFO:NIFTY26NOVFUT"}, {"symbol": "NSE:INFY"}),
        ({"side": "SELL"}, {"side": "SELL"}, {"side": "BUY"}),
    ],
)
def test_every_word_of_a_match_aims(match: dict[str, Any], aimed: dict[str, Any], beside: dict[str, Any]) -> None:
    faults = Faults([{"fault": "error", "match": match, "count": 0}])
    assert [fault.kind for fault in faults.strike(REQUEST, TEN, facts() | aimed)] == ["error"]
    assert faults.strike(REQUEST, TEN, facts() | beside) == []


@pytest.mark.parametrize(
    ("match", "hits"),
    [
        ({"after": "10:00"}, [False, True, True]),
        ({"before": "10:00"}, [True, False, False]),
        ({"after": "09:59:30", "before": "10:00:30"}, [False, True, False]),
        ({"after": "2026-11-20T10:00:30+05:30"}, [False, False, True]),
        ({"after": 600}, [False, True, True]),  # how YAML reads an unquoted 10:00
    ],
)
def test_times_aim_at_market_time(match: dict[str, Any], hits: list[bool]) -> None:
    faults = Faults([{"fault": "rate_limit", "match": match, "count": 0}])
    moments = [TEN + timedelta(minutes=minutes) for minutes in (-1, 0, 1)]
    assert [bool(kinds(faults, moment)) for moment in moments] == hits


def test_a_place_only_sees_its_own_faults() -> None:
    faults = Faults([{"fault": "reject"}, {"fault": "rate_limit"}])
    assert kinds(faults, place=ORDER) == ["reject"]
    assert faults.waiting(REQUEST)
    assert not faults.waiting(ORDER)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"fault": "explode"}, "unknown fault 'explode'"),
        ({"fault": "delay", "second": 3}, "unknown key 'second'"),
        ({"fault": "delay", "match": {"path": "/"}}, "match takes"),
        ({"fault": "delay", "match": {"after": "soon"}}, "match.after"),
        ({"fault": "delay", "match": {"after": "2026-11-20T10:00:00"}}, "match.after"),
        ({"fault": "delay", "count": -1}, "whole numbers"),
        ("delay", "expected a mapping"),
    ],
)
def test_a_script_that_cannot_be_meant_is_refused_whole(entry: Any, words: str) -> None:
    faults = Faults()
    with pytest.raises(FaultError, match=words.replace("[", r"\[")):
        faults.add([{"fault": "rate_limit"}, entry])
    assert faults.entries == []


def test_scripts_load_from_yaml_and_json(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text('- {fault: delay, seconds: 9, match: {after: "11:30"}}\n')
    (tmp_path / "b.json").write_text('{"fault": "delay"}')
    (tmp_path / "c.yaml").write_text("- {fault: delya}\n")
    assert load(tmp_path / "a.yaml") == [{"fault": "delay", "seconds": 9, "match": {"after": "11:30"}}]
    assert load(tmp_path / "b.json") == [{"fault": "delay"}]
    with pytest.raises(FaultError, match=r"c\.yaml: fault 1: unknown fault 'delya'"):
        load(tmp_path / "c.yaml")
    with pytest.raises(FaultError, match="cannot read"):
        load(tmp_path / "none.yaml")


def test_every_kind_says_what_it_does() -> None:
    assert all(text and place for place, _, text in KINDS.values())
    assert len(KINDS) >= 20
