"""What a strategy is: typed parameters, callbacks that yield Signals, and a small state that survives a restart.

The life of a Strategy object, as the engine leads it:
1. `start()` once: build the indicators.
2. `bar(...)` with history bars marked `warmup=True`, oldest first. Indicators learn; signals are muted by the engine.
3. `begin(day, saved, opens_at)` at each session's start, and after a restart: it restores what `saved()` gave before, and calls
   `on_session_start` only if that session had not begun yet. What happened earlier today is thus never forgotten or done twice.
4. `bar`, `tick`, `fill` as they happen; after a bar and a fill the engine stores `saved()` in the same commit as the signals that
   came out.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import date, datetime
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, get_type_hints

import msgspec

from core.types import Bar, Fill, Horizon, Instrument, Signal, Tick, View

if TYPE_CHECKING:
    from strategies.frame import Frame, Holds, Trades

LONGEST_SESSION_MINUTES = 900
"""Minutes of the longest session in India (MCX while the US is on winter time); warm-up over this many minutes holds all of today."""


class ParameterError(ValueError):
    """A parameter that a person wrote is wrong. `parameter` is its name, so that the loader can point at the line."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter = parameter


def bounded(default: Any, low: float, high: float) -> Any:
    """A dataclass field whose value must lie in low..high, both ends allowed: `fast: int = bounded(9, 1, 500)`."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of one strategy: a frozen dataclass of int, float, bool and str fields, checked when it is made.

    Override `check` for conditions between fields. (Not `__post_init__`: `super()` does not work in a slotted dataclass.)
    """

    def __post_init__(self) -> None:
        hints = _hints(cast(Any, type(self)))
        for one in fields(self):
            object.__setattr__(self, one.name, _checked(one, hints[one.name], getattr(self, one.name)))
        self.check()

    def check(self) -> None:
        """Raise ParameterError when the fields do not fit together."""

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Self:
        """Make the parameters from a parsed YAML mapping; raises ParameterError naming the parameter."""
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in known:
                nearest = get_close_matches(str(name), known, n=1)
                hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(known) or 'none'}"
                raise ParameterError(str(name), f"no such parameter of {cls.__name__}; {hint}")
        return cls(**values)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    """The declared types of a Params class's fields; a sweep makes thousands of its objects."""
    return get_type_hints(cls)


