"""Resident memory of a process that holds the whole trading path, and how soon it is ready, with 100,000 instruments of today cached.

The snapshot is built once (unmeasured) by the real InstrumentStore from a synthetic Zerodha dump; the measured process opens it as a
restart does: imports, config, calendar, ledger, session, broker client, engine, the day's names resolved.
"""

import json
import subprocess
import sys
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.rounds import Line
from benchmarks.starts import ROOT
from brokers.zerodha import SPEC
from core.types import IST
from data_ingestion.instruments import InstrumentStore
from utils.config_loader import load_calendar

ROWS = 100_000
DAY = date(2026, 11, 20)


def _dump() -> bytes:
    """A CSV as Kite's /instruments gives it: the names our strategies ask for, then option chains to the wanted length."""
    head = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,segment,exchange"
    rows = [
        "256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE",
        "738561,2885,RELIANCE,RELIANCE INDUSTRIES,0,,0,0.1,1,EQ,NSE,NSE",
        "12345602,48225,NIFTY26NOVFUT,NIFTY,0,2026-11-24,0,0.1,65,FUT,NFO-FUT,NFO",
        "12345858,48226,BANKNIFTY26NOVFUT,BANKNIFTY,0,2026-11-24,0,0.2,30,FUT,NFO-FUT,NFO",
    ]
    number, expiry = 0, DAY + timedelta(days=39)
    while len(rows) < ROWS:
        strike, kind = 100 + number // 2, ("CE", "PE")[number % 2]
        root = f"STOCK{number // 2000:03d}"
        rows.append(
            f"{(60_000_000 + number) << 8 | 2},{number},{root}26DEC{strike}{kind},{root},0,{expiry},{strike},0.05,100,{kind},NFO-OPT,NFO"
        )
        number += 1
    return "\n".join([head, *rows, ""]).encode()


class _Dump:
    """An InstrumentSource that has the dump already."""

    def __init__(self, dump: bytes) -> None:
        self._dump = dump

    def instruments(self) -> bytes:
        return self._dump


def measure(rounds: int) -> list[Line]:
    """Megabytes and seconds of fresh processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "instruments").mkdir()
        store = InstrumentStore(folder / "instruments", load_calendar(assumed_cut_offs=True), "zerodha")
        update = store.update(_Dump(_dump()), SPEC, DAY, datetime(2026, 11, 20, 8, 41, tzinfo=IST))
        assert update.accepted, update.reason
        taken: list[float] = []
        resident: list[float] = []
        for _ in range(max(3, rounds) + 1):
            began = perf_counter()
            program = [sys.executable, "-m", "benchmarks.ready", name]
            done = subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True)
            told = json.loads(done.stdout.splitlines()[-1])
            assert told["rows"] >= ROWS, told
            assert set(told["names"]) == {"NSE:RELIANCE", "NFO:NIFTY26NOVFUT", "NFO:BANKNIFTY26NOVFUT"}, told
            taken.append(perf_counter() - began)
            resident.append(told["rss_mb"])
        opened = [_opened(folder) for _ in range(max(3, rounds))]
    note = f"whole process with {ROWS:,} cached instruments"
    cached = f"{ROWS:,} rows from their file: opened, counted, three names resolved, in a process of its own"
    return [
        Line("engine resident memory", "MB", median(resident[1:]), None, "absolute", None, 150.0, False, note=note),
        Line("engine ready", "s", median(taken[1:]), None, "absolute", None, 3.0, False, note=note),
        Line("instruments from the cache", "s", median(one[0] for one in opened), None, "absolute", None, 1.0, False, note=cached),
        Line("instruments from the cache", "MB", median(one[1] for one in opened), None, "absolute", None, 40.0, False, note=cached),
    ]


_OPEN = """
import sys, time
from datetime import date
from pathlib import Path
from data_ingestion.instruments import InstrumentStore
from utils.config_loader import load_calendar

def resident():
    return next(int(row.split()[1]) for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmRSS:")) / 1024

calendar, day = load_calendar(assumed_cut_offs=True), date.fromisoformat(sys.argv[2])
before, began = resident(), time.perf_counter()
snapshot = InstrumentStore(Path(sys.argv[1]), calendar).open(day)
names = [snapshot.resolve(name, day) for name in ("RELIANCE", "NIFTY_FUT", "BANKNIFTY_FUT")]
assert len(snapshot) >= 100_000 and len(names) == 3
print(time.perf_counter() - began, resident() - before)
"""


def _opened(folder: Path) -> tuple[float, float]:
    """(seconds, megabytes) of opening the cached snapshot in a fresh process."""
    program = [sys.executable, "-c", _OPEN, str(folder / "instruments"), DAY.isoformat()]
    seconds, megabytes = subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(megabytes)
