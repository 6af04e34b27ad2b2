"""The intervals of candles: in minutes, as users and Kite write them, and as the candle store names its folders."""

import re

from core.errors import DataError

DAY_MINUTES = 1440
INTERVALS = (1, 3, 5, 10, 15, 30, 60, DAY_MINUTES)
"""What is fetched and kept, in minutes."""
_WORDS = re.compile(r"^(\d*)\s*(m|min|minute|minutes|h|hour|hours|d|day|days)$")
_UNITS = {"m": 1, "h": 60, "d": DAY_MINUTES}


def interval_minutes(text: str | int) -> int:
    """Minutes of `3minute`, `minute`, `60minute`, `day` (Kite's words), `5m`, `1h`, `1d` (ours) or a number; ValueError for another."""
    if isinstance(text, int):
        return text
    match = _WORDS.match(text.strip().lower())
    minutes = int(match[1] or 1) * _UNITS[match[2][0]] if match else 0
    if minutes < 1:
        raise ValueError(f"the interval {text!r} is not known; write it like minute, 3minute, 5m, 1h or day")
    return minutes


def kept_interval(text: str | int) -> int:
    """The minutes of an interval that is fetched and kept; DataError for any other, with those there are."""
    try:
        minutes = interval_minutes(text)
    except ValueError as error:
        raise DataError(str(error)) from error
    if minutes not in INTERVALS:
        words = ", ".join(interval_word(one) for one in INTERVALS)
        raise DataError(f"candles of {text!r} are not kept; there are {words}; make others from the minutes")
    return minutes


def interval_word(minutes: int) -> str:
    """`1m`, `60m`, `day`."""
    return "day" if minutes == DAY_MINUTES else f"{minutes}m"
