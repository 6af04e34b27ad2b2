"""Prices from one broker for orders at another: contracts are joined by what they are, and what does not join says why."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError
from core.types import Bar, Instrument
from data_ingestion.instruments import InstrumentSnapshot, InstrumentStore
from data_ingestion.joined import Join, joined
from tests.unit.test_instruments import DAY, NOW, Source, Spec, dump, rows
from utils.config_loader import load_calendar

ANOTHER_NAME = "260098,1016,NIFTYNOVFUT,NIFTY,0,2026-11-23,0,0.1,65,FUT,NFO-FUT,NFO"


class Prices:
    """A broker's data that notes what it was asked for, by its own names."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def instruments(self) -> bytes:
        return b""

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        self.asked.append(instrument.key)
        return [Bar(instrument, NOW, NOW, interval, 1.0, 2.0, 0.5, 1.5, 10)]

    def last_prices(self, instruments: Sequence[Instrument]) -> dict[str, float]:
        self.asked += [one.key for one in instruments]
        return {one.key: 25_000.0 for one in instruments}

    def profile(self) -> dict[str, Any]:
        return {}


class Limits(Prices):
    def circuits(self, instruments: Sequence[Instrument]) -> dict[str, tuple[float, float]]:
        return {one.key: (1.0, 2.0) for one in instruments}


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstrumentSnapshot]:
    made = snapshot(tmp_path_factory.mktemp("orders"), rows())
    yield made
    made.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstrumentSnapshot]:
    """The other broker's list: another name and token for the near future, another lot for a bank's, a share that is not there."""
    lines = [row for row in rows(drop=("NIFTY26NOVFUT", "HDFCBANK")) if "BANKNIFTY26NOVFUT" not in row]
    lines += [ANOTHER_NAME, "520098,2031,BANKNIFTY26NOVFUT,BANKNIFTY,0,2026-11-23,0,0.1,35,FUT,NFO-FUT,NFO"]
    made = snapshot(tmp_path_factory.mktemp("data"), lines)
    yield made
    made.close()


def snapshot(folder: Path, lines: Sequence[str]) -> InstrumentSnapshot:
    return InstrumentStore(folder, load_calendar()).update(Source(dump(lines)), Spec(), DAY, NOW).snapshot


def named(list_: InstrumentSnapshot, key: str) -> Instrument:
    found = list_.by_key(key)
    assert found is not None
    return found


def test_a_contract_of_another_name_and_token_is_the_same_contract(orders: InstrumentSnapshot, data: InstrumentSnapshot) -> None:
    join, ours = Join(orders, data, "Upstox"), named(orders, "NFO:NIFTY26NOVFUT")
    assert data.by_key(ours.key) is None, "the other list has no such name"
    assert data.token(join.theirs(ours)) == 260098 != orders.token(ours)
    assert join.ours(named(data, "NFO:NIFTYNOVFUT")) == ours, "a tick comes back as the contract that orders are sent for"


def test_what_does_not_join_says_why(orders: InstrumentSnapshot, data: InstrumentSnapshot) -> None:
    join = Join(orders, data, "Upstox")
    with pytest.raises(DataError, match="NSE:HDFCBANK is not in the instruments of Upstox, where this account's prices come from"):
        join.theirs(named(orders, "NSE:HDFCBANK"))
    with pytest.raises(DataError, match="a lot of 30 where orders go and of 35 at Upstox"):
        join.theirs(named(orders, "NFO:BANKNIFTY26NOVFUT"))


def test_data_is_asked_for_by_its_own_names_and_answers_in_ours(orders: InstrumentSnapshot, data: InstrumentSnapshot) -> None:
    source, join = Prices(), Join(orders, data, "Upstox")
    ours, share, absent = (named(orders, key) for key in ("NFO:NIFTY26NOVFUT", "NSE:RELIANCE", "NSE:HDFCBANK"))
    asked = joined(source, lambda: join)
    [bar] = asked.candles(ours, NOW, NOW, 5)
    assert (bar.instrument, source.asked) == (ours, ["NFO:NIFTYNOVFUT"])
    assert asked.last_prices([ours, share, absent]) == {ours.key: 25_000.0, share.key: 25_000.0}, "what is not known is absent"
    with pytest.raises(DataError, match="NSE:HDFCBANK is not in"):
        asked.candles(absent, NOW, NOW, 5)
    assert not hasattr(asked, "circuits"), "a broker that tells no limits has none"
    limits = joined(Limits(), lambda: join)
    assert limits.circuits([ours, absent]) == {ours.key: (1.0, 2.0)}  # type: ignore[attr-defined]
