"""The official, unmodified growwapi runs every call of ours against the free-running simulator: `make sdk-groww`.

No part of the suite: the SDK takes pandas, protobuf and certifi back by a major version, so that it needs an environment of its own. By
hand: `python -m tests.wire.groww_sdk PYTHON`, PYTHON being an interpreter that has it. Its addresses are hard-coded: a proxy that ends TLS
leads them here. Exit 1 if any call did not come out as it should.
"""

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

INSIDE = "--inside"
ROOT = Path(__file__).resolve().parents[2]


class Checks:
    """Calls that should return something, and calls that should be refused with a code."""

    def __init__(self) -> None:
        self.count = 0
        self.failed: list[str] = []

    def sees(self, name: str, call: Callable[[], Any], good: Callable[[Any], object]) -> Any:
        self.count += 1
        try:
            answer = call()
        except Exception as error:  # whatever the SDK trips over is the finding
            self.failed.append(f"{name}: {type(error).__name__}: {error}")
            return None
        if not good(answer):
            self.failed.append(f"{name}: {answer!r:.300}")
        return answer

    def refused(self, name: str, call: Callable[[], Any], code: str) -> None:
        self.count += 1
        try:
            answer = call()
        except Exception as error:
            if str(getattr(error, "code", "")) != code:
                self.failed.append(f"{name}: {type(error).__name__} {getattr(error, 'code', '')}: {error}")
            return
        self.failed.append(f"{name}: not refused: {answer!r:.200}")


def script(about: dict[str, Any], checks: Checks) -> None:
    """The SDK's side; `about` is what the simulator says of itself."""
    sdk: Any = importlib.import_module("growwapi").GrowwAPI
    given = about["credentials"]
    checks.refused("wrong code", lambda: sdk.get_access_token(given["api_key"], totp="000000"), "400")
    checks.refused("key of nobody", lambda: sdk.get_access_token("nobody", totp="000000"), "401")
    checks.refused("not approved", lambda: sdk.get_access_token(given["approval_api_key"], secret=given["approval_api_secret"]), "403")
    urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay).open(urllib.request.Request(about["login"], method="GET"))
    approved = lambda: sdk.get_access_token(given["approval_api_key"], secret=given["approval_api_secret"])  # noqa: E731
    checks.sees("approved key", approved, lambda token: len(token) == 40)
    token = checks.sees("TOTP key", lambda: sdk.get_access_token(given["api_key"], totp=about["code"]), lambda token: len(token) == 40)
    checks.refused("dead token", lambda: sdk("nothing").get_user_profile(), "GA005")
    api = sdk(token)
    checks.sees("profile", api.get_user_profile, lambda row: row["vendor_user_id"] == "GR1234")
    table: Any = checks.sees("instruments", api.get_all_instruments, lambda frame: len(frame) > 100)
    futures = table[(table["instrument_type"] == "FUT") & (table["underlying_symbol"] == "NIFTY")].sort_values("expiry_date")
    symbol, groww_symbol, lot = futures.iloc[0][["trading_symbol", "groww_symbol", "lot_size"]]
    expiry, lot = str(futures.iloc[0]["expiry_date"]), int(lot)
    checks.sees("by symbol", lambda: api.get_instrument_by_groww_symbol(groww_symbol), lambda row: row["trading_symbol"] == symbol)

    quote = checks.sees("quote", lambda: api.get_quote(symbol, "NSE", "FNO"), lambda row: row["bid_price"] < row["offer_price"])
    price = float(quote["last_price"])
    checks.sees("index quote", lambda: api.get_quote("NIFTY", "NSE", "CASH"), lambda row: row["last_price"] > 0)
    checks.sees("ltp of two", lambda: api.get_ltp(("NSE_RELIANCE", "NSE_NIFTY"), "CASH"), lambda row: len(row) == 2)
    checks.sees("ltp as text", lambda: api.get_ltp("NSE_RELIANCE, NSE_SBIN", "CASH"), lambda row: set(row) == {"NSE_RELIANCE", "NSE_SBIN"})
    checks.sees("ohlc", lambda: api.get_ohlc("NSE_RELIANCE", "CASH"), lambda row: row["NSE_RELIANCE"]["high"] >= row["NSE_RELIANCE"]["low"])
    checks.refused("51 symbols", lambda: api.get_ltp(tuple(f"NSE_S{n}" for n in range(51)), "CASH"), "GA001")
    checks.refused("unknown symbol", lambda: api.get_ltp("NSE_NOBODY", "CASH"), "GA004")

    def candles(first: str, name: str) -> Any:
        return api.get_historical_candles("NSE", "FNO", groww_symbol, first, "2026-11-20 09:50:00", name)

    checks.sees("candles", lambda: candles("2026-11-20 09:15:00", "5minute"), lambda row: len(row["candles"]) >= 3)
    checks.refused("31 days of minutes", lambda: candles("2026-10-19 09:15:00", "1minute"), "GA001")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = lambda: api.get_historical_candle_data(symbol, "NSE", "FNO", "2026-11-20 09:15:00", "2026-11-20 09:45:00", 5)  # noqa: E731
        checks.sees("older candles", old, lambda row: isinstance(row["candles"][0][0], int))
    checks.sees("expiries", lambda: api.get_expiries("NSE", "NIFTY", 2026, 11), lambda row: expiry in row["expiries"])
    checks.sees("contracts", lambda: api.get_contracts("NSE", "NIFTY", expiry), lambda row: groww_symbol in row["contracts"])
    checks.sees("chain", lambda: api.get_option_chain("NSE", "NIFTY", expiry), lambda row: row["strikes"])

    def place(reference: str, at: float, **changes: Any) -> Any:
        words = {"order_type": "LIMIT", "quantity": lot, "validity": "DAY", **changes}
        return api.place_order(
            exchange="NSE", segment="FNO", product="MIS", trading_symbol=symbol, transaction_type="BUY", price=at,
            order_reference_id=reference, **words,
        )  # fmt: skip

    far = checks.sees("place", lambda: place("Far-0000000001", round(price * 0.99)), lambda row: row["order_reference_id"])[
        "groww_order_id"
    ]
    checks.refused("used reference", lambda: place("Far-0000000001", round(price * 0.99)), "GA007")
    checks.refused("short reference", lambda: place("Far", round(price * 0.99)), "GA001")
    checks.refused("IOC", lambda: place("Ioc-0000000001", round(price), validity="IOC"), "GA001")
    checks.refused("part of a lot", lambda: place("Odd-0000000001", round(price), quantity=lot + 1), "GA001")
    _until(lambda: api.get_order_status("FNO", far)["order_status"] == "APPROVED")
    changed = lambda: api.modify_order("LIMIT", "FNO", far, lot * 2, price=round(price * 0.985))  # noqa: E731
    checks.sees("modify", changed, lambda row: row["groww_order_id"] == far)
    _until(lambda: api.get_order_detail("FNO", far)["quantity"] == lot * 2)
    by_reference = lambda: api.get_order_status_by_reference("FNO", "Far-0000000001")  # noqa: E731
    checks.sees("by reference", by_reference, lambda row: row["groww_order_id"] == far)
    checks.sees("cancel", lambda: api.cancel_order(far, "FNO"), lambda row: row["groww_order_id"] == far)
    _until(lambda: api.get_order_status("FNO", far)["order_status"] == "CANCELLED")
    checks.refused("cancel again", lambda: api.cancel_order(far, "FNO"), "GA006")
    near = checks.sees("place near", lambda: place("Near-0000000001", round(price * 1.005)), lambda row: row)["groww_order_id"]
    _until(lambda: api.get_order_status("FNO", near)["order_status"] == "EXECUTED")
    stop = lambda: place("Stop-0000000001", round(price * 1.02), order_type="SL", trigger_price=round(price * 1.018))  # noqa: E731
    checks.sees("stop", stop, lambda row: row["groww_order_id"])
    checks.sees("market", lambda: place("Mark-0000000001", 0, order_type="MARKET"), lambda row: row["groww_order_id"])
    checks.sees(
        "trades", lambda: api.get_trade_list_for_order(near, "FNO"), lambda row: sum(t["quantity"] for t in row["trade_list"]) == lot
    )
    checks.sees("list", lambda: api.get_order_list(segment="FNO"), lambda row: len(row["order_list"]) == 4)
    _until(lambda: api.get_positions_for_user("FNO")["positions"][0]["quantity"] == 2 * lot)
    one = lambda: api.get_position_for_trading_symbol(symbol, "FNO")  # noqa: E731
    checks.sees("position", one, lambda row: row["positions"][0]["credit_quantity"] == 2 * lot)
    checks.sees("holdings", api.get_holdings_for_user, lambda row: row["holdings"] == [])
    checks.sees("margins", api.get_available_margin_details, lambda row: row["clear_cash"] > 0)
    words = {"trading_symbol": symbol, "transaction_type": "BUY", "quantity": lot, "price": price, "order_type": "LIMIT"}
    lines = [{**words, "product": "NRML", "exchange": "NSE"}]
    checks.sees("order margins", lambda: api.get_order_margin_details("FNO", lines), lambda row: row["total_requirement"] > 0)
    checks.sees("rate limit", lambda: _throttled(lambda: api.get_user_profile()), bool)


