"""Is a result too good because of how it was made? Two checks of a strategy on its own data.

1. Look-ahead: the run is made again on data that ends earlier. What was said up to that end must be what the whole run had said by then:
   time, instrument, target, stops and reasons. A strategy that looks at what comes says something else. What it reads by itself (a file, a
   table of day candles) ends no earlier for that, so that its class is looked at too: `reads` names what it could read by.
2. Warm-up: the run is made again on data that begins later, without any history before. `bars` is after how many bars of the strategy
   its signals are those of the whole run for good. What holds for ever (a state that never forgets) never settles. Then once more from the
   same day with the history that the strategy asks for: `enough` says whether its signals are those of the whole run from the first on. (A
   trade that only one of two runs entered sets them apart until it ends, often to the day's end: `bars` may be more than what is needed.)
3. Where nothing is said, nothing is checked.
"""

import ast
import inspect
from collections.abc import Callable, Collection, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from backtesting.market import BacktestMarket
from backtesting.run import Backtest
from core.errors import DataError
from core.types import Bar, Instrument, Tick
from data_ingestion.logical_names import PriceOf
from strategies import registry
from strategies.base import Strategy

Make = Callable[[BacktestMarket], Backtest]
"""Makes the run on a market: whole, or a part of it."""
Tell = Callable[[int, int], None]
"""Is told how many of how many runs are done."""
SETTLED = 0.9
"""A start whose last different signal lies in the last tenth of the data has not settled: too little follows to tell."""

COMPUTES = frozenset({
    *("core", "strategies", "__future__", "abc", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "functools", "heapq", "itertools", "math", "msgspec", "numbers", "numpy", "operator", "random", "statistics", "typing"),
})  # fmt: skip
"""Modules by which nothing can be read but what a strategy is given."""
READS = frozenset({"open", "__import__", "exec", "eval", "compile"})


class Part:
    """A market that begins with a day and ends at a moment; in everything else the market it is part of."""

    def __init__(self, market: BacktestMarket, *, first: date | None = None, until: datetime | None = None) -> None:
        self._market = market
        self._until = until
        days = [day for day in market.days if (first is None or day >= first) and (until is None or day <= until.date())]
        self.days = tuple(days)
        self.manifest = market.manifest
        self.interval = market.interval
        self.label = market.label
        self.calendar = market.calendar

    def events(self, day: date, keys: Collection[str] | None = None) -> Sequence[Bar] | Sequence[Tick]:
        until = self._until
        events = self._market.events(day, keys) if day in self.days else []
        return events if until is None else [event for event in events if event.at <= until]  # type: ignore[return-value]  # one kind

    def listed(self, day: date) -> dict[str, Instrument]:
        return self._market.listed(day)

    def resolve(self, name: str, on: date, price: PriceOf) -> Instrument:
        return self._market.resolve(name, on, price)

    def last_price(self, key: str, before: date) -> float:
        return self._market.last_price(key, before)

    def bars_of(self, key: str, day: date) -> list[Bar]:
        bars = self._market.bars_of(key, day) if day in self.days else []
        return bars if self._until is None else [bar for bar in bars if bar.at <= self._until]

    def candles(self, instrument: Instrument, start: datetime, end: datetime, interval: int, *, continuous: bool = False) -> list[Bar]:
        bars = self._market.candles(instrument, start, end, interval)
        return [bar for bar in bars if bar.start.date() in self.days and (self._until is None or bar.at <= self._until)]


class Said(msgspec.Struct, frozen=True, order=True):
    """One signal as it was journalled."""

    at: datetime
    strategy: str
    name: str
    instrument: str
    target: float
    stop: float | None = None
    take_profit: float | None = None
    why: str = ""

    @property
    def core(self) -> tuple[datetime, str, str, float]:
        return self.at, self.strategy, self.name, self.target


def signals_of(make: Make, market: BacktestMarket, days: Sequence[date]) -> list[Said]:
    """All that the strategies said in a run."""
    backtest = make(market)
    backtest.run(days)
    return [
        Said(at, data["strategy"], data["name"], data["instrument"], data["target"], data["stop"], data["take_profit"], data["why"])
        for at, kind, data in backtest.store.since(0)
        if kind == "signal"
    ]


