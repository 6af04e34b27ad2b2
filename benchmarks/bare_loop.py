"""The other side of the engine's measure: an event loop by hand. Slots objects, a heap, on_bar with two EMAs, next-open fills.

Its shape, neither stripped nor slowed: each bar is a slots object made from the columns inside the run, as a feed would make it; bars
and orders go through one heap ordered by (time, kind, number); an order waits for the next bar of its instrument and fills at its open;
a fill is an object that moves cash and position and is told to the strategy; each bar marks the account's equity, peak and drawdown. It
has no risk, no charges, no order states, no ledger and no days: what somebody writes in an afternoon. Times are the same aware datetimes
that the engine sees.
"""

import heapq
from collections.abc import Mapping
from datetime import datetime, time

import msgspec

LAST_CALL = time(15, 30)
"""Nothing is decided on the bar that ends the session: there is no next open to fill at."""

BAR, ORDER = 0, 1
"""Kinds of events; those of one moment are taken in this order."""


class Columns(msgspec.Struct):
    """One instrument's bars as a file's reader holds them: both sides of the measure make their own objects of them."""

    start: list[datetime]
    at: list[datetime]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[int]


class LoopBar:
    __slots__ = ("at", "close", "high", "low", "name", "open", "start", "volume")

    def __init__(self, name: str, start: datetime, at: datetime, open_: float, high: float, low: float, close: float, volume: int) -> None:
        self.name = name
        self.start = start
        self.at = at
        self.open = open_
        self.high = high
        self.low = low
        self.close = close
        self.volume = volume


class LoopOrder:
    __slots__ = ("at", "name", "quantity")

    def __init__(self, name: str, at: datetime, quantity: int) -> None:
        self.name = name
        self.at = at
        self.quantity = quantity


class LoopFill:
    __slots__ = ("at", "name", "price", "quantity")

    def __init__(self, name: str, at: datetime, quantity: int, price: float) -> None:
        self.name = name
        self.at = at
        self.quantity = quantity
        self.price = price


Event = LoopBar | LoopOrder


class LoopEma:
    __slots__ = ("_alpha", "_count", "_length", "_sum", "value")

    def __init__(self, length: int) -> None:
        self._length = length
        self._alpha = 2.0 / (length + 1)
        self._count = 0
        self._sum = 0.0
        self.value: float | None = None

    def add(self, price: float) -> float | None:
        if self.value is not None:
            self.value += self._alpha * (price - self.value)
        else:
            self._count += 1
            self._sum += price
            if self._count == self._length:
                self.value = self._sum / self._length
        return self.value


class LoopStrategy:
    """Long while the fast average is above the slow one, else flat."""

    def __init__(self, loop: "BareLoop", fast: int, slow: int, quantity: int) -> None:
        self._loop = loop
        self._fast, self._slow = LoopEma(fast), LoopEma(slow)
        self._quantity = quantity
        self._wanted = 0
        self.held = 0

    def on_bar(self, bar: LoopBar) -> None:
        fast, slow = self._fast.add(bar.close), self._slow.add(bar.close)
        if fast is None or slow is None:
            return
        wanted = self._quantity if fast > slow else 0
        if wanted != self._wanted and bar.at.time() < LAST_CALL:
            self._loop.submit(LoopOrder(bar.name, bar.at, wanted - self._wanted))
            self._wanted = wanted

    def on_fill(self, fill: LoopFill) -> None:
        self.held += fill.quantity


class _Stream:
    """The bars of one instrument that are still to come, and its strategy, order, position and last price."""

    __slots__ = ("columns", "length", "name", "next", "position", "price", "strategy", "waiting")

    def __init__(self, name: str, columns: Columns, strategy: LoopStrategy) -> None:
        self.name = name
        self.columns = columns
        self.length = len(columns.at)
        self.next = 0
        self.strategy = strategy
        self.waiting: list[LoopOrder] = []
        self.position = 0
        self.price = 0.0


class BareLoop:
    """Events leave the heap in time order: a bar fills what waits at its open, then marks, then speaks to its strategy."""

    def __init__(self, columns: Mapping[str, Columns], fast: int, slow: int, quantity: int) -> None:
        self._heap: list[tuple[datetime, int, int, Event]] = []
        self._sequence = 0
        self._streams = {name: _Stream(name, of, LoopStrategy(self, fast, slow, quantity)) for name, of in sorted(columns.items())}
        self.fills: list[LoopFill] = []
        self.cash = self.worth = 0.0
        self.equity = self.peak = self.drawdown = 0.0

    def submit(self, order: LoopOrder) -> None:
        self._push(order.at, ORDER, order)

    def run(self) -> None:
        heap, pop = self._heap, heapq.heappop
        for stream in self._streams.values():
            self._next_bar(stream)
        while heap:
            event = pop(heap)[3]
            if type(event) is LoopBar:
                stream = self._streams[event.name]
                self._on_bar(stream, event)
                self._next_bar(stream)
            elif type(event) is LoopOrder:
                self._streams[event.name].waiting.append(event)

    def _push(self, at: datetime, kind: int, event: Event) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (at, kind, self._sequence, event))

    def _next_bar(self, stream: _Stream) -> None:
        number, of = stream.next, stream.columns
        if number < stream.length:
            stream.next = number + 1
            bar = LoopBar(
                stream.name, of.start[number], of.at[number], of.open[number], of.high[number], of.low[number], of.close[number],
                of.volume[number],
            )  # fmt: skip
            self._push(bar.at, BAR, bar)

    def _on_bar(self, stream: _Stream, bar: LoopBar) -> None:
        if stream.waiting:
            for order in stream.waiting:
                self._fill(stream, LoopFill(bar.name, bar.start, order.quantity, bar.open))
            stream.waiting.clear()
        self.worth += stream.position * (bar.close - stream.price)
        stream.price = bar.close
        self.equity = self.cash + self.worth
        self.peak = max(self.peak, self.equity)
        self.drawdown = max(self.drawdown, self.peak - self.equity)
        stream.strategy.on_bar(bar)

    def _fill(self, stream: _Stream, fill: LoopFill) -> None:
        self.fills.append(fill)
        self.cash -= fill.quantity * fill.price
        self.worth += fill.quantity * stream.price
        stream.position += fill.quantity
        stream.strategy.on_fill(fill)
