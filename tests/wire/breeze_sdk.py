"""A script of every supported call of the official, unmodified breeze-connect SDK against a simulator; prints what it saw as JSON.

    TZ=Asia/Kolkata python -m tests.wire.breeze_sdk '{"rest": …, "login": …, "credentials": …}'

A program of its own, to be run in a folder that may be littered: the SDK downloads the security master while it is imported, makes `logs/`
where it stands, and takes the top-level name `config`, under which its own one with the simulator's addresses is laid beforehand.
"""

import importlib.util
import json
import sys
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, quote_plus, urlsplit

from brokers.icici.wire import FeedDialect, OrderDialect
from core.types import IST, Tick
from tests.wire.by_hand import move, until
from tests.wire.icici_house import Names

MASTER = "/MotherAppMaster/SecurityMaster.zip"


def load_sdk(rest: str) -> Any:
    """The breeze_connect package, its files untouched, with every address the simulator's."""
    found = importlib.util.find_spec("breeze_connect")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent
    spec = importlib.util.spec_from_file_location("config", folder / "config.py")
    assert spec is not None
    assert spec.loader is not None
    config = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(config)
    given: Any = config
    given.API_URL, given.BREEZE_NEW_URL = f"{rest}/breezeapi/api/v1/", f"{rest}/api/v2/"
    given.SECURITY_MASTER_URL = rest + MASTER
    given.LIVE_STREAM_URL, given.LIVE_OHLC_STREAM_URL, given.LIVE_FEEDS_URL = rest, rest, f"{rest}/?host=livefeeds"
    sys.modules["config"] = config
    try:
        from breeze_connect.breeze_connect import BreezeConnect
    finally:
        del sys.modules["config"]
        sys.path.remove(str(folder))
    return BreezeConnect


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


