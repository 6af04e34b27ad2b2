"""The other side of the engine's measure: a bare event loop by hand. Slots objects, a heap, on_bar with two EMAs, next-open fills.

It has no risk, no charges, no order states, no ledger and one instrument; it is what somebody writes in an afternoon, kept honest.
"""

import heapq
from collections.abc import Iterator, Sequence
from datetime import datetime, time

LAST_CALL = time(15, 30)
"""Nothing is decided on the bar that ends the session: there is no next open to fill at."""


class LoopBar:
    __slots__ = ("at", "close", "high", "low", "open", "start", "volume")

    def __init__(self, start: datetime, at: datetime, open_: float, high: float, low: float, close: float, volume: int) -> None:
        self.start = start
        self.at = at
        self.open = open_
        self.high = high
        self.low = low
        self.close = close
        self.volume = volume


class LoopOrder:
    __slots__ = ("at", "quantity")

    def __init__(self, at: datetime, quantity: int) -> None:
        self.at = at
        self.quantity = quantity


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

    def on_bar(self, bar: LoopBar) -> None:
        fast, slow = self._fast.add(bar.close), self._slow.add(bar.close)
        if fast is None or slow is None:
            return
        wanted = self._quantity if fast > slow else 0
        if wanted != self._wanted and bar.at.time() < LAST_CALL:
            self._loop.submit(LoopOrder(bar.at, wanted - self._wanted))
            self._wanted = wanted


Trade = tuple[datetime, int, float]
"""When (the end of the bar it filled in), signed quantity, price."""


class BareLoop:
    """Events leave the heap in time order: a bar first fills what waits at its open, then marks, then speaks to the strategy."""

    def __init__(self, bars: Sequence[LoopBar], fast: int, slow: int, quantity: int) -> None:
        self._bars: Iterator[LoopBar] = iter(bars)
        self._heap: list[tuple[datetime, int, int, LoopBar | LoopOrder]] = []
        self._sequence = 0
        self._waiting: list[LoopOrder] = []
        self._strategy = LoopStrategy(self, fast, slow, quantity)
        self.trades: list[Trade] = []
        self.position = 0
        self.cash = 0.0
        self.equity = self.peak = self.drawdown = 0.0

    def submit(self, order: LoopOrder) -> None:
        self._push(order.at, 1, order)

    def run(self) -> None:
        self._next_bar()
        while self._heap:
            _, _, _, event = heapq.heappop(self._heap)
            if type(event) is LoopBar:
                self._on_bar(event)
                self._next_bar()
            elif type(event) is LoopOrder:
                self._waiting.append(event)

    def _push(self, at: datetime, rank: int, event: LoopBar | LoopOrder) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (at, rank, self._sequence, event))

    def _next_bar(self) -> None:
        bar = next(self._bars, None)
        if bar is not None:
            self._push(bar.at, 0, bar)

    def _on_bar(self, bar: LoopBar) -> None:
        for order in self._waiting:
            self.position += order.quantity
            self.cash -= order.quantity * bar.open
            self.trades.append((bar.at, order.quantity, bar.open))
        self._waiting.clear()
        self.equity = self.cash + self.position * bar.close
        self.peak = max(self.peak, self.equity)
        self.drawdown = max(self.drawdown, self.peak - self.equity)
        self._strategy.on_bar(bar)
