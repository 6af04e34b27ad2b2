"""Upstox messages for tests: the documented examples, and random valid feeds built with the official SDK's own message classes."""

import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as proto

from core.types import IST, Instrument, Kind, Tick
from tests.builders import NIFTY, RELIANCE
from tests.wire.kite_samples import Listed

AT = datetime(2026, 11, 20, 10, 0, 0, 250_000, IST)
NOW_MS = int(AT.timestamp() * 1000) - 250
MARKET_OPEN = bytes.fromhex("080218f8beb0a59134220c0a0a0a064e53455f45511002")
LTPC = bytes.fromhex(
    "080112340a134e53455f45517c494e45303032413031303138121d0a1b09666666666631964010f8beb0a59134181921000000000010964018f3bfb0a59134"
)
RELIANCE_KEY, NIFTY_KEY, INDEX_KEY = "NSE_EQ|INE002A01018", "NSE_FO|48225", "NSE_INDEX|Nifty 50"
INDEX = Instrument("NSE:NIFTY 50", "NSE", "NIFTY 50", Kind.INDEX, "NIFTY 50")
KEYS: Mapping[str, Instrument] = {RELIANCE_KEY: RELIANCE, NIFTY_KEY: NIFTY, INDEX_KEY: INDEX}
KNOWN = Listed(KEYS)


def instruments(count: int) -> dict[str, Instrument]:
    return {f"NSE_FO|{35_000 + n}": Instrument(f"NFO:T{n}", "NFO", f"T{n}", Kind.FUTURE, "T") for n in range(count)}


def fill_trade(trade: Any, rng: random.Random, now_ms: int) -> None:
    trade.ltp = round(rng.uniform(0.05, 90_000.0), 2)
    trade.ltt = now_ms - rng.choice((0, rng.randrange(60_000), rng.randrange(4 * 86_400_000)))
    trade.ltq = rng.choice((0, rng.randrange(1, 100_000)))
    trade.cp = rng.choice((0.0, round(rng.uniform(0.05, 90_000.0), 2)))
    if rng.random() < 0.2:
        trade.iep.value = 3.5


def fill_full(full: Any, rng: random.Random, now_ms: int, *, whole: bool = False, levels: int = 5) -> None:
    """A marketFF; unless `whole`, each part may be missing."""
    if whole or rng.random() < 0.9:
        fill_trade(full.ltpc, rng, now_ms)
    if whole or rng.random() < 0.8:
        full.marketLevel.SetInParent()
        for _ in range(levels if whole else rng.choice((0, 1, 5, 30))):
            quote = full.marketLevel.bidAskQuote.add()
            quote.bidQ, quote.bidP = rng.choice((0, rng.randrange(90_000))), rng.choice((0.0, round(rng.uniform(1, 900), 2)))
            quote.askQ, quote.askP = rng.choice((0, rng.randrange(90_000))), rng.choice((0.0, round(rng.uniform(1, 900), 2)))
    if whole or rng.random() < 0.7:
        full.optionGreeks.delta, full.optionGreeks.theta = rng.random(), -rng.random()
    if whole or rng.random() < 0.7:
        for interval in ("1d", "I1"):
            candle = full.marketOHLC.ohlc.add()
            candle.interval, candle.open, candle.high, candle.low, candle.close = interval, 1.5, 2.5, 1.25, 2.0
            candle.vol, candle.ts = rng.randrange(10**9), now_ms
    if whole or rng.random() < 0.8:
        full.vtt, full.oi = rng.randrange(1, 10**10), float(rng.choice((0, rng.randrange(10**8))))
    full.atp, full.iv, full.tbq, full.tsq = rng.uniform(0, 900), rng.random(), rng.uniform(0, 1e7), rng.uniform(0, 1e7)


