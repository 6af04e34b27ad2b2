"""Fuzz: valid messages of each broker, cut, garbled and mixed; nothing crashes, nothing hangs, and no price comes out that is none.

    python -m tests.proofs.fuzz --inputs 1000000

Binary frames of Zerodha and Angel One that are valid are also compared, field by field, with the official parsers.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter

from loguru import logger

from tests.proofs.fuzz_targets import all_targets
from tests.wire import test_angelone_codec, test_kite_codec

HUNG_S, LATE_S = 10, 300  # seconds of CPU, and of the wall's clock, within which a thousand inputs are read
NAMES = tuple(all_targets())


def _hung(number: int, frame: object) -> None:
    raise TimeoutError(f"a thousand inputs took more than {HUNG_S} s of CPU, or {LATE_S} s")


def _allow(cpu: float, wall: int) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu)
    signal.alarm(wall)


def fuzz(name: str, seed: int, inputs: int) -> list[str]:
    """What is wrong with so many inputs for one target (the first few)."""
    signal.signal(signal.SIGPROF, _hung)
    feed, chance, problems = all_targets()[name], random.Random(f"{name} {seed}"), list[str]()
    for number in range(inputs):
        if number % 1000 == 0:
            _allow(HUNG_S, LATE_S)
        state = chance.getstate()
        try:
            said = feed(chance)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        if said:
            problems.append(f"{name}, seed {seed}, input {number} (chance {hash(state) & 0xFFFF:x}): {said}")
            if len(problems) > 4:
                break
    _allow(0, 0)
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
    parser.add_argument("--only", nargs="*", default=[*NAMES, "zerodha agreement", "angelone agreement"], help="these targets")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    logger.remove()
    began, tried, bad = time.monotonic(), Counter[str](), 0
    share = max(1, min(given.inputs, 50_000))
    jobs = [(name, given.seed * 10_000 + part, share) for part in range(-(-given.inputs // share)) for name in given.only]
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
