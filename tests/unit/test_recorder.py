"""The recording: what goes in comes out, whatever a kill or a disk does to its end."""

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import DataError
from core.events import (
    Action,
    Books,
    BrokerPosition,
    Command,
    Event,
    FeedStatus,
    OrderUpdate,
    Outcome,
    Reply,
    SessionStatus,
    Timer,
    Trade,
)
from core.types import IST, Bar, Instrument, Kind, OrderState, SessionState, Side, Tick
from data_ingestion.recorder import Batch, Note, Recorder, read, read_starts

FUTURE = Instrument("NFO:NIFTY26NOVFUT", "NFO", "NIFTY26NOVFUT", Kind.FUTURE, "NIFTY", 65, 0.1, date(2026, 11, 23), freeze=1755)
STOCK = Instrument("NSE:RELIANCE", "NSE", "RELIANCE", Kind.EQUITY, "RELIANCE", is_fno=True)
OPEN = datetime(2026, 11, 20, 9, 15, tzinfo=IST)
DAY = OPEN.date()


def ticks(count: int, every: float = 0.25) -> list[Event]:
    return [
        Tick(
            STOCK if number % 3 else FUTURE,
            OPEN + timedelta(seconds=every * number, microseconds=123),
            25000.05 + number / 20,
            number * 65,
            65,
            OPEN + timedelta(seconds=int(every * number)) if number % 2 else None,
            25000.0,
            25000.1,
            130,
            195,
            10_000_000 + number,
            24990.0,
        )
        for number in range(count)
    ]


def one_of_each() -> list[Event]:
    trade = Trade("7", "B1", FUTURE, Side.BUY, 65, 25000.1, OPEN)
    update = OrderUpdate(
        OPEN, "postback", "B1", FUTURE, Side.BUY, 65, OrderState.FILLED, 65, 25000.1, "TAG", "COMPLETE", exchange_at=OPEN, trades=(trade,)
    )
    return [
        Bar(FUTURE, OPEN, OPEN + timedelta(minutes=5), 5, 1.0, 2.0, 0.5, 1.5, 650, 7, gap=True),
        update,
        Reply(OPEN, Action.PLACE, "O1", Outcome.UNKNOWN, None, "Unknown", "timed out"),
        Books(OPEN, OPEN - timedelta(seconds=1), (update,), (trade,), (BrokerPosition(FUTURE, "MIS", -65, 25000.1),)),
        FeedStatus(OPEN, False, "the socket closed", 2),
        SessionStatus(OPEN, "practice", SessionState.LOGIN_REQUIRED, "token dead", "http://127.0.0.1/login"),
        Timer(OPEN, "square-off", OPEN),
        Command(OPEN, "c1", "resume", {"confirm": True, "count": 3}),
    ]


def write(folder: Path, events: list[Event], facts: dict[str, str] | None = None) -> Recorder:
    recorder = Recorder(folder, DAY, "practice", facts or {"config": "abc"})
    for event in events:
        recorder.append(event)
    return recorder


def test_every_kind_of_event_comes_back_equal_and_in_order(tmp_path: Path) -> None:
    events = ticks(50) + one_of_each() + ticks(50)
    recorder = write(tmp_path, events, {"config": "abc", "instruments": "zerodha/2026-11-20/ff"})
    recorder.close()
    assert recorder.path == tmp_path / "2026-11-20-practice.events"
    found = list(read(recorder.path))
    assert found == events
    assert all(event.at.tzinfo is IST for event in found)
    assert [start.facts for start in read_starts(recorder.path)] == [{"config": "abc", "instruments": "zerodha/2026-11-20/ff"}]


def test_all_but_the_last_second_is_on_disk_without_any_close(tmp_path: Path) -> None:
    events = ticks(100)  # four a second
    recorder = write(tmp_path, events)
    found = list(read(recorder.path))
    assert found == events[: len(found)]
    assert events[-1].at - found[-1].at <= timedelta(seconds=1)
    recorder.flush()
    assert list(read(recorder.path)) == events
    recorder.close()


def test_a_tail_torn_at_any_byte_loses_only_its_frame(tmp_path: Path) -> None:
    events = ticks(12, every=1.0)
    recorder = write(tmp_path, events)
    recorder.close()
    whole = recorder.path.read_bytes()
    counts = []
    for size in range(len(whole)):
        recorder.path.write_bytes(whole[:size])
        found = list(read(recorder.path))
        assert found == events[: len(found)]
        counts.append(len(found))
    assert counts[-1] == 11
    assert counts == sorted(counts)


def test_a_restart_cuts_the_torn_tail_and_goes_on(tmp_path: Path) -> None:
    events = ticks(8, every=1.0)
    recorder = write(tmp_path, events, {"run": "1"})
    recorder.close()
    with recorder.path.open("ab") as file:
        file.write(b"\x40\x00\x00\x00torn")
    write(tmp_path, events, {"run": "2"}).close()
    assert list(read(recorder.path)) == events + events
    assert [start.facts["run"] for start in read_starts(recorder.path)] == ["1", "2"]


def test_damage_in_the_middle_is_an_error_not_an_end(tmp_path: Path) -> None:
    recorder = write(tmp_path, ticks(40, every=1.0))
    recorder.close()
    data = bytearray(recorder.path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    recorder.path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged frame"):
        list(read(recorder.path))


def test_a_disk_that_refuses_ends_the_recording_and_says_so(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, DAY, "practice", {})
    full = open("/dev/full", "ab", buffering=0)  # noqa: SIM115, PTH123 - the kernel's own full disk
    assert recorder._file is not None
    recorder._file.close()
    recorder._file = full
    for event in ticks(20, every=1.0):
        recorder.append(event)
    assert "recording stopped after event 0" in recorder.failure
    assert "free space" in recorder.failure
    recorder.close()


def test_frames_are_compact(tmp_path: Path) -> None:
    recorder = write(tmp_path, ticks(4000))
    recorder.close()
    assert recorder.path.stat().st_size / 4000 < 130


def test_openings_batches_and_notes_come_back_in_place(tmp_path: Path) -> None:
    later = OPEN + timedelta(seconds=1)
    one, two = ticks(2)
    for number in (1, 2):
        recorder = Recorder(tmp_path, DAY, "practice", {"run": str(number)}, {"at": OPEN, "number": number})
        recorder.begin(OPEN)
        recorder.append(one)
        recorder.flush()
        recorder.begin(OPEN)  # something happened since: another batch of the same moment
        recorder.begin(OPEN)  # nothing did
        recorder.begin(later)
        recorder.append(two)
        recorder.note(Note("change", later, {"until": later, "names": ["a"]}))
        recorder.close()
    first, second = read_starts(recorder.path)
    expected = [Batch(OPEN), one, Batch(OPEN), Batch(later), two, Note("change", later, {"until": later, "names": ["a"]})]
    assert list(first.items()) == list(second.items()) == expected
    assert (first.opening, second.opening) == ({"at": OPEN, "number": 1}, {"at": OPEN, "number": 2})
    assert list(read(recorder.path)) == [one, two, one, two]
