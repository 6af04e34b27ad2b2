"""What bad candle data looks like, as functions of whole columns: foreign levels, spikes, bars labelled with their end."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_NEIGHBOURS = 5  # bars on each side, for spikes; days on each side, for levels
_LEVEL = 0.30
"""Share by which a level must leave the one beside it to be another instrument's. No index of India has moved so far in a day."""


def end_labelled(at: Ints, opens: int, closes: int, step: int) -> bool:
    """Whether a day's bars (microseconds) look labelled with their end: none at the open, one after it, one at the close."""
    return bool(opens not in at and opens + step in at and closes in at)


def foreign_levels(levels: Floats) -> npt.NDArray[np.bool_]:
    """Which of a row of daily levels are far from those of the days before and of the days after, while these two agree.

    A level that stays (a crash, a split) is none; of the first and the last day nothing can be said.
    """
    wrong = np.zeros(len(levels), np.bool_)
    for index in range(1, len(levels) - 1):
        before = float(np.median(levels[max(0, index - _NEIGHBOURS) : index]))
        after = float(np.median(levels[index + 1 : index + 1 + _NEIGHBOURS]))
        wrong[index] = far(after, before) <= _LEVEL < min(far(levels[index], before), far(levels[index], after))
    return wrong


def far(one: float, other: float) -> float:
    """How far two prices are apart, as a share of the smaller."""
    return max(one, other) / min(one, other) - 1


def jumps(opens: Floats, closes: Floats) -> Ints:
    """Bars of one day that open far from the close before them."""
    ratio = opens[1:] / closes[:-1]
    found: Ints = np.flatnonzero(np.maximum(ratio, 1 / ratio) - 1 > _LEVEL) + 1
    return found


def spikes(values: dict[str, Floats], limit: float) -> list[tuple[int, float]]:
    """(index, share) of bars that leave the median close of their ten neighbours by more than `limit`, and by ten times the usual step."""
    close = values["close"]
    size = len(close)
    if size < 2 * _NEIGHBOURS + 1:
        return []
    padded = np.pad(close, _NEIGHBOURS, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURS + 1), axis=1)
    apart = np.stack([values[name] / middle - 1 for name in ("high", "low", "close")])
    widest = apart[np.argmax(np.abs(apart), axis=0), np.arange(size)]
    usual = float(np.median(np.abs(np.diff(close) / close[:-1])))
    return [(int(index), float(widest[index])) for index in np.flatnonzero(np.abs(widest) > max(limit, 10 * usual))]
