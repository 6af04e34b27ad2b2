"""What the gate refused today, by key and rule: counted, and journalled on change."""

from core.ports import Clock, Store


class Refusals:
    """The first of a row of refusals is journalled, and the first after an order went; the others are counted."""

    def __init__(self, clock: Clock, store: Store) -> None:
        self.rows: dict[tuple[str, str, str], tuple[str, int]] = {}  # (strategy, name, rule) -> (reason, count)
        self._clock = clock
        self._store = store
        self._in_a_row: set[tuple[str, str, str]] = set()

    def note(self, strategy: str, name: str, rule: str, reason: str) -> None:
        key = (strategy, name, rule)
        self.rows[key] = (reason, self.rows.get(key, ("", 0))[1] + 1)
        if key not in self._in_a_row:
            self._in_a_row.add(key)
            self._store.journal(self._clock.now(), "refused", {"strategy": strategy, "name": name, "rule": rule, "reason": reason})

    def went(self, strategy: str, name: str) -> None:
        """An order of this key passed: its next refusal is news."""
        if self._in_a_row:
            self._in_a_row = {key for key in self._in_a_row if key[:2] != (strategy, name)}

    def clear(self) -> None:
        self.rows.clear()
        self._in_a_row.clear()
