"""The tape: full-mode frames to Parquet on one core, and what the recording costs the socket's thread for each frame.

The writer's whole way is measured: decoding, naming, the day's volume split into trades, the Arrow stream, and the Parquet file that the
hour's end makes of it. Before anything is timed, the first rows that were written are read back and compared with the codec's ticks.
"""

import random
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import pyarrow.parquet as pq

from benchmarks.kite_frames import frame, packet, share, token_of
from benchmarks.rounds import Line
from brokers.zerodha.wire import decode, tape_columns
from core.types import IST, Instrument
from data_ingestion.tape_writer import Writer

INSTRUMENTS = 3000
RATE = 60_000  # ticks of market time a second: what one flush writes
TICKS = {"ticks": 2_000_000, "depth": 600_000}
_AT = datetime(2026, 11, 20, 10, 0, tzinfo=IST)


def _frames(size: int) -> tuple[list[bytes], dict[int, Instrument]]:
    rng = random.Random(size)
    listed = {token_of(number): share(number) for number in range(INSTRUMENTS)}
    packets = [packet(token, rng.randrange(5_000, 4_000_000), int(_AT.timestamp()), rng.randrange(10_000_000), rng) for token in listed]
    return [frame(packets[first : first + size]) for first in range(0, INSTRUMENTS, size)], listed


def _written(folder: Path, frames: list[bytes], listed: dict[int, Instrument], mode: str, count: int) -> float:
    """CPU seconds to write `count` ticks, files finished."""
    size = len(frames[0]) // 186
    writer = Writer(folder, tape_columns, lambda token: listed[token].key, depth=mode == "depth")
    stamp, step = int(_AT.timestamp() * 1e6), 1_000_000 * size // RATE
    began = process_time()
    for number in range(count // size):
        writer.take(frames[number % len(frames)], stamp + number * step)
    writer.close()
    return process_time() - began


def _same(folder: Path, frames: list[bytes], listed: dict[int, Instrument]) -> bool:
    rows = pq.read_table(next(folder.glob("*/*.parquet"))).slice(0, INSTRUMENTS).to_pylist()
    ticks = [tick for one in frames for tick in decode(one, _AT, listed.get)]
    return all(
        (row["symbol"], row["price"], row["bid"], row["ask"], row["oi"], row["day_volume"], row["previous_close"])
        == (tick.instrument.key, tick.price, tick.bid, tick.ask, tick.oi, tick.volume, tick.previous_close)
        for row, tick in zip(rows, ticks, strict=True)
    )


def measure(rounds: int) -> list[Line]:
    """Ticks a second of one core, and microseconds a frame on the socket's thread."""
    lines = []
    for size in (50, INSTRUMENTS):
        frames, listed = _frames(size)
        for mode, count in TICKS.items():
            rates = []
            for number in range(max(3, rounds)):
                with tempfile.TemporaryDirectory() as name:
                    taken = _written(Path(name), frames, listed, mode, count)
                    if number == 0:
                        assert _same(Path(name), frames, listed), "what was recorded is not what the codec reads"
                        size_of = sum(file.stat().st_size for file in Path(name).glob("*/*.parquet")) / count
                rates.append(count / taken)
            note = f"CPU time of the writer, Parquet finished; {size_of:.0f} bytes a tick of these synthetic prices"
            lines.append(Line(f"tape, {mode}, {size} a frame", "tick/s", median(rates), None, "absolute", None, 1e6, True, note=note))
    return [*lines, _cost()]


def _cost() -> Line:
    """What `Tape.take` costs the thread that calls it, with the writer process at work."""
    from benchmarks.memory import DAY, _Dump, _dump
    from brokers.zerodha import SPEC
    from data_ingestion.instruments import InstrumentStore
    from data_ingestion.tape import Tape
    from utils.config_loader import load_calendar

    frames, _ = _frames(50)
    with tempfile.TemporaryDirectory() as name:
        store = InstrumentStore(Path(name) / "instruments", load_calendar(assumed_cut_offs=True), "zerodha")
        snapshot = store.update(_Dump(_dump()), SPEC, DAY, _AT).snapshot
        tape = Tape(Path(name) / "ticks", "zerodha", "ticks", snapshot.path)
        costs = []
        for number in range(3_000):
            at = _AT + timedelta(milliseconds=number)
            began = perf_counter()
            tape.take(frames[number % len(frames)], at)
            costs.append(perf_counter() - began)
        tape.close()
        assert not tape.failure, tape.failure
        assert not tape.dropped
    note = "median over 3,000 frames of 50 ticks, the writer process running"
    return Line("tape, cost on the socket's thread", "us/frame", median(costs) * 1e6, None, "absolute", None, 50.0, False, note=note)
