"""A script of every supported call of the official, unmodified smartapi-python SDK against a simulator; prints what it saw as JSON.

    python -m tests.wire.smartapi_sdk '{"rest": …, "stream": …, "admin": …, "credentials": …}'

A program of its own, to be run in a folder that may be littered: the SDK makes `logs/` where it stands, and asks a web service for the
public address while it is imported (stood in for here, as a firewall would).
"""

import json
import logging
import sys
import threading
import urllib.request
from collections.abc import Callable
from datetime import datetime
from typing import Any

import requests

from simulators.totp import totp
from tests.wire.by_hand import move, until


def load_sdk() -> Any:
    """The SmartApi package, imported without its request to the internet."""

    def refused(*args: Any, **named: Any) -> Any:
        raise OSError("no internet in tests")

    real, requests.get = requests.get, refused
    try:
        import logzero

        logzero.loglevel(logging.CRITICAL)
        import SmartApi
        import SmartApi.smartWebSocketOrderUpdate
        import SmartApi.smartWebSocketV2
    finally:
        requests.get = real
    return SmartApi


FUTURE, SHARE = "NIFTY23NOV26FUT", "RELIANCE-EQ"


class Script:
    """Runs the calls in order and keeps what each gave."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about
        self.given = about["credentials"]
        self.seen: dict[str, Any] = {}
        self.sdk = load_sdk()
        self.api = self.sdk.SmartConnect(api_key=self.given["api_key"], root=about["rest"])
        self.api._rootUrl = about["rest"]  # individual_order_details ignores `root`
        self.jwt = ""

    def now(self) -> datetime:
        """The market's time."""
        with urllib.request.urlopen(self.about["admin"], timeout=5) as answer:
            return datetime.fromisoformat(json.load(answer)["now"])

    def tried(self, name: str, call: Callable[[], Any]) -> None:
        try:
            self.seen[name] = call()
        except Exception as error:  # the SDK raises whatever a reply makes it trip over
            self.seen[name] = {"raised": type(error).__name__, "text": str(error)}

    def calm(self) -> None:
        """A second of the market and more, so that no limit bites."""
        move(self.about, 2.5)

    def login(self) -> None:
        code, mpin, secret = self.given["client_code"], self.given["mpin"], self.given["totp_secret"]
        self.seen["bad_totp"] = self.api.generateSession(code, mpin, "000000")
        self.calm()
        self.seen["bad_mpin"] = self.api.generateSession(code, "9999", totp(secret, self.now()))
        self.calm()
        session = self.api.generateSession(code, mpin, totp(secret, self.now()))
        self.seen["session"] = {"status": session["status"], "client": session["data"]["clientcode"]}
        self.refresh, self.jwt = session["data"]["refreshToken"], session["data"]["jwtToken"]
        self.calm()
        self.seen["profile"] = self.api.getProfile(self.refresh)["data"]["exchanges"]
        self.seen["feed_token"] = bool(self.api.getfeedToken())
        renewed = self.api.generateToken(self.refresh)
        self.seen["renewed"] = renewed["data"]["jwtToken"] != self.jwt.removeprefix("Bearer ")
        self.jwt = f"Bearer {renewed['data']['jwtToken']}"
        self.calm()
        self.tried("used_refresh", lambda: self.api.generateToken(self.refresh))
        self.refresh = renewed["data"]["refreshToken"]

    def market_data(self) -> None:
        rows = requests.get(f"{self.about['rest']}/OpenAPI_File/files/OpenAPIScripMaster.json", timeout=10).json()
        self.seen["master"] = {"rows": len(rows), "future": next(row for row in rows if row["symbol"] == FUTURE)}
        self.tokens = {row["symbol"]: row["token"] for row in rows}
        future, share = self.tokens[FUTURE], self.tokens[SHARE]
        self.seen["search"] = self.api.searchScrip("NSE", "RELIANCE")["data"]
        for mode in ("LTP", "OHLC", "FULL"):
            found = self.api.getMarketData(mode, {"NSE": [share, "1"], "NFO": [future]})["data"]
            self.seen[f"quote_{mode}"] = found
        self.seen["ltp"] = self.api.ltpData("NFO", FUTURE, future)["data"]
        asked = {"exchange": "NFO", "symboltoken": future, "fromdate": "2026-11-19 09:15", "todate": "2026-11-19 09:30"}
        self.seen["candles"] = self.api.getCandleData({**asked, "interval": "ONE_MINUTE"})["data"]
        self.seen["oi"] = self.api.getOIData({**asked, "interval": "FIVE_MINUTE"})["data"]
        self.calm()
        long = {**asked, "fromdate": "2026-10-01 09:15", "interval": "ONE_MINUTE"}
        self.tried("too_long", lambda: self.api.getCandleData(long))
        none = {**asked, "fromdate": "2026-11-15 09:15", "todate": "2026-11-15 15:30", "interval": "ONE_MINUTE"}
        self.seen["no_candles"] = self.api.getCandleData(none)

    def orders(self) -> None:
        api, future = self.api, self.tokens[FUTURE]
        last = api.ltpData("NFO", FUTURE, future)["data"]["ltp"]
        base = {"variety": "NORMAL", "tradingsymbol": FUTURE, "symboltoken": future, "exchange": "NFO", "producttype": "CARRYFORWARD",
                "duration": "DAY", "quantity": "65", "transactiontype": "BUY", "ordertype": "LIMIT"}  # fmt: skip
        far = f"{round(last * 0.98)}.00"
        placed = api.placeOrderFullResponse({**base, "ordertype": "MARKET", "price": "0", "ordertag": "SDKMARKET"})
        self.seen["placed"] = sorted(placed["data"])
        bought = placed["data"]["uniqueorderid"]
        resting = api.placeOrder({**base, "price": far, "ordertag": "SDKLIMIT"})
        stop = {**base, "variety": "STOPLOSS", "ordertype": "STOPLOSS_LIMIT", "transactiontype": "SELL", "ordertag": "SDKSTOP"}
        stop_id = api.placeOrder({**stop, "price": f"{round(last * 0.98) - 5}", "triggerprice": far})
        self.seen["no_symbol"] = api.placeOrderFullResponse({**base, "price": far, "tradingsymbol": "NOSUCH"})
        self.seen["hidden_refusal"] = api.placeOrder({**base, "price": far, "variety": "AMO"})
        self.calm()
        self.seen["long_tag"] = api.placeOrderFullResponse({**base, "price": far, "ordertag": "T" * 20})
        self.seen["robo"] = api.placeOrderFullResponse({**base, "price": far, "variety": "ROBO"})
        odd = api.placeOrder({**base, "price": far, "quantity": "64", "ordertag": "SDKODD"})
        self.calm()
        kept = ("variety", "tradingsymbol", "symboltoken", "exchange", "producttype", "duration", "quantity")
        change = {**{name: base[name] for name in kept}, "orderid": resting, "ordertype": "LIMIT", "price": f"{float(far) - 1}"}
        self.seen["modified"] = sorted(api.modifyOrder(change)["data"])
        self.calm()
        self.seen["cancelled"] = api.cancelOrder(resting, "NORMAL")["status"]
        self.seen["wrong_variety"] = api.cancelOrder(stop_id, "NORMAL")
        api.cancelOrder(stop_id, "STOPLOSS")
        self.calm()
        book = api.orderBook()["data"]
        self.seen["book"] = {row["ordertag"]: row for row in book}
        self.seen["details"] = api.individual_order_details(bought)["data"]["ordertag"]
        self.seen["trades"] = api.tradeBook()["data"]
        self.seen["odd"] = next(row for row in book if row["orderid"] == odd)
        self.seen["positions"] = api.position()["data"]

    def account(self) -> None:
        api, future = self.api, self.tokens[FUTURE]
        self.seen["rms"] = api.rmsLimit()["data"]
        self.seen["holdings"] = api.holding()["data"]
        self.seen["all_holdings"] = api.allholding()["data"]
        position = {"exchange": "NFO", "qty": 65, "price": 0, "productType": "INTRADAY", "token": future, "tradeType": "BUY"}
        self.seen["margin"] = api.getMarginApi({"positions": [{**position, "orderType": "LIMIT"}]})["data"]
        order = {"product_type": "CARRYFORWARD", "transaction_type": "BUY", "quantity": "65", "price": "25000", "exchange": "NFO",
                 "symbol_name": FUTURE, "token": future}  # fmt: skip
        self.seen["charges"] = api.estimateCharges({"orders": [order]})["data"]["summary"]
        conversion = {"exchange": "NFO", "symboltoken": future, "tradingsymbol": FUTURE, "oldproducttype": "CARRYFORWARD",
                      "newproducttype": "INTRADAY", "transactiontype": "BUY", "quantity": 65, "type": "DAY"}  # fmt: skip
        self.seen["converted"] = api.convertPosition(conversion)["status"]
        self.calm()
        self.seen["after_conversion"] = {row["producttype"]: row["netqty"] for row in api.position()["data"]}

    def triggers(self) -> None:
        api, share = self.api, self.tokens[SHARE]
        last = api.ltpData("NSE", SHARE, share)["data"]["ltp"]
        rule = {"tradingsymbol": SHARE, "symboltoken": share, "exchange": "NSE", "transactiontype": "BUY", "producttype": "DELIVERY",
                "price": round(last * 0.9), "qty": 10, "triggerprice": round(last * 0.91), "disclosedqty": 0}  # fmt: skip
        number = api.gttCreateRule(rule)
        api.gttModifyRule({**rule, "id": number, "qty": 20})
        self.seen["gtt"] = {"id": number, "quantity": api.gttDetails(number)["data"]["qty"]}
        self.seen["gtt_listed"] = len(api.gttLists(["FORALL"], 1, 10)["data"])
        api.gttCancelRule({"id": number, "symboltoken": share, "exchange": "NSE"})
        self.seen["gtt_cancelled"] = api.gttDetails(number)["data"]["status"]
        self.tried("gtt_refused", lambda: api.gttCreateRule({**rule, "price": 0}))

    def streams(self) -> None:
        """Both sockets in threads: ticks of every mode, the order socket's greeting and messages, a refused feed token."""
        feed_class = self.sdk.smartWebSocketV2.SmartWebSocketV2
        update_class = self.sdk.smartWebSocketOrderUpdate.SmartWebSocketOrderUpdate
        feed_class.ROOT_URI = f"{self.about['stream']}/smart-stream"
        update_class.WEBSOCKET_URI = f"{self.about['stream']}/smart-order-update"
        given = (self.jwt, self.given["api_key"], self.given["client_code"])
        feed, updates = feed_class(*given, self.api.getfeedToken(), max_retry_attempt=0), update_class(*given, self.api.getfeedToken())
        future, index = self.tokens[FUTURE], self.tokens["Nifty 50"]
        ticks: list[dict[str, Any]] = []
        texts: list[str] = []

        def on_open(socket: Any) -> None:
            for mode in (1, 2, 3):
                feed.subscribe("sdk0000001", mode, [{"exchangeType": 2, "tokens": [future]}, {"exchangeType": 1, "tokens": [index]}])

        feed.on_open, feed.on_data = on_open, lambda socket, tick: ticks.append(tick)
        feed.on_error = lambda *args: None
        updates.on_message = lambda socket, message: texts.append(message) if message else None
        updates.on_close = lambda *args: None
        threads = [threading.Thread(target=one.connect, daemon=True) for one in (feed, updates)]
        for thread in threads:
            thread.start()
        move(self.about, 6)
        base = {"variety": "NORMAL", "tradingsymbol": FUTURE, "symboltoken": future, "exchange": "NFO", "producttype": "INTRADAY",
                "duration": "DAY", "quantity": "65", "transactiontype": "SELL", "ordertype": "MARKET", "price": "0"}  # fmt: skip
        self.api.placeOrder({**base, "ordertag": "SDKSTREAM"})
        until(self.about, lambda: any("complete" in text for text in texts), "the order's end")
        until(self.about, lambda: len({(tick["exchange_type"], tick["subscription_mode"]) for tick in ticks}) == 6, "ticks of every mode")
        self.seen["modes"] = sorted({(tick["exchange_type"], tick["subscription_mode"], tick["token"]) for tick in ticks})
        self.seen["snap"] = next(tick for tick in ticks if tick["subscription_mode"] == 3 and tick["exchange_type"] == 2)
        self.seen["updates"] = [json.loads(text) for text in texts]
        bad = feed_class(self.jwt, given[1], given[2], "dead", max_retry_attempt=0)
        refused: list[str] = []
        bad.on_error = lambda *args: refused.append(str(args))
        bad.connect()
        self.seen["refused_feed"] = bool(refused)
        for one in (feed, updates):
            one.wsapp.keep_running = False
            one.wsapp.close()

    def limits(self) -> None:
        move(self.about, 3)
        self.tried("first_book", lambda: self.api.orderBook()["status"])
        self.tried("second_book", lambda: self.api.orderBook()["status"])

    def logout(self) -> None:
        self.seen["logout"] = self.api.terminateSession(self.given["client_code"])["status"]
        self.seen["after_logout"] = self.api.rmsLimit()


def main(about: dict[str, Any]) -> dict[str, Any]:
    script = Script(about)
    parts = (script.login, script.market_data, script.orders, script.account, script.triggers, script.streams, script.limits, script.logout)
    for part in parts:
        part()
        move(script.about, 3)
    return script.seen


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1])), default=str))
