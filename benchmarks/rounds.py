"""Interleaved rounds: both sides of a comparison take turns, so that what else the machine does falls on both; medians are compared."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from time import process_time

import msgspec

Figure = Callable[[], float]
"""Runs once and returns its figure: seconds, bars a second, bytes, whatever the measure counts."""


class Line(msgspec.Struct, frozen=True):
    """One measure as it is shown. `ratio` is what `goal` and `stretch` speak of; `higher` says which way is better."""

    name: str
    unit: str
    ours: float
    theirs: float | None
    against: str
    ratio: float | None
    goal: float | None
    higher: bool
    stretch: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none. What has no other side is compared with the goal itself."""
        if self.goal is None:
            return None
        value = self.ratio if self.ratio is not None else self.ours
        return value >= self.goal if self.higher else value <= self.goal


def interleaved(sides: Mapping[str, Figure], rounds: int) -> dict[str, list[float]]:
    """Each side's figures; in each round the sides run one after the other, every second round in the other order."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        order = sorted(sides, reverse=number % 2 == 1)
        for name in order:
            gc.collect()
            figures[name].append(sides[name]())
    return figures


def paired(ours: list[float], theirs: list[float]) -> float:
    """The median over the rounds of ours / theirs, each ratio taken within one round."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def line(
    name: str,
    unit: str,
    ours: list[float],
    theirs: list[float],
    against: str,
    *,
    goal: float | None,
    higher: bool,
    stretch: float | None = None,
    note: str = "",
) -> Line:
    """A Line of two sides' rounds."""
    return Line(name, unit, median(ours), median(theirs), against, paired(ours, theirs), goal, higher, stretch, note)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """The collector off for a while, for both sides alike."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def rate(run: Callable[[], object], units: int) -> Figure:
    """Units a second of the processor's time, where `run` does `units` of them and is repeated until 12,000 are done.

    Not of the wall's time: what else the machine does meanwhile would be counted against the side that happens to be measured.
    """
    times = max(3, 12_000 // units)

    def figure() -> float:
        with without_garbage_collection():
            began = process_time()
            for _ in range(times):
                run()
            return times * units / (process_time() - began)

    return figure
