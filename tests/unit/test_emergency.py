"""The emergency journal: what it takes stands on disk, a torn record costs itself alone, and the ledger gets it at the next start."""

from pathlib import Path

import pytest

from core.errors import StoreError
from core.types import OrderState, Purpose, Side
from storage.emergency import RECORDS, EmergencyJournal
from tests.builders import make_order
from tests.disk import no_file_may_grow_beyond
from tests.harness import Harness


def read(folder: Path) -> list[str]:
    journal = EmergencyJournal(folder)
    found = [order.tag for order in journal.orders]
    journal.close()
    return found


def fill(journal: EmergencyJournal) -> None:
    for _ in range(10_000):
        journal.keep(make_order())


def test_what_was_kept_is_there_for_the_next_process_until_it_is_cleared(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path)
    orders = [make_order(id=f"o{n}", tag=f"TAG{n}", state=OrderState.SENDING) for n in range(5)]
    for order in orders:
        journal.keep(order)
    again = EmergencyJournal(tmp_path)  # the first never closed: it was killed
    assert again.orders == orders
    again.keep(make_order(id="o5", tag="TAG5"))
    again.clear()
    again.keep(make_order(id="o6", tag="TAG6"))
    again.close()
    journal.close()
    assert read(tmp_path) == ["TAG6"]


def test_a_record_torn_at_any_byte_costs_itself_alone(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path)
    for n in range(3):
        journal.keep(make_order(id=f"o{n}", tag=f"TAG{n}"))
    journal.close()
    path = tmp_path / "emergency.journal"
    whole = path.read_bytes()
    used = len(whole.rstrip(b"\0"))
    line = used // 3
    for torn in range(used - line, used):
        path.write_bytes(whole[:torn] + bytes(len(whole) - torn))
        assert read(tmp_path) == ["TAG0", "TAG1"]
    path.write_bytes(whole[: used - 5] + b"?" + whole[used - 4 :])
    assert read(tmp_path) == ["TAG0", "TAG1"]
    again = EmergencyJournal(tmp_path)
    again.keep(make_order(id="o9", tag="TAG9"))  # over what was torn
    again.close()
    assert read(tmp_path) == ["TAG0", "TAG1", "TAG9"]


def test_a_full_disk_does_not_refuse_a_record_and_a_full_file_says_so(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path)
    assert (tmp_path / "emergency.journal").stat().st_blocks * 512 >= RECORDS, "its space is its own"
    order = make_order()
    while len(journal.orders) < 200:
        journal.keep(order)
    with pytest.raises(StoreError, match=r"is full: \d+ exits"):
        fill(journal)
    journal.close()


def test_a_refused_write_is_an_error_and_not_a_record(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path)
    with no_file_may_grow_beyond(100), pytest.raises(StoreError, match="took 100 of"):
        journal.keep(make_order(id="o1", tag="TAG1"))
    assert journal.orders == []
    journal.close()
    assert read(tmp_path) == []


def test_the_reserve_is_given_to_a_full_disk_and_taken_again(tmp_path: Path) -> None:
    left = [1_000_000]
    journal, kept_back = EmergencyJournal(tmp_path, reserve=8192, room=lambda folder: left[0]), tmp_path / "emergency.reserve"
    assert not journal.free(), "the disk has room: nothing is given up"
    assert kept_back.stat().st_size == 8192
    left[0] = 100
    assert journal.free()
    assert not kept_back.exists()
    assert not journal.free(), "there is only one to give"
    with no_file_may_grow_beyond(1000):
        assert not journal.reserve()
    assert not kept_back.exists()
    assert journal.reserve()
    assert kept_back.stat().st_size == 8192
    journal.close()


def test_entries_stay_off_until_the_reserve_is_kept_back_again(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path, reserve=8192, room=lambda folder: 0)
    it = Harness(emergency=journal)
    it.store.fail_commits = 1
    it.want(1)
    assert not (tmp_path / "emergency.reserve").exists()
    it.tick(25_000.0)
    assert it.told("The ledger is written again") == ["info"]
    with no_file_may_grow_beyond(1000):
        it.tick(25_000.0, 12)
        it.want(1)
    assert "lives on its reserve" in (it.engine.world.blind or "")
    assert it.executor.placed == []
    it.tick(25_000.0, 6)
    assert (it.engine.world.blind, it.told("The disk has room again")) == (None, ["info"])
    it.want(1)
    assert len(it.executor.placed) == 1
    journal.close()


def test_a_disk_that_is_full_at_the_start_stops_the_start(tmp_path: Path) -> None:
    with no_file_may_grow_beyond(1000), pytest.raises(StoreError, match=r"cannot be made .* free some disk space"):
        EmergencyJournal(tmp_path)


def test_an_exit_that_the_ledger_does_not_know_is_kept_aside_before_it_leaves(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path)
    it = Harness(emergency=journal)
    it.want(1)
    it.complete()
    it.store.fail_commits = 1000
    it.want(0)
    assert it.told("Entries are off") == ["page"]
    exit_ = it.executor.placed[-1]
    assert (exit_.purpose, read(tmp_path)) == (Purpose.EXIT, [exit_.tag])
    assert exit_.tag not in it.store.crashed().saved_orders, "a kill now would lose it"
    it.store.fail_commits = 0
    it.complete()
    assert it.told("The ledger is written again") == ["info"]
    assert exit_.tag in it.store.crashed().saved_orders
    assert read(tmp_path) == []
    journal.close()


def test_an_entry_is_not_kept_aside_because_it_does_not_leave(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path)
    it = Harness(emergency=journal)
    it.store.fail_commits = 1
    it.want(1)
    assert (it.executor.placed, read(tmp_path)) == ([], [])
    journal.close()


def test_an_exit_leaves_even_where_nothing_can_be_written(tmp_path: Path) -> None:
    journal = EmergencyJournal(tmp_path)
    it = Harness(emergency=journal)
    it.want(1)
    it.complete()
    it.store.fail_commits = 1000
    with no_file_may_grow_beyond(0):
        it.want(0)
    assert (it.last.side, it.last.purpose) == (Side.SELL, Purpose.EXIT)
    assert it.told("An exit is written nowhere") == ["page"]
    journal.close()
