"""Who wants ticks of what: an instrument is subscribed for its first owner and given up with its last."""

from collections.abc import Iterable
from typing import Any

from core.ports import Feed
from core.types import Instrument

_SHOWN = 20


class Subscriptions:
    """The ledger of one day's feed. Owners are words (`strategies`, `positions`, `by hand`); asking twice for the same counts once.

    Owned by the engine thread; the feed itself says what has ticked (`confirmed`).
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._wanted: dict[str, tuple[Instrument, set[str]]] = {}

    def want(self, owner: str, instruments: Iterable[Instrument]) -> None:
        """Subscribe what nobody has asked for yet."""
        new = []
        for one in instruments:
            if one.key not in self._wanted:
                self._wanted[one.key] = (one, set())
                new.append(one)
            self._wanted[one.key][1].add(owner)
        if new:
            self._feed.subscribe(new)

    def release(self, owner: str, instruments: Iterable[Instrument] | None = None) -> None:
        """This owner needs these (None: any) no more; what nobody else wants is unsubscribed."""
        chosen = [one for one, _ in self._wanted.values()] if instruments is None else list(instruments)
        gone = []
        for one in chosen:
            found = self._wanted.get(one.key)
            if found is None or owner not in found[1]:
                continue
            found[1].discard(owner)
            if not found[1]:
                del self._wanted[one.key]
                gone.append(one)
        if gone:
            self._feed.unsubscribe(gone)

    def tradable(self) -> list[Instrument]:
        """What of it can be traded, by key."""
        return sorted((one for one, _ in self._wanted.values() if one.tradable), key=lambda one: one.key)

    def ledger(self) -> dict[str, Any]:
        """How many are wanted and have ticked since their connection was made, and the first of those that have not."""
        confirmed = self._feed.confirmed
        waiting = sorted(self._wanted.keys() - confirmed)
        return {"desired": len(self._wanted), "confirmed": len(self._wanted) - len(waiting), "waiting": waiting[:_SHOWN]}
