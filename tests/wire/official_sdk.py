"""A script of every supported call of the official, unmodified kiteconnect SDK against a simulator; prints what it saw as JSON.

    python -m tests.wire.official_sdk '{"rest": …, "stream": …, "login": …, "credentials": …}'

A program of its own: the SDK's ticker runs on Twisted's reactor, which starts once in a process.
"""

import json
import sys
import threading
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kiteconnect.exceptions
import requests
from kiteconnect import KiteConnect, KiteTicker

from tests.wire.by_hand import move, until

FUTURE = "NIFTY26NOVFUT"


class Script:
    """Runs the calls in order and keeps what each gave."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about
        self.seen: dict[str, Any] = {}
        self.kite = KiteConnect(about["credentials"]["api_key"], root=about["rest"])
        self.kite._default_login_uri = about["login"]

    def refused(self, name: str, call: Callable[[], Any]) -> None:
        try:
            self.seen[name] = {"returned": call()}
        except kiteconnect.exceptions.KiteException as error:
            self.seen[name] = {"type": type(error).__name__, "code": error.code, "message": str(error)}

    def login(self) -> None:
        reply = requests.get(self.kite.login_url() + "&redirect_params=state%3Dxyz", allow_redirects=False, timeout=5)
        query = parse_qs(urlsplit(reply.headers["location"]).query)
        token = query["request_token"][0]
        self.seen["redirect"] = {"status": reply.status_code, "state": query["state"], "action": query["action"]}
        self.refused("bad_checksum", lambda: self.kite.generate_session(token, "wrong"))
        session = self.kite.generate_session(token, self.about["credentials"]["api_secret"])
        self.seen["session"] = {"user_id": session["user_id"], "parsed": isinstance(session["login_time"], datetime)}
        self.refused("reused_token", lambda: self.kite.generate_session(token, self.about["credentials"]["api_secret"]))
        self.seen["profile"] = self.kite.profile()["user_id"]

    def market_data(self) -> None:
        kite = self.kite
        everything, cash, nfo = kite.instruments(), kite.instruments("NSE"), kite.instruments("NFO")
        self.seen["instruments"] = {"all": len(everything), "NSE": len(cash), "NFO": len(nfo)}
        future = next(row for row in nfo if row["tradingsymbol"] == FUTURE)
        self.seen["future"] = {**future, "expiry": future["expiry"].isoformat()}
        keys = ["NSE:RELIANCE", f"NFO:{FUTURE}", "NSE:NIFTY 50", "NSE:NOSUCH", str(future["instrument_token"])]
        for name in ("ltp", "ohlc", "quote"):
            found = getattr(kite, name)(keys)
            self.seen[name] = sorted(found)
            self.seen[f"{name}_future"] = json.loads(json.dumps(found[f"NFO:{FUTURE}"], default=str))
            move(self.about, 2)
        self.refused("quote_cap", lambda: kite.quote(["NSE:RELIANCE"] * 501))
        token = future["instrument_token"]
        day = date(2026, 11, 19)
        minutes = kite.historical_data(token, datetime(2026, 11, 19, 9, 15), datetime(2026, 11, 19, 9, 30), "minute", oi=True)
        days = kite.historical_data(token, day - timedelta(days=9), day, "day", continuous=True)
        self.seen["candles"] = {"minutes": len(minutes), "first": str(minutes[0]["date"]), "oi": "oi" in minutes[0], "days": len(days)}
        self.refused("too_long", lambda: kite.historical_data(token, day - timedelta(days=61), day, "minute"))
        move(self.about, 2)
        self.refused("no_token", lambda: kite.historical_data(1, day, day, "day"))

    def orders(self) -> None:
        kite = self.kite
        price = kite.ltp(f"NFO:{FUTURE}")[f"NFO:{FUTURE}"]["last_price"]
        base: dict[str, Any] = {"exchange": "NFO", "tradingsymbol": FUTURE, "product": "NRML", "quantity": 65}

        def place(**more: Any) -> Any:
            return kite.place_order("regular", **{**base, "transaction_type": "BUY", **more})

        far = round(price * 0.98, 0)
        bought = place(order_type="MARKET", market_protection=-1, tag="SDKMARKET")
        resting = place(order_type="LIMIT", price=far, validity="DAY", tag="SDKLIMIT")
        stop = place(transaction_type="SELL", order_type="SL", price=far - 5, trigger_price=far, tag="SDKSTOP")
        self.refused("unprotected", lambda: place(order_type="MARKET"))
        self.refused("odd_lot", lambda: place(order_type="LIMIT", price=far, quantity=64))
        self.refused("long_tag", lambda: place(order_type="LIMIT", price=far, tag="T" * 21))
        self.refused("no_symbol", lambda: place(order_type="LIMIT", price=far, tradingsymbol="NIFTY99NOVFUT"))
        move(self.about, 5)
        kite.modify_order("regular", resting, price=far - 1)
        move(self.about, 5)
        kite.cancel_order("regular", resting)
        kite.cancel_order("regular", stop)
        self.seen["slices"] = kite.place_autoslice_order(
            "regular", **{**base, "transaction_type": "BUY", "quantity": 65 * 40, "order_type": "LIMIT", "price": far}
        )
        leg = kite.place_order(
            "iceberg", **{**base, "transaction_type": "BUY", "quantity": 130}, order_type="LIMIT", price=far, iceberg_legs=2
        )
        move(self.about, 7)
        self.refused("cancel_again", lambda: kite.cancel_order("regular", resting))
        book = kite.orders()
        self.seen["book"] = [{name: str(value) for name, value in row.items()} for row in book]
        self.seen["ladders"] = {row["tag"]: [step["status"] for step in kite.order_history(row["order_id"])] for row in book if row["tag"]}
        self.seen["iceberg"] = next(row["meta"] for row in book if row["order_id"] == leg)
        self.seen["trades"] = len(kite.trades())
        trade = kite.order_trades(bought)[0]
        self.seen["trade"] = {"quantity": trade["quantity"], "time_parsed": isinstance(trade["fill_timestamp"], datetime)}
        self.refused("no_order", lambda: kite.order_history("1"))
        for row in book:
            if row["status"] in ("OPEN", "TRIGGER PENDING"):
                kite.cancel_order(row["variety"], row["order_id"])

    def account(self) -> None:
        kite = self.kite
        move(self.about, 3)
        net = kite.positions()["net"]
        self.seen["positions"] = [{name: row[name] for name in ("tradingsymbol", "product", "quantity")} for row in net]
        (row,) = [row for row in net if row["tradingsymbol"] == FUTURE]
        self.seen["identities"] = {
            "value": abs(row["value"] - (row["sell_value"] - row["buy_value"])) < 0.01,
            "pnl": abs(row["pnl"] - (row["value"] + row["quantity"] * row["last_price"] * row["multiplier"])) < 0.01,
        }
        self.seen["converted"] = kite.convert_position("NFO", FUTURE, "BUY", "day", 65, "NRML", "MIS")
        self.seen["after_conversion"] = {row["product"]: row["quantity"] for row in kite.positions()["net"]}
        self.seen["margins"] = {"segments": sorted(kite.margins()), "net": kite.margins("equity")["net"]}
        self.seen["holdings"], self.seen["auctions"] = kite.holdings(), kite.get_auction_instruments()
        move(self.about, 2)
        order: dict[str, Any] = {
            "exchange": "NFO",
            "tradingsymbol": FUTURE,
            "transaction_type": "BUY",
            "variety": "regular",
            "product": "NRML",
        }
        order |= {"order_type": "LIMIT", "quantity": 65, "price": 25000, "trigger_price": 0}
        (margin,) = kite.order_margins([order])
        basket = kite.basket_order_margins([order, order], consider_positions=True, mode="compact")
        (note,) = kite.get_virtual_contract_note([{**order, "order_id": "1", "average_price": 25000}])
        self.seen["margin"] = {"span": margin["span"] > 0, "total": margin["total"], "basket": basket["final"]["total"]}
        self.seen["charges"] = note["charges"]
        self.seen["mf"] = [kite.mf_orders(), kite.mf_sips(), kite.mf_holdings()]

    def triggers(self) -> None:
        kite = self.kite
        last = kite.ltp("NSE:RELIANCE")["NSE:RELIANCE"]["last_price"]
        leg = {"transaction_type": "SELL", "quantity": 10, "order_type": "LIMIT", "product": "CNC", "price": round(last * 0.9)}
        oco = kite.place_gtt("two-leg", "RELIANCE", "NSE", [last * 0.9, last * 1.1], last, [leg, {**leg, "price": round(last * 1.1)}])
        one = oco["trigger_id"]
        kite.modify_gtt(one, "two-leg", "RELIANCE", "NSE", [last * 0.8, last * 1.2], last, [leg, leg])
        self.seen["gtt"] = {
            "status": kite.get_gtt(one)["status"],
            "listed": len(kite.get_gtts()),
            "result": kite.get_gtt(one)["orders"][0]["result"],
        }
        self.refused("near_gtt", lambda: kite.place_gtt("single", "RELIANCE", "NSE", [last * 1.0001], last, [leg]))
        kite.delete_gtt(one)
        self.seen["gtt_deleted"] = kite.get_gtt(one)["status"]

    def limits(self) -> None:
        move(self.about, 2)
        outcomes = []
        for _ in range(3):
            try:
                self.kite.ltp("NSE:RELIANCE")
                outcomes.append(200)
            except kiteconnect.exceptions.NetworkException as error:
                outcomes.append(error.code)
        self.seen["quote_limit"] = outcomes

    def ticker(self) -> None:
        """The ticker in a thread: ticks of all modes, an order message, error texts, a refused token."""
        kws = KiteTicker(self.kite.api_key, self.kite.access_token, root=self.about["stream"])
        future, index = self.seen["future"]["instrument_token"], 256265
        ticks: list[dict[str, Any]] = []
        updates: list[dict[str, Any]] = []
        errors: list[str] = []
        raw: list[int] = []
        opened, closed = threading.Event(), threading.Event()

        def on_connect(ws: Any, response: Any) -> None:
            ws.subscribe([future, index])
            opened.set()

        def on_ticks(ws: Any, batch: list[dict[str, Any]]) -> None:
            if not ticks:
                ws.set_mode("full", [future])
                ws.set_mode("ltp", [index])
            ticks.extend(batch)

        kws.on_connect, kws.on_ticks = on_connect, on_ticks
        kws.on_message = lambda ws, payload, binary: raw.append(len(payload))
        kws.on_order_update = lambda ws, data: updates.append(data)
        kws.on_error = lambda ws, code, reason: errors.append(f"{code} {reason}")
        kws.on_close = lambda ws, code, reason: closed.set()
        kws.connect(threaded=True)
        until(self.about, opened.is_set, "the connection")
        self.kite.place_order("regular", "NFO", FUTURE, "SELL", 65, "MIS", "MARKET", market_protection=2, tag="SDKTICKER")
        from twisted.internet import reactor

        reactor.callFromThread(kws.ws.sendMessage, b"nonsense")
        until(self.about, lambda: updates and updates[-1]["status"] == "COMPLETE" and errors, "an order's end and the answer to nonsense")

        def modes_of() -> list[tuple[int, str]]:
            return sorted({(tick["instrument_token"], tick["mode"]) for tick in ticks})

        until(self.about, lambda: len(modes_of()) == 4, "ticks of every mode")
        modes = modes_of()
        full = next(tick for tick in ticks if tick["mode"] == "full")
        self.seen["ticks"] = {"modes": modes, "count": len(ticks), "depth": len(full["depth"]["buy"]), "fields": sorted(full)}
        self.seen["updates"] = [
            {name: row[name] for name in ("status", "filled_quantity", "tags", "order_type", "user_id")} for row in updates
        ]
        self.seen["stream_errors"] = errors[:]
        reactor.callFromThread(kws.close)
        self.seen["closed"] = closed.wait(60)
        bad = KiteTicker(self.kite.api_key, "dead", root=self.about["stream"])
        refused = threading.Event()

        def on_bad(ws: Any, code: Any, reason: Any) -> None:
            self.seen["bad_token"] = str(reason)
            refused.set()

        bad.on_error = on_bad
        reactor.callFromThread(bad.connect, threaded=True)
        assert refused.wait(60)
        reactor.callFromThread(bad.stop_retry)

    def logout(self) -> None:
        self.seen["logout"] = self.kite.invalidate_access_token()
        expired: list[bool] = []
        self.kite.set_session_expiry_hook(lambda: expired.append(True))
        self.refused("after_logout", self.kite.profile)
        self.seen["hook"] = expired


def main(about: dict[str, Any]) -> dict[str, Any]:
    script = Script(about)
    for part in (
        script.login,
        script.market_data,
        script.orders,
        script.account,
        script.triggers,
        script.limits,
        script.ticker,
        script.logout,
    ):
        part()
        move(script.about, 3)
    return script.seen


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1])), default=str))
