"""The ledger in memory: its journal may be bounded, and its numbers go on all the same."""

from datetime import datetime, timedelta

from core.types import IST
from storage.memory_store import MemoryStore

AT = datetime(2026, 11, 20, 10, tzinfo=IST)


def written(store: MemoryStore, count: int) -> list[int]:
    return [store.journal(AT + timedelta(seconds=number), "signal", {"number": number}) for number in range(count)]


def test_a_journal_keeps_everything_unless_it_is_told_otherwise() -> None:
    store = MemoryStore()
    assert written(store, 5) == [1, 2, 3, 4, 5]
    assert [(row["seq"], row["number"]) for row in store.read_journal()] == [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]


def test_a_bounded_journal_keeps_its_latest_entries_under_their_own_numbers() -> None:
    store = MemoryStore(journal=2)
    assert written(store, 5) == [1, 2, 3, 4, 5]
    assert [(row["seq"], row["number"]) for row in store.read_journal()] == [(4, 3), (5, 4)]
    assert [row["seq"] for row in store.read_journal(since=4)] == [5]
