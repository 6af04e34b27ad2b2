"""The measured process of benchmarks/memory.py: become ready as the daemon does on a restart, then tell the resident memory."""

import json
import resource
import sys
from pathlib import Path

import runtime.daemon
from benchmarks.house import DAY, MORNING, MorningClock, make_house
from brokers.spec import Endpoints
from core.types import SessionState


def main() -> None:
    folder = Path(sys.argv[1])
    house = make_house(folder, Endpoints("http://127.0.0.1:9", "ws://127.0.0.1:9", "http://127.0.0.1:9/login"), MorningClock(MORNING))
    assert house.session.state() is SessionState.VALID
    snapshot = house.instruments.open(DAY)
    assert snapshot is not None
    house.lookup.set(snapshot)
    names = [snapshot.resolve(name, DAY).key for name in ("RELIANCE", "NIFTY_FUT", "BANKNIFTY_FUT")]
    status = Path("/proc/self/status").read_text()
    kilobytes = next((int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS:")), 0)
    kilobytes = kilobytes or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"rows": len(snapshot), "names": names, "rss_mb": kilobytes / 1024, "daemon": runtime.daemon.__name__}))


if __name__ == "__main__":
    main()
