"""A simulator whose time stands still until it is moved: no call of a script is too fast or too slow for it."""

import time
from collections.abc import Callable
from typing import Any

from tests.wire.granted_client import admin

STEP = 0.5  # market seconds between two looks
LOOKS = 600


def move(about: dict[str, Any], seconds: float) -> None:
    """Let so much market time pass."""
    admin(about, "POST", "/move", {"seconds": seconds})


def until(about: dict[str, Any], ready: Callable[[], Any], what: str, step: float = STEP) -> None:
    """Let market time pass, a little at a time, until what the simulator sends has had its effect here; `step` 0: it stands still."""
    for _ in range(LOOKS if step else 10 * LOOKS):
        if ready():
            return
        if step:
            move(about, step)
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come in {LOOKS} looks, {step:g} s of the market each")
