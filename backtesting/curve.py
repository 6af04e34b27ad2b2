"""The account's worth by time, sixteen bytes a point: a run of ten million bars has hundreds of thousands of them."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import overload

from core.types import IST

Point = tuple[datetime, float]
_EPOCH = datetime(1970, 1, 1, tzinfo=IST)
_STEP = timedelta(microseconds=1)


class Curve(Sequence[Point]):
    """(moment, rupees) in order of time; moments come back in IST."""

    def __init__(self) -> None:
        self._at = array("q")
        self._worth = array("d")

    def extend(self, points: Iterable[Point]) -> None:
        for at, worth in points:
            self._at.append((at - _EPOCH) // _STEP)
            self._worth.append(worth)

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Point]:
        return ((_EPOCH + timedelta(microseconds=at), worth) for at, worth in zip(self._at, self._worth, strict=True))

    @overload
    def __getitem__(self, place: int) -> Point: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Point]: ...
    def __getitem__(self, place: int | slice) -> Point | Sequence[Point]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        return _EPOCH + timedelta(microseconds=self._at[place]), self._worth[place]