def lookahead(make: Make, market: BacktestMarket, days: Sequence[date], samples: int, tell: Tell = lambda done, of: None) -> dict[str, Any]:
    """Check 1 at so many ends, spread over the data; `first` is the first signal that was another."""
    whole = signals_of(make, market, days)
    tell(1, samples + 1)
    rows: list[dict[str, Any]] = []
    first: dict[str, Any] | None = None
    for number, until in enumerate(_ends(market, days, samples)):
        part: Any = Part(market, until=until)
        inside = [day for day in days if day in part.days]
        said = [one for one in signals_of(make, part, inside) if one.at <= until]
        known = [one for one in whole if one.at <= until]
        rows.append({"until": until.isoformat(), "signals": len(known), "same": said == known})
        if said != known and first is None:
            first = _first(known, said) | {"until": until.isoformat()}
        tell(number + 2, samples + 1)
    reads = {one.class_: could_read for one in make(market).settings.values() if (could_read := reads_by(registry.get(one.class_)))}
    return {
        "check": "lookahead",
        "ok": first is None and bool(whole),
        "signals": len(whole),
        "samples": rows,
        "first": first,
        "reads": reads,
    }


def reads_by(strategy: type[Strategy]) -> list[str]:
    """What the modules of a strategy's class import or call that could read files or the network, by name; none where they only compute."""
    found: set[str] = set()
    for module in {inspect.getmodule(cls) for cls in strategy.__mro__ if issubclass(cls, Strategy) and cls is not Strategy} - {None}:
        assert module is not None
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Import):
                found |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READS:
                found.add(f"{node.func.id}()")
    return sorted(one for one in found if one.partition(".")[0] not in COMPUTES)


def warmup(make: Make, market: BacktestMarket, days: Sequence[date], samples: int, tell: Tell = lambda done, of: None) -> dict[str, Any]:
    """Check 2 for so many later starts; `needed` is the most bars of them without history, None where one never settles."""
    if len(days) < 2:
        raise DataError("a warm-up can only be looked at on data of two days or more")
    whole = signals_of(make, market, days)
    tell(1, samples + 1)
    rows: list[dict[str, Any]] = []
    intervals = {one.interval for one in make(market).settings.values()}
    last = max(event.at for event in market.events(days[-1]))
    for number in range(samples):
        first = days[max(1, len(days) * (number + 1) // (2 * samples + 1))]
        after = [day for day in days if day >= first]
        part: Any = Part(market, first=first)
        said = {one.core for one in signals_of(make, part, after)}
        known = {one.core for one in whole if one.at.date() >= first}
        apart = max((core[0] for core in said ^ known), default=None)
        begins = min(event.at for event in market.events(first))
        settled = apart is None or (apart - begins) < SETTLED * (last - begins)
        bars = 0 if apart is None else _bars(market, after, apart, max(intervals))
        enough = known == {one.core for one in signals_of(make, market, after)}
        rows.append({"from": first.isoformat(), "bars": bars if settled else None, "enough": enough})
        tell(number + 2, samples + 1)
    counts = [row["bars"] for row in rows]
    return {
        "check": "warmup",
        "ok": bool(whole) and all(row["enough"] for row in rows),
        "signals": len(whole),
        "needed": None if None in counts else max(counts),
        "declared": next((asked for day in days if (asked := _declared(make(market), day))), {}),
        "samples": rows,
    }


def _ends(market: BacktestMarket, days: Sequence[date], samples: int) -> list[datetime]:
    """Moments inside the data at which something ended: at another place of each day, never the last moment of all."""
    chosen = []
    for number in range(samples):
        day = days[min(len(days) - 1, len(days) * (number + 1) // (samples + 1))]
        moments = sorted({event.at for event in market.events(day)})
        chosen.append(moments[min(len(moments) - 2, len(moments) * (2 * number + 1) // (2 * samples))])
    return sorted(set(chosen))


def _first(known: Sequence[Said], said: Sequence[Said]) -> dict[str, Any]:
    for one, other in zip(known, said, strict=False):
        if one != other:
            return {"whole": msgspec.to_builtins(one), "prefix": msgspec.to_builtins(other)}
    longer, place = (known, len(said)) if len(known) > len(said) else (said, len(known))
    one = msgspec.to_builtins(longer[place])
    return {"whole": one, "prefix": None} if longer is known else {"whole": None, "prefix": one}


def _bars(market: BacktestMarket, days: Sequence[date], until: datetime, interval: int) -> int:
    """How many bars of that many minutes closed from the first of the days to `until`."""
    count = 0.0
    for day in days:
        if day <= until.date():
            ends = {event.at for event in market.events(day) if event.at <= until}
            count += len(ends) * market.interval / interval if market.interval else len({at.replace(second=0) for at in ends}) / interval
    return -int(-count // 1)


def _declared(backtest: Backtest, day: date) -> dict[str, int]:
    """Strategy -> the warm-up bars that it asks for."""
    return {run.strategy.name: run.strategy.warmup_bars for run in backtest.strategies(day)}
