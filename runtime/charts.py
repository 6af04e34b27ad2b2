"""The bars that strategies heard, with what their indicators said of each: what a chart shows of a day that runs.

Written on the engine's thread at each closed bar and in warm-ups, read by the control socket's threads. Of an indicator only its stored
`value` is looked at; nothing of a strategy's is called.
"""

import inspect
import math
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MemberDescriptorType
from typing import Any

from core.errors import NiyamError
from core.types import IST, Bar
from execution_engine.runs import Run

MOST_BARS = 1000  # of a series: two days and a half of one-minute bars
MOST_SERIES = 64
_Point = tuple[Bar, dict[str, dict[str, float]]]


class Charts:
    """One series for each (instrument, interval), the latest bars of each; the series that was quiet longest goes first."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, int], dict[datetime, _Point]] = {}  # the one heard last at the end
        self._lock = threading.Lock()

    def heard(self, bar: Bar, runs: Iterable[Run]) -> None:
        """A bar, and the strategies that have heard it."""
        said = {run.strategy.name: found for run in runs if (found := indicators(run.strategy))}
        key = (bar.instrument.key, bar.interval)
        with self._lock:
            points = self._series[key] = self._series.pop(key, {})
            before = points.get(bar.start, (bar, {}))[1]
            points[bar.start] = (bar, {**before, **said})
            while len(points) > MOST_BARS:
                del points[min(points)]
            while len(self._series) > MOST_SERIES:
                del self._series[next(iter(self._series))]

    def document(self, arguments: Mapping[str, Any]) -> Any:
        """With `instrument` and `interval` (minutes) that series, else a line for each there is."""
        with self._lock:
            found = {key: [points[at] for at in sorted(points)] for key, points in self._series.items()}
        key, interval = arguments.get("instrument"), arguments.get("interval")
        if key is None:
            return [_line(name, minutes, points) for (name, minutes), points in sorted(found.items())]
        series = [(minutes, points) for (name, minutes), points in sorted(found.items()) if name == key and interval in (None, minutes)]
        if not series:
            there = ", ".join(f"{name} ({minutes} min)" for name, minutes in sorted(found)) or "none yet: no bar has closed"
            raise NiyamError(f"there is no chart of {key}{'' if interval is None else f' in bars of {interval} min'}; there are {there}")
        minutes, points = series[0]
        named = sorted({(strategy, name) for _, said in points for strategy, values in said.items() for name in values})
        lines: dict[str, dict[str, list[float | None]]] = {}
        for strategy, name in named:
            lines.setdefault(strategy, {})[name] = [said.get(strategy, {}).get(name) for _, said in points]
        return {"instrument": key, "interval": minutes, "bars": [_row(bar) for bar, _ in points], "indicators": lines}


def indicators(strategy: object) -> dict[str, float]:
    """What a strategy's indicators say now: `fast`, or `bands.upper` where one says several things. A property is not asked."""
    found: dict[str, float] = {}
    for name, one in vars(strategy).items():
        if name.startswith("_") or not callable(getattr(type(one), "add", None)):
            continue
        held = inspect.getattr_static(one, "value", None)
        value: Any = getattr(one, "value", None) if isinstance(held, MemberDescriptorType) else held
        parts = value._asdict() if isinstance(value, tuple) and hasattr(value, "_asdict") else {"": value}
        for part, number in parts.items():
            if type(number) is float and math.isfinite(number):
                found[f"{name}.{part}" if part else name] = round(number, 4)
    return found


def _line(key: str, minutes: int, points: list[_Point]) -> dict[str, Any]:
    strategies = sorted({strategy for _, said in points for strategy in said})
    return {"instrument": key, "interval": minutes, "bars": len(points), "last_at": _iso(points[-1][0].at), "strategies": strategies}


def _row(bar: Bar) -> list[Any]:
    """[start, open, high, low, close, volume, whether ticks of it were missed]."""
    return [_iso(bar.start), bar.open, bar.high, bar.low, bar.close, bar.volume, bar.gap]


def _iso(at: datetime) -> str:
    return at.astimezone(IST).isoformat()
