"""The wired house: what the settings say reaches the parts, and whatever of the feed is not used is told in `status`."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brokers.spec import Endpoints
from core.clock import SystemClock
from core.events import FeedStatus, PriceLimits
from core.types import Tick
from data_ingestion.tick_filter import OUTSIDE_CIRCUIT
from execution_engine import snapshots
from execution_engine.price_ladder import Ladder
from runtime import state_folder, tables, wiring
from runtime.inbox import CAPACITY, Inbox, SystemPump
from runtime.notifier import Notifier
from tests.builders import NIFTY, RELIANCE
from utils import config_loader


class Keys:
    """A simulator's credentials."""

    def get_secret(self, name: str) -> str:
        return "practice"


def house_of(tmp_path: Path, **orders: Any) -> wiring.House:
    config = config_loader.load()
    settings = config.settings.model_copy(update={"orders": config.settings.orders.model_copy(update=orders)})
    config = msgspec.structs.replace(config, settings=settings)
    clock, inbox = SystemClock(), Inbox()
    house, _ = wiring.build(
        account=wiring.account_of(config, "practice", None),
        config=config,
        run=state_folder.account_folder(tmp_path, "practice"),
        clock=clock,
        inbox=inbox,
        pump=SystemPump(inbox, clock),
        credentials=Keys(),
        endpoints=Endpoints("http://127.0.0.1:1", "ws://127.0.0.1:1", "http://127.0.0.1:1"),
        ledger_url=f"sqlite:///{tmp_path / 'ledger.sqlite'}",
        notifier=Notifier([]),
        answer=lambda identity, ok, text, data: None,
    )
    return house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[wiring.House]:
    made = house_of(tmp_path)
    yield made
    made.store.close()
    made.audit.close()


def test_the_price_ladder_is_the_settings(tmp_path: Path) -> None:
    house = house_of(tmp_path, cap_pct=0.5, steps=2, step_s=1.5)
    assert house.engine.price_ladder.settings == Ladder(0.5, 2, 1.5, 0.5)
    house.store.close()


def test_what_of_the_feed_is_not_used_is_counted_in_status(house: wiring.House) -> None:
    now, engine = house.clock.now(), house.engine
    engine.process(FeedStatus(now, connected=True))
    engine.process(Tick(RELIANCE, now, 0.0))
    engine.process(Tick(RELIANCE, now, 1400.0, exchange_at=now + timedelta(minutes=5)))
    house.inbox.put([Tick(NIFTY, now, 25000.0)] * (CAPACITY + 1), "practice/feed")
    feed: Any = snapshots.build(engine, []).status["feed"]
    assert feed["counts"] == {
        "wire": {},
        "quarantined": {"price not positive": 1, "exchange time ahead of our clock": 1},
        "late_ticks": 0,
        "outside_session": 0,
        "dropped_ticks": CAPACITY + 1,
    }
    assert feed["texts"] == []


def test_the_counts_of_the_days_connection_are_in_it(house: wiring.House) -> None:
    house.feed = house.make_feed()
    assert house.losses()["counts"]["wire"] == {}
    assert house.feed.texts == ()


def test_the_status_table_names_what_was_lost_and_is_silent_otherwise(capsys: pytest.CaptureFixture[str], house: wiring.House) -> None:
    tables.show("status", snapshots.build(house.engine, []).status)
    assert "left out" not in capsys.readouterr().out
    house.engine.process(Tick(RELIANCE, house.clock.now(), 0.0))
    tables.show("status", snapshots.build(house.engine, []).status)
    assert "1 price not positive" in capsys.readouterr().out


def test_a_price_beyond_the_days_circuit_limits_is_believed_by_nobody(house: wiring.House) -> None:
    now, engine = house.clock.now(), house.engine
    engine.process(PriceLimits(now, {RELIANCE.key: (1350.0, 1450.0)}))
    engine.process(Tick(RELIANCE, now, 1451.0))
    assert engine.world.last_price(RELIANCE) is None
    assert dict(house.tick_filter.counts) == {OUTSIDE_CIRCUIT: 1}
    engine.process(PriceLimits(now, {RELIANCE.key: (1350.0, 1500.0)}))  # widened: asked for again at once
    engine.process(Tick(RELIANCE, now, 1451.0))
    assert engine.world.last_price(RELIANCE) == 1451.0
