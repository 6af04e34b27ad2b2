"""A signal from outside: taken as the strategy's own, by a strategy that asks for such alone; gate, protection and window hold."""

from pathlib import Path

import pytest

from core.types import OrderState, Purpose, Side
from tests.floor import TREND, Floor
from tests.harness import FUTURE, SHARE

ALERTS = """\
class: outside_alerts
instruments: [NIFTY_FUT]
interval: 1m
params: {}
size: {lots: 1}
horizon: intraday
window: {entry_from: "09:20"}
risk: {max_loss: 100000, stop_pct: 2.0}
enabled: true
"""


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    made = Floor(tmp_path, {"alerts": ALERTS, "trend": TREND})
    made.instrument = FUTURE
    return made


def ask(floor: Floor, **given: object) -> tuple[bool, str]:
    floor.command("signal", **{"strategy": "alerts", "name": "NIFTY_FUT", "target": 1, **given})
    _, ok, text, _ = floor.answers[-1]
    return ok, text


def test_an_alert_enters_is_protected_and_leaves(floor: Floor) -> None:
    floor.until(10, 3)
    assert floor.executor.placed == [], "it decides nothing by itself"
    ok, text = ask(floor, why="tradingview")
    assert (ok, "target 1 is taken" in text) == (True, True)
    [order] = floor.executor.placed
    assert (order.strategy, order.side, order.quantity, order.purpose) == ("alerts", Side.BUY, 65, Purpose.ENTRY)
    floor.complete_(order)
    held = floor.engine.targets.get("alerts", "NIFTY_FUT")
    assert held is not None
    assert held.stop is not None, "the file's stop_pct protects it"
    ask(floor, target=1)
    assert len(floor.executor.placed) == 1, "a target acts when it changes"
    ask(floor, target=0)
    assert [(one.side, one.purpose) for one in floor.executor.placed[1:]] == [(Side.SELL, Purpose.EXIT)]
    floor.complete_(floor.executor.placed[1])
    floor.command("pause")
    ask(floor, target=-1)
    assert len(floor.executor.placed) == 2, "the gate judges it as any other"
    assert "signal" in {entry["name"] for entry in floor.journal("command")}
    assert all(order.state is OrderState.FILLED for order in floor.engine.desk.all())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategy": "trend"}, "decides by itself"),
        ({"strategy": "nobody"}, "takes no signal"),
        ({"name": "RELIANCE"}, "takes no signal for RELIANCE"),
        ({"target": None}, "is no number"),
        ({"target": float("nan")}, "is no number"),
        ({"target": "1"}, "is no number"),
        ({"stop": -1.0}, "is no price"),
        ({"take_profit": "x"}, "is no price"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_sent(floor: Floor, given: dict[str, object], said: str) -> None:
    floor.until(10, 2)
    ok, text = ask(floor, **given)
    assert (ok, said in text) == (False, True), text
    assert floor.executor.placed == []
    assert floor.portfolio.position("alerts", SHARE) == 0
