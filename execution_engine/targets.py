"""What every (strategy, logical name) wants, kept in memory and in the ledger, so that a restart neither repeats nor forgets a decision."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from core.ports import Store
from core.types import Horizon, Instrument, Order, Purpose
from execution_engine.buy_sell_logic import Target

SPACE = "targets"


class Targets:
    """The latest target of each key. `keep` after each change of one: it joins the ledger's running transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._targets: dict[tuple[str, str], Target] = {}
        self._pending: dict[tuple[str, str], Target] = {}
        self.some_pending = False  # whether `pending` could have an answer at all
        self.watch_list: dict[str, list[Target]] = {}  # those with a stop or a profit target, by instrument key; for others to read

    def get(self, strategy: str, name: str) -> Target | None:
        return self._targets.get((strategy, name))

    def holding(self, strategy: str, instrument: Instrument) -> Target | None:
        """The key through which `strategy` holds this instrument."""
        for target in self._targets.values():
            if target.strategy == strategy and target.instrument.key == instrument.key:
                return target
        return None

    def pending(self, strategy: str, instrument: Instrument) -> list[Target]:
        """Keys of `strategy` in the instrument that a temporary refusal left to be tried again."""
        return [one for one in self._pending.values() if one.strategy == strategy and one.instrument.key == instrument.key]

    def watched(self, key: str) -> Sequence[Target]:
        """Targets in the instrument of this key that have a stop or a profit target."""
        return self.watch_list.get(key, ())

    def by_hand(self, order: Order) -> bool:
        """Whether an order was given by hand and nothing else acts on its key."""
        target = self._targets.get((order.strategy, order.name))
        return target is not None and target.by_hand

    def __iter__(self) -> Iterator[Target]:
        return iter(list(self._targets.values()))

    def keep(self, target: Target) -> None:
        self._take(target)
        self._store.put(SPACE, f"{target.strategy}|{target.name}", _to_json(target))

    def drop(self, target: Target) -> None:
        """Forget what the key wants; what is held in it stays."""
        key = (target.strategy, target.name)
        self._targets.pop(key, None)
        self._pending.pop(key, None)
        self._rewatch(target.instrument.key)
        self._store.put(SPACE, f"{target.strategy}|{target.name}", None)

    def _take(self, target: Target) -> None:
        key = (target.strategy, target.name)
        before = self._targets.get(key)
        self._targets[key] = target
        if before is not None and before.instrument.key in self.watch_list and before.instrument.key != target.instrument.key:
            self._rewatch(before.instrument.key)
        if target.stop is not None or target.take_profit is not None or target.instrument.key in self.watch_list:
            self._rewatch(target.instrument.key)
        if target.pending:
            self._pending[key] = target
        else:
            self._pending.pop(key, None)
        self.some_pending = bool(self._pending)

    def _rewatch(self, key: str) -> None:
        watched = [one for one in self._targets.values() if one.instrument.key == key and (one.stop, one.take_profit) != (None, None)]
        if watched:
            self.watch_list[key] = watched
        else:
            self.watch_list.pop(key, None)

    def restore(self, instrument_of: Callable[[str], Instrument | None]) -> list[str]:
        """Take up the stored targets; returns the keys of instruments that are gone (their targets are dropped, positions speak)."""
        gone = []
        for value in self._store.items(SPACE).values():
            instrument = instrument_of(value["instrument"])
            if instrument is None:
                gone.append(str(value["instrument"]))
                continue
            self._take(_from_json(value, instrument))
        return gone

    def clear_intraday(self) -> None:
        """A new session: intraday keys want nothing until their strategy says so; carried ones go on."""
        for key, target in list(self._targets.items()):
            if target.horizon is Horizon.INTRADAY:
                del self._targets[key]
                self._pending.pop(key, None)
                self._store.put(SPACE, f"{target.strategy}|{target.name}", None)
        for instrument in list(self.watch_list):
            self._rewatch(instrument)


def _to_json(target: Target) -> dict[str, Any]:
    return {
        "strategy": target.strategy,
        "name": target.name,
        "instrument": target.instrument.key,
        "raw": target.raw,
        "wanted": target.wanted,
        "horizon": str(target.horizon),
        "at": target.at.isoformat(),
        "reference": target.reference,
        "stop": target.stop,
        "take_profit": target.take_profit,
        "why": target.why,
        "latched": target.latched,
        "pending": target.pending,
        "purpose": str(target.purpose),
        "closing": target.closing,
    }


def _from_json(value: dict[str, Any], instrument: Instrument) -> Target:
    return Target(
        strategy=value["strategy"],
        name=value["name"],
        instrument=instrument,
        raw=value["raw"],
        wanted=value["wanted"],
        horizon=Horizon(value["horizon"]),
        at=datetime.fromisoformat(value["at"]),
        reference=value["reference"],
        stop=value["stop"],
        take_profit=value["take_profit"],
        why=value["why"],
        latched=value["latched"],
        pending=value["pending"],
        purpose=Purpose(value["purpose"]),
        closing=value["closing"],
    )
