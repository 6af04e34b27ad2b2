"""The fuzz in short, and a codec that lets a price through that is none. `make fuzz` is the long form."""

import math
import random

import msgspec
import pytest

from brokers.groww.mapping import order_update
from core.types import Tick
from data_ingestion.tick_filter import NOT_POSITIVE, TickFilter
from tests.builders import NIFTY
from tests.proofs import fuzz, fuzz_targets
from tests.proofs.fuzz_targets import AT, wrong_rows, wrong_ticks
from tests.unit import test_groww_mapping
from tests.wire import groww_house


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_no_input_crashes_hangs_or_gives_a_wrong_price(name: str) -> None:
    assert fuzz.fuzz(name, 7, 1_500) == []


@pytest.mark.parametrize("price", [math.nan, math.inf, 1e18])
def test_a_price_that_is_none_is_seen(price: float) -> None:
    assert wrong_ticks([Tick(NIFTY, AT, price)])


def test_a_quarantine_that_lets_a_negative_volume_pass_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a filter without its look at volume and book."""

    class Lax(TickFilter):
        def admit(self, tick: Tick) -> str:
            return "" if tick.price > 0 else NOT_POSITIVE

    monkeypatch.setattr(fuzz_targets, "TickFilter", Lax)
    assert any("volume" in problem or "bid" in problem for problem in fuzz.fuzz("angelone frames", 7, 3_000))


@pytest.mark.parametrize("name", ["average_price", "limit_price"])
def test_a_row_with_a_price_that_is_none_is_seen(name: str) -> None:
    update = order_update(test_groww_mapping.ROW, AT, "book", groww_house.KNOWN)
    assert not wrong_rows([update])
    assert all(wrong_rows([msgspec.structs.replace(update, **{name: price})]) for price in (math.nan, math.inf, -1.0))


def test_a_reader_that_hangs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a target that never comes back."""

    def endless(chance: random.Random) -> str:
        while True:
            pass

    monkeypatch.setattr(fuzz, "all_targets", lambda: {"endless": endless})
    monkeypatch.setattr(fuzz, "HUNG_S", 0.2)
    [said] = fuzz.fuzz("endless", 7, 1)
    assert "TimeoutError" in said