def _checked(one: "Field[Any]", wanted: type, value: object) -> object:
    """The value of one field in its declared type (an int becomes a float where a float is wanted), or ParameterError."""
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise ParameterError(one.name, f"expected {wanted.__name__}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(one.name, f"expected a finite number, got {value!r}")
    if one.metadata and isinstance(value, int | float) and not one.metadata["low"] <= value <= one.metadata["high"]:
        raise ParameterError(one.name, f"{value!r} is outside {one.metadata['low']}..{one.metadata['high']}")
    return value


class StrategySpec(msgspec.Struct, frozen=True):
    """What a strategy object is told of its configuration. `instruments` are logical names, `interval` is minutes a bar."""

    name: str
    params: Params
    instruments: tuple[str, ...]
    interval: int
    horizon: Horizon = Horizon.INTRADAY


class Strategy:
    """One strategy on one logical instrument (or on several, for a class that says `multi_instrument = True`).

    Subclasses set `params_type`, build indicators in `start`, and write `on_bar` as a generator of Signals. They must not block,
    read a clock, or keep anything that neither history bars nor `state()` can bring back.
    """

    params_type: ClassVar[type[Params]] = Params
    multi_instrument: ClassVar[bool] = False
    legs: ClassVar[int] = 0
    """How many instruments a multi-instrument class must be given; 0: any number. It runs on a day on which it has all of them."""

    by_alert: ClassVar[bool] = False
    """Whether signals from outside (a webhook's alert) are taken as its own."""

    wants_ticks: ClassVar[bool] = False
    """Whether `on_tick` is written; the engine does not call it otherwise. Set by itself."""

    wants_fills: ClassVar[bool] = False
    """The same for `on_fill`."""

    keeps_state: ClassVar[bool] = False
    """Whether `state` is written; without one only the day is stored. Set by itself."""

    params: Any  # an instance of params_type; Any so that subclasses read their own fields

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.wants_ticks = cls.on_tick is not Strategy.on_tick
        cls.wants_fills = cls.on_fill is not Strategy.on_fill
        cls.keeps_state = cls.state is not Strategy.state

    def __init__(self, spec: StrategySpec, logical: str | None = None) -> None:
        """`logical` is the one name this object serves; it must be None for a multi-instrument class and only for that."""
        if self.multi_instrument is not (logical is None):
            wanted = "serves all its instruments at once" if self.multi_instrument else "needs one logical instrument"
            raise ValueError(f"{type(self).__name__} {wanted}, got logical={logical!r}")
        if type(spec.params) is not self.params_type:
            raise ValueError(f"{type(self).__name__} takes {self.params_type.__name__}, got {type(spec.params).__name__}")
        self.spec = spec
        self.name = spec.name
        self.params = spec.params
        self.logical = logical
        self.interval = spec.interval
        self.at: datetime | None = None
        self.day: date | None = None
        self.opens_at: datetime | None = None

    # --- what a strategy writes -----------------------------------------------------------------------------------------------

    @property
    def warmup_bars(self) -> int:
        """How many history bars, at the strategy's own interval, it wants to hear before its first live bar."""
        return 0

    def start(self) -> None:
        """Build the indicators; called once, before anything else."""

    def on_session_start(self, day: date) -> None:
        """A new trading day begins: forget what was true for the last one only."""

    def on_bar(self, bar: Bar, view: View) -> Iterable[Signal]:
        """A bar of the strategy's interval closed (or, with `bar.warmup`, is played from history)."""
        return ()

    def on_tick(self, tick: Tick, view: View) -> Iterable[Signal]:
        """A tick arrived. Writing this costs a call for each tick; most strategies only need bars."""
        return ()

    def on_fill(self, fill: Fill, view: View) -> Iterable[Signal]:
        """An order of this strategy was filled, wholly or in part; `view.position` already holds it."""
        return ()

    def state(self) -> dict[str, Any]:
        """What history bars cannot bring back, as JSON-able values. It is stored after each bar and each fill."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave, after the warm-up bars were played."""

    @classmethod
    def targets(cls, frame: "Frame", params: Any) -> "Holds | Trades | None":
        """What it would say on each bar of a whole frame (strategies/frame.py), for sweeps; None: only bar by bar. It must say exactly
        what `on_bar` says: a sweep runs its best on both. Import NumPy in here, not at the top: trading does without."""
        return None

    # --- what a strategy calls ------------------------------------------------------------------------------------------------

    def signal(
        self,
        instrument: Instrument,
        target: float,
        stop: float | None = None,
        take_profit: float | None = None,
        why: str = "",
        name: str | None = None,
    ) -> Signal:
        """Say what to hold: `target` is a signed multiple of the configured size, 0 is flat.

        `stop` and `take_profit` are prices; they need not lie on the tick. The same target again with another stop moves the
        protection alone; None leaves it as it is. `name` is needed only from a multi-instrument class: the logical name that the
        instrument stands for.
        """
        if self.at is None:
            raise ValueError(f"{self.name}: a signal belongs to an event; yield it from on_bar, on_tick or on_fill")
        key = name if name is not None else self.logical
        if key is None or key not in self.spec.instruments:
            raise ValueError(f"{self.name}: name={key!r} is none of its instruments ({', '.join(self.spec.instruments)})")
        return Signal(self.name, key, instrument, target, self.at, stop, take_profit, why)

    def name_of(self, instrument: Instrument, view: View) -> str | None:
        """The logical name by which `instrument` is one of this strategy's today; None when it is none of them."""
        for name in self.spec.instruments:
            ours = view.resolve(name)
            if ours is not None and ours.key == instrument.key:
                return name
        return None

    def bars_of(self, minutes: int) -> int:
        """How many bars of this strategy's interval cover so many minutes, rounded up."""
        return -(-minutes // self.interval)

    # --- what the engine calls ------------------------------------------------------------------------------------------------

    def bar(self, bar: Bar, view: View) -> Iterable[Signal]:
        """Hand over a bar. The result may be a generator: iterate it before the next call."""
        self.at = bar.at
        return self.on_bar(bar, view)

    def tick(self, tick: Tick, view: View) -> Iterable[Signal]:
        self.at = tick.at
        return self.on_tick(tick, view)

    def fill(self, fill: Fill, view: View) -> Iterable[Signal]:
        self.at = view.now
        return self.on_fill(fill, view)

    def begin(self, day: date, saved: Mapping[str, Any] | None = None, opens_at: datetime | None = None) -> None:
        """Begin or resume the session of `day`. `opens_at` is when its continuous trading starts (None: not known)."""
        self.day, self.opens_at = day, opens_at
        if saved is not None:
            self.restore(saved["state"])
        if saved is None or saved["day"] != day.isoformat():
            self.on_session_start(day)

    def saved(self) -> dict[str, Any]:
        """What `begin` wants to be given after a restart; JSON-able."""
        return {"day": None if self.day is None else self.day.isoformat(), "state": self.state()}
