"""What importing the trading path loads: the official REST SDK and neither Twisted, nor pandas, nor numpy."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
import brokers.zerodha
light = sorted(name for name in ("kiteconnect", "requests", "websocket", "urllib3") if name in sys.modules)
import brokers.stream, brokers.zerodha.client, brokers.zerodha.session, brokers.zerodha.wire
brokers.zerodha.client.load_sdk()
loaded = sorted(name for name in ("twisted", "autobahn", "OpenSSL", "kiteconnect.ticker", "pandas", "numpy") if name in sys.modules)
from kiteconnect import KiteTicker
print(json.dumps([light, loaded, "kiteconnect" in sys.modules, KiteTicker.__module__]))
"""


def test_the_trading_path_loads_the_sdk_without_its_ticker() -> None:
    run = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    light, loaded, sdk, ticker = json.loads(run.stdout)
    assert (light, loaded, sdk) == ([], [], True)
    assert ticker == "kiteconnect.ticker", "the real ticker is found by whoever asks for it later"
