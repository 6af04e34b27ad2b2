"""The tape: what the socket brought is in Parquet, whole, named and playable; a kill costs a second; nothing waits for the disk."""

import os
import random
import shutil
import signal
import sqlite3
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from brokers.zerodha.wire import decode, decode_batch, tape_columns
from core.types import IST, Instrument
from data_ingestion.prepare import prepare
from data_ingestion.tape import Tape
from data_ingestion.tape_writer import Writer, recover
from tests.wire.kite_samples import KNOWN, LTP_AND_INDEX, QUOTE
from utils.config_loader import load_calendar

AT = datetime(2026, 11, 20, 10, 0, 0, 250_000, IST)
TOKENS = [738561, 12345602, 256265]
KEYS = {738561: "NSE:RELIANCE", 12345602: "NFO:NIFTY26NOVFUT", 256265: "NSE:NIFTY 50"}


def full(token: int, paise: int, volume: int, epoch: int, rng: random.Random) -> bytes:
    """One full-mode packet with its length."""
    head = [token, paise, rng.randrange(1, 500), paise - 3, volume, 4, 5, paise - 90, paise + 250, paise - 260, paise - 120]
    levels = b"".join(struct.pack(">IIHH", rng.randrange(9000), paise + 5 * n, rng.randrange(60), 0) for n in range(10))
    return b"\x00\xb8" + struct.pack(">16I", *head, epoch, 777, 0, 0, epoch) + levels


def frames(count: int, start: datetime = AT) -> Iterator[tuple[bytes, datetime]]:
    """Frames of two instruments a quarter of a second apart, whose day's volume grows by 65 and 130."""
    rng = random.Random(1)
    for number in range(count):
        at = start + timedelta(milliseconds=250 * number)
        packets = [
            full(token, 2_500_000 + number, 65_000 + 65 * step * number, int(at.timestamp()), rng)
            for step, token in enumerate(TOKENS[:2], 1)
        ]
        yield struct.pack(">H", 2) + b"".join(packets), at


def micros(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def writer(folder: Path, *, depth: bool = False) -> Writer:
    return Writer(folder, tape_columns, KEYS.get, depth=depth)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("*/*.parquet")) for row in pq.read_table(file).to_pylist()]


def instrument(token: int) -> Instrument | None:
    key = KEYS.get(token)
    return (
        None
        if key is None
        else next((one for one in KNOWN.tokens.values() if one.key == key), None)
        or Instrument(key, "NFO", key[4:], next(iter(KNOWN.tokens.values())).kind, "NIFTY")
    )


@pytest.mark.parametrize("depth", [False, True])
def test_what_is_written_is_what_the_codec_reads(tmp_path: Path, depth: bool) -> None:
    made = writer(tmp_path, depth=depth)
    for frame, at in frames(40):
        made.take(frame, micros(at))
    made.close()
    found = rows(tmp_path)
    ticks = [tick for frame, at in frames(40) for tick in decode(frame, at, instrument)]
    assert len(found) == len(ticks) == 80
    for row, tick in zip(found, ticks, strict=True):
        assert (row["timestamp"], row["symbol"], row["price"], row["bid"], row["ask"]) == (
            tick.at,
            tick.instrument.key,
            tick.price,
            tick.bid,
            tick.ask,
        )
        assert (row["day_volume"], row["quantity"], row["bid_quantity"], row["ask_quantity"]) == (
            tick.volume,
            tick.quantity,
            tick.bid_quantity,
            tick.ask_quantity,
        )
        assert (row["exchange_time"], row["previous_close"]) == (tick.exchange_at, tick.previous_close)
    assert [row["volume"] for row in found[:6]] == [0, 0, 65, 130, 65, 130]  # what was traded since the tick before
    assert sum(row["volume"] for row in found) == 39 * (65 + 130)
    if depth:
        [frame, _] = next(frames(1))
        columns = decode_batch(frame)["full"]
        for row, one in zip(found, columns, strict=False):
            assert row["depth_price"] == list(one["depth_price"])
            assert row["depth_quantity"] == list(one["depth_quantity"])
            assert row["depth_orders"] == list(one["depth_orders"])


def test_frames_of_many_kinds_and_garbage_cost_nothing_else(tmp_path: Path) -> None:
    made = writer(tmp_path)
    [frame, at] = next(frames(1))
    for payload in (
        LTP_AND_INDEX,
        b"\x00",
        b"",
        QUOTE,
        frame[:100],
        b"\xff" * 200,
        frame,
        b"\x00\x01\x00\x08" + struct.pack(">II", 999, 5),
    ):
        made.take(payload, micros(at))
    made.close()
    found = rows(tmp_path)
    assert sorted(row["symbol"] for row in found) == sorted(
        ["NSE:RELIANCE", "NSE:NIFTY 50", "NSE:RELIANCE", "NSE:RELIANCE", "NFO:NIFTY26NOVFUT", "TOKEN:999"]
    )
    index = next(row for row in found if row["symbol"] == "NSE:NIFTY 50")
    assert (index["price"], index["volume"]) == (25134.55, 0)
    assert next(row for row in found if row["symbol"] == "TOKEN:999")["exchange_time"] is None


