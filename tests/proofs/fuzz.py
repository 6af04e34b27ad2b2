"""Fuzz: valid messages of each broker, cut, garbled and mixed; nothing crashes, nothing hangs, and no price comes out that is none.

    python -m tests.proofs.fuzz --inputs 1000000

Binary frames of Zerodha and Angel One that are valid are also compared, field by field, with the official parsers.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from loguru import logger

import brokers.angelone.dump as angelone_dump
import brokers.angelone.mapping as angelone
import brokers.upstox.dump as upstox_dump
import brokers.upstox.mapping as upstox
import brokers.zerodha.mapping as zerodha
from brokers.angelone import wire as angelone_wire
from brokers.faults import Faults
from brokers.upstox.wire import Decoder
from brokers.upstox.wire import parse_text as upstox_text
from brokers.zerodha import wire as zerodha_wire
from core.errors import BrokerError, DataError, RateLimited, Transient
from core.events import OrderUpdate
from core.types import Tick
from tests.unit import test_angelone_mapping, test_upstox_mapping, test_zerodha_mapping
from tests.wire import angel_samples, kite_samples, test_angelone_codec, test_kite_codec, test_upstox_codec, upstox_samples

AT = kite_samples.AT
HUNG_S = 10  # seconds within which a thousand inputs are read
ODD: Sequence[Any] = (
    *(None, "", "x", -1, 0, 1e308, float("nan"), float("inf"), [], {}, True, "NaN", "1e999", "-0", "٣", "0x10", 2**63, "null"),
    *("2026-13-45", " ", "\x00", 10**400, [[]], {"a": {}}, "2026-11-20 10:00:00", "BUY", "COMPLETE"),
)

KITE_DUMP = (
    test_zerodha_mapping.HEADER
    + '738561,2885,RELIANCE,"RELIANCE, INDUSTRIES",0.0,,0.0,0.1,1,EQ,NSE,NSE\n'
    + "256265,1001,NIFTY 50,NIFTY 50,0.0,,0.0,0.0,0,EQ,INDICES,NSE\n"
    + "12345602,48225,NIFTY26DEC25000CE,NIFTY,0.0,2026-12-29,25000.0,0.05,65,CE,NFO-OPT,NFO\n"
    + "12345858,48226,NIFTY26NOVFUT,NIFTY,0.0,2026-11-24,0.0,0.1,65,FUT,NFO-FUT,NFO\n"
).encode()


def garbled(chance: random.Random, whole: bytes) -> bytes:
    """Some bytes changed, some cut, some doubled, some added."""
    base = bytearray(whole)
    for _ in range(chance.choice((0, 1, 1, 2, 8))):
        if not base:
            break
        place = chance.randrange(len(base))
        match chance.randrange(4):
            case 0:
                base[place] = chance.randrange(256)
            case 1:
                del base[place : place + chance.choice((1, 4, 40))]
            case 2:
                base[place:place] = chance.randbytes(chance.choice((1, 2, 16)))
            case 3:
                base[place:place] = base[place : place + 30]
    return bytes(base)


def odd_row(chance: random.Random, row: Any) -> Any:
    """Fields missing, of another type, or nonsense."""
    if not isinstance(row, dict):
        return row
    return {key: odd_row(chance, chance.choice(ODD)) if chance.random() < 0.12 else odd_row(chance, value) for key, value in row.items()
            if chance.random() > 0.04}  # fmt: skip


def _text(chance: random.Random, message: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(odd_row(chance, message)).encode()
    except ValueError:
        text = b"{"
    return garbled(chance, text) if chance.random() < 0.5 else text


# --- what must hold of what comes out -------------------------------------------------------------------------------------------------


def _ticks(ticks: Sequence[Tick]) -> str:
    for tick in ticks:
        for name in ("price", "bid", "ask", "previous_close"):
            value = getattr(tick, name)
            if not math.isfinite(value) or abs(value) > 1e17:
                return f"{name} {value} of {tick.instrument.key}"
    return ""


def _updates(updates: Sequence[OrderUpdate]) -> str:
    for update in updates:
        numbers = (update.average_price, update.limit_price, update.trigger_price or 0.0, float(update.filled), float(update.quantity))
        if any(not math.isfinite(number) or number < 0 for number in numbers):
            return f"an order row with the numbers {numbers}"
    return ""


def _dump(read: Callable[[bytes], Any], content: bytes) -> str:
    try:
        for row in read(content):
            if row.lot < 0 or not math.isfinite(row.tick_size) or row.tick_size < 0 or not math.isfinite(row.strike or 0.0):
                return f"{row.key}: lot {row.lot}, tick {row.tick_size}, strike {row.strike}"
    except DataError:
        return ""
    return ""


def _failed(error: BrokerError, is_order: bool, status: int) -> str:
    if is_order and isinstance(error, Transient):
        return f"an order call that ended {status} counts as a read that may be tried again"
    if is_order and status >= 500 and type(error).__name__ == "Rejected":
        return f"HTTP {status} counts as a definite no"
    return ""


# --- the targets

Target = Callable[[random.Random], str]
"""Makes one input from chance, feeds it, and says what is wrong."""


def _targets() -> dict[str, Target]:  # noqa: C901 - a list
    kite_any, angel_any, listed = kite_samples.Everything(), angel_samples.Everything(), upstox_samples.instruments(3)
    decoder = Decoder(listed)

    def kite(chance: random.Random) -> str:
        frame = garbled(chance, kite_samples.random_frame(chance, chance.randrange(1, 4)))
        ticks = zerodha_wire.decode(frame, AT, kite_any)
        if len(ticks) != sum(len(rows) for rows in zerodha_wire.decode_batch(frame).values()):
            return f"ticks and columns differ on {frame.hex()}"
        return _ticks(ticks)

    def angel(chance: random.Random) -> str:
        return _ticks(angelone_wire.decode(garbled(chance, angel_samples.random_packet(chance)), AT, angel_any))

    def upstox_frame(chance: random.Random) -> str:
        return _ticks(decoder.decode(garbled(chance, upstox_samples.random_message(chance, list(listed))), AT))

    def kite_order(chance: random.Random) -> str:
        text = _text(chance, {"type": "order", "data": test_kite_codec.ROW})
        return _updates(zerodha_wire.parse_text(text, AT, lambda: kite_samples.KNOWN, Faults()))

    def angel_order(chance: random.Random) -> str:
        text = _text(chance, {"user-id": "A1", "error-message": "", "orderData": test_angelone_codec.ROW})
        return _updates(angelone_wire.parse_order(text, AT, lambda: angel_samples.KNOWN, Faults()))

    def upstox_order(chance: random.Random) -> str:
        return _updates(upstox_text(_text(chance, test_upstox_codec.ROW), AT, lambda: upstox_samples.KNOWN, Faults()))

    angel_dump = json.dumps(test_angelone_mapping.MASTER[:6]).encode()
    upstox_lines = json.dumps([test_upstox_mapping.line(), test_upstox_mapping.line()]).encode()

    def kite_dump(chance: random.Random) -> str:
        return _dump(zerodha.parse_instruments, garbled(chance, KITE_DUMP))

    def angel_master(chance: random.Random) -> str:
        if chance.random() < 0.5:
            return _dump(
                angelone_dump.parse_instruments, json.dumps([odd_row(chance, row) for row in test_angelone_mapping.MASTER[:3]]).encode()
            )
        return _dump(angelone_dump.parse_instruments, garbled(chance, angel_dump))

    def upstox_master(chance: random.Random) -> str:
        if chance.random() < 0.5:
            return _dump(upstox_dump.parse_instruments, json.dumps([odd_row(chance, test_upstox_mapping.line())]).encode())
        return _dump(upstox_dump.parse_instruments, garbled(chance, upstox_lines))

    def errors(chance: random.Random) -> str:
        status, is_order = chance.choice((200, 207, 400, 401, 403, 404, 422, 429, 500, 502, 503, 504, 599)), chance.random() < 0.6
        text = chance.choice(("", "<html>502 Bad Gateway</html>", "Too many requests", "Invalid token", "RMS", "\x00", "٣" * 50))
        kind = chance.choice(("", "TokenException", "OrderException", "GeneralException", "AB1010", "AG8001", "UDAPI100050", "Zzz", "-"))
        body = odd_row(chance, {"status": False, "message": text, "errorcode": kind, "errors": [{"errorCode": kind, "message": text}]})
        found: list[BrokerError] = [
            zerodha.failure(status, kind, text, is_order=is_order),
            angelone.failure(status, kind, text, is_order=is_order),
            upstox.failure(status, kind, text, is_order=is_order),
        ]
        angelone.error_of(body)
        upstox.error_of(body)
        wrong = [said for error in found if not isinstance(error, RateLimited) and (said := _failed(error, is_order, status))]
        return "; ".join(wrong)

    return {
        "zerodha frames": kite, "angelone frames": angel, "upstox frames": upstox_frame,
        "zerodha orders": kite_order, "angelone orders": angel_order, "upstox orders": upstox_order,
        "zerodha dumps": kite_dump, "angelone dumps": angel_master, "upstox dumps": upstox_master,
        "http errors": errors,
    }  # fmt: skip


NAMES = tuple(_targets())


def _hung(number: int, frame: object) -> None:
    raise TimeoutError(f"a thousand inputs took more than {HUNG_S} s")


def fuzz(name: str, seed: int, inputs: int) -> list[str]:
    """What is wrong with so many inputs for one target (the first few)."""
    feed, chance, problems = _targets()[name], random.Random(f"{name} {seed}"), list[str]()
    for number in range(inputs):
        if number % 1000 == 0:
            signal.alarm(HUNG_S)
        state = chance.getstate()
        try:
            said = feed(chance)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        if said:
            problems.append(f"{name}, seed {seed}, input {number} (chance {hash(state) & 0xFFFF:x}): {said}")
            if len(problems) > 4:
                break
    signal.alarm(0)
    return problems


def _job(job: tuple[str, int, int]) -> tuple[str, int, list[str]]:
    signal.signal(signal.SIGALRM, _hung)
    name, seed, inputs = job
    if name == "zerodha agreement":
        return name, test_kite_codec.agree(seed, inputs), []
    if name == "angelone agreement":
        return name, test_angelone_codec.agree(seed, inputs), []
    return name, inputs, fuzz(name, seed, inputs)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    logger.remove()
    began, tried, bad = time.monotonic(), Counter[str](), 0
    share = max(1, min(given.inputs, 50_000))
    jobs = [
        (name, given.seed * 10_000 + part, share)
        for part in range(-(-given.inputs // share))
        for name in (*NAMES, "zerodha agreement", "angelone agreement")
    ]
    with multiprocessing.Pool(given.workers) as pool:
        for name, inputs, problems in pool.imap_unordered(_job, jobs):
            tried[name] += inputs
            bad += len(problems)
            for problem in problems:
                print(f"violation: {problem[:400]}", flush=True)
    least = min(tried.values())
    print(f"fuzz: {len(tried)} targets, at least {least} inputs each, {bad} violations, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
