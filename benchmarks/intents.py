"""The durable intent: an order row and its journal entry committed in the real ledger (WAL, synchronous=FULL), against bare fdatasync of a
200-byte record and against the least that sqlite3 itself can do (one row, one transaction, FULL)."""

import os
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec

from benchmarks.kite_frames import share
from benchmarks.rounds import Line, interleaved, line
from core.types import IST, Horizon, Order, OrderState, OrderType, Purpose, Side
from storage.store import open_store

_EACH = 200
_AT = datetime(2026, 11, 20, 10, 0, tzinfo=IST)


def _order(number: int) -> Order:
    return Order(
        id=f"BENCH{number:011d}",
        tag=f"BENCH{number:011d}",
        account="bench",
        strategy="bench",
        name="IT",
        instrument=share(0),
        side=Side.BUY,
        quantity=10,
        order_type=OrderType.LIMIT,
        horizon=Horizon.INTRADAY,
        purpose=Purpose.ENTRY,
        created_at=_AT,
        updated_at=_AT,
        limit_price=1000.0,
        state=OrderState.SENDING,
    )


def _median_us(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(_EACH):
        began = perf_counter()
        run()
        taken.append(perf_counter() - began)
    return median(taken) * 1e6


def measure(rounds: int) -> list[Line]:
    """Median microseconds of one intent."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = open_store(f"sqlite:///{folder / 'ledger.sqlite'}")
        bare = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = FULL")
        bare.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, body TEXT)")
        log = os.open(folder / "append.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        count = 0

        def intent() -> None:
            nonlocal count
            count += 1
            order = _order(count)
            store.put("tags", "count", count)
            store.save_order(order)
            store.journal(_AT, "intent", {"order": order.id, "instrument": order.instrument.key, "quantity": order.quantity})
            store.commit()

        def row() -> None:
            nonlocal count
            count += 1
            order = _order(count)
            bare.execute("BEGIN IMMEDIATE")
            bare.execute("INSERT INTO orders VALUES (?, ?)", (order.id, msgspec.json.encode(order).decode()))
            bare.execute("COMMIT")

        def append() -> None:
            os.write(log, b"x" * 199 + b"\n")
            os.fdatasync(log)

        sides = {"intent": intent, "sqlite3": row, "fdatasync": append}
        figures = interleaved({key: (lambda run=run: _median_us(run)) for key, run in sides.items()}, rounds)  # type: ignore[misc]
        assert len(store.orders()) == len(store.read_journal(kind="intent")) > 0, "what was timed is not in the ledger"
        store.close()
        bare.close()
        os.close(log)
    return [
        line("durable intent", "us", figures["intent"], figures["sqlite3"], "sqlite3 FULL, one row", goal=None, higher=False,
             note="order row, journal entry and tag counter in one transaction"),
        line("durable intent", "us", figures["intent"], figures["fdatasync"], "append + fdatasync", goal=None, higher=False),
    ]  # fmt: skip
