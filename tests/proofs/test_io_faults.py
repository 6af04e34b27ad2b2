"""I/O faults in the suite: every failing call of the audit log and the token file, samples of the rest. `make faults` tries them all."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from core.errors import StoreError
from data_ingestion.recorder import Recorder, read
from storage.audit import AuditSegment
from storage.store import SqlStore
from tests.proofs import io_faults
from tests.unit.test_recorder import DAY, ticks


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger.disable("")
    yield
    logger.enable("")


@pytest.mark.parametrize("name", sorted(io_faults.every_proof(1)))
def test_no_failing_call_and_no_torn_end_loses_what_was_acknowledged(name: str) -> None:
    tried = 0
    for problems in io_faults.every_proof(89)[name]:
        assert problems == []
        tried += 1
    assert tried > 5


def test_a_log_that_believes_a_failed_write_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a segment that says an order's line is on disk when the disk refused it."""

    class Trusting(AuditSegment):
        def request(self, lane: str, method: str, route: str, params: Any = None, *, durable: bool = False) -> int:
            try:
                return super().request(lane, method, route, params, durable=durable)
            except StoreError:
                return self._number

    monkeypatch.setattr(io_faults, "AuditSegment", Trusting)
    assert any(problems for problems in io_faults.audit())


def test_a_ledger_that_forgets_what_a_failed_commit_held_is_seen() -> None:
    """Planted: what waited goes with the transaction that failed."""

    class Forgetful(SqlStore):
        def _give_up(self) -> None:
            super()._give_up()
            self._pending.clear()

    assert any(problems for problems in io_faults.ledger(37, {"store": Forgetful}))


def test_a_recording_damaged_in_its_middle_is_set_aside_and_the_day_is_recorded_anew(tmp_path: Path) -> None:
    events = ticks(40)
    recorder = Recorder(tmp_path, DAY, "practice", {})
    for event in events:
        recorder.append(event)
    recorder.close()
    garbled = bytearray(recorder.path.read_bytes())
    garbled[len(garbled) // 2] ^= 0xFF
    recorder.path.write_bytes(garbled)
    again = Recorder(tmp_path, DAY, "practice", {})
    again.append(events[0])
    again.close()
    assert list(read(again.path)) == events[:1]
    assert recorder.path.with_suffix(".damaged-1").read_bytes() == bytes(garbled)


def test_a_disk_that_takes_no_recording_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("no folder", encoding="utf-8")
    recorder = Recorder(tmp_path / "recordings", DAY, "practice", {})
    recorder.append(ticks(1)[0])
    recorder.close()
    assert "nothing is recorded" in recorder.failure
    assert os.strerror(17) in recorder.failure or "exists" in recorder.failure
