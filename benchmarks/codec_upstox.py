"""Upstox's protobuf messages into the engine's own Ticks, against the official SDK's streamer (the generated class and MessageToDict).

Core fields are what a Tick holds: price, times, quantities, volume, open interest, the best level. `with depth` gives all five levels as
well. Both sides start with a message as the socket brings it. Before anything is timed, every value of ours is compared with the SDK's.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from benchmarks.rounds import Line, interleaved, line, rate
from brokers.upstox.wire import Decoder, Level
from core.types import IST, Instrument, Kind, Tick

SIZES = (1, 50, 500)
_AT = datetime(2026, 11, 20, 10, 0, 1, tzinfo=IST)
_NOW_MS = int(_AT.timestamp() * 1000) - 9_000
_FEEDS = 500  # of all messages of one size together; each message has a time of its own


def _message(proto: Any, rng: random.Random, keys: Sequence[str], now_ms: int) -> bytes:
    """Options in full mode, with all that Upstox documents for them."""
    response = proto.FeedResponse(type=1, currentTs=now_ms)
    for key in keys:
        feed = response.feeds[key]
        market = feed.fullFeed.marketFF
        trade, greeks = market.ltpc, market.optionGreeks
        trade.ltp, trade.ltt, trade.ltq = round(rng.uniform(5, 50_000), 2), now_ms - rng.randrange(900), rng.randrange(1, 5000)
        trade.cp = round(rng.uniform(5, 50_000), 2)
        feed.requestMode = 1
        for _ in range(5):
            prices = {"bidP": round(rng.uniform(5, 50_000), 2), "askP": round(rng.uniform(5, 50_000), 2)}
            market.marketLevel.bidAskQuote.add(bidQ=rng.randrange(1, 9000), askQ=rng.randrange(1, 9000), **prices)
        greeks.delta, greeks.theta, greeks.gamma, greeks.vega, greeks.rho = 0.51, -3.2, 0.0012, 12.5, 0.8
        for interval in ("1d", "I1"):
            market.marketOHLC.ohlc.add(interval=interval, open=1.5, high=2.5, low=1.25, close=2.0, vol=123_456, ts=now_ms)
        market.atp, market.vtt, market.oi = 100.2, rng.randrange(1, 5_000_000), float(rng.randrange(1, 9_000_000))
        market.iv, market.tbq, market.tsq = 0.128, 90_000.0, 85_000.0
    return bytes(response.SerializeToString())


def _same(tick: Tick, levels: Sequence[Level], feed: Mapping[str, Any], sent_ms: str) -> bool:
    full = feed["fullFeed"]["marketFF"]
    trade, book = full["ltpc"], full["marketLevel"]["bidAskQuote"]
    told = [(float(one["bidP"]), int(one["bidQ"]), float(one["askP"]), int(one["askQ"])) for one in book]
    return (
        (tick.price, tick.quantity, tick.previous_close) == (trade["ltp"], int(trade["ltq"]), trade["cp"])
        and list(levels) == told
        and (tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity) == told[0]
        and (tick.volume, tick.oi) == (int(full["vtt"]), int(full["oi"]))
        and tick.exchange_at is not None
        and round(tick.exchange_at.timestamp() * 1000) == int(sent_ms)
    )


def _check(messages: Sequence[bytes], listed: Mapping[str, Instrument], told: Sequence[Mapping[str, Any]]) -> None:
    decoder, keys = Decoder(listed), {instrument.key: key for key, instrument in listed.items()}
    for message, official in zip(messages, told, strict=True):
        books: dict[str, list[Level]] = {}
        ticks = {keys[tick.instrument.key]: tick for tick in decoder.decode(message, _AT, books)}
        assert ticks.keys() == books.keys() == official["feeds"].keys()
        same = (_same(tick, books[key], official["feeds"][key], official["currentTs"]) for key, tick in ticks.items())
        assert all(same), "the codec and the SDK differ"


def measure(rounds: int) -> list[Line]:
    """Feeds a second in full mode, the one that the engine subscribes."""
    from upstox_client.feeder.market_data_streamer_v3 import MarketDataStreamerV3
    from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as proto

    told: list[Mapping[str, Any]] = []
    streamer = MarketDataStreamerV3()
    streamer.on("message", told.append)
    lines = []
    for size in SIZES:
        rng = random.Random(size)
        listed = {f"NSE_FO|{35_000 + n}": Instrument(f"NFO:T{n}", "NFO", f"T{n}", Kind.CALL, "T") for n in range(size)}
        messages = [_message(proto, rng, list(listed), _NOW_MS + 17 * number) for number in range(max(1, _FEEDS // size))]
        decoder = Decoder(listed)

        def official(messages: Sequence[bytes] = messages) -> None:
            told.clear()
            for message in messages:
                streamer.handle_message(None, message)

        def ours(messages: Sequence[bytes] = messages, decoder: Decoder = decoder) -> list[list[Tick]]:
            return [decoder.decode(message, _AT) for message in messages]

        def deep(messages: Sequence[bytes] = messages, decoder: Decoder = decoder) -> dict[str, list[Level]]:
            books: dict[str, list[Level]] = {}
            for message in messages:
                decoder.decode(message, _AT, books)
            return books

        official()
        _check(messages, listed, told)
        feeds = size * len(messages)
        figures = interleaved({"ours": rate(ours, feeds), "deep": rate(deep, feeds), "sdk": rate(official, feeds)}, rounds)
        for name, side, goal in (("to Ticks", "ours", 20.0), ("with depth", "deep", 10.0)):
            name = f"Upstox {name}, {size} a message"
            lines.append(line(name, "feed/s", figures[side], figures["sdk"], "upstox SDK parser", goal=goal, higher=True))
    return lines
