"""Upstox's protobuf messages into the engine's own Ticks, against the official SDK's parser (the generated class and MessageToDict).

Core fields are what a Tick holds: price, times, quantities, volume, open interest, the best level. `with depth` reads all five levels as
well, from the same parse. Before anything is timed, every tick is compared with what the SDK reads.
"""

import random
from collections.abc import Mapping
from datetime import datetime
from time import perf_counter
from typing import Any

from benchmarks.rounds import Figure, Line, interleaved, line, without_garbage_collection
from brokers.upstox.wire import Decoder, parse
from core.types import IST, Instrument, Kind, Tick

SIZES = (1, 50, 500)
_AT = datetime(2026, 11, 20, 10, 0, 1, tzinfo=IST)
_NOW_MS = int(_AT.timestamp() * 1000) - 300
_FEEDS_A_ROUND = 3_000


def _message(proto: Any, size: int) -> tuple[bytes, dict[str, Instrument]]:
    rng = random.Random(size)
    listed = {f"NSE_FO|{35_000 + n}": Instrument(f"NFO:T{n}", "NFO", f"T{n}", Kind.FUTURE, "T") for n in range(size)}
    response = proto.FeedResponse(type=1, currentTs=_NOW_MS)
    for key in listed:
        feed = response.feeds[key]
        market = feed.fullFeed.marketFF
        trade = market.ltpc
        trade.ltp, trade.ltt, trade.ltq = round(rng.uniform(5, 50_000), 2), _NOW_MS - rng.randrange(900), rng.randrange(1, 5000)
        trade.cp = round(rng.uniform(5, 50_000), 2)
        feed.requestMode = 1
        for _ in range(5):
            prices = {"bidP": round(rng.uniform(5, 50_000), 2), "askP": round(rng.uniform(5, 50_000), 2)}
            market.marketLevel.bidAskQuote.add(bidQ=rng.randrange(1, 9000), askQ=rng.randrange(1, 9000), **prices)
        market.optionGreeks.delta, market.optionGreeks.theta, market.optionGreeks.vega = 0.51, -3.2, 12.5
        for interval in ("1d", "I1"):
            market.marketOHLC.ohlc.add(interval=interval, open=1.5, high=2.5, low=1.25, close=2.0, vol=123_456, ts=_NOW_MS)
        market.atp, market.vtt, market.oi, market.iv, market.tbq, market.tsq = 100.2, 1_234_500, 4_500_000.0, 0.128, 90_000.0, 85_000.0
    return response.SerializeToString(), listed


def _same(tick: Tick, feed: Mapping[str, Any]) -> bool:
    full = feed["fullFeed"]["marketFF"]
    trade = full["ltpc"]
    same = (tick.price, tick.quantity, tick.previous_close) == (trade["ltp"], int(trade["ltq"]), trade["cp"])
    best = full["marketLevel"]["bidAskQuote"][0]
    book = (float(best["bidP"]), int(best["bidQ"]), float(best["askP"]), int(best["askQ"]))
    held = (tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity)
    return same and book == held and (tick.volume, tick.oi) == (int(full["vtt"]), int(full["oi"]))


def _levels(response: Any) -> list[list[tuple[float, int, float, int]]]:
    """All levels of every feed of a parsed message: what a reader of depth takes besides the ticks."""
    books = (entry.value.fullFeed.marketFF.marketLevel.bidAskQuote for entry in response.feeds)
    return [[(level.bidP, level.bidQ, level.askP, level.askQ) for level in book] for book in books]


def _rate(run: Any, size: int) -> Figure:
    times = max(2, _FEEDS_A_ROUND // size)

    def figure() -> float:
        with without_garbage_collection():
            began = perf_counter()
            for _ in range(times):
                run()
            return times * size / (perf_counter() - began)

    return figure


def measure(rounds: int) -> list[Line]:
    """Feeds a second in full mode, the one that the engine subscribes."""
    from google.protobuf.json_format import MessageToDict
    from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as proto

    lines = []
    for size in SIZES:
        message, listed = _message(proto, size)
        decoder = Decoder(listed)
        told = MessageToDict(proto.FeedResponse.FromString(message))["feeds"]
        keys = {instrument.key: key for key, instrument in listed.items()}
        ticks = decoder.decode(message, _AT)
        assert len(ticks) == size
        assert all(_same(tick, told[keys[tick.instrument.key]]) for tick in ticks), "the codec and the SDK differ"

        def official(message: bytes = message) -> Any:
            return MessageToDict(proto.FeedResponse.FromString(message))

        def ours(message: bytes = message, decoder: Decoder = decoder) -> Any:
            return decoder.decode(message, _AT)

        def deep(message: bytes = message, decoder: Decoder = decoder) -> Any:
            response = parse(message)
            return decoder.ticks(response, _AT), _levels(response)

        figures = interleaved({"ours": _rate(ours, size), "deep": _rate(deep, size), "sdk": _rate(official, size)}, rounds)
        for name, side, goal in (("to Ticks", "ours", 20.0), ("with depth", "deep", 10.0)):
            name = f"Upstox {name}, {size} a message"
            lines.append(line(name, "feed/s", figures[side], figures["sdk"], "upstox SDK parser", goal=goal, higher=True))
    return lines
