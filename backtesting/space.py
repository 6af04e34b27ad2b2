"""What a sweep tries: the values of each parameter, their combinations, and windows of days for walking forward.

fast=5:20:1,slow=20:60:5      from:to:step, both ends in; whole numbers, or decimals where one is written
mode=trend|fade               one of these words
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod
from typing import Any

import msgspec

from core.errors import ConfigError
from strategies.base import ParameterError, Params

Values = tuple[Any, ...]
MOST_VALUES = 10_000  # of one parameter
_WINDOW = re.compile(r"^train=(\d+),test=(\d+)(?:,gap=(\d+))?$")


class Space(msgspec.Struct, frozen=True):
    """Parameter name -> the values it may take, in order."""

    values: Mapping[str, Values]

    def __len__(self) -> int:
        return prod(len(one) for one in self.values.values())

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination, the last parameter turning fastest."""
        for chosen in product(*self.values.values()):
            yield dict(zip(self.values, chosen, strict=True))

    def sample(self, count: int, seed: int) -> list[dict[str, Any]]:
        """So many different combinations, by chance; all of them where there are no more. The same seed gives the same."""
        total = len(self)
        places = random.Random(seed).sample(range(total), min(count, total))
        return [self._at(place) for place in places]

    def _at(self, place: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, values in reversed(list(self.values.items())):
            place, here = divmod(place, len(values))
            found[name] = values[here]
        return {name: found[name] for name in self.values}


def parse_space(text: str, params: type[Params]) -> Space:
    """The space that `--grid` names, for the parameters of one strategy class; ConfigError says what is wrong where."""
    values: dict[str, Values] = {}
    for part in text.split(","):
        name, equals, given = part.partition("=")
        name = name.strip()
        if not equals or not given:
            raise ConfigError(f"--grid: {part!r} is no parameter with values; write name=from:to:step or name=a|b, with commas between")
        if name in values:
            raise ConfigError(f"--grid: {name} is there twice")
        values[name] = _values(name, given)
    try:
        params.parse({name: one[0] for name, one in values.items()})
    except ParameterError as error:
        if error.parameter in values and "no such parameter" in str(error):
            raise ConfigError(f"--grid: {error}") from error
    return Space(values)


def valid(params: type[Params], base: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    """Why a combination cannot be run (fast above slow, out of range); empty where it can."""
    try:
        params.parse({**base, **chosen})
    except ParameterError as error:
        return str(error)
    return ""


def _values(name: str, text: str) -> Values:
    if ":" not in text:
        return tuple(_word(one.strip()) for one in text.split("|"))
    try:
        start, end, step = (Decimal(one) for one in text.split(":"))
    except (ValueError, InvalidOperation):
        raise ConfigError(f"--grid: {name}={text} is no range; write {name}=from:to:step, such as {name}=5:20:1") from None
    if step <= 0 or end < start:
        raise ConfigError(f"--grid: {name}={text} holds nothing; the step is above 0 and the end not below the start")
    if (end - start) / step >= MOST_VALUES:
        raise ConfigError(f"--grid: {name}={text} has more than {MOST_VALUES} values; take a wider step, or --search optuna")
    whole = all(one == one.to_integral_value() and "." not in text for one in (start, end, step))
    count = int((end - start) / step) + 1
    return tuple(int(start + step * place) if whole else float(start + step * place) for place in range(count))


def _word(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class Window(msgspec.Struct, frozen=True):
    """One step of walking forward: days to choose the parameters on, and later days to see what they are worth."""

    train: tuple[date, ...]
    test: tuple[date, ...]


def parse_windows(text: str, days: Sequence[date]) -> list[Window]:
    """`train=60,test=20,gap=1` in trading days: each step trains on so many, leaves `gap` out (default 1, so that nothing carried over or
    warmed up on a test day was trained on), tests on the next, and moves on by the test's length. ConfigError where the days do not do."""
    match = _WINDOW.match(text.replace(" ", ""))
    if match is None:
        raise ConfigError(f"--walk-forward {text!r}: write train=DAYS,test=DAYS[,gap=DAYS], such as train=60,test=20,gap=1")
    train, test, gap = int(match[1]), int(match[2]), int(match[3] or 1)
    if not train or not test:
        raise ConfigError(f"--walk-forward {text!r}: train and test are at least a day each")
    windows = []
    first = 0
    while first + train + gap < len(days):
        tested = tuple(days[first + train + gap : first + train + gap + test])
        windows.append(Window(tuple(days[first : first + train]), tested))
        first += test
    if not windows:
        raise ConfigError(f"--walk-forward {text!r}: the data has {len(days)} days, one step needs {train + gap + 1} or more")
    return windows
