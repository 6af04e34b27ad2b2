"""Many trials of one strategy: which parameters are tried, in what order, what is kept, and when one is given up.

Rules:
1. Every finished trial is a line of a file that belongs to the work (configuration, strategy, data, fill rules, code) and to its days. The
   same command goes on where it was; another search over the same work finds what was tried already.
2. A trial is given up when, after a third, a half or two thirds of its days, its net is below the middle one of those that got so far
   (at least `SEEN` of them). Which trials are given up depends on the order in which others end: with `prune` a sweep promises no digest.
3. A combination that the strategy's own checks refuse is counted and left out.
4. Trials run on the compiled kernel where it can do them. The best of those, and whatever walking forward chose and traded, are run on the
   event engine too: unless both agree in every figure, nothing is told but that.
5. Walking forward chooses the best on each window's training days and trades it on later days that had no say in the choice.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import msgspec

from backtesting.pools import Pool
from backtesting.space import Space, Window
from backtesting.trial import KEPT, Result, Trial
from core.errors import ConfigError, NiyamError

SEEN = 8
AHEAD = 16  # trials of a guided search that may be under way at once: more cores than that wait
REPEATS = 5  # of what was tried already, before a guided search is sent elsewhere
MOST_LISTED = 20_000
CHUNK_SECONDS = 1.0  # a task of so much work is not lost in the cost of handing it out
LARGEST_CHUNK = 1_000
CONFIRMED = 3  # of the best, on the event engine too
SMALLER_IS_BETTER = frozenset({"max_drawdown", "charges"})

Params = Mapping[str, Any]
OnResult = Callable[[Result], None]


class Search(Protocol):
    """Which parameters come next. `next` gives None when there are none left, or none until more results are known."""

    total: int

    def next(self) -> Params | None: ...
    def tell(self, params: Params, value: float | None) -> None: ...


class Listed:
    """A grid, or a sample of it: known beforehand."""

    def __init__(self, params: Sequence[Params]) -> None:
        self.total = len(params)
        self._left = iter(params)

    def next(self) -> Params | None:
        return next(self._left, None)

    def tell(self, params: Params, value: float | None) -> None:
        """Nothing is learned."""


class Guided:
    """Optuna's search (a tree-structured Parzen estimator): it learns from what it is told where to look next.

    What is asked for depends on the seed alone, whoever runs the trials and in whatever order they end: results are told to Optuna in the
    order in which they were asked for, and the n-th trial is asked for when those up to the one `AHEAD` places before it are told.
    """

    def __init__(self, space: Space, total: int, seed: int, refused: Callable[[Params], str], *, smaller: bool) -> None:
        import optuna  # half a second that a grid does not pay

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.total = total
        self._space, self._why = space, refused
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=False)
        self._study = optuna.create_study(direction="minimize" if smaller else "maximize", sampler=sampler)
        self._asked: list[tuple[Params, Any]] = []
        self._told = 0  # how many of those Optuna knows the result of
        self._ended: dict[str, float | None] = {}
        self._known: dict[str, float | None] = {}  # what was asked for, with its result as far as Optuna knows it
        self._rest = iter(space.sample(MOST_LISTED, seed))

    def next(self) -> Params | None:
        if len(self._asked) >= self.total or not self._learn():
            return None
        for _ in range(REPEATS):
            trial = self._study.ask()
            params = {name: trial.suggest_categorical(name, list(values)) for name, values in self._space.values.items()}
            if self._is_new(params):
                return self._begin(params, trial)
            self._report(trial, self._known.get(_key(params)))
        for params in self._rest:  # it asks for the same again and again: something that was never tried
            if self._is_new(params):
                self._study.enqueue_trial(dict(params))
                trial = self._study.ask()
                for name, values in self._space.values.items():
                    trial.suggest_categorical(name, list(values))
                return self._begin(params, trial)
        return None

    def _learn(self) -> bool:
        """Tell Optuna what is due before the next trial; False while a result of that is missing."""
        while self._told <= len(self._asked) - AHEAD:
            params, trial = self._asked[self._told]
            if _key(params) not in self._ended:
                return False
            self._known[_key(params)] = self._ended.pop(_key(params))
            self._report(trial, self._known[_key(params)])
            self._told += 1
        return True

    def _is_new(self, params: Params) -> bool:
        return _key(params) not in self._known and not self._why(params)

    def _begin(self, params: Params, trial: Any) -> Params:
        self._known[_key(params)] = None
        self._asked.append((params, trial))
        return params

    def _report(self, trial: Any, value: float | None) -> None:
        from optuna.trial import TrialState

        if value is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, value)

    def tell(self, params: Params, value: float | None) -> None:
        self._ended[_key(params)] = value


class Sweep:
    """One strategy's trials. `objective` is one of backtesting.trial.KEPT; `folder` is where results of this work are kept."""

    def __init__(self, pool: Pool, folder: Path, objective: str = "net", *, prune: bool = False, engine: str = "auto") -> None:
        if objective not in KEPT:
            raise ConfigError(f"no figure {objective!r} to look for; there are {', '.join(KEPT)}")
        self._pool = pool
        self._folder = folder
        self.objective = objective
        self._prune = prune
        self._engine = engine
        self.reused = 0

    def run(self, search: Search, days: Sequence[date], on_result: OnResult | None = None) -> list[Result]:
        """Every trial of the search on these days, best first; those kept from before are not run again."""
        days = tuple(days)  # one object for all trials: a chunk of them is sent with one copy of it
        file = self._folder / f"{_span(days)}.jsonl"
        known = _read(file)
        results: list[Result] = []
        number, size, more = 0, 1, True

        def take(result: Result) -> None:
            results.append(result)
            search.tell(result.params, self.value(result))
            if on_result is not None:
                on_result(result)

        def fresh() -> Iterator[Trial]:
            nonlocal number, more
            while (params := search.next()) is not None:
                before = known.get(_key(params))
                if before is not None and (self._prune or not before.given_up) and self._engine in ("auto", before.engine):
                    self.reused += 1
                    take(before)
                    continue
                number += 1
                yield Trial(number, params, days, self._floor(results, len(days)), self._engine)
            more = False

        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            while more or self._pool.pending:
                while more and self._pool.pending < 2 * self._pool.width:
                    if chunk := tuple(islice(fresh(), size)):
                        self._pool.submit(chunk)
                if not self._pool.pending:
                    break
                done = self._pool.finished()
                out.write("".join(msgspec.json.encode(result).decode() + "\n" for result in done))
                out.flush()
                for result in done:
                    take(result)
                more = True  # a guided search may know more now
                mean = sum(result.seconds for result in done) / max(1, len(done))
                size = max(1, min(LARGEST_CHUNK, int(CHUNK_SECONDS / max(mean, 1e-6))))
        return self.ranked(results)

    def confirmed(self, ranked: Sequence[Result], days: Sequence[date]) -> list[Result]:
        """The same list, the best of which were run on the event engine too; NiyamError where a figure differs."""
        best = [one for one in ranked[:CONFIRMED] if one.engine == "compiled"]
        waiting = iter(best)
        again: dict[str, Result] = {}
        while len(again) < len(best):
            while self._pool.pending < self._pool.width and (one := next(waiting, None)) is not None:
                self._pool.submit((Trial(one.number, one.params, tuple(days), engine="event"),))
            again |= {_key(one.params): one for one in self._pool.finished()}
        for one in best:
            theirs = again[_key(one.params)]
            if dict(theirs.figures) != dict(one.figures):
                raise NiyamError(
                    f"the compiled kernel and the engine differ for {dict(one.params)}: {dict(one.figures)} against "
                    f"{dict(theirs.figures)}; take --engine event, and report this"
                )
        return [again.get(_key(one.params), one) if place < CONFIRMED else one for place, one in enumerate(ranked)]

    def value(self, result: Result) -> float | None:
        """The figure looked for; None for a trial that was given up, failed, or has no such figure (no trades)."""
        value = None if result.given_up else result.figures.get(self.objective)
        return None if value is None else float(value)

    def ranked(self, results: Sequence[Result]) -> list[Result]:
        sign = 1 if self.objective in SMALLER_IS_BETTER else -1

        def place(result: Result) -> tuple[bool, float, str]:
            value = self.value(result)
            return value is None, sign * (value or 0.0), _key(result.params)

        return sorted(results, key=place)

    def walk_forward(
        self, windows: Sequence[Window], searches: Callable[[], Search], on_result: OnResult | None = None
    ) -> list[dict[str, Any]]:
        """For each window the parameters chosen on its training days, their figures there, and on the test days."""
        steps = []
        for window in windows:
            ranked = self.run(searches(), window.train, on_result)
            best = next((one for one in self.confirmed(ranked, window.train) if self.value(one) is not None), None)
            step: dict[str, Any] = {
                "train": [window.train[0].isoformat(), window.train[-1].isoformat()],
                "test": [window.test[0].isoformat(), window.test[-1].isoformat()],
                "params": dict(best.params) if best is not None else None,
                "trained": dict(best.figures) if best is not None else None,
                "tested": None,
            }
            if best is not None:
                tested = self.confirmed(self.run(Listed([best.params]), window.test), window.test)
                step["tested"] = dict(tested[0].figures)
            steps.append(step)
        return steps

    def _floor(self, results: Sequence[Result], days: int) -> dict[int, float]:
        if not self._prune:
            return {}
        floors = {}
        for count in {max(1, days // 3), max(1, days // 2), max(1, 2 * days // 3)}:
            reached = [one.curve[count - 1] for one in results if len(one.curve) >= count]
            if len(reached) >= SEEN:
                floors[count] = median(reached)
        return floors


def _key(params: Params) -> str:
    return json.dumps(dict(params), sort_keys=True)


def _span(days: Sequence[date]) -> str:
    return f"{days[0].isoformat()}_{days[-1].isoformat()}_{len(days)}"


def _read(file: Path) -> dict[str, Result]:
    """What was finished before, by parameters; a line that a kill tore is left out."""
    known: dict[str, Result] = {}
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                result = msgspec.convert(json.loads(line), Result)
            except (ValueError, msgspec.ValidationError):
                continue
            known[_key(result.params)] = result
    return known
