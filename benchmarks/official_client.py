"""The official side of benchmarks/tick_to_order.py: KiteTicker's callback computes one EMA step and calls kite.place_order."""

import sys
from typing import Any

from benchmarks.bare_loop import LoopEma
from benchmarks.kite_frames import token_of
from benchmarks.tick_to_order import PACKETS


def main() -> None:
    from kiteconnect import KiteConnect, KiteTicker

    stream, rest = sys.argv[1:3]
    kite = KiteConnect(api_key="bench", access_token="benchtoken123", root=f"http://127.0.0.1:{rest}")
    ticker = KiteTicker("bench", "benchtoken123", root=f"ws://127.0.0.1:{stream}")
    tokens = [token_of(number) for number in range(PACKETS)]
    average = LoopEma(12)

    def on_connect(ws: Any, response: Any) -> None:
        ws.subscribe(tokens)
        ws.set_mode(ws.MODE_FULL, tokens)

    def on_ticks(ws: Any, ticks: list[dict[str, Any]]) -> None:
        first = ticks[0]
        average.add(first["last_price"])
        kite.place_order(
            variety="regular",
            exchange="NSE",
            tradingsymbol="S0",
            transaction_type="BUY",
            quantity=1,
            product="MIS",
            order_type="LIMIT",
            price=first["depth"]["sell"][0]["price"],
            validity="DAY",
            tag="OFFICIAL00000001",
        )

    ticker.on_connect = on_connect
    ticker.on_ticks = on_ticks
    ticker.connect()


if __name__ == "__main__":
    main()
