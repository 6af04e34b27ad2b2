"""The fuzz in short, and a codec that lets a price through that is none. `make fuzz` is the long form."""

import math

import pytest

from core.types import Tick
from tests.builders import NIFTY
from tests.proofs import fuzz


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_no_input_crashes_hangs_or_gives_a_wrong_price(name: str) -> None:
    assert fuzz.fuzz(name, 7, 1_500) == []


@pytest.mark.parametrize("price", [math.nan, math.inf, 1e18])
def test_a_price_that_is_none_is_seen(price: float) -> None:
    assert fuzz._ticks([Tick(NIFTY, fuzz.AT, price)])
