"""What may enter: impossible ticks are quarantined and counted, and the age of every price is known."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from core.types import Instrument, Tick


class Limits(msgspec.Struct, frozen=True):
    """Bands are fractions. `skew` and session times in seconds. `confirm` = agreeing ticks after which a far price is believed."""

    close_band: float = 0.25
    jump_band: float = 0.10
    option_factor: float = 10.0
    skew: float = 10.0
    confirm: int = 3


class TickFilter:
    """Admits ticks, remembers the last admitted one of each instrument, counts the rest by reason."""

    counts: dict[str, int]

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008
        raise NotImplementedError

    def admit(self, tick: Tick) -> str:
        """Empty when the tick may enter, else the reason for its quarantine (also counted)."""
        raise NotImplementedError

    def unknown_token(self, token: int) -> None:
        raise NotImplementedError

    def last(self, instrument: Instrument) -> Tick | None:
        raise NotImplementedError

    def age(self, instrument: Instrument, now: datetime) -> float | None:
        """Seconds since the last admitted tick was made (exchange time where it has one, else receive time); None: never seen."""
        raise NotImplementedError

    def receive_age(self, instrument: Instrument, now: datetime) -> float | None:
        raise NotImplementedError

    def feed_age(self, now: datetime) -> float | None:
        """Seconds since any tick was admitted."""
        raise NotImplementedError

    def stale(self, limits: Mapping[str, float], now: datetime) -> list[str]:
        """Of {instrument key: seconds}, the keys whose last tick is older than that or was never seen."""
        raise NotImplementedError
