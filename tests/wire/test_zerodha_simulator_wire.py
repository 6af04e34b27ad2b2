"""The simulator's binary ticks against the broker's documented examples and the official parser."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from kiteconnect import KiteTicker

from simulators.zerodha_wire import FULL, LTP, MODES, QUOTE, frame, packet

RELIANCE, NIFTY, CURRENCY, NCO = 738561, 256265, 315907, 1280268


@dataclass(frozen=True)
class Quoted:
    """A quote with the fields a packet is made of."""

    last_price: float
    last_quantity: int = 0
    last_time: datetime | None = None
    exchange_time: datetime | None = None
    average_price: float = 0.0
    volume: int = 0
    total_buy: int = 0
    total_sell: int = 0
    oi: int = 0
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    bids: tuple[tuple[float, int, int], ...] = ()
    asks: tuple[tuple[float, int, int], ...] = ()


def epoch(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def parsed(data: bytes) -> list[dict[str, Any]]:
    ticks: list[dict[str, Any]] = KiteTicker("key", "token")._parse_binary(data)
    return ticks


def test_the_documented_example_of_ltp_and_index_packets_is_rebuilt() -> None:
    index = Quoted(25134.55, exchange_time=epoch(1791344587), high=25200.10, low=24980.05, open=25005.25, close=24950.00)
    made = frame([packet(RELIANCE, Quoted(1420.35), LTP), packet(NIFTY, index, FULL)])
    assert made.hex() == "00020008000b450100022ad300200003e90900265a2f002673ca00261dd5002627ad00261218000048176ac5bfcb"


def test_the_documented_example_of_currency_divisors_is_rebuilt() -> None:
    made = frame([packet(CURRENCY, Quoted(85.2575), LTP), packet(NCO, Quoted(765.43), LTP)])
    assert made.hex() == "000200080004d20332d1431800080013890c0074cb9c"


def test_the_documented_example_of_a_quote_packet_is_rebuilt() -> None:
    quote = Quoted(1420.35, 25, average_price=1418.70, volume=8123456, total_buy=512300, total_sell=498700)
    quote = Quoted(**{**quote.__dict__, "open": 1415.0, "high": 1425.0, "low": 1411.0, "close": 1412.0})
    assert (
        frame([packet(RELIANCE, quote, QUOTE)]).hex()
        == "0001002c000b450100022ad30000001900022a2e007bf4400007d12c00079c0c000228bc00022ca40002272c00022790"
    )


def test_a_full_packet_has_the_documented_tail() -> None:
    quote = Quoted(1420.35, last_time=epoch(1791344585), exchange_time=epoch(1791344587), bids=((1420.30, 100, 3),))
    body = packet(RELIANCE, quote, FULL)
    assert len(body) == 184
    assert body[44:64].hex() == "6ac5bfc90000000000000000000000006ac5bfcb"
    assert body[64:76].hex() == "0000006400022ace00030000"
    assert body[76:] == b"\x00" * 108


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("token", [RELIANCE, NIFTY, CURRENCY, NCO])
def test_the_official_parser_reads_what_was_meant(token: int, mode: str) -> None:
    chance = random.Random(f"{token}/{mode}")
    for _ in range(200):
        prices = [round(chance.uniform(1, 300), 2) for _ in range(6)]
        levels = tuple((round(chance.uniform(1, 300), 2), chance.randrange(1, 10**6), chance.randrange(1, 999)) for _ in range(5))
        stamp = epoch(1_790_000_000 + chance.randrange(10**6))
        quote = Quoted(
            prices[0],
            chance.randrange(10**5),
            stamp,
            stamp,
            prices[1],
            chance.randrange(10**9),
            total_buy=7,
            total_sell=8,
            oi=9,
            open=prices[2],
            high=prices[3],
            low=prices[4],
            close=prices[5],
            bids=levels,
            asks=levels[::-1],
        )
        (tick,) = parsed(frame([packet(token, quote, mode, (11, 10))]))
        assert (tick["instrument_token"], tick["mode"]) == (token, mode)
        assert tick["last_price"] == quote.last_price
        assert tick["tradable"] is (token != NIFTY)
        if mode != LTP:
            assert tick["ohlc"] == {"open": quote.open, "high": quote.high, "low": quote.low, "close": quote.close}
        if mode != LTP and token != NIFTY:
            assert (tick["last_traded_quantity"], tick["volume_traded"]) == (quote.last_quantity, quote.volume)
            assert (tick["average_traded_price"], tick["total_buy_quantity"], tick["total_sell_quantity"]) == (quote.average_price, 7, 8)
        if mode == FULL:
            assert tick["exchange_timestamp"] == datetime.fromtimestamp(stamp.timestamp())
        if mode == FULL and token != NIFTY:
            assert (tick["oi"], tick["oi_day_high"], tick["oi_day_low"]) == (9, 11, 10)
            assert [(one["price"], one["quantity"], one["orders"]) for one in tick["depth"]["buy"]] == list(levels)
            assert [(one["price"], one["quantity"], one["orders"]) for one in tick["depth"]["sell"]] == list(levels[::-1])
