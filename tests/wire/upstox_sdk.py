"""A script of every supported call of the official, unmodified upstox-python-sdk against a simulator; prints what it saw as JSON.

    https_proxy=… python -m tests.wire.upstox_sdk '{"rest": …, "login": …, "credentials": …}'

A program of its own: the SDK's configuration is a singleton, and its streamers dial hard-coded addresses (through https_proxy).
"""

import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit

import upstox_client
from upstox_client.rest import ApiException

from tests.wire.by_hand import move, until


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


class Script:
    """Runs the calls in order and keeps what each gave."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about
        self.seen: dict[str, Any] = {}
        self.configuration = upstox_client.Configuration()
        self.configuration.host = self.configuration.order_host = about["rest"]
        self.client = upstox_client.ApiClient(self.configuration)
        self.keys: dict[str, str] = {}

    def refused(self, name: str, call: Callable[[], Any]) -> None:
        try:
            self.seen[name] = {"returned": str(call())}
        except ApiException as error:
            self.seen[name] = {"status": error.status, "code": json.loads(error.body)["errors"][0]["errorCode"]}

    def login(self) -> None:
        given = self.about["credentials"]
        query = {"response_type": "code", "client_id": given["api_key"], "redirect_uri": given["redirect_uri"], "state": "xyz"}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
        try:
            opener.open(f"{self.about['login']}?{urlencode(query)}")
        except HTTPError as error:
            location = parse_qs(urlsplit(error.headers["Location"]).query)
            self.seen["redirect"] = {"status": error.code, "state": location["state"]}
        api = upstox_client.LoginApi(self.client)
        form = {"code": location["code"][0], "client_id": given["api_key"], "redirect_uri": given["redirect_uri"]}
        form |= {"client_secret": given["api_secret"], "grant_type": "authorization_code"}
        reply = api.token("2.0", **form)
        self.configuration.access_token = reply.access_token
        self.seen["session"] = {"user_id": reply.user_id, "broker": reply.broker}
        self.refused("reused_code", lambda: api.token("2.0", **form))
        self.seen["profile"] = upstox_client.UserApi(self.client).get_profile("2.0").data.user_id

    def market_data(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        import gzip

        rows = json.loads(gzip.decompress(opener.open(f"{self.about['rest']}/market-quote/instruments/exchange/complete.json.gz").read()))
        self.keys = {row["trading_symbol"]: row["instrument_key"] for row in rows}
        future = next(row for row in rows if row["instrument_type"] == "FUT" and row["underlying_symbol"] == "NIFTY")
        self.keys["FUTURE"], self.seen["future"], self.seen["instruments"] = future["instrument_key"], future, len(rows)
        key = self.keys["FUTURE"]
        quotes = upstox_client.MarketQuoteV3Api(self.client)
        both = f"{key},{self.keys['RELIANCE']}"
        self.seen["ltp"] = {row.instrument_token: row.last_price for row in quotes.get_ltp(instrument_key=both).data.values()}
        day = quotes.get_market_quote_ohlc("1d", instrument_key=both).data
        self.seen["ohlc"] = {name: row.live_ohlc.high >= row.live_ohlc.low for name, row in day.items()}
        full = upstox_client.MarketQuoteApi(self.client).get_full_market_quote(both, "2.0").data
        self.seen["depth"] = {row.instrument_token: len(row.depth.buy) for row in full.values()}
        self.seen["greek"] = [row.oi >= 0 for row in quotes.get_market_quote_option_greek(instrument_key=key).data.values()]
        self.refused("unknown_key", lambda: quotes.get_ltp(instrument_key="NSE_EQ|NOSUCH"))
        history = upstox_client.HistoryV3Api(self.client)
        past = history.get_historical_candle_data1(key, "minutes", "5", "2026-11-19", "2026-11-17").data.candles
        today = history.get_intra_day_candle_data(key, "minutes", "1").data.candles
        weeks = history.get_historical_candle_data1(key, "weeks", "1", "2026-11-19", "2026-10-19").data.candles
        self.seen["candles"] = {"newest_first": past[0][0] > past[-1][0], "stamp": past[0][0]}
        self.seen["candles"] |= {"today": today[0][0][:10], "weeks": len(weeks)}
        self.refused("too_long", lambda: history.get_historical_candle_data1(key, "minutes", "1", "2026-11-19", "2026-10-01"))
        old = upstox_client.HistoryApi(self.client).get_historical_candle_data1(key, "30minute", "2026-11-19", "2026-11-18", "2.0")
        self.seen["candles_v2"] = len(old.data.candles)
        options = upstox_client.OptionsApi(self.client)
        index = self.keys["NIFTY"]
        contracts = options.get_option_contracts(index).data
        chain = options.get_put_call_option_chain(index, str(contracts[0].expiry)[:10]).data
        self.seen["chain"] = {"contracts": len(contracts), "strikes": len(chain), "spot": chain[0].underlying_spot_price > 0}
        market = upstox_client.MarketHolidaysAndTimingsApi(self.client)
        self.seen["hours"] = [str(market.get_market_status("NSE").data.status), len(market.get_exchange_timings("2026-11-20").data)]

    def order(self, **more: Any) -> Any:
        base = {"quantity": 65, "product": "D", "validity": "DAY", "instrument_token": self.keys["FUTURE"], "transaction_type": "BUY"}
        base |= {"price": 0.0, "trigger_price": 0.0, "disclosed_quantity": 0, "is_amo": False, "slice": False}
        return upstox_client.PlaceOrderV3Request(**{**base, **more})

    def orders(self) -> None:
        v3, v2 = upstox_client.OrderApiV3(self.client), upstox_client.OrderApi(self.client)
        price = next(iter(upstox_client.MarketQuoteV3Api(self.client).get_ltp(instrument_key=self.keys["FUTURE"]).data.values())).last_price
        far = float(round(price * 0.98))
        (bought,) = v3.place_order(self.order(order_type="MARKET", market_protection=-1, tag="SDKMARKET")).data.order_ids
        (resting,) = v3.place_order(self.order(order_type="LIMIT", price=far, tag="SDKLIMIT")).data.order_ids
        stop_fields = {"transaction_type": "SELL", "order_type": "SL", "price": far - 5, "trigger_price": far, "tag": "SDKSTOP"}
        (stop,) = v3.place_order(self.order(**stop_fields)).data.order_ids
        self.refused("unprotected", lambda: v3.place_order(self.order(order_type="MARKET")))
        self.refused("overprotected", lambda: v3.place_order(self.order(order_type="MARKET", market_protection=26)))
        self.refused("no_quantity", lambda: v3.place_order(self.order(order_type="LIMIT", price=far, quantity=0)))
        self.refused("odd_lot", lambda: v3.place_order(self.order(order_type="LIMIT", price=far, quantity=64)))
        self.refused("long_tag", lambda: v3.place_order(self.order(order_type="LIMIT", price=far, tag="T" * 41)))
        self.refused("no_key", lambda: v3.place_order(self.order(order_type="LIMIT", price=far, instrument_token="NSE_FO|1")))
        self.refused("mcx", lambda: v3.place_order(self.order(order_type="LIMIT", price=far, instrument_token="MCX_FO|1")))
        move(self.about, 3)
        change = upstox_client.ModifyOrderRequest(65, "DAY", far - 1, resting, "LIMIT", 0, 0.0)
        self.seen["modified"] = v3.modify_order(change).data.order_id == resting
        move(self.about, 3)
        self.seen["cancelled"] = [v3.cancel_order(one).data.order_id == one for one in (resting, stop)]
        move(self.about, 3)
        self.refused("cancel_again", lambda: v3.cancel_order(resting))
        self.refused("no_order", lambda: v3.cancel_order("1"))
        self.seen["slices"] = len(v3.place_order(self.order(order_type="LIMIT", price=far, quantity=65 * 40, slice=True)).data.order_ids)
        line = {"quantity": 65, "product": "D", "validity": "DAY", "price": far, "order_type": "LIMIT", "transaction_type": "BUY"}
        line |= {"disclosed_quantity": 0, "trigger_price": 0.0, "is_amo": False, "slice": False, "tag": "SDKMULTI"}
        lines = [
            upstox_client.MultiOrderRequest(**{**line, "instrument_token": key, "correlation_id": str(number)})
            for number, key in enumerate((self.keys["FUTURE"], "NSE_FO|1"))
        ]
        many = v2.place_multi_order(lines)
        self.seen["multi"] = {"status": many.status, "placed": len(many.data), "errors": [one.error_code for one in many.errors]}
        move(self.about, 3)
        self.seen["multi_cancelled"] = len(v2.cancel_multi_order(tag="SDKMULTI").data.order_ids)
        move(self.about, 3)
        book = v2.get_order_book("2.0").data
        self.seen["book"] = {row.tag or "": [row.status, row.filled_quantity, row.product] for row in book}
        self.seen["ladders"] = {tag: [row.status for row in v2.get_order_details("2.0", tag=tag).data] for tag in ("SDKMARKET", "SDKLIMIT")}
        self.seen["status"] = v2.get_order_status(order_id=bought).data.status
        trades = v2.get_trades_by_order(bought, "2.0").data
        self.seen["trades"] = [len(v2.get_trade_history("2.0").data), sum(row.quantity for row in trades)]
        v2.cancel_multi_order()

    def account(self) -> None:
        portfolio, charges = upstox_client.PortfolioApi(self.client), upstox_client.ChargeApi(self.client)
        users, key = upstox_client.UserApi(self.client), self.keys["FUTURE"]
        self.seen["positions"] = [[row.product, row.quantity] for row in portfolio.get_positions("2.0").data]
        portfolio.convert_positions(upstox_client.ConvertPositionRequest(key, "I", "D", "BUY", 65), "2.0")
        self.seen["converted"] = {row.product: row.quantity for row in portfolio.get_positions("2.0").data}
        self.seen["holdings"] = portfolio.get_holdings("2.0").data
        self.seen["funds"] = users.get_user_fund_margin("2.0").data["equity"].available_margin > 0
        one = upstox_client.Instrument(key, 65, "D", "BUY", 25_000.0)
        margin = charges.post_margin(upstox_client.MarginRequest([one, one])).data
        self.seen["margin"] = [len(margin.margins), margin.required_margin > 0]
        self.seen["brokerage"] = charges.get_brokerage(key, 65, "D", "BUY", 25_000.0, "2.0").data.charges.total > 0

    def triggers(self) -> None:
        v3, key = upstox_client.OrderApiV3(self.client), self.keys["RELIANCE"]
        rules = [upstox_client.GttRule("ENTRY", "BELOW", 100.0), upstox_client.GttRule("STOPLOSS", "IMMEDIATE", 90.0)]
        made = v3.place_gtt_order(upstox_client.GttPlaceOrderRequest("MULTIPLE", 5, "D", rules, key, "BUY")).data.gtt_order_ids[0]
        self.seen["gtt"] = [rule.status for rule in v3.get_gtt_order_details(gtt_order_id=made).data[0].rules]
        v3.modify_gtt_order(upstox_client.GttModifyOrderRequest("MULTIPLE", 6, rules=rules, gtt_order_id=made))
        v3.cancel_gtt_order(upstox_client.GttCancelOrderRequest(made))
        self.seen["gtt_cancelled"] = [rule.status for rule in v3.get_gtt_order_details(gtt_order_id=made).data[0].rules]

    def streams(self) -> None:
        """Both streamers at once: ticks of several modes, and the messages of an order's life."""
        address = upstox_client.WebsocketApi(self.client).get_market_data_feed_authorize_v3().data.authorized_redirect_uri
        self.seen["authorized"] = urlsplit(address).path
        future, share = self.keys["FUTURE"], self.keys["RELIANCE"]
        market = upstox_client.MarketDataStreamerV3(self.client, [future], "full")
        orders = upstox_client.PortfolioDataStreamer(self.client)
        ticks: list[dict[str, Any]] = []
        updates: list[dict[str, Any]] = []
        opened = [threading.Event(), threading.Event()]
        market.on("open", opened[0].set)
        orders.on("open", opened[1].set)
        market.on("message", ticks.append)
        orders.on("message", lambda text: updates.append(json.loads(text)))
        market.connect()
        orders.connect()
        until(self.about, lambda: all(one.is_set() for one in opened) and len(ticks) >= 2, "both streams' opening", step=0)
        market.subscribe([share, "NSE_EQ|NOSUCH"], "ltpc")
        market.subscribe([self.keys["NIFTY"]], "full")
        subscribed = {future, share, self.keys["NIFTY"]}
        until(
            self.about, lambda: {key for one in list(ticks) for key in one.get("feeds", {})} == subscribed, "a first tick of each", step=0
        )
        placed = self.order(order_type="MARKET", market_protection=2, transaction_type="SELL", product="I", tag="SDKSTREAM")
        upstox_client.OrderApiV3(self.client).place_order(placed)
        until(self.about, lambda: updates and updates[-1]["status"] == "complete", "the order's end")
        market.change_mode([share], "option_greeks")
        until(self.about, lambda: any("requestMode" in one["feeds"].get(share, {}) for one in ticks if "feeds" in one), "the other mode")
        self.seen["types"] = [one.get("type", "snapshot") for one in ticks[:3]]
        feeds = [feed for one in ticks for feed in one.get("feeds", {}).items()]
        whole = next(feed for key, feed in feeds if key == future)
        self.seen["full"] = sorted(whole["fullFeed"]["marketFF"])
        self.seen["levels"] = len(whole["fullFeed"]["marketFF"]["marketLevel"]["bidAskQuote"])
        self.seen["modes"] = sorted({(key == share, feed.get("requestMode", "ltpc")) for key, feed in feeds})
        self.seen["keys"] = sorted({key for key, _ in feeds} - {future, share})
        self.seen["updates"] = [[one["update_type"], one["status"], one["tag"]] for one in updates]
        market.unsubscribe([future, share])
        move(self.about, 3)
        market.disconnect()
        orders.disconnect()

    def refused_stream(self) -> None:
        """A dead token: one error, and no further try."""
        kept, self.configuration.access_token = self.configuration.access_token, "dead"
        streamer = upstox_client.MarketDataStreamerV3(self.client, [], "ltpc")
        heard: list[str] = []
        failed = threading.Event()

        def on_error(error: object) -> None:
            heard.append(str(error))
            failed.set()

        streamer.on("error", on_error)
        streamer.on("reconnecting", heard.append)
        streamer.connect()
        assert failed.wait(60)
        time.sleep(1.3)  # its next try would come after a second
        self.seen["dead_token"] = heard
        self.configuration.access_token = kept

    def logout(self) -> None:
        self.seen["logout"] = upstox_client.LoginApi(self.client).logout("2.0").data
        self.refused("after_logout", lambda: upstox_client.UserApi(self.client).get_profile("2.0"))


def main(about: dict[str, Any]) -> dict[str, Any]:
    script = Script(about)
    for part in (
        script.login,
        script.market_data,
        script.orders,
        script.account,
        script.triggers,
        script.streams,
        script.refused_stream,
        script.logout,
    ):
        part()
        move(script.about, 2)
    return script.seen


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1])), default=str))