def test_each_hour_has_its_file(tmp_path: Path) -> None:
    made = writer(tmp_path)
    for frame, at in frames(8, AT.replace(hour=10, minute=59, second=59, microsecond=0)):
        made.take(frame, micros(at))
    made.close()
    assert sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.*")) == [
        "2026-11-20/10.parquet",
        "2026-11-20/11.parquet",
    ]
    assert len(rows(tmp_path)) == 16


@pytest.mark.parametrize("torn", [0, 5, 700])
def test_a_kill_costs_the_last_second_and_the_next_writer_puts_the_rest_together(tmp_path: Path, torn: int) -> None:
    dead = writer(tmp_path / "dead")
    for frame, at in frames(40):  # ten seconds
        dead.take(frame, micros(at))
    [running] = tmp_path.rglob("*.arrows")
    left = running.read_bytes()
    dead.close()
    shutil.rmtree(tmp_path / "dead")
    stream = tmp_path / "2026-11-20" / "10.arrows"  # what a kill would have left
    stream.parent.mkdir()
    stream.write_bytes(left[: len(left) - torn])
    [final] = recover(tmp_path)
    found = rows(tmp_path)
    assert len(found) == (72 if torn == 0 else 64)  # a second is eight rows: one was never written, a torn one is left out
    assert [row["timestamp"] for row in found] == sorted(row["timestamp"] for row in found)
    again = writer(tmp_path)
    for frame, at in frames(4, AT + timedelta(seconds=20)):
        again.take(frame, micros(at))
    again.close()
    assert sorted(file.name for file in final.parent.iterdir()) == ["10-2.parquet", "10.parquet"]


def test_a_stream_without_a_whole_batch_is_removed(tmp_path: Path) -> None:
    (tmp_path / "2026-11-20").mkdir()
    (tmp_path / "2026-11-20" / "10.arrows").write_bytes(b"\xff\xff\xff\xff\x10")
    recover(tmp_path)
    assert list(tmp_path.rglob("*.*")) == []


def test_a_recorded_day_can_be_played(tmp_path: Path) -> None:
    made = writer(tmp_path)
    for frame, at in frames(40):
        made.take(frame, micros(at))
    made.close()
    played = prepare(tmp_path / "2026-11-20", tmp_path / "out", load_calendar(assumed_cut_offs=True))
    assert set(played.symbols) == {"NSE:RELIANCE", "NFO:NIFTY26NOVFUT"}


# --- the process --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    path = tmp_path / "zerodha-2026-11-20.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE instruments (key TEXT, token)")
        database.executemany("INSERT INTO instruments VALUES (?, ?)", [(key, token) for token, key in KEYS.items()])
    return path


def test_the_writer_is_a_process_without_our_secrets_and_finishes_its_files(
    tmp_path: Path, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZERODHA_API_SECRET", "do-not-tell")
    monkeypatch.chdir(tmp_path)  # the state folder is often given relative, and the writer begins elsewhere
    tape = Tape(Path("ticks"), "zerodha", "depth", Path(snapshot.name))
    assert "do-not-tell" not in Path(f"/proc/{tape.pid}/environ").read_text(encoding="utf-8")
    for frame, at in frames(40):
        tape.take(frame, at)
    tape.close()
    assert (tape.failure, tape.dropped) == ("", 0)
    assert len(rows(tmp_path / "ticks")) == 80


def test_a_writer_that_dies_ends_the_recording_and_nothing_else(tmp_path: Path, snapshot: Path) -> None:
    tape = Tape(tmp_path / "ticks", "zerodha", "ticks", snapshot)
    os.kill(tape.pid, signal.SIGKILL)
    while not tape.failure:
        for frame, at in frames(40):
            tape.take(frame, at)
    assert "the tape's writer ended" in tape.failure
    before = tape.dropped
    tape.take(b"\x00", AT)
    assert tape.dropped == before + 1
    tape.close()


def test_what_cannot_be_written_in_time_is_left_out_and_counted(tmp_path: Path, snapshot: Path) -> None:
    tape = Tape(tmp_path / "ticks", "zerodha", "ticks", snapshot, most_bytes=100_000)
    os.kill(tape.pid, signal.SIGSTOP)
    for _ in range(50):
        for frame, at in frames(40):
            tape.take(frame, at)
    assert tape.dropped > 0
    os.kill(tape.pid, signal.SIGCONT)
    tape.close()
    assert tape.failure == ""
    assert len(rows(tmp_path / "ticks")) == 2 * (50 * 40 - tape.dropped)