def _throttled(call: Callable[[], Any]) -> bool:
    """Whether the SDK says what a 429 is, before the minute's reads are spent."""
    for _ in range(600):
        try:
            call()
        except Exception as error:
            return "RateLimit" in type(error).__name__
    return False


class _Stay(urllib.request.HTTPRedirectHandler):
    def http_error_302(self, request: Any, reply: Any, *args: Any) -> Any:
        return reply


def _code(about: dict[str, Any]) -> str:
    """The authenticator's digits at the simulator's time."""
    from simulators.totp import totp

    with urllib.request.urlopen(about["admin"]) as reply:
        return totp(about["credentials"]["totp_secret"], datetime.fromisoformat(json.loads(reply.read())["now"]))


def _until(ready: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.2)


def main(arguments: list[str]) -> int:
    if arguments[:1] == [INSIDE]:
        checks = Checks()
        script(json.loads(arguments[1]), checks)
        print(json.dumps({"version": importlib.metadata.version("growwapi"), "count": checks.count, "failed": checks.failed}))
        return 0
    from tests.wire.granted_client import simulator
    from tests.wire.tls_proxy import TlsProxy, self_signed

    with tempfile.TemporaryDirectory() as folder, simulator("groww", "--start", "09:50") as about:
        address, certificate = urlsplit(about["rest"]), self_signed(Path(folder), "*.groww.in")
        with TlsProxy((str(address.hostname), int(address.port or 0)), certificate) as proxy:
            environment = {**os.environ, "https_proxy": proxy.url, "REQUESTS_CA_BUNDLE": str(certificate), "no_proxy": ""}
            command = [arguments[0], "-m", "tests.wire.groww_sdk", INSIDE, json.dumps({**about, "code": _code(about)})]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    if done.returncode:
        print(done.stderr[-2000:])
        return 1
    found = json.loads(done.stdout.splitlines()[-1])
    for line in found["failed"]:
        print(line)
    good = found["count"] - len(found["failed"])
    print(f"growwapi {found['version']}, unmodified: {good} of {found['count']} calls came out as they should")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