def random_message(rng: random.Random, keys: list[str], now_ms: int = NOW_MS) -> bytes:
    """A valid FeedResponse of any kind and mode over some of `keys`."""
    response = proto.FeedResponse(type=rng.choice((0, 1)), currentTs=now_ms + rng.randrange(10_000))
    if rng.random() < 0.05:
        response.type = 2
        response.marketInfo.segmentStatus["NSE_EQ"] = 2
        return bytes(response.SerializeToString())
    for key in rng.sample(keys, rng.randrange(1, len(keys) + 1)):
        feed = response.feeds[key]
        kind = rng.choice(("ltpc", "full", "full", "full", "full", "index", "first", "empty"))
        if kind == "ltpc":
            fill_trade(feed.ltpc, rng, now_ms)
        elif kind == "full":
            feed.requestMode = rng.choice((1, 3))
            feed.fullFeed.marketFF.SetInParent()
            fill_full(feed.fullFeed.marketFF, rng, now_ms)
        elif kind == "index":
            feed.requestMode = 1
            fill_trade(feed.fullFeed.indexFF.ltpc, rng, now_ms)
        elif kind == "first":
            feed.requestMode = 2
            fill_trade(feed.firstLevelWithGreeks.ltpc, rng, now_ms)
            if rng.random() < 0.8:
                feed.firstLevelWithGreeks.firstDepth.bidP, feed.firstLevelWithGreeks.firstDepth.bidQ = 10.5, 7
            feed.firstLevelWithGreeks.vtt, feed.firstLevelWithGreeks.oi = rng.randrange(10**6), float(rng.randrange(10**6))
    return bytes(response.SerializeToString())


def full_message(rng: random.Random, keys: list[str]) -> bytes:
    """A live message of whole full-mode feeds, as nearly all of a trading day's are."""
    response = proto.FeedResponse(type=1, currentTs=NOW_MS)
    for key in keys:
        feed = response.feeds[key]
        feed.requestMode = 1
        fill_full(feed.fullFeed.marketFF, rng, NOW_MS, whole=True)
        feed.fullFeed.marketFF.ltpc.ltt = NOW_MS - rng.randrange(1000)
    return bytes(response.SerializeToString())


class Reader:
    """What the SDK hands out (MessageToDict), merged into Ticks by a second hand: strings and camel case, no bytes."""

    def __init__(self, known: Mapping[str, Instrument]) -> None:
        self._known = known
        self._last: dict[str, Tick] = {}

    def ticks(self, message: Mapping[str, Any], at: datetime) -> dict[str, Tick]:
        sent_ms = int(message.get("currentTs", 0))
        sent_at = datetime.fromtimestamp(sent_ms / 1000, IST)
        midnight = sent_at.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000
        found = {}
        for key, feed in message.get("feeds", {}).items():
            full = feed.get("fullFeed", {})
            part = full.get("indexFF", full.get("marketFF", feed.get("firstLevelWithGreeks", feed if "ltpc" in feed else None)))
            before = self._last.get(key)
            if part is None or (before is None and "ltpc" not in part):
                continue
            trade = part.get("ltpc")
            book = part.get("marketLevel", {}).get("bidAskQuote") or ([part["firstDepth"]] if "firstDepth" in part else [])
            best = {name: float(value) for name, value in book[0].items()} if book else None
            traded = int(trade.get("ltt", 0)) if trade else 0

            def kept(name: str, value: float, before: Tick | None = before) -> Any:
                return value or (getattr(before, name) if before else 0)

            made = Tick(
                instrument=self._known[key],
                at=at,
                price=float(trade["ltp"]) if trade else before.price if before else 0.0,
                volume=kept("volume", int(part.get("vtt", 0))),
                quantity=int(trade.get("ltq", 0)) if trade else before.quantity if before else 0,
                exchange_at=datetime.fromtimestamp(traded / 1000, IST) if traded and traded < midnight else sent_at,
                bid=best.get("bidP", 0.0) if best is not None else float(kept("bid", 0.0)),
                ask=best.get("askP", 0.0) if best is not None else float(kept("ask", 0.0)),
                bid_quantity=int(best.get("bidQ", 0)) if best is not None else kept("bid_quantity", 0),
                ask_quantity=int(best.get("askQ", 0)) if best is not None else kept("ask_quantity", 0),
                oi=kept("oi", int(part.get("oi", 0))),
                previous_close=float(kept("previous_close", float(trade.get("cp", 0.0)) if trade else 0.0)),
            )
            self._last[key] = found[key] = made
        return found