class Script:
    """Runs the calls in order and keeps what each gave."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about
        self.seen: dict[str, Any] = {}
        self.breeze = load_sdk(about["rest"])(api_key=about["credentials"]["api_key"])
        self.expiry = ""
        self.future: dict[str, str] = {}

    def ok(self, name: str, reply: Any) -> Any:
        """The Success of a reply that has one; anything else is kept under its name."""
        if not isinstance(reply, dict) or reply.get("Status") != 200 or reply.get("Error") is not None:
            self.seen.setdefault("refused", {})[name] = reply
            return None
        return reply["Success"]

    def refused(self, name: str, call: Callable[[], Any]) -> None:
        try:
            reply = call()
            self.seen[name] = [reply["Status"], reply["Error"]]
        except Exception as error:  # the SDK loses every type
            self.seen[name] = str(error)

    def login(self) -> None:
        given = self.about["credentials"]
        opener = urllib.request.build_opener(_Stay)
        try:
            opener.open(f"{self.about['login']}?api_key={quote_plus(given['api_key'])}")
        except HTTPError as error:
            number = parse_qs(urlsplit(error.headers["Location"]).query)["apisession"][0]
        self.refused("wrong_session", lambda: self.breeze.generate_session(given["api_secret"], "00000000"))
        self.breeze.generate_session(api_secret=given["api_secret"], session_token=number)
        self.seen["user"] = self.breeze.user_id
        self.seen["customer"] = self.ok("customer", self.breeze.get_customer_details(number))["idirect_userid"]
        self.seen["names"] = self.breeze.get_names("nse", "RELIANCE")

    def market_data(self) -> None:
        codes = self.breeze.stock_script_dict_list[4]
        contract = next(name for name in codes if name.startswith("FUT-NIFTY-"))
        day = datetime.strptime(contract.removeprefix("FUT-NIFTY-") + " +0530", "%d-%b-%Y %z").date()
        self.expiry = f"{day}T06:00:00.000Z"
        self.future = {"stock_code": "NIFTY", "exchange_code": "NFO", "expiry_date": self.expiry, "right": "others", "strike_price": "0"}
        share = {"stock_code": "RELIND", "exchange_code": "NSE", "product_type": "cash", "expiry_date": "", "right": "", "strike_price": ""}
        self.seen["cash_quotes"] = [row["exchange_code"] for row in self.ok("quotes", self.breeze.get_quotes(**share))]
        self.seen["unknown_quotes"] = self.breeze.get_quotes(**{**share, "stock_code": "RELIANCE"})["Success"]
        self.seen["ltp"] = self.ok("future", self.breeze.get_quotes(**self.future, product_type="futures"))[0]["ltp"]
        chain = self.breeze.get_option_chain_quotes(
            stock_code="NIFTY", exchange_code="NFO", expiry_date=self.expiry, product_type="options", right="call", strike_price=""
        )
        self.seen["chain"] = chain["Error"]
        whole = self.breeze.get_option_chain_quotes(
            stock_code="NIFTY", exchange_code="NFO", expiry_date=self.expiry, product_type="futures", right="", strike_price=""
        )
        self.seen["chain_futures"] = [row["product_type"] for row in self.ok("chain", whole)]
        span = {"from_date": "2026-11-19T09:15:00.000Z", "to_date": "2026-11-19T15:30:00.000Z"}
        new = self.ok(
            "v2", self.breeze.get_historical_data_v2("1minute", **span, stock_code="RELIND", exchange_code="NSE", product_type="cash")
        )
        self.seen["v2"] = [len(new), new[0]["datetime"], type(new[0]["close"]).__name__]
        old = self.breeze.get_historical_data("5minute", **span, stock_code="RELIND", exchange_code="NSE", product_type="")
        rows = self.ok("v1", old)
        self.seen["v1"] = [len(rows), type(rows[0]["close"]).__name__]

    def orders(self) -> None:
        base = {**self.future, "product": "futures", "quantity": "65", "validity": "day", "stoploss": "", "disclosed_quantity": "0"}
        far = round(self.seen["ltp"] * 0.98)
        place = self.breeze.place_order
        market = self.ok("market", place(**base, action="buy", order_type="market", price="", user_remark="SDK1"))
        resting = self.ok("limit", place(**base, action="buy", order_type="limit", price=str(far), user_remark="SDK2"))
        stop = {**base, "stoploss": str(far)}
        waiting = self.ok("stop", place(**stop, action="sell", order_type="stoploss", price=str(far - 10), user_remark="SDK3"))
        self.refused("margin_product", lambda: place(**{**base, "product": "margin"}, action="buy", order_type="limit", price=str(far)))
        self.refused("wrong_code", lambda: place(**{**base, "stock_code": "NOSUCH"}, action="buy", order_type="limit", price=str(far)))
        move(self.about, 4)
        change = {"order_type": "limit", "stoploss": "", "quantity": "65", "price": str(far - 5), "validity": "day"}
        moved = self.breeze.modify_order(
            order_id=resting["order_id"], exchange_code="NFO", **change, disclosed_quantity="0", validity_date=""
        )
        self.seen["modified"] = self.ok("modify", moved)["message"]
        move(self.about, 4)
        ends = [self.ok("cancel", self.breeze.cancel_order("NFO", one["order_id"]))["message"] for one in (resting, waiting)]
        self.seen["cancelled"] = ends
        move(self.about, 4)
        self.refused("cancel_again", lambda: self.breeze.cancel_order("NFO", resting["order_id"]))
        today = {"from_date": "2026-11-20T06:00:00.000Z", "to_date": "2026-11-20T06:00:00.000Z"}
        book = self.ok("book", self.breeze.get_order_list("NFO", **today))
        self.seen["book"] = [[row["status"], row["order_type"], row["user_remark"]] for row in book]
        detail = self.ok("detail", self.breeze.get_order_detail("NFO", market["order_id"]))
        self.seen["detail"] = [detail[0]["status"], detail[0]["quantity"]]
        trades = self.breeze.get_trade_list(**today, exchange_code="NFO", product_type="", action="", stock_code="")
        self.seen["trades"] = [[row["stock_code"], row["quantity"]] for row in self.ok("trades", trades)]
        self.seen["trade_detail"] = sum(
            int(row["executed_quantity"]) for row in self.ok("trade", self.breeze.get_trade_detail("NFO", market["order_id"]))
        )

    def account(self) -> None:
        self.seen["positions"] = [
            [row["action"], row["quantity"], row["product_type"]] for row in self.ok("positions", self.breeze.get_portfolio_positions())
        ]
        self.seen["demat"] = self.ok("demat", self.breeze.get_demat_holdings())
        holdings = self.breeze.get_portfolio_holdings("NSE", "2026-11-01T06:00:00.000Z", "2026-11-20T06:00:00.000Z", "", "")
        self.seen["holdings"] = self.ok("holdings", holdings)
        self.seen["funds"] = self.ok("funds", self.breeze.get_funds())["allocated_fno"] > 0
        self.seen["set_funds"] = self.ok("set_funds", self.breeze.set_funds("debit", "100", "FNO"))
        self.seen["margin"] = self.ok("margin", self.breeze.get_margin("NFO"))["cash_limit"] > 0
        line = {"strike_price": "0", "quantity": "65", "right": "others", "product": "futures", "action": "buy", "price": "25600"}
        line |= {"expiry_date": self.expiry, "stock_code": "NIFTY", "cover_order_flow": "N", "fresh_order_type": "N"}
        self.seen["calculator"] = float(self.ok("calculator", self.breeze.margin_calculator([line], "NFO"))["span_margin_required"]) > 0
        costs = self.breeze.preview_order(
            stock_code="RELIND", exchange_code="NSE", product="cash", order_type="limit", price="1450", action="buy", quantity="10",
            specialflag="N",
        )  # fmt: skip
        self.seen["preview"] = self.ok("preview", costs)["total_brokerage"] > 0
        square = self.breeze.square_off(
            source_flag="", stock_code="NIFTY", exchange_code="NFO", quantity="65", price=str(round(self.seen["ltp"] * 0.99)),
            action="sell", order_type="limit", validity="day", stoploss="", disclosed_quantity="0", protection_percentage="",
            settlement_id="", margin_amount="", open_quantity="", cover_quantity="", product="futures", expiry_date=self.expiry,
            right="others", strike_price="0", validity_date="", trade_password="", alias_name="",
        )  # fmt: skip
        self.ok("square_off", square)
        move(self.about, 4)
        self.seen["flat"] = [row["action"] for row in self.ok("flat", self.breeze.get_portfolio_positions())]

    def triggers(self) -> None:
        far = round(self.seen["ltp"] * 0.5)
        leg = {"action": "sell", "limit_price": str(far - 5), "trigger_price": str(far)}
        names = {"exchange_code": "NFO", "stock_code": "NIFTY", "product": "futures", "quantity": "65", "expiry_date": self.expiry}
        names |= {"right": "others", "strike_price": "0", "index_or_stock": "index", "trade_date": "2026-11-20T06:00:00.000Z"}
        made = self.ok("gtt", self.breeze.gtt_single_leg_place_order(**names, gtt_type="single", order_details=[leg]))
        moved = self.breeze.gtt_single_leg_modify_order(
            exchange_code="NFO", gtt_order_id=made["gtt_order_id"], gtt_type="single", order_details=[{**leg, "gtt_leg_type": "single"}]
        )
        self.ok("gtt_modify", moved)
        book = self.ok("gtt_book", self.breeze.gtt_order_book("NFO", "2026-11-20T06:00:00.000Z", "2026-11-20T06:00:00.000Z"))
        self.seen["gtt"] = [[row["gtt_type"], [one["status"] for one in row["order_details"]]] for row in book]
        ended = self.ok("gtt_cancel", self.breeze.gtt_single_leg_cancel_order("NFO", made["gtt_order_id"]))
        self.seen["gtt_cancelled"] = ended["message"]

    def streams(self) -> None:
        """Ticks, depth, candles and order notifications by the SDK, and its very events read by our codec."""
        heard: list[dict[str, Any]] = []
        raw: list[tuple[str, Any]] = []

        def kinds() -> list[str]:
            names = {"depth": "depth", "orderReference": "order", "interval": "candle"}
            return sorted({next((kind for field, kind in names.items() if field in one), "quote") for one in list(heard)})

        self.breeze.on_ticks = heard.append
        self.breeze.ws_connect()
        kept = self.breeze.sio_rate_refresh_handler.sio
        self._overhear(kept, "stock", raw)
        self.breeze.subscribe_feeds(get_order_notification=True)
        orders = self.breeze.sio_order_refresh_handler.sio
        self._overhear(orders, "order", raw)
        expiry = datetime.fromisoformat(self.expiry[:10]).strftime("%d-%b-%Y")
        named = {"exchange_code": "NFO", "stock_code": "NIFTY", "product_type": "futures", "expiry_date": expiry}
        self.seen["subscribed"] = self.breeze.subscribe_feeds(**named, strike_price="", right="others", get_market_depth=False)
        self.breeze.subscribe_feeds(exchange_code="NSE", stock_code="RELIND", get_exchange_quotes=True, get_market_depth=True)
        self.breeze.subscribe_feeds(stock_token="4.1!NIFTY 50")
        self.breeze.subscribe_feeds(stock_token="4.1!2885", interval="1second")
        candles = self.breeze.sio_ohlcv_stream_handler.sio
        base = {**self.future, "product": "futures", "quantity": "65", "validity": "day", "stoploss": "", "disclosed_quantity": "0"}
        self.ok("streamed", self.breeze.place_order(**base, action="sell", order_type="limit", price=str(round(self.seen["ltp"] * 0.99))))
        until(self.about, lambda: len(kinds()) == 4 and len(heard) > 30, "ticks, depth, candles and the order's messages")
        until(self.about, lambda: any(one.get("orderStatus") == "Executed" for one in list(heard)), "the order's end")
        self.breeze.unsubscribe_feeds(stock_token="4.1!2885")
        self.breeze.ws_disconnect()
        for one in (kept, orders, candles):
            one.disconnect()
        symbols = {one["symbol"] for one in heard if "symbol" in one}
        self.seen["symbols"] = sorted(symbols)
        self.seen["kinds"] = kinds()
        self.seen["statuses"] = [one["orderStatus"] for one in heard if "orderReference" in one]
        self._compare(heard, raw)

    def _overhear(self, sio: Any, name: str, raw: list[tuple[str, Any]]) -> None:
        """Note what the SDK's own handler of this event is called with; it is registered anew at each subscription."""
        trigger = sio._trigger_event

        def listening(event: str, namespace: str, *args: Any) -> Any:
            if event == name:
                raw.append((event, args[0]))
            return trigger(event, namespace, *args)

        sio._trigger_event = listening

    def _compare(self, heard: list[dict[str, Any]], raw: list[tuple[str, Any]]) -> None:
        """Our codec on the same events: the same ticks and the same order states as the SDK told."""
        with urllib.request.urlopen(self.about["rest"] + MASTER) as answer:
            names = Names(answer.read())
        at = datetime.now(IST)
        wanted = [names.by_key(key) for key in ("NFO:NIFTY26NOVFUT", "NSE:RELIANCE", "NSE:NIFTY 50")]
        quotes, orders = FeedDialect("ws://x", lambda: names), OrderDialect("ws://x", lambda: names)
        quotes.subscribe([one for one in wanted if one is not None])
        ours: list[Any] = []
        for name, payload in raw:
            packet = f"42{json.dumps([name, payload])}"
            ours += (quotes if name == "stock" else orders).take(packet, at)
        theirs = [one for one in heard if "last" in one or "orderReference" in one]
        mine = [
            _tick(one) if isinstance(one, Tick) else ["order", one.broker_order_id, one.label, one.quantity, one.filled] for one in ours
        ]
        told = [
            _told(one) if "last" in one else
            ["order", one["orderReference"], one["orderStatus"].lower(), int(one["orderTotalQuantity"]), int(one["executedQuantity"])]
            for one in theirs
        ]  # fmt: skip
        self.seen["compared"], self.seen["alike"] = len(told), sorted(map(str, mine)) == sorted(map(str, told))
        self.seen["ours"], self.seen["theirs"] = mine[:3], told[:3]


def _tick(tick: Tick) -> list[Any]:
    return [
        "tick",
        tick.price,
        tick.bid,
        tick.ask,
        tick.volume,
        tick.previous_close,
        tick.exchange_at.strftime("%c") if tick.exchange_at else "",
    ]


def _told(one: dict[str, Any]) -> list[Any]:
    return ["tick", one["last"], one["bPrice"] or 0.0, one["sPrice"] or 0.0, one["ttq"] or 0, one["close"], one["ltt"]]


def main(about: dict[str, Any]) -> dict[str, Any]:
    script = Script(about)
    for part in (script.login, script.market_data, script.orders, script.account, script.triggers, script.streams):
        part()
        move(script.about, 2)
    return script.seen


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1])), default=str))
