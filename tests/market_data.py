"""Real market data that is not ours to publish: NIYAM_MARKET_DATA names its folder; a test that lacks it is skipped, and says so."""

import os
from pathlib import Path

DATA = Path(os.environ.get("NIYAM_MARKET_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
MASTERS = DATA / "masters"  # brokers' instrument dumps
REFERENCE = DATA / "reference"  # the exchange's lists, and the days and hours of recorded series
